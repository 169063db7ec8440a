//! Who is calling: a workload proves its service account by its client certificate or by a token that the API server
//! vouches for (docs/reference/istiod.md).

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use portolan_identity::{SpiffeId, spiffe_id_of};
use portolan_mesh::ProxyNode;
use portolan_names::names;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};
use tonic::{Extensions, Status, metadata::MetadataMap};

use crate::{settings::Settings, tls::Peer};

/// How long the API server's word about a token is believed without asking again.
const TOKEN_FRESH: Duration = Duration::from_secs(60);

/// Tokens that are remembered. While the API server is away they are good until they expire, so that proxies that
/// reconnect meanwhile are served.
const MAX_TOKENS: usize = 20_000;

/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How long the API server may take for a review.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// A proven identity: a service account of our own mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    id: SpiffeId,
    namespace: String,
    service_account: String,
}

impl Caller {
    fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Option<Self> {
        let id = SpiffeId::workload(trust_domain, namespace, service_account).ok()?;
        Some(Self { id, namespace: namespace.to_owned(), service_account: service_account.to_owned() })
    }

    /// The caller with that id, which may still be of an alias of our trust domain.
    fn accept<'a>(id: &SpiffeId, own: &str, mut accepted: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (namespace, account) = id.namespace_and_account()?;
        accepted.any(|domain| domain == id.trust_domain()).then(|| Self::new(own, namespace, account))?
    }

    /// SPIFFE id in our own trust domain.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// Refuses a proxy that claims to be somebody else.
    pub fn may_be(&self, node: &ProxyNode) -> Result<(), Status> {
        if node.namespace != self.namespace {
            return Err(Status::permission_denied(format!(
                "the proxy says namespace {:?}, its identity is of namespace {:?}",
                node.namespace, self.namespace
            )));
        }
        let stated = node.metadata.service_account.as_str();
        if !stated.is_empty() && stated != self.service_account {
            return Err(Status::permission_denied(format!(
                "the proxy says service account {stated:?}, its identity is of {:?}",
                self.service_account
            )));
        }
        Ok(())
    }
}

struct Remembered {
    caller: Caller,
    reviewed: Instant,
    expires: Option<Timestamp>,
}

/// Tells who is calling.
pub struct Authenticator {
    client: Client,
    settings: Arc<Settings>,
    tokens: Mutex<HashMap<[u8; 32], Remembered>>,
}

impl Authenticator {
    /// Reviews are asked of `client`; the trust domain is that of the settings.
    pub fn new(client: Client, settings: Arc<Settings>) -> Self {
        Self { client, settings, tokens: Mutex::default() }
    }

    /// The caller of a gRPC method: by client certificate, else by bearer token.
    pub async fn authenticate(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
    ) -> Result<Caller, Status> {
        if let Some(caller) = extensions.get::<Peer>().and_then(|peer| self.by_certificate(peer)) {
            return Ok(caller);
        }
        let token = metadata
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| {
                Status::unauthenticated(
                    "neither a client certificate of this mesh nor a bearer token was presented",
                )
            })?;
        self.by_token(token.trim()).await
    }

    /// The identity in a client certificate. The handshake has checked that our own root stands behind it.
    fn by_certificate(&self, peer: &Peer) -> Option<Caller> {
        let id = spiffe_id_of(peer.certificates.first()?).ok()?;
        let mesh = self.settings.mesh_config();
        Caller::accept(&id, &mesh.trust_domain, mesh.trust_domains())
    }

    /// The identity behind a token.
    pub async fn by_token(&self, token: &str) -> Result<Caller, Status> {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(Status::unauthenticated("the bearer token is empty or too long"));
        }
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.tokens.lock().get(&key)
            && known.reviewed.elapsed() < TOKEN_FRESH
            && known.is_alive()
        {
            return Ok(known.caller.clone());
        }
        match timeout(REVIEW_TIMEOUT, self.review(token)).await {
            Ok(Ok(Some(caller))) => {
                self.remember(key, &caller, token);
                Ok(caller)
            }
            Ok(Ok(None)) => {
                self.tokens.lock().remove(&key);
                Err(Status::unauthenticated(format!(
                    "the API server does not accept the token for audience {}; is it a projected token of that audience?",
                    names::TOKEN_AUDIENCE
                )))
            }
            failed => {
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no answer in time".to_owned(),
                };
                if let Some(known) = self.tokens.lock().get(&key).filter(|known| known.is_alive()) {
                    tracing::warn!(
                        reason,
                        "the API server can't review tokens; believing what it said before"
                    );
                    return Ok(known.caller.clone());
                }
                Err(Status::unavailable(format!("the API server can't review the token now: {reason}")))
            }
        }
    }

    fn remember(&self, key: [u8; 32], caller: &Caller, token: &str) {
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, known| known.is_alive());
            if tokens.len() >= MAX_TOKENS {
                return;
            }
        }
        let known = Remembered { caller: caller.clone(), reviewed: Instant::now(), expires: expiry(token) };
        tokens.insert(key, known);
    }

    async fn review(&self, token: &str) -> Result<Option<Caller>, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![names::TOKEN_AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let audience_matches =
            status.audiences.iter().flatten().any(|audience| audience == names::TOKEN_AUDIENCE);
        if status.authenticated != Some(true) || !audience_matches {
            return Ok(None);
        }
        let user = status.user.and_then(|user| user.username).unwrap_or_default();
        let Some((namespace, account)) =
            user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
        else {
            return Ok(None);
        };
        Ok(Caller::new(&self.settings.mesh_config().trust_domain, namespace, account))
    }
}

impl Remembered {
    fn is_alive(&self) -> bool {
        self.expires.is_some_and(|end| end > Timestamp::now())
    }
}

/// When a token says that it ends. Only asked of tokens that the API server has accepted.
fn expiry(token: &str) -> Option<Timestamp> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Timestamp::from_second(claims["exp"].as_i64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_workloads_of_this_mesh() {
        let accept = |id: &str| {
            Caller::accept(&id.parse().unwrap(), "west.local", ["west.local", "old.local"].into_iter())
        };
        let caller = accept("spiffe://west.local/ns/bookinfo/sa/reviews").unwrap();
        assert_eq!(caller.id().to_string(), "spiffe://west.local/ns/bookinfo/sa/reviews");
        assert_eq!(accept("spiffe://old.local/ns/a/sa/b").unwrap().id().trust_domain(), "west.local");
        assert_eq!(accept("spiffe://east.local/ns/a/sa/b"), None);
        assert_eq!(accept("spiffe://west.local/robot"), None);
    }

    #[test]
    fn nobody_claims_to_be_somebody_else() {
        let caller = Caller::new("t", "bookinfo", "reviews").unwrap();
        let node = |namespace: &str, account: &str| {
            let metadata = serde_json::json!({"NAMESPACE": namespace, "SERVICE_ACCOUNT": account});
            ProxyNode::parse(&format!("sidecar~10.0.0.1~a.{namespace}~x"), &metadata).unwrap()
        };
        assert!(caller.may_be(&node("bookinfo", "reviews")).is_ok());
        assert!(caller.may_be(&node("bookinfo", "")).is_ok());
        assert!(caller.may_be(&node("bookinfo", "ratings")).is_err());
        assert!(caller.may_be(&node("default", "reviews")).is_err());
    }
}
