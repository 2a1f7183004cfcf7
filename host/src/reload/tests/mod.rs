//! Tests of the owner of the rules directory, with a fake engine that records its calls.

mod files;
mod loading;
mod policies;
mod removals;
mod requests;
mod restarts;
mod watching;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hailer_policies::Policies;
use tempfile::TempDir;

use super::{CampaignState, CampaignStatus, LoadReport, NoRoom, Owner, Proof, Stage, Trigger};
use crate::config::{Config, ReloadConfig};
use crate::engine::{CampaignSpec, Stop, VerifiedModule, fixture};
use crate::health::Health;
use crate::store::Store;

/// A load that a person asked for, without allowed removals.
const ASKED: Trigger = Trigger::Asked { allow_removals: false };
const CONFIRMED: Trigger = Trigger::Asked { allow_removals: true };

/// A rules directory, a data directory, and the fake engine's records.
struct World {
    root: TempDir,
    config: Config,
    health: Health,
    stage: FakeStage,
    store: Option<Arc<dyn Store>>,
}

/// A stage that records its calls, and refuses modules whose description says so.
#[derive(Clone, Debug, Default)]
struct FakeStage {
    /// The terms under which a version is tested only once.
    terms: &'static str,
    seen: Arc<Mutex<Seen>>,
    /// The next admission blocks until this channel receives.
    busy: Arc<Mutex<Option<std::sync::mpsc::Receiver<()>>>>,
}

#[derive(Debug, Default)]
struct Seen {
    admissions: usize,
    /// The admissions that needed no test, as they passed one before.
    untried: usize,
    /// Maximum of campaigns; 0 for no maximum.
    campaigns_max: usize,
    /// The rule sets that were swapped in, by number.
    swaps: Vec<(u64, Vec<FakeCampaign>)>,
    /// The policies of the last rule set.
    policies: Option<Arc<Policies>>,
}

#[derive(Clone, Debug, PartialEq)]
struct FakeCampaign {
    spec: CampaignSpec,
    generation: u64,
}

impl Stage for FakeStage {
    type Campaign = FakeCampaign;

    fn terms(&self) -> &str {
        self.terms
    }

    fn has_room_for(&self, campaigns: usize) -> Result<(), NoRoom> {
        let most = self.seen.lock().unwrap().campaigns_max;
        let no_room =
            || NoRoom { reason: format!("{campaigns} of at most {most}"), hint: "make room" };
        if most == 0 || campaigns <= most { Ok(()) } else { Err(no_room()) }
    }

