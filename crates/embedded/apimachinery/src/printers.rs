//! How each kind is printed: the columns of its Table and the cells under them.

mod pods;
mod rows;
mod util;
mod workloads;

use serde_json::{Value, json};

use crate::jsonpath::JsonPath;

/// One column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `date`, ...
    pub kind: String,
    /// `name` for the object's name, else mostly empty.
    pub format: String,
    /// Text for `explain`.
    pub description: String,
    /// 0: always shown; 1: only with `-o wide`.
    pub priority: i64,
    /// Where a custom resource's cell comes from; `None` for built-in kinds.
    pub path: Option<JsonPath>,
}

/// The cells of one object under a kind's own headings; the number is the time that ages are counted from.
type Cells = fn(&Value, i64) -> Vec<Value>;

/// How a built-in kind is printed: headings and the cells under them.
pub(crate) struct Printer {
    /// Headings joined by `|`; `+` marks a wide one, `:i` an integer. `Name` comes first unless it starts with `-`.
    pub(crate) columns: &'static str,
    pub(crate) cells: Cells,
}

/// Columns of a built-in kind.
pub(crate) fn builtin_columns(group: &str, kind: &str) -> Vec<Column> {
    let spec = printer(group, kind).columns;
    let (spec, own_name) = spec.strip_prefix('-').map_or((spec, false), |s| (s, true));
    let mut columns = Vec::new();
    if !own_name {
        columns.push(Column::named("Name"));
    }
    for part in spec.split('|') {
        let (part, priority) = part.strip_prefix('+').map_or((part, 0), |p| (p, 1));
        let (name, kind) = part.strip_suffix(":i").map_or((part, "string"), |p| (p, "integer"));
        columns.push(Column { kind: kind.into(), priority, format: String::new(), ..Column::named(name) });
    }
    columns
}

impl Column {
    /// The `Name` column and the base of others.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: "string".into(),
            format: "name".into(),
            description: String::new(),
            priority: 0,
            path: None,
        }
    }

    /// As a Table describes it.
    pub(crate) fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": self.description,
            "priority": self.priority,
        })
    }
}

/// How a built-in kind is printed.
pub(crate) fn printer(group: &str, kind: &str) -> Printer {
    let (columns, cells): (&'static str, Cells) = match (group, kind) {
        ("", "Pod") => ("Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates", pods::pod),
        ("apps", "Deployment") => {
            ("Ready|Up-to-date:i|Available:i|Age|+Containers|+Images|+Selector", workloads::deployment)
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            ("Desired:i|Current:i|Ready:i|Age|+Containers|+Images|+Selector", workloads::replica_set)
        }
        ("apps", "StatefulSet") => ("Ready|Age|+Containers|+Images", workloads::stateful_set),
        ("apps", "DaemonSet") => (
            "Desired:i|Current:i|Ready:i|Up-to-date:i|Available:i|Node Selector|Age|+Containers|+Images|+Selector",
            workloads::daemon_set,
        ),
        ("apps", "ControllerRevision") => ("Controller|Revision:i|Age", workloads::controller_revision),
        ("batch", "Job") => ("Status|Completions|Duration|Age|+Containers|+Images|+Selector", workloads::job),
        ("batch", "CronJob") => (
            "Schedule|Timezone|Suspend|Active:i|Last Schedule|Age|+Containers|+Images|+Selector",
            workloads::cron_job,
        ),
        ("autoscaling", _) => ("Reference|Targets|MinPods|MaxPods:i|Replicas:i|Age", workloads::autoscaler),
        ("policy", _) => {
            ("Min Available|Max Unavailable|Allowed Disruptions:i|Age", workloads::disruption_budget)
        }
        ("", "Service") => ("Type|Cluster-IP|External-IP|Port(s)|Age|+Selector", rows::service),
        ("", "Endpoints") => ("Endpoints|Age", rows::endpoints),
        ("discovery.k8s.io", _) => ("AddressType|Ports|Endpoints|Age", rows::endpoint_slice),
        ("", "Namespace") => ("Status|Age", rows::namespace),
        ("", "Node") => (
            "Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime",
            rows::node,
        ),
        ("", "ConfigMap") => ("Data:i|Age", rows::config_map),
        ("", "Secret") => ("Type|Data:i|Age", rows::secret),
        ("", "ServiceAccount") => ("Secrets:i|Age", rows::service_account),
        ("", "Event") | ("events.k8s.io", _) => (
            "-Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+Count:i|+Name",
            rows::event,
        ),
        ("", "PersistentVolume") => {
            ("Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|Age", rows::persistent_volume)
        }
        ("", "PersistentVolumeClaim") => {
            ("Status|Volume|Capacity|Access Modes|StorageClass|Age", rows::persistent_volume_claim)
        }
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole")
        | ("apiextensions.k8s.io", _)
        | ("", "LimitRange") => ("Created At", rows::created_at),
        ("rbac.authorization.k8s.io", _) => ("Role|Age|+Users|+Groups|+ServiceAccounts", rows::role_binding),
        ("admissionregistration.k8s.io", _) => ("Webhooks:i|Age", rows::webhooks),
        ("coordination.k8s.io", _) => ("Holder|Age", rows::lease),
        ("networking.k8s.io", "Ingress") => ("Class|Hosts|Address|Ports|Age", rows::ingress),
        ("networking.k8s.io", "IngressClass") => ("Controller|Parameters|Age", rows::ingress_class),
        ("networking.k8s.io", "NetworkPolicy") => ("Pod-Selector|Age", rows::network_policy),
        ("storage.k8s.io", _) => ("Provisioner|ReclaimPolicy|VolumeBindingMode|Age", rows::storage_class),
        ("scheduling.k8s.io", _) => ("Value:i|Global-Default|Age", rows::priority_class),
        ("apiregistration.k8s.io", _) => ("Service|Available|Age", rows::api_service),
        _ => ("Age", rows::only_age),
    };
    Printer { columns, cells }
}
