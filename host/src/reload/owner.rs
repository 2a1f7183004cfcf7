//! The one owner of the set of campaigns: reads the directory, judges every campaign, and swaps.
//!
//! **Everything is judged, tried and written down before the swap; whatever fails on the way changes nothing (G8).**
//! **A campaign leaves only by its own file's removal, and never more than half of them at once unasked (G9).**

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::admission::Admission;
use super::directory::{Directory, Signature, Snapshot, Unread};
use super::judge::{Judged, Taken, Verdict};
use super::kept::{Kept, KeptCampaign, Ledger, Version};
use super::{CampaignState, CampaignStatus, LoadReport, Problem, ReloadError, Stage};
use crate::config::{BareModules, Config};
use crate::engine::{CampaignSpec, Limits};
use crate::health::{Condition, Health};

/// The room's name in [`Health`].
const ROOM: &str = "rules";

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
    pub(super) stage: S,
    health: Health,
    pub(super) kept: Kept,
    pub(super) campaigns: BTreeMap<String, Entry<S::Campaign>>,
    pub(super) paused: BTreeSet<String>,
    rule_set: u64,
    generation: u64,
    /// What was read last, and what was made of it.
    last: Option<(Signature, LoadReport)>,
    /// Problems that have been logged and are still there.
    logged: BTreeSet<String>,
    /// Whether this process has put a rule set on the stage.
    swapped: bool,
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
    /// When there is no directory and nothing was kept, or what was kept can't be trusted.
    pub fn open(config: &Config, stage: S, health: Health) -> Result<(Owner<S>, LoadReport), ReloadError> {
        let (kept, ledger) = Kept::open(&config.data)?;
        let mut owner = Owner {
            directory: Directory::new(config.rules.clone(), config.limits.module_bytes_max),
            limits: config.limits.clone(),
            bare_modules: config.reload.bare_modules,
            debounce: Duration::from_millis(config.reload.debounce_ms),
            poll: Duration::from_millis(config.reload.poll_ms.max(100)),
            stage,
            health,
            kept,
            campaigns: BTreeMap::new(),
            paused: ledger.paused,
            rule_set: ledger.rule_set,
            generation: 0,
            last: None,
            logged: BTreeSet::new(),
            swapped: false,
        };
        owner.restore(ledger.campaigns);
        if owner.campaigns.is_empty() {
            match owner.directory.snapshot(None) {
                Ok(_) => {}
                Err(Unread::Vanished) => return Err(ReloadError::NoDirectory { path: config.rules.clone() }),
                Err(Unread::Unreadable(problem)) => return Err(ReloadError::Directory(problem)),
            }
        }
        let report = owner.try_load(Trigger::Asked { allow_removals: false });
        let report = report.map_err(|error| ReloadError::Kept { path: config.data.join("rules"), error })?;
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
        let snapshot = match self.directory.snapshot(last) {
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
        let mut admission = Admission::new(&limits);
        for (name, kept) in campaigns {
            let mut entry = Entry { kept: Some(kept), ..Entry::default() };
            let version = entry.kept.as_ref().map(|kept| kept.version.clone());
            match version.map(|version| self.revive(&mut admission, &name, &version)) {
                Some(Ok(taken)) => entry.running = Some(taken.running),
                Some(Err(problems)) => entry.problems = problems,
                None => {}
            }
            self.campaigns.insert(name, entry);
        }
    }

    /// Admits a version from its kept bytes.
    pub(super) fn revive(
        &mut self,
        admission: &mut Admission<'_>,
        name: &str,
        version: &Version,
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
            module: read(&version.module_digest)?,
        };
        self.admit(admission, application, version.clone(), None)
    }

    /// Changes what a load found, all of it or nothing.
    fn take(&mut self, judged: Judged<S::Campaign>, gone: Vec<String>) -> io::Result<LoadReport> {
        let mut report = LoadReport { problems: judged.all_problems(), removed: gone, ..LoadReport::default() };
        let mut ledger = self.ledger();
        ledger.campaigns.retain(|name, _| !report.removed.contains(name));
        for (name, (_, verdict)) in &judged.verdicts {
            match verdict {
                Verdict::Taken(taken) => {
                    let before = ledger.campaigns.get(name);
                    if before.is_some() { &mut report.changed } else { &mut report.added }.push(name.clone());
                    let kept = taken.kept_after(before, &self.campaigns);
                    ledger.campaigns.insert(name.clone(), kept);
                }
                _ => report.unchanged += usize::from(ledger.campaigns.contains_key(name)),
            }
        }
        if report.has_changes() || !self.swapped {
            self.write_down(&mut ledger, judged.taken())?;
            self.apply(judged, &ledger);
            self.swap();
        } else {
            self.apply(judged, &ledger);
        }
        report.rule_set = self.rule_set;
        let result = match (report.has_changes(), report.problems.is_empty()) {
            (true, _) => "changed",
            (false, true) => "unchanged",
            (false, false) => "refused",
        };
        self.tell(&report, result);
        Ok(report)
    }

    fn apply(&mut self, judged: Judged<S::Campaign>, ledger: &Ledger) {
        let present: BTreeSet<String> = judged.verdicts.keys().cloned().collect();
        self.campaigns.retain(|name, _| present.contains(name));
        for (name, (file, verdict)) in judged.verdicts {
            let entry = self.campaigns.entry(name.clone()).or_default();
            entry.file = Some(file);
            entry.kept = ledger.campaigns.get(&name).cloned();
            (entry.is_waiting, entry.problems, entry.refused) = match verdict {
                Verdict::Same | Verdict::KeptOut => (false, Vec::new(), None),
                Verdict::Waiting(problem) => (true, vec![problem], None),
                Verdict::Refused { problems, version } => (false, problems, version),
                Verdict::Taken(taken) => {
                    entry.running = Some(taken.running);
                    (false, Vec::new(), None)
                }
            };
        }
    }

    /// Too many campaigns are gone: nothing changes until somebody confirms it.
    fn withhold(
        &mut self,
        gone: Vec<String>,
        mut problems: Vec<Problem>,
        signature: Option<Signature>,
    ) -> io::Result<LoadReport> {
        for name in &gone {
            if let Some(entry) = self.campaigns.get_mut(name) {
                entry.file = None;
            }
        }
        let accepted = self.accepted_names().len();
        let reason = format!("{} of {accepted} campaigns are gone from the rules directory", gone.len());
        let hint = "put them back, or confirm with `hailer reload --allow-removals`; until then nothing changes";
        problems.insert(0, Problem::new(".", None, reason, hint));
        self.swap_the_first_time()?;
        let report = LoadReport {
            rule_set: self.rule_set,
            unchanged: accepted,
            withheld_removals: gone,
            problems,
            ..LoadReport::default()
        };
        self.last = signature.map(|signature| (signature, report.clone()));
        self.tell(&report, "withheld");
        Ok(report)
    }

    /// The directory can't be read: what runs goes on.
    fn keep_on(&mut self, problem: Problem) -> io::Result<LoadReport> {
        self.swap_the_first_time()?;
        let unchanged = self.accepted_names().len();
        let report =
            LoadReport { rule_set: self.rule_set, unchanged, problems: vec![problem], ..LoadReport::default() };
        self.last = None;
        self.tell(&report, "failed");
        Ok(report)
    }

    fn swap_the_first_time(&mut self) -> io::Result<()> {
        if !self.swapped {
            let mut ledger = self.ledger();
            self.write_down(&mut ledger, std::iter::empty())?;
            self.swap();
        }
        Ok(())
    }

    /// Makes a ledger durable under the number of the next rule set.
    pub(super) fn write_down<'taken>(
        &mut self,
        ledger: &mut Ledger,
        taken: impl Iterator<Item = &'taken Taken<S::Campaign>>,
    ) -> io::Result<()> {
        ledger.rule_set = self.rule_set + 1;
        let new: Vec<(&str, &[u8])> = taken.flat_map(Taken::bytes).collect();
        self.kept.write(ledger, new)?;
        self.rule_set = ledger.rule_set;
        Ok(())
    }

    /// Puts what may run on the stage, under the number that was just written down.
    pub(super) fn swap(&mut self) {
        let may_run = |(name, entry): (&String, &Entry<S::Campaign>)| {
            let is_suspended = entry.kept.as_ref().is_some_and(|kept| kept.suspended.is_some());
            let running = entry.running.as_ref().filter(|_| !is_suspended && !self.paused.contains(name));
            running.map(|running| Arc::clone(&running.campaign))
        };
        let campaigns = self.campaigns.iter().filter_map(may_run).collect();
        self.stage.swap(campaigns, self.rule_set);
        self.swapped = true;
    }

    pub(super) fn ledger(&self) -> Ledger {
        let kept = |(name, entry): (&String, &Entry<_>)| Some((name.clone(), entry.kept.clone()?));
        Ledger {
            rule_set: self.rule_set,
            campaigns: self.campaigns.iter().filter_map(kept).collect(),
            paused: self.paused.clone(),
            ..Ledger::empty()
        }
    }

    pub(super) fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    fn accepted_names(&self) -> Vec<String> {
        let accepted = |(name, entry): (&String, &Entry<_>)| entry.kept.is_some().then(|| name.clone());
        self.campaigns.iter().filter_map(accepted).collect()
    }

    /// Logs what is new, counts, and reports the room's condition.
    fn tell(&mut self, report: &LoadReport, result: &'static str) {
        for (what, names) in [("added", &report.added), ("changed", &report.changed), ("removed", &report.removed)] {
            for name in names {
                let version = self.campaigns.get(name).and_then(|entry| entry.running.as_ref());
                let version = version.map(|running| running.spec.version.to_string());
                tracing::info!(campaign = name, version, rule_set = report.rule_set, "campaign {what}");
            }
        }
        let problems: BTreeSet<String> = report.problems.iter().map(ToString::to_string).collect();
        for problem in problems.difference(&self.logged) {
            tracing::warn!(problem, "the rules directory has a problem; what ran before runs on");
        }
        self.logged = problems;
        metrics::counter!("hailer_reload_total", "result" => result).increment(1);
        self.report_states();
        self.health.report(ROOM, self.condition(report, result));
    }

    fn condition(&self, report: &LoadReport, result: &'static str) -> Condition {
        let lost = |(name, entry): (&String, &Entry<_>)| {
            (entry.kept.is_some() && entry.running.is_none()).then(|| format!("`{name}`"))
        };
        let lost: Vec<String> = self.campaigns.iter().filter_map(lost).collect();
        if matches!(result, "withheld" | "failed")
            && let Some(problem) = report.problems.first()
        {
            return Condition::NotReady(format!("{}; {}", problem.reason, problem.hint));
        }
        if !lost.is_empty() {
            let lost = lost.join(", ");
            return Condition::NotReady(format!("accepted before, and can't run now: {lost}; see `hailer campaigns`"));
        }
        if self.campaigns.values().all(|entry| entry.running.is_none()) {
            return Condition::NotReady("no campaign runs; copy one into the rules directory".into());
        }
        Condition::Ready
    }

    pub(super) fn report_states(&self) {
        for state in CampaignState::ALL {
            let count = self.statuses().iter().filter(|status| status.state == state).count();
            metrics::gauge!("hailer_campaigns", "state" => state.name()).set(count as f64);
        }
    }

    /// How every campaign stands, by name.
    #[must_use]
    pub fn statuses(&self) -> Vec<CampaignStatus> {
        self.campaigns.iter().map(|(name, entry)| entry.status(name, self.paused.contains(name))).collect()
    }
}
