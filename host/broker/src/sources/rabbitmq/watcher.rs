//! Reports up to which moment the queue's backlog is handled, so that timers can wait for it (G6).
//!
//! The broker reports how many messages wait, but not for how long. Assume that a check of the
//! queue began at a moment and found `ready` messages. Two conclusions hold for every message that
//! waited at that moment:
//!
//! - Its tag is at most `settled + prefetch + ready`. At most `prefetch` messages can be on their
//!   way to this session, and the ready ones are delivered next. As long as messages keep coming,
//!   that tag is reached, no matter how many come later. If they stop, it is never reached.
//! - If `ready` is 0, every message that waited has arrived or is on its way. It may arrive after
//!   the answer that did not count it: the broker's channel answers first, and then forwards
//!   messages that the queue has handed to it. But it arrives before the answer to the next
//!   request. So the last tag is an exact bound once the next answer is there and the session has
//!   taken every message before that answer. This also covers a bound that was too high, and a
//!   purged queue.
//!
//! The conclusions hold within one session and end with it. The broker requeues a lost session's
//! unacknowledged messages before it admits the next exclusive consumer, so the checks of the next
//! session find them.
//!
//! Three cases are not covered:
//!
//! - Messages that another consumer holds. This happens only if `take_over` accepted that consumer,
//!   which may also be this engine's own lost session that the broker has not noticed yet.
//! - A queue with priorities, where more messages than the ready ones may overtake a message.
//! - A quorum queue that delivers through another node than its leader's may be late by its
//!   replication. The interval between two checks is much longer than that.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lapin::Channel;
use lapin::types::ShortString;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::connection::BrokerError;
use crate::sources::Intake;
use hailer_base::clock::{self, Millis};

use super::backlog::Backlog;
use super::queue_counts::{QueueCounts, queue_counts};

/// The interval between two checks. A result is certain only at the next check, so timers are late
/// by up to two intervals.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Checks the queue on the session's own channel.
pub(super) struct Watcher {
    channel: Channel,
    queue: ShortString,
    settled: watch::Receiver<u64>,
    prefetch: u64,
    question: watch::Sender<Millis>,
    answer: watch::Receiver<LastTagReply>,
    backlog: Backlog,
}

/// The receiving end of a request for the last tag after every arrived message has been taken. Only
/// the latest request needs a reply.
pub(super) struct LastTagProbe {
    question: watch::Receiver<Millis>,
    answer: watch::Sender<LastTagReply>,
}

/// The request's moment, and the last tag.
type LastTagReply = (Millis, u64);

impl Watcher {
    pub(super) fn new(
        channel: Channel,
        queue: ShortString,
        settled: watch::Receiver<u64>,
        prefetch: u16,
    ) -> (Watcher, LastTagProbe) {
        let (asking, question) = watch::channel(Millis::MIN);
        let (answering, answer) = watch::channel((Millis::MIN, 0));
        let (prefetch, backlog) = (prefetch.into(), Backlog::default());
        let watcher =
            Watcher { channel, queue, settled, prefetch, question: asking, answer, backlog };
        (watcher, LastTagProbe { question, answer: answering })
    }

    /// Reports handled moments to the intake until the broker is unreachable. Each check calls
    /// `consumers` with the queue's number of consumers.
    pub(super) async fn run<I: Intake>(
        self,
        intake: &I,
        mut consumers: impl FnMut(u32),
    ) -> BrokerError {
        let Watcher { channel, queue, mut settled, prefetch, question, mut answer, mut backlog } =
            self;
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (channel, queue) = (&channel, &queue);
        let mut looks = pin!(stream::unfold(ticks, |mut ticks| async move {
            ticks.tick().await;
            // The moment is taken before the request, because the count may not include messages
            // that arrive later.
            let moment = clock::now_ms();
            Some(((moment, queue_counts(channel, queue).await), ticks))
        }));
        let mut found_empty = None;
        loop {
            tokio::select! {
                Some((moment, counts)) = looks.next() => {
                    let QueueCounts { ready, consumers: of_consumers } = match counts {
                        Ok(counts) => counts,
                        Err(error) => return error,
                    };
                    consumers(of_consumers);
                    if let Some(moment) = found_empty {
                        question.send_replace(moment);
                    }
                    found_empty = (ready == 0).then_some(moment);
                    // The settled tag is an upper bound of the acknowledgements that the broker
                    // knows, and so bounds the tags that it has sent.
                    backlog.waited(moment, *settled.borrow() + prefetch + u64::from(ready));
                }
                (moment, last_tag) = latest(&mut answer) => backlog.waited(moment, last_tag),
                () = reached(&mut settled, &backlog) => {}
            }
            let settled = *settled.borrow();
            if let Some(moment) = backlog.handled(settled) {
                intake.handled_until(moment);
            }
        }
    }
}

/// Waits until a watermark is reached. If the ledger is gone, it waits for ever, because the
/// session ends then.
async fn reached(settled: &mut watch::Receiver<u64>, backlog: &Backlog) {
    if settled.wait_for(|settled| backlog.is_reached(*settled)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for the next value. If the sender is gone, it waits for ever, because the session ends
/// then.
async fn latest<T: Copy>(values: &mut watch::Receiver<T>) -> T {
    match values.changed().await {
        Ok(()) => *values.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

impl LastTagProbe {
    /// Waits for the next request; returns its moment.
    pub(super) async fn requested(&mut self) -> Millis {
        latest(&mut self.question).await
    }

    /// Sends the last tag. Call it only when no further message was available after the request had
    /// arrived.
    pub(super) fn reply(&self, moment: Millis, last_tag: u64) {
        self.answer.send_replace((moment, last_tag));
    }
}
