//! The life of one stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use jiff::Timestamp;
use portolan_envoy_api::pb::envoy::config::core::v3::{Node, node};
use portolan_mesh::{ProxyNode, Snapshot};
use portolan_translate::{Limitation, limitations};
use portolan_xds::{
    json,
    names::ClusterName,
    server::{Answer, Collected, Received, Watch, sort_by_push_order},
    type_url,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tonic::{Status, Streaming};

use super::{
    connections::{Connection, Connections},
    limits::{ACK_TIMEOUT, SEND_TIMEOUT},
    resources::Resources,
    secrets::Followed,
    session::Session,
};
use crate::{
    auth::Caller,
    metrics::{Metric, Metrics},
    push::{Changed, Published},
};

/// Longest wait for the first request.
const FIRST_REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Everything that one stream needs.
pub(super) struct StreamTask<R> {
    pub(super) published: watch::Receiver<Published>,
    pub(super) connections: Arc<Connections>,
    pub(super) resources: Arc<Resources>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) generators: Arc<Semaphore>,
    pub(super) caller: Option<Caller>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) responses: mpsc::Sender<Result<R, Status>>,
}

/// State of a running stream.
struct Running<S: Session> {
    task: StreamTask<S::Response>,
    session: S,
    connection: Arc<Connection>,
    /// Types with changes that have not been sent yet.
    pending: BTreeSet<Arc<str>>,
    /// Secrets that the proxy asks for: they are followed for as long as it does.
    followed: Followed,
    /// What the configuration asks of the proxy and it cannot do.
    limitations: Vec<Limitation>,
    /// Since when each type waits for an answer.
    waiting: BTreeMap<Arc<str>, Instant>,
    generation: u64,
}

impl<R: Send + 'static> StreamTask<R> {
    /// Serves the stream until either side ends it.
    pub(super) async fn run<S: Session<Response = R>>(mut self, mut requests: Streaming<S::Request>) {
        let outcome = self.open::<S>(&mut requests).await;
        let (first, connection, number) = match outcome {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(status) => {
                self.end(status).await;
                return;
            }
        };
        let _registered = self.connections.register(number, connection.clone());
        self.count_streams();
        tracing::info!(proxy = connection.id, address = ?self.peer, "proxy connected");
        let (connections, metrics) = (self.connections.clone(), self.metrics.clone());
        let generation = self.published.borrow_and_update().generation;
        let responses = self.responses.clone();
        let mut running = Running::<S> {
            session: S::open(format!("{number:x}-")),
            connection: connection.clone(),
            pending: BTreeSet::new(),
            followed: Followed::default(),
            limitations: Vec::new(),
            waiting: BTreeMap::new(),
            generation,
            task: self,
        };
        let ended = running.serve(first, &mut requests).await;
        drop(_registered);
        metrics.set(Metric::Xds, &[("version", env!("CARGO_PKG_VERSION"))], connections.len() as u64);
        match ended {
            Ok(()) => tracing::info!(proxy = connection.id, "proxy disconnected"),
            Err(status) => {
                tracing::warn!(proxy = connection.id, reason = status.message(), "stream closed");
                let _ = timeout(SEND_TIMEOUT, responses.send(Err(status))).await;
            }
        }
    }

    fn count_streams(&self) {
        let open = self.connections.len() as u64;
        self.metrics.set(Metric::Xds, &[("version", env!("CARGO_PKG_VERSION"))], open);
    }

    async fn end(&self, status: Status) {
        tracing::warn!(address = ?self.peer, reason = status.message(), "stream refused");
        let _ = timeout(SEND_TIMEOUT, self.responses.send(Err(status))).await;
    }

    /// Reads the first request, which says who the proxy is, and checks that it is.
    async fn open<S: Session<Response = R>>(
        &mut self,
        requests: &mut Streaming<S::Request>,
    ) -> Result<Option<(S::Request, Arc<Connection>, u64)>, Status> {
        let first = timeout(FIRST_REQUEST_TIMEOUT, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no request within 30 s of opening the stream"))??;
        let Some(first) = first else { return Ok(None) };
        let stated = S::node(&first)
            .filter(|node| !node.id.is_empty())
            .ok_or_else(|| Status::invalid_argument("the first request must state node.id"))?;
        let metadata = stated.metadata.as_ref().map(json::to_json).transpose();
        let metadata =
            metadata.map_err(|error| Status::invalid_argument(format!("node.metadata: {error}")))?;
        let node = ProxyNode::parse(&stated.id, &metadata.unwrap_or_default())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if let Some(caller) = &self.caller {
            caller.may_be(&node)?;
        }
        let number = self.connections.next_number();
        let connection = Arc::new(Connection {
            id: format!("{}-{number}", node.id),
            proxy_version: version(stated),
            node: Arc::new(node),
            address: self.peer,
            identity: self.caller.as_ref().map(|caller| caller.id().to_string()),
            connected_at: Timestamp::now(),
            types: Default::default(),
            limitations: Default::default(),
        });
        Ok(Some((first, connection, number)))
    }
}

