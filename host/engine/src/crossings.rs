//! Calls into the guests of a shard, in as few crossings as possible.
//!
//! After a crossing with any fault, its results are dropped and the instance is replaced. Its calls
//! are then made one by one, each with its own deadline, so that a fault affects only its own event
//! (G7). A late call is a fault only if it is late again.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Crossing};
use super::campaign::CampaignSpec;
use super::deadline::processor_time;
use super::instance::{GuestFault, Instance};
use super::log::LogLine;
use super::outcome::{Action, Outcome, Outcomes, StateChange};
use super::ruleset::RuleSet;
use super::sandbox::Sandbox;
use hailer_base::clock::Millis;

/// The approximate bytes that an action needs beside the guest's own bytes, for the communication
/// made from it.
const ACTION_BYTES: usize = 512;
/// The room for results that is kept between batches.
const RESULTS_KEPT_MAX: usize = 1 << 14;
/// An instance that has not been called for this time is given back.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// If there are as many instances as there may be, one of so many is given back for a new one, so
/// that they are sorted rarely.
const GIVEN_BACK_OF: usize = 8;
/// An instance is replaced after this many calls.
const CALLS_PER_INSTANCE_MAX: u64 = 1 << 20;

/// The result of one call: the outcome of one campaign for one event, or its fault.
#[derive(Debug)]
pub struct CallResult {
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

/// The CPU time of the calls of one crossing. Calls that the OS did not schedule are not slow.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub campaign: usize,
    pub calls: u32,
    pub time: Duration,
}

/// The cost of one call in a metered sandbox.
#[derive(Clone, Copy, Debug)]
pub struct CallCost {
    pub event: usize,
    pub campaign: usize,
    pub fuel: u64,
    /// The size of the guest's memory in bytes.
    pub memory_bytes: usize,
    /// The size of the answer in bytes; 0 after a fault.
    pub output_bytes: usize,
    /// The elapsed time, which differs each time.
    pub time: Duration,
}

/// The results of a batch. It is reused for each batch.
#[derive(Debug, Default)]
pub struct BatchResult {
    /// The results of the calls, ordered by event, then by campaign.
    pub results: Vec<CallResult>,
    pub lines: Vec<GuestLine>,
    /// The time of each crossing whose CPU time is known.
    pub spent: Vec<Spent>,
    /// The cost of each call, in a metered sandbox.
    pub costs: Vec<CallCost>,
    /// The bytes that guests logged over their limit.
    pub log_bytes_cut: u64,
    /// The approximate bytes of the answers, with those of the communications made from them.
    pub output_bytes: usize,
    /// The number of calls that were made again on a fresh instance.
    pub rechecked: u64,
    /// The indices of the campaigns whose rule gave two answers to one call.
    pub impure: Vec<usize>,
    /// Room for the results in their order, and for the event and the place of each result.
    ordered: Vec<CallResult>,
    order: Vec<(usize, u32)>,
}

/// The guests of one shard: one instance for each campaign, made when it is first needed. Instances
/// are given back if they are not called for long, and if there are too many.
pub struct Guests {
    sandbox: Arc<Sandbox>,
    rules: Arc<RuleSet>,
    slots: Vec<GuestSlot>,
    given_back: u64,
    output: Vec<u8>,
    /// One in this many calls is made twice; 0 means none.
    recheck_one_in: u32,
    calls_until_recheck: u32,
}

#[derive(Default)]
struct GuestSlot {
    instance: Option<Instance>,
    calls: u64,
    /// When the instance was last called.
    called: Option<Instant>,
    /// The number of further crossings whose CPU time is measured.
    measured: u32,
}

/// The longest elapsed time of a quick call. A crossing of quick calls did not wait for a time
/// slice. So its elapsed time, which is cheap to read, is as good as its CPU time.
const QUICK_CALL: Duration = Duration::from_micros(32);
/// The number of crossings whose CPU time is measured after one that was not quick.
const MEASURED: u32 = 256;

impl GuestSlot {
    /// Drops the instance, so that the next call gets a new one.
    fn renew(&mut self) {
        (self.instance, self.calls) = (None, 0);
    }
}

impl Guests {
    #[must_use]
    pub fn new(sandbox: Arc<Sandbox>, recheck_one_in: u32) -> Guests {
        let rules = Arc::new(RuleSet::empty());
        let output = Vec::new();
        Guests {
            sandbox,
            rules,
            slots: Vec::new(),
            given_back: 0,
            output,
            recheck_one_in,
            calls_until_recheck: recheck_one_in,
        }
    }

