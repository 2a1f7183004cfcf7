//! The one owner of the set of campaigns: what it knows, and when it reads the directory. What becomes of a reading is in `swap`, what is said of it
//! in `tell`.
//!
//! **A campaign leaves only by its own file's removal, and never more than half of them at once unasked (G9).**

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::directory::{Directory, Signature, Snapshot, Unread};
use super::judge::Taken;
use super::kept::{Kept, KeptCampaign, KeptDirectory, Version};
use super::settling::{self, Settling};
use super::{LoadReport, Problem, Proof, ReloadError, Stage};
use crate::clock::Millis;
use crate::config::{BareModules, Config};
use crate::engine::{CampaignSpec, Limits};
use crate::health::Health;
use crate::store::Store;

/// Why the directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Something may have changed. What was refused before is refused again without being tried.
    Changed,
    /// Somebody asked: everything that does not run is tried again.
    Asked { allow_removals: bool },
}

/// The owner of the directory of campaigns.
#[derive(Debug)]
pub struct Owner<S: Stage> {
    pub(super) directory: Directory,
    pub(super) limits: Limits,
    pub(super) bare_modules: BareModules,
    pub(super) debounce: Duration,
    pub(super) poll: Duration,
    /// For how long after a swap a version that misbehaves is rolled back; 0 is never.
    pub(super) rollback_ms: Millis,
    pub(super) stage: S,
    pub(super) health: Health,
    pub(super) kept: Kept,
    pub(super) campaigns: BTreeMap<String, Entry<S::Campaign>>,
    pub(super) paused: BTreeSet<String>,
    pub(super) paused_by_all: BTreeSet<String>,
    /// The rules directory, for the ledger.
    pub(super) here: KeptDirectory,
    pub(super) rule_set: u64,
    generation: u64,
    /// Which files may not be whole yet.
    pub(super) settling: Settling,
    /// What was read last, and what was made of it.
    pub(super) last: Option<(Signature, LoadReport)>,
    /// Problems that have been logged and are still there.
    pub(super) logged: BTreeSet<String>,
    /// Whether this process has put a rule set on the stage.
    pub(super) swapped: bool,
    /// The first load is of another rules directory than the ledger's.
    pub(super) is_elsewhere: bool,
}

/// What is known of one campaign.
#[derive(Debug)]
pub(super) struct Entry<C> {
    /// The file that makes it a campaign, while it is there.
    pub(super) file: Option<String>,
    /// What was accepted; `None` before the first.
    pub(super) kept: Option<KeptCampaign>,
    /// What runs; `None` although something was accepted if that could not be restored.
    pub(super) running: Option<Running<C>>,
    /// What is wrong with the file as it is now.
    pub(super) problems: Vec<Problem>,
    /// It waits for the module that its file names.
    pub(super) is_waiting: bool,
    /// The version that was refused, so that it is not compiled at every poll.
    pub(super) refused: Option<Version>,
}

impl<C> Default for Entry<C> {
    fn default() -> Self {
        Entry { file: None, kept: None, running: None, problems: Vec::new(), is_waiting: false, refused: None }
    }
}

/// A campaign that is on the stage, or can be put there.
#[derive(Debug)]
pub(super) struct Running<C> {
    pub(super) spec: CampaignSpec,
    pub(super) generation: u64,
    pub(super) campaign: Arc<C>,
}

impl<S: Stage> Owner<S> {
    /// Restores what was accepted before, reads the directory for the first time, and puts the outcome on the stage.
    /// Blocks while modules are compiled.
    ///
    /// # Errors
    /// When there is no directory and nothing was kept, or what was kept can't be trusted; and for a run over a file or standard input, when
    /// too many of the campaigns are gone.
    pub fn open(
        config: &Config,
        stage: S,
        health: Health,
        store: Option<Arc<dyn Store>>,
    ) -> Result<(Owner<S>, LoadReport), ReloadError> {
        let (kept, ledger) = Kept::open(&config.data, store)?;
        let here = KeptDirectory::of(&config.rules);
        let is_elsewhere = ledger.directory.as_ref().is_some_and(|kept| !kept.is_same(&here));
        let mut owner = Owner {
            directory: Directory::new(config.rules.clone(), config.limits.module_bytes_max),
            limits: config.limits.clone(),
            bare_modules: config.reload.bare_modules,
            debounce: Duration::from_millis(config.reload.debounce_ms),
            poll: Duration::from_millis(config.reload.poll_ms.max(100)),
            rollback_ms: config.reload.rollback_minutes as Millis * 60_000,
            stage,
            health,
            kept,
            campaigns: BTreeMap::new(),
            paused: ledger.paused,
            paused_by_all: ledger.paused_by_all,
            here,
            rule_set: ledger.rule_set,
            generation: 0,
            settling: Settling::new(Duration::from_millis(config.reload.settle_ms)),
            last: None,
            logged: BTreeSet::new(),
            swapped: false,
            is_elsewhere,
        };
        owner.restore(ledger.campaigns);
        let allow_removals = is_elsewhere || config.allow_removals;
        if owner.campaigns.is_empty() || allow_removals {
            match owner.directory.snapshot(None) {
                Ok(_) => {}
                Err(Unread::Vanished) => return Err(ReloadError::NoDirectory { path: config.rules.clone() }),
                Err(Unread::Unreadable(problem)) => return Err(ReloadError::Directory(problem)),
            }
        }
        if is_elsewhere {
            let directory = config.rules.display();
            tracing::warn!(%directory, "another rules directory than before: what it holds counts, and campaigns that it lacks end");
        }
        let report = owner.try_load(Trigger::Asked { allow_removals });
        let report = report.map_err(|error| ReloadError::Kept { path: config.data.join("rules"), error })?;
        owner.is_elsewhere = false;
        owner.warn_of_stopped();
        // Only a service can wait until an operator has looked: a run over a file would send by campaigns that are gone.
        if !report.withheld_removals.is_empty() && !config.is_service() {
            return Err(ReloadError::Removed { path: config.rules.clone(), gone: report.withheld_removals });
        }
        Ok((owner, report))
    }

