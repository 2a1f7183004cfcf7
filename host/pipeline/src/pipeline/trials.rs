//! Trials of canaries: how often each canary sends compared with its campaign, counted over all
//! shards. A canary that sends much more or much less often is suspended, and its campaign decides
//! for all customers again. (The circuit breaker suspends a canary that faults too often, as it
//! does any campaign.)
//!
//! The rates are by event, not by customer. A customer with half of all events then weighs on both
//! sides of one rate, and not on the share of one side.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CampaignOwner;
use crate::records::TrialCount;
use hailer_engine::{Campaign, CanaryRole, Reading, RuleSet};

/// The least number of events on either side with which the rates are compared.
const EVENTS_MIN: u64 = 200;
/// The least distance between the rates, in standard errors. By chance, rates are this far apart in
/// one of about thirty thousand comparisons.
const STANDARD_ERRORS_MIN: f64 = 4.0;

/// The running trials, by the canary's name. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    trials: HashMap<Arc<str>, (Terms, Versions, Arc<Trial>)>,
    /// The committed counts of before the start; a trial that goes on continues from them.
    committed: BTreeMap<Arc<str>, TrialCount>,
}

/// The campaign's version, and the canary's.
type Versions = (Arc<str>, Arc<str>);

/// The generations of campaign and canary, and the canary's percentage of customers. If any of them
/// changes, the counts begin again.
type Terms = (u64, u64, u32);

/// The two sides of a trial.
#[derive(Debug, Default)]
struct Trial {
    campaign: Side,
    canary: Side,
}

#[derive(Debug, Default)]
struct Side {
    /// Events of this side's customers that the campaign or the canary takes.
    events: AtomicU64,
    /// The number of this side's answers that asked for a communication.
    sends: AtomicU64,
}

/// The trials as a shard uses them under one rule set.
#[derive(Debug, Default)]
pub(super) struct Trials {
    registry: Registry,
    rule_set: Option<u64>,
    /// The trial of each campaign of the rule set, and whether the campaign is the canary; empty if
    /// there is no trial.
    here: Vec<Option<(Arc<Trial>, bool)>>,
    /// The canaries that were stopped at the start of this batch.
    stopped: Vec<usize>,
}

impl Registry {
    /// Continues from the committed counts.
    pub(super) fn new(committed: &BTreeMap<Arc<str>, TrialCount>) -> Registry {
        Registry(Arc::new(Mutex::new(Running {
            trials: HashMap::new(),
            committed: committed.clone(),
        })))
    }

