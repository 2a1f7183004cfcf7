//! The calls of a batch, grouped by handler. Each lane has the input of the calls of one handler,
//! and is cut into crossings.
//!
//! The calls of a batch do not see each other's results: each gets the state from before the batch.
//! So **a batch has at most one call for each customer and each campaign whose rule has state**,
//! whichever of its handlers is called. The next call goes into the next wave. The code that fills
//! the batch must ensure this.

use std::ops::Range;

use super::instance::GuestFault;
use super::params::written;
use super::ruleset::{Missing, RuleSet, Subscription};
use hailer_base::clock::Millis;
use hailer_event::Projection;
use rmp::encode;

/// The most calls of one crossing. More spread the cost of entering cold code, fewer lose less to
/// one fault.
const CALLS_MAX: usize = 32;
/// The most input of one crossing in bytes, because the guest has to make room for it. A single
/// call may have more.
const INPUT_BYTES_MAX: usize = 256 << 10;
/// The most capacity in bytes that a lane keeps between batches.
const LANE_BYTES_KEPT_MAX: usize = 64 << 10;

/// The calls for a batch of events. It is reused for each batch.
#[derive(Debug, Default)]
pub struct Batch {
    lanes: Vec<Lane>,
    /// The lanes that have calls, in the order of their first calls.
    in_use: Vec<usize>,
    input_bytes: usize,
}

/// The waiting calls of one handler of one campaign.
#[derive(Debug, Default)]
struct Lane {
    campaign: usize,
    handler: u32,
    input: Vec<u8>,
    calls: Vec<Call>,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    /// The event's index in the batch.
    event: usize,
    now: Millis,
    /// The offsets in the lane's input at which the input of the call begins and ends.
    start: usize,
    end: usize,
}

/// The reason why a call was not added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCalled {
    Missing(Missing),
    /// The call counts as a failed one.
    Fault(GuestFault),
}

/// Calls that enter a guest together; at least one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing<'a> {
    /// The campaign's index in the rule set.
    pub(super) campaign: usize,
    pub(super) handler: u32,
    calls: &'a [Call],
    /// The input of the whole lane.
    input: &'a [u8],
}

/// A pending timer of one of the two customers of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeTimer {
    /// The index of the handler that the timer calls.
    pub handler: u32,
    /// Whether it belongs to the merged customer, and not to the one who remains.
    pub is_other: bool,
    pub due: Millis,
}

impl Batch {
    /// Empties the batch and prepares it for a rule set.
    pub fn open(&mut self, rules: &RuleSet) {
        for lane in self.in_use.drain(..) {
            let lane = &mut self.lanes[lane];
            lane.input.clear();
            lane.input.shrink_to(LANE_BYTES_KEPT_MAX);
            lane.calls.clear();
        }
        self.input_bytes = 0;
        self.lanes.resize_with(rules.lanes(), Lane::default);
    }

    /// Adds the call of a subscription for an event. `state` is the campaign's state for the
    /// customer: the version of its shape, and its bytes. A rule without state gets none.
    ///
    /// # Errors
    /// When no call is made: a field is missing ([`Subscription::write_fields`]), or the shape of
    /// the state is newer than the rule reads.
    pub fn add(
        &mut self,
        subscription: &Subscription,
        event: usize,
        now: Millis,
        seed: u64,
        state: Option<(u32, &[u8])>,
        projection: &Projection,
    ) -> Result<(), NotCalled> {
        let state = readable(subscription, state).map_err(NotCalled::Fault)?;
        let input = &mut self.lanes[subscription.lane].input;
        let start = input.len();
        write_head(now, seed, state, input);
        if let Err(missing) = subscription.write_fields(projection, input) {
            input.truncate(start);
            return Err(NotCalled::Missing(missing));
        }
        self.close(subscription, event, now, start);
        Ok(())
    }

