//! The sandbox: it verifies rule modules, keeps the rule set that runs, and calls the guests.
//!
//! It owns the bounds on a guest and the checks of everything that a guest returns, which is
//! hostile until it is checked. It refuses to know files, brokers or clocks: the caller passes
//! `now`.

mod batch;
mod campaign;
mod condition_index;
mod cost;
mod crossings;
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

#[cfg(any(test, feature = "fixtures"))]
pub mod fixture;

pub use batch::{Batch, MergeTimer, NotCalled};
pub use campaign::{Campaign, CampaignSpec, Mode, OnFault, OnPause, Rollout, Trial};
pub use condition_index::Candidates;
pub use cost::{SampleCost, sample_costs, time_samples};
pub use crossings::{BatchResult, CallCost, CallResult, GuestLine, Guests, Spent};
pub use data::state_json;
pub use hailer_abi::when::{InvalidDue, When};
pub use hailer_base::wording::{closest, no_campaign, one_line, shown};
pub use instance::GuestFault;
pub use limits::Limits;
pub use log::LogLine;
pub use manifest::{ManifestError, read_manifest};
pub use module::{ModuleError, VerifiedModule, digest_of, verify};
pub use outcome::{Action, Outcome, Outcomes, StateChange};
pub use params::{ParamError, encode_params, param_example};
pub use personal::{mark_personal, personal_fields};
pub use purity::AdmissionError;
pub use ruleset::{CanaryRole, Missing, Reading, RuleSet, Stop, Subscription};
pub use sandbox::{INSTANCE_ADDRESS_BYTES, INSTANCE_MAPPINGS, Sandbox, SandboxError};
