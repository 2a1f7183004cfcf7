//! The sandbox: what a rule module is, which of them run, and the calls into them.
//!
//! Everything that comes out of a guest is hostile until it has been checked here. This room knows nothing of files,
//! brokers or time; whoever calls says what `now` is.

mod batch;
mod campaign;
mod cost;
mod custom_section;
mod data;
mod deadline;
mod fitness;
mod guards;
mod instance;
mod limits;
mod log;
mod manifest;
mod module;
mod outcome;
mod params;
mod personal;
mod purity;
mod reader;
mod ruleset;
mod sandbox;
mod waves;
mod wording;

#[cfg(any(test, feature = "fixtures"))]
pub mod fixture;

pub use batch::{Batch, MergeTimer, NotCalled};
pub use campaign::{Campaign, CampaignSpec, Mode, OnFault, OnPause, Rollout, Trial};
pub use cost::{SampleCost, sample_costs, time_samples};
pub use custom_section::{append_custom_section, write_leb, write_text};
pub use data::state_json;
pub use hailer_abi::when::{NoMoment, When};
pub use instance::GuestFault;
pub use limits::Limits;
pub use log::LogLine;
pub use manifest::{ManifestError, read_manifest};
pub use module::{ModuleError, VerifiedModule, digest_of, verify};
pub use outcome::{Action, Outcome, Outcomes, StateChange};
pub use params::{ParamError, encode_params, param_example};
pub use personal::{mark_personal, personal_fields};
pub use purity::AdmissionError;
pub use ruleset::{Missing, Place, Reading, RuleSet, Stop, Subscription};
pub use sandbox::{INSTANCE_ADDRESS_BYTES, INSTANCE_MAPPINGS, Sandbox, SandboxError};
pub use waves::{CallCost, Decided, GuestLine, Guests, Spent, Verdict};
pub use wording::{closest, one_line, shown};
