//! A campaign: a module, its parameters and its mode, ready to be called.

use std::sync::Arc;

use hailer_abi::manifest::{Handler, Manifest};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::guards::Guards;
use super::module::VerifiedModule;
use hailer_base::clock::Millis;
use hailer_event::CustomerKey;

/// Whether a campaign decides, and whether its communications are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The campaign decides, and its communications are published.
    Live,
    /// The campaign decides, and nothing is published.
    Shadow,
    /// The campaign is not called.
    Off,
}

/// The handling of a customer's later events and timers after the rule has failed on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFault {
    /// The later events wait behind the failure, so that the state sees them in order.
    Hold,
    /// The later events are decided as if the failed event did not exist.
    Skip,
}

/// The handling of events that arrive while a campaign is paused or suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnPause {
    /// The events are kept, within bounds, and can be decided later.
    Keep,
    /// The events are counted, and the campaign never decides them.
    Skip,
}

/// The checked contents of a campaign's file: everything except the compiled module.
#[derive(Clone, Debug, PartialEq)]
pub struct CampaignSpec {
    /// The name of the file without its extension.
    pub name: Arc<str>,
    pub mode: Mode,
    /// The campaign takes no events before this time, in milliseconds since 1970-01-01 UTC; `None`
    /// for no start.
    pub start_ms: Option<Millis>,
    /// The campaign takes no events from this time on, in milliseconds since 1970-01-01 UTC; `None`
    /// for no end.
    pub end_ms: Option<Millis>,
    /// The time zone of the campaign's local times.
    pub time_zone: TimeZone,
    /// State that was not written for this many days is deleted; `None` keeps it for ever.
    pub state_ttl_days: Option<u32>,
    pub on_fault: OnFault,
    pub on_pause: OnPause,
    /// The most communications an hour. With more the engine suspends the campaign; `None` for no
    /// limit.
    pub per_hour_max: Option<u32>,
    /// Set if this is a new version of another campaign, on trial beside it.
    pub trial: Option<Trial>,
    /// The customers for whom the campaign decides; `None` for all.
    pub rollout: Option<Rollout>,
    /// The parameters, encoded for `hailer_configure`.
    pub params: Arc<[u8]>,
    /// `1.3.0+9f3ac1d2`: the manifest's version and the first eight digits of the digest.
    pub version: Arc<str>,
    /// The module's digest in hexadecimal (BLAKE3).
    pub digest: Arc<str>,
    pub manifest: Arc<Manifest>,
}

/// A trial of a new version of a campaign while the campaign runs. A shadow decides beside the
/// campaign, and its communications are not published. A canary is live and decides in place of the
/// campaign for the customers of its rollout. It uses the state, the timers and the name of the
/// campaign. So a customer who moves between the two keeps the state and gets nothing twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The campaign that the new version may replace.
    pub of: Arc<str>,
    /// A hash of the campaign's name, the module and the parameters. The state of a shadow belongs
    /// to one such mark.
    pub mark: u64,
    /// The engine suspends a canary if its rate of sending differs from the campaign's by more than
    /// this, in percent.
    pub drift_percent_max: u32,
}

/// The customers to whom a campaign has been rolled out. They are the same at every start, and a
/// higher percentage only adds customers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    pub percent: u32,
    /// A hash of the campaign's name, so that each campaign begins with other customers.
    salt: u64,
}

impl Trial {
    /// Makes the trial of a version, which is a module with its parameters.
    #[must_use]
    pub fn new(of: &str, digest: &str, params: &[u8], drift_percent_max: u32) -> Trial {
        let mut hasher = blake3::Hasher::new();
        hasher.update(of.as_bytes()).update(b"\0").update(digest.as_bytes()).update(params);
        Trial { of: of.into(), mark: first_eight(&hasher.finalize()), drift_percent_max }
    }
}

impl Rollout {
    #[must_use]
    pub fn new(campaign: &str, percent: u32) -> Rollout {
        Rollout { percent, salt: first_eight(&blake3::hash(campaign.as_bytes())) }
    }

    /// Whether the rollout includes a customer. It never includes an event without a customer.
    #[must_use]
    pub fn has(&self, customer: Option<CustomerKey>) -> bool {
        let bucket = |customer: CustomerKey| scattered(customer.seed() ^ self.salt) % 100;
        customer.is_some_and(|customer| bucket(customer) < u64::from(self.percent))
    }
}

