//! The directory of campaigns: read, checked, compiled, tried, and only then swapped in.
//!
//! **A failed load changes nothing (G8), and the engine never quietly runs fewer campaigns than it accepted (G9).**
//! Start-up and reload are the same code.

mod admission;
mod artifacts;
mod brake;
mod campaign_file;
mod compile;
mod compile_child;
mod directory;
mod error;
mod handle;
mod judge;
mod kept;
mod owner;
mod private_dir;
mod requests;
mod rollback;
mod run;
mod settling;
mod stage;
mod stopped;
mod store_copy;
mod swap;
mod tell;
#[cfg(test)]
mod tests;
mod twins;
mod watch;

pub use brake::Hold;
pub use campaign_file::{CAMPAIGN_FILE_BYTES_MAX, CampaignFile, Grant};
pub use compile::{COMPILE_COMMAND, ChildCommand, CompileError, Compiler};
pub use compile_child::compile_child_main;
pub use error::ReloadError;
pub use handle::{
    CampaignState, CampaignStatus, LoadReport, Misbehaviour, OwnerGone, Problem, ReloadHandle, Request, Requests,
    Target,
};
pub use owner::{Owner, Trigger};
pub use stage::{NoRoom, Proof, Stage};
pub use stopped::{has_kept, resume_stopped};
