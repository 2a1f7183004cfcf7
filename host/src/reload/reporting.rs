//! Reports the state of the campaigns: in the log, once for each problem; in metrics; as a health
//! condition; and as statuses on request.

use std::collections::{BTreeMap, BTreeSet};

use super::owner::{Entry, Owner};
use super::policies_file::{POLICIES_FILE, digest_shown};
use super::{CampaignState, CampaignStatus, LoadReport, Problem, Stage};
use crate::engine::Mode;
use crate::health::Condition;

/// The name of this part in [`Health`](crate::health::Health).
const ROOM: &str = "rules";

impl<S: Stage> Owner<S> {
    /// Logs a load's changes and new problems, counts the load, and reports the health condition.
    pub(super) fn report_load(&mut self, report: &LoadReport, result: &'static str) {
        for (what, names) in
            [("added", &report.added), ("changed", &report.changed), ("removed", &report.removed)]
        {
            for name in names {
                let version = self.campaigns.get(name).and_then(|entry| entry.running.as_ref());
                let version = version.map(|running| running.spec.version.to_string());
                tracing::info!(
                    campaign = name,
                    version,
                    rule_set = report.rule_set,
                    "campaign {what}"
                );
            }
        }
        if let Some(change) = report.policies {
            let digest = report.policies_digest.as_deref().map(digest_shown);
            tracing::info!(digest, rule_set = report.rule_set, "policies {}", change.name());
        }
        let problems: BTreeSet<String> = report.problems.iter().map(ToString::to_string).collect();
        for problem in problems.difference(&self.logged) {
            match self.is_other_directory {
                true => tracing::warn!(
                    problem,
                    "this rules directory has a problem; the campaign does not run until it is \
                     corrected"
                ),
                false => tracing::warn!(
                    problem,
                    "the rules directory has a problem; the accepted campaigns keep running"
                ),
            }
        }
        let mut logged = problems;
        for warning in &report.warnings {
            let text = warning.to_string();
            if !self.logged.contains(&text) {
                match &*warning.file {
                    POLICIES_FILE => {
                        tracing::warn!(warning = text, "the policies name something unknown");
                    }
                    _ => tracing::warn!(warning = text, "a campaign may run twice"),
                }
            }
            logged.insert(text);
        }
        self.logged = logged;
        metrics::counter!("hailer_reload_total", "result" => result).increment(1);
        self.report_states();
        self.health.report(ROOM, self.condition(report, result));
    }

    /// Logs the campaigns that are paused or suspended at the start.
    pub(super) fn log_stopped_campaigns(&self) {
        for status in self.statuses() {
            let campaign = &*status.name;
            match (status.state, status.suspended) {
                (CampaignState::Paused, _) => {
                    tracing::warn!(
                        campaign,
                        "the campaign is paused and is not called; to lift that: `hailer resume \
                         {campaign}`"
                    );
                }
                (CampaignState::Suspended, reason) => {
                    let reason = reason.unwrap_or_default();
                    tracing::warn!(
                        campaign,
                        reason,
                        "the campaign is suspended and is not called; to lift that: `hailer resume \
                         {campaign}`"
                    );
                }
                _ => {}
            }
        }
    }

    fn condition(&self, report: &LoadReport, result: &'static str) -> Condition {
        let lost = |(name, entry): (&String, &Entry<_>)| {
            (entry.accepted.is_some() && entry.running.is_none()).then(|| format!("`{name}`"))
        };
        let lost: Vec<String> = self.campaigns.iter().filter_map(lost).collect();
        if matches!(result, "withheld" | "failed")
            && let Some(problem) = report.problems.first()
        {
            return Condition::NotReady(format!("{}; {}", problem.reason, problem.hint));
        }
        if !lost.is_empty() {
            let lost = lost.join(", ");
            return Condition::NotReady(format!(
                "accepted campaigns cannot run now: {lost}; see `hailer campaigns`"
            ));
        }
        if self.campaigns.values().all(|entry| entry.running.is_none()) {
            return Condition::NotReady(
                "no campaign runs; copy one into the rules directory".into(),
            );
        }
        Condition::Ready
    }

    pub(super) fn is_paused(&self, name: &str) -> bool {
        self.paused.contains(name) || self.paused_by_all.contains(name)
    }

    pub(super) fn report_states(&self) {
        let statuses = self.statuses();
        for state in CampaignState::ALL {
            let count = statuses.iter().filter(|status| status.state == state).count();
            metrics::gauge!("hailer_campaigns", "state" => state.name()).set(count as f64);
        }
    }

    /// The status of every campaign, by name.
    #[must_use]
    pub fn statuses(&self) -> Vec<CampaignStatus> {
        let status = |(name, entry): (&String, &Entry<_>)| entry.status(name, self.is_paused(name));
        let mut statuses: Vec<CampaignStatus> = self.campaigns.iter().map(status).collect();
        let runs = |status: &CampaignStatus| {
            status.state == CampaignState::Running && status.mode != Some(Mode::Off)
        };
        let running: BTreeSet<String> = statuses
            .iter()
            .filter(|status| runs(status))
            .map(|status| status.name.clone())
            .collect();
        let mut duplicates: BTreeMap<String, Problem> =
            self.duplicates().into_iter().map(|warning| (warning.file.clone(), warning)).collect();
        for status in &mut statuses {
            status.warning = status.file.as_ref().and_then(|file| duplicates.remove(file));
            let is_canary = status.mode == Some(Mode::Live);
            let alone = status.shadow_of.as_ref().filter(|of| is_canary && !running.contains(*of));
            if let (Some(of), None, Some(file)) = (alone, &status.problem, &status.file) {
                let reason = format!(
                    "it decides for no customer: `{of}`, which it partly replaces, does not run"
                );
                status.problem = Some(Problem::new(
                    file,
                    None,
                    reason,
                    "`hailer campaigns` shows why; bring it back, or `hailer promote`",
                ));
            }
        }
        statuses
    }
}
