//! What proxies are sent: configuration from `translate`, names for their DNS, secrets.

use std::sync::Arc;

use parking_lot::Mutex;
use portolan_mesh::{Model, ProxyNode, Registry};
use portolan_translate::Generator;
use portolan_xds::{
    Resource,
    istio::{NameInfo, NameTable},
    server::Watch,
    type_url,
};
use prost::Message;

use super::secrets::{Followed, SecretSource};
use crate::auth::Caller;

/// Name of the only resource of the NDS type.
const NAME_TABLE: &str = "nametable";

/// Makes resources. Shared by all streams.
pub struct Resources {
    generator: Generator,
    names: Mutex<Option<Arc<Resource>>>,
    secrets: SecretSource,
}

impl Resources {
    /// Nothing has been made yet.
    pub fn new(secrets: SecretSource) -> Self {
        Self { generator: Generator::default(), names: Mutex::new(None), secrets }
    }

    /// Everything of a type that a proxy watches and may see, secrets excepted.
    pub fn generate(
        &self,
        model: Model<'_>,
        node: &ProxyNode,
        type_url: &str,
        watch: &Watch,
    ) -> Vec<Arc<Resource>> {
        if type_url == type_url::NAME_TABLE {
            return vec![self.name_table(model)];
        }
        if watch.wildcard {
            return self.generator.generate(model, node, type_url, None);
        }
        if watch.names.is_empty() {
            return Vec::new();
        }
        let names: Vec<String> = watch.names.iter().map(|name| name.to_string()).collect();
        self.generator.generate(model, node, type_url, Some(&names))
    }

    /// The secrets that a proxy asks for and may have. `followed` is the proxy's own: what it no longer asks for is
    /// followed no longer.
    pub async fn secrets(
        &self,
        model: Model<'_>,
        node: &ProxyNode,
        caller: Option<&Caller>,
        watch: &Watch,
        followed: &mut Followed,
    ) -> Vec<Arc<Resource>> {
        // Without identity there are no secrets.
        let Some(caller) = caller else { return Vec::new() };
        // The roots of other trust domains, for federation gateways.
        let mut found = self.generate(model, node, type_url::SECRET, watch);
        followed.keep(&watch.names);
        for name in watch.names.iter() {
            if let Some(secret) = self.secrets.get(node, caller, name, followed).await {
                found.push(secret);
            }
        }
        found
    }

    /// The table is the same for all proxies: they share one resource for as long as its bytes stay the same.
    fn name_table(&self, model: Model<'_>) -> Arc<Resource> {
        let table = model
            .dns_table()
            .iter()
            .map(|(host, entry)| {
                let registry = match entry.registry {
                    Registry::Kubernetes => "Kubernetes",
                    Registry::ServiceEntry => "External",
                    Registry::Federation => "Federation",
                };
                let info = NameInfo {
                    ips: entry.addresses.iter().map(ToString::to_string).collect(),
                    registry: registry.to_owned(),
                    ..NameInfo::default()
                };
                (host.clone(), info)
            })
            .collect();
        let body: bytes::Bytes = NameTable { table }.encode_to_vec().into();
        let mut cached = self.names.lock();
        match &*cached {
            Some(resource) if resource.body == body => resource.clone(),
            _ => {
                let resource = Arc::new(Resource::new(NAME_TABLE, type_url::NAME_TABLE, body));
                *cached = Some(resource.clone());
                resource
            }
        }
    }
}
