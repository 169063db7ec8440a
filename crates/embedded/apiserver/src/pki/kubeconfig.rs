//! The administrator's kubeconfig.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Pki;

/// A kubeconfig (YAML) with one context named `cluster`, for the administrator.
pub(crate) fn kubeconfig(pki: &Pki, cluster: &str, server: &str) -> String {
    let ca = STANDARD.encode(&pki.ca_pem);
    let certificate = STANDARD.encode(&pki.admin_pem);
    let key = STANDARD.encode(&pki.admin_key_pem);
    let user = format!("{cluster}-admin");
    format!(
        "apiVersion: v1
kind: Config
current-context: {cluster}
clusters:
- name: {cluster}
  cluster:
    server: {server}
    certificate-authority-data: {ca}
contexts:
- name: {cluster}
  context:
    cluster: {cluster}
    user: {user}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
    )
}
