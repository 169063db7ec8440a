use super::*;
use crate::fixture::{authority, bundle, der};

fn read(pem: &str) -> Result<TrustBundle, BundleError> {
    TrustBundle::from_pem(pem.as_bytes())
}

/// So many roots, each another.
fn roots(count: usize) -> Vec<String> {
    (0..count).map(|n| authority(&format!("d{n}.local")).root_pem().to_owned()).collect()
}

#[test]
fn a_bundle_without_certificate_vouches_for_nobody() {
    for text in ["", "no PEM at all\n", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
        assert_eq!(read(text), Err(BundleError::Empty), "{text:?}");
    }
}

#[test]
fn roots_are_kept_in_order_and_once() {
    let pem = roots(2);
    let found = read(&[pem[1].as_str(), &pem[0], &pem[1]].concat()).unwrap();
    assert_eq!(found.roots(), [der(&pem[1]), der(&pem[0])]);
}

#[test]
fn a_bundle_has_at_most_32_roots() {
    let pem = roots(MAX_ROOTS_PER_BUNDLE + 1);
    assert_eq!(read(&pem[1..].concat()).map(|found| found.roots().len()), Ok(32));
    assert_eq!(read(&pem.concat()), Err(BundleError::TooMany(MAX_ROOTS_PER_BUNDLE)));
}

#[test]
fn a_bundle_has_at_most_64_kibibytes() {
    let pem = roots(1).concat();
    let padded = |length: usize| format!("{pem}{}", "\n".repeat(length - pem.len()));
    assert_eq!(read(&padded(64 * 1024)).map(|found| found.roots().len()), Ok(1));
    assert_eq!(
        read(&padded(64 * 1024 + 1)),
        Err(BundleError::TooLarge { bytes: 64 * 1024 + 1, limit: 64 * 1024 })
    );
}

#[test]
fn public_authorities_may_be_as_many_as_a_system_has() {
    let pem = roots(MAX_ROOTS_PER_BUNDLE + 1).concat();
    let padded = format!("{pem}{}", "\n".repeat(256 * 1024));
    let read = |pem: &str| TrustBundle::authorities_from_pem(pem.as_bytes());
    assert_eq!(read(&padded).map(|found| found.roots().len()), Ok(MAX_ROOTS_PER_BUNDLE + 1));
    let huge = format!("{pem}{}", "\n".repeat(MAX_AUTHORITIES_BYTES));
    assert!(matches!(read(&huge), Err(BundleError::TooLarge { limit: MAX_AUTHORITIES_BYTES, .. })));
}

#[test]
fn a_certificate_that_cannot_be_read_is_named_by_its_place() {
    let index = |pem: &str| match read(pem) {
        Err(BundleError::Malformed { index, .. }) => Some(index),
        _ => None,
    };
    let good = roots(1).concat();
    let no_base64 = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for bad in [no_base64, no_certificate] {
        assert_eq!(index(bad), Some(1), "{bad}");
        assert_eq!(index(&format!("{good}{bad}")), Some(2), "{bad}");
    }
}

#[test]
fn a_bundle_is_written_as_it_is_read() {
    let bundle = read(&roots(2).concat()).unwrap();
    assert_eq!(read(&bundle.to_pem()), Ok(bundle));
}

#[test]
fn pem_has_lines_of_at_most_64_characters() {
    let pem = bundle(&authority("west.local")).to_pem();
    let lines: Vec<&str> = pem.lines().collect();
    assert_eq!(lines.first(), Some(&"-----BEGIN CERTIFICATE-----"));
    assert_eq!(lines.last(), Some(&"-----END CERTIFICATE-----"));
    let body = &lines[1..lines.len() - 1];
    let (last, full) = body.split_last().unwrap();
    assert!(full.iter().all(|line| line.len() == 64) && (1..=64).contains(&last.len()), "{pem}");
}

#[test]
fn merged_bundles_have_the_roots_of_both_once() {
    let pem = roots(3);
    let old = read(&[pem[0].as_str(), &pem[1]].concat()).unwrap();
    let new = read(&[pem[1].as_str(), &pem[2]].concat()).unwrap();
    assert_eq!(old.merged(&new).roots(), [der(&pem[0]), der(&pem[1]), der(&pem[2])]);
    assert_eq!(old.merged(&old), old);
}

#[test]
fn each_trust_domain_has_the_bundle_that_was_set_last() {
    let (west, east, renewed) = (authority("west.local"), authority("east.local"), authority("west.local"));
    let mut bundles = TrustBundles::single("west.local", bundle(&west));
    bundles.insert("east.local", bundle(&east));
    assert_eq!(bundles.get("west.local"), Some(&bundle(&west)));
    bundles.insert("west.local", bundle(&renewed));
    assert_eq!(bundles.get("west.local"), Some(&bundle(&renewed)));
    assert_eq!(bundles.get("east.local"), Some(&bundle(&east)));
    assert_eq!(bundles.get("north.local"), None);
    let all: Vec<_> = bundles.iter().collect();
    assert_eq!(all, [("east.local", &bundle(&east)), ("west.local", &bundle(&renewed))]);
}