    /// Adds the counts to the next commit. Uncommitted events are decided and counted again after a
    /// restart; the error is small, as a trial is judged by hundreds of events.
    pub(super) fn commit(&self, committed: &mut BTreeMap<Arc<str>, TrialCount>) {
        let running = self.lock();
        for (canary, ((_, _, percent), versions, trial)) in &running.trials {
            let (campaign, of_canary) = (trial.campaign.counted(), trial.canary.counted());
            let count = TrialCount {
                versions: versions.clone(),
                percent: *percent,
                campaign,
                canary: of_canary,
            };
            committed.insert(Arc::clone(canary), count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trial(&self, canary: &Campaign, of: &Campaign) -> Arc<Trial> {
        let percent = canary.spec.rollout.map_or(100, |rollout| rollout.percent);
        let versions = (Arc::clone(&of.spec.version), Arc::clone(&canary.spec.version));
        self.trial_of(&canary.spec.name, (of.generation, canary.generation, percent), versions)
    }

    fn trial_of(&self, canary: &Arc<str>, terms: Terms, versions: Versions) -> Arc<Trial> {
        let mut running = self.lock();
        // Generations begin anew with each start, and versions do not.
        let committed = running.committed.remove(canary);
        let committed =
            committed.filter(|count| (&count.versions, count.percent) == (&versions, terms.2));
        let known = running.trials.entry(Arc::clone(canary)).or_default();
        if known.0 != terms {
            let trial = committed.map_or_else(Trial::default, |count| Trial::going_on(&count));
            *known = (terms, versions, Arc::new(trial));
        }
        Arc::clone(&known.2)
    }
}

impl Trial {
    fn going_on(count: &TrialCount) -> Trial {
        let side =
            |(events, sends): (u64, u64)| Side { events: events.into(), sends: sends.into() };
        Trial { campaign: side(count.campaign), canary: side(count.canary) }
    }
}

impl Side {
    /// The numbers of events and of sends.
    fn counted(&self) -> (u64, u64) {
        (self.events.load(Ordering::Relaxed), self.sends.load(Ordering::Relaxed))
    }
}

impl Trials {
    pub(super) fn new(registry: Registry) -> Trials {
        Trials { registry, ..Trials::default() }
    }

    /// Begins a batch: a canary that is stopped now stays so until the batch ends.
    pub(super) fn begin(&mut self, rules: &RuleSet, owner: &dyn CampaignOwner) {
        let is_stopped = |index: &usize| {
            let Campaign { spec, generation, .. } = &*rules.campaigns()[*index];
            owner.is_stopped(&spec.name, *generation)
        };
        self.stopped.clear();
        self.stopped.extend(rules.canaries().filter(is_stopped));
        if self.rule_set.replace(rules.number) == Some(rules.number) {
            return;
        }
        self.here.clear();
        for index in rules.canaries() {
            let CanaryRole::CanaryOf(of) = rules.canary_role(index) else { continue };
            let trial = self.registry.trial(&rules.campaigns()[index], &rules.campaigns()[of]);
            self.here.resize_with(rules.campaigns().len(), || None);
            self.here[index] = Some((Arc::clone(&trial), true));
            self.here[of] = Some((trial, false));
        }
    }

    pub(super) fn is_stopped(&self, canary: usize) -> bool {
        self.stopped.contains(&canary)
    }

    /// Counts an event of a code that a campaign takes. `decides` says whether that campaign
    /// decides for the customer, or its counterpart. An event that both take counts once.
    pub(super) fn event(&self, rules: &RuleSet, reading: &Reading, index: usize, decides: bool) {
        let Some(Some((trial, is_canary))) = self.here.get(index) else { return };
        let is_other =
            |other| reading.subscriptions.iter().any(|subscription| subscription.campaign == other);
        if matches!(rules.canary_role(index), CanaryRole::CanaryOf(other) if is_other(other)) {
            return;
        }
        let side = if *is_canary == decides { &trial.canary } else { &trial.campaign };
        side.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that asks for a communication.
    pub(super) fn sends(&self, index: usize) {
        let Some(Some((trial, is_canary))) = self.here.get(index) else { return };
        let side = if *is_canary { &trial.canary } else { &trial.campaign };
        side.sends.fetch_add(1, Ordering::Relaxed);
    }

    /// The reason to suspend a canary; `None` if the rates have not drifted apart.
    pub(super) fn drift(&self, rules: &RuleSet, canary: usize) -> Option<String> {
        let (trial, _) = self.here.get(canary)?.as_ref()?;
        let terms = rules.campaigns()[canary].spec.trial.as_ref()?;
        let (own, other) = (trial.canary.counted(), trial.campaign.counted());
        if !have_drifted(own, other, terms.drift_percent_max) {
            return None;
        }
        let rate = |(events, sends): (u64, u64)| {
            format!("{:.1} % of {events} events", sends as f64 * 100.0 / events as f64)
        };
        let (of, percent) = (&terms.of, terms.drift_percent_max);
        Some(format!(
            "it sends on {}, `{of}` on {}: more than {percent} % apart (drift_percent_max)",
            rate(own),
            rate(other)
        ))
    }
}

/// Whether one rate is more than `percent_max` percent above the other, by more than chance. Each
/// side is a pair: events and sends.
fn have_drifted(own: (u64, u64), other: (u64, u64), percent_max: u32) -> bool {
    if own.0.min(other.0) < EVENTS_MIN {
        return false;
    }
    // A timer sends without an event, so a side may have more sends than events.
    let rate = |(events, sends): (u64, u64)| (sends as f64 / events as f64).min(1.0);
    let (high, low) = (rate(own).max(rate(other)), rate(own).min(rate(other)));
    let both = rate((own.0 + other.0, own.1 + other.1));
    let error = (both * (1.0 - both) * (1.0 / own.0 as f64 + 1.0 / other.0 as f64)).sqrt();
    high > low * (1.0 + f64::from(percent_max) / 100.0) && high - low > STANDARD_ERRORS_MIN * error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_goes_on_after_a_start_with_the_versions_that_it_had() {
        let trial = |registry: &Registry, version: &str| {
            let versions = ("1".into(), version.into());
            registry.trial_of(&"next".into(), (1, 2, 10), versions)
        };
        let (registry, mut committed) = (Registry::default(), BTreeMap::new());
        trial(&registry, "2").canary.events.fetch_add(150, Ordering::Relaxed);
        registry.commit(&mut committed);
        let again = Registry::new(&committed);
        assert_eq!(trial(&again, "2").canary.counted(), (150, 0));
        assert_eq!(
            trial(&Registry::new(&committed), "3").canary.counted(),
            (0, 0),
            "another version"
        );
    }

    #[test]
    fn rates_far_apart_have_drifted_either_way() {
        assert!(have_drifted((1000, 300), (9000, 900), 100));
        assert!(have_drifted((1000, 30), (9000, 900), 100));
        assert!(have_drifted((1000, 100), (9000, 0), 100));
    }

    #[test]
    fn rates_within_the_limit_have_not() {
        assert!(!have_drifted((1000, 190), (9000, 900), 100));
        assert!(have_drifted((1000, 190), (9000, 900), 50));
        assert!(!have_drifted((1000, 100), (9000, 900), 1));
    }

    #[test]
    fn few_events_or_few_sends_say_nothing() {
        assert!(!have_drifted((199, 199), (9000, 0), 100));
        assert!(!have_drifted((400, 3), (3600, 9), 100));
        assert!(!have_drifted((400, 0), (3600, 0), 100));
    }
}