/// `build_version` in the form that people know, else the user agent's.
fn version(node: &Node) -> String {
    match &node.user_agent_version_type {
        Some(node::UserAgentVersionType::UserAgentVersion(text)) => text.clone(),
        Some(node::UserAgentVersionType::UserAgentBuildVersion(build)) => {
            build.version.as_ref().map_or_else(String::new, |version| {
                format!("{}.{}.{}", version.major_number, version.minor_number, version.patch)
            })
        }
        None => String::new(),
    }
}

impl<S: Session> Running<S> {
    async fn serve(&mut self, first: S::Request, requests: &mut Streaming<S::Request>) -> Result<(), Status> {
        self.on_request(&first).await?;
        loop {
            let retry = self.next_retry();
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.on_request(&request).await?,
                    Ok(None) => return Ok(()),
                    // The proxy is gone; there is nobody to tell.
                    Err(status) => {
                        tracing::debug!(proxy = self.connection.id, reason = status.message(), "stream broke");
                        return Ok(());
                    }
                },
                changed = self.task.published.changed() => {
                    if changed.is_err() {
                        return Err(Status::unavailable("the control plane is shutting down"));
                    }
                    self.on_published().await?;
                }
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                    self.task.metrics.count(Metric::DelayedTimeouts, &[]);
                    self.flush(true).await?;
                }
                () = self.task.responses.closed() => return Ok(()),
            }
        }
    }

    /// When the longest wait for an answer is over, if something is held back by it.
    fn next_retry(&self) -> Option<Instant> {
        self.pending.iter().filter_map(|t| self.waiting.get(t)).min().map(|since| *since + ACK_TIMEOUT)
    }

    async fn on_request(&mut self, request: &S::Request) -> Result<(), Status> {
        let received = self.take_in(request)?;
        let type_url = received.type_url.clone();
        match &received.answer {
            Answer::None => {}
            Answer::Expired => self.task.metrics.count(Metric::ExpiredNonce, &[("type", short(&type_url))]),
            Answer::Ack => {
                self.waiting.remove(&type_url);
                self.clear_reject(&type_url);
            }
            Answer::Nack(text) => {
                self.waiting.remove(&type_url);
                tracing::warn!(
                    proxy = self.connection.id,
                    r#type = short(&type_url),
                    error = text,
                    "proxy refused configuration; it keeps what it had"
                );
                self.task.metrics.count(Metric::Rejects, &[("type", short(&type_url))]);
                if let Some(metric) = reject_metric(&type_url) {
                    let labels = [("node", self.connection.node.id.as_str()), ("err", "INVALID_ARGUMENT")];
                    self.task.metrics.set(metric, &labels, 1);
                }
            }
        }
        if received.respond {
            self.send(&type_url).await?;
        } else if self.pending.contains(&type_url) {
            self.flush(false).await?;
        }
        self.report(&type_url);
        Ok(())
    }

    /// Hands a request to the session. The debug pages let go of the names that are watched meanwhile: nobody has to copy
    /// all of them because the request asks for one more.
    fn take_in(&mut self, request: &S::Request) -> Result<Received, Status> {
        let mut types = self.connection.types.lock();
        if let Some(shown) = types.get_mut(S::type_url(request)) {
            shown.watch = Watch::default();
        }
        let received =
            self.session.on_request(request).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if let Some(watch) = self.session.watch(&received.type_url) {
            types.entry(received.type_url.clone()).or_default().watch = watch.clone();
        }
        Ok(received)
    }

    fn clear_reject(&self, type_url: &str) {
        if let Some(metric) = reject_metric(type_url) {
            let labels = [("node", self.connection.node.id.as_str()), ("err", "INVALID_ARGUMENT")];
            if self.task.metrics.gauge(metric, &labels) > 0 {
                self.task.metrics.set(metric, &labels, 0);
            }
        }
    }

    async fn on_published(&mut self) -> Result<(), Status> {
        let (changed, generation, at) = {
            let published = self.task.published.borrow_and_update();
            (published.since(self.generation), published.generation, published.at)
        };
        self.generation = generation;
        match changed {
            Changed::Nothing => return Ok(()),
            Changed::Everything => self.pending.extend(self.session.types()),
            Changed::Workloads(reach) if reach.touches(&self.connection.node) => {
                self.pending.extend(self.session.types());
            }
            Changed::Workloads(reach) => {
                if reach.clusters && self.session.watch(type_url::CLUSTER).is_some() {
                    self.pending.insert(type_url::CLUSTER.into());
                }
                let watched = self.session.watch(type_url::ENDPOINT);
                if watched.is_some_and(|watch| concerns(watch, &reach.hosts)) {
                    self.pending.insert(type_url::ENDPOINT.into());
                }
            }
        }
        let started = Instant::now();
        if let Some(at) = at {
            self.task.metrics.observe(Metric::QueueTime, &[], started.duration_since(at));
        }
        self.flush(false).await?;
        if let Some(at) = at {
            self.task.metrics.observe(Metric::Convergence, &[], at.elapsed());
        }
        Ok(())
    }

    /// Sends what is pending, in order, but not over the head of an unanswered response. When `overdue`, those that have
    /// waited long enough are sent all the same.
    async fn flush(&mut self, overdue: bool) -> Result<(), Status> {
        let mut types: Vec<Arc<str>> = self.pending.iter().cloned().collect();
        sort_by_push_order(&mut types);
        for type_url in types {
            if self.session.blocked(&type_url) {
                let late = overdue
                    && self.waiting.get(&type_url).is_some_and(|since| since.elapsed() >= ACK_TIMEOUT);
                if !late || self.session.full(&type_url) {
                    self.waiting.entry(type_url.clone()).or_insert_with(Instant::now);
                    self.task.metrics.count(Metric::DelayedPushes, &[("type", short(&type_url))]);
                    if self.session.full(&type_url) && late {
                        return Err(Status::resource_exhausted(format!(
                            "the proxy does not answer responses of type {type_url}"
                        )));
                    }
                    continue;
                }
            }
            self.send(&type_url).await?;
            self.report(&type_url);
        }
        Ok(())
    }

    /// Generates one type and sends what the proxy lacks of it.
    async fn send(&mut self, type_url: &Arc<str>) -> Result<(), Status> {
        let changed = self.pending.remove(type_url);
        let sent = self.send_one(type_url, changed).await?;
        if &**type_url == type_url::CLUSTER && !sent.is_empty() {
            // Envoy warms a changed cluster with the next assignment that it receives.
            if self.session.resend(type_url::ENDPOINT, &sent) {
                let endpoints: Arc<str> = type_url::ENDPOINT.into();
                let changed = self.pending.remove(&endpoints);
                self.send_one(&endpoints, changed).await?;
                self.report(&endpoints);
            }
        }
        Ok(())
    }

    /// Sends what the proxy has asked for, or, when something has changed, whatever it lacks. Returns the names of what was
    /// sent.
    async fn send_one(&mut self, type_url: &Arc<str>, changed: bool) -> Result<Vec<Arc<str>>, Status> {
        let Some(watch) = self.session.watch(type_url).cloned() else { return Ok(Vec::new()) };
        let (snapshot, version) = {
            let published = self.task.published.borrow();
            (published.snapshot.clone(), published.version())
        };
        let Some(snapshot) = snapshot else { return Ok(Vec::new()) };
        let label = [("type", short(type_url))];
        let started = Instant::now();
        let current = self.generate(snapshot, type_url, watch).await?;
        self.task.metrics.observe(Metric::PushTime, &label, started.elapsed());
        let answer = if changed {
            self.session.resync(type_url, &current, &version)
        } else {
            self.session.respond(type_url, &current, &version)
        };
        let Some((response, names)) = answer else { return Ok(Vec::new()) };
        let started = Instant::now();
        if timeout(SEND_TIMEOUT, self.task.responses.send(Ok(response))).await.is_err() {
            self.task.metrics.count(Metric::WriteTimeout, &[]);
            return Err(Status::deadline_exceeded("the proxy did not take a response within 5 s"));
        }
        self.task.metrics.observe(Metric::SendTime, &[], started.elapsed());
        self.task.metrics.count(Metric::Pushes, &label);
        self.waiting.insert(type_url.clone(), Instant::now());
        if let Some(status) = self.connection.types.lock().get_mut(type_url) {
            status.sent_at = Some(Timestamp::now());
        }
        self.mark_sent(type_url);
        Ok(names)
    }

    fn mark_sent(&self, type_url: &Arc<str>) {
        let mut types = self.connection.types.lock();
        let status = types.entry(type_url.clone()).or_default();
        status.sent_at = Some(Timestamp::now());
        status.generation = self.generation;
    }

    async fn generate(
        &mut self,
        snapshot: Arc<Snapshot>,
        type_url: &Arc<str>,
        watch: Watch,
    ) -> Result<Collected, Status> {
        if &**type_url == type_url::SECRET {
            let caller = self.task.caller.as_ref();
            let node = &self.connection.node;
            let secrets = self.task.resources.secrets(&snapshot, node, caller, &watch, &mut self.followed);
            return Ok(secrets.await.into_iter().collect());
        }
        if &**type_url == type_url::LISTENER {
            self.tell_limitations(&snapshot);
        }
        let _permit = self.task.generators.acquire().await;
        let (resources, node, wanted) =
            (self.task.resources.clone(), self.connection.node.clone(), type_url.clone());
        let generate = move || resources.generate(&snapshot, &node, &wanted, &watch).into_iter().collect();
        tokio::task::spawn_blocking(generate).await.map_err(|error| {
            self.task.metrics.count(Metric::InternalErrors, &[]);
            tracing::error!(proxy = self.connection.id, r#type = &**type_url, %error, "generation failed");
            Status::internal("configuration could not be generated; see the control plane's log")
        })
    }

    /// Logs what the proxy cannot do, when that differs from what was said last, and shows it on the debug page.
    fn tell_limitations(&mut self, snapshot: &Snapshot) {
        let found = limitations(snapshot, &self.connection.node);
        if found == self.limitations {
            return;
        }
        for limitation in found.iter().filter(|limitation| !self.limitations.contains(limitation)) {
            tracing::warn!(proxy = self.connection.id, %limitation, "configuration that this proxy does not have");
        }
        *self.connection.limitations.lock() = found.iter().map(ToString::to_string).collect();
        self.limitations = found;
    }

    /// Copies the state of a type to where the debug endpoints see it.
    fn report(&self, type_url: &Arc<str>) {
        let (Some(status), Some(watch)) = (self.session.status(type_url), self.session.watch(type_url))
        else {
            return;
        };
        let mut types = self.connection.types.lock();
        let entry = types.entry(type_url.clone()).or_default();
        entry.status = status;
        entry.watch = watch.clone();
    }
}

/// Whether a watch of endpoints names a cluster of one of the hosts.
fn concerns(watch: &Watch, hosts: &BTreeSet<String>) -> bool {
    watch.wildcard
        || watch
            .names
            .iter()
            .any(|name| ClusterName::parse(name).is_none_or(|cluster| hosts.contains(&cluster.host)))
}

/// A type as the metrics name it.
pub(super) fn short(type_url: &str) -> &'static str {
    match type_url {
        type_url::CLUSTER => "cds",
        type_url::ENDPOINT => "eds",
        type_url::LISTENER => "lds",
        type_url::ROUTE => "rds",
        type_url::VIRTUAL_HOST => "vhds",
        type_url::SECRET => "sds",
        type_url::NAME_TABLE => "nds",
        type_url::EXTENSION_CONFIG => "ecds",
        _ => "other",
    }
}

fn reject_metric(type_url: &str) -> Option<Metric> {
    Some(match type_url {
        type_url::CLUSTER => Metric::CdsReject,
        type_url::ENDPOINT => Metric::EdsReject,
        type_url::LISTENER => Metric::LdsReject,
        type_url::ROUTE => Metric::RdsReject,
        _ => return None,
    })
}
