//! The clock of `--clock events`: it stands where the last event was, and jumps from timer to timer on the way to the next.
//!
//! When something happened is what its envelope says, or else the event's own word, as a replay has it. What says neither happens when the one
//! before it did.

use std::sync::atomic::{AtomicBool, Ordering};

use super::timers::Timers;
use crate::clock::Millis;
use crate::delivery::Delivery;
use crate::event::{Event, OwnTimes, Projection};
use crate::store::StoreError;

#[derive(Debug)]
pub(super) struct EventClock {
    timers: Timers,
    times: OwnTimes,
    is_warned: AtomicBool,
}

impl EventClock {
    pub(super) fn new(timers: Timers) -> EventClock {
        EventClock { timers, times: OwnTimes::new(), is_warned: AtomicBool::new(false) }
    }

    /// Goes on to when this happened, and never back. There is no event in what can't be read.
    ///
    /// # Errors
    /// When the store can't be asked for the timers on the way.
    pub(super) async fn advance_to(&self, delivery: &Delivery, event: Option<&Event>) -> Result<(), StoreError> {
        let own = || self.times.of(event?, &mut Projection::new());
        match delivery.timestamp_ms.or_else(own) {
            Some(moment) => self.timers.advance(moment).await,
            None => {
                self.warn_if_untold(delivery);
                Ok(())
            }
        }
    }

    /// Goes on for a while after the last event.
    ///
    /// # Errors
    /// As [`Self::advance_to`].
    pub(super) async fn run_on(&self, span_ms: Millis) -> Result<(), StoreError> {
        self.timers.advance(self.timers.arrivals.last_now().saturating_add(span_ms)).await
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
