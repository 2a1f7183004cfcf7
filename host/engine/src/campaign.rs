//! A campaign: a module, its parameters and its mode, ready to be called.

use std::sync::Arc;

use hailer_abi::manifest::{Handler, Manifest};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::guards::Guards;
use super::module::VerifiedModule;
use hailer_base::clock::Millis;
use hailer_event::CustomerKey;

/// Whether a campaign's communications go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They do.
    Live,
    /// It decides, and nothing goes out.
    Shadow,
    /// It is not called.
    Off,
}

/// What becomes of a customer's later events and timers in a campaign whose rule has failed on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFault {
    /// They wait behind it, so that the state sees them in order.
    Hold,
    /// They are decided as if it had not been.
    Skip,
}

/// What becomes of events that come while a campaign is paused or suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnPause {
    /// They are kept, within bounds, and can be decided later.
    Keep,
    /// They are counted, and gone for the campaign.
    Skip,
}

/// What a campaign's file says, checked and resolved: everything but the compiled module.
#[derive(Clone, Debug, PartialEq)]
pub struct CampaignSpec {
    /// The file's name without its ending.
    pub name: Arc<str>,
    pub mode: Mode,
    /// Not before; milliseconds since 1970-01-01 UTC.
    pub start_ms: Option<Millis>,
    /// Not from then on.
    pub end_ms: Option<Millis>,
    /// In which local times are meant.
    pub time_zone: TimeZone,
    /// State that was not written for so many days is forgotten.
    pub state_ttl_days: Option<u32>,
    pub on_fault: OnFault,
    pub on_pause: OnPause,
    /// With more communications an hour the campaign suspends itself.
    pub per_hour_max: Option<u32>,
    /// It is a new version of another campaign, on trial beside it.
    pub trial: Option<Trial>,
    /// It decides for these customers only; `None` for everybody.
    pub rollout: Option<Rollout>,
    /// The parameters as `hailer_configure` reads them.
    pub params: Arc<[u8]>,
    /// `1.3.0+9f3ac1d2`: the manifest's version and the first eight digits of the digest.
    pub version: Arc<str>,
    /// The module's digest in hexadecimal (BLAKE3).
    pub digest: Arc<str>,
    pub manifest: Arc<Manifest>,
}

/// A new version of a campaign, tried while the campaign runs. In shadow it decides beside it, and nothing of it goes out. Live, as a canary, it
/// decides in its place for the customers of its rollout: with its state and its timers, and in its name, so that whoever moves between the
/// two is neither forgotten nor written to twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The campaign that it may become.
    pub of: Arc<str>,
    /// Another for every module and every set of parameters: what a shadow keeps belongs to one of them.
    pub mark: u64,
    /// A canary is suspended if it sends so much more often than its campaign, or so much more seldom, in percent.
    pub drift_percent_max: u32,
}

/// To which customers a campaign has been rolled out: the same ones at every start, and more of them with every percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    pub percent: u32,
    /// Its own, so that not always the same customers come first.
    salt: u64,
}

impl Trial {
    /// The trial of a version: its module and its parameters.
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

    /// Whether a customer is among those. Nobody is not.
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

/// The last step of `SplitMix64`: every bit of the number has a say in every bit of the result.
fn scattered(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A campaign that is loaded.
#[derive(Clone)]
pub struct Campaign {
    pub spec: CampaignSpec,
    /// Grows with every change of module or parameters: an instance belongs to one generation.
    pub generation: u64,
    /// Of each handler, what has to hold or it is not called.
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
    /// A live campaign of a module, with these parameters and the defaults of everything else.
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

    /// The campaign whose state, timers, failures and communications these are: a canary acts in the name of the one that it may become.
    #[must_use]
    pub fn acts_for(&self) -> &Arc<str> {
        match &self.trial {
            Some(trial) if self.mode == Mode::Live => &trial.of,
            _ => &self.name,
        }
    }

    /// The campaign in whose place it decides for the customers of its rollout, if it is a canary.
    #[must_use]
    pub fn canary_of(&self) -> Option<&Arc<str>> {
        self.trial.as_ref().filter(|_| self.mode == Mode::Live).map(|trial| &trial.of)
    }

    /// The trial that it is if it decides beside another campaign, for comparison.
    #[must_use]
    pub fn shadow(&self) -> Option<&Trial> {
        self.trial.as_ref().filter(|_| self.mode == Mode::Shadow)
    }

    /// Whether it has been rolled out to a customer.
    #[must_use]
    pub fn is_for(&self, customer: Option<CustomerKey>) -> bool {
        self.rollout.is_none_or(|rollout| rollout.has(customer))
    }

    /// Whether a handler reads personal fields: what [`mark_personal`](super::mark_personal) marked.
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
            CustomerKey::from_bytes(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
        })
    }

    #[test]
    fn a_rollout_grows_without_losing_anybody() {
        let of = |percent| Rollout::new("welcome-next", percent);
        for customer in customers().map(Some) {
            assert!(!of(10).has(customer) || of(11).has(customer));
            assert!(of(100).has(customer));
        }
        assert!(!of(100).has(None));
    }

    #[test]
    fn a_rollout_has_its_share_of_the_customers_and_another_one_has_others() {
        let share = |is_in: &dyn Fn(CustomerKey) -> bool| customers().filter(|customer| is_in(*customer)).count();
        let (one, other) = (Rollout::new("one", 10), Rollout::new("other", 10));
        assert!((900..1100).contains(&share(&|customer| one.has(Some(customer)))));
        assert!((60..140).contains(&share(&|customer| one.has(Some(customer)) && other.has(Some(customer)))));
    }
}
