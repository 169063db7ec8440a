//! One xDS resource, encoded once and shared by everybody who receives it.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_128;

use crate::type_url;

/// Which content a resource has: a hash of 128 bits, written as [`Version::TEXT_LENGTH`] lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 16]);

impl Version {
    /// Digits of a version as text.
    pub const TEXT_LENGTH: usize = 32;

    /// The version of what somebody has that is not ours. No content of ours has it.
    pub const UNKNOWN: Self = Self([0; 16]);

    /// The version of an encoded resource. Everybody who sees a proxy's state sees versions; so that of a secret is
    /// made by a hash that says nothing about the secret.
    fn of(type_url: &str, body: &[u8]) -> Self {
        if type_url == type_url::SECRET {
            let mut version = [0; 16];
            version.copy_from_slice(&Sha256::digest(body)[..16]);
            return Self(version);
        }
        Self(XxHash3_128::oneshot(body).to_be_bytes())
    }

    /// Reads the text of a version; nothing when no version of ours has that text.
    pub fn parse(text: &str) -> Option<Self> {
        let ours = text.len() == Self::TEXT_LENGTH
            && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !ours {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }

    /// The digits.
    pub fn digits(self) -> [u8; Self::TEXT_LENGTH] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::TEXT_LENGTH];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A resource without its content: what a stream remembers of what it has sent. It is shared by the resource and all
/// streams, of which each needs one pointer for it, and it does not keep the content in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Name that proxies subscribe to.
    pub name: Arc<str>,
    /// Changes with the content, and only with it.
    pub version: Version,
}

/// An encoded resource; it has the fields of its [`Revision`].
#[derive(Clone, Debug)]
pub struct Resource {
    revision: Arc<Revision>,
    /// Type of the body.
    pub type_url: &'static str,
    /// The encoded message.
    pub body: Bytes,
    /// What was said of the content when somebody first judged it.
    verdict: OnceLock<Result<(), Arc<str>>>,
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && self.type_url == other.type_url && self.body == other.body
    }
}

impl Eq for Resource {}

impl Resource {
    /// A resource of this name and content. Messages that are equal but encoded otherwise have another version.
    pub fn new(name: impl Into<Arc<str>>, type_url: &'static str, body: Bytes) -> Self {
        let version = Version::of(type_url, &body);
        let revision = Arc::new(Revision { name: name.into(), version });
        Self { revision, type_url, body, verdict: OnceLock::new() }
    }

    /// What `judge` says of the content, with the reason if it is not good. It is asked once, however many ask.
    ///
    /// # Errors
    /// The reason.
    pub fn judged(&self, judge: impl FnOnce(&Self) -> Result<(), String>) -> Result<(), Arc<str>> {
        self.verdict.get_or_init(|| judge(self).map_err(Into::into)).clone()
    }

    /// Name and version.
    pub fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }
}

impl Deref for Resource {
    type Target = Revision;

    fn deref(&self) -> &Revision {
        &self.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"some content";

    fn of(type_url: &'static str, body: &'static [u8]) -> Resource {
        Resource::new("a", type_url, Bytes::from_static(body))
    }

    #[test]
    fn a_version_is_of_the_content() {
        let first = of(type_url::CLUSTER, CONTENT);
        assert_eq!(first.version, Resource::new("b", type_url::LISTENER, first.body.clone()).version);
        assert_ne!(first.version, of(type_url::CLUSTER, b"other content").version);
        assert_eq!((&*first.name, first.revision().version), ("a", first.version));
    }

    /// A short hash that is fast to compute would tell about the key, where versions are shown and keys are not.
    #[test]
    fn a_version_of_a_secret_is_half_of_its_sha_256() {
        let hash: String = Sha256::digest(CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(of(type_url::SECRET, CONTENT).version.to_string(), hash[..32]);
        assert_ne!(of(type_url::CLUSTER, CONTENT).version.to_string(), hash[..32]);
    }

    #[test]
    fn a_resource_is_judged_once() {
        let resource = of(type_url::CLUSTER, CONTENT);
        assert_eq!(resource.judged(|r| Err(format!("{} is bad", r.name))), Err("a is bad".into()));
        assert_eq!(resource.judged(|_| Ok(())), Err("a is bad".into()));
        assert_eq!(resource, of(type_url::CLUSTER, CONTENT), "what is said of it does not make it another");
    }

    #[test]
    fn a_version_is_read_as_it_was_written() {
        let version = of(type_url::CLUSTER, CONTENT).version;
        let text = version.to_string();
        assert_eq!(text.as_bytes(), version.digits());
        assert_eq!((Version::parse(&text), format!("{version:?}")), (Some(version), text));
        let counted = "00112233445566778899aabbccddeeff";
        assert_eq!(Version::parse(counted).unwrap().to_string(), counted);
        assert_eq!(Version::parse(counted).unwrap().digits(), counted.as_bytes());
    }

    #[test]
    fn a_text_of_somebody_else_is_no_version() {
        let long = "0".repeat(33);
        for text in
            ["", "1", &long[..31], &long, &"A".repeat(32), &"g".repeat(32), &format!("+{}", &long[..31])]
        {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert_ne!(of(type_url::CLUSTER, b"").version, Version::UNKNOWN);
    }
}
