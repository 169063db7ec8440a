//! Federation's input and output: watches the three resources, asks peers what they export, answers what they ask, and
//! hands what follows from it to the push loop (docs/reference/federation.md). What is decided is decided in the
//! `federation` crate; here are only connections, clocks and the Kubernetes API.
//!
//! A peer that does not answer costs nobody else anything: each has a task of its own that holds no lock and hands over
//! finished lists.

mod client;
mod memory;
mod roots;
mod server;
mod status;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::SelectAll};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, reflector, reflector::Store, watcher},
};
use parking_lot::Mutex;
use portolan_federation::{
    Export, LocalMesh, Peer, PeerState, exports, federation_inputs, import_status, imports,
};
use portolan_mesh::{EndpointAddress, FederationInputs};
use portolan_names::{names, ports};
use portolan_resources::{ExportedServiceSet, ImportedServiceSet, ServiceMeshPeer};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::{args::Args, publish::Publisher, tls::ServerTls};
use client::{PeerTask, Seen};
use memory::Memory;
use server::Discovery;
use status::{Desired, StatusWriter};
use store::named;

/// Changes that come together are worked off together; far below what an un-export may take.
const GATHER: Duration = Duration::from_millis(10);

/// How long the discovery port may be taken by somebody else before it is tried again.
const BIND_RETRY: Duration = Duration::from_secs(5);

/// Everything that federation's input and output needs.
pub struct Federation {
    /// Flags: namespace, port, domain.
    pub args: Args,
    /// The Kubernetes API.
    pub client: Client,
    /// The model.
    pub publisher: Arc<Publisher>,
    /// What is imported; each value replaces the one before. The first is sent when all resources are listed and what
    /// was remembered of peers is in it, even if that is nothing.
    pub inputs: watch::Sender<FederationInputs>,
    /// Certificates for the discovery server (`tls.federation`).
    pub tls: Arc<ServerTls>,
}

/// What is stored in the control plane's namespace.
struct Resources {
    peers: Store<ServiceMeshPeer>,
    exports: Store<ExportedServiceSet>,
    imports: Store<ImportedServiceSet>,
    config_maps: Store<ConfigMap>,
}

