//! How long all attempts together may take.

use std::time::Duration;

use portolan_envoy_api::pb::google::protobuf::UInt32Value;

use crate::support::*;

fn seconds(seconds: f64) -> Option<ProtoDuration> {
    let of = Duration::from_secs_f64(seconds);
    Some(ProtoDuration { seconds: of.as_secs() as i64, nanos: of.subsec_nanos() as i32 })
}

/// Asks for `/` by a route of one second, with five retries on 5xx.
fn ask(backend: &Backend, change: impl FnOnce(&mut route::RetryPolicy)) -> u16 {
    let plane = Plane::new();
    plane.cluster(&static_cluster("backend", &[backend.address]));
    let mut policy = route::RetryPolicy {
        retry_on: "5xx".into(),
        num_retries: Some(UInt32Value { value: 5 }),
        ..Default::default()
    };
    change(&mut policy);
    let action =
        route::RouteAction { timeout: seconds(1.0), retry_policy: Some(policy), ..to_cluster("backend") };
    let manager = manager(table("r", vec![forward("/", action)]));
    let at = plane.listen(&listener("retrying", vec![chain(any(&manager))]));
    status(&get(at, "/", ""))
}

#[test]
fn the_routes_time_is_for_all_attempts() {
    let backend = Backend::silent();
    assert_eq!(ask(&backend, |policy| policy.per_try_timeout = seconds(0.4)), 504);
    assert_eq!(backend.count(), 3);
}

#[test]
fn a_late_answer_leaves_less_time_to_the_next_attempt() {
    let backend = Backend::new(|_, _| {
        std::thread::sleep(Duration::from_millis(700));
        respond(500, "late")
    });
    assert_eq!(ask(&backend, |_| {}), 504);
    assert_eq!(backend.count(), 2);
}

#[test]
fn the_pause_is_a_part_of_the_routes_time() {
    let backend = Backend::new(|_, _| respond(500, "at once"));
    let long = route::retry_policy::RetryBackOff { base_interval: seconds(3600.0), max_interval: None };
    // The pause is drawn from no time to an hour.
    assert_eq!(ask(&backend, |policy| policy.retry_back_off = Some(long)), 504);
    assert!(backend.count() < 6, "{}", backend.count());
}
