//! The directory of campaigns: read, checked, compiled, tried, and only then swapped in.
//!
//! **A failed load changes nothing (G8), and the engine never quietly runs fewer campaigns than it accepted (G9).**
//! Start-up and reload are the same code.

mod handle;

pub use handle::{CampaignState, CampaignStatus, LoadReport, OwnerGone, Problem, ReloadHandle, Request, Target};
