//! The steps of a measurement: each does one thing, waits until it is everywhere and all is quiet again, and says what it
//! took.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::changes::{Change, ChangeKind};
use super::client::Tally;
use super::cpu::Threads;
use super::credentials::Authority;
use super::fleet::Fleet;
use super::mesh::Mesh;
use super::report::{ChangeRow, ConnectRow, SustainedRow};
use super::servers::Servers;
use super::wait::until;
use crate::error::BenchError;
use crate::process::Memory;
use crate::statistics::{percentile, spread};

/// How long all proxies may take to have everything.
pub(super) const SYNCHRONOUS_WITHIN: Duration = Duration::from_secs(600);
/// How long a change may take to be everywhere.
pub(super) const ARRIVES_WITHIN: Duration = Duration::from_secs(120);
/// How long it may take until all is quiet.
const QUIET_WITHIN: Duration = Duration::from_secs(300);
/// It is quiet when nothing was sent for so long
const QUIET: Duration = Duration::from_millis(400);
/// and the control plane used little CPU in each of two spans of this length:
const QUIET_SPAN: Duration = Duration::from_millis(200);
/// what thousands of idle connections need.
const QUIET_MILLISECONDS: f64 = 6.0;
/// Changes per second when endpoints change all the time.
const RATE: usize = 10;

/// What is measured with.
pub(crate) struct Field {
    pub(crate) servers: Servers,
    pub(crate) mesh: Mesh,
    pub(crate) authority: Authority,
    pub(crate) fleet: Fleet,
}

/// Everything that is counted, at one moment.
struct Counts {
    control_plane: Threads,
    api_server: Threads,
    client: Threads,
    received: Vec<u64>,
    tallies: Vec<Tally>,
}

/// What was used and sent between two moments.
struct Used {
    control_plane_ms: f64,
    api_server_ms: f64,
    client_ms: f64,
    /// By proxy.
    bytes: Vec<f64>,
    /// By proxy.
    responses: Vec<f64>,
}

impl Field {
    fn counts(&mut self) -> Result<Counts, BenchError> {
        Ok(Counts {
            control_plane: Threads::of(self.servers.control_plane()?.pid())?,
            api_server: Threads::of(self.servers.api_server.pid())?,
            client: Threads::of(std::process::id())?,
            received: self.fleet.received(),
            tallies: self.fleet.hub.tallies(),
        })
    }

    fn used_since(&mut self, before: &Counts) -> Result<Used, BenchError> {
        let after = self.counts()?;
        let bytes = before.received.iter().zip(&after.received);
        let responses = before.tallies.iter().zip(&after.tallies);
        Ok(Used {
            control_plane_ms: before.control_plane.milliseconds_until(&after.control_plane),
            api_server_ms: before.api_server.milliseconds_until(&after.api_server),
            client_ms: before.client.milliseconds_until(&after.client),
            bytes: bytes.map(|(before, after)| (after - before) as f64).collect(),
            responses: responses.map(|(before, after)| (after.responses - before.responses) as f64).collect(),
        })
    }

    /// Memory of the control plane now, and the most that it had.
    pub(super) fn memory(&mut self) -> Result<Memory, BenchError> {
        self.servers.control_plane()?.memory()
    }

    /// Waits until nobody is sent anything any more and the control plane rests.
    pub(super) async fn quiet(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + QUIET_WITHIN;
        let mut quiet_spans = 0;
        while quiet_spans < 2 && Instant::now() < deadline {
            let process = self.servers.control_plane()?;
            process.alive()?;
            let pid = process.pid();
            let before = Threads::of(pid)?;
            sleep(QUIET_SPAN).await;
            let used = before.milliseconds_until(&Threads::of(pid)?);
            let silent = self.fleet.hub.last_response().elapsed() >= QUIET;
            quiet_spans = if silent && used < QUIET_MILLISECONDS { quiet_spans + 1 } else { 0 };
        }
        Ok(())
    }

    /// Waits until every proxy has everything that it asked for.
    pub(super) async fn synchronous(&mut self) -> Result<(), BenchError> {
        let (hub, proxies) = (self.fleet.hub.clone(), self.fleet.len());
        if until(SYNCHRONOUS_WITHIN, || hub.synchronous() == proxies).await {
            return Ok(());
        }
        Err(BenchError::NotSynchronous {
            after: SYNCHRONOUS_WITHIN,
            synchronous: hub.synchronous(),
            proxies,
            last: hub.last_failure().unwrap_or_else(|| "none".to_owned()),
        })
    }

    /// All proxies connect.
    pub(crate) async fn connect(&mut self) -> Result<ConnectRow, BenchError> {
        let (before, started) = (self.counts()?, Instant::now());
        self.fleet.open();
        self.synchronous().await?;
        self.quiet().await?;
        let seconds = (self.fleet.hub.last_response() - started).as_secs_f64();
        let used = self.used_since(&before)?;
        let proxies = self.fleet.len() as f64;
        Ok(ConnectRow {
            proxies: self.fleet.len(),
            seconds,
            control_plane_ms_per_proxy: used.control_plane_ms / proxies,
            client_ms_per_proxy: used.client_ms / proxies,
            kib_per_proxy: used.bytes.iter().sum::<f64>() / 1024.0 / proxies,
            responses_per_proxy: used.responses.iter().sum::<f64>() / proxies,
            failed: self.fleet.hub.attempts().failed,
            memory: self.memory()?,
        })
    }

