//! Who is ejected, for how long, and who returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::rates::{above_threshold, below_average};
use super::{Kind, Settings};
use crate::limits::MAX_EJECTION;
use crate::{Environment, Host, HostSet, Moment};

/// What was decided, since the process started. Written by the detector, read by anybody.
#[derive(Debug, Default)]
pub struct Stats {
    /// Hosts that are ejected now.
    pub active: AtomicU64,
    /// Ejections, by the number of the [`Kind`].
    pub enforced: [AtomicU64; Kind::ALL.len()],
    /// Detections, by the number of the [`Kind`]; not all lead to an ejection.
    pub detected: [AtomicU64; Kind::ALL.len()],
    /// Detections that were not acted on because too many hosts are ejected already.
    pub overflow: AtomicU64,
}

/// One decision.
#[derive(Debug)]
pub enum Change<T> {
    /// The host is left alone until then.
    Ejected(Arc<Host<T>>, Kind, Moment),
    /// The host takes part again.
    Returned(Arc<Host<T>>),
}

/// Decides for one cluster. There is one, and it is used by one thread at a time.
#[derive(Debug, Default)]
pub struct Detector {
    next_interval: Option<Moment>,
}

impl Detector {
    /// When it wants to be asked again at the latest, besides when a monitor reports a long series.
    pub fn due(&self) -> Moment {
        self.next_interval.unwrap_or(Moment::NEVER)
    }

    /// Looks at all hosts of a cluster and decides. `settings` are those that hold now, `None` when there is no outlier
    /// detection (any more): then everybody returns.
    pub fn judge<T>(
        &mut self,
        hosts: &HostSet<T>,
        settings: Option<&Settings>,
        stats: &Stats,
        environment: &mut impl Environment,
    ) -> Vec<Change<T>> {
        let now = environment.now();
        let mut changes = Vec::new();
        // Counted anew each time: hosts that left the cluster while they were ejected do not count for ever.
        let mut bench = Bench {
            total: hosts.len() as u64,
            ejected: hosts.iter().filter(|host| host.state.outlier.is_ejected()).count() as u64,
            changes: &mut changes,
            stats,
            now,
        };
        match settings {
            None => {
                self.next_interval = None;
                for host in hosts.iter() {
                    bench.let_return(host);
                    host.state.outlier.backoff.store(0, Relaxed);
                }
            }
            Some(settings) => {
                for host in hosts.iter() {
                    let monitor = &host.state.outlier;
                    for kind in monitor.take_suspected() {
                        if !monitor.is_ejected() {
                            bench.detected(host, kind, settings, environment);
                            // Acted on or not: only a new series counts again.
                            monitor.forget(kind);
                        }
                    }
                }
                let interval = settings.interval.max(std::time::Duration::from_millis(1));
                match self.next_interval {
                    Some(due) if due <= now => {
                        bench.interval(hosts, settings, environment);
                        self.next_interval = Some(now.after(interval));
                    }
                    // A shorter interval holds at once.
                    due => self.next_interval = Some(due.unwrap_or(Moment::NEVER).min(now.after(interval))),
                }
            }
        }
        stats.active.store(bench.ejected, Relaxed);
        changes
    }
}

/// One round of decisions.
struct Bench<'a, T> {
    total: u64,
    ejected: u64,
    changes: &'a mut Vec<Change<T>>,
    stats: &'a Stats,
    now: Moment,
}

impl<T> Bench<'_, T> {
    /// What is done once in an interval: hosts return, statistics are judged, and those who behaved are forgiven.
    fn interval(&mut self, hosts: &HostSet<T>, settings: &Settings, environment: &mut impl Environment) {
        for host in hosts.iter() {
            if host.state.outlier.ejected_until().is_some_and(|until| until <= self.now) {
                self.let_return(host);
            }
        }
        let (responses, connections): (Vec<_>, Vec<_>) =
            hosts.iter().map(|host| host.state.outlier.take_results()).unzip();
        let mut judged = Vec::new();
        for (results, by_rate, by_failures) in [
            (responses, Kind::SuccessRate, Kind::FailurePercentage),
            (connections, Kind::LocalOriginSuccessRate, Kind::LocalOriginFailurePercentage),
        ] {
            // Ejected hosts do not take part, and what a panic sent to them is no measure for the others.
            let results: Vec<_> = hosts
                .iter()
                .zip(results)
                .map(
                    |(host, result)| {
                        if host.state.outlier.is_ejected() { Default::default() } else { result }
                    },
                )
                .collect();
            judged
                .extend(below_average(&results, &settings.success_rate).into_iter().map(|at| (at, by_rate)));
            let failed = above_threshold(&results, &settings.failure_percentage);
            judged.extend(failed.into_iter().map(|at| (at, by_failures)));
        }
        let all: Vec<_> = if judged.is_empty() { Vec::new() } else { hosts.iter().collect() };
        for (at, kind) in judged {
            if let Some(host) = all.get(at).filter(|host| !host.state.outlier.is_ejected()) {
                self.detected(host, kind, settings, environment);
            }
        }
        for host in hosts.iter() {
            let monitor = &host.state.outlier;
            let returned =
                Some(monitor.returned.load(Relaxed)).filter(|at| *at != 0).map(Moment::from_millis);
            let behaved = returned.is_some_and(|at| self.now.since(at) >= settings.interval);
            let backoff = monitor.backoff.load(Relaxed);
            if behaved && backoff > 0 && !monitor.is_ejected() {
                monitor.backoff.store(backoff - 1, Relaxed);
            }
        }
    }

    /// Ejects the host if that is enforced and not too many are ejected already.
    fn detected(
        &mut self,
        host: &Arc<Host<T>>,
        kind: Kind,
        settings: &Settings,
        environment: &mut impl Environment,
    ) {
        self.stats.detected[kind as usize].fetch_add(1, Relaxed);
        let share = (self.ejected + 1) * 100;
        let allowed = share <= u64::from(settings.max_ejection_percent.min(100)) * self.total
            || (settings.always_eject_one_host && self.ejected == 0);
        if !allowed {
            self.stats.overflow.fetch_add(1, Relaxed);
            return;
        }
        if !environment.percent(settings.enforcing(kind)) {
            return;
        }
        let monitor = &host.state.outlier;
        let backoff = monitor.backoff.load(Relaxed).saturating_add(1);
        let longest = settings.max_ejection_time.max(settings.base_ejection_time).min(MAX_EJECTION);
        let grown = settings.base_ejection_time.saturating_mul(backoff);
        // Beyond the longest ejection there is nothing to grow into, and nothing to be forgiven either.
        if grown < longest.saturating_add(settings.base_ejection_time) {
            monitor.backoff.store(backoff, Relaxed);
        }
        let most = u64::try_from(settings.max_ejection_time_jitter.min(MAX_EJECTION).as_millis());
        let jitter = environment.below(most.unwrap_or(u64::MAX).saturating_add(1));
        let until = self.now.after(grown.min(longest)).after(std::time::Duration::from_millis(jitter));
        monitor.eject(until);
        self.ejected += 1;
        self.stats.enforced[kind as usize].fetch_add(1, Relaxed);
        self.changes.push(Change::Ejected(host.clone(), kind, until));
    }

    fn let_return(&mut self, host: &Arc<Host<T>>) {
        let monitor = &host.state.outlier;
        if !monitor.is_ejected() {
            return;
        }
        monitor.let_return();
        monitor.returned.store(self.now.as_millis().max(1), Relaxed);
        self.ejected = self.ejected.saturating_sub(1);
        self.changes.push(Change::Returned(host.clone()));
    }
}
