//! The workload's certificate: asked for at istiod, renewed long before it ends.
//!
//! The key is made here and never leaves the process, other than to Envoy over its private SDS socket and to
//! the directory that `OUTPUT_CERTS` names. Only the certificate request travels.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use portolan_xds::istio::IstioCertificateRequest;
use portolan_xds_grpc::CertificateClient;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::csr::{self, CsrError};
use super::secrets::{self, SecretHub};
use crate::backoff::Backoff;
use crate::upstream::{Upstream, UpstreamError};

/// Wait before the first retry of a failed request.
const RETRY_BASE: Duration = Duration::from_millis(500);
/// Longest wait between retries.
const RETRY_CAP: Duration = Duration::from_secs(30);
/// How long the CA may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Renewal is spread over this part of the time until it is due, so that Pods that started together do not
/// renew together.
const ROTATION_JITTER: f64 = 0.1;
/// Shortest wait between renewals, whatever the certificate's dates say: a CA with a wrong clock must not be
/// asked in a loop.
const MIN_ROTATION: Duration = Duration::from_secs(1);
/// Certificates that a chain may have.
const MAX_CHAIN: usize = 16;

/// What is known about the present certificate; no secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Chain in PEM: leaf, intermediates, root.
    pub chain: Vec<String>,
    /// Begin of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
}

/// What is asked for, and of whom.
#[derive(Debug, Clone)]
pub struct CaOptions {
    /// The CA.
    pub upstream: Upstream,
    /// Our identity; the CA decides by the token, this is for its logs.
    pub spiffe_id: String,
    /// Lifetime to ask for.
    pub ttl: Duration,
    /// Part of the lifetime that is left at renewal.
    pub grace_ratio: f64,
    /// Directory to write the certificates to.
    pub output: Option<std::path::PathBuf>,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// No connection.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The CA refused or broke off.
    #[error("the CA at {address} answered {code:?}: {message}")]
    Refused {
        /// Its address.
        address: String,
        /// gRPC code.
        code: tonic::Code,
        /// Its reason.
        message: String,
    },
    /// No answer.
    #[error("the CA at {0} did not answer within {REQUEST_TIMEOUT:?}")]
    Timeout(String),
    /// The key or request could not be made, or the certificate cannot be used.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The chain is empty or absurdly long.
    #[error(
        "the CA at {address} sent a chain of {length} certificates; expected leaf and root, at most {MAX_CHAIN}"
    )]
    Chain {
        /// Its address.
        address: String,
        /// Number of certificates.
        length: usize,
    },
}

/// Counters of the certificate task (`istio_agent_*`).
#[derive(Debug, Default)]
pub struct CaStatus {
    /// Requests sent.
    pub requests: AtomicU64,
    /// Requests that failed.
    pub failures: AtomicU64,
}

/// Keeps the workload's certificate fresh.
#[derive(Debug)]
pub struct CertificateTask {
    options: CaOptions,
    hub: SecretHub,
    status: Arc<CaStatus>,
    info: watch::Sender<Option<CertificateInfo>>,
}

