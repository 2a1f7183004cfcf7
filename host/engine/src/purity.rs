//! The trial of a campaign before it may run: its rule starts, accepts its parameters, and returns
//! the same bytes for the same call, whatever calls came before. **This trial checks that a rule is
//! a pure function; repeated calls (`purity.recheck_one_in`) check it while the rule runs.**

use std::sync::Arc;

use bytes::Bytes;
use hailer_abi::catalogue::EVENTS;

use super::batch::{MergeTimer, write_head, write_merge_fields};
use super::campaign::{Campaign, CampaignSpec};
use super::fitness;
use super::guards::guards_of;
use super::instance::{GuestFault, Instance};
use super::outcome::{Outcomes, StateChange};
use super::ruleset::RuleSet;
use super::sandbox::Sandbox;
use hailer_base::clock::Millis;
use hailer_event::{Event, Projection};

/// The reason why a campaign was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error("the rule does not start: it {0}")]
    Start(GuestFault),
    #[error("the rule refuses its parameters: {0}")]
    Params(String),
    #[error(
        "the rule is not a pure function: handler `{handler}` gave two answers to the same call \
         of `{code}`; keep nothing between calls (statics, thread locals) and rely on no address"
    )]
    Impure { handler: String, code: String },
    #[error(
        "the condition of handler `{handler}` does not fit its fields and the rule's parameters; \
         rebuild the rule with `hailer build`"
    )]
    Condition { handler: String },
    #[error(
        "handler `{handler}` faulted on every sample that it takes ({calls} calls); the last \
         fault on `{code}`: it {fault}"
    )]
    Faulty { handler: String, code: String, calls: usize, fault: GuestFault },
    #[error(
        "the rule is not a pure function: handler `{handler}` answered {calls} calls of one \
         crossing otherwise than the same calls one by one; keep nothing between calls (statics, \
         thread locals)"
    )]
    Crossing { handler: String, calls: usize },
}

/// Two times with two customers. A rule may depend on both, but in the same way for each call.
const CIRCUMSTANCES: [(Millis, u64); 2] =
    [(1_764_547_200_000, 1), (1_767_225_599_999, u64::MAX / 3)];

/// The most states from the first calls of the trial that are passed to the rule again.
const STATES_MAX: usize = 8;

/// One call of the trial.
#[derive(Clone)]
pub(super) struct TrialCall {
    pub(super) handler: u32,
    /// The event's code, or the timer's name.
    pub(super) what: String,
    pub(super) now: Millis,
    seed: u64,
    state: Option<Vec<u8>>,
    /// The encoded fields of the call.
    fields: Vec<u8>,
    /// Whether this is a sample event that matches the condition of the handler, so that a running
    /// engine would make the call. Timers and merges of the trial have artificial states and are no
    /// samples.
    pub(super) is_sample: bool,
}

impl TrialCall {
    /// Appends the input of the call. `version` is that of the state's shape.
    pub(super) fn write(&self, version: Option<u32>, input: &mut Vec<u8>) {
        write_head(self.now, self.seed, version.zip(self.state.as_deref()), input);
        input.extend_from_slice(&self.fields);
    }
}

impl Campaign {
    /// Makes a campaign that this engine has admitted before, with this module and these
    /// parameters.
    ///
    /// # Errors
    /// When a condition does not fit the fields and parameters.
    pub fn admitted_before(
        spec: CampaignSpec,
        module: wasmtime::Module,
        generation: u64,
    ) -> Result<Arc<Campaign>, AdmissionError> {
        let guards = guards_of(&spec)?;
        Ok(Arc::new(Campaign { spec, generation, guards, module }))
    }

    /// Makes a campaign after its rule has started once and accepted its parameters.
    ///
    /// # Errors
    /// When the rule does not start or refuses its parameters, or a condition does not fit the
    /// fields and parameters.
    pub fn started(
        sandbox: &Arc<Sandbox>,
        spec: CampaignSpec,
        module: wasmtime::Module,
        generation: u64,
    ) -> Result<Arc<Campaign>, AdmissionError> {
        let campaign = Campaign::admitted_before(spec, module, generation)?;
        match Instance::start(sandbox, &campaign.module, &campaign.spec.params) {
            Ok(_) => Ok(campaign),
            Err(GuestFault::Returned(error)) => Err(AdmissionError::Params(error)),
            Err(fault) => Err(AdmissionError::Start(fault)),
        }
    }

