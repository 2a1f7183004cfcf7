//! The cost of a rule: its calls on the catalogue's samples and on its timers, in fuel and in time.
//! Fuel is the same on every machine, time is not. Fuel needs a metered sandbox, and time an
//! unmetered one.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hailer_abi::catalogue::EVENTS;
use serde::Serialize;

use super::batch::{Batch, NotCalled};
use super::campaign::Campaign;
use super::crossings::{BatchResult, Guests};
use super::outcome::StateChange;
use super::ruleset::RuleSet;
use super::sandbox::Sandbox;
use hailer_base::clock::Millis;
use hailer_base::wording::one_line;
use hailer_event::{Event, Projection};

/// An arbitrary time and customer, the same for every measurement.
const NOW: Millis = 1_764_547_200_000;
const SEED: u64 = 1;
/// The number of calls in a crossing of a busy engine.
const TOGETHER: usize = 32;
const ROUNDS: usize = 31;
const ROUND: Duration = Duration::from_millis(3);
/// The longest part of a condition that a message shows, in bytes.
const CONDITION_BYTES_SHOWN: usize = 200;

/// The calls of one handler on one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleCost {
    pub handler: String,
    /// The event's code, or the timer's name.
    pub called_by: String,
    /// The fuel of the more expensive of two calls on a warm instance. The first call has no state,
    /// the second has the state that the first returned.
    pub fuel: u64,
    /// The largest memory of the instance in bytes.
    pub memory_bytes: usize,
    /// The larger of the two outputs, in bytes.
    pub output_bytes: usize,
    /// The largest state that a call returned, in bytes; `None` if no call returned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<usize>,
    /// The median time of a warm call in a crossing of many, without state; `None` if it was not
    /// timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nanoseconds: Option<f64>,
    /// The reason why there was no call, or the fault of the rule; `None` if the call succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The input of a measured call.
struct Sample<'a> {
    handler: &'a str,
    called_by: &'a str,
    /// `None` for a timer.
    event: Option<Event>,
}

/// Measures the calls of a campaign in fuel, in the order of the catalogue, then of its timers. The
/// sandbox must be metered.
#[must_use]
pub fn sample_costs(metered: &Arc<Sandbox>, campaign: &Arc<Campaign>) -> Vec<SampleCost> {
    let mut bench = Bench::new(metered, campaign);
    let mut state_of_events = None;
    let samples = samples_of(campaign);
    samples.iter().map(|sample| bench.cost(sample, &mut state_of_events)).collect()
}

/// Times the calls that [`sample_costs`] measured. The sandbox must be unmetered, and the campaign
/// loaded in it.
pub fn time_samples(sandbox: &Arc<Sandbox>, campaign: &Arc<Campaign>, costs: &mut [SampleCost]) {
    let mut bench = Bench::new(sandbox, campaign);
    for (sample, cost) in samples_of(campaign).iter().zip(costs) {
        cost.nanoseconds = if cost.fault.is_none() { bench.time(sample) } else { None };
    }
}

fn samples_of(campaign: &Campaign) -> Vec<Sample<'_>> {
    let rules = RuleSet::build(vec![Arc::new(campaign.clone())], 0);
    let handlers = &campaign.spec.manifest.handlers;
    let mut samples = Vec::new();
    for example in EVENTS {
        let Ok(event) = Event::read(Bytes::from_static(example.sample.as_bytes())) else {
            continue;
        };
        let Some(subscription) = rules.reading(event.code()).subscriptions.first() else {
            continue;
        };
        let handler = &handlers[subscription.handler as usize].name;
        let called_by = example.codes.first().copied().unwrap_or(example.name);
        samples.push(Sample { handler, called_by, event: Some(event) });
    }
    let timers =
        handlers.iter().filter_map(|handler| Some((&*handler.name, handler.timer.as_deref()?)));
    samples.extend(timers.map(|(handler, called_by)| Sample { handler, called_by, event: None }));
    samples
}

/// One campaign with its guest.
struct Bench {
    rules: Arc<RuleSet>,
    guests: Guests,
    batch: Batch,
    decided: BatchResult,
}

impl Bench {
    fn new(sandbox: &Arc<Sandbox>, campaign: &Arc<Campaign>) -> Bench {
        let rules = Arc::new(RuleSet::build(vec![Arc::clone(campaign)], 1));
        let mut guests = Guests::new(Arc::clone(sandbox), 0);
        guests.adopt(&rules);
        Bench { rules, guests, batch: Batch::default(), decided: BatchResult::default() }
    }

