//! Certificates: those of the proxies, signed by the control plane's own authority, and those that the gateway serves.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portolan_identity::{CertificateAuthority, SpiffeId};
use portolan_names::names;
use serde_json::{Value, json};

use super::api::Api;
use super::mesh::{CREDENTIAL, Proxy, ROOT};
use super::objects::Object;
use crate::error::BenchError;

/// Longer than any run.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// Trust domain of the mesh: the control plane's own default.
const TRUST_DOMAIN: &str = names::TRUST_DOMAIN;
/// How much of a certificate's text tells it from others: a part of its signature.
const MARKER: usize = 40;

/// What one TLS client shows and trusts, PEM.
pub(crate) struct Credentials {
    pub(crate) roots: String,
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// Signs.
pub(crate) struct Authority(CertificateAuthority);

impl Authority {
    /// The control plane's, out of the Secret where it keeps it.
    pub(crate) async fn of_control_plane(api: &Api) -> Result<Self, BenchError> {
        let secret = api.get(&format!("/api/v1/namespaces/{ROOT}/secrets/{}", names::CA_SECRET)).await?;
        let field = |key: &str| decoded(&secret, key);
        let certificate = field("ca-cert.pem")?;
        let authority = CertificateAuthority::open(&certificate, &field("ca-key.pem")?, &certificate, "")?;
        Ok(Authority(authority))
    }

    /// One of our own.
    pub(crate) fn own() -> Result<Self, BenchError> {
        Ok(Authority(CertificateAuthority::self_signed(TRUST_DOMAIN, SystemTime::now(), TTL)?))
    }

    /// What a proxy shows.
    pub(crate) fn proxy(&self, proxy: &Proxy) -> Result<Credentials, BenchError> {
        self.issue(&proxy.namespace, &proxy.app, &[])
    }

    /// A certificate for a service account and host names.
    pub(crate) fn issue(
        &self,
        namespace: &str,
        account: &str,
        hosts: &[String],
    ) -> Result<Credentials, BenchError> {
        let id = SpiffeId::workload(TRUST_DOMAIN, namespace, account)?;
        let issued = self.0.issue(&id, hosts, SystemTime::now(), TTL)?;
        Ok(Credentials {
            roots: self.0.root_pem().to_owned(),
            chain: issued.chain_pem(),
            key: issued.key_pem.unwrap_or_default(),
        })
    }

    /// The Secret that the gateway's server names, with a new certificate, and a text that only this one has.
    pub(crate) fn gateway_secret(&self) -> Result<(Object, String), BenchError> {
        let made = self.issue(ROOT, "gateway", &["bench.example".to_owned()])?;
        let rest = json!({
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": STANDARD.encode(&made.chain), "tls.key": STANDARD.encode(&made.key)},
        });
        Ok((Object::new("v1", "Secret", ROOT, CREDENTIAL, rest), marker(&made.chain)))
    }
}

/// The last whole line of a certificate's text: it is of the signature.
fn marker(pem: &str) -> String {
    let lines = pem.lines().take_while(|line| !line.starts_with("-----END"));
    let whole = lines.filter(|line| line.len() >= MARKER && !line.starts_with('-')).last();
    whole.unwrap_or(pem).chars().take(MARKER).collect()
}

fn decoded(secret: &Value, key: &str) -> Result<String, BenchError> {
    let missing = || BenchError::Api(format!("Secret {}: no usable {key}", names::CA_SECRET));
    let text = secret["data"][key].as_str().ok_or_else(missing)?;
    let bytes = STANDARD.decode(text).map_err(|_| missing())?;
    String::from_utf8(bytes).map_err(|_| missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_the_gateway_differ_in_their_marker() {
        let authority = Authority::own().unwrap();
        let (secret, one) = authority.gateway_secret().unwrap();
        let (_, other) = authority.gateway_secret().unwrap();
        assert_ne!(one, other);
        assert_eq!(one.len(), MARKER);
        let chain = decoded(&secret.value, "tls.crt").unwrap();
        assert!(chain.contains(&one));
        assert!(decoded(&secret.value, "missing").is_err());
    }
}
