//! `/debug/configz`: the configuration objects as the control plane has them, those of federation included.

use kube::Resource;
use portolan_mesh::{Kind, Mesh};
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, PeerAuthentication, RequestAuthentication, ServiceEntry,
    Sidecar, VirtualService, WorkloadEntry,
};
use serde::Serialize;
use serde_json::Value;

/// What lists the objects of a kind once the model is let go of.
type List = Box<dyn FnOnce(&mut Vec<Value>) + Send>;

/// The objects as they are now, to be written out by [`configz`].
pub(super) fn objects(mesh: &Mesh) -> Vec<List> {
    vec![
        of::<VirtualService>(mesh),
        of::<DestinationRule>(mesh),
        of::<Gateway>(mesh),
        of::<ServiceEntry>(mesh),
        of::<WorkloadEntry>(mesh),
        of::<Sidecar>(mesh),
        of::<PeerAuthentication>(mesh),
        of::<AuthorizationPolicy>(mesh),
        of::<RequestAuthentication>(mesh),
    ]
}

fn of<K>(mesh: &Mesh) -> List
where
    K: Kind + Resource<DynamicType = ()> + Serialize + Send + Sync + 'static,
{
    let objects = mesh.all::<K>();
    Box::new(move |all| {
        for (_, object) in objects {
            let Ok(mut value) = serde_json::to_value(&*object) else { continue };
            value["apiVersion"] = K::api_version(&()).as_ref().into();
            value["kind"] = K::kind(&()).as_ref().into();
            all.push(value);
        }
    })
}

pub(super) fn configz(objects: Vec<List>) -> Value {
    let mut all = Vec::new();
    objects.into_iter().for_each(|list| list(&mut all));
    Value::Array(all)
}
