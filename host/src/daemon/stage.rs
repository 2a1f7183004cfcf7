//! Turns an accepted module into a running campaign: it is compiled in a child process, loaded,
//! tried (with its own scenarios), and swapped in.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use hailer_policies::Policies;

use super::address_space::{AddressSpace, NEXT_STEP};
use crate::config::Config;
use crate::engine::{Campaign, CampaignSpec, RuleSet, Sandbox, Stop, VerifiedModule, shown};
use crate::metrics;
use crate::reload::{ChildCommand, Compiler, NoRoom, Proof, Stage, digest_shown};
use crate::scenarios::{self, CompiledModule, Scenarios, TimeLimit};

/// The time limit of all of a module's own scenarios together. A module that takes longer is
/// refused.
const SCENARIOS_TIME_MAX: Duration = Duration::from_secs(5);

/// Maximum size of the machine code in `compiled`, in bytes; other modules are loaded again for
/// each campaign.
const COMPILED_BYTES_MAX: usize = 512 << 20;

/// The engine, as the owner of the rules directory uses it.
pub(super) struct EngineStage {
    loader: Loader,
    terms: String,
    /// Machine code by the digest of its module: campaigns of one module share it. A swap drops
    /// that of modules that no campaign has.
    compiled: BTreeMap<Arc<str>, wasmtime::Module>,
    compiled_bytes: usize,
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
        let terms = terms(&sandbox).context("cannot find the file of this program")?;
        let loader = Loader::open(sandbox, &config.data)?;
        Ok(EngineStage {
            loader,
            terms,
            compiled: BTreeMap::new(),
            compiled_bytes: 0,
            passed: BTreeSet::new(),
            current,
            shards: super::shards_of(config),
        })
    }

    /// The machine code of a module.
    fn compiled(&mut self, module: &VerifiedModule) -> Result<wasmtime::Module, String> {
        if let Some(compiled) = self.compiled.get(&module.digest) {
            return Ok(compiled.clone());
        }
        self.loader.load(module)
    }

    /// Keeps the machine code of a module that was admitted, for further campaigns.
    fn share(&mut self, module: &VerifiedModule, compiled: wasmtime::Module) {
        let bytes = code_bytes(&compiled);
        if self.compiled.contains_key(&module.digest)
            || self.compiled_bytes + bytes > COMPILED_BYTES_MAX
        {
            return;
        }
        self.compiled_bytes += bytes;
        self.compiled.insert(Arc::clone(&module.digest), compiled);
    }

    /// Runs the scenarios that are embedded in a module, with their own parameters. The author of a
    /// change that breaks a rule finds out here.
    fn try_scenarios(
        &mut self,
        module: &VerifiedModule,
        compiled: &wasmtime::Module,
    ) -> Result<(), String> {
        if self.passed.contains(&module.digest) {
            return Ok(());
        }
        let Some(text) = scenarios::embedded(&module.bytes).map_err(|error| error.to_string())?
        else {
            return Ok(());
        };
        let read = Scenarios::parse("its own scenarios", text, &module.manifest);
        let read =
            read.map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default())?;
        let (sandbox, compiled) = (Arc::clone(&self.loader.sandbox), compiled.clone());
        let compiled_module =
            CompiledModule { sandbox, module: module.clone(), compiled, checks_purity: false };
        let time_limit = TimeLimit { until: Some(Instant::now() + SCENARIOS_TIME_MAX) };
        for scenario in &read.list {
            let report = compiled_module.run(scenario, time_limit);
            if !report.is_passed() {
                let name = shown(&scenario.name);
                let first_line =
                    format!("it fails its own scenario `{name}` (`hailer test` shows all details)");
                let difference = report.explain();
                let lines = [first_line.as_str()]
                    .into_iter()
                    .chain(difference.iter().map(|line| line.trim()));
                return Err(lines.collect::<Vec<_>>().join("\n"));
            }
        }
        self.passed.insert(Arc::clone(&module.digest));
        Ok(())
    }
}

/// The size of a module's machine code, in bytes.
fn code_bytes(module: &wasmtime::Module) -> usize {
    let range = module.image_range();
    range.end.addr() - range.start.addr()
}

/// A hash of everything besides the campaign that the result of a trial depends on: the compiler,
/// the machine, the limits, and the file of this program. Two programs of one version and size may
/// still differ, so the file's identity and times are included.
fn terms(sandbox: &Sandbox) -> io::Result<String> {
    let file = fs::metadata(ChildCommand::of_this_program()?.program)?;
    let program = (
        file.dev(),
        file.ino(),
        file.len(),
        [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()],
    );
    let terms = format!(
        "{program:?} {} {} {:?}",
        env!("CARGO_PKG_VERSION"),
        sandbox.compatibility(),
        sandbox.limits()
    );
    Ok(blake3::hash(terms.as_bytes()).to_hex().to_string())
}

/// Compiles modules in a child process, caches the result, and loads it.
pub struct Loader {
    sandbox: Arc<Sandbox>,
    compiler: Compiler,
    /// The directory of compiled modules, if it is temporary.
    _temporary: Option<tempfile::TempDir>,
}

