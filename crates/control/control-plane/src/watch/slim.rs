//! What of an object is kept in memory.

use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Container, Namespace, Node, Pod, PodStatus, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, PeerAuthentication, RequestAuthentication, ServiceEntry,
    Sidecar, VirtualService, WorkloadEntry,
};

/// Drops what the model never reads. Of a Pod that is nine tenths.
pub(super) trait Slim {
    /// Drops it.
    fn slim(&mut self) {}
}

impl Slim for Pod {
    fn slim(&mut self) {
        if let Some(spec) = &mut self.spec {
            spec.volumes = None;
            spec.init_containers = None;
            spec.affinity = None;
            spec.tolerations = None;
            for container in &mut spec.containers {
                *container = Container {
                    name: std::mem::take(&mut container.name),
                    ports: container.ports.take(),
                    ..Container::default()
                };
            }
        }
        if let Some(status) = &mut self.status {
            *status = PodStatus {
                phase: status.phase.take(),
                pod_ip: status.pod_ip.take(),
                pod_ips: status.pod_ips.take(),
                host_ip: status.host_ip.take(),
                ..PodStatus::default()
            };
        }
        // Statuses change all the time; the version alone would make every heartbeat a change.
        self.metadata.resource_version = None;
    }
}

/// Of a Node its labels count; its status says something new every few seconds.
impl Slim for Node {
    fn slim(&mut self) {
        let ObjectMeta { name, labels, .. } = std::mem::take(&mut self.metadata);
        *self = Self { metadata: ObjectMeta { name, labels, ..ObjectMeta::default() }, ..Self::default() };
    }
}

impl Slim for EndpointSlice {}
impl Slim for Service {}
impl Slim for Namespace {}
impl Slim for ConfigMap {}
impl Slim for VirtualService {}
impl Slim for DestinationRule {}
impl Slim for Gateway {}
impl Slim for ServiceEntry {}
impl Slim for WorkloadEntry {}
impl Slim for Sidecar {}
impl Slim for PeerAuthentication {}
impl Slim for AuthorizationPolicy {}
impl Slim for RequestAuthentication {}
