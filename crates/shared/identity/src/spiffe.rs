//! SPIFFE ids, as the mesh uses them: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.

use std::fmt;
use std::str::FromStr;

/// The longest SPIFFE id that is accepted, in bytes (SPIFFE-ID 2.3).
pub const MAX_SPIFFE_ID_LENGTH: usize = 2048;

/// The longest trust domain name, in bytes (SPIFFE-ID 2.1).
const MAX_TRUST_DOMAIN_LENGTH: usize = 255;

/// What every SPIFFE id begins with (SPIFFE-ID 2).
const SCHEME: &str = "spiffe://";

/// A valid SPIFFE id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: String,
    path: String,
}

/// Why a text is not a SPIFFE id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// Longer than [`MAX_SPIFFE_ID_LENGTH`].
    #[error("SPIFFE id is longer than {MAX_SPIFFE_ID_LENGTH} bytes")]
    TooLong,
    /// Another scheme, or none.
    #[error("SPIFFE id {0:?} does not start with spiffe://")]
    Scheme(String),
    /// The trust domain is empty or has a character that it may not have.
    #[error("trust domain {0:?} is not valid: lower-case letters, digits, dots, dashes and underscores only")]
    TrustDomain(String),
    /// The path is empty, ends in a slash, or has an empty, relative or badly spelt segment.
    #[error("path {0:?} of a SPIFFE id is not valid")]
    Path(String),
}

impl SpiffeId {
    /// The identity of a service account in a mesh (Istio's form of the path).
    ///
    /// # Errors
    /// When one of the parts has a character that a SPIFFE id may not have, or the id gets too long.
    pub fn workload(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeIdError> {
        Self::new(trust_domain, &format!("/ns/{namespace}/sa/{service_account}"))
    }

    fn new(trust_domain: &str, path: &str) -> Result<Self, SpiffeIdError> {
        if SCHEME.len() + trust_domain.len() + path.len() > MAX_SPIFFE_ID_LENGTH {
            return Err(SpiffeIdError::TooLong);
        }
        let domain_char = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if trust_domain.is_empty()
            || trust_domain.len() > MAX_TRUST_DOMAIN_LENGTH
            || !trust_domain.bytes().all(domain_char)
        {
            return Err(SpiffeIdError::TrustDomain(trust_domain.to_owned()));
        }
        let segment_ok = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
        };
        let path_ok = path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment_ok));
        if !path_ok {
            return Err(SpiffeIdError::Path(path.to_owned()));
        }
        Ok(SpiffeId { trust_domain: trust_domain.to_owned(), path: path.to_owned() })
    }

    /// The trust domain, without scheme.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The path with its leading slash; never empty.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Namespace and service account, when the path has Istio's form.
    pub fn namespace_and_account(&self) -> Option<(&str, &str)> {
        let mut parts = self.path.strip_prefix("/ns/")?.split('/');
        let found = (parts.next()?, parts.next()? == "sa", parts.next()?);
        (found.1 && parts.next().is_none()).then_some((found.0, found.2))
    }

    /// The namespace, when the path has Istio's form.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace_and_account().map(|found| found.0)
    }

    /// The service account, when the path has Istio's form.
    pub fn service_account(&self) -> Option<&str> {
        self.namespace_and_account().map(|found| found.1)
    }

    /// The id without its scheme: what Istio calls a principal (`AuthorizationPolicy`, `ServiceMeshPeer.clientID`).
    pub fn principal(&self) -> String {
        format!("{}{}", self.trust_domain, self.path)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_SPIFFE_ID_LENGTH {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| SpiffeIdError::Scheme(text.to_owned()))?;
        let (trust_domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self::new(trust_domain, path)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.trust_domain, self.path)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
