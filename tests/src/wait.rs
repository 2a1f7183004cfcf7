//! Waits for a condition instead of sleeping for a fixed time.

use std::time::{Duration, Instant};

/// The limit of every wait: longer than any working operation takes, even on a machine that is busy
/// with other tests. Only a test that fails waits so long.
pub const LONG_ENOUGH: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until the condition holds.
///
/// # Panics
/// If that does not happen in time.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until_some(what, async || condition().await.then_some(())).await;
}

/// Waits until `find` returns a value.
///
/// # Panics
/// If that does not happen in time.
pub async fn until_some<T>(what: &str, find: impl AsyncFnMut() -> Option<T>) -> T {
    some_within(LONG_ENOUGH, what, find).await
}

async fn some_within<T>(
    limit: Duration,
    what: &str,
    mut find: impl AsyncFnMut() -> Option<T>,
) -> T {
    let since = Instant::now();
    loop {
        // `find` may never answer: a stopped broker does not.
        let left = limit.saturating_sub(since.elapsed());
        let Ok(found) = tokio::time::timeout(left, find()).await else {
            panic!("timed out waiting for: {what}")
        };
        if let Some(found) = found {
            return found;
        }
        // The value is returned even if the time is up meanwhile.
        assert!(since.elapsed() < limit, "timed out waiting for: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits for the end of a future that must end.
///
/// # Panics
/// If that does not happen in time.
pub async fn end_of<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONG_ENOUGH, work).await {
        Ok(result) => result,
        Err(_) => panic!("timed out waiting for the end of: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "timed out waiting for: an answer")]
    async fn a_wait_ends_if_the_question_is_never_answered() {
        some_within(Duration::from_millis(50), "an answer", async || {
            std::future::pending::<Option<()>>().await
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "timed out waiting for: another answer")]
    async fn a_wait_ends_if_the_answer_is_always_no() {
        some_within(Duration::from_millis(50), "another answer", async || None::<()>).await;
    }
}
