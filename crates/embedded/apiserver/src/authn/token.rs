//! ServiceAccount tokens: ES256 JWTs with the claims of a Kubernetes bound token.
//!
//! A token counts only as long as the ServiceAccount it names, and the Pod or Secret it is bound to, still
//! exist with the same uid.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::user::{AUTHENTICATED, User};
use crate::clock;
use crate::error::ServerError;
use crate::keys::{PODS, SECRETS, SERVICE_ACCOUNTS};
use crate::store::Store;

/// A clock may be off by this much.
const LEEWAY_SECONDS: u64 = 10;
/// Longer texts are no tokens of ours.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// Why a token does not count. The text never contains the token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("not a token of this cluster: {0}")]
    Invalid(String),
    #[error("the token's audiences {have:?} include none of {wanted:?}")]
    Audience { have: Vec<String>, wanted: Vec<String> },
    #[error("{kind} {namespace}/{name} of the token is gone or was made anew")]
    Gone { kind: &'static str, namespace: String, name: String },
}

/// Mints and checks tokens.
pub(crate) struct Tokens {
    issuer: String,
    key_id: String,
    signing: EncodingKey,
    checking: DecodingKey,
    x: String,
    y: String,
}

/// What a token is asked for.
pub(crate) struct TokenRequest<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) account: &'a str,
    pub(crate) account_uid: &'a str,
    pub(crate) audiences: Vec<String>,
    pub(crate) expires: i64,
    pub(crate) bound: Option<Bound>,
    /// The node of the Pod, if bound to one that has a node.
    pub(crate) node: Option<Reference>,
}

/// The object that a token is bound to.
pub(crate) enum Bound {
    Pod(Reference),
    Secret(Reference),
}

/// A name with a uid.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) uid: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
    nbf: i64,
    sub: String,
}

#[derive(Serialize, Deserialize)]
struct Kubernetes {
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    serviceaccount: Reference,
}

impl Tokens {
    pub(crate) fn new(key: &KeyPair, cluster_domain: &str) -> Result<Tokens, ServerError> {
        let failed = |what: &dyn std::fmt::Display| ServerError::TokenKey(what.to_string());
        let point = key.public_key_raw();
        // An uncompressed point: 0x04, x, y.
        let (x, y) = match point {
            [4, coordinates @ ..] if coordinates.len() == 64 => coordinates.split_at(32),
            _ => return Err(failed(&"it is not a P-256 key")),
        };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let signing =
            EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).map_err(|error| failed(&error))?;
        let checking = DecodingKey::from_ec_components(&x, &y).map_err(|error| failed(&error))?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(point));
        let issuer = format!("https://kubernetes.default.svc.{cluster_domain}");
        Ok(Tokens { issuer, key_id, signing, checking, x, y })
    }

    /// Who issues the tokens; also the audience of a token for which none was asked.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key, as JWKS.
    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256", "x": self.x, "y": self.y,
        }]})
    }

    pub(crate) fn mint(&self, request: TokenRequest<'_>) -> Result<String, TokenError> {
        let now = clock::seconds();
        let (pod, secret) = match request.bound {
            Some(Bound::Pod(pod)) => (Some(pod), None),
            Some(Bound::Secret(secret)) => (None, Some(secret)),
            None => (None, None),
        };
        let claims = Claims {
            aud: request.audiences,
            exp: request.expires,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: Kubernetes {
                namespace: request.namespace.into(),
                node: request.node,
                pod,
                secret,
                serviceaccount: Reference { name: request.account.into(), uid: request.account_uid.into() },
            },
            nbf: now,
            sub: format!("system:serviceaccount:{}:{}", request.namespace, request.account),
        };
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        header.typ = None;
        jsonwebtoken::encode(&header, &claims, &self.signing)
            .map_err(|error| TokenError::Invalid(error.to_string()))
    }

    /// Checks a token. `audiences` are those that the asker answers to; none means the API server itself.
    /// Answers the user and which of the audiences the token has.
    pub(crate) fn authenticate(
        &self,
        store: &Store,
        token: &str,
        audiences: &[String],
    ) -> Result<(User, Vec<String>), TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid("too long".into()));
        }
        let mut rules = Validation::new(Algorithm::ES256);
        rules.leeway = LEEWAY_SECONDS;
        rules.validate_nbf = true;
        rules.validate_aud = false;
        rules.set_issuer(&[&self.issuer]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        let claims: Claims = jsonwebtoken::decode(token, &self.checking, &rules)
            .map_err(|error| TokenError::Invalid(error.to_string()))?
            .claims;
        let wanted = if audiences.is_empty() { vec![self.issuer.clone()] } else { audiences.to_vec() };
        let shared: Vec<String> =
            wanted.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        if shared.is_empty() {
            return Err(TokenError::Audience { have: claims.aud, wanted });
        }
        let bound = claims.kubernetes;
        let alive = |resource: &str, kind: &'static str, reference: &Reference| {
            let uid = store.get(resource, &bound.namespace, &reference.name);
            let uid = uid.as_ref().and_then(|object| object.value.pointer("/metadata/uid")?.as_str());
            if uid == Some(reference.uid.as_str()) {
                return Ok(());
            }
            Err(TokenError::Gone { kind, namespace: bound.namespace.clone(), name: reference.name.clone() })
        };
        alive(SERVICE_ACCOUNTS, "ServiceAccount", &bound.serviceaccount)?;
        let mut user = User {
            name: claims.sub,
            uid: bound.serviceaccount.uid.clone(),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{}", bound.namespace),
                AUTHENTICATED.into(),
            ],
            ..User::default()
        };
        let mut extra = |key: &str, value: &str| {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        extra("credential-id", &format!("JTI={}", claims.jti));
        if let Some(pod) = &bound.pod {
            alive(PODS, "Pod", pod)?;
            extra("pod-name", &pod.name);
            extra("pod-uid", &pod.uid);
        }
        if let Some(node) = &bound.node {
            extra("node-name", &node.name);
            extra("node-uid", &node.uid);
        }
        if let Some(secret) = &bound.secret {
            alive(SECRETS, "Secret", secret)?;
        }
        Ok((user, shared))
    }
}
