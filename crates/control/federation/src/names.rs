//! Names of in-memory objects, and paths of the protocol.

use sha2::{Digest, Sha256};

/// The longest name of a Kubernetes object that is also used as a label value.
const MAX_NAME_LENGTH: usize = 63;

/// Joins `parts` with dashes; a name that gets too long is cut and ends in eight hex digits of its SHA-256, as Service
/// Mesh 2.2 and later do (docs/reference/federation.md).
pub fn object_name(parts: &[&str]) -> String {
    let full = parts.join("-");
    if full.len() <= MAX_NAME_LENGTH {
        return full;
    }
    let digest = Sha256::digest(full.as_bytes());
    let tail: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let room = MAX_NAME_LENGTH - tail.len() - 1;
    let head: String = full.chars().take_while(char::is_ascii).take(room).collect();
    format!("{}-{tail}", head.trim_end_matches(['-', '.']))
}

/// Path of the exporter for one peer: `/v1/services/<peer>` or `/v1/watch/<peer>`.
pub fn peer_path(what: &str, peer: &str) -> String {
    format!("/v1/{what}/{peer}")
}

/// A DNS label (RFC 1123): what the name and the namespace of a service may be.
pub(crate) fn is_label(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes.iter().all(|c| plain(*c) || *c == b'-')
        && plain(bytes[0])
        && plain(bytes[bytes.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_at_most_63_bytes_stay_whole() {
        assert_eq!(object_name(&["fed-exp", "ratings", "bookinfo", "west"]), "fed-exp-ratings-bookinfo-west");
        let full = "x".repeat(59);
        assert_eq!(object_name(&["fed", &full]), format!("fed-{full}"));
    }

    #[test]
    fn longer_names_end_in_a_part_of_their_digest() {
        let name = object_name(&["fed", &"x".repeat(60)]);
        // The tail is that of `printf fed-xxx... | sha256sum`.
        assert_eq!(name, format!("fed-{}-425cf057", "x".repeat(50)));
        assert_eq!(name.len(), 63);
    }

    #[test]
    fn long_names_stay_different() {
        let long = "x".repeat(70);
        assert_ne!(object_name(&["fed", &long, "a"]), object_name(&["fed", &long, "b"]));
    }

    #[test]
    fn a_name_is_not_cut_behind_a_dash_or_dot() {
        for end in ["-", "."] {
            let name = object_name(&[&"x".repeat(52), end, "more than there is room for"]);
            assert!(name.starts_with(&format!("{}-", "x".repeat(52))), "{name}");
            assert_eq!(name.len(), 52 + 1 + 8, "{name}");
        }
    }

    #[test]
    fn paths_of_the_exporter() {
        assert_eq!(peer_path("services", "west"), "/v1/services/west");
        assert_eq!(peer_path("watch", "west"), "/v1/watch/west");
    }

    #[test]
    fn labels_of_rfc_1123() {
        for good in ["a", "7", "ratings", "v1-a", "0a", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-", "-a", "a-", "A", "aB", "a.b", "a_b", "*", "\u{e9}", "a b", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
