//! A campaign: a module, its parameters and its mode, ready to be called.

use std::sync::Arc;

use hailer_abi::manifest::Manifest;
use serde::{Deserialize, Serialize};

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
