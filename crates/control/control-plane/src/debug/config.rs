//! `/debug/configz`: the configuration objects as the control plane has them, those of federation included.

use std::{collections::BTreeMap, sync::Arc};

use kube::Resource;
use portolan_mesh::{Inputs, ObjectKey};
use serde::Serialize;
use serde_json::Value;

pub(super) fn configz(inputs: &Inputs) -> Value {
    let mut all = Vec::new();
    add(&mut all, &inputs.virtual_services);
    add(&mut all, &inputs.destination_rules);
    add(&mut all, &inputs.gateways);
    add(&mut all, &inputs.service_entries);
    add(&mut all, &inputs.workload_entries);
    add(&mut all, &inputs.sidecars);
    add(&mut all, &inputs.peer_authentications);
    add(&mut all, &inputs.authorization_policies);
    add(&mut all, &inputs.request_authentications);
    let federation = &inputs.federation.configs;
    list(&mut all, federation.gateways.iter());
    list(&mut all, federation.virtual_services.iter());
    list(&mut all, federation.destination_rules.iter());
    list(&mut all, federation.service_entries.iter());
    list(&mut all, federation.authorization_policies.iter());
    Value::Array(all)
}

fn add<K: Resource<DynamicType = ()> + Serialize>(
    all: &mut Vec<Value>,
    objects: &BTreeMap<ObjectKey, Arc<K>>,
) {
    list(all, objects.values());
}

fn list<'a, K>(all: &mut Vec<Value>, objects: impl Iterator<Item = &'a Arc<K>>)
where
    K: Resource<DynamicType = ()> + Serialize + 'a,
{
    for object in objects {
        let Ok(mut value) = serde_json::to_value(&**object) else { continue };
        value["apiVersion"] = K::api_version(&()).as_ref().into();
        value["kind"] = K::kind(&()).as_ref().into();
        all.push(value);
    }
}
