//! Loads campaigns from the rules directory: read, check, compile, test, and then swap.
//!
//! **A failed load changes nothing (G8), and the engine never quietly runs fewer campaigns than it
//! accepted (G9).** Start-up and reload run the same code.

mod admission;
mod artifacts;
mod bare_modules;
mod campaign_file;
mod compile;
mod compile_child;
mod directory;
mod duplicates;
mod error;
mod handle;
mod ledger;
mod offline;
mod owner;
mod partial_writes;
mod pending_orders;
mod plan;
mod policies_file;
mod private_dir;
mod reporting;
mod requests;
mod rollback;
mod run;
mod stage;
mod stated;
mod store_copy;
mod swap;
#[cfg(test)]
mod tests;
mod trial_checks;
mod watch;

pub use campaign_file::{CAMPAIGN_FILE_BYTES_MAX, CampaignFile, Grant};
pub use compile::{COMPILE_COMMAND, ChildCommand, CompileError, Compiler};
pub use compile_child::compile_child_main;
pub use error::ReloadError;
pub use handle::{
    CampaignState, CampaignStatus, LoadReport, OwnerGone, Problem, ReloadHandle, Request, Requests,
    Target,
};
pub use offline::{has_ledger, resume_offline};
pub use owner::{Owner, Trigger};
pub use pending_orders::OrderGuard;
pub use policies_file::{POLICIES_NAME, PoliciesChange, PoliciesStatus, digest_shown};
pub use stage::{NoRoom, Proof, Stage};
pub use stated::{StatedCampaign, StatedRules, read_policies};