    /// Starts, configures and tries the rule of a campaign. The trial calls its handlers of events
    /// with the catalogue's samples, and then those of its timers and its merge. The first calls
    /// have no state, the later ones have the states that the first returned. Conditions are
    /// ignored.
    ///
    /// Each call is made on a fresh instance, then all calls on one instance, then all on one
    /// instance in reversed order. Then many calls are made in one crossing, several times. A fault
    /// on some samples is no reason to refuse the campaign.
    ///
    /// # Errors
    /// When the rule does not start, refuses its parameters, is not pure, or has a handler that
    /// faults on every sample.
    pub fn admit(
        sandbox: &Arc<Sandbox>,
        spec: CampaignSpec,
        module: wasmtime::Module,
        generation: u64,
    ) -> Result<Arc<Campaign>, AdmissionError> {
        let (campaign, faulty) = Campaign::admit_again(sandbox, spec, module, generation)?;
        faulty.map_or(Ok(campaign), Err)
    }

    /// Tries a campaign like [`Self::admit`], but returns it even if a handler faults on every
    /// sample. The fault is returned beside it. This is for a version that has run before, because
    /// real events differ from the samples.
    ///
    /// # Errors
    /// When the rule does not start, refuses its parameters, or is not pure.
    pub fn admit_again(
        sandbox: &Arc<Sandbox>,
        spec: CampaignSpec,
        module: wasmtime::Module,
        generation: u64,
    ) -> Result<(Arc<Campaign>, Option<AdmissionError>), AdmissionError> {
        let campaign = Campaign::started(sandbox, spec, module, generation)?;
        let start = || Instance::start(sandbox, &campaign.module, &campaign.spec.params);
        let version = campaign.spec.manifest.state_version;
        let answer = |instance: &mut Option<Instance>, trial: &TrialCall| {
            answer(instance, trial, version, &start)
        };
        let on_fresh = |trial: &TrialCall| answer(&mut start().ok(), trial);
        let mut trials = trials_of(&campaign);
        let impure = |trial: &TrialCall| AdmissionError::Impure {
            handler: campaign.spec.manifest.handlers[trial.handler as usize].name.clone(),
            code: trial.what.clone(),
        };
        let mut fresh: Vec<_> = trials.iter().map(on_fresh).collect();
        let again = trials_with_state(&campaign, &trials, &fresh);
        fresh.extend(again.iter().map(on_fresh));
        trials.extend(again);
        let in_order = trials.iter().zip(&fresh);
        for same_instance in
            [&mut in_order.clone() as &mut dyn Iterator<Item = _>, &mut in_order.rev()]
        {
            let mut instance = start().ok();
            for (trial, expected) in same_instance {
                if !is_same_answer(&answer(&mut instance, trial), expected) {
                    return Err(impure(trial));
                }
            }
        }
        let faults = fitness::faults_of(&campaign, &trials, &fresh, sandbox.limits());
        fitness::check_crossings(&campaign, &trials, &fresh, &faults, &start)?;
        let faulty = fitness::check_faults(&campaign, &trials, &faults).err();
        Ok((campaign, faulty))
    }
}

/// Makes one call. After a fault the instance is replaced, as in a running engine.
fn answer(
    instance: &mut Option<Instance>,
    trial: &TrialCall,
    version: Option<u32>,
    start: &impl Fn() -> Result<Instance, GuestFault>,
) -> Result<Vec<u8>, GuestFault> {
    let mut output = Vec::new();
    let Some(running) = instance else {
        return Err(GuestFault::Trap("the rule did not start again".into()));
    };
    let mut input = Vec::new();
    trial.write(version, &mut input);
    let crossed = running.cross(trial.handler, 1, &input, &mut output);
    if crossed.is_err() {
        *instance = start().ok();
    }
    crossed.map(|()| output)
}

