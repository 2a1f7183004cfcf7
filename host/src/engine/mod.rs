//! The sandbox: what a rule module is, which of them run, and the calls into them.
//!
//! Everything that comes out of a guest is hostile until it has been checked here. This room knows nothing of files,
//! brokers or time; whoever calls says what `now` is.

mod campaign;
mod limits;
mod manifest;
mod module;
mod params;
mod wording;

#[cfg(test)]
pub(crate) mod fixture;

pub use campaign::{Campaign, CampaignSpec, Mode};
pub use limits::Limits;
pub use manifest::{ManifestError, personal_fields, read_manifest};
pub use module::{ModuleError, VerifiedModule, digest_of, verify};
pub use params::{ParamError, encode_params};
pub(crate) use wording::{closest, shown};
