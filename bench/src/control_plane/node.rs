//! What a proxy says of itself when it opens a stream (Envoy: `core.v3.Node`; Istio's node id and metadata).

use portolan_envoy_api::pb::envoy::config::core::v3::{Node, node::UserAgentVersionType};
use portolan_envoy_api::pb::google::protobuf::{Struct, Value, value::Kind};
use portolan_names::{env, labels, names};

use super::mesh::Proxy;

/// The node of a proxy of our own kind.
pub(crate) fn node(proxy: &Proxy) -> Node {
    let Proxy { gateway, pod, namespace, app, address } = proxy;
    let kind = if *gateway { "router" } else { "sidecar" };
    let mut own = vec![(labels::APP, text(app)), (labels::VERSION, text("v1"))];
    if *gateway {
        own.push((labels::ISTIO, text("ingressgateway")));
    }
    let metadata = structure([
        ("NAME", text(pod)),
        ("NAMESPACE", text(namespace)),
        ("SERVICE_ACCOUNT", text(app)),
        ("INSTANCE_IPS", text(address)),
        ("CLUSTER_ID", text(names::CLUSTER_ID)),
        ("ISTIO_VERSION", text("1.9.9")),
        ("INTERCEPTION_MODE", text("REDIRECT")),
        ("LABELS", Kind::StructValue(structure(own))),
        (env::PORTOLAN_PROXY, text(names::PROXY_PORTOLAN)),
    ]);
    Node {
        id: format!("{kind}~{address}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        cluster: format!("{app}.{namespace}"),
        metadata: Some(metadata),
        user_agent_name: "portolan".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
        ..Node::default()
    }
}

fn text(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

fn structure<'a>(fields: impl IntoIterator<Item = (&'a str, Kind)>) -> Struct {
    let field = |(key, kind): (&str, Kind)| (key.to_owned(), Value { kind: Some(kind) });
    Struct { fields: fields.into_iter().map(field).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_who_the_proxy_is() {
        let proxy = Proxy {
            gateway: false,
            pod: "service-0001-2".to_owned(),
            namespace: "ns-01".to_owned(),
            app: "service-0001".to_owned(),
            address: "10.128.0.6".to_owned(),
        };
        let made = node(&proxy);
        assert_eq!(made.id, "sidecar~10.128.0.6~service-0001-2.ns-01~ns-01.svc.cluster.local");
        assert!(made.metadata.unwrap().fields.contains_key("LABELS"));
        assert!(node(&Proxy { gateway: true, ..proxy }).id.starts_with("router~"));
    }
}
