//! What is tried before a campaign may run: it starts, takes its parameters, and gives the same bytes for the same
//! call, whatever was called before. **A rule is a pure function; that is checked, not hoped for.**

use std::sync::Arc;

use bytes::Bytes;
use hailer_abi::catalogue::EVENTS;

use super::batch::Batch;
use super::campaign::{Campaign, CampaignSpec};
use super::instance::{GuestFault, Instance};
use super::ruleset::RuleSet;
use super::sandbox::Sandbox;
use crate::clock::Millis;
use crate::event::{Event, Projection};

/// Why a campaign was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error("the rule does not start: it {0}")]
    Start(GuestFault),
    #[error("the rule refuses its parameters: {0}")]
    Params(String),
    #[error(
        "the rule is not a pure function: handler `{handler}` gave two answers to the same call of `{code}`; \
         keep nothing between calls (statics, thread locals) and rely on no address"
    )]
    Impure { handler: String, code: String },
}

/// Two moments and two customers: a rule may depend on both, and has to depend on them in the same way each time.
const CIRCUMSTANCES: [(Millis, u64); 2] = [(1_764_547_200_000, 1), (1_767_225_599_999, u64::MAX / 3)];

/// One call of the trial.
struct Trial {
    handler: u32,
    code: String,
    input: Vec<u8>,
}

impl Campaign {
    /// Starts a campaign's rule, configures it, and tries it on the catalogue's examples of the events that it takes: each on a fresh
    /// instance, then all on one instance, then all on one in reversed order. A fault on an example is not a reason to refuse it.
    ///
    /// # Errors
    /// When it doesn't start, refuses its parameters, or is not pure.
    pub fn admit(
        sandbox: &Arc<Sandbox>,
        spec: CampaignSpec,
        module: wasmtime::Module,
        generation: u64,
    ) -> Result<Arc<Campaign>, AdmissionError> {
        let campaign = Arc::new(Campaign { spec, generation, module });
        let start = || Instance::start(sandbox, &campaign.module, &campaign.spec.params);
        start().map_err(|fault| match fault {
            GuestFault::Returned(error) => AdmissionError::Params(error),
            fault => AdmissionError::Start(fault),
        })?;
        let trials = trials_of(&campaign);
        let impure = |trial: &Trial| AdmissionError::Impure {
            handler: campaign.spec.manifest.handlers[trial.handler as usize].name.clone(),
            code: trial.code.clone(),
        };
        let fresh: Vec<_> = trials.iter().map(|trial| answer(&mut start().ok(), trial, &start)).collect();
        let in_order = trials.iter().zip(&fresh);
        for same_instance in [&mut in_order.clone() as &mut dyn Iterator<Item = _>, &mut in_order.rev()] {
            let mut instance = start().ok();
            for (trial, expected) in same_instance {
                if !is_same_answer(&answer(&mut instance, trial, &start), expected) {
                    return Err(impure(trial));
                }
            }
        }
        Ok(campaign)
    }
}

/// Makes one call. After a fault the instance is replaced, as in a running engine.
fn answer(
    instance: &mut Option<Instance>,
    trial: &Trial,
    start: &impl Fn() -> Result<Instance, GuestFault>,
) -> Result<Vec<u8>, GuestFault> {
    let mut output = Vec::new();
    let Some(running) = instance else { return Err(GuestFault::Trap("it did not start again".into())) };
    let crossed = running.cross(trial.handler, 1, &trial.input, &mut output);
    if crossed.is_err() {
        *instance = start().ok();
    }
    crossed.map(|()| output)
}

/// A deadline says more about the machine's load than about the rule: it equals every answer.
fn is_same_answer(one: &Result<Vec<u8>, GuestFault>, other: &Result<Vec<u8>, GuestFault>) -> bool {
    match (one, other) {
        (Err(GuestFault::Deadline { .. }), _) | (_, Err(GuestFault::Deadline { .. })) => true,
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => one.kind() == other.kind(),
        _ => false,
    }
}

fn trials_of(campaign: &Arc<Campaign>) -> Vec<Trial> {
    let rules = RuleSet::build(vec![Arc::clone(campaign)], 0);
    let mut trials = Vec::new();
    let mut projection = Projection::new();
    let mut batch = Batch::default();
    for example in EVENTS {
        let Ok(event) = Event::read(Bytes::from_static(example.sample.as_bytes())) else { continue };
        let reading = rules.reading(event.code());
        reading.plan.project(&event, &mut projection);
        for subscription in &reading.subscriptions {
            for (now, seed) in CIRCUMSTANCES {
                batch.open(&rules);
                if batch.add(subscription, 0, now, seed, &projection).is_ok() {
                    let input = batch.input_of_lane(subscription.lane).to_vec();
                    trials.push(Trial { handler: subscription.handler, code: event.code().to_owned(), input });
                }
            }
        }
    }
    trials
}
