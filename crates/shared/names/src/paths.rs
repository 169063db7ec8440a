//! Files and directories in the proxy's container, as Istio's injection templates mount them.

/// Directory of the projected workload token.
pub const TOKEN_DIR: &str = "/var/run/secrets/tokens";
/// File name of the workload token in [`TOKEN_DIR`].
pub const TOKEN_FILE: &str = "istio-token";
/// Token for the control plane, with audience [`TOKEN_AUDIENCE`](crate::names::TOKEN_AUDIENCE)
/// (`JWT_POLICY=third-party-jwt`).
pub const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
/// Directory of the Pod's ordinary ServiceAccount token and of the API server's root.
pub const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The Pod's ordinary ServiceAccount token (`JWT_POLICY=first-party-jwt`).
pub const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Root of the Kubernetes API server (`PILOT_CERT_PROVIDER=kubernetes`).
pub const KUBERNETES_ROOT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
/// Directory of the mesh's root certificate.
pub const ISTIOD_ROOT_DIR: &str = "/var/run/secrets/istio";
/// The mesh's root certificate, from ConfigMap [`ROOT_CERT_CONFIG_MAP`](crate::names::ROOT_CERT_CONFIG_MAP)
/// (`PILOT_CERT_PROVIDER=istiod`).
pub const ISTIOD_ROOT: &str = "/var/run/secrets/istio/root-cert.pem";
/// Directory of the downward API's files `labels` and `annotations`.
pub const POD_INFO: &str = "/etc/istio/pod";
/// Directory that the agent writes a bootstrap file to.
pub const PROXY_CONFIG: &str = "/etc/istio/proxy";
/// Directory for what the proxy keeps while the Pod lives.
pub const DATA: &str = "/var/lib/istio/data";