impl Loader {
    /// A loader that keeps compiled modules under `data`.
    ///
    /// # Errors
    /// When the cache cannot be created, or other users have access to it.
    pub fn open(sandbox: Arc<Sandbox>, data: &Path) -> anyhow::Result<Loader> {
        let child = ChildCommand::of_this_program()
            .context("cannot find the file of this program, which compiles modules")?;
        let compiler = Compiler::open(child, data, &sandbox.compatibility(), sandbox.limits())?;
        Ok(Loader { sandbox, compiler, _temporary: None })
    }

    /// A loader with a temporary cache.
    ///
    /// # Errors
    /// When no directory can be created.
    pub fn temporary(sandbox: Arc<Sandbox>) -> anyhow::Result<Loader> {
        let directory = tempfile::tempdir().context("cannot create a directory to compile in")?;
        let loader = Loader::open(sandbox, directory.path())?;
        Ok(Loader { _temporary: Some(directory), ..loader })
    }

    /// # Errors
    /// The reason why the module cannot be compiled or loaded.
    #[expect(unsafe_code, reason = "loads what the compiling child made")]
    pub fn load(&mut self, module: &VerifiedModule) -> Result<wasmtime::Module, String> {
        let artifact = self.compiler.artifact(module).map_err(|error| error.to_string())?;
        // SAFETY: the compiler returns only artifacts that its own child wrote with
        // `Sandbox::precompile`, for an engine of this `compatibility`. They are in a directory
        // that only this user can write, and their stored checksum was compared.
        unsafe { self.sandbox.load(&artifact) }.map_err(|error| error.to_string())
    }
}

impl Stage for EngineStage {
    type Campaign = Campaign;

    fn terms(&self) -> &str {
        &self.terms
    }

    fn has_room_for(&self, campaigns: usize) -> Result<(), NoRoom> {
        let instances_max = self.loader.sandbox.limits().instances_max;
        let space = AddressSpace::of_this_process();
        let checked = space.check(self.shards, campaigns, instances_max);
        checked.map(drop).map_err(|reason| NoRoom { reason, hint: NEXT_STEP })
    }

    fn admit(
        &mut self,
        spec: CampaignSpec,
        module: &VerifiedModule,
        generation: u64,
        proof: Proof,
    ) -> Result<Arc<Campaign>, String> {
        let compiled = self.compiled(module)?;
        if proof == Proof::Given {
            self.passed.insert(Arc::clone(&module.digest));
            let campaign = Campaign::admitted_before(spec, compiled.clone(), generation);
            self.share(module, compiled);
            return campaign.map_err(|error| error.to_string());
        }
        let sandbox = Arc::clone(&self.loader.sandbox);
        let admitted = match proof {
            Proof::Renewed => {
                let admitted = Campaign::admit_again(&sandbox, spec, compiled.clone(), generation);
                admitted.map(|(campaign, faulty)| {
                    if let Some(faulty) = faulty {
                        let name = &*campaign.spec.name;
                        tracing::warn!(campaign = name, %faulty, "a version that was accepted \
                            before runs on, although it faulted when it was tried again");
                    }
                    campaign
                })
            }
            Proof::Needed | Proof::Given => {
                Campaign::admit(&sandbox, spec, compiled.clone(), generation)
            }
        };
        let campaign = admitted.map_err(|error| error.to_string())?;
        self.try_scenarios(module, &compiled)?;
        self.share(module, compiled);
        Ok(campaign)
    }

    fn swap(
        &mut self,
        campaigns: Vec<(Arc<Campaign>, Option<Stop>)>,
        policies: Option<Arc<Policies>>,
        rule_set: u64,
    ) {
        let active: BTreeSet<&str> =
            campaigns.iter().map(|(campaign, _)| &*campaign.spec.digest).collect();
        self.compiled.retain(|digest, _| active.contains(&**digest));
        self.compiled_bytes = self.compiled.values().map(code_bytes).sum();
        self.passed.retain(|digest| active.contains(&**digest));
        self.loader.compiler.retain(active);
        let before = self.current.load();
        let have_series = |campaigns: usize| campaigns <= metrics::SERIES_AHEAD_MAX;
        let has_series =
            |name: &str| have_series(before.campaigns().len()) && before.place(name).is_some();
        if have_series(campaigns.len()) {
            let names = campaigns.iter().map(|(campaign, _)| &*campaign.spec.name);
            names.filter(|name| !has_series(name)).for_each(metrics::create_campaign_series);
        }
        let rules = RuleSet::with_stopped(campaigns, rule_set).with_policies(policies);
        show_policies(self.current.load().policies(), rules.policies());
        self.current.store(Arc::new(rules));
        ::metrics::gauge!(metrics::RULE_SET).set(rule_set as f64);
    }
}

/// Shows in a metric which policies apply; the digest is `none` without policies.
fn show_policies(before: Option<&Arc<Policies>>, after: Option<&Arc<Policies>>) {
    let show = |policies: Option<&Arc<Policies>>, value: f64| {
        let digest = policies.map_or("none", |policies| digest_shown(&policies.digest));
        ::metrics::gauge!(metrics::POLICIES_INFO, "digest" => digest.to_owned()).set(value);
    };
    show(before, 0.0);
    show(after, 1.0);
}
