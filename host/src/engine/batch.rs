//! A batch's calls, gathered by handler: each lane holds the input of one handler's calls, and is cut into crossings.
//!
//! As long as rules have no state the calls of one handler are independent of each other and one wave takes them all; with state, a
//! wave will hold at most one event of each customer.

use std::ops::Range;

use super::ruleset::{RuleSet, Subscription};
use crate::clock::Millis;
use crate::event::Projection;

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
    /// Where its input begins and ends in the lane's.
    start: usize,
    end: usize,
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

    /// Adds the call of a subscription for an event.
    ///
    /// # Errors
    /// The index of the required field that is absent; no call is made then.
    pub fn add(
        &mut self,
        subscription: &Subscription,
        event: usize,
        now: Millis,
        seed: u64,
        projection: &Projection,
    ) -> Result<(), usize> {
        let lane = &mut self.lanes[subscription.lane];
        let start = lane.input.len();
        lane.input.push(0x94);
        write_int(now, &mut lane.input);
        lane.input.push(rmp::Marker::U64.to_u8());
        lane.input.extend_from_slice(&seed.to_be_bytes());
        lane.input.push(rmp::Marker::Null.to_u8());
        if let Err(absent) = subscription.write_fields(projection, &mut lane.input) {
            lane.input.truncate(start);
            return Err(absent);
        }
        if lane.calls.is_empty() {
            (lane.campaign, lane.handler) = (subscription.campaign, subscription.handler);
            self.in_use.push(subscription.lane);
        }
        lane.calls.push(Call { event, start, end: lane.input.len() });
        self.input_bytes += lane.input.len() - start;
        Ok(())
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

    /// The input of all calls that wait in a lane.
    pub(super) fn input_of_lane(&self, lane: usize) -> &[u8] {
        &self.lanes[lane].input
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

    /// The events of its calls, by their index in the batch.
    pub(super) fn events(self) -> impl Iterator<Item = usize> + 'a {
        self.calls.iter().map(|call| call.event)
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

fn write_int(value: i64, out: &mut Vec<u8>) {
    out.push(rmp::Marker::I64.to_u8());
    out.extend_from_slice(&value.to_be_bytes());
}
