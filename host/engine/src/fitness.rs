//! Two checks of the trial at load: every handler answers at least one sample without a fault, and
//! many calls in one crossing give the same answers as each call alone. A handler without samples
//! is not judged.

use super::campaign::Campaign;
use super::crossings::check_bounds;
use super::instance::{GuestFault, Instance};
use super::limits::Limits;
use super::outcome::Outcomes;
use super::purity::{AdmissionError, TrialCall};

/// The number of calls in one crossing, as in a busy engine.
const CALLS: usize = 32;
/// The number of crossings of each handler on one instance, because a rule may fail only after some
/// of them.
const CROSSINGS: usize = 4;
/// The most input of a crossing, in bytes.
const INPUT_BYTES_MAX: usize = 256 << 10;

type Answer = Result<Vec<u8>, GuestFault>;

/// Refuses a rule with a handler that faults on every sample event that it takes. Such a version
/// would replace a good one and answer nothing. Samples that the condition of the handler excludes
/// do not count. Handlers without samples, of timers and of merges are not judged.
pub(super) fn check_faults(
    campaign: &Campaign,
    trials: &[TrialCall],
    faults: &[Option<GuestFault>],
) -> Result<(), AdmissionError> {
    for (handler, number) in campaign.spec.manifest.handlers.iter().zip(0..) {
        let mut last = None;
        let mut calls = 0;
        let of_handler = trials
            .iter()
            .zip(faults)
            .filter(|(trial, _)| trial.handler == number && trial.is_sample);
        for (trial, fault) in of_handler {
            calls += 1;
            last = fault.clone().map(|fault| (trial.what.clone(), fault));
            if last.is_none() {
                break;
            }
        }
        if let Some((code, fault)) = last {
            return Err(AdmissionError::Faulty {
                handler: handler.name.clone(),
                code,
                calls,
                fault,
            });
        }
    }
    Ok(())
}

/// The fault that a running engine would find in each answer; `None` for a good answer.
pub(super) fn faults_of(
    campaign: &Campaign,
    trials: &[TrialCall],
    answers: &[Answer],
    limits: &Limits,
) -> Vec<Option<GuestFault>> {
    trials
        .iter()
        .zip(answers)
        .map(|(trial, answer)| fault_of(campaign, trial, answer, limits))
        .collect()
}

fn fault_of(
    campaign: &Campaign,
    trial: &TrialCall,
    answer: &Answer,
    limits: &Limits,
) -> Option<GuestFault> {
    let bytes = match answer {
        Ok(bytes) => bytes,
        Err(fault) => return Some(fault.clone()),
    };
    let mut outcomes = Outcomes::new(bytes, &campaign.spec.manifest, trial.handler);
    let read = outcomes.next().and_then(|(outcome, _)| outcomes.end().map(|()| outcome));
    match read {
        Err(wrong) => Some(GuestFault::BadOutput(wrong)),
        Ok(outcome) => match outcome.error {
            Some(error) => Some(GuestFault::Returned(error.into())),
            None => check_bounds(&outcome, trial.now, &campaign.spec, limits.state_bytes_max).err(),
        },
    }
}

/// Makes several crossings of many calls for each handler, all on one instance, and compares the
/// answers with those of each call alone. Calls that fault alone are left out.
pub(super) fn check_crossings(
    campaign: &Campaign,
    trials: &[TrialCall],
    answers: &[Answer],
    faults: &[Option<GuestFault>],
    start: &impl Fn() -> Result<Instance, GuestFault>,
) -> Result<(), AdmissionError> {
    let manifest = &campaign.spec.manifest;
    let mut instance = start().ok();
    for _ in 0..CROSSINGS {
        for (handler, number) in manifest.handlers.iter().zip(0..) {
            let all = trials.iter().zip(answers).zip(faults);
            let of_handler =
                all.filter(|((trial, _), fault)| trial.handler == number && fault.is_none());
            let answered: Vec<_> = of_handler
                .filter_map(|((trial, answer), _)| Some((trial, answer.as_ref().ok()?)))
                .collect();
            let (mut input, mut expected, mut calls) = (Vec::new(), Vec::new(), 0);
            for (trial, answer) in answered.iter().cycle().take(CALLS) {
                let before = input.len();
                trial.write(manifest.state_version, &mut input);
                if calls > 0 && input.len() > INPUT_BYTES_MAX {
                    input.truncate(before);
                    break;
                }
                expected.extend_from_slice(answer);
                calls += 1;
            }
            let Some(running) = instance.as_mut().filter(|_| calls > 0) else { continue };
            let mut output = Vec::new();
            match running.cross(number, calls as u32, &input, &mut output) {
                Ok(()) if output == expected => {}
                // The crossing shares the limits of one call. A running engine then makes the calls
                // one by one.
                Err(
                    GuestFault::Deadline { .. }
                    | GuestFault::Memory { .. }
                    | GuestFault::Stack { .. },
                ) => {
                    instance = start().ok();
                }
                _ => return Err(AdmissionError::Crossing { handler: handler.name.clone(), calls }),
            }
        }
    }
    Ok(())
}
