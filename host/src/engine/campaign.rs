//! A campaign: a module, its parameters and its mode, ready to be called.

use std::sync::Arc;

use hailer_abi::manifest::Manifest;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::module::VerifiedModule;
use crate::clock::Millis;

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
    /// With more communications an hour the campaign suspends itself.
    pub per_hour_max: Option<u32>,
    /// The parameters as `hailer_configure` reads them.
    pub params: Arc<[u8]>,
    /// `1.3.0+9f3ac1d2`: the manifest's version and the first eight digits of the digest.
    pub version: Arc<str>,
    /// The module's digest in hexadecimal (BLAKE3).
    pub digest: Arc<str>,
    pub manifest: Arc<Manifest>,
}

/// A campaign that is loaded.
#[derive(Clone)]
pub struct Campaign {
    pub spec: CampaignSpec,
    /// Grows with every change of module or parameters: an instance belongs to one generation.
    pub generation: u64,
    pub(crate) module: wasmtime::Module,
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
            per_hour_max: None,
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
