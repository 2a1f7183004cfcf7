//! What the directory's owner asks of the engine: turn an accepted module into something that runs, and run it.

use std::sync::Arc;

use crate::engine::{CampaignSpec, Stop, VerifiedModule};

/// Why so many campaigns can't run side by side, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    pub reason: String,
    pub hint: &'static str,
}

/// Whether a campaign has yet to show that it can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Needed,
    /// It ran before, for another engine or before a rollback. It is tried, and stays although its handlers fault on the samples.
    Renewed,
    /// It has, before a restart, with these bytes and to a stage with these [`Stage::terms`].
    Given,
}

/// Turns an accepted module into something that runs: compile, instantiate, configure, try.
///
/// All of it is called off the async threads and may block.
pub trait Stage: Send + 'static {
    /// A campaign that can run: the engine's `Campaign`, or a fake in tests.
    type Campaign: Send + Sync + 'static;

    /// What the outcome of a trial depends on besides the campaign's own files: the engine, its limits, the machine.
    fn terms(&self) -> &str;

    /// Whether so many campaigns can run side by side.
    ///
    /// # Errors
    /// When they can't.
    fn has_room_for(&self, campaigns: usize) -> Result<(), NoRoom>;

    /// Compiles (in the child, through the cache), instantiates, configures and tries one campaign. `generation` is
    /// new for each change of module or parameters, and the same as before where only mode or times changed. What has given its proof is not
    /// tried again.
    ///
    /// # Errors
    /// Why it can't run, for whoever wrote it: lower case, with what to do.
    fn admit(
        &mut self,
        spec: CampaignSpec,
        module: &VerifiedModule,
        generation: u64,
        proof: Proof,
    ) -> Result<Arc<Self::Campaign>, String>;

    /// Makes `campaigns` the rule set, under this number; what is stopped is not called. Never fails.
    fn swap(&mut self, campaigns: Vec<(Arc<Self::Campaign>, Option<Stop>)>, rule_set: u64);
}
