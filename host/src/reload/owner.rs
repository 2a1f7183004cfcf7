//! The owner of the rules directory: its state, and when it reads the directory. `swap` applies a
//! plan, and `reporting` logs and shows the result.
//!
//! **A campaign leaves only by its own file's removal, and never more than half of them at once
//! unasked; the policies never leave unasked (G9).**

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::directory::{Directory, Signature, Snapshot, SnapshotError};
use super::error::LoadError;
use super::ledger::{AcceptedCampaign, LedgerFiles, RulesDirectory, Version};
use super::partial_writes::{self, PartialWrites};
use super::plan::AdmittedVersion;
use super::policies_file::{PoliciesEntry, PoliciesPlan};
use super::swap::Withheld;
use super::{LoadReport, Problem, Proof, ReloadError, Stage};
use crate::clock::Millis;
use crate::config::{BareModules, Config};
use crate::engine::{CampaignSpec, Limits};
use crate::health::Health;
use crate::store::Store;

/// Why the directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Something may have changed. A version that was refused before is refused again without a
    /// test.
    Changed,
    /// A person asked: every campaign that does not run is tested again.
    Asked { allow_removals: bool },
}

/// The owner of the rules directory.
#[derive(Debug)]
pub struct Owner<S: Stage> {
    pub(super) directory: Directory,
    pub(super) limits: Limits,
    pub(super) bare_modules: BareModules,
    pub(super) debounce: Duration,
    pub(super) poll: Duration,
    /// Time after a swap during which a misbehaving version is rolled back, in ms; 0 disables it.
    pub(super) rollback_ms: Millis,
    pub(super) stage: S,
    pub(super) health: Health,
    pub(super) ledger_files: LedgerFiles,
    pub(super) campaigns: BTreeMap<String, Entry<S::Campaign>>,
    pub(super) policies: PoliciesEntry,
    pub(super) paused: BTreeSet<String>,
    pub(super) paused_by_all: BTreeSet<String>,
    /// The rules directory's identity, for the ledger.
    pub(super) rules_directory: RulesDirectory,
    pub(super) rule_set: u64,
    generation: u64,
    /// Tracks which files may be incomplete.
    pub(super) partial_writes: PartialWrites,
    /// The signature and the report of the last load.
    pub(super) last: Option<(Signature, LoadReport)>,
    /// Problems that have been logged and still exist.
    pub(super) logged: BTreeSet<String>,
    /// Whether this process has swapped in a rule set.
    pub(super) swapped: bool,
    /// True during the first load if the ledger is of another rules directory.
    pub(super) is_other_directory: bool,
}

/// The state of one campaign.
#[derive(Debug)]
pub(super) struct Entry<C> {
    /// The campaign file or bare module; `None` if it is gone.
    pub(super) file: Option<String>,
    /// The accepted version; `None` before the first.
    pub(super) accepted: Option<AcceptedCampaign>,
    /// The running version; `None` although one was accepted if it could not be restored.
    pub(super) running: Option<Running<C>>,
    /// The problems of the file as it is now.
    pub(super) problems: Vec<Problem>,
    /// The campaign waits for a complete file, or for the module that its file names.
    pub(super) is_waiting: bool,
    /// The refused version; it is not compiled again at every poll.
    pub(super) refused: Option<Version>,
}

impl<C> Default for Entry<C> {
    fn default() -> Self {
        Entry {
            file: None,
            accepted: None,
            running: None,
            problems: Vec::new(),
            is_waiting: false,
            refused: None,
        }
    }
}

/// A campaign that runs, or is ready to run.
#[derive(Debug)]
pub(super) struct Running<C> {
    pub(super) spec: CampaignSpec,
    pub(super) generation: u64,
    pub(super) campaign: Arc<C>,
}

