//! A batch's calls, gathered by handler: each lane holds the input of one handler's calls, and is cut into crossings.
//!
//! The calls of a batch know nothing of each other: each is handed the state as it was before. So **a batch holds at most one call
//! of a campaign whose rule has state for one customer**, whichever of its handlers, and the next wave the next: that is for whoever
//! fills the batch to see to.

use std::ops::Range;

use super::instance::GuestFault;
use super::ruleset::{Missing, RuleSet, Subscription, write_array_header};
use hailer_base::clock::Millis;
use hailer_event::Projection;

/// The most calls in one crossing: enough to spread the cost of entering cold code, few enough that one fault wastes
/// little.
const CALLS_MAX: usize = 32;
/// The most input of one crossing, in bytes, unless it is one call's: what a guest has to make room for.
const INPUT_BYTES_MAX: usize = 256 << 10;
/// A lane keeps no more room than this from batch to batch, in bytes.
const LANE_BYTES_KEPT_MAX: usize = 64 << 10;

/// The calls that a batch of events leads to. Reused from batch to batch.
#[derive(Debug, Default)]
pub struct Batch {
    lanes: Vec<Lane>,
    /// The lanes that hold calls, in the order in which they came into use.
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
    /// Where its input begins and ends in the lane's.
    start: usize,
    end: usize,
}

/// Why a call was not added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCalled {
    Missing(Missing),
    /// As if it had been called and had failed.
    Fault(GuestFault),
}

/// Calls that cross into a guest together; at least one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing<'a> {
    /// The campaign's index in the rule set.
    pub(super) campaign: usize,
    pub(super) handler: u32,
    calls: &'a [Call],
    /// The whole lane's.
    input: &'a [u8],
}

/// A pending timer of one of two customers who become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeTimer {
    /// The index of the handler that it calls.
    pub handler: u32,
    /// Whether it is the customer's who goes.
    pub is_other: bool,
    pub due: Millis,
}

impl Batch {
    /// Empties the batch for a rule set.
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

    /// Adds the call of a subscription for an event. `state` is what the campaign keeps for the customer: the version of the shape by which
    /// it was written, and the bytes. A rule without state is handed none.
    ///
    /// # Errors
    /// When no call is made: a field is missing ([`Subscription::write_fields`]), or the state is of a later shape than the rule reads.
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

    /// Adds the call of a timer's handler, [`RuleSet::timer`]. `event` is any number by which the verdict is known again, in ascending order
    /// with those of the events.
    ///
    /// # Errors
    /// When no call is made: the state is of a later shape than the rule reads.
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
        write_array_header(0, input);
        self.close(subscription, event, now, start);
        Ok(())
    }

    /// Adds the call of a merge handler, [`RuleSet::merge`]: the first state is that of the customer who remains, whose `seed` it is, the other that of
    /// the one who goes. A rule of the second form of merges is handed both customers' `timers`.
    ///
    /// # Errors
    /// When no call is made: a state is of a later shape than the rule reads.
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

    /// Ends a call, whose input begins there.
    fn close(&mut self, subscription: &Subscription, event: usize, now: Millis, start: usize) {
        let lane = &mut self.lanes[subscription.lane];
        if lane.calls.is_empty() {
            (lane.campaign, lane.handler) = (subscription.campaign, subscription.handler);
            self.in_use.push(subscription.lane);
        }
        lane.calls.push(Call { event, now, start, end: lane.input.len() });
        self.input_bytes += lane.input.len() - start;
    }

    /// How much input the calls have, in bytes. Whoever fills a batch stops at a bound, as one event can be input to many rules.
    #[must_use]
    pub fn input_bytes(&self) -> usize {
        self.input_bytes
    }

    /// The calls of some of the events, in as few crossings as may be.
    pub(super) fn crossings(&self, events: Range<usize>) -> impl Iterator<Item = Crossing<'_>> {
        self.in_use.iter().flat_map(move |lane| self.lanes[*lane].crossings(events.clone()))
    }
}

impl Lane {
    /// Calls are added event by event.
    fn crossings(&self, events: Range<usize>) -> impl Iterator<Item = Crossing<'_>> {
        let before = |event: usize| self.calls.partition_point(|call| call.event < event);
        let mut waiting = &self.calls[before(events.start)..before(events.end)];
        std::iter::from_fn(move || {
            let first = waiting.first()?;
            let fits = |call: &&Call| call.end - first.start <= INPUT_BYTES_MAX;
            let count = waiting.iter().take(CALLS_MAX).take_while(fits).count().max(1);
            let (calls, rest) = waiting.split_at(count);
            waiting = rest;
            Some(Crossing { campaign: self.campaign, handler: self.handler, calls, input: &self.input })
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

    /// The events of its calls, by their index in the batch, and the moments of the calls.
    pub(super) fn events(self) -> impl Iterator<Item = (usize, Millis)> + 'a {
        self.calls.iter().map(|call| (call.event, call.now))
    }

    /// The event of the call at a place in it.
    pub(super) fn event(self, at: usize) -> Option<usize> {
        self.calls.get(at).map(|call| call.event)
    }

    /// Each of its calls as a crossing of its own.
    pub(super) fn one_by_one(self) -> impl Iterator<Item = Crossing<'a>> {
        self.calls.chunks(1).map(move |calls| Crossing { calls, ..self })
    }
}

/// The state as a rule may be handed it.
fn readable<'a>(
    subscription: &Subscription,
    state: Option<(u32, &'a [u8])>,
) -> Result<Option<(u32, &'a [u8])>, GuestFault> {
    match (subscription.state_version, state) {
        (None, _) | (_, None) => Ok(None),
        (Some(reads), Some((written, _))) if written > reads => Err(GuestFault::NewerState { written, reads }),
        (Some(_), state) => Ok(state),
    }
}

/// A call's input but for the fields, which follow.
pub(super) fn write_head(now: Millis, seed: u64, state: Option<(u32, &[u8])>, out: &mut Vec<u8>) {
    write_array_header(4, out);
    out.push(rmp::Marker::I64.to_u8());
    out.extend_from_slice(&now.to_be_bytes());
    out.push(rmp::Marker::U64.to_u8());
    out.extend_from_slice(&seed.to_be_bytes());
    write_state(state, out);
}

/// The fields of a merge: the other's state, and in the second form the pending timers.
pub(super) fn write_merge_fields(other: Option<(u32, &[u8])>, timers: Option<&[MergeTimer]>, out: &mut Vec<u8>) {
    write_array_header(1 + usize::from(timers.is_some()), out);
    write_state(other, out);
    let Some(timers) = timers else { return };
    write_array_header(timers.len(), out);
    for MergeTimer { handler, is_other, due } in timers {
        write_array_header(3, out);
        out.push(rmp::Marker::U32.to_u8());
        out.extend_from_slice(&handler.to_be_bytes());
        out.push(if *is_other { rmp::Marker::True } else { rmp::Marker::False }.to_u8());
        out.push(rmp::Marker::I64.to_u8());
        out.extend_from_slice(&due.to_be_bytes());
    }
}

fn write_state(state: Option<(u32, &[u8])>, out: &mut Vec<u8>) {
    let Some((version, bytes)) = state else {
        out.push(rmp::Marker::Null.to_u8());
        return;
    };
    write_array_header(2, out);
    out.push(rmp::Marker::U32.to_u8());
    out.extend_from_slice(&version.to_be_bytes());
    out.push(rmp::Marker::Bin32.to_u8());
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}
