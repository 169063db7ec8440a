//! The gRPC streams around xDS: services and clients on tonic, over the messages of [`portolan_xds::wire`] and
//! [`portolan_xds::istio`].
//!
//! Written by hand in the form that tonic's generator has, for two reasons: the bodies of resources must pass through
//! unencoded, and one service serves whatever can write itself, ours and foreign messages alike. What is said on a
//! stream is decided by the state machines of [`portolan_xds`]; nothing here knows of it.

mod body;
mod causes;
mod certificate;
mod discovery;
mod requests;

pub use body::BoxStream;
pub use causes::causes;
pub use certificate::{CREATE_CERTIFICATE_PATH, CertificateClient, CertificateServer, CertificateService};
pub use discovery::{
    ADS, AdsServer, Aggregated, Discovery, DiscoveryClient, DiscoveryServer, Methods, SDS, SdsServer,
    Secrets, Service,
};
pub use requests::Requests;