/// Whether two answers are the same. A deadline fault equals every answer, because it depends more
/// on the load of the machine than on the rule.
fn is_same_answer(one: &Result<Vec<u8>, GuestFault>, other: &Result<Vec<u8>, GuestFault>) -> bool {
    match (one, other) {
        (Err(GuestFault::Deadline { .. }), _) | (_, Err(GuestFault::Deadline { .. })) => true,
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => one.kind() == other.kind(),
        _ => false,
    }
}

/// Makes the calls without state.
fn trials_of(campaign: &Arc<Campaign>) -> Vec<TrialCall> {
    let rules = RuleSet::build(vec![Arc::clone(campaign)], 0);
    let mut trials = Vec::new();
    let mut add = |handler: u32, what: &str, fields: &[u8], is_sample: bool| {
        trials.extend(CIRCUMSTANCES.map(|(now, seed)| {
            let (what, fields) = (what.to_owned(), fields.to_vec());
            TrialCall { handler, what, now, seed, state: None, fields, is_sample }
        }));
    };
    let mut projection = Projection::new();
    for example in EVENTS {
        let Ok(event) = Event::read(Bytes::from_static(example.sample.as_bytes())) else {
            continue;
        };
        let reading = rules.reading(event.code());
        reading.plan.project(&event, &mut projection);
        for subscription in &reading.subscriptions {
            let mut fields = Vec::new();
            if subscription.write_fields(&projection, &mut fields).is_ok() {
                add(subscription.handler, event.code(), &fields, subscription.matches(&projection));
            }
        }
    }
    for (handler, number) in campaign.spec.manifest.handlers.iter().zip(0..) {
        if let Some(timer) = &handler.timer {
            add(number, timer, NO_FIELDS, false);
        }
        if handler.merge {
            add(number, "a merge", &merge_fields(campaign, None), false);
        }
    }
    trials
}

/// The due time of the timers in a tried merge, in 2027.
const MERGE_DUE_MS: Millis = 1_800_000_000_000;

/// An empty array.
const NO_FIELDS: &[u8] = &[0x90];

/// The fields of a merge. If the rule gets timers, each of its timers is pending for both
/// customers.
fn merge_fields(campaign: &Campaign, other: Option<&[u8]>) -> Vec<u8> {
    let manifest = &campaign.spec.manifest;
    let timers = (0..).zip(&manifest.handlers).filter(|(_, handler)| handler.timer.is_some());
    let pending = |(handler, _)| {
        [(false, MERGE_DUE_MS), (true, MERGE_DUE_MS + 1)].map(|(is_other, due)| MergeTimer {
            handler,
            is_other,
            due,
        })
    };
    let timers: Option<Vec<MergeTimer>> =
        manifest.merges_timers().then(|| timers.flat_map(pending).collect());
    let mut fields = Vec::new();
    write_merge_fields(manifest.state_version.zip(other), timers.as_deref(), &mut fields);
    fields
}

/// The calls again, with the states that they returned: each call with its own state, timers with
/// every state, and merges with pairs of states.
fn trials_with_state(
    campaign: &Campaign,
    trials: &[TrialCall],
    answers: &[Result<Vec<u8>, GuestFault>],
) -> Vec<TrialCall> {
    let manifest = &campaign.spec.manifest;
    let mut states: Vec<Vec<u8>> = Vec::new();
    let mut again = Vec::new();
    for (trial, answer) in trials.iter().zip(answers) {
        let Ok(bytes) = answer else { continue };
        let Ok((outcome, _)) = Outcomes::new(bytes, manifest, trial.handler).next() else {
            continue;
        };
        let StateChange::Set(state) = outcome.state else { continue };
        let state = state.into_vec();
        if states.len() < STATES_MAX && !states.contains(&state) {
            states.push(state.clone());
        }
        again.push(TrialCall { state: Some(state), ..trial.clone() });
    }
    for trial in trials {
        let handler = &manifest.handlers[trial.handler as usize];
        for (state, other) in states.iter().zip(states.iter().rev()) {
            if handler.timer.is_some() {
                again.push(TrialCall { state: Some(state.clone()), ..trial.clone() });
            }
            if handler.merge {
                let fields = merge_fields(campaign, Some(other));
                again.push(TrialCall { fields: fields.clone(), ..trial.clone() });
                again.push(TrialCall { fields, state: Some(state.clone()), ..trial.clone() });
            }
        }
    }
    again
}