    fn admit(
        &mut self,
        spec: CampaignSpec,
        module: &VerifiedModule,
        generation: u64,
        proof: Proof,
    ) -> Result<Arc<FakeCampaign>, String> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.admissions += 1;
            seen.untried += usize::from(proof == Proof::Given);
        }
        let busy = self.busy.lock().unwrap().take();
        if let Some(busy) = busy {
            busy.recv().unwrap();
        }
        assert_eq!(spec.digest, module.digest);
        if spec.manifest.description.contains("unfit") {
            return Err("it traps in hailer_configure; look at its log".into());
        }
        Ok(Arc::new(FakeCampaign { spec, generation }))
    }

    fn swap(
        &mut self,
        campaigns: Vec<(Arc<FakeCampaign>, Option<Stop>)>,
        policies: Option<Arc<Policies>>,
        rule_set: u64,
    ) {
        let running = campaigns.iter().filter(|(_, stop)| stop.is_none());
        let campaigns = running.map(|(campaign, _)| FakeCampaign::clone(campaign)).collect();
        let mut seen = self.seen.lock().unwrap();
        seen.swaps.push((rule_set, campaigns));
        seen.policies = policies;
    }
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("rules.d/modules")).unwrap();
        let (rules, data) = (root.path().join("rules.d"), root.path().join("data"));
        // These tests write complete files, so they need no waiting period.
        let reload = ReloadConfig { settle_ms: 0, ..ReloadConfig::default() };
        let config =
            Config { rules, data, source: "amqp://u@h/".into(), reload, ..Config::default() };
        World { root, config, health: Health::default(), stage: FakeStage::default(), store: None }
    }

    fn open(&self) -> Owner<FakeStage> {
        self.open_with_report().0
    }

    fn open_with_report(&self) -> (Owner<FakeStage>, LoadReport) {
        let (owner, report) =
            Owner::open(&self.config, self.stage.clone(), self.health.clone(), self.store.clone())
                .unwrap();
        (owner, checked(report))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.config.rules.join(file)
    }

    /// Writes a file of the rules directory under another name, and renames it.
    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let unfinished = self.root.path().join("unfinished");
        fs::write(&unfinished, bytes).unwrap();
        fs::rename(unfinished, self.path(file)).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).unwrap();
    }

    fn link(&self, to: &str, file: &str) {
        let unfinished = self.root.path().join("unfinished");
        symlink(to, &unfinished).unwrap();
        fs::rename(unfinished, self.path(file)).unwrap();
    }

    /// The running campaigns as `name version`, in order.
    fn running(&self) -> Vec<String> {
        let seen = self.stage.seen.lock().unwrap();
        let (_, campaigns) = seen.swaps.last().expect("nothing was ever put on the stage");
        let named = |campaign: &FakeCampaign| {
            format!("{} {}", campaign.spec.name, campaign.spec.manifest.version)
        };
        campaigns.iter().map(named).collect()
    }

    fn campaign(&self, name: &str) -> FakeCampaign {
        let seen = self.stage.seen.lock().unwrap();
        let (_, campaigns) = seen.swaps.last().unwrap();
        campaigns.iter().find(|campaign| &*campaign.spec.name == name).unwrap().clone()
    }

    fn swaps(&self) -> usize {
        self.stage.seen.lock().unwrap().swaps.len()
    }

    fn admissions(&self) -> usize {
        self.stage.seen.lock().unwrap().admissions
    }

    fn is_ready(&self) -> bool {
        self.health.problems().is_empty()
    }

    /// The path of a file next to the ledger.
    fn ledger_file(&self, name: &str) -> PathBuf {
        self.config.data.join("rules").join(name)
    }
}

impl Owner<FakeStage> {
    fn changed(&mut self) -> LoadReport {
        checked(self.load(Trigger::Changed))
    }

    fn asked(&mut self) -> LoadReport {
        checked(self.load(ASKED))
    }

    /// Moves the time of a campaign's swap by this many milliseconds.
    fn note_swapped(&mut self, name: &str, by: i64) {
        let accepted = self.campaigns.get_mut(name).unwrap().accepted.as_mut().unwrap();
        accepted.swapped_ms = accepted.swapped_ms.map(|swapped| swapped + by);
    }

    fn status(&self, name: &str) -> CampaignStatus {
        self.statuses().into_iter().find(|status| status.name == name).unwrap()
    }

    fn state(&self, name: &str) -> CampaignState {
        self.status(name).state
    }
}

/// Checks that every problem names a file, a reason and a hint.
fn checked(report: LoadReport) -> LoadReport {
    for problem in &report.problems {
        assert!(
            !problem.file.is_empty() && !problem.reason.is_empty() && !problem.hint.is_empty(),
            "{problem}"
        );
        assert!(!problem.to_string().contains(char::is_control), "{problem}");
    }
    report
}

/// A module whose manifest has this version: distinct versions are distinct modules.
fn rule(version: &str) -> Arc<[u8]> {
    fixture::rule(
        &fixture::MANIFEST
            .replace("\"version\": \"0.1.0\"", &format!("\"version\": \"{version}\"")),
    )
}

/// A valid module that the stage refuses.
fn unfit_rule(version: &str) -> Arc<[u8]> {
    let manifest =
        fixture::MANIFEST.replace("\"version\": \"0.1.0\"", &format!("\"version\": \"{version}\""));
    fixture::rule(&manifest.replace("Thanks for", "unfit:"))
}

fn digest(module: &[u8]) -> String {
    blake3::hash(module).to_hex().to_string()
}

/// A campaign file for a module, with more lines.
fn campaign(module: &str, more: &str) -> String {
    format!("module = \"{module}\"\nmode = \"live\"\n{more}")
}
