//! The context of a merge: the pending timers of both customers, and the handler's requests.

use crate::wire::Reader;
use crate::{Context, Due, Level, TimerId, Timestamp};

/// The time of a merge, the pending timers of both customers, and the handler's requests. A merge
/// cannot send anything.
///
/// A timer that the handler neither schedules nor cancels stays pending if either customer had it
/// pending. If both had it pending, the timer of the customer who remains is kept.
///
/// ```
/// # use hailer_sdk::prelude::*;
/// # #[rule] struct R;
/// # #[handlers] impl R {
/// # fn bought(&self, _: Purchase, ctx: &mut Context) { ctx.schedule(Timer::MISSED, days(60)); }
/// # #[timer]
/// # fn missed(&self, _ctx: &mut Context) {}
/// /// The later of the two times counts.
/// #[merge]
/// fn merge(&self, ctx: &mut MergeContext) {
///     let later = ctx.due(Timer::MISSED).max(ctx.other_due(Timer::MISSED));
///     ctx.set_timer(Timer::MISSED, later);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct MergeContext<'call> {
    context: &'call mut Context,
    /// The pending timers as the host sends them; `None` from a host that sends none.
    timers: Option<Reader<'call>>,
}

impl<'call> MergeContext<'call> {
    /// Makes a merge context; for generated code only.
    #[doc(hidden)]
    pub fn new(context: &'call mut Context, timers: Option<Reader<'call>>) -> Self {
        Self { context, timers }
    }

    /// The due time of this timer of the customer who remains; `None` if it is not pending.
    #[must_use]
    pub fn due(&self, timer: TimerId) -> Option<Timestamp> {
        self.pending(timer.handler, false)
    }

    /// The due time of this timer of the customer who is merged away; `None` if it is not pending.
    #[must_use]
    pub fn other_due(&self, timer: TimerId) -> Option<Timestamp> {
        self.pending(timer.handler, true)
    }

    /// Schedules the merged customer's timer for a point in time, or cancels it if `due` is `None`.
    /// The value usually comes from [`Self::due`] or [`Self::other_due`].
    pub fn set_timer(&mut self, timer: TimerId, due: Option<Timestamp>) {
        match due {
            Some(due) => self.context.schedule(timer, due),
            None => self.context.cancel(timer),
        }
    }

    /// Schedules the merged customer's timer. It replaces the pending timers of both customers; see
    /// [`Context::schedule`].
    pub fn schedule(&mut self, timer: TimerId, due: impl Due) {
        self.context.schedule(timer, due);
    }

    /// Cancels the timer of both customers.
    pub fn cancel(&mut self, timer: TimerId) {
        self.context.cancel(timer);
    }

    /// Leaves a note about this merge; see [`Context::note`].
    pub fn note(&mut self, text: impl AsRef<str>) {
        self.context.note(text);
    }

    /// The time at which the engine took in the merge; see [`Context::now`].
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.context.now()
    }

    /// The bucket of the customer who remains; see [`Context::bucket`].
    #[must_use]
    pub fn bucket(&self, salt: &str) -> u32 {
        self.context.bucket(salt)
    }

    /// Writes to the engine's log; see [`Context::log`].
    pub fn log(&mut self, level: Level, text: impl AsRef<str>) {
        self.context.log(level, text);
    }

    #[inline(never)]
    fn pending(&self, handler: u32, of_other: bool) -> Option<Timestamp> {
        let mut reader = self.timers?;
        let mut found = None;
        for _ in 0..reader.array() {
            let unknown = reader.record(3);
            let is_it = reader.unsigned() == u64::from(handler);
            let is_it = reader.bool() == of_other && is_it;
            let due = reader.int();
            reader.skip(unknown);
            if is_it {
                found = Some(Timestamp::from_millis(due));
            }
        }
        found
    }
}

/// Reads the fields of a merge: the position of the other customer's state, and the pending timers,
/// which are `None` if the host sends none.
#[must_use]
pub fn fields<'call>(reader: &mut Reader<'call>) -> (Reader<'call>, Option<Reader<'call>>) {
    let unknown = reader.record(1);
    let other = *reader;
    reader.skip(1);
    let timers = (unknown > 0).then_some(*reader);
    reader.skip(unknown);
    (other, timers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::timer;
    use crate::wire::Writer;

    fn due(fields: &Writer) -> [Option<i64>; 3] {
        let mut context = Context::new();
        let mut reader = Reader::new(fields.bytes());
        let (mut other, timers) = super::fields(&mut reader);
        assert!(other.nil() && reader.is_empty());
        let context = MergeContext::new(&mut context, timers);
        let (one, two) = (timer(1, "one"), timer(2, "two"));
        [context.due(one), context.other_due(one), context.due(two)]
            .map(|due| due.map(Timestamp::as_millis))
    }

    #[test]
    fn timers_of_both_customers_are_read_and_unknown_members_skipped() {
        let mut fields = Writer::default();
        fields.array(3);
        fields.nil();
        fields.array(2);
        for (handler, of_other, due) in [(1, true, -5), (2, false, 7)] {
            fields.array(4);
            fields.unsigned(handler);
            fields.bool(of_other);
            fields.int(due);
            fields.str("a later member");
        }
        fields.str("a later field");
        assert_eq!(due(&fields), [None, Some(-5), Some(7)]);
    }

    #[test]
    fn a_host_that_sends_no_timers_has_none_pending() {
        let mut fields = Writer::default();
        fields.array(1);
        fields.nil();
        assert_eq!(due(&fields), [None; 3]);
    }
}
