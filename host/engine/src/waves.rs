//! Calls into the guests of a shard, in as few crossings as may be.
//!
//! A crossing with any fault counts for nothing: the instance is replaced and its calls are made one by one, each with a deadline of
//! its own, so that a fault falls on its own event alone (G7). A call that is late counts only if it is late again.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Crossing};
use super::campaign::{Campaign, CampaignSpec};
use super::deadline::processor_time;
use super::instance::{GuestFault, Instance};
use super::log::LogLine;
use super::outcome::{Action, Outcome, Outcomes, StateChange};
use super::ruleset::RuleSet;
use super::sandbox::Sandbox;
use hailer_base::clock::Millis;

/// What an action takes beside the guest's own bytes, about: the communication that is made around it.
const ACTION_BYTES: usize = 512;
/// An instance that has made so many calls is replaced.
const CALLS_PER_INSTANCE_MAX: u64 = 1 << 20;

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

/// How long calls took that were made together, in the processor's time: calls that the machine keeps waiting are not slow.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub campaign: usize,
    pub calls: u32,
    pub time: Duration,
}

/// What one call cost, in a sandbox that counts.
#[derive(Clone, Copy, Debug)]
pub struct CallCost {
    pub event: usize,
    pub campaign: usize,
    pub fuel: u64,
    /// What the guest's memory has grown to.
    pub memory_bytes: usize,
    /// What it answered.
    pub output_bytes: usize,
    /// By the clock: another one each time.
    pub time: Duration,
}

/// Everything that came of a batch. Reused from batch to batch.
#[derive(Debug, Default)]
pub struct Decided {
    /// By event, then by campaign.
    pub verdicts: Vec<Verdict>,
    pub lines: Vec<GuestLine>,
    /// One for each crossing whose time is known.
    pub spent: Vec<Spent>,
    /// One for each call, if they are counted.
    pub costs: Vec<CallCost>,
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
    /// So many crossings more are measured in the processor's time.
    measured: u32,
}

/// A crossing that takes no more than this by the clock, for each call, was not kept waiting for a time slice: the clock, which costs nothing,
/// is as good as the processor's time.
const QUICK_CALL: Duration = Duration::from_micros(32);
/// After a crossing that was not quick, so many are measured in the processor's time.
const MEASURED: u32 = 256;

impl Place {
    /// The next call gets a new instance.
    fn renew(&mut self) {
        (self.instance, self.calls) = (None, 0);
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
        decided.clear();
        let may_be_fewer = events.len() > 1;
        for crossing in batch.crossings(events) {
            self.decide_crossing(crossing, decided);
            if decided.output_bytes > output_bytes_max && may_be_fewer {
                return false;
            }
        }
        decided.verdicts.sort_unstable_by_key(|verdict| (verdict.event, verdict.campaign));
        true
    }

    fn decide_crossing(&mut self, crossing: Crossing<'_>, decided: &mut Decided) {
        if self.sandbox.is_metered() && crossing.count() > 1 {
            // Each is to have its own cost.
            crossing.one_by_one().for_each(|alone| self.decide_crossing(alone, decided));
            return;
        }
        let lines_before = decided.lines.len();
        let Err(fault) = self.cross(crossing, decided) else {
            self.recheck(crossing, decided);
            return;
        };
        // A call that was late for once may have had bad luck; what else a rule does, it does again.
        if crossing.count() == 1 && !matches!(fault, GuestFault::Deadline { .. }) {
            decided.fault(crossing, fault.in_handler(self.handler_of(crossing)));
            return;
        }
        // What is called again logs again, and what it does now counts.
        decided.lines.truncate(lines_before);
        for alone in crossing.one_by_one() {
            match self.cross(alone, decided) {
                Ok(()) => self.recheck(alone, decided),
                Err(fault) => decided.fault(alone, fault.in_handler(self.handler_of(alone))),
            }
        }
    }

    fn handler_of(&self, crossing: Crossing<'_>) -> &str {
        let handlers = &self.rules.campaigns()[crossing.campaign].spec.manifest.handlers;
        handlers.get(crossing.handler as usize).map_or("", |handler| &handler.name)
    }

    /// Makes a crossing. After a fault the instance is gone and no verdict has been added.
    fn cross(&mut self, crossing: Crossing<'_>, decided: &mut Decided) -> Result<(), GuestFault> {
        let (verdicts_before, output_before) = (decided.verdicts.len(), decided.output_bytes);
        let crossed = self.cross_unchecked(crossing, decided);
        if crossed.is_err() {
            self.places[crossing.campaign].renew();
            decided.verdicts.truncate(verdicts_before);
            decided.output_bytes = output_before;
        }
        crossed
    }

