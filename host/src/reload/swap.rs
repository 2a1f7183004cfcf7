//! What becomes of a reading of the directory: taken as a whole, withheld, or passed over.
//!
//! **Everything is judged, tried and written down before the swap; whatever fails on the way changes nothing (G8).**

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::directory::Signature;
use super::judge::{Judged, Taken, Verdict};
use super::kept::Ledger;
use super::owner::{Entry, Owner};
use super::{LoadReport, Problem, Stage};
use crate::engine::Stop;
use crate::failpoint::Failpoint;

impl<S: Stage> Owner<S> {
    /// Changes what a load found, all of it or nothing.
    pub(super) fn take(&mut self, judged: Judged<S::Campaign>, gone: Vec<String>) -> io::Result<LoadReport> {
        let mut report = LoadReport { problems: judged.all_problems(), removed: gone, ..LoadReport::default() };
        let mut ledger = self.ledger();
        ledger.campaigns.retain(|name, _| !report.removed.contains(name));
        if self.is_elsewhere {
            // What this directory can't run does not run in the version of another one.
            let is_refused = |name: &String| {
                matches!(judged.verdicts.get(name), Some((_, Verdict::Refused { .. } | Verdict::Waiting(_))))
            };
            ledger.campaigns.retain(|name, _| !is_refused(name));
        }
        for (name, (_, verdict)) in &judged.verdicts {
            match verdict {
                Verdict::Taken(taken) => {
                    let before = ledger.campaigns.get(name);
                    if before.is_some() { &mut report.changed } else { &mut report.added }.push(name.clone());
                    let kept = taken.kept_after(before, &self.campaigns, self.stage.terms(), self.probation());
                    ledger.campaigns.insert(name.clone(), kept);
                }
                _ => report.unchanged += usize::from(ledger.campaigns.contains_key(name)),
            }
        }
        if report.has_changes() || !self.swapped {
            self.write_down(&mut ledger, judged.taken())?;
            Failpoint::DuringReload.pass();
            self.apply(judged, &ledger);
            self.swap();
        } else {
            self.apply(judged, &ledger);
        }
        report.rule_set = self.rule_set;
        report.warnings = self.twins();
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
            if entry.kept.is_none() {
                entry.running = None;
            }
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
    pub(super) fn withhold(
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
    pub(super) fn keep_on(&mut self, problem: Problem) -> io::Result<LoadReport> {
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

    /// Puts what is loaded on the stage, and what of it is stopped, under the number that was just written down.
    pub(super) fn swap(&mut self) {
        let may_run = |(name, entry): (&String, &Entry<S::Campaign>)| {
            let is_suspended = entry.kept.as_ref().is_some_and(|kept| kept.suspended.is_some());
            let stop = match self.is_paused(name) {
                true => Some(Stop::Paused),
                false => is_suspended.then_some(Stop::Suspended),
            };
            Some((Arc::clone(&entry.running.as_ref()?.campaign), stop))
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
            paused_by_all: self.paused_by_all.clone(),
            directory: Some(self.here.clone()),
            ..Ledger::empty()
        }
    }
}
