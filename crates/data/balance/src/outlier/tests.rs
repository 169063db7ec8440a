//! The detector step by step, with a clock that the test moves.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::{Script, Seeded, host, set};
use crate::{HostSet, Moment};

/// A cluster under observation.
struct Watched {
    hosts: HostSet<()>,
    settings: Settings,
    stats: Stats,
    detector: Detector,
    environment: Script,
}

impl Watched {
    /// Each series of three ejects; up to half of the hosts may go; judged every second.
    fn new(count: usize) -> Watched {
        let settings = Settings {
            interval: Duration::from_secs(1),
            base_ejection_time: Duration::from_secs(10),
            max_ejection_time: Duration::from_secs(35),
            max_ejection_percent: 50,
            consecutive_5xx: 3,
            ..Settings::default()
        };
        let hosts = set((0..count).map(|at| host(&format!("10.0.0.{at}:80"))).collect());
        let mut watched = Watched {
            hosts,
            settings,
            stats: Stats::default(),
            detector: Detector::default(),
            environment: Script::new([0]),
        };
        watched.judge();
        watched
    }

    fn monitor(&self, at: usize) -> &Monitor {
        &self.hosts.iter().nth(at).unwrap().state.outlier
    }

    fn report(&self, at: usize, outcome: Outcome, times: usize) -> bool {
        (0..times).fold(false, |_, _| self.monitor(at).report(&self.settings, outcome))
    }

    fn fail(&mut self, at: usize, times: usize) {
        if self.report(at, Outcome::Status(500), times) {
            self.judge();
        }
    }

    fn judge(&mut self) -> Vec<Change<()>> {
        self.detector.judge(&self.hosts, Some(&self.settings), &self.stats, &mut self.environment)
    }