/// A change of one kind: which, and whether its list is complete by now.
type Tick = (&'static str, bool);

type Ticks = SelectAll<futures::stream::BoxStream<'static, Tick>>;

/// Kinds that are watched.
const KINDS: usize = 4;

/// Does the event end the first list? A kind that the cluster does not know has none.
fn is_listed<K>(event: &Result<watcher::Event<K>, watcher::Error>) -> bool {
    match event {
        Ok(event) => matches!(event, watcher::Event::InitDone),
        Err(watcher::Error::InitialListFailed(kube::Error::Api(status))) => status.code == 404,
        Err(_) => false,
    }
}

impl Resources {
    /// Starts the watches. The stream ticks whenever one of the stores may have changed.
    fn watch(client: &Client, namespace: &str) -> (Self, Ticks) {
        let mut ticks = Ticks::new();
        macro_rules! follow {
            ($kind:ty) => {{
                let api: Api<$kind> = Api::namespaced(client.clone(), namespace);
                let (reader, writer) = reflector::store();
                let events = watcher(api, watcher::Config::default()).default_backoff().reflect(writer);
                ticks.push(events.map(|event| (stringify!($kind), is_listed(&event))).boxed());
                reader
            }};
        }
        let resources = Resources {
            peers: follow!(ServiceMeshPeer),
            exports: follow!(ExportedServiceSet),
            imports: follow!(ImportedServiceSet),
            config_maps: follow!(ConfigMap),
        };
        (resources, ticks)
    }

    /// By name, without those that are on their way out.
    fn peers(&self) -> Vec<(Peer, Arc<ServiceMeshPeer>)> {
        let mut peers: Vec<(Peer, Arc<ServiceMeshPeer>)> = self
            .peers
            .state()
            .into_iter()
            .filter(|object| object.metadata.deletion_timestamp.is_none())
            .map(|object| {
                let peer = Peer {
                    name: object.metadata.name.clone().unwrap_or_default(),
                    namespace: object.metadata.namespace.clone().unwrap_or_default(),
                    generation: object.metadata.generation.unwrap_or_default(),
                    spec: object.spec.clone(),
                };
                (peer, object)
            })
            .collect();
        peers.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        peers
    }
}

/// Runs federation for as long as the control plane runs.
pub async fn run(federation: Federation) {
    let Federation { args, client, publisher, inputs, tls } = federation;
    let mut published = publisher.published();
    let (resources, mut ticks) = Resources::watch(&client, &args.namespace);
    let news = Arc::new(Notify::new());
    let discovery = Arc::new(Discovery::new(news.clone()));
    tokio::spawn(serve(args.clone(), tls, discovery.clone()));
    let state = Arc::new(Mutex::new(State {
        discovery,
        resources,
        statuses: StatusWriter::start(client, args.namespace.clone()),
        peers: BTreeMap::new(),
        news: news.clone(),
        args,
    }));
    let mut listed = BTreeSet::new();
    let mut first = true;
    loop {
        tokio::select! {
            Some((kind, complete)) = ticks.next() => {
                if complete {
                    listed.insert(kind);
                }
            }
            Ok(()) = published.changed() => {}
            () = news.notified() => {}
            () = inputs.closed() => return,
        }
        sleep(GATHER).await;
        if !published.borrow_and_update().is_ready() || listed.len() < KINDS {
            continue;
        }
        let state = state.clone();
        // Nobody else takes this lock.
        let work = move |publisher: &Arc<Publisher>| publisher.read(|model| state.lock().work_off(model));
        let Some(new) = publisher.blocking(work).await else { continue };
        inputs.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed || std::mem::take(&mut first)
        });
    }
}

async fn serve(args: Args, tls: Arc<ServerTls>, discovery: Arc<Discovery>) {
    loop {
        let address = std::net::SocketAddr::new(args.bind, args.federation_port);
        match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => {
                let accepted = crate::tls::accept_tls(listener, tls.federation.clone());
                return crate::http::serve_http(accepted, server::router(discovery)).await;
            }
            Err(error) => {
                tracing::error!(%address, %error, "peers can't be served; trying again");
                sleep(BIND_RETRY).await;
            }
        }
    }
}

/// What is known of all peers, worked off by one task.
struct State {
    args: Args,
    resources: Resources,
    discovery: Arc<Discovery>,
    statuses: StatusWriter,
    peers: BTreeMap<String, PeerTask>,
    news: Arc<Notify>,
}

impl State {
    fn local_mesh(&self, model: portolan_mesh::Model<'_>) -> LocalMesh {
        let (namespace, domain) = (&self.args.namespace, &self.args.cluster_domain);
        LocalMesh {
            namespace: namespace.clone(),
            trust_domain: model.mesh_config().trust_domain.clone(),
            cluster_domain: domain.clone(),
            discovery_host: format!("{}.{namespace}.svc.{domain}", names::ISTIOD),
            service_account: names::ISTIOD.to_owned(),
            network: model.cluster().network.clone(),
        }
    }

    fn work_off(&mut self, model: portolan_mesh::Model<'_>) -> FederationInputs {
        let mesh = self.local_mesh(model);
        let peers = self.resources.peers();
        self.peers.retain(|name, _| peers.iter().any(|(peer, _)| peer.name == *name));
        let mut states = Vec::new();
        let mut desired = Desired::default();
        let mut served = BTreeMap::new();
        for (peer, object) in peers {
            let task = self.peers.entry(peer.name.clone()).or_insert_with(|| {
                let known = memory::recall(&self.resources.config_maps, &object, peer.trust_domain(&mesh));
                PeerTask::start(peer.clone(), mesh.clone(), known, self.news.clone())
            });
            task.set(peer.clone(), mesh.clone());
            let seen = task.seen();
            let state = peer_state(&self.resources, &mesh, model, &peer, &seen);
            let gateway = peer.gateway_identity(&mesh, &peer.spec.gateways.ingress.name);
            served.insert(peer.name.clone(), (gateway, state.exports.clone()));
            desired.add(&self.resources, &state, &seen, memory::owner(&object));
            states.push(state);
        }
        self.discovery.publish(served);
        desired.remotes = self.discovery.remotes();
        self.statuses.set(desired);
        federation_inputs(&mesh, &states)
    }
}