    /// Adds the call of a timer's handler ([`RuleSet::timer`]). `event` is any number that
    /// identifies the result. The numbers of timers and events must be added in ascending order.
    ///
    /// # Errors
    /// When no call is made because the shape of the state is newer than the rule reads.
    pub fn add_timer(
        &mut self,
        subscription: &Subscription,
        event: usize,
        now: Millis,
        seed: u64,
        state: Option<(u32, &[u8])>,
    ) -> Result<(), GuestFault> {
        let state = readable(subscription, state)?;
        let input = &mut self.lanes[subscription.lane].input;
        let start = input.len();
        write_head(now, seed, state, input);
        written(encode::write_array_len(input, 0));
        self.close(subscription, event, now, start);
        Ok(())
    }

    /// Adds the call of a merge handler ([`RuleSet::merge`]). `seed` and the first state belong to
    /// the customer who remains, the second state to the merged one. A rule with the second form of
    /// merges also gets the `timers` of both customers.
    ///
    /// # Errors
    /// When no call is made because the shape of a state is newer than the rule reads.
    pub fn add_merge(
        &mut self,
        subscription: &Subscription,
        event: usize,
        now: Millis,
        seed: u64,
        [state, other]: [Option<(u32, &[u8])>; 2],
        timers: Option<&[MergeTimer]>,
    ) -> Result<(), GuestFault> {
        let (state, other) = (readable(subscription, state)?, readable(subscription, other)?);
        let input = &mut self.lanes[subscription.lane].input;
        let start = input.len();
        write_head(now, seed, state, input);
        write_merge_fields(other, timers, input);
        self.close(subscription, event, now, start);
        Ok(())
    }

    /// Ends the call whose input begins at `start`.
    fn close(&mut self, subscription: &Subscription, event: usize, now: Millis, start: usize) {
        let lane = &mut self.lanes[subscription.lane];
        if lane.calls.is_empty() {
            (lane.campaign, lane.handler) = (subscription.campaign, subscription.handler);
            self.in_use.push(subscription.lane);
        }
        lane.calls.push(Call { event, now, start, end: lane.input.len() });
        self.input_bytes += lane.input.len() - start;
    }

    /// The input of all calls in bytes. The code that fills a batch stops at a bound, because one
    /// event can be the input of many rules.
    #[must_use]
    pub fn input_bytes(&self) -> usize {
        self.input_bytes
    }

    /// The calls for some of the events, in as few crossings as possible, ordered by campaign.
    pub(super) fn crossings(&self, events: Range<usize>) -> impl Iterator<Item = Crossing<'_>> {
        let mut lanes = self.in_use.clone();
        lanes.sort_unstable();
        lanes.into_iter().flat_map(move |lane| self.lanes[lane].crossings(events.clone()))
    }
}

impl Lane {
    /// The crossings for some of the events. Calls are in the order of their events.
    fn crossings(&self, events: Range<usize>) -> impl Iterator<Item = Crossing<'_>> {
        let before = |event: usize| self.calls.partition_point(|call| call.event < event);
        let mut waiting = &self.calls[before(events.start)..before(events.end)];
        std::iter::from_fn(move || {
            let first = waiting.first()?;
            let fits = |call: &&Call| call.end - first.start <= INPUT_BYTES_MAX;
            let count = waiting.iter().take(CALLS_MAX).take_while(fits).count().max(1);
            let (calls, rest) = waiting.split_at(count);
            waiting = rest;
            Some(Crossing {
                campaign: self.campaign,
                handler: self.handler,
                calls,
                input: &self.input,
            })
        })
    }
}

impl<'a> Crossing<'a> {
    pub(super) fn count(self) -> usize {
        self.calls.len()
    }

