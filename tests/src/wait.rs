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
pub async fn until_some<T>(what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = find().await {
            return found;
        }
        assert!(since.elapsed() < LONG_ENOUGH, "waited in vain: {what}");
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