impl<S: Stage> Owner<S> {
    /// Restores the accepted campaigns, reads the directory for the first time, and swaps the
    /// result in. Blocks while modules are compiled.
    ///
    /// # Errors
    /// There is no rules directory and no accepted campaign, the ledger is damaged, or the policies
    /// cannot be used and none were accepted before. For a run over a file or standard input: too
    /// many of the campaigns are gone, or the policies are.
    pub fn open(
        config: &Config,
        stage: S,
        health: Health,
        store: Option<Arc<dyn Store>>,
    ) -> Result<(Owner<S>, LoadReport), ReloadError> {
        let (ledger_files, ledger) = LedgerFiles::open(&config.data, store)?;
        let rules_directory = RulesDirectory::of(&config.rules);
        let is_other_directory =
            ledger.directory.as_ref().is_some_and(|accepted| !accepted.is_same(&rules_directory));
        let mut owner = Owner {
            directory: Directory::new(config.rules.clone(), config.limits.module_bytes_max),
            limits: config.limits.clone(),
            bare_modules: config.reload.bare_modules,
            debounce: Duration::from_millis(config.reload.debounce_ms),
            poll: Duration::from_millis(config.reload.poll_ms.max(100)),
            rollback_ms: config.reload.rollback_minutes as Millis * 60_000,
            stage,
            health,
            ledger_files,
            campaigns: BTreeMap::new(),
            policies: PoliciesEntry::default(),
            paused: ledger.paused,
            paused_by_all: ledger.paused_by_all,
            rules_directory,
            rule_set: ledger.rule_set,
            generation: 0,
            partial_writes: PartialWrites::new(Duration::from_millis(config.reload.settle_ms)),
            last: None,
            logged: BTreeSet::new(),
            swapped: false,
            is_other_directory,
        };
        owner.restore(ledger.campaigns);
        owner.restore_policies(ledger.policies);
        let allow_removals = is_other_directory || config.allow_removals;
        if owner.campaigns.is_empty() || allow_removals {
            match owner.directory.snapshot(None) {
                Ok(_) => {}
                Err(SnapshotError::Missing) => {
                    return Err(ReloadError::NoDirectory { path: config.rules.clone() });
                }
                Err(SnapshotError::Unreadable(problem)) => {
                    return Err(ReloadError::Directory(problem));
                }
            }
        }
        if is_other_directory {
            let directory = config.rules.display();
            tracing::warn!(%directory, "the rules directory is another one than at the last \
                start; campaigns that it lacks are removed");
        }
        let report = owner.try_load(Trigger::Asked { allow_removals });
        let report = report.map_err(|error| match error {
            LoadError::Ledger(error) => {
                ReloadError::Ledger { path: config.data.join("rules"), error }
            }
            LoadError::Policies(problems) => {
                ReloadError::Policies { path: config.rules.clone(), problems }
            }
        })?;
        owner.is_other_directory = false;
        owner.log_stopped_campaigns();
        // Only a service can wait for an operator. A run over a file would send communications of
        // campaigns that are gone, and would obey policies that are gone.
        if !report.withheld_removals.is_empty() && !config.is_service() {
            return Err(ReloadError::Removed {
                path: config.rules.clone(),
                gone: report.withheld_removals,
            });
        }
        Ok((owner, report))
    }

    /// Reads the directory, and swaps if anything changed. Blocks while modules are compiled.
    pub fn load(&mut self, trigger: Trigger) -> LoadReport {
        self.try_load(trigger).unwrap_or_else(|error| {
            // The next poll tries again, whatever the directory contains then.
            self.last = None;
            let problems = match error {
                LoadError::Ledger(error) => {
                    let reason =
                        format!("cannot write the ledger, so nothing was changed: {error}");
                    let hint = "free space in the data directory, and make it writable";
                    vec![Problem::new(".", None, reason, hint)]
                }
                LoadError::Policies(problems) => problems,
            };
            let report = LoadReport { rule_set: self.rule_set, problems, ..LoadReport::default() };
            self.report_load(&report, "failed");
            report
        })
    }

