//! How an accepted module becomes a running campaign: compiled in a child, loaded, tried, swapped in.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::address_space::{AddressSpace, NEXT_STEP};
use crate::config::Config;
use crate::engine::{Campaign, CampaignSpec, RuleSet, Sandbox, VerifiedModule};
use crate::metrics;
use crate::reload::{ChildCommand, Compiler, NoRoom, Stage};

/// The engine, as the directory's owner sees it.
pub(super) struct EngineStage {
    sandbox: Arc<Sandbox>,
    compiler: Compiler,
    current: Arc<ArcSwap<RuleSet>>,
    shards: usize,
}

impl EngineStage {
    pub(super) fn open(
        config: &Config,
        sandbox: Arc<Sandbox>,
        current: Arc<ArcSwap<RuleSet>>,
    ) -> anyhow::Result<EngineStage> {
        let child = ChildCommand::of_this_program().context("no program to compile with")?;
        let compiler = Compiler::open(child, &config.data, &sandbox.compatibility(), &config.limits)?;
        Ok(EngineStage { sandbox, compiler, current, shards: super::shards_of(config) })
    }

    #[expect(unsafe_code, reason = "loads what the compiling child made")]
    fn load(&mut self, module: &VerifiedModule) -> Result<wasmtime::Module, String> {
        let artifact = self.compiler.artifact(module).map_err(|error| error.to_string())?;
        // SAFETY: the compiler hands out only what its own child wrote with `Sandbox::precompile`, for an engine of this
        // `compatibility`, from a directory that only this user can write, after comparing the checksum that was stored with it.
        unsafe { self.sandbox.load(&artifact) }.map_err(|error| error.to_string())
    }
}

impl Stage for EngineStage {
    type Campaign = Campaign;

    fn has_room_for(&self, campaigns: usize) -> Result<(), NoRoom> {
        let checked = AddressSpace::of_this_process().check(self.shards, campaigns);
        checked.map(drop).map_err(|reason| NoRoom { reason, hint: NEXT_STEP })
    }

    fn admit(&mut self, spec: CampaignSpec, module: &VerifiedModule, generation: u64) -> Result<Arc<Campaign>, String> {
        let compiled = self.load(module)?;
        Campaign::admit(&self.sandbox, spec, compiled, generation).map_err(|error| error.to_string())
    }

    fn swap(&mut self, campaigns: Vec<Arc<Campaign>>, rule_set: u64) {
        self.compiler.retain(campaigns.iter().map(|campaign| &*campaign.spec.digest));
        self.current.store(Arc::new(RuleSet::build(campaigns, rule_set)));
        ::metrics::gauge!(metrics::RULE_SET).set(rule_set as f64);
    }
}
