//! What of a delta stream between Envoy and the control plane is the agent's own: the roots of peers and the name table.

use portolan_dataplane::config::ResourceKind;
use portolan_envoy_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use portolan_envoy_api::pb::google::rpc;
use portolan_xds::type_url::NAME_TABLE;

use crate::xds_client::{NameTableSink, RootsSink};

/// gRPC code INVALID_ARGUMENT, which a rejection carries.
const INVALID_ARGUMENT: i32 = 3;

/// Subscribes to the roots of peers, by the name of their secret.
pub(super) fn ask_for_roots(name: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ResourceKind::Secret.type_url().to_owned(),
        resource_names_subscribe: vec![name.to_owned()],
        ..DeltaDiscoveryRequest::default()
    }
}

/// Subscribes to the name table.
pub(super) fn ask_for_names() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: NAME_TABLE.to_owned(), ..DeltaDiscoveryRequest::default() }
}

/// Takes a response with the name table, and returns the answer to it.
pub(super) fn keep_names(
    names: Option<&dyn NameTableSink>,
    response: &DeltaDiscoveryResponse,
) -> Option<DeltaDiscoveryRequest> {
    let names = names.filter(|_| response.type_url == NAME_TABLE)?;
    let mut bodies = response.resources.iter().filter_map(|resource| resource.resource.as_ref());
    let reason = bodies.find_map(|body| names.set_table(&body.value).err());
    Some(DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: reason.map(|message| rpc::Status {
            code: INVALID_ARGUMENT,
            message,
            ..rpc::Status::default()
        }),
        ..DeltaDiscoveryRequest::default()
    })
}

/// Takes the peers' roots out of a response. Returns the answer to it when nothing is left that Envoy should see.
pub(super) fn keep_roots(
    roots: &dyn RootsSink,
    response: &mut DeltaDiscoveryResponse,
) -> Option<DeltaDiscoveryRequest> {
    if response.type_url != ResourceKind::Secret.type_url() {
        return None;
    }
    let mut ours = false;
    let mut rejection = None;
    response.resources.retain(|resource| {
        if resource.name != roots.name() {
            return true;
        }
        ours = true;
        let body = resource.resource.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
        if let Err(reason) = roots.set_roots(body) {
            rejection = Some(rpc::Status {
                code: INVALID_ARGUMENT,
                message: format!("{}: {reason}", resource.name),
                ..rpc::Status::default()
            });
        }
        false
    });
    response.removed_resources.retain(|name| {
        let gone = name == roots.name();
        if gone {
            ours = true;
            roots.clear_roots();
        }
        !gone
    });
    if !ours || !response.resources.is_empty() || !response.removed_resources.is_empty() {
        return None;
    }
    Some(DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: rejection,
        ..DeltaDiscoveryRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use portolan_envoy_api::pb::envoy::service::discovery::v3::Resource;
    use portolan_envoy_api::pb::google::protobuf::Any;
    use prost::Message;

    use super::*;
    use crate::certificates::{ROOT, SecretHub, root_secret};

    fn secret(name: &str) -> Resource {
        Resource {
            name: name.to_owned(),
            resource: Some(Any {
                type_url: ResourceKind::Secret.type_url().to_owned(),
                value: root_secret(name, b"pem".to_vec()).encode_to_vec(),
            }),
            ..Resource::default()
        }
    }

    fn response(names: &[&str]) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            type_url: ResourceKind::Secret.type_url().to_owned(),
            nonce: "7".into(),
            resources: names.iter().map(|name| secret(name)).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn roots_stay_with_the_agent() {
        let hub = SecretHub::default();
        let mut only_roots = response(&[ROOT]);
        let answer = keep_roots(&hub, &mut only_roots).unwrap();
        assert_eq!((answer.response_nonce.as_str(), answer.error_detail), ("7", None));
        assert!(hub.get(ROOT).is_some());

        let mut both = response(&[ROOT, "kubernetes://cert"]);
        assert!(keep_roots(&hub, &mut both).is_none());
        assert_eq!(both.resources.len(), 1);

        let mut removed = response(&[]);
        removed.removed_resources.push(ROOT.into());
        assert!(keep_roots(&hub, &mut removed).is_some());
    }

    #[test]
    fn bad_roots_are_rejected() {
        let hub = SecretHub::default();
        let mut bad = response(&[ROOT]);
        bad.resources[0].resource.as_mut().unwrap().value = b"\xff\xff".to_vec();
        assert!(keep_roots(&hub, &mut bad).unwrap().error_detail.is_some());
        assert!(hub.get(ROOT).is_none());
    }
}
