//! What every request handler shares.

use std::collections::HashMap;
use std::sync::Arc;

use portolan_apimachinery::crd::Definition;
use portolan_apimachinery::rbac::Policy;
use portolan_apimachinery::{ApiStatus, Resource, ResourceTable};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::addresses::Addresses;
use crate::admission::Webhooks;
use crate::authn::Tokens;
use crate::config::{Dialer, PodDialer};
use crate::derived::Derived;
use crate::keys::{CRDS, RBAC};
use crate::limits;
use crate::logs::PodLogs;
use crate::long_running::LongRunning;
use crate::store::{Object, Store};

/// The API server's state; one per server.
pub(crate) struct Api {
    pub(crate) store: Store,
    table: Derived<Custom>,
    policy: Derived<Policy>,
    pub(crate) webhooks: Webhooks,
    pub(crate) tokens: Tokens,
    pub(crate) addresses: Addresses,
    /// Taken by writes of kinds that are written one object at a time.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    pub(crate) dial: Dialer,
    pub(crate) dial_pod: PodDialer,
    pub(crate) logs: Arc<dyn PodLogs>,
    /// `host:port` by which clients outside reach us, for discovery.
    pub(crate) address: String,
    pub(crate) in_flight: Semaphore,
    /// Taken by requests that keep a processor busy.
    pub(crate) heavy: Arc<Semaphore>,
    pub(crate) long_running: LongRunning,
    /// Cancelled when the server stops: ends watches and logs.
    pub(crate) stop: CancellationToken,
}

/// The served resources, with the compiled CRDs behind them.
struct Custom {
    /// By name of the CRD: the revision that was compiled, so that the others are not compiled again.
    definitions: HashMap<Arc<str>, (u64, Arc<Definition>)>,
    table: ResourceTable,
}

/// The parts that make an [`Api`].
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    pub(crate) addresses: Addresses,
    pub(crate) dial: Dialer,
    pub(crate) dial_pod: PodDialer,
    pub(crate) logs: Arc<dyn PodLogs>,
    pub(crate) address: String,
    pub(crate) stop: CancellationToken,
}

impl Api {
    pub(crate) fn new(parts: Parts) -> Api {
        Api {
            table: Derived::new(&[CRDS]),
            policy: Derived::new(&RBAC),
            webhooks: Webhooks::new(parts.store.clone(), parts.dial.clone()),
            store: parts.store,
            tokens: parts.tokens,
            addresses: parts.addresses,
            turn: Arc::default(),
            dial: parts.dial,
            dial_pod: parts.dial_pod,
            logs: parts.logs,
            address: parts.address,
            in_flight: Semaphore::new(limits::MAX_IN_FLIGHT),
            heavy: Arc::new(Semaphore::new(limits::MAX_HEAVY)),
            long_running: LongRunning::new(limits::MAX_LONG_RUNNING, limits::MAX_LONG_RUNNING_PER_USER),
            stop: parts.stop,
        }
    }

    /// The served resources: the built-in ones and those of established CRDs.
    pub(crate) fn table(&self) -> ResourceTable {
        let custom = self.table.get(&self.store, |last| {
            let mut definitions = HashMap::new();
            for crd in self.store.list(CRDS, None).1 {
                let known = last.and_then(|last| last.definitions.get(&crd.name));
                let compiled = match known {
                    Some((revision, definition)) if *revision == crd.revision => Some(definition.clone()),
                    _ => compile(&crd),
                };
                if let Some(definition) = compiled {
                    definitions.insert(crd.name.clone(), (crd.revision, definition));
                }
            }
            let resources: Vec<Arc<Resource>> = definitions
                .values()
                .flat_map(|(_, definition)| definition.resources().iter().cloned())
                .collect();
            Custom { table: ResourceTable::with_custom(resources), definitions }
        });
        custom.1.table.clone()
    }

    /// One served resource.
    pub(crate) fn resource(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Result<Arc<Resource>, ApiStatus> {
        self.table().get(group, version, plural).cloned().ok_or_else(ApiStatus::unknown_path)
    }

    /// The RBAC policy in force.
    pub(crate) fn policy(&self) -> Arc<(u64, Policy)> {
        self.policy.get(&self.store, |_| {
            let [roles, cluster_roles, bindings, cluster_bindings] =
                RBAC.map(|resource| self.store.list(resource, None).1);
            fn values(objects: &[Arc<Object>]) -> impl Iterator<Item = &Value> {
                objects.iter().map(|object| &object.value)
            }
            Policy::new(values(&roles), values(&cluster_roles), values(&bindings), values(&cluster_bindings))
        })
    }
}

/// Compiles a CRD that is established; the others serve nothing.
fn compile(crd: &Object) -> Option<Arc<Definition>> {
    let conditions = crd.value.pointer("/status/conditions").and_then(Value::as_array)?;
    let established = conditions.iter().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("Established")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    });
    if !established {
        return None;
    }
    match Definition::compile(&crd.value) {
        Ok(definition) => Some(Arc::new(definition)),
        Err(errors) => {
            // It was checked when it was written; only a change of our own rules can lead here.
            tracing::warn!(crd = %crd.name, ?errors, "a stored CRD is not valid and is not served");
            None
        }
    }
}
