//! Waiting for a condition, instead of sleeping for luck.

use std::time::{Duration, Instant};

/// Longer than anything that works takes, on a machine that is busy with other tests.
pub const LONG_ENOUGH: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until the condition holds.
///
/// # Panics
/// If it does not in time.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until_some(what, async || condition().await.then_some(())).await;
}

/// Waits until there is something.
///
/// # Panics
/// If there is not in time.
pub async fn until_some<T>(what: &str, find: impl AsyncFnMut() -> Option<T>) -> T {
    some_within(LONG_ENOUGH, what, find).await
}

async fn some_within<T>(limit: Duration, what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        // What is asked may not answer, as a broker that was stopped does not.
        let left = limit.saturating_sub(since.elapsed());
        let Ok(found) = tokio::time::timeout(left, find()).await else { panic!("waited in vain: {what}") };
        if let Some(found) = found {
            return found;
        }
        // An answer that is there at once is taken whatever time is left.
        assert!(since.elapsed() < limit, "waited in vain: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits for the end of something that must come to one.
///
/// # Panics
/// If it does not in time.
pub async fn end_of<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONG_ENOUGH, work).await {
        Ok(result) => result,
        Err(_) => panic!("waited in vain for the end of: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "waited in vain: an answer")]
    async fn who_does_not_answer_is_not_waited_for_without_end() {
        some_within(Duration::from_millis(50), "an answer", async || std::future::pending::<Option<()>>().await).await;
    }

    #[tokio::test]
    #[should_panic(expected = "waited in vain: another answer")]
    async fn who_always_answers_no_is_not_asked_without_end() {
        some_within(Duration::from_millis(50), "another answer", async || None::<()>).await;
    }
}