    /// Time passes in steps of one interval.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.environment.now = self.environment.now.after(Duration::from_secs(1));
            self.judge();
        }
    }

    fn ejected(&self) -> Vec<usize> {
        let ejected = |(at, host): (usize, &std::sync::Arc<crate::Host<()>>)| {
            host.state.outlier.is_ejected().then_some(at)
        };
        self.hosts.iter().enumerate().filter_map(ejected).collect()
    }

    fn count(&self, counters: &[std::sync::atomic::AtomicU64; 7], kind: Kind) -> u64 {
        counters[kind as usize].load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn a_series_of_failures_ejects() {
    let mut watched = Watched::new(4);
    watched.fail(0, 2);
    assert_eq!(watched.ejected(), [0usize; 0]);
    watched.fail(0, 1);
    assert_eq!(watched.ejected(), [0]);
    assert_eq!(watched.count(&watched.stats.enforced, Kind::Consecutive5xx), 1);
}

#[test]
fn a_success_breaks_the_series() {
    let mut watched = Watched::new(4);
    watched.fail(0, 2);
    watched.report(0, Outcome::Status(404), 1);
    watched.fail(0, 2);
    assert_eq!(watched.ejected(), [0usize; 0]);
}

#[test]
fn a_limit_of_zero_is_no_limit() {
    let mut watched = Watched::new(4);
    watched.settings.consecutive_5xx = 0;
    watched.settings.consecutive_gateway_failure = 0;
    watched.fail(0, 100);
    assert_eq!(watched.ejected(), [0usize; 0]);
}

/// A host that always fails must not escape because an ejection was refused once.
#[test]
fn a_refused_host_is_ejected_as_soon_as_there_is_room() {
    let mut watched = Watched::new(2);
    watched.fail(0, 3);
    watched.fail(1, 3);
    assert_eq!(watched.ejected(), [0], "only half of them may go");
    assert_eq!(watched.stats.overflow.load(std::sync::atomic::Ordering::Relaxed), 1);
    // The other one fails on while the first is away.
    watched.fail(1, 10);
    watched.pass(10);
    assert_eq!(watched.ejected(), [0usize; 0], "the first one has returned");
    watched.fail(1, 3);
    assert_eq!(watched.ejected(), [1]);
}

#[test]
fn a_host_that_chance_spared_is_judged_again() {
    let mut watched = Watched::new(4);
    watched.settings.enforcing[Kind::Consecutive5xx as usize] = 50;
    watched.environment = Script::new([u64::MAX]);
    watched.fail(0, 3);
    assert_eq!(watched.ejected(), [0usize; 0]);
    watched.environment = Script::new([0]);
    watched.fail(0, 2);
    assert_eq!(watched.ejected(), [0usize; 0], "a whole new series is needed");
    watched.fail(0, 1);
    assert_eq!(watched.ejected(), [0]);
    assert_eq!(watched.count(&watched.stats.detected, Kind::Consecutive5xx), 2);
}

/// The number of ejected hosts is that of the hosts, whatever happened to it in between.
#[test]
fn the_count_follows_the_hosts() {
    let mut watched = Watched::new(4);
    watched.fail(0, 3);
    watched.stats.active.store(0, std::sync::atomic::Ordering::Relaxed);
    watched.pass(10);
    assert_eq!(watched.ejected(), [0usize; 0], "it returns though the count said that nobody is away");
    watched.fail(0, 3);
    // An ejected host that leaves the cluster does not take the place of another one.
    let rest: Vec<_> = watched.hosts.priorities[0][0].hosts.drain(1..).collect();
    watched.hosts.priorities[0][0].hosts = rest;
    watched.pass(1);
    assert_eq!(watched.stats.active.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// An ejection and its end appear together: judging in the same instant lets nobody return.
#[test]
fn an_ejection_lasts_though_it_is_judged_at_once() {
    let mut watched = Watched::new(4);
    watched.environment.now = Moment::from_millis(1_000);
    watched.report(0, Outcome::Status(500), 3);
    watched.judge();
    watched.judge();
    assert_eq!(watched.ejected(), [0]);
    assert_eq!(watched.monitor(0).ejected_until(), Some(Moment::from_millis(11_000)));
}

#[test]
fn without_outlier_detection_everybody_returns() {
    let mut watched = Watched::new(4);
    watched.fail(0, 3);
    let changes = watched.detector.judge(&watched.hosts, None, &watched.stats, &mut watched.environment);
    assert!(matches!(changes[..], [Change::Returned(_)]));
    assert_eq!(watched.ejected(), [0usize; 0]);
    assert_eq!(watched.detector.due(), Moment::NEVER);
}

/// Workers only report; however many of them do so at the same time, the limit holds.
#[test]
fn reports_of_many_workers_eject_no_more_than_allowed() {
    let mut watched = Watched::new(10);
    std::thread::scope(|scope| {
        for at in 0..10 {
            let watched = &watched;
            scope.spawn(move || watched.report(at, Outcome::Status(503), 100));
        }
    });
    watched.judge();
    assert_eq!(watched.ejected().len(), 5);
}

#[test]
fn one_host_may_always_be_ejected_where_that_is_set() {
    let mut watched = Watched::new(3);
    watched.settings.max_ejection_percent = 10;
    watched.fail(0, 3);
    assert_eq!(watched.ejected(), [0usize; 0]);
    watched.settings.always_eject_one_host = true;
    watched.fail(0, 3);
    watched.fail(1, 3);
    assert_eq!(watched.ejected(), [0]);
}

#[test]
fn hosts_return_at_an_interval_after_their_time() {
    let mut watched = Watched::new(4);
    watched.fail(0, 3);
    watched.pass(9);
    assert_eq!(watched.ejected(), [0]);
    watched.pass(1);
    assert_eq!(watched.ejected(), [0usize; 0]);
}

#[test]
fn counters_begin_anew_after_a_return() {
    let mut watched = Watched::new(4);
    watched.fail(0, 3);
    // In a panic it gets requests all the same.
    watched.report(0, Outcome::Status(502), 50);
    watched.pass(10);
    watched.fail(0, 2);
    assert_eq!(watched.ejected(), [0usize; 0]);
}

/// How long each of a number of ejections lasts that follow each other at once.
fn lengths(watched: &mut Watched, count: usize) -> Vec<u64> {
    (0..count)
        .map(|_| {
            watched.fail(0, 3);
            let until = watched.monitor(0).ejected_until().unwrap();
            let length = until.since(watched.environment.now).as_secs();
            watched.pass(length);
            assert_eq!(watched.ejected(), [0usize; 0]);
            length
        })
        .collect()
}

#[test]
fn ejections_grow_up_to_the_longest() {
    assert_eq!(lengths(&mut Watched::new(4), 6), [10, 20, 30, 35, 35, 35]);
}

#[test]
fn ejections_shrink_while_the_host_behaves() {
    let mut watched = Watched::new(4);
    assert_eq!(lengths(&mut watched, 3), [10, 20, 30]);
    watched.pass(2);
    assert_eq!(lengths(&mut watched, 1), [20], "two good intervals take two steps back");
    watched.pass(60);
    assert_eq!(lengths(&mut watched, 1), [10]);
}

#[test]
fn jitter_makes_an_ejection_longer() {
    let mut watched = Watched::new(4);
    watched.settings.max_ejection_time_jitter = Duration::from_secs(4);
    watched.environment = Script::new([0, u64::MAX]);
    watched.fail(0, 3);
    assert_eq!(watched.monitor(0).ejected_until(), Some(Moment::from_millis(14_000)));
}

#[test]
fn gateway_failures_are_a_series_of_their_own() {
    let mut watched = Watched::new(4);
    watched.settings.consecutive_5xx = 0;
    watched.settings.consecutive_gateway_failure = 3;
    watched.settings.enforcing[Kind::ConsecutiveGatewayFailure as usize] = 100;
    watched.report(0, Outcome::Status(502), 2);
    watched.report(0, Outcome::Status(500), 1);
    watched.report(0, Outcome::Status(504), 2);
    watched.judge();
    assert_eq!(watched.ejected(), [0usize; 0], "another failure than of a gateway breaks it");
    watched.report(0, Outcome::LocalFailure, 1);
    watched.judge();
    assert_eq!(watched.ejected(), [0], "a failure found out here counts as 503");
}

#[test]
fn local_failures_can_be_counted_apart() {
    let mut watched = Watched::new(4);
    watched.settings.split_local_origin = true;
    watched.settings.consecutive_local_origin_failure = 2;
    watched.report(0, Outcome::LocalFailure, 1);
    watched.report(0, Outcome::Status(500), 1);
    watched.report(0, Outcome::LocalFailure, 1);
    watched.judge();
    assert_eq!(watched.ejected(), [0usize; 0], "who answers was connected to");
    watched.report(0, Outcome::LocalFailure, 1);
    watched.judge();
    assert_eq!(watched.ejected(), [0]);
    assert_eq!(watched.count(&watched.stats.enforced, Kind::ConsecutiveLocalOriginFailure), 1);
}

#[test]
fn a_low_success_rate_ejects_at_the_interval() {
    let mut watched = Watched::new(5);
    watched.settings.consecutive_5xx = 0;
    for at in 0..5 {
        watched.report(at, Outcome::Status(200), if at == 3 { 50 } else { 100 });
    }
    watched.report(3, Outcome::Status(500), 50);
    assert_eq!(watched.ejected(), [0usize; 0]);
    watched.pass(1);
    assert_eq!(watched.ejected(), [3]);
    assert_eq!(watched.count(&watched.stats.enforced, Kind::SuccessRate), 1);
}

#[test]
fn results_count_for_one_interval_only() {
    let mut watched = Watched::new(5);
    watched.settings.consecutive_5xx = 0;
    for at in 0..5 {
        watched.report(at, Outcome::Status(200), 60);
    }
    watched.pass(1);
    for at in 0..5 {
        watched.report(at, Outcome::Status(if at == 3 { 500 } else { 200 }), 60);
    }
    watched.pass(1);
    assert_eq!(watched.ejected(), [0usize; 0], "sixty are too few, and twice sixty are not one interval");
}

#[test]
fn a_failure_percentage_ejects_where_it_is_enforced() {
    let mut watched = Watched::new(5);
    watched.settings.consecutive_5xx = 0;
    watched.settings.success_rate.request_volume = 1_000_000;
    watched.settings.enforcing[Kind::FailurePercentage as usize] = 100;
    for at in 0..5 {
        watched.report(at, Outcome::Status(if at < 2 { 500 } else { 200 }), 50);
    }
    watched.pass(1);
    assert_eq!(watched.ejected(), [0, 1]);
    assert_eq!(watched.count(&watched.stats.enforced, Kind::FailurePercentage), 2);
}

#[test]
fn local_rates_are_judged_by_themselves() {
    let mut watched = Watched::new(5);
    watched.settings.split_local_origin = true;
    watched.settings.consecutive_local_origin_failure = 0;
    for at in 0..5 {
        watched.report(at, Outcome::Connected, if at == 1 { 0 } else { 100 });
    }
    watched.report(1, Outcome::LocalFailure, 100);
    watched.pass(1);
    assert_eq!(watched.ejected(), [1]);
    assert_eq!(watched.count(&watched.stats.enforced, Kind::LocalOriginSuccessRate), 1);
}

#[test]
fn a_shorter_interval_holds_at_once() {
    let mut watched = Watched::new(4);
    watched.settings.interval = Duration::from_secs(3600);
    watched.pass(1);
    watched.settings.interval = Duration::from_secs(1);
    watched.judge();
    assert_eq!(watched.detector.due(), watched.environment.now.after(Duration::from_secs(1)));
}

#[test]
fn endless_durations_do_not_overflow() {
    let mut watched = Watched::new(2);
    watched.settings.interval = Duration::MAX;
    watched.settings.base_ejection_time = Duration::MAX;
    watched.settings.max_ejection_time = Duration::MAX;
    watched.settings.max_ejection_time_jitter = Duration::MAX;
    watched.environment = Script::new([u64::MAX / 2]);
    watched.settings.enforcing = [100; 7];
    watched.fail(0, 3);
    watched.judge();
    assert_eq!(watched.ejected(), [0]);
}

proptest! {
    #[test]
    fn never_more_than_allowed_are_ejected(
        count in 1usize..30,
        percent in 0u32..120,
        always_one in any::<bool>(),
        steps in prop::collection::vec((0usize..30, 0u16..3, 1usize..8, any::<bool>()), 1..200),
        seed in any::<u64>(),
    ) {
        let mut watched = Watched::new(count);
        watched.settings.max_ejection_percent = percent;
        watched.settings.always_eject_one_host = always_one;
        watched.settings.success_rate.request_volume = 2;
        watched.settings.success_rate.minimum_hosts = 2;
        watched.settings.enforcing = [80; 7];
        let mut environment = Seeded::new(seed);
        let allowed = (count * percent.min(100) as usize / 100).max(usize::from(always_one));
        for (at, status, times, pass) in steps {
            watched.report(at % count, Outcome::Status([200, 500, 503][usize::from(status)]), times);
            if pass {
                environment.now = environment.now.after(Duration::from_millis(700));
            }
            let (hosts, settings) = (&watched.hosts, &watched.settings);
            watched.detector.judge(hosts, Some(settings), &watched.stats, &mut environment);
            let ejected = watched.ejected().len();
            prop_assert!(ejected <= allowed, "{ejected} of {count} at {percent} per cent");
            prop_assert_eq!(watched.stats.active.load(std::sync::atomic::Ordering::Relaxed), ejected as u64);
        }
    }
}