fn peer_state(
    resources: &Resources,
    mesh: &LocalMesh,
    model: portolan_mesh::Model<'_>,
    peer: &Peer,
    seen: &Seen,
) -> PeerState {
    let gateways = &peer.spec.gateways;
    let export_set = named(&resources.exports, &peer.name);
    let import_set = named(&resources.imports, &peer.name);
    let identities = gateway_identities(mesh, model, peer);
    let found: BTreeMap<String, Export> =
        exports(&model.services(), peer, export_set.as_ref().map(|set| &set.spec), &identities);
    PeerState {
        exports: found,
        imports: imports(mesh, peer, import_set.as_ref().map(|set| &set.spec), &seen.offered),
        locality: import_set.as_ref().and_then(|set| set.spec.locality.clone()),
        remote_addresses: seen.remote_addresses.clone(),
        egress_addresses: gateway_addresses(mesh, model, peer, &gateways.egress.name),
        root_certificates: roots::of(&resources.config_maps, mesh, peer),
        peer: peer.clone(),
    }
}

fn gateway_endpoints(
    mesh: &LocalMesh,
    model: portolan_mesh::Model<'_>,
    peer: &Peer,
    gateway: &str,
) -> Vec<portolan_mesh::Endpoint> {
    let host = format!("{gateway}.{}.svc.{}", peer.namespace, mesh.cluster_domain);
    model.endpoints_of(&host).map_or_else(Vec::new, |e| e.port(ports::FEDERATION_SERVICE).to_vec())
}

/// Addresses of the Pods of a gateway that serve peers.
fn gateway_addresses(
    mesh: &LocalMesh,
    model: portolan_mesh::Model<'_>,
    peer: &Peer,
    gateway: &str,
) -> BTreeSet<IpAddr> {
    let address = |endpoint: &portolan_mesh::Endpoint| match endpoint.address {
        EndpointAddress::Ip(ip) => Some(ip),
        _ => None,
    };
    gateway_endpoints(mesh, model, peer, gateway).iter().filter_map(address).collect()
}

/// Identities that the peer has to expect of our ingress gateway: those of its Pods, and the one that its service
/// account has by convention, so that the list is never empty while the gateway starts.
fn gateway_identities(mesh: &LocalMesh, model: portolan_mesh::Model<'_>, peer: &Peer) -> Vec<String> {
    let gateway = &peer.spec.gateways.ingress.name;
    let running = gateway_endpoints(mesh, model, peer, gateway);
    let mut identities: BTreeSet<String> =
        running.into_iter().filter_map(|endpoint| endpoint.identity).collect();
    identities.insert(peer.gateway_identity(mesh, gateway));
    identities.into_iter().collect()
}

impl Desired {
    fn add(&mut self, resources: &Resources, state: &PeerState, seen: &Seen, owner: Option<OwnerReference>) {
        let name = &state.peer.name;
        // Until the peer has said something there is nothing new to remember.
        if let (Some(owner), true) = (owner, seen.connection.last_full_sync.is_some()) {
            self.memories.insert(name.clone(), Memory { owner, offered: seen.offered.clone() });
        }
        self.watches.insert(name.clone(), seen.connection.clone());
        if named(&resources.exports, name).is_some() {
            self.exports.insert(name.clone(), portolan_federation::export_status(&state.exports));
        }
        if named(&resources.imports, name).is_some() {
            self.imports.insert(name.clone(), import_status(&state.imports));
        }
    }
}