    /// Makes one kind of change a few times.
    pub(crate) async fn changes(&mut self, kind: ChangeKind, times: usize) -> Result<ChangeRow, BenchError> {
        let mut made = Vec::new();
        for number in 0..times {
            let change = kind.make(number, &self.mesh, &self.fleet.proxies, &self.authority)?;
            made.push(self.change(&change).await?);
        }
        let of = |figure: fn(&Made) -> f64| spread(made.iter().map(figure));
        let waited =
            |percent: f64| spread(made.iter().filter_map(|one| percentile(&one.arrived_ms, percent)));
        Ok(ChangeRow {
            change: kind.name(),
            sees: made.first().map_or(0, |one| one.sees),
            times,
            control_plane_ms_per_proxy: of(|one| one.used.control_plane_ms / one.sees as f64),
            client_ms_per_proxy: of(|one| one.used.client_ms / one.sees as f64),
            api_server_ms: of(|one| one.used.api_server_ms),
            p50_ms: waited(50.0),
            p99_ms: waited(99.0),
            last_ms: waited(100.0),
            kib_per_proxy: of(|one| one.bytes_to_those_who_see / 1024.0 / one.sees as f64),
            responses: of(|one| one.used.responses.iter().sum()),
            needless: of(|one| one.needless as f64),
            missing: made.iter().map(|one| one.sees - one.arrived_ms.len()).sum(),
            memory: self.memory()?,
        })
    }

    async fn change(&mut self, change: &Change) -> Result<Made, BenchError> {
        if let Some(object) = &change.before {
            self.servers.api.put(object).await?;
            self.quiet().await?;
        }
        let hub = self.fleet.hub.clone();
        let before = self.counts()?;
        let number = hub.watch(&change.marker, change.wanted.clone());
        self.servers.api.put(&change.object).await?;
        until(ARRIVES_WITHIN, || hub.missing(number) == 0).await;
        self.quiet().await?;
        let arrived_ms = milliseconds(&hub.unwatch(number));
        let used = self.used_since(&before)?;
        let each = || change.wanted.iter().map(|wanted| !wanted.is_empty());
        let of_those =
            |figures: &[f64]| each().zip(figures).filter(|(sees, _)| *sees).map(|(_, figure)| figure).sum();
        let needless =
            each().zip(&used.responses).filter(|(sees, responses)| !sees && **responses > 0.0).count();
        Ok(Made {
            sees: each().filter(|sees| *sees).count(),
            bytes_to_those_who_see: of_those(&used.bytes),
            needless,
            arrived_ms,
            used,
        })
    }

    /// Endpoints change all the time, the first with the number `first`.
    pub(crate) async fn sustained(
        &mut self,
        lasting: Duration,
        first: usize,
    ) -> Result<SustainedRow, BenchError> {
        let hub = self.fleet.hub.clone();
        let count = lasting.as_secs() as usize * RATE;
        let memory_before = self.memory()?;
        let before = self.counts()?;
        let started = Instant::now();
        let mut ticks = interval(Duration::from_secs(1) / RATE as u32);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut on_their_way, mut lags, mut missing) = (Vec::new(), Vec::new(), 0);
        for number in first..first + count {
            ticks.tick().await;
            let made = ChangeKind::Endpoint.make(number, &self.mesh, &self.fleet.proxies, &self.authority)?;
            on_their_way.push(hub.watch(&made.marker, made.wanted));
            self.servers.api.put(&made.object).await?;
            on_their_way.retain(|number| {
                let arrived = hub.missing(*number) == 0;
                if arrived {
                    lags.extend(milliseconds(&hub.unwatch(*number)));
                }
                !arrived
            });
        }
        let seconds = started.elapsed().as_secs_f64();
        let used = self.used_since(&before)?;
        self.quiet().await?;
        for number in on_their_way {
            missing += hub.missing(number);
            lags.extend(milliseconds(&hub.unwatch(number)));
        }
        Ok(SustainedRow {
            changes: count,
            seconds,
            control_plane_cores: used.control_plane_ms / 1e3 / seconds,
            client_cores: used.client_ms / 1e3 / seconds,
            p50_ms: percentile(&lags, 50.0),
            p99_ms: percentile(&lags, 99.0),
            last_ms: percentile(&lags, 100.0),
            missing,
            memory_before,
            memory: self.memory()?,
        })
    }
}

/// One change that was made.
struct Made {
    sees: usize,
    arrived_ms: Vec<f64>,
    bytes_to_those_who_see: f64,
    /// Proxies that were sent something although the change is none of their business.
    needless: usize,
    used: Used,
}

/// The arrivals that there are.
pub(super) fn milliseconds(arrived: &[Option<Duration>]) -> Vec<f64> {
    arrived.iter().flatten().map(|after| after.as_secs_f64() * 1e3).collect()
}
