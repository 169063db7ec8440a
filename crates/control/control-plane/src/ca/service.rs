//! `IstioCertificateService`: signs a workload's key for the identity that the workload has proven.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use portolan_identity::{AuthorityError, CertificateAuthority};
use portolan_xds::istio::{IstioCertificateRequest, IstioCertificateResponse};
use portolan_xds_grpc::CertificateService;
use tonic::{Request, Response, Status};

use crate::{
    auth::{Authenticator, Caller},
    metrics::{Metric, Metrics},
};

/// Longest validity that a workload may ask for (docs/reference/istiod.md).
const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3600);

/// The service.
pub struct CertificateIssuer {
    /// Signs.
    pub authority: Arc<CertificateAuthority>,
    /// Tells who asks.
    pub authenticator: Arc<Authenticator>,
    /// Validity when the caller does not say.
    pub default_ttl: Duration,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl CertificateService for CertificateIssuer {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.count(Metric::CsrCount, &[]);
        let caller: Caller = self
            .authenticator
            .authenticate(request.metadata(), request.extensions())
            .await
            .inspect_err(|_| self.metrics.count(Metric::AuthFailures, &[]))?;
        let id = caller.id();
        let message = request.into_inner();
        let ttl = match u64::try_from(message.validity_duration) {
            Ok(0) | Err(_) => self.default_ttl,
            Ok(seconds) => Duration::from_secs(seconds).min(MAX_TTL),
        };
        match self.authority.sign(&message.csr, id, SystemTime::now(), ttl) {
            Ok(issued) => {
                self.metrics.count(Metric::CertIssued, &[]);
                tracing::info!(identity = %id, ttl_seconds = ttl.as_secs(), "certificate issued");
                let parts = [issued.certificate_pem, issued.intermediates_pem, issued.root_pem];
                let cert_chain = parts.into_iter().filter(|part| !part.is_empty()).collect();
                Ok(Response::new(IstioCertificateResponse { cert_chain }))
            }
            Err(error @ AuthorityError::Request(_)) => {
                self.metrics.count(Metric::CsrParseErrors, &[]);
                Err(Status::invalid_argument(error.to_string()))
            }
            Err(error) => {
                self.metrics.count(Metric::CsrSignErrors, &[("error", "csr_sign_error")]);
                tracing::error!(identity = %id, %error, "certificate could not be signed");
                Err(Status::internal("the certificate could not be signed; see the control plane's log"))
            }
        }
    }
}
