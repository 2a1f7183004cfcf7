//! A batch's calls, gathered by handler, and made in as few crossings as may be.
//!
//! A crossing with any fault counts for nothing: the instance is replaced and its calls are made one by one, each with a deadline of
//! its own, so that a fault falls on its own event alone (G7). A call that is late counts only if it is late again. As long as rules have no state the calls of one handler are independent of each
//! other and one wave takes them all; with state, a wave will hold at most one event of each customer.

use std::ops::Range;
use std::sync::Arc;

use super::campaign::Campaign;
use super::instance::{GuestFault, Instance};
use super::log::LogLine;
use super::outcome::{Outcome, Outcomes};
use super::ruleset::{RuleSet, Subscription};
use super::sandbox::Sandbox;
use crate::clock::Millis;
use crate::event::Projection;

/// The most calls in one crossing: enough to spread the cost of entering cold code, few enough that one fault wastes
/// little.
const CALLS_MAX: usize = 32;
/// The most input of one crossing, in bytes, unless it is one call's: what a guest has to make room for.
const INPUT_BYTES_MAX: usize = 256 << 10;
/// A lane keeps no more room than this from batch to batch, in bytes.
const LANE_BYTES_KEPT_MAX: usize = 64 << 10;
/// What an action takes beside the guest's own bytes, about: the communication that is made around it.
const ACTION_BYTES: usize = 512;
/// An instance that has made so many calls is replaced.
const CALLS_PER_INSTANCE_MAX: u64 = 1 << 20;

/// The calls that a batch of events leads to. Reused from batch to batch.
#[derive(Debug, Default)]
pub struct Batch {
    lanes: Vec<Lane>,
    /// The lanes that hold calls, in the order in which they came into use.
    in_use: Vec<(usize, usize, u32)>,
    input_bytes: usize,
}

/// The waiting calls of one handler of one campaign.
#[derive(Debug, Default)]
struct Lane {
    input: Vec<u8>,
    calls: Vec<Call>,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    /// The event's index in the batch.
    event: usize,
    /// Where its input ends in the lane's.
    end: usize,
}

/// What one campaign made of one event.
#[derive(Debug)]
pub struct Verdict {
    /// The event's index in the batch.
    pub event: usize,
    /// The campaign's index in the rule set.
    pub campaign: usize,
    pub result: Result<Outcome, GuestFault>,
}

/// A line that a guest logged while it handled an event.
#[derive(Debug)]
pub struct GuestLine {
    pub event: usize,
    pub campaign: usize,
    pub line: LogLine,
}

/// Everything that came of a batch. Reused from batch to batch.
#[derive(Debug, Default)]
pub struct Decided {
    /// By event, then by campaign.
    pub verdicts: Vec<Verdict>,
    pub lines: Vec<GuestLine>,
    /// Bytes that guests logged over their limit.
    pub log_bytes_cut: u64,
    /// What the answers take, about: their bytes, and for each action what is made around it.
    pub output_bytes: usize,
    /// Calls that were made again on a fresh instance.
    pub rechecked: u64,
    /// Campaigns, by index, whose rule gave two answers to one call.
    pub impure: Vec<usize>,
}

/// The guests of one shard: one instance a campaign, made when it is first needed.
pub struct Guests {
    sandbox: Arc<Sandbox>,
    rules: Arc<RuleSet>,
    places: Vec<Place>,
    output: Vec<u8>,
    /// One in so many calls runs twice; 0 means none.
    recheck_one_in: u32,
    calls_until_recheck: u32,
}

#[derive(Default)]
struct Place {
    instance: Option<Instance>,
    calls: u64,
}

impl Batch {
    /// Empties the batch for a rule set.
    pub fn open(&mut self, rules: &RuleSet) {
        for (lane, ..) in self.in_use.drain(..) {
            let lane = &mut self.lanes[lane];
            lane.input.clear();
            lane.input.shrink_to(LANE_BYTES_KEPT_MAX);
            lane.calls.clear();
            self.input_bytes = 0;
        }
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
            self.in_use.push((subscription.lane, subscription.campaign, subscription.handler));
        }
        lane.calls.push(Call { event, end: lane.input.len() });
        self.input_bytes += lane.input.len() - start;
        Ok(())
    }

    /// How much input the calls have, in bytes. Whoever fills a batch stops at a bound, as one event can be input to many rules.
    #[must_use]
    pub fn input_bytes(&self) -> usize {
        self.input_bytes
    }

    /// The input of all calls that wait in a lane.
    pub(super) fn input_of_lane(&self, lane: usize) -> &[u8] {
        &self.lanes[lane].input
    }
}

