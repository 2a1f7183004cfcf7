//! Applies a plan as a whole, or withholds it.
//!
//! **Everything is checked, tested and written to the ledger before the swap; any failure before it
//! changes nothing (G8).**

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::directory::Signature;
use super::error::LoadError;
use super::ledger::{AcceptedPolicies, Ledger};
use super::owner::{Entry, Owner};
use super::plan::{CampaignPlan, LoadPlan};
use super::policies_file::{POLICIES_FILE, PoliciesChange, PoliciesPlan};
use super::{LoadReport, Problem, Stage};
use crate::engine::Stop;
use crate::failpoint::Failpoint;

/// What is gone from the directory and needs a confirmation.
pub(super) struct Withheld {
    pub(super) campaigns: Vec<String>,
    pub(super) has_policies: bool,
}

impl<S: Stage> Owner<S> {
    /// Applies a plan: all of it or nothing.
    pub(super) fn apply_plan(
        &mut self,
        load_plan: LoadPlan<S::Campaign>,
        gone: Vec<String>,
    ) -> Result<LoadReport, LoadError> {
        let mut report = LoadReport {
            problems: load_plan.all_problems(),
            removed: gone,
            ..LoadReport::default()
        };
        let mut ledger = self.ledger();
        ledger.campaigns.retain(|name, _| !report.removed.contains(name));
        if self.is_other_directory {
            // A campaign that this directory cannot run must not run in another directory's
            // version.
            let is_refused = |name: &String| {
                matches!(
                    load_plan.campaigns.get(name),
                    Some((_, CampaignPlan::Refused { .. } | CampaignPlan::Waiting(_)))
                )
            };
            ledger.campaigns.retain(|name, _| !is_refused(name));
        }
        for (name, (_, plan)) in &load_plan.campaigns {
            match plan {
                CampaignPlan::Load(taken) => {
                    let before = ledger.campaigns.get(name);
                    if before.is_some() { &mut report.changed } else { &mut report.added }
                        .push(name.clone());
                    let accepted = taken.accepted_after(
                        before,
                        &self.campaigns,
                        self.stage.terms(),
                        self.probation(),
                    );
                    ledger.campaigns.insert(name.clone(), accepted);
                }
                _ => report.unchanged += usize::from(ledger.campaigns.contains_key(name)),
            }
        }
        match &load_plan.policies {
            PoliciesPlan::Load { policies, .. } => {
                report.policies = Some(match &ledger.policies {
                    Some(_) => PoliciesChange::Changed,
                    None => PoliciesChange::Added,
                });
                let digest = policies.digest.to_string();
                ledger.policies = Some(AcceptedPolicies { digest });
            }
            PoliciesPlan::Gone => {
                report.policies = Some(PoliciesChange::Removed);
                ledger.policies = None;
            }
            PoliciesPlan::Absent | PoliciesPlan::Unchanged | PoliciesPlan::Unusable(_) => {}
        }
        if report.has_changes() || !self.swapped {
            self.write_ledger(&mut ledger, load_plan.bytes())?;
            Failpoint::DuringReload.pass();
            self.apply_entries(load_plan, &ledger);
            self.swap();
        } else {
            self.apply_entries(load_plan, &ledger);
        }
        report.rule_set = self.rule_set;
        report.policies_digest = self.policies_digest();
        report.warnings = self.duplicates();
        report.warnings.extend(self.policy_warnings());
        let result = match (report.has_changes(), report.problems.is_empty()) {
            (true, _) => "changed",
            (false, true) => "unchanged",
            (false, false) => "refused",
        };
        self.report_load(&report, result);
        Ok(report)
    }

    fn apply_entries(&mut self, load_plan: LoadPlan<S::Campaign>, ledger: &Ledger) {
        let present: BTreeSet<String> = load_plan.campaigns.keys().cloned().collect();
        self.campaigns.retain(|name, _| present.contains(name));
        self.apply_policies(load_plan.policies);
        for (name, (file, plan)) in load_plan.campaigns {
            let entry = self.campaigns.entry(name.clone()).or_default();
            entry.file = Some(file);
            entry.accepted = ledger.campaigns.get(&name).cloned();
            if entry.accepted.is_none() {
                entry.running = None;
            }
            (entry.is_waiting, entry.problems, entry.refused) = match plan {
                CampaignPlan::Unchanged | CampaignPlan::RolledBack => (false, Vec::new(), None),
                CampaignPlan::Waiting(problem) => (true, vec![problem], None),
                CampaignPlan::Refused { problems, version } => (false, problems, version),
                CampaignPlan::Load(taken) => {
                    entry.running = Some(taken.running);
                    (false, Vec::new(), None)
                }
            };
        }
    }

