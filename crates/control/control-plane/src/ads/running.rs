//! The life of one stream.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use portolan_translate::Limitation;
use portolan_xds::{
    Resource,
    server::{Answer, Received, Watch},
    type_url,
};
use portolan_xds_grpc::Requests;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tonic::Status;

use super::{
    connections::{Connection, Hidden},
    limits::{ACK_TIMEOUT, SEND_TIMEOUT},
    pending::{Due, Pending},
    secrets::Followed,
    session::Session,
    task::StreamTask,
};
use crate::{
    metrics::Metric,
    publish::{Board, Boards},
};

/// State of a running stream.
pub(super) struct Running<S: Session> {
    task: StreamTask<S::Response>,
    session: S,
    connection: Arc<Connection>,
    /// What the proxy reads, and how far it has read.
    boards: Arc<[Arc<Board>]>,
    seen: Vec<u64>,
    hidden: Hidden,
    /// What has not been sent yet.
    pending: Pending,
    /// Secrets that the proxy asks for: they are followed for as long as it does.
    followed: Followed,
    /// What the configuration asks of the proxy and it cannot do, and what was said about that.
    limitations: watch::Receiver<Arc<[Limitation]>>,
    told: Arc<[Limitation]>,
    /// Since when each type waits for an answer.
    waiting: BTreeMap<Arc<str>, Instant>,
    /// The publication that was looked at last.
    generation: u64,
}

impl<S: Session> Running<S> {
    pub(super) fn new(task: StreamTask<S::Response>, session: S, connection: Arc<Connection>) -> Self {
        let boards = connection.subscription.boards();
        Self {
            session,
            seen: boards.iter().map(|board| board.generation()).collect(),
            boards,
            hidden: Hidden::of(&connection.node),
            pending: Pending::default(),
            followed: Followed::default(),
            limitations: connection.subscription.limitations(),
            told: Arc::default(),
            waiting: BTreeMap::new(),
            generation: task.publisher.last().generation,
            connection,
            task,
        }
    }