fn first_eight(hash: &blake3::Hash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The last step of `SplitMix64`: every bit of the number affects every bit of the result.
fn scattered(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A loaded campaign.
#[derive(Clone)]
pub struct Campaign {
    pub spec: CampaignSpec,
    /// Grows with every change of module or parameters. An instance belongs to one generation.
    pub generation: u64,
    /// The condition of each handler, in the order of the handlers.
    pub(crate) guards: Guards,
    pub(crate) module: wasmtime::Module,
}

impl Campaign {
    /// The handlers that have a condition, each with the condition's text.
    pub fn conditions(&self) -> impl Iterator<Item = (&Handler, &str)> {
        let handlers = self.spec.manifest.handlers.iter().zip(&*self.guards);
        handlers.filter_map(|(handler, guard)| Some((handler, guard.as_ref()?.text())))
    }
}

impl CampaignSpec {
    /// Makes the spec of a live campaign with these parameters, and the defaults for everything
    /// else.
    #[must_use]
    pub fn of(name: &str, module: &VerifiedModule, params: Vec<u8>) -> CampaignSpec {
        CampaignSpec {
            name: name.into(),
            mode: Mode::Live,
            start_ms: None,
            end_ms: None,
            time_zone: TimeZone::UTC,
            state_ttl_days: None,
            on_fault: if module.manifest.remembers() { OnFault::Hold } else { OnFault::Skip },
            on_pause: OnPause::Keep,
            per_hour_max: None,
            trial: None,
            rollout: None,
            params: params.into(),
            version: format!("{}+{}", module.manifest.version, &module.digest[..8]).into(),
            digest: Arc::clone(&module.digest),
            manifest: Arc::clone(&module.manifest),
        }
    }

    /// Whether the campaign takes events at `now`.
    #[must_use]
    pub fn is_active(&self, now: Millis) -> bool {
        self.mode != Mode::Off
            && self.start_ms.is_none_or(|start| now >= start)
            && self.end_ms.is_none_or(|end| now < end)
    }

    /// The campaign that owns the state, timers, failures and communications: a canary acts in the
    /// name of the campaign that it may replace.
    #[must_use]
    pub fn acts_for(&self) -> &Arc<str> {
        match &self.trial {
            Some(trial) if self.mode == Mode::Live => &trial.of,
            _ => &self.name,
        }
    }

    /// The campaign that a canary replaces for the customers of its rollout. `None`
    /// otherwise.
    #[must_use]
    pub fn canary_of(&self) -> Option<&Arc<str>> {
        self.trial.as_ref().filter(|_| self.mode == Mode::Live).map(|trial| &trial.of)
    }

    /// The trial of a shadow, which decides beside another campaign for comparison. `None`
    /// otherwise.
    #[must_use]
    pub fn shadow(&self) -> Option<&Trial> {
        self.trial.as_ref().filter(|_| self.mode == Mode::Shadow)
    }

    /// Whether the campaign decides for a customer, according to its rollout.
    #[must_use]
    pub fn is_for(&self, customer: Option<CustomerKey>) -> bool {
        self.rollout.is_none_or(|rollout| rollout.has(customer))
    }

    /// Whether a handler reads a field that [`mark_personal`](super::mark_personal) has marked.
    #[must_use]
    pub fn reads_personal(&self) -> bool {
        let mut fields = self.manifest.handlers.iter().flat_map(|handler| &handler.fields);
        fields.any(|field| field.personal || field.of.iter().any(|inner| inner.personal))
    }
}

impl std::fmt::Debug for Campaign {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Campaign")
            .field("spec", &self.spec)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customers() -> impl Iterator<Item = CustomerKey> {
        (0..10_000_u128).map(|number| {
            CustomerKey::from_bytes(
                number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes(),
            )
        })
    }

    #[test]
    fn a_growing_rollout_keeps_all_of_its_customers() {
        let of = |percent| Rollout::new("welcome-next", percent);
        for customer in customers().map(Some) {
            assert!(!of(10).has(customer) || of(11).has(customer));
            assert!(of(100).has(customer));
        }
        assert!(!of(100).has(None));
    }

    #[test]
    fn a_rollout_has_its_share_of_customers_independent_of_other_rollouts() {
        let share = |is_in: &dyn Fn(CustomerKey) -> bool| {
            customers().filter(|customer| is_in(*customer)).count()
        };
        let (one, other) = (Rollout::new("one", 10), Rollout::new("other", 10));
        assert!((900..1100).contains(&share(&|customer| one.has(Some(customer)))));
        assert!(
            (60..140)
                .contains(&share(&|customer| one.has(Some(customer)) && other.has(Some(customer))))
        );
    }
}
