//! Waiting for conditions.

use std::time::Duration;

use tokio::time::Instant;

/// Longest wait for anything: far above what a loaded machine needs, so that a failure is one.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at a condition.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until `check` returns something. `what` is said when it never does.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The output of a future that is expected to end.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        let found = eventually("the fifth look", async || {
            looks += 1;
            (looks == 5).then_some("found")
        });
        assert_eq!(found.await, "found");
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "in vain for: nothing")]
    async fn what_never_holds_is_named() {
        eventually("nothing", async || None::<()>).await;
    }
}
