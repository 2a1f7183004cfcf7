//! The pipeline's interface to the owner of the campaigns. The owner says which campaigns are
//! stopped, and suspends a campaign that misbehaves.

use hailer_engine::Stop;

/// The owner of the campaigns. Calls must not block, because every shard calls
/// it before every call of a rule.
pub trait CampaignOwner: std::fmt::Debug + Send + Sync {
    /// The stop of this generation of a campaign by an order in progress; `None` if no order stops
    /// it. The rule set may still contain the generation.
    fn stop(&self, campaign: &str, generation: u64) -> Option<Stop>;

    /// Whether an order in progress stops this generation of the campaign.
    fn is_stopped(&self, campaign: &str, generation: u64) -> bool {
        self.stop(campaign, generation).is_some()
    }

    /// Stops this generation of a campaign at once. The owner then rolls back to the previous
    /// version, or suspends the campaign. Returns false if the owner is too busy: the campaign runs
    /// on, and the next misbehaviour requests the stop again.
    fn suspend(&self, campaign: &str, generation: u64, misbehaviour: Misbehaviour) -> bool;
}

/// Why the engine stops a campaign. The text is for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// The rule faults, is late or is impure. An earlier version that ran well may be better.
    Unfit(String),
    /// The campaign sends too much, or a canary drifts from its campaign. Only an operator may let
    /// it continue.
    Excessive(String),
}

impl Misbehaviour {
    /// The reason, as shown to operators.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Misbehaviour::Unfit(reason) | Misbehaviour::Excessive(reason) => reason,
        }
    }
}

/// The owner of a dry run's campaigns. It stops and suspends nothing, so that every fault is
/// reported.
#[derive(Debug)]
pub(super) struct NothingStops;

impl CampaignOwner for NothingStops {
    fn stop(&self, _campaign: &str, _generation: u64) -> Option<Stop> {
        None
    }

    fn suspend(&self, _campaign: &str, _generation: u64, _misbehaviour: Misbehaviour) -> bool {
        true
    }
}
