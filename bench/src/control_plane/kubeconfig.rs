//! The kubeconfig that `portolan api-server` writes: where it serves, and the administrator's certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::BenchError;

/// What of it is needed, PEM where it was base64.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// `host:port`
    pub(crate) address: String,
    pub(crate) roots: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

#[derive(Deserialize)]
struct File {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

impl Access {
    /// Reads a kubeconfig with one cluster and one user.
    pub(crate) fn read(text: &str) -> Result<Self, BenchError> {
        let bad = |what: &dyn std::fmt::Display| BenchError::Kubeconfig(what.to_string());
        let file: File = serde_saphyr::from_str(text).map_err(|error| bad(&error))?;
        let cluster = file.clusters.into_iter().next().ok_or_else(|| bad(&"no cluster"))?.cluster;
        let user = file.users.into_iter().next().ok_or_else(|| bad(&"no user"))?.user;
        let pem = |data: &str| STANDARD.decode(data).map_err(|error| bad(&error));
        Ok(Access {
            address: cluster.server.strip_prefix("https://").unwrap_or(&cluster.server).to_owned(),
            roots: pem(&cluster.certificate_authority_data)?,
            certificate: pem(&user.client_certificate_data)?,
            key: pem(&user.client_key_data)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_writes() {
        let text = "apiVersion: v1
kind: Config
current-context: west
clusters:
- name: west
  cluster:
    server: https://127.0.0.1:6443
    certificate-authority-data: cm9vdA==
contexts:
- name: west
  context: {cluster: west, user: west-admin}
users:
- name: west-admin
  user:
    client-certificate-data: bGVhZg==
    client-key-data: a2V5
";
        let access = Access::read(text).unwrap();
        assert_eq!(access.address, "127.0.0.1:6443");
        assert_eq!(
            (access.roots, access.certificate, access.key),
            (b"root".into(), b"leaf".into(), b"key".into())
        );
        assert!(Access::read("clusters: []\nusers: []\n").is_err());
    }
}
