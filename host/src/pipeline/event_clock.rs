//! The clock of `--clock events`: it stands where the last event was, and jumps from timer to timer on the way to the next.
//!
//! When something happened is what its envelope says, or else the event's own word, as a replay has it. What says neither happens when the one
//! before it did, and so does what says something that is not believed (`timeline.rs`).

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use super::Read;
use super::timers::Timers;
use crate::clock::{self, Millis};
use crate::delivery::Delivery;
use crate::event::{OwnTimes, Projection};
use crate::metrics;
use crate::store::StoreError;
use crate::timeline::{Timeline, Told};

#[derive(Debug)]
pub(super) struct EventClock {
    timers: Timers,
    times: OwnTimes,
    timeline: Mutex<Timeline<(Delivery, Read)>>,
    is_warned: AtomicBool,
}

impl EventClock {
    pub(super) fn new(timers: Timers) -> EventClock {
        let now = timers.arrivals.last_now();
        let timeline = Mutex::new(Timeline::new((now != 0).then_some(now), clock::now_ms()));
        EventClock { timers, times: OwnTimes::default(), timeline, is_warned: AtomicBool::new(false) }
    }

    /// Takes a delivery in, with what was read of it. It comes back by [`Self::next`].
    pub(super) async fn push(&self, delivery: Delivery, read: Read) {
        let own = || self.times.of(&read.as_ref().ok()?.0, &mut Projection::new());
        let at = delivery.timestamp_ms.or_else(own);
        self.timeline.lock().await.push((delivery, read), at);
    }

    /// The next delivery whose time is settled, when the clock has gone on to it; it never goes back. With `is_end` nothing comes behind those that wait.
    ///
    /// # Errors
    /// When the store can't be asked for the timers on the way.
    pub(super) async fn next(&self, is_end: bool) -> Result<Option<(Delivery, Read)>, StoreError> {
        let mut timeline = self.timeline.lock().await;
        let Some(((delivery, read), told)) = timeline.next(is_end) else { return Ok(None) };
        if let Some(moment) = timeline.clock() {
            self.timers.advance(moment).await?;
        }
        match told {
            Told::At(_) => {}
            Told::Nothing => self.warn_if_untold(&delivery),
            Told::OutOfRange => self.note_not_believed(&delivery, "range"),
            Told::Leap => self.note_not_believed(&delivery, "leap"),
        }
        Ok(Some((delivery, read)))
    }

    /// Gives everything back that waits: the pipeline takes no more.
    pub(super) async fn clear(&self) {
        let mut timeline = self.timeline.lock().await;
        while timeline.next(true).is_some() {}
    }

    /// Goes on for a while after the last event.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) async fn run_on(&self, span_ms: Millis) -> Result<(), StoreError> {
        self.timers.advance(self.timers.arrivals.last_now().saturating_add(span_ms)).await
    }

    fn note_not_believed(&self, delivery: &Delivery, reason: &'static str) {
        ::metrics::counter!(metrics::TIMES_NOT_BELIEVED_TOTAL, "reason" => reason).increment(1);
        let position = delivery.position.as_deref().unwrap_or_default();
        let count = self.timers.arrivals.count(|tally| tally.times_not_believed.add(position.to_owned()));
        if count.is_power_of_two() {
            tracing::warn!(
                position,
                reason,
                count,
                "the time of an event is not believed; the event is decided at the time before"
            );
        }
    }

    fn warn_if_untold(&self, delivery: &Delivery) {
        if self.timers.arrivals.last_now() == 0 && !self.is_warned.swap(true, Ordering::Relaxed) {
            let position = delivery.position.as_deref();
            tracing::warn!(
                position,
                "nothing has told the time yet, so it is 1970-01-01: `--clock events` goes by the `timestamp` of a line's envelope, or by the time in a \
                 purchase, a refund or a change of attributes"
            );
        }
    }
}