impl Lane {
    fn input_of(&self, first: usize, last: usize) -> &[u8] {
        let start = first.checked_sub(1).map_or(0, |before| self.calls[before].end);
        &self.input[start..self.calls[last].end]
    }

    /// The last call of the crossing that begins with call `first`.
    fn crossing_from(&self, first: usize) -> usize {
        let start = first.checked_sub(1).map_or(0, |before| self.calls[before].end);
        let waiting = &self.calls[first..self.calls.len().min(first + CALLS_MAX)];
        let fitting = waiting.iter().take_while(|call| call.end - start <= INPUT_BYTES_MAX).count();
        first + fitting.max(1) - 1
    }
}

impl Guests {
    #[must_use]
    pub fn new(sandbox: Arc<Sandbox>, recheck_one_in: u32) -> Guests {
        let rules = Arc::new(RuleSet::empty());
        let output = Vec::new();
        Guests { sandbox, rules, places: Vec::new(), output, recheck_one_in, calls_until_recheck: recheck_one_in }
    }

    /// Takes over a rule set: the instances of campaigns that did not change stay.
    pub fn adopt(&mut self, rules: &Arc<RuleSet>) {
        if Arc::ptr_eq(&self.rules, rules) {
            return;
        }
        let mut places = Vec::with_capacity(rules.campaigns().len());
        for campaign in rules.campaigns() {
            let same =
                |old: &Arc<Campaign>| old.spec.name == campaign.spec.name && old.generation == campaign.generation;
            let kept = self.rules.campaigns().iter().position(same);
            places.push(kept.map(|at| std::mem::take(&mut self.places[at])).unwrap_or_default());
        }
        self.places = places;
        self.rules = Arc::clone(rules);
    }

    /// Makes all calls of a batch.
    pub fn decide(&mut self, batch: &Batch, decided: &mut Decided) {
        // Nothing is too much.
        let _ = self.decide_some(batch, 0..usize::MAX, usize::MAX, decided);
    }

    /// Makes the calls of some of a batch's events. False, and nothing counts, if there are several events and they answer with more than
    /// `output_bytes_max` together: fewer of them will do.
    #[must_use = "what is too much does not count"]
    pub fn decide_some(
        &mut self,
        batch: &Batch,
        events: Range<usize>,
        output_bytes_max: usize,
        decided: &mut Decided,
    ) -> bool {
        decided.verdicts.clear();
        decided.lines.clear();
        decided.impure.clear();
        decided.rechecked = 0;
        decided.log_bytes_cut = 0;
        decided.output_bytes = 0;
        for (lane, campaign, handler) in &batch.in_use {
            let lane = &batch.lanes[*lane];
            let before = |event: usize| lane.calls.partition_point(|call| call.event < event);
            let (mut first, end) = (before(events.start), before(events.end));
            while first < end {
                let last = lane.crossing_from(first).min(end - 1);
                self.decide_calls(lane, (first, last), *campaign, *handler, decided);
                first = last + 1;
                if decided.output_bytes > output_bytes_max && events.len() > 1 {
                    return false;
                }
            }
        }
        decided.verdicts.sort_unstable_by_key(|verdict| (verdict.event, verdict.campaign));
        true
    }

    fn decide_calls(
        &mut self,
        lane: &Lane,
        (first, last): (usize, usize),
        campaign: usize,
        handler: u32,
        decided: &mut Decided,
    ) {
        let calls = &lane.calls[first..=last];
        let lines_before = decided.lines.len();
        let Err(fault) = self.cross(campaign, handler, calls, lane.input_of(first, last), decided) else {
            self.recheck(lane, (first, last), campaign, handler, decided);
            return;
        };
        match calls {
            // A call that was late for once may have had bad luck; what else a rule does, it does again.
            [only] if !matches!(fault, GuestFault::Deadline { .. }) => decided.fault(only.event, campaign, fault),
            _ => {
                // What is called again logs again.
                decided.lines.truncate(lines_before);
                for at in first..=last {
                    self.decide_alone(lane, at, campaign, handler, decided);
                }
            }
        }
    }

    /// Makes one call whose crossing has failed. What it does now counts.
    fn decide_alone(&mut self, lane: &Lane, at: usize, campaign: usize, handler: u32, decided: &mut Decided) {
        let call = &lane.calls[at..=at];
        match self.cross(campaign, handler, call, lane.input_of(at, at), decided) {
            Ok(()) => self.recheck(lane, (at, at), campaign, handler, decided),
            Err(fault) => decided.fault(call[0].event, campaign, fault),
        }
    }