    fn cross_unchecked(&mut self, crossing: Crossing<'_>, decided: &mut Decided) -> Result<(), GuestFault> {
        let campaign = crossing.campaign;
        let place = &mut self.places[campaign];
        let instance = match &mut place.instance {
            Some(instance) => instance,
            empty => {
                let loaded = &self.rules.campaigns()[campaign];
                empty.insert(Instance::start(&self.sandbox, &loaded.module, &loaded.spec.params)?)
            }
        };
        let calls = crossing.count() as u32;
        let processor_began = (place.measured > 0).then(processor_time);
        let began = Instant::now();
        let crossed = instance.cross(crossing.handler, calls, crossing.input(), &mut self.output);
        let time = began.elapsed();
        let is_quick = time <= QUICK_CALL * calls;
        let spent = match processor_began {
            Some(processor_began) => Some(processor_time().saturating_sub(processor_began)),
            // How much of a long time was waiting is not known the first time.
            None => is_quick.then_some(time),
        };
        place.measured = if is_quick { place.measured.saturating_sub(1) } else { MEASURED };
        decided.spent.extend(spent.map(|time| Spent { campaign, calls, time }));
        if let (true, Some(event)) = (self.sandbox.is_metered(), crossing.event(0)) {
            let (fuel, memory_bytes) = (instance.fuel_burnt(), instance.memory_bytes());
            let output_bytes = if crossed.is_ok() { self.output.len() } else { 0 };
            decided.costs.push(CallCost { event, campaign, fuel, memory_bytes, output_bytes, time });
        }
        let (lines, cut) = instance.take_log();
        decided.log_bytes_cut += cut;
        let event_of = |line: &LogLine| crossing.event(usize::try_from(line.call).ok()?);
        let own = lines.into_iter().filter_map(|line| Some((event_of(&line)?, line)));
        decided.lines.extend(own.map(|(event, line)| GuestLine { event, campaign, line }));
        crossed?;
        let spec = &self.rules.campaigns()[campaign].spec;
        let limits = self.sandbox.limits();
        let limit_bytes = limits.output_bytes_max;
        let mut outcomes = Outcomes::new(&self.output, &spec.manifest, crossing.handler);
        for (event, now) in crossing.events() {
            // Read where it stays: to hand it on costs more than to read it. After a fault it is taken back.
            decided.verdicts.push(Verdict { event, campaign, result: Ok(Outcome::default()) });
            let Some(Verdict { result, .. }) = decided.verdicts.last_mut() else {
                unreachable!("it was just put there")
            };
            let Ok(outcome) = result else { unreachable!("it is no fault yet") };
            let bytes = outcomes.next_into(outcome).map_err(GuestFault::BadOutput)?;
            if bytes.len() > limit_bytes {
                return Err(GuestFault::OutputTooLarge { got: bytes.len(), limit_bytes });
            }
            check_bounds(outcome, now, spec, limits.state_bytes_max)?;
            decided.output_bytes += bytes.len() + ACTION_BYTES * outcome.actions.len();
            if let Some(error) = outcome.error.take() {
                *result = Err(GuestFault::Returned(error.into()));
            }
        }
        outcomes.end().map_err(GuestFault::BadOutput)?;
        place.calls += crossing.count() as u64;
        if place.calls >= CALLS_PER_INSTANCE_MAX || instance.is_bloated() {
            place.renew();
        }
        Ok(())
    }

    /// Makes those calls of the crossing again whose turn has come, each on a fresh instance: a pure rule gives the same bytes.
    fn recheck(&mut self, crossing: Crossing<'_>, decided: &mut Decided) {
        let (campaign, calls) = (crossing.campaign, crossing.count() as u32);
        if self.recheck_one_in == 0 || self.calls_until_recheck > calls {
            self.calls_until_recheck = self.calls_until_recheck.saturating_sub(calls);
            return;
        }
        let manifest = &self.rules.campaigns()[campaign].spec.manifest;
        let mut outcomes = Outcomes::new(&self.output, manifest, crossing.handler);
        for call in crossing.one_by_one() {
            // What has been read once is read again.
            let Ok((_, answer)) = outcomes.next() else { return };
            self.calls_until_recheck -= 1;
            if self.calls_until_recheck > 0 {
                continue;
            }
            self.calls_until_recheck = self.recheck_one_in;
            decided.rechecked += 1;
            if !self.is_answered_again(call, answer) && !decided.impure.contains(&campaign) {
                decided.impure.push(campaign);
            }
        }
    }

    /// Whether a fresh instance gives the same answer to a call.
    fn is_answered_again(&self, call: Crossing<'_>, answer: &[u8]) -> bool {
        let loaded = &self.rules.campaigns()[call.campaign];
        // That it does not start now says something about the machine: it did start before.
        let Ok(mut fresh) = Instance::start(&self.sandbox, &loaded.module, &loaded.spec.params) else { return true };
        let mut again = Vec::new();
        match fresh.cross(call.handler, 1, call.input(), &mut again) {
            Ok(()) => again == answer,
            Err(fault) => matches!(fault, GuestFault::Deadline { .. }),
        }
    }
}

/// What the bytes alone do not show: a state's size, and whether every timer's moment exists, so that whoever resolves it again has one.
pub(super) fn check_bounds(
    outcome: &Outcome,
    now: Millis,
    spec: &CampaignSpec,
    limit_bytes: usize,
) -> Result<(), GuestFault> {
    match &outcome.state {
        StateChange::Set(state) if state.len() > limit_bytes => {
            return Err(GuestFault::StateTooLarge { got: state.len(), limit_bytes });
        }
        _ => {}
    }
    outcome.actions.iter().try_for_each(|action| match action {
        Action::Schedule { when, .. } => match when.resolve(now, &spec.time_zone) {
            Ok(_) => Ok(()),
            Err(wrong) => Err(GuestFault::BadOutput(format!("a timer for {wrong}"))),
        },
        _ => Ok(()),
    })
}

impl Decided {
    fn clear(&mut self) {
        self.verdicts.clear();
        self.lines.clear();
        self.spent.clear();
        self.costs.clear();
        self.impure.clear();
        (self.log_bytes_cut, self.output_bytes, self.rechecked) = (0, 0, 0);
    }

    /// The fault of a crossing's first, and only, call.
    fn fault(&mut self, call: Crossing<'_>, fault: GuestFault) {
        let campaign = call.campaign;
        self.verdicts.extend(call.event(0).map(|event| Verdict { event, campaign, result: Err(fault) }));
    }
}

impl std::fmt::Debug for Guests {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guests").field("rule_set", &self.rules.number).finish_non_exhaustive()
    }
}
