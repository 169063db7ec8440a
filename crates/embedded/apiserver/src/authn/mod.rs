//! Who asks: client certificates, ServiceAccount tokens, impersonation.

mod certificate;
mod impersonate;
mod token;
mod user;

use http::{HeaderMap, header};
use portolan_apimachinery::ApiStatus;

use crate::http::Peer;
use crate::store::Store;

pub(crate) use impersonate::impersonate;
pub(crate) use token::{Bound, Reference, TokenRequest, Tokens};
pub(crate) use user::User;

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
