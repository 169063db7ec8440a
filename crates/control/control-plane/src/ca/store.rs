//! Where the authority's key comes from: a plugged-in one (Secret `cacerts`), else our own (Secret `istio-ca-secret`),
//! which is made when there is none.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::PostParams};
use portolan_identity::{AuthorityError, CertificateAuthority};
use portolan_names::names;

/// Validity of a self-signed root (docs/reference/istiod.md).
const ROOT_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);

const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ROOT: &str = "root-cert.pem";

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The API server can't be asked.
    #[error("Secret {name} can't be read or written: {error}")]
    Api {
        /// Its name.
        name: &'static str,
        /// What the API server said.
        error: Box<kube::Error>,
    },
    /// A part is missing.
    #[error("Secret {name} has no {key}; add it or delete the Secret")]
    Missing {
        /// Its name.
        name: &'static str,
        /// The missing key.
        key: &'static str,
    },
    /// The content is unusable.
    #[error("Secret {name}: {error}")]
    Content {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        error: AuthorityError,
    },
    /// No new root.
    #[error("no new root could be made: {0}")]
    New(AuthorityError),
}

impl StoreError {
    /// Whether it may go away by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Api { .. })
    }
}

/// Loads the authority, making a self-signed one if there is none.
pub async fn load(
    client: &Client,
    namespace: &str,
    trust_domain: &str,
) -> Result<CertificateAuthority, StoreError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for name in [names::PLUGGED_CA_SECRET, names::CA_SECRET] {
        if let Some(secret) = api.get_opt(name).await.map_err(|error| failed(name, error))? {
            return read(&secret, name);
        }
    }
    let root = CertificateAuthority::self_signed(trust_domain, SystemTime::now(), ROOT_VALIDITY)
        .map_err(StoreError::New)?;
    let mut secret = Secret { type_: Some("istio.io/ca-root".to_owned()), ..Secret::default() };
    secret.metadata.name = Some(names::CA_SECRET.to_owned());
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    secret.data = Some(BTreeMap::from([
        (CERTIFICATE.to_owned(), bytes(root.certificate_pem())),
        (KEY.to_owned(), bytes(root.key_pem())),
        (ROOT.to_owned(), bytes(root.certificate_pem())),
        (CHAIN.to_owned(), bytes("")),
    ]));
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => {
            tracing::info!(secret = names::CA_SECRET, trust_domain, "made a new self-signed root");
            read(&secret, names::CA_SECRET)
        }
        // Somebody else was faster: theirs holds.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let found = api.get(names::CA_SECRET).await.map_err(|error| failed(names::CA_SECRET, error))?;
            read(&found, names::CA_SECRET)
        }
        Err(error) => Err(failed(names::CA_SECRET, error)),
    }
}

fn failed(name: &'static str, error: kube::Error) -> StoreError {
    StoreError::Api { name, error: Box::new(error) }
}

fn read(secret: &Secret, name: &'static str) -> Result<CertificateAuthority, StoreError> {
    let get = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())
    };
    let need = |key: &'static str| get(key).ok_or(StoreError::Missing { name, key });
    let certificate = need(CERTIFICATE)?;
    // istiod's own self-signed Secret may come without a root of its own: the certificate is it.
    let root = get(ROOT).filter(|root| !root.trim().is_empty()).unwrap_or_else(|| certificate.clone());
    CertificateAuthority::open(&certificate, &need(KEY)?, &root, &get(CHAIN).unwrap_or_default())
        .map_err(|error| StoreError::Content { name, error })
}