    /// Withholds a plan that removes too many campaigns or the policies: nothing changes until a
    /// person confirms it.
    pub(super) fn withhold(
        &mut self,
        gone: Withheld,
        mut problems: Vec<Problem>,
        signature: Option<Signature>,
    ) -> Result<LoadReport, LoadError> {
        let Withheld { campaigns: mut gone, has_policies } = gone;
        for name in &gone {
            if let Some(entry) = self.campaigns.get_mut(name) {
                entry.file = None;
            }
        }
        let accepted = self.accepted_names().len();
        let campaigns = format!("{} of {accepted} campaigns are gone", gone.len());
        let (what, which) = match (has_policies, gone.is_empty()) {
            (false, _) => (campaigns, "them"),
            (true, false) => (format!("{POLICIES_FILE} and {campaigns}"), "them"),
            (true, true) => (format!("{POLICIES_FILE} is gone"), "it"),
        };
        let reason = format!("{what} from the rules directory");
        let hint = format!(
            "put {which} back, or confirm with `hailer reload --allow-removals`; until then \
             nothing changes"
        );
        let problem = Problem::new(".", None, reason, hint);
        self.swap_the_first_time()?;
        if has_policies {
            self.policies.problems = vec![problem.clone()];
            gone.push(POLICIES_FILE.to_owned());
        }
        problems.insert(0, problem);
        let report = LoadReport {
            rule_set: self.rule_set,
            unchanged: accepted,
            policies_digest: self.policies_digest(),
            withheld_removals: gone,
            problems,
            ..LoadReport::default()
        };
        self.last = signature.map(|signature| (signature, report.clone()));
        self.report_load(&report, "withheld");
        Ok(report)
    }

    /// Keeps the running campaigns, because the directory cannot be read.
    pub(super) fn keep_running(&mut self, problem: Problem) -> Result<LoadReport, LoadError> {
        self.swap_the_first_time()?;
        let unchanged = self.accepted_names().len();
        let report = LoadReport {
            rule_set: self.rule_set,
            unchanged,
            policies_digest: self.policies_digest(),
            problems: vec![problem],
            ..LoadReport::default()
        };
        self.last = None;
        self.report_load(&report, "failed");
        Ok(report)
    }

    fn swap_the_first_time(&mut self) -> Result<(), LoadError> {
        if !self.swapped {
            self.check_policies_are_restored()?;
            let mut ledger = self.ledger();
            self.write_ledger(&mut ledger, [])?;
            self.swap();
        }
        Ok(())
    }

    /// Writes a ledger, and the `new` bytes that it names, under the number of the next rule set.
    pub(super) fn write_ledger<'bytes>(
        &mut self,
        ledger: &mut Ledger,
        new: impl IntoIterator<Item = (&'bytes str, &'bytes [u8])>,
    ) -> io::Result<()> {
        ledger.format = ledger.format();
        ledger.rule_set = self.rule_set + 1;
        self.ledger_files.write(ledger, new)?;
        self.rule_set = ledger.rule_set;
        Ok(())
    }

    /// Swaps in the policies, and the campaigns that can run with their pauses and suspensions,
    /// under the rule set number that was just written to the ledger.
    pub(super) fn swap(&mut self) {
        let may_run = |(name, entry): (&String, &Entry<S::Campaign>)| {
            let is_suspended =
                entry.accepted.as_ref().is_some_and(|accepted| accepted.suspended.is_some());
            let stop = match self.is_paused(name) {
                true => Some(Stop::Paused),
                false => is_suspended.then_some(Stop::Suspended),
            };
            Some((Arc::clone(&entry.running.as_ref()?.campaign), stop))
        };
        let campaigns = self.campaigns.iter().filter_map(may_run).collect();
        self.stage.swap(campaigns, self.policies.running.clone(), self.rule_set);
        self.swapped = true;
    }

    pub(super) fn ledger(&self) -> Ledger {
        let accepted =
            |(name, entry): (&String, &Entry<_>)| Some((name.clone(), entry.accepted.clone()?));
        Ledger {
            rule_set: self.rule_set,
            campaigns: self.campaigns.iter().filter_map(accepted).collect(),
            policies: self.policies.accepted.clone(),
            paused: self.paused.clone(),
            paused_by_all: self.paused_by_all.clone(),
            directory: Some(self.rules_directory.clone()),
            ..Ledger::empty()
        }
    }
}