    /// One crossing. After a fault the instance is gone and no verdict has been added.
    fn cross(
        &mut self,
        campaign: usize,
        handler: u32,
        calls: &[Call],
        input: &[u8],
        decided: &mut Decided,
    ) -> Result<(), GuestFault> {
        let (verdicts_before, output_before) = (decided.verdicts.len(), decided.output_bytes);
        let crossed = self.cross_unchecked(campaign, handler, calls, input, decided);
        if crossed.is_err() {
            self.places[campaign] = Place::default();
            decided.verdicts.truncate(verdicts_before);
            decided.output_bytes = output_before;
        }
        crossed
    }

    fn cross_unchecked(
        &mut self,
        campaign: usize,
        handler: u32,
        calls: &[Call],
        input: &[u8],
        decided: &mut Decided,
    ) -> Result<(), GuestFault> {
        let place = &mut self.places[campaign];
        let instance = match &mut place.instance {
            Some(instance) => instance,
            empty => {
                let loaded = &self.rules.campaigns()[campaign];
                empty.insert(Instance::start(&self.sandbox, &loaded.module, &loaded.spec.params)?)
            }
        };
        let crossed = instance.cross(handler, calls.len() as u32, input, &mut self.output);
        let (lines, cut) = instance.take_log();
        decided.log_bytes_cut += cut;
        let event_of = |line: &LogLine| Some(calls.get(usize::try_from(line.call).ok()?)?.event);
        let own = lines.into_iter().filter_map(|line| Some((event_of(&line)?, line)));
        decided.lines.extend(own.map(|(event, line)| GuestLine { event, campaign, line }));
        crossed?;
        let limit_bytes = self.sandbox.limits().output_bytes_max;
        let mut outcomes = Outcomes::new(&self.output);
        for call in calls {
            let (mut outcome, bytes) = outcomes.next().map_err(GuestFault::BadOutput)?;
            if bytes.len() > limit_bytes {
                return Err(GuestFault::OutputTooLarge { got: bytes.len(), limit_bytes });
            }
            decided.output_bytes += bytes.len() + ACTION_BYTES * outcome.actions.len();
            let result = match outcome.error.take() {
                None => Ok(outcome),
                Some(error) => Err(GuestFault::Returned(error.into())),
            };
            decided.verdicts.push(Verdict { event: call.event, campaign, result });
        }
        outcomes.end().map_err(GuestFault::BadOutput)?;
        place.calls += calls.len() as u64;
        if place.calls >= CALLS_PER_INSTANCE_MAX || instance.is_bloated() {
            *place = Place::default();
        }
        Ok(())
    }

    /// Makes those calls of the crossing again whose turn has come, each on a fresh instance: a pure rule gives the same bytes.
    fn recheck(
        &mut self,
        lane: &Lane,
        (first, last): (usize, usize),
        campaign: usize,
        handler: u32,
        decided: &mut Decided,
    ) {
        let calls = (last - first + 1) as u32;
        if self.recheck_one_in == 0 || self.calls_until_recheck > calls {
            self.calls_until_recheck = self.calls_until_recheck.saturating_sub(calls);
            return;
        }
        let mut outcomes = Outcomes::new(&self.output);
        for at in first..=last {
            // What has been read once is read again.
            let Ok((_, answer)) = outcomes.next() else { return };
            self.calls_until_recheck -= 1;
            if self.calls_until_recheck > 0 {
                continue;
            }
            self.calls_until_recheck = self.recheck_one_in;
            decided.rechecked += 1;
            let is_same = self.is_answered_again(campaign, handler, lane.input_of(at, at), answer);
            if !is_same && !decided.impure.contains(&campaign) {
                decided.impure.push(campaign);
            }
        }
    }

    /// Whether a fresh instance gives the same answer to a call.
    fn is_answered_again(&self, campaign: usize, handler: u32, input: &[u8], answer: &[u8]) -> bool {
        let loaded = &self.rules.campaigns()[campaign];
        // That it does not start now says something about the machine: it did start before.
        let Ok(mut fresh) = Instance::start(&self.sandbox, &loaded.module, &loaded.spec.params) else { return true };
        let mut again = Vec::new();
        match fresh.cross(handler, 1, input, &mut again) {
            Ok(()) => again == answer,
            Err(fault) => matches!(fault, GuestFault::Deadline { .. }),
        }
    }
}

impl Decided {
    fn fault(&mut self, event: usize, campaign: usize, fault: GuestFault) {
        self.verdicts.push(Verdict { event, campaign, result: Err(fault) });
    }
}

impl std::fmt::Debug for Guests {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guests").field("rule_set", &self.rules.number).finish_non_exhaustive()
    }
}

fn write_int(value: i64, out: &mut Vec<u8>) {
    out.push(rmp::Marker::I64.to_u8());
    out.extend_from_slice(&value.to_be_bytes());
}
