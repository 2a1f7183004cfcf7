//! A new version of a campaign on trial: looking at it (`hailer shadow`), and ending the trial one way or the other (`hailer promote`, `hailer abort`).
//!
//! What a trial is stands in the rules' directory, and nowhere else: promoting and aborting are edits of its files, made so that every moment
//! between them is a directory that makes sense, and then the engine is asked to read it.

mod end;
mod files;
mod shadow;

pub(super) use end::{Abort, Promote};
pub(super) use shadow::Shadow;
