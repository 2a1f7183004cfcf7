//! Says until when the backlog of the queue has been handled, so that timers can wait for it (G6).
//!
//! The broker tells nothing of how long a message has been waiting, but how many wait. Of a look at the queue that was begun
//! at a moment and found `ready` messages, two things follow for whatever waited at that moment:
//!
//! - Its tag is at most `settled + prefetch + ready`: no more than the prefetch can have been on its way to us, and those
//!   that were ready are the next to come. As long as messages keep coming, that tag is reached, however many come
//!   later. It is never reached when they stop.
//! - If none was ready, everything that waited is on its way or here. On its way, because the broker's channel answers before it passes on what
//!   the queue has handed it meanwhile; a message may well arrive after an answer that did not count it. But then it arrives before
//!   the answer to the next request. So once there is another answer, and the pump has taken everything that came before that,
//!   the last tag is the exact bound. That also covers a bound that was too high, and a queue that was purged.
//!
//! All this holds for one session, and goes with it. What a lost session had not acknowledged waits in the queue again before
//! the broker lets the next exclusive consumer in, so that session's own looks find it.
//!
//! What it can't know: messages that another consumer holds (only beside one that `take_over` put up with, be it our own lost
//! session that the broker has not noticed yet), and the order of a queue with priorities, where a message may be overtaken by
//! more than were ready. Quorum queues that hand messages over on another node than their leader's may be late by
//! their replication; the time between two looks is much longer than that.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::broker::{BrokerError, answered};
use crate::clock::{self, Millis};
use crate::sources::Intake;

use super::backlog::Backlog;

/// From look to look. What was found is sure only with the next, so timers lag by up to two of these.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks at the queue on the session's own channel.
pub(super) struct Watcher {
    channel: Channel,
    queue: ShortString,
    settled: watch::Receiver<u64>,
    prefetch: u64,
    question: watch::Sender<Millis>,
    answer: watch::Receiver<Emptied>,
    backlog: Backlog,
}

/// The pump's end of the question: which tag is the last, now that everything has been taken that had come? Only the
/// latest question is worth an answer.
pub(super) struct Question {
    question: watch::Receiver<Millis>,
    answer: watch::Sender<Emptied>,
}

/// The question's moment, and the last tag.
type Emptied = (Millis, u64);

impl Watcher {
    pub(super) fn new(
        channel: Channel,
        queue: ShortString,
        settled: watch::Receiver<u64>,
        prefetch: u16,
    ) -> (Watcher, Question) {
        let (asking, question) = watch::channel(Millis::MIN);
        let (answering, answer) = watch::channel((Millis::MIN, 0));
        let (prefetch, backlog) = (prefetch.into(), Backlog::default());
        let watcher = Watcher { channel, queue, settled, prefetch, question: asking, answer, backlog };
        (watcher, Question { question, answer: answering })
    }

    /// Tells the intake as the backlog is handled, until the broker can't be asked any more. `consumers` gets the number of the queue's consumers at
    /// each look.
    pub(super) async fn run<I: Intake>(self, intake: &I, mut consumers: impl FnMut(u32)) -> BrokerError {
        let Watcher { channel, queue, mut settled, prefetch, question, mut answer, mut backlog } = self;
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (channel, queue) = (&channel, &queue);
        let mut looks = pin!(stream::unfold(ticks, |mut ticks| async move {
            ticks.tick().await;
            // Taken before the request: what comes into the queue later may be missing from the count.
            let moment = clock::now_ms();
            Some(((moment, counts(channel, queue).await), ticks))
        }));
        let mut found_empty = None;
        loop {
            tokio::select! {
                Some((moment, counts)) = looks.next() => {
                    let (ready, of_consumers) = match counts {
                        Ok(counts) => counts,
                        Err(error) => return error,
                    };
                    consumers(of_consumers);
                    if let Some(moment) = found_empty {
                        question.send_replace(moment);
                    }
                    found_empty = (ready == 0).then_some(moment);
                    // What is settled bounds what the broker knows to be acknowledged, and so what it has sent.
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

/// Messages that wait in the queue and have not been handed to any consumer; and its consumers.
async fn counts(channel: &Channel, queue: &ShortString) -> Result<(u32, u32), BrokerError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(queue.clone(), passive, FieldTable::default());
    let declared = answered("queue.declare", declared).await?;
    Ok((declared.message_count(), declared.consumer_count()))
}

/// Waits until there is something to tell. When the ledger is gone there never is; the session ends then.
async fn reached(settled: &mut watch::Receiver<u64>, backlog: &Backlog) {
    if settled.wait_for(|settled| backlog.is_reached(*settled)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for the next value. When the other end is gone there is none; the session ends then.
async fn latest<T: Copy>(values: &mut watch::Receiver<T>) -> T {
    match values.changed().await {
        Ok(()) => *values.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

impl Question {
    /// Waits for the next question: the moment that it is about.
    pub(super) async fn asked(&mut self) -> Millis {
        latest(&mut self.question).await
    }

    /// To be called only when nothing more was found after the question had come.
    pub(super) fn answer(&self, moment: Millis, last_tag: u64) {
        self.answer.send_replace((moment, last_tag));
    }
}