impl CertificateTask {
    /// The task, and what it reports.
    pub fn new(
        options: CaOptions,
        hub: SecretHub,
    ) -> (Self, watch::Receiver<Option<CertificateInfo>>, Arc<CaStatus>) {
        let (info, receiver) = watch::channel(None);
        let status = Arc::new(CaStatus::default());
        (CertificateTask { options, hub, status: status.clone(), info }, receiver, status)
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        loop {
            let result = tokio::select! {
                () = stop.cancelled() => return,
                result = self.renew() => result,
            };
            let wait = match result {
                Ok(info) => {
                    backoff.reset();
                    let wait =
                        until_rotation(&info, SystemTime::now(), self.options.grace_ratio, fastrand::f64());
                    tracing::info!(identity = self.options.spiffe_id, renew_in = ?wait, "workload certificate issued");
                    self.info.send_replace(Some(info));
                    wait
                }
                Err(error) => {
                    self.status.failures.fetch_add(1, Ordering::Relaxed);
                    let wait = backoff.next_wait();
                    tracing::warn!(%error, retry_in = ?wait, "no workload certificate from the CA");
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn renew(&self) -> Result<CertificateInfo, CaError> {
        self.status.requests.fetch_add(1, Ordering::Relaxed);
        let request = csr::generate(&self.options.spiffe_id)?;
        let chain = sign(&self.options, &request.csr_pem).await?;
        let (Some(leaf), Some(root)) = (chain.first(), chain.last()) else {
            return Err(CaError::Chain { address: self.options.upstream.address(), length: 0 });
        };
        if chain.len() < 2 || chain.len() > MAX_CHAIN {
            return Err(CaError::Chain { address: self.options.upstream.address(), length: chain.len() });
        }
        let (not_before, not_after) = csr::check_leaf(leaf, &request)?;
        // Peers have the root themselves; the chain that is presented ends before it.
        let presented: String =
            chain.get(..chain.len() - 1).unwrap_or_default().iter().map(|pem| with_newline(pem)).collect();
        if let Some(directory) = &self.options.output
            && let Err(error) = write_out(directory, &presented, &request.key_pem, root)
        {
            tracing::warn!(directory = %directory.display(), %error, "cannot write the certificates that OUTPUT_CERTS asks for");
        }
        self.hub.set_chain_root(with_newline(root).into_bytes());
        self.hub.set(&secrets::certificate_secret(
            secrets::WORKLOAD,
            presented.into_bytes(),
            request.key_pem.into_bytes(),
        ));
        Ok(CertificateInfo { chain, not_before, not_after })
    }
}

async fn sign(options: &CaOptions, csr_pem: &str) -> Result<Vec<String>, CaError> {
    let address = options.upstream.address();
    let call = async {
        let channel = options.upstream.connect().await?;
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr: csr_pem.to_owned(),
            validity_duration: i64::try_from(options.ttl.as_secs()).unwrap_or(i64::MAX),
            metadata: None,
        });
        options.upstream.authorize(request.metadata_mut()).await?;
        let refused = |status: tonic::Status| CaError::Refused {
            address: address.clone(),
            code: status.code(),
            message: status.message().to_owned(),
        };
        let response = CertificateClient::new(channel).create_certificate(request).await.map_err(refused)?;
        Ok(response.into_inner().cert_chain)
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, call).await {
        Ok(result) => result,
        Err(_) => Err(CaError::Timeout(address)),
    }
}

/// The wait until renewal: when `grace_ratio` of the lifetime is left, earlier by up to [`ROTATION_JITTER`].
fn until_rotation(info: &CertificateInfo, now: SystemTime, grace_ratio: f64, random: f64) -> Duration {
    let lifetime = info.not_after.duration_since(info.not_before).unwrap_or_default();
    let due = info.not_after.checked_sub(lifetime.mul_f64(grace_ratio)).unwrap_or(info.not_before);
    let wait = due.duration_since(now).unwrap_or_default();
    wait.mul_f64(1.0 - ROTATION_JITTER * random).max(MIN_ROTATION)
}

fn with_newline(pem: &str) -> String {
    if pem.ends_with('\n') { pem.to_owned() } else { format!("{pem}\n") }
}

/// Writes the three files under pilot-agent's names, the key readable by its owner only.
fn write_out(directory: &Path, presented: &str, key: &str, root: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::create_dir_all(directory)?;
    for (name, content, mode) in
        [("key.pem", key, 0o600), ("cert-chain.pem", presented, 0o644), ("root-cert.pem", root, 0o644)]
    {
        // Written beside and renamed, so that a reader never sees half a file.
        let temporary = directory.join(format!(".{name}.new"));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(content.as_bytes())?;
        std::fs::rename(&temporary, directory.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(start: u64, end: u64) -> CertificateInfo {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        CertificateInfo { chain: Vec::new(), not_before: at(start), not_after: at(end) }
    }

    #[test]
    fn renewal_is_due_at_half_life_less_the_jitter() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let wait = |info, ratio, random| until_rotation(&info, now, ratio, random).as_secs();
        assert_eq!(wait(info(1000, 2000), 0.5, 0.0), 500);
        assert_eq!(wait(info(1000, 2000), 0.5, 1.0), 450);
        assert_eq!(wait(info(1000, 2000), 0.2, 0.0), 800);
        // Late or with nonsensical dates: at once, but not in a loop.
        assert_eq!(wait(info(0, 1100), 0.5, 0.5), 1);
        assert_eq!(wait(info(3000, 2000), 0.5, 0.5), 950);
        assert_eq!(wait(info(0, 500), 0.5, 0.5), 1);
    }

    #[test]
    fn certificates_are_written_out() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        write_out(&dir.path().join("certs"), "chain", "key", "root").unwrap();
        let key = dir.path().join("certs/key.pem");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(key).unwrap(), "key");
    }
}