    pub(super) fn input(self) -> &'a [u8] {
        match self.calls {
            [first, .., last] => &self.input[first.start..last.end],
            [only] => &self.input[only.start..only.end],
            [] => &[],
        }
    }

    /// The index of the event in the batch and the `now` of each call.
    pub(super) fn events(self) -> impl Iterator<Item = (usize, Millis)> + 'a {
        self.calls.iter().map(|call| (call.event, call.now))
    }

    /// The event of the call with this index in the crossing.
    pub(super) fn event(self, at: usize) -> Option<usize> {
        self.calls.get(at).map(|call| call.event)
    }

    /// Splits the crossing into one crossing for each call.
    pub(super) fn one_by_one(self) -> impl Iterator<Item = Crossing<'a>> {
        self.calls.chunks(1).map(move |calls| Crossing { calls, ..self })
    }
}

/// The state to pass to a rule, or a fault if the rule cannot read it.
fn readable<'a>(
    subscription: &Subscription,
    state: Option<(u32, &'a [u8])>,
) -> Result<Option<(u32, &'a [u8])>, GuestFault> {
    match (subscription.state_version, state) {
        (None, _) | (_, None) => Ok(None),
        (Some(reads), Some((written, _))) if written > reads => {
            Err(GuestFault::NewerState { written, reads })
        }
        (Some(_), state) => Ok(state),
    }
}

/// Writes the input of a call up to the fields, which follow.
pub(super) fn write_head(now: Millis, seed: u64, state: Option<(u32, &[u8])>, out: &mut Vec<u8>) {
    written(encode::write_array_len(out, 4));
    written(encode::write_i64(out, now));
    written(encode::write_u64(out, seed));
    write_state(state, out);
}

/// Writes the fields of a merge: the state of the merged customer, and in the second form the
/// pending timers.
pub(super) fn write_merge_fields(
    other: Option<(u32, &[u8])>,
    timers: Option<&[MergeTimer]>,
    out: &mut Vec<u8>,
) {
    written(encode::write_array_len(out, 1 + u32::from(timers.is_some())));
    write_state(other, out);
    let Some(timers) = timers else { return };
    written(encode::write_array_len(out, timers.len() as u32));
    for MergeTimer { handler, is_other, due } in timers {
        written(encode::write_array_len(out, 3));
        written(encode::write_u32(out, *handler));
        written(encode::write_bool(out, *is_other));
        written(encode::write_i64(out, *due));
    }
}

fn write_state(state: Option<(u32, &[u8])>, out: &mut Vec<u8>) {
    let Some((version, bytes)) = state else {
        written(encode::write_nil(out));
        return;
    };
    written(encode::write_array_len(out, 2));
    written(encode::write_u32(out, version));
    // Not the shortest form: the head of a state has one length for every state.
    out.push(rmp::Marker::Bin32.to_u8());
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_input_have_the_bytes_of_the_abi() {
        let mut head = Vec::new();
        write_head(-2, 3, None, &mut head);
        let time_and_seed = [
            &[0x94, 0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe][..],
            &[0xcf, 0, 0, 0, 0, 0, 0, 0, 3],
        ]
        .concat();
        assert_eq!(head, [&time_and_seed[..], &[0xc0]].concat());

        let state = [0x92, 0xce, 0, 0, 0, 7, 0xc6, 0, 0, 0, 2, 8, 9];
        head.clear();
        write_head(-2, 3, Some((7, &[8, 9])), &mut head);
        assert_eq!(head, [&time_and_seed[..], &state].concat());

        let mut fields = Vec::new();
        write_merge_fields(Some((7, &[8, 9])), None, &mut fields);
        assert_eq!(fields, [&[0x91][..], &state].concat());
        let timers = vec![MergeTimer { handler: 1, is_other: true, due: 2 }; 16];
        fields.clear();
        write_merge_fields(None, Some(&timers), &mut fields);
        let timer = [0x93, 0xce, 0, 0, 0, 1, 0xc3, 0xd3, 0, 0, 0, 0, 0, 0, 0, 2];
        assert_eq!(fields, [&[0x92, 0xc0, 0xdc, 0, 16][..], &timer.repeat(16)].concat());
    }
}
