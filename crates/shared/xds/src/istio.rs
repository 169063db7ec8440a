//! The few messages of Istio's own that travel beside xDS, written by hand after `proto/`.

use std::collections::BTreeMap;

use portolan_envoy_api::pb::google::protobuf::Struct;
use prost::Message;

/// Asks for a certificate for the caller's own identity.
#[derive(Clone, PartialEq, Message)]
pub struct IstioCertificateRequest {
    /// PKCS#10 request, PEM. Names inside it are ignored.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Seconds that the caller would like the certificate to be valid for.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// Hints for the signer.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

/// The signed certificate with its chain.
#[derive(Clone, PartialEq, Message)]
pub struct IstioCertificateResponse {
    /// PEM, leaf first, intermediates, root last.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}

/// Names that the agent's DNS proxy answers (xDS type `istio.networking.nds.v1.NameTable`).
#[derive(Clone, PartialEq, Message)]
pub struct NameTable {
    /// Host name -> what is known about it.
    #[prost(btree_map = "string, message", tag = "1")]
    pub table: BTreeMap<String, NameInfo>,
}

/// One name of a [`NameTable`].
#[derive(Clone, PartialEq, Message)]
pub struct NameInfo {
    /// Addresses of the host.
    #[prost(string, repeated, tag = "1")]
    pub ips: Vec<String>,
    /// Registry that the host comes from: Kubernetes, External, Federation.
    #[prost(string, tag = "2")]
    pub registry: String,
    /// Kubernetes only: first label of the host.
    #[prost(string, tag = "3")]
    pub shortname: String,
    /// Kubernetes only.
    #[prost(string, tag = "4")]
    pub namespace: String,
}
