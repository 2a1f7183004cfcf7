//! The clock of `--clock events` (event time): it shows the time of the last event, and stops
//! at each timer on the way to the next event.
//!
//! An event's time is the one in its envelope or, without one, the time in its own body; a replay
//! uses the same rule. An event without a time, or with one that is not believed (`timeline.rs`),
//! gets the time of the event before it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use super::entrance::Read;
use super::timers::Timers;
use crate::timeline::{EventTime, Timeline};
use hailer_base::clock::{self, Millis};
use hailer_base::metrics;
use hailer_broker::delivery::Delivery;
use hailer_event::{OwnTimes, Projection};
use hailer_store::StoreError;

#[derive(Debug)]
pub(super) struct EventClock {
    timers: Timers,
    times: OwnTimes,
    timeline: Mutex<Timeline<(Delivery, Read)>>,
    is_warned: AtomicBool,
}

impl EventClock {
    pub(super) fn new(timers: Timers) -> EventClock {
        let now = timers.intake.last_now();
        let timeline = Mutex::new(Timeline::new((now != 0).then_some(now), clock::now_ms()));
        EventClock {
            timers,
            times: OwnTimes::default(),
            timeline,
            is_warned: AtomicBool::new(false),
        }
    }

    /// Adds a delivery with the result of reading it. [`Self::next`] returns it.
    pub(super) async fn push(&self, delivery: Delivery, read: Read) {
        let own = || self.times.of(&read.as_ref().ok()?.0, &mut Projection::new());
        let at = delivery.timestamp_ms.or_else(own);
        self.timeline.lock().await.push((delivery, read), at);
    }

    /// The next delivery whose time is settled; `None` if none is. The clock has advanced to that
    /// time first, and never goes back. `is_end` says that no more deliveries follow.
    ///
    /// # Errors
    /// The timers on the way cannot be read.
    pub(super) async fn next(&self, is_end: bool) -> Result<Option<(Delivery, Read)>, StoreError> {
        let mut timeline = self.timeline.lock().await;
        let Some(((delivery, read), time)) = timeline.next(is_end) else { return Ok(None) };
        if let Some(moment) = timeline.clock() {
            self.timers.advance(moment).await?;
        }
        match time {
            EventTime::At(_) => {}
            EventTime::Nothing => self.warn_if_timeless(&delivery),
            EventTime::OutOfRange => self.note_not_believed(&delivery, "range"),
            EventTime::Leap => self.note_not_believed(&delivery, "leap"),
        }
        Ok(Some((delivery, read)))
    }

    /// Drops every waiting delivery, because the pipeline takes no more.
    pub(super) async fn clear(&self) {
        let mut timeline = self.timeline.lock().await;
        while timeline.next(true).is_some() {}
    }

    /// Advances the clock by `span_ms` after the last event.
    ///
    /// # Errors
    /// As for [`Self::next`].
    pub(super) async fn run_on(&self, span_ms: Millis) -> Result<(), StoreError> {
        self.timers.advance(self.timers.intake.last_now().saturating_add(span_ms)).await
    }

    fn note_not_believed(&self, delivery: &Delivery, reason: &'static str) {
        ::metrics::counter!(metrics::TIMES_NOT_BELIEVED_TOTAL, "reason" => reason).increment(1);
        let position = delivery.position.as_deref().unwrap_or_default();
        let count =
            self.timers.intake.count(|tally| tally.times_not_believed.add(position.to_owned()));
        if count.is_power_of_two() {
            tracing::warn!(
                position,
                reason,
                count,
                "the time of an event is not believed; the event gets the time of the one before it"
            );
        }
    }

    fn warn_if_timeless(&self, delivery: &Delivery) {
        if self.timers.intake.last_now() == 0 && !self.is_warned.swap(true, Ordering::Relaxed) {
            let position = delivery.position.as_deref();
            tracing::warn!(
                position,
                "no event has had a time yet, so the clock is at 1970-01-01: `--clock events` \
                 uses the `timestamp` of a line's envelope, or the time in a purchase, a refund \
                 or a change of attributes"
            );
        }
    }
}
