//! A real Envoy validates what a stock Envoy would get, in static form.

use std::{collections::HashMap, fs, process::Command};

use portolan_envoy_api::pb::envoy::config::bootstrap::v3::{
    Bootstrap,
    bootstrap::{DynamicResources, StaticResources},
};
use portolan_mesh::{Dialect, ProxyNode};
use portolan_xds::type_url;
use prost::Message;

use super::fixture;
use super::given::given;
use crate::{naming::CONNECTION_MANAGER_FILTER, pb::*};

#[test]
fn stock_envoy_accepts_everything() {
    let Some(binary) = portolan_testing::needs::envoy() else { return };
    let mesh = portolan_mesh::Mesh::from(&fixture::inputs());
    let folder = std::env::temp_dir().join(format!("portolan-translate-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut failed = Vec::new();
    for node in fixture::nodes().iter().filter(|n| n.metadata.dialect == Dialect::Envoy) {
        let path = folder.join(format!("{}.pb", node.name));
        fs::write(&path, bootstrap(&mesh, node).encode_to_vec()).unwrap();
        let output = Command::new(&binary)
            .args(["--mode", "validate", "-l", "warning", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            failed.push(format!("{}:\n{text}", node.name));
        } else {
            eprintln!("{} accepted\n{text}", node.name);
        }
    }
    let _ = fs::remove_dir_all(&folder);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn decode<T: Message + Default>(mesh: &portolan_mesh::Mesh, node: &ProxyNode, url: &str) -> Vec<T> {
    let resources = given(mesh, node, url);
    resources.iter().map(|r| T::decode(r.body.clone()).unwrap()).collect()
}

/// Everything static: endpoints inside of their clusters, routes inside of their listeners.
fn bootstrap(mesh: &portolan_mesh::Mesh, node: &ProxyNode) -> Bootstrap {
    let endpoints: Vec<endpoint::ClusterLoadAssignment> = decode(mesh, node, type_url::ENDPOINT);
    let routes: Vec<route::RouteConfiguration> = decode(mesh, node, type_url::ROUTE);
    let routes: HashMap<String, _> = routes.into_iter().map(|r| (r.name.clone(), r)).collect();
    let mut clusters: Vec<cluster::Cluster> = decode(mesh, node, type_url::CLUSTER);
    for c in &mut clusters {
        if let Some(eds) = c.eds_cluster_config.take() {
            c.load_assignment = endpoints.iter().find(|e| e.cluster_name == eds.service_name).cloned();
            c.cluster_discovery_type = Some(cluster::cluster::ClusterDiscoveryType::Type(0));
        }
    }
    for name in ["sds-grpc", "xds-grpc"] {
        clusters.push(cluster::Cluster {
            name: name.to_owned(),
            load_assignment: Some(endpoint::ClusterLoadAssignment {
                cluster_name: name.to_owned(),
                endpoints: vec![endpoint::LocalityLbEndpoints {
                    lb_endpoints: vec![endpoint::LbEndpoint {
                        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
                            endpoint::Endpoint {
                                address: Some(socket("127.0.0.1", 1)),
                                ..Default::default()
                            },
                        )),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        });
    }
    let mut listeners: Vec<listener::Listener> = decode(mesh, node, type_url::LISTENER);
    for l in &mut listeners {
        for f in l.filter_chains.iter_mut().chain(&mut l.default_filter_chain).flat_map(|c| &mut c.filters) {
            inline_routes(f, &routes);
        }
    }
    let secrets = decode(mesh, node, type_url::SECRET);
    let ads = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::DeltaGrpc as i32,
        transport_api_version: core::ApiVersion::V3 as i32,
        grpc_services: vec![core::GrpcService {
            target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                core::grpc_service::EnvoyGrpc { cluster_name: "xds-grpc".to_owned(), ..Default::default() },
            )),
            ..Default::default()
        }],
        ..Default::default()
    };
    Bootstrap {
        node: Some(core::Node { id: node.id.clone(), cluster: "test".to_owned(), ..Default::default() }),
        static_resources: Some(StaticResources { listeners, clusters, secrets }),
        dynamic_resources: Some(DynamicResources { ads_config: Some(ads), ..Default::default() }),
        ..Default::default()
    }
}

fn inline_routes(f: &mut listener::Filter, routes: &HashMap<String, route::RouteConfiguration>) {
    use hcm::http_connection_manager::RouteSpecifier;
    if f.name != CONNECTION_MANAGER_FILTER {
        return;
    }
    let Some(listener::filter::ConfigType::TypedConfig(config)) = &mut f.config_type else { return };
    let mut manager = hcm::HttpConnectionManager::decode(config.value.as_slice()).unwrap();
    if let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier {
        let found = routes.get(&rds.route_config_name);
        manager.route_specifier = Some(RouteSpecifier::RouteConfig(
            found.unwrap_or_else(|| panic!("{}", rds.route_config_name)).clone(),
        ));
    }
    *config = any(&manager);
}
