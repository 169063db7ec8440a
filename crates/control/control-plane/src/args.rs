//! Flags of `portolan control-plane`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use portolan_names::{env, names, ports};

/// Flags; each can be given by environment too, which is how a Deployment does it.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Namespace that the control plane runs in, also the root namespace of configuration
    #[arg(long, env = env::POD_NAMESPACE, default_value = names::ISTIO_SYSTEM)]
    pub namespace: String,
    /// Revision of this control plane
    #[arg(long, env = "REVISION", default_value = "default")]
    pub revision: String,
    /// Name of this cluster in metrics and node metadata
    #[arg(long, env = "CLUSTER_ID", default_value = names::CLUSTER_ID)]
    pub cluster_id: String,
    /// DNS domain of the cluster
    #[arg(long, env = "DOMAIN_SUFFIX", default_value = names::CLUSTER_DOMAIN)]
    pub cluster_domain: String,
    /// Network of the cluster's workloads; empty when all peers are reachable directly
    #[arg(long, env = "NETWORK", default_value = "")]
    pub network: String,
    /// Address that all listeners bind
    #[arg(long, env = "BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind: IpAddr,
    /// Port of xDS and the certificate service over TLS
    #[arg(long, default_value_t = ports::XDS_TLS)]
    pub grpc_port: u16,
    /// Port of xDS without TLS and without authentication; not served unless given
    #[arg(long)]
    pub plaintext_grpc_port: Option<u16>,
    /// Port of the webhooks
    #[arg(long, default_value_t = ports::WEBHOOK)]
    pub webhook_port: u16,
    /// Port of metrics and debug endpoints
    #[arg(long, default_value_t = ports::MONITORING)]
    pub monitoring_port: u16,
    /// Port of health checks
    #[arg(long, default_value_t = ports::ISTIOD_HTTP)]
    pub http_port: u16,
    /// Serve the debug endpoints to callers that are not on loopback and show no token
    #[arg(long, env = "PORTOLAN_OPEN_DEBUG")]
    pub open_debug: bool,
    /// Port of federation discovery
    #[arg(long, default_value_t = ports::FEDERATION_DISCOVERY)]
    pub federation_port: u16,
    /// Image that is injected
    #[arg(long, env = "PROXY_IMAGE", default_value = "portolan/proxy")]
    pub proxy_image: String,
    /// More host names for the control plane's own certificate
    #[arg(long, env = "ISTIOD_CUSTOM_HOST", value_delimiter = ',')]
    pub custom_hosts: Vec<String>,
    /// Milliseconds without further changes after which a change is pushed
    #[arg(long, env = "PILOT_DEBOUNCE_AFTER_MS", default_value_t = 100)]
    pub debounce_after_ms: u64,
    /// Milliseconds after which a change is pushed at the latest
    #[arg(long, env = "PILOT_DEBOUNCE_MAX_MS", default_value_t = 10_000)]
    pub debounce_max_ms: u64,
    /// Hours that workload certificates are valid for
    #[arg(long, env = "DEFAULT_WORKLOAD_CERT_TTL_HOURS", default_value_t = 24)]
    pub workload_cert_ttl_hours: u32,
    /// Kubeconfig file; inside a Pod the service account is used
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

impl Args {
    /// Quiet time before a push.
    pub fn debounce_after(&self) -> Duration {
        Duration::from_millis(self.debounce_after_ms)
    }

    /// Longest time that a change waits.
    pub fn debounce_max(&self) -> Duration {
        Duration::from_millis(self.debounce_max_ms)
    }

    /// Host names that proxies, the API server and peers reach the control plane by.
    pub fn serving_names(&self) -> Vec<String> {
        let mut hosts = self.custom_hosts.clone();
        for service in [names::ISTIOD, "istiod-remote", "istio-pilot"] {
            hosts.push(format!("{service}.{}.svc", self.namespace));
            hosts.push(format!("{service}.{}.svc.{}", self.namespace, self.cluster_domain));
            hosts.push(format!("{service}.{}", self.namespace));
        }
        if self.revision != "default" {
            hosts.push(format!("istiod-{}.{}.svc", self.revision, self.namespace));
        }
        hosts.push("localhost".to_owned());
        hosts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Args as _;
    use portolan_resources::support::{Support, table};

    use super::*;

    #[test]
    fn each_variable_of_the_table_is_read() {
        let command = Args::augment_args(clap::Command::new("control-plane"));
        let read: BTreeSet<String> = command
            .get_arguments()
            .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()))
            .collect();
        let table = table("environment of the control plane").unwrap();
        let works = table.entries().filter(|(_, support)| matches!(support, Support::Works { .. }));
        assert_eq!(works.map(|(name, _)| name).collect::<BTreeSet<_>>(), read);
    }
}