    /// Reads the directory and swaps if anything changed. Blocks while modules are compiled.
    pub fn load(&mut self, trigger: Trigger) -> LoadReport {
        self.try_load(trigger).unwrap_or_else(|error| {
            // Tried again at the next poll, whatever the directory says then.
            self.last = None;
            let reason = format!("what was accepted can't be written down, so nothing was changed: {error}");
            let problem = Problem::new(".", None, reason, "make room in the data directory, and writable");
            let report = LoadReport { rule_set: self.rule_set, problems: vec![problem], ..LoadReport::default() };
            self.tell(&report, "failed");
            report
        })
    }

    fn try_load(&mut self, trigger: Trigger) -> io::Result<LoadReport> {
        let allow_removals = trigger == Trigger::Asked { allow_removals: true };
        let last = self.last.as_ref().map(|(signature, _)| *signature);
        let asked_until = Instant::now() + 2 * self.settling.settle;
        let read = loop {
            let mut read = self.directory.snapshot(last);
            let Ok(snapshot) = &mut read else { break read };
            self.hold_back(snapshot, trigger);
            // Who asks is answered with what comes of it.
            if trigger == Trigger::Changed || !Self::is_unsettled(snapshot) || Instant::now() >= asked_until {
                break read;
            }
            std::thread::sleep(settling::LOOKS_EVERY);
        };
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(Unread::Vanished) if allow_removals => Snapshot::default(),
            Err(Unread::Vanished) => {
                let gone = self.accepted_names();
                return self.withhold(gone, Vec::new(), None);
            }
            Err(Unread::Unreadable(problem)) => return self.keep_on(problem),
        };
        let signature = snapshot.signature();
        if let Some((last, report)) = &self.last
            && (*last, trigger) == (signature, Trigger::Changed)
        {
            return Ok(report.clone());
        }
        let judged = self.judge(&snapshot, trigger);
        let gone: Vec<String> =
            self.accepted_names().into_iter().filter(|name| !judged.verdicts.contains_key(name)).collect();
        // An empty directory lost all of them.
        let lost_too_many = gone.len() * 2 > self.accepted_names().len();
        if lost_too_many && !allow_removals {
            return self.withhold(gone, judged.all_problems(), Some(signature));
        }
        let report = self.take(judged, gone)?;
        self.last = Some((signature, report.without_changes()));
        Ok(report)
    }

    /// Brings back what was accepted before the restart. What can't be brought back stays accepted, and unready.
    fn restore(&mut self, campaigns: BTreeMap<String, KeptCampaign>) {
        let limits = self.limits.clone();
        let mut admission = Admission::new(&limits, BTreeSet::new());
        let digests: BTreeSet<&String> = campaigns.values().map(|kept| &kept.version.module_digest).collect();
        // What can't be read is told of below.
        let modules: Vec<_> = digests.into_iter().filter_map(|digest| self.kept.read(digest).ok()).collect();
        admission.verify_ahead(&modules);
        for (name, mut kept) in campaigns {
            let is_tried = kept.tried.as_deref() == Some(self.stage.terms());
            let proof = if is_tried { Proof::Given } else { Proof::Renewed };
            let (running, problems) = match self.revive(&mut admission, &name, &kept.version, proof) {
                Ok(taken) => {
                    kept.tried = Some(self.stage.terms().to_owned());
                    (Some(taken.running), Vec::new())
                }
                Err(problems) => (None, problems),
            };
            self.campaigns.insert(name, Entry { kept: Some(kept), running, problems, ..Entry::default() });
        }
    }

    /// Admits a version from its kept bytes.
    pub(super) fn revive(
        &mut self,
        admission: &mut Admission<'_>,
        name: &str,
        version: &Version,
        proof: Proof,
    ) -> Result<Taken<S::Campaign>, Vec<Problem>> {
        let read = |digest: &String| {
            self.kept.read(digest).map_err(|error| {
                let reason = format!("the version of `{name}` that was kept can't be used: {error}");
                vec![Problem::new(&version.file, None, reason, "put a good file into the rules directory")]
            })
        };
        let text = version.text_digest.as_ref().map(read).transpose()?;
        let application = super::admission::Application {
            name: name.to_owned(),
            file: version.file.clone(),
            text,
            module_path: version.module_path.clone(),
            module: match admission.verified(&version.module_digest) {
                Some(module) => module,
                None => read(&version.module_digest)?,
            },
        };
        self.admit(admission, application, version.clone(), None, proof)
    }

    pub(super) fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub(super) fn running_names(&self) -> BTreeSet<String> {
        self.campaigns.iter().filter(|(_, entry)| entry.running.is_some()).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn accepted_names(&self) -> Vec<String> {
        let accepted = |(name, entry): (&String, &Entry<_>)| entry.kept.is_some().then(|| name.clone());
        self.campaigns.iter().filter_map(accepted).collect()
    }
}
