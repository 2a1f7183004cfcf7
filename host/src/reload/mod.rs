//! The directory of campaigns: read, checked, compiled, tried, and only then swapped in.
//!
//! **A failed load changes nothing (G8), and the engine never quietly runs fewer campaigns than it accepted (G9).**
//! Start-up and reload are the same code.

mod handle;
mod campaign_file;
mod stage;
mod compile;
mod compile_child;
mod artifacts;
mod private_dir;

pub use campaign_file::{CAMPAIGN_FILE_BYTES_MAX, CampaignFile, Grant};
pub use compile::{COMPILE_COMMAND, ChildCommand, CompileError, Compiler};
pub use compile_child::compile_child_main;
pub use handle::{CampaignState, CampaignStatus, LoadReport, OwnerGone, Problem, ReloadHandle, Request, Target};
pub use stage::Stage;
