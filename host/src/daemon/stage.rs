//! How an accepted module becomes a running campaign: compiled in a child, loaded, tried (its own scenarios included), swapped in.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::address_space::{AddressSpace, NEXT_STEP};
use crate::config::Config;
use crate::engine::{Campaign, CampaignSpec, RuleSet, Sandbox, Stop, VerifiedModule, shown};
use crate::metrics;
use crate::reload::{ChildCommand, Compiler, NoRoom, Proof, Stage};
use crate::scenarios::{self, Bounds, Scenarios, Stand};

/// A module's own scenarios take no longer than this, all of them, or it is refused.
const SCENARIOS_TIME_MAX: Duration = Duration::from_secs(5);

/// The engine, as the directory's owner sees it.
pub(super) struct EngineStage {
    loader: Loader,
    terms: String,
    /// Modules that have passed their own scenarios, by digest.
    passed: BTreeSet<Arc<str>>,
    current: Arc<ArcSwap<RuleSet>>,
    shards: usize,
}

impl EngineStage {
    pub(super) fn open(
        config: &Config,
        sandbox: Arc<Sandbox>,
        current: Arc<ArcSwap<RuleSet>>,
    ) -> anyhow::Result<EngineStage> {
        let terms = terms(&sandbox).context("no telling which program this is")?;
        let loader = Loader::open(sandbox, &config.data)?;
        Ok(EngineStage { loader, terms, passed: BTreeSet::new(), current, shards: super::shards_of(config) })
    }

    /// Runs the scenarios that a module brings along, with their own parameters: who breaks a rule finds out here.
    fn try_scenarios(&mut self, module: &VerifiedModule, compiled: &wasmtime::Module) -> Result<(), String> {
        if self.passed.contains(&module.digest) {
            return Ok(());
        }
        let Some(text) = scenarios::embedded(&module.bytes).map_err(|error| error.to_string())? else { return Ok(()) };
        let read = Scenarios::parse("its own scenarios", text, &module.manifest);
        let read = read.map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default())?;
        let (sandbox, compiled) = (Arc::clone(&self.loader.sandbox), compiled.clone());
        let stand = Stand { sandbox, module: module.clone(), compiled, checks_purity: false };
        let bounds = Bounds { until: Some(Instant::now() + SCENARIOS_TIME_MAX) };
        for scenario in &read.list {
            let report = stand.run(scenario, bounds);
            if !report.is_passed() {
                let name = shown(&scenario.name);
                let told = format!("it fails its own scenario `{name}` (`hailer test` shows all of it)");
                let difference = report.explain();
                let lines = [told.as_str()].into_iter().chain(difference.iter().map(|line| line.trim()));
                return Err(lines.collect::<Vec<_>>().join("\n"));
            }
        }
        self.passed.insert(Arc::clone(&module.digest));
        Ok(())
    }
}

/// What the outcome of a trial depends on besides the campaign: the compiler and the machine, the limits, and this very program, which one of
/// the same version and size need not be.
fn terms(sandbox: &Sandbox) -> io::Result<String> {
    let file = fs::metadata(ChildCommand::of_this_program()?.program)?;
    let program =
        (file.dev(), file.ino(), file.len(), [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()]);
    let terms = format!("{program:?} {} {} {:?}", env!("CARGO_PKG_VERSION"), sandbox.compatibility(), sandbox.limits());
    Ok(blake3::hash(terms.as_bytes()).to_hex().to_string())
}

/// Makes modules into what can run: compiled in a child, cached, loaded.
pub struct Loader {
    sandbox: Arc<Sandbox>,
    compiler: Compiler,
    /// Where artifacts are, if nobody is to find them afterwards.
    _temporary: Option<tempfile::TempDir>,
}

impl Loader {
    /// A loader that keeps what it compiles under `data`.
    ///
    /// # Errors
    /// When the cache can't be made, or is open to other users.
    pub fn open(sandbox: Arc<Sandbox>, data: &Path) -> anyhow::Result<Loader> {
        let child = ChildCommand::of_this_program().context("no program to compile with")?;
        let compiler = Compiler::open(child, data, &sandbox.compatibility(), sandbox.limits())?;
        Ok(Loader { sandbox, compiler, _temporary: None })
    }

    /// A loader that leaves nothing behind.
    ///
    /// # Errors
    /// When no directory can be made.
    pub fn temporary(sandbox: Arc<Sandbox>) -> anyhow::Result<Loader> {
        let directory = tempfile::tempdir().context("no directory to compile in")?;
        let loader = Loader::open(sandbox, directory.path())?;
        Ok(Loader { _temporary: Some(directory), ..loader })
    }

    /// # Errors
    /// Why it can't be compiled or loaded.
    #[expect(unsafe_code, reason = "loads what the compiling child made")]
    pub fn load(&mut self, module: &VerifiedModule) -> Result<wasmtime::Module, String> {
        let artifact = self.compiler.artifact(module).map_err(|error| error.to_string())?;
        // SAFETY: the compiler hands out only what its own child wrote with `Sandbox::precompile`, for an engine of this
        // `compatibility`, from a directory that only this user can write, after comparing the checksum that was stored with it.
        unsafe { self.sandbox.load(&artifact) }.map_err(|error| error.to_string())
    }
}

impl Stage for EngineStage {
    type Campaign = Campaign;

    fn terms(&self) -> &str {
        &self.terms
    }

    fn has_room_for(&self, campaigns: usize) -> Result<(), NoRoom> {
        let checked = AddressSpace::of_this_process().check(self.shards, campaigns);
        checked.map(drop).map_err(|reason| NoRoom { reason, hint: NEXT_STEP })
    }

    fn admit(
        &mut self,
        spec: CampaignSpec,
        module: &VerifiedModule,
        generation: u64,
        proof: Proof,
    ) -> Result<Arc<Campaign>, String> {
        let compiled = self.loader.load(module)?;
        if proof == Proof::Given {
            self.passed.insert(Arc::clone(&module.digest));
            return Campaign::admitted_before(spec, compiled, generation).map_err(|error| error.to_string());
        }
        let sandbox = Arc::clone(&self.loader.sandbox);
        let admitted = match proof {
            Proof::Renewed => Campaign::admit_again(&sandbox, spec, compiled.clone(), generation).map(|(campaign, faulty)| {
                if let Some(faulty) = faulty {
                    let name = &*campaign.spec.name;
                    tracing::warn!(campaign = name, %faulty, "a version that was accepted before runs on, although it may fault");
                }
                campaign
            }),
            Proof::Needed | Proof::Given => Campaign::admit(&sandbox, spec, compiled.clone(), generation),
        };
        let campaign = admitted.map_err(|error| error.to_string())?;
        self.try_scenarios(module, &compiled)?;
        Ok(campaign)
    }

    fn swap(&mut self, campaigns: Vec<(Arc<Campaign>, Option<Stop>)>, rule_set: u64) {
        self.loader.compiler.retain(campaigns.iter().map(|(campaign, _)| &*campaign.spec.digest));
        self.passed.retain(|digest| campaigns.iter().any(|(campaign, _)| campaign.spec.digest == *digest));
        campaigns.iter().for_each(|(campaign, _)| metrics::begin_campaign(&campaign.spec.name));
        self.current.store(Arc::new(RuleSet::with_stopped(campaigns, rule_set)));
        ::metrics::gauge!(metrics::RULE_SET).set(rule_set as f64);
    }
}
