//! tonic services over the messages of [`crate::wire`] and [`crate::istio`], clients and servers.
//!
//! Written by hand in the form that tonic's generator has, since the bodies of resources must pass through unencoded.

mod ads;
mod certificate;
mod codec;

pub use ads::{
    AdsClient, AdsServer, Aggregated, BoxStream, DELTA_PATH, Discovery, DiscoveryServer, SOTW_PATH,
    SdsServer, Secrets, ServiceName,
};
pub use certificate::{CREATE_CERTIFICATE_PATH, CertificateClient, CertificateServer, CertificateService};