    /// Changes to a rule set. The instances of unchanged campaigns stay.
    pub fn adopt(&mut self, rules: &Arc<RuleSet>) {
        if Arc::ptr_eq(&self.rules, rules) {
            return;
        }
        let mut slots = Vec::with_capacity(rules.campaigns().len());
        for campaign in rules.campaigns() {
            let same =
                |place: &usize| self.rules.campaigns()[*place].generation == campaign.generation;
            let kept = self.rules.place(&campaign.spec.name).filter(same);
            slots.push(kept.map(|at| std::mem::take(&mut self.slots[at])).unwrap_or_default());
        }
        self.slots = slots;
        self.rules = Arc::clone(rules);
    }

    /// Gives back the instances that have not been called for ten minutes.
    pub fn give_back_idle(&mut self, now: Instant) {
        for slot in self.slots.iter_mut().filter(|slot| slot.instance.is_some()) {
            let idle = slot.called.map(|called| now.saturating_duration_since(called));
            if idle.is_none_or(|idle| idle >= IDLE_MAX) {
                slot.renew();
            }
        }
    }

    /// Takes the number of instances that were given back because there were too many.
    pub fn take_given_back(&mut self) -> u64 {
        std::mem::take(&mut self.given_back)
    }

    /// Gives back the instances that were called least recently, if there are as many as there may
    /// be.
    fn make_room(&mut self) {
        let max = self.sandbox.limits().instances_max;
        if self.slots.iter().filter(|slot| slot.instance.is_some()).count() < max {
            return;
        }
        let slots = self.slots.iter().enumerate();
        let mut kept: Vec<(Option<Instant>, usize)> = slots
            .filter(|(_, slot)| slot.instance.is_some())
            .map(|(place, slot)| (slot.called, place))
            .collect();
        let count = (kept.len() + 1 - max).max(max / GIVEN_BACK_OF).min(kept.len());
        kept.sort_unstable();
        for (_, place) in &kept[..count] {
            self.slots[*place].renew();
        }
        self.given_back += count as u64;
    }

    /// Makes all calls of a batch.
    pub fn decide(&mut self, batch: &Batch, decided: &mut BatchResult) {
        // There is no bound on the output, so the result is always true.
        let _ = self.decide_some(batch, 0..usize::MAX, usize::MAX, decided);
    }

    /// Makes the calls of some of a batch's events. Returns false if there are several events and
    /// their answers have more than `output_bytes_max` together. Then the results must not be used,
    /// and the caller tries again with fewer events.
    #[must_use = "after false the results must not be used"]
    pub fn decide_some(
        &mut self,
        batch: &Batch,
        events: Range<usize>,
        output_bytes_max: usize,
        decided: &mut BatchResult,
    ) -> bool {
        decided.clear();
        let may_be_fewer = events.len() > 1;
        for crossing in batch.crossings(events) {
            self.decide_crossing(crossing, decided);
            if decided.output_bytes > output_bytes_max && may_be_fewer {
                return false;
            }
        }
        decided.order_by_event();
        true
    }

