//! Receives from a channel on a thread of its own, up to a moment. It needs no runtime, so it also
//! works while one shuts down.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until something comes, and appends up to `max` values. Returns how many came: 0 if the
/// channel is closed, `None` if nothing came within `limit`.
pub(super) fn receive_within<T>(
    receiver: &mut mpsc::Receiver<T>,
    into: &mut Vec<T>,
    max: usize,
    limit: Duration,
) -> Option<usize> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let until = Instant::now() + limit;
    loop {
        if let Poll::Ready(count) = receiver.poll_recv_many(&mut context, into, max) {
            return Some(count);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_comes_while_it_waits_is_received_and_so_is_the_end() {
        let (sender, mut receiver) = mpsc::channel(4);
        let mut into = vec![1];
        assert_eq!(receive_within(&mut receiver, &mut into, 2, Duration::ZERO), None);
        let sending = thread::spawn(move || {
            (2..=4).for_each(|number| sender.blocking_send(number).unwrap());
        });
        while into.len() < 4 {
            assert!(receive_within(&mut receiver, &mut into, 2, LONG).unwrap() <= 2);
        }
        sending.join().unwrap();
        assert_eq!(into, [1, 2, 3, 4]);
        assert_eq!(receive_within(&mut receiver, &mut into, 2, LONG), Some(0));
    }
}