    /// Measures the calls of one sample. `state` is the last state that an event's call returned;
    /// timers are called with it.
    fn cost(&mut self, sample: &Sample<'_>, state: &mut Option<Vec<u8>>) -> SampleCost {
        let mut cost = SampleCost {
            handler: sample.handler.to_owned(),
            called_by: sample.called_by.to_owned(),
            fuel: 0,
            memory_bytes: 0,
            output_bytes: 0,
            state_bytes: None,
            nanoseconds: None,
            fault: None,
        };
        let mut given = if sample.event.is_none() { state.clone() } else { None };
        // The first call of an instance allocates its memory, which later calls do not, so it is
        // not counted.
        for turn in 0..3 {
            if let Err(fault) = self.fill(sample, 1, given.as_deref()) {
                cost.fault = Some(fault);
                return cost;
            }
            self.guests.decide(&self.batch, &mut self.decided);
            let (Some(measured), Some(call)) =
                (self.decided.costs.first(), self.decided.results.pop())
            else {
                break;
            };
            cost.memory_bytes = cost.memory_bytes.max(measured.memory_bytes);
            if turn > 0 {
                cost.fuel = cost.fuel.max(measured.fuel);
                cost.output_bytes = cost.output_bytes.max(measured.output_bytes);
            }
            let outcome = match call.result {
                Ok(outcome) => outcome,
                Err(fault) => {
                    cost.fault = Some(format!("the rule {fault}"));
                    return cost;
                }
            };
            if let StateChange::Set(bytes) = outcome.state {
                cost.state_bytes = cost.state_bytes.max(Some(bytes.len()));
                if turn == 1 {
                    *state = Some(bytes.to_vec());
                    given = Some(bytes.into_vec());
                }
            }
        }
        cost
    }

    /// The median time of a call, in nanoseconds.
    fn time(&mut self, sample: &Sample<'_>) -> Option<f64> {
        let turns = self.turns(sample)?;
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for _ in 0..turns {
                self.decide_together(sample)?;
            }
            rounds.push(began.elapsed().as_nanos() as f64 / f64::from(turns) / TOGETHER as f64);
        }
        rounds.sort_by(f64::total_cmp);
        Some(rounds[ROUNDS / 2])
    }

    /// The number of batches to decide in a round. Finding it also warms up the instance.
    fn turns(&mut self, sample: &Sample<'_>) -> Option<u32> {
        let began = Instant::now();
        let mut turns = 0;
        while began.elapsed() < ROUND {
            self.decide_together(sample)?;
            turns += 1;
        }
        Some(turns)
    }

    fn decide_together(&mut self, sample: &Sample<'_>) -> Option<()> {
        self.fill(sample, TOGETHER, None).ok()?;
        self.guests.decide(&self.batch, &mut self.decided);
        black_box(&self.decided);
        Some(())
    }

    /// Fills the batch with this many calls of one sample.
    fn fill(
        &mut self,
        sample: &Sample<'_>,
        calls: usize,
        state: Option<&[u8]>,
    ) -> Result<(), String> {
        self.batch.open(&self.rules);
        let manifest = &self.rules.campaigns()[0].spec.manifest;
        let state = manifest.state_version.zip(state);
        let Some(event) = &sample.event else {
            let timer =
                self.rules.timer(0, sample.called_by).ok_or("the rule has no such timer")?;
            return (0..calls).try_for_each(|call| {
                let added = self.batch.add_timer(&timer, call, NOW, SEED + call as u64, state);
                added.map_err(|fault| format!("the rule {fault}"))
            });
        };
        let reading = self.rules.reading(event.code());
        let subscription = reading.subscriptions.first().ok_or("the rule does not take it")?;
        let mut projection = Projection::new();
        reading.plan.project(event, &mut projection);
        if let Some(condition) =
            subscription.condition().filter(|_| !subscription.matches(&projection))
        {
            let condition = one_line(condition, CONDITION_BYTES_SHOWN);
            return Err(format!(
                "not called: its condition `{condition}` does not match the source's sample"
            ));
        }
        for call in 0..calls {
            let added =
                self.batch.add(subscription, call, NOW, SEED + call as u64, state, &projection);
            added.map_err(|not_called| match not_called {
                NotCalled::Missing(missing) => {
                    let field = missing.name(&manifest.handlers[subscription.handler as usize]);
                    format!("not called: the source's sample has no usable `{field}`")
                }
                NotCalled::Fault(fault) => format!("the rule {fault}"),
            })?;
        }
        Ok(())
    }
}