    fn decide_crossing(&mut self, crossing: Crossing<'_>, decided: &mut BatchResult) {
        if self.sandbox.is_metered() && crossing.count() > 1 {
            // Each call must have its own cost.
            crossing.one_by_one().for_each(|alone| self.decide_crossing(alone, decided));
            return;
        }
        let lines_before = decided.lines.len();
        let Err(fault) = self.cross(crossing, decided) else {
            self.recheck(crossing, decided);
            return;
        };
        // A single late call is tried again. Any other fault of a pure rule would repeat.
        if crossing.count() == 1 && !matches!(fault, GuestFault::Deadline { .. }) {
            decided.fault(crossing, fault.in_handler(self.handler_of(crossing)));
            return;
        }
        // The calls are made again and log again, so the first lines are dropped.
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

    /// Makes a crossing. After a fault the instance is dropped and no result is added.
    fn cross(
        &mut self,
        crossing: Crossing<'_>,
        decided: &mut BatchResult,
    ) -> Result<(), GuestFault> {
        let (results_before, output_before) = (decided.results.len(), decided.output_bytes);
        let crossed = self.cross_unchecked(crossing, decided);
        if crossed.is_err() {
            self.slots[crossing.campaign].renew();
            decided.results.truncate(results_before);
            decided.output_bytes = output_before;
        }
        crossed
    }

    fn cross_unchecked(
        &mut self,
        crossing: Crossing<'_>,
        decided: &mut BatchResult,
    ) -> Result<(), GuestFault> {
        let campaign = crossing.campaign;
        if self.slots[campaign].instance.is_none() {
            self.make_room();
        }
        let slot = &mut self.slots[campaign];
        let instance = match &mut slot.instance {
            Some(instance) => instance,
            empty => {
                let loaded = &self.rules.campaigns()[campaign];
                empty.insert(Instance::start(&self.sandbox, &loaded.module, &loaded.spec.params)?)
            }
        };
        let calls = crossing.count() as u32;
        let processor_began = (slot.measured > 0).then(processor_time);
        let began = Instant::now();
        slot.called = Some(began);
        let crossed = instance.cross(crossing.handler, calls, crossing.input(), &mut self.output);
        let time = began.elapsed();
        let is_quick = time <= QUICK_CALL * calls;
        let spent = match processor_began {
            Some(processor_began) => Some(processor_time().saturating_sub(processor_began)),
            // The first slow crossing may have waited, and its CPU time was not measured.
            None => is_quick.then_some(time),
        };
        slot.measured = if is_quick { slot.measured.saturating_sub(1) } else { MEASURED };
        decided.spent.extend(spent.map(|time| Spent { campaign, calls, time }));
        if let (true, Some(event)) = (self.sandbox.is_metered(), crossing.event(0)) {
            let (fuel, memory_bytes) = (instance.fuel_burnt(), instance.memory_bytes());
            let output_bytes = if crossed.is_ok() { self.output.len() } else { 0 };
            decided.costs.push(CallCost {
                event,
                campaign,
                fuel,
                memory_bytes,
                output_bytes,
                time,
            });
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
            // The outcome is read in place, because moving it costs more than reading it. After a
            // fault, `cross` removes it.
            decided.results.push(CallResult { event, campaign, result: Ok(Outcome::default()) });
            let Some(CallResult { result, .. }) = decided.results.last_mut() else {
                unreachable!("the result was just added")
            };
            let Ok(outcome) = result else { unreachable!("the result is no fault yet") };
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
        slot.calls += crossing.count() as u64;
        if slot.calls >= CALLS_PER_INSTANCE_MAX || instance.is_bloated() {
            slot.renew();
        }
        Ok(())
    }

    /// Makes one in `recheck_one_in` calls again, on a fresh instance. A pure rule gives the same
    /// bytes.
    fn recheck(&mut self, crossing: Crossing<'_>, decided: &mut BatchResult) {
        let (campaign, calls) = (crossing.campaign, crossing.count() as u32);
        if self.recheck_one_in == 0 || self.calls_until_recheck > calls {
            self.calls_until_recheck = self.calls_until_recheck.saturating_sub(calls);
            return;
        }
        let manifest = &self.rules.campaigns()[campaign].spec.manifest;
        let mut outcomes = Outcomes::new(&self.output, manifest, crossing.handler);
        for call in crossing.one_by_one() {
            // These outcomes were read before, so this does not fail.
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
        // The rule has started before, so a failed start is due to the machine.
        let Ok(mut fresh) = Instance::start(&self.sandbox, &loaded.module, &loaded.spec.params)
        else {
            return true;
        };
        let mut again = Vec::new();
        match fresh.cross(call.handler, 1, call.input(), &mut again) {
            Ok(()) => again == answer,
            Err(fault) => matches!(fault, GuestFault::Deadline { .. }),
        }
    }
}

/// Checks the size of the state, and that every timer's date exists, so that resolving it later
/// cannot fail.
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

impl BatchResult {
    fn clear(&mut self) {
        self.results.clear();
        self.ordered.shrink_to(RESULTS_KEPT_MAX);
        self.order.shrink_to(RESULTS_KEPT_MAX);
        self.lines.clear();
        self.spent.clear();
        self.costs.clear();
        self.impure.clear();
        (self.log_bytes_cut, self.output_bytes) = (0, 0);
        self.rechecked = 0;
    }

    /// Orders the results by event. Those of one event are in the order of their campaigns already,
    /// and stay so.
    fn order_by_event(&mut self) {
        if self.results.is_sorted_by_key(|call| call.event) {
            return;
        }
        self.order.clear();
        self.order.extend((0..).zip(&self.results).map(|(place, call)| (call.event, place)));
        // Results are large, so each is moved only once.
        self.order.sort_unstable();
        self.ordered.clear();
        self.ordered.extend(self.order.iter().map(|(event, place)| {
            let call = &mut self.results[*place as usize];
            let result = std::mem::replace(&mut call.result, Ok(Outcome::default()));
            CallResult { event: *event, campaign: call.campaign, result }
        }));
        std::mem::swap(&mut self.results, &mut self.ordered);
        self.ordered.clear();
        debug_assert!(self.results.is_sorted_by_key(|call| (call.event, call.campaign)));
    }

    /// Adds the fault of a crossing with a single call.
    fn fault(&mut self, call: Crossing<'_>, fault: GuestFault) {
        let campaign = call.campaign;
        self.results.extend(call.event(0).map(|event| CallResult {
            event,
            campaign,
            result: Err(fault),
        }));
    }
}

impl std::fmt::Debug for Guests {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Guests")
            .field("rule_set", &self.rules.number)
            .finish_non_exhaustive()
    }
}