    pub(super) async fn serve(
        &mut self,
        first: S::Request,
        requests: &mut Requests<S::Request>,
    ) -> Result<(), Status> {
        self.on_request(first).await?;
        loop {
            let retry = self.next_retry();
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.on_request(request).await?,
                    Ok(None) => return Ok(()),
                    // The proxy is gone; there is nobody to tell.
                    Err(status) => {
                        tracing::debug!(proxy = self.connection.id, reason = status.message(), "stream broke");
                        return Ok(());
                    }
                },
                () = self.connection.subscription.changed() => self.on_changed().await?,
                () = self.followed.changed() => {
                    if self.session.watch(type_url::SECRET).is_some() {
                        self.pending.add_everything(type_url::SECRET.into());
                        self.flush(false).await?;
                    }
                }
                () = self.connection.compare.notified() => {
                    self.compare_everything();
                    self.flush(false).await?;
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
        self.waiting
            .iter()
            .filter(|(t, _)| self.pending.contains(t))
            .map(|(_, since)| since)
            .min()
            .map(|since| *since + ACK_TIMEOUT)
    }

    async fn on_request(&mut self, request: S::Request) -> Result<(), Status> {
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
    fn take_in(&mut self, request: S::Request) -> Result<Received, Status> {
        let mut types = self.connection.types.lock();
        if let Some(shown) = types.get_mut(S::type_url(&request)) {
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

    async fn on_changed(&mut self) -> Result<(), Status> {
        if self.session.watch(type_url::LISTENER).is_some() {
            self.tell_limitations();
        }
        self.look();
        let published = self.task.publisher.last();
        let at = published.at.filter(|_| published.generation != self.generation);
        self.generation = published.generation;
        if let Some(at) = at {
            self.task.metrics.observe(Metric::QueueTime, &[], at.elapsed());
        }
        self.flush(false).await?;
        if let Some(at) = at {
            self.task.metrics.observe(Metric::Convergence, &[], at.elapsed());
        }
        Ok(())
    }

    /// Finds out what differs on the boards since the last look.
    fn look(&mut self) {
        let boards = self.connection.subscription.boards();
        if !Arc::ptr_eq(&boards, &self.boards) {
            // Before anything on them is read: what comes later is found by the next look.
            self.seen = boards.iter().map(|board| board.generation()).collect();
            self.boards = boards;
            self.compare_everything();
            return;
        }
        for (board, seen) in self.boards.iter().zip(&mut self.seen) {
            let (generation, differences) = board.since(*seen);
            *seen = generation;
            for (type_url, difference) in differences {
                if let Some(watch) = self.session.watch(type_url) {
                    self.pending.add(type_url, watch, difference);
                }
            }
        }
    }

    fn compare_everything(&mut self) {
        for type_url in self.session.types() {
            self.pending.add_everything(type_url);
        }
    }

    /// Sends what is pending, in order, but not over the head of an unanswered response. When `overdue`, those that have
    /// waited long enough are sent all the same.
    async fn flush(&mut self, overdue: bool) -> Result<(), Status> {
        for type_url in self.pending.types() {
            if !self.pending.contains(&type_url) {
                // It went with another type.
                continue;
            }
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

    /// Sends what the proxy lacks of a type.
    async fn send(&mut self, type_url: &Arc<str>) -> Result<(), Status> {
        let due = self.pending.take(type_url);
        let sent = self.send_one(type_url, due).await?;
        if &**type_url == type_url::CLUSTER && !sent.is_empty() {
            // Envoy warms a changed cluster with the next assignment that it receives.
            if self.session.resend(type_url::ENDPOINT, &sent) {
                let endpoints: Arc<str> = type_url::ENDPOINT.into();
                let due = self.pending.take(&endpoints);
                self.send_one(&endpoints, due).await?;
                self.report(&endpoints);
            }
        }
        Ok(())
    }

    /// Sends what the proxy has asked for, and what it lacks of what is due. Returns the names of what was sent.
    async fn send_one(&mut self, type_url: &Arc<str>, due: Option<Due>) -> Result<Vec<Arc<str>>, Status> {
        let label = [("type", short(type_url))];
        let started = Instant::now();
        let own = if &**type_url == type_url::SECRET { self.secrets().await } else { Vec::new() };
        if &**type_url == type_url::LISTENER {
            self.tell_limitations();
        }
        let answer = self.compare(type_url, due, &own);
        self.task.metrics.observe(Metric::PushTime, &label, started.elapsed());
        let Some((response, names)) = answer else { return Ok(Vec::new()) };
        let started = Instant::now();
        if timeout(SEND_TIMEOUT, self.task.responses.send(Ok(response))).await.is_err() {
            self.task.metrics.count(Metric::WriteTimeout, &[]);
            return Err(Status::deadline_exceeded("the proxy did not take a response within 5 s"));
        }
        self.task.metrics.observe(Metric::SendTime, &[], started.elapsed());
        self.task.metrics.count(Metric::Pushes, &label);
        self.task.metrics.add(Metric::ResourcesSent, &label, names.len() as u64);
        self.waiting.insert(type_url.clone(), Instant::now());
        self.mark_sent(type_url);
        Ok(names)
    }

    fn mark_sent(&self, type_url: &Arc<str>) {
        let mut types = self.connection.types.lock();
        let status = types.entry(type_url.clone()).or_default();
        status.sent_at = Some(Timestamp::now());
        status.generation = self.task.publisher.last().generation;
    }

    fn compare(
        &mut self,
        type_url: &str,
        due: Option<Due>,
        own: &[Arc<Resource>],
    ) -> Option<(S::Response, Vec<Arc<str>>)> {
        let version = self.task.publisher.last().generation.to_string();
        // Without identity there are no secrets.
        let refused = type_url == type_url::SECRET && self.task.caller.is_none();
        let boards = if refused { &[][..] } else { &*self.boards };
        let hidden = |name: &str| self.hidden.hides(type_url, name);
        let source = Boards { boards, type_url, own, hidden: &hidden };
        match due {
            None => self.session.respond(type_url, &source, &version),
            Some(Due::Names(names)) => {
                let names: Vec<Arc<str>> = names.into_iter().collect();
                self.session.update(type_url, &names, &source, &version)
            }
            Some(Due::Everything) => self.session.resync(type_url, &source, &version),
        }
    }

    /// The Kubernetes Secrets that the proxy asks for and may have.
    async fn secrets(&mut self) -> Vec<Arc<Resource>> {
        let Some(names) = self.session.watch(type_url::SECRET).map(|watch| watch.names.clone()) else {
            return Vec::new();
        };
        let Some(caller) = &self.task.caller else { return Vec::new() };
        self.task.secrets.all(&self.connection.node, caller, &names, &mut self.followed).await
    }

    /// Logs what the proxy cannot do, when that differs from what was said last, and shows it on the debug page.
    fn tell_limitations(&mut self) {
        if !self.limitations.has_changed().unwrap_or_default() {
            return;
        }
        let found = self.limitations.borrow_and_update().clone();
        for limitation in found.iter().filter(|limitation| !self.told.contains(limitation)) {
            tracing::warn!(proxy = self.connection.id, %limitation, "configuration that this proxy does not have");
        }
        *self.connection.limitations.lock() = found.iter().map(ToString::to_string).collect();
        self.told = found;
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

/// A type as the metrics name it.
fn short(type_url: &str) -> &'static str {
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
