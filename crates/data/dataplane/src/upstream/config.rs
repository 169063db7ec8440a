//! Clusters' configuration with the TLS of their transports.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use portolan_dataplane_config::cluster as config;
pub(crate) use portolan_dataplane_config::cluster::{Discovery, UpstreamProtocol};

use crate::external::{keepalive, load};
use crate::pb::cluster;
use crate::tls::{ClientTls, SecretMap};
use crate::value::Valid;

/// A compiled cluster without its hosts. Reads like its configuration, whose own transports are empty.
#[derive(Debug)]
pub(crate) struct ClusterConfig {
    config: config::ClusterConfig,
    /// 0 is the default one; `None` is plaintext.
    transports: Vec<Option<Arc<ClientTls>>>,
    pub(crate) keepalive: Option<socket2::TcpKeepalive>,
}

impl Deref for ClusterConfig {
    type Target = config::ClusterConfig;

    fn deref(&self) -> &config::ClusterConfig {
        &self.config
    }
}

impl ClusterConfig {
    pub(crate) fn compile(from: &cluster::Cluster) -> Valid<ClusterConfig> {
        let mut config = config::ClusterConfig::compile(from, load)?;
        let transports = std::mem::take(&mut config.transports);
        let transports =
            transports.into_iter().map(|own| own.map(|own| Arc::new(ClientTls::new(own)))).collect();
        let keepalive = config.keepalive.map(keepalive);
        Ok(ClusterConfig { config, transports, keepalive })
    }

    pub(crate) fn transport(&self, at: usize) -> Option<&Arc<ClientTls>> {
        self.transports.get(at).and_then(Option::as_ref)
    }

    pub(crate) fn secret_names(&self, into: &mut BTreeSet<String>) {
        self.transports.iter().flatten().for_each(|tls| tls.secret_names(into));
    }

    pub(crate) fn tls_ready(&self) -> bool {
        self.transports.iter().flatten().all(|tls| tls.is_ready())
    }

    pub(crate) fn refresh_tls(&self, secrets: &SecretMap) -> Valid<()> {
        self.transports.iter().flatten().try_for_each(|tls| tls.refresh(secrets))
    }
}
