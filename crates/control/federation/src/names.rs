//! Names of in-memory objects, and paths of the protocol.

use sha2::{Digest, Sha256};

/// The longest name of a Kubernetes object that is also used as a label value.
const MAX_NAME_LENGTH: usize = 63;

/// Joins `parts` with dashes; a name that gets too long is cut and ends in eight hex digits of its SHA-256, as Service
/// Mesh 2.2 and later do (spec/federation.md 3.1; 7.1 row 19).
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
    fn long_names_stay_different() {
        let long = "x".repeat(70);
        let (a, b) = (object_name(&["fed", &long, "a"]), object_name(&["fed", &long, "b"]));
        assert!(a.len() <= MAX_NAME_LENGTH && b.len() <= MAX_NAME_LENGTH && a != b);
        assert_eq!(object_name(&["fed-exp", "ratings", "bookinfo", "west"]), "fed-exp-ratings-bookinfo-west");
    }

    #[test]
    fn labels() {
        for good in ["a", "ratings", "v1-a", "0a"] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "*", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
