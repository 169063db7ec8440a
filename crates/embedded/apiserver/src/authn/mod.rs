//! Who asks: client certificates, ServiceAccount tokens, impersonation.

mod certificate;
mod impersonate;
mod token;

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use portolan_apimachinery::ApiStatus;
use serde_json::{Value, json};

use crate::http::Peer;
use crate::store::Store;

pub(crate) use impersonate::impersonate;
pub(crate) use token::{Bound, Reference, TokenRequest, Tokens};

/// The group of everyone who has proved an identity.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// An identity.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub(crate) fn anonymous() -> User {
        User { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..User::default() }
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    /// As `userInfo` of reviews and admission requests.
    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            value["uid"] = json!(self.uid);
        }
        if !self.extra.is_empty() {
            value["extra"] = json!(self.extra);
        }
        value
    }
}

/// The user of a request. Without any proof: anonymous; with a bad one: refused.
///
/// # Errors
/// 401.
pub(crate) fn authenticate(
    store: &Store,
    tokens: &Tokens,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<User, ApiStatus> {
    if let Some(certificate) = &peer.certificate {
        return certificate::user(certificate);
    }
    let Some(authorization) = headers.get(header::AUTHORIZATION) else { return Ok(User::anonymous()) };
    let text = authorization.to_str().map_err(|_| ApiStatus::unauthorized())?;
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(ApiStatus::unauthorized()),
    };
    tokens.authenticate(store, token, &[]).map(|(user, _)| user).map_err(|error| {
        tracing::debug!(peer = %peer.address, %error, "bearer token refused");
        ApiStatus::unauthorized()
    })
}
