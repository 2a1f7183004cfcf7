//! The engine's side of a load: it turns a checked module into a campaign that can run, and swaps
//! rule sets.

use std::sync::Arc;

use hailer_policies::Policies;

use crate::engine::{CampaignSpec, Stop, VerifiedModule};

/// Why there is no room for so many campaigns, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    pub reason: String,
    pub hint: &'static str,
}

/// Whether a campaign must pass a test before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Needed,
    /// The campaign ran before, in another engine or before a rollback. It is tested, but stays
    /// even if its handlers fault on the samples.
    Renewed,
    /// The campaign passed before a restart, with the same bytes and the same [`Stage::terms`].
    Given,
}

/// Turns a checked module into a campaign that can run: compile, instantiate, configure, test.
///
/// All methods are called off the async threads and may block.
pub trait Stage: Send + 'static {
    /// A campaign that can run: the engine's `Campaign`, or a fake in tests.
    type Campaign: Send + Sync + 'static;

    /// Identifies everything that a test's result depends on besides the campaign's own files: the
    /// engine, its limits, the machine.
    fn terms(&self) -> &str;

    /// Checks that so many campaigns can run at the same time.
    ///
    /// # Errors
    /// There is no room for them.
    fn has_room_for(&self, campaigns: usize) -> Result<(), NoRoom>;

    /// Compiles (in the child, through the cache), instantiates, configures and tests one campaign.
    /// `generation` is new for each change of module or parameters, and unchanged if only mode or
    /// times changed. A campaign with [`Proof::Given`] is not tested again.
    ///
    /// # Errors
    /// Why the campaign cannot run, for its author: lower case, with what to do.
    fn admit(
        &mut self,
        spec: CampaignSpec,
        module: &VerifiedModule,
        generation: u64,
        proof: Proof,
    ) -> Result<Arc<Self::Campaign>, String>;

    /// Makes `campaigns` the rule set with this number, under these policies; a stopped campaign is
    /// not called. Never fails.
    fn swap(
        &mut self,
        campaigns: Vec<(Arc<Self::Campaign>, Option<Stop>)>,
        policies: Option<Arc<Policies>>,
        rule_set: u64,
    );
}