    fn try_load(&mut self, trigger: Trigger) -> Result<LoadReport, LoadError> {
        let allow_removals = trigger == Trigger::Asked { allow_removals: true };
        let last = self.last.as_ref().map(|(signature, _)| *signature);
        let asked_until = Instant::now() + 2 * self.partial_writes.settle;
        let read = loop {
            let mut read = self.directory.snapshot(last);
            let Ok(snapshot) = &mut read else { break read };
            self.mark_partial_files(snapshot, trigger);
            // A request is answered with the final result.
            if trigger == Trigger::Changed
                || !Self::has_partial_files(snapshot)
                || Instant::now() >= asked_until
            {
                break read;
            }
            std::thread::sleep(partial_writes::RECHECK_INTERVAL);
        };
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(SnapshotError::Missing) if allow_removals => Snapshot::default(),
            Err(SnapshotError::Missing) => {
                let gone = Withheld {
                    campaigns: self.accepted_names(),
                    has_policies: self.policies.accepted.is_some(),
                };
                return self.withhold(gone, Vec::new(), None);
            }
            Err(SnapshotError::Unreadable(problem)) => return self.keep_running(problem),
        };
        let signature = snapshot.signature();
        if let Some((last, report)) = &self.last
            && (*last, trigger) == (signature, Trigger::Changed)
        {
            return Ok(report.clone());
        }
        let mut load_plan = self.plan_load(&snapshot, trigger);
        self.check_policies_at_start(&load_plan)?;
        self.hold_new_campaigns(&mut load_plan);
        let gone: Vec<String> = self
            .accepted_names()
            .into_iter()
            .filter(|name| !load_plan.campaigns.contains_key(name))
            .collect();
        // This includes an empty directory, which lost all of them.
        let lost_too_many = gone.len() * 2 > self.accepted_names().len();
        let has_policies = matches!(load_plan.policies, PoliciesPlan::Gone);
        if (lost_too_many || has_policies) && !allow_removals {
            let gone = Withheld { campaigns: gone, has_policies };
            return self.withhold(gone, load_plan.all_problems(), Some(signature));
        }
        let report = self.apply_plan(load_plan, gone)?;
        self.last = Some((signature, report.without_changes()));
        Ok(report)
    }

    /// Restores the accepted campaigns after a restart. A campaign that cannot be restored stays
    /// accepted, and the engine is not ready.
    fn restore(&mut self, campaigns: BTreeMap<String, AcceptedCampaign>) {
        let limits = self.limits.clone();
        let mut admission = Admission::new(&limits, BTreeSet::new());
        let digests: BTreeSet<&String> =
            campaigns.values().map(|accepted| &accepted.version.module_digest).collect();
        // A read error is reported below.
        let modules: Vec<_> =
            digests.into_iter().filter_map(|digest| self.ledger_files.read(digest).ok()).collect();
        admission.verify_ahead(&modules);
        for (name, mut accepted) in campaigns {
            let is_tried = accepted.tried.as_deref() == Some(self.stage.terms());
            let proof = if is_tried { Proof::Given } else { Proof::Renewed };
            let (running, problems) =
                match self.admit_from_ledger(&mut admission, &name, &accepted.version, proof) {
                    Ok(taken) => {
                        accepted.tried = Some(self.stage.terms().to_owned());
                        (Some(taken.running), Vec::new())
                    }
                    Err(problems) => (None, problems),
                };
            self.campaigns.insert(
                name,
                Entry { accepted: Some(accepted), running, problems, ..Entry::default() },
            );
        }
    }

    /// Admits a version from its stored bytes.
    pub(super) fn admit_from_ledger(
        &mut self,
        admission: &mut Admission<'_>,
        name: &str,
        version: &Version,
        proof: Proof,
    ) -> Result<AdmittedVersion<S::Campaign>, Vec<Problem>> {
        let read = |digest: &String| {
            self.ledger_files.read(digest).map_err(|error| {
                let reason = format!("cannot use the stored version of `{name}`: {error}");
                vec![Problem::new(
                    &version.file,
                    None,
                    reason,
                    "put a good file into the rules directory",
                )]
            })
        };
        let text = version.text_digest.as_ref().map(read).transpose()?;
        let candidate = super::admission::Candidate {
            name: name.to_owned(),
            file: version.file.clone(),
            text,
            module_path: version.module_path.clone(),
            module: match admission.verified(&version.module_digest) {
                Some(module) => module,
                None => read(&version.module_digest)?,
            },
        };
        self.admit(admission, candidate, version.clone(), None, proof)
    }

    pub(super) fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub(super) fn running_names(&self) -> BTreeSet<String> {
        self.campaigns
            .iter()
            .filter(|(_, entry)| entry.running.is_some())
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn accepted_names(&self) -> Vec<String> {
        let accepted =
            |(name, entry): (&String, &Entry<_>)| entry.accepted.is_some().then(|| name.clone());
        self.campaigns.iter().filter_map(accepted).collect()
    }
}
