//! Trials of a new version of a campaign: comparing it (`hailer shadow`), and ending the trial by
//! accepting it (`hailer promote`) or not (`hailer abort`).
//!
//! A trial exists only as files in the rules directory. Promoting and aborting edit these files so
//! that the directory is valid after every step; then the engine is asked to read it.

mod end;
mod files;
mod shadow;

pub(super) use end::{Abort, Promote};
pub(super) use shadow::Shadow;
