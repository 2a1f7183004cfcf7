//! One rule set in a replay: its dry runs, one for each thread, and the counts of their
//! decisions.

use std::sync::Arc;

use foldhash::HashSet;

use super::assignment::Assignments;
use super::campaign_report::{CampaignCounts, CampaignReport};
use super::chunk::Work;
use super::hourly_limit::HourlyLimits;
use super::row;
use super::{ConsentsReport, Options, ReplayError, Trial};
use crate::clock::Millis;
use crate::dry_run::{Arrived, Decision, DryRun, DryRunError, Redirects, Settings};
use crate::engine::{Campaign, RuleSet};
use crate::event::CustomerKey;
use crate::parallel::{parallel_map, split_into_parts};

/// Number of decisions that a thread counts and writes at a time.
const PART_DECISIONS: usize = 1024;

pub(super) struct RuleSetRun {
    rules: Arc<RuleSet>,
    dry_runs: Vec<DryRun>,
    redirects: Redirects,
    assignments: Assignments,
    limits: HourlyLimits,
    counts: CampaignCounts,
    /// Customers of imported consents, and those of them about whom there was no event yet.
    imported: usize,
    not_seen: HashSet<CustomerKey>,
}

impl RuleSetRun {
    pub(super) fn new(
        trial: &Trial,
        options: &Options,
        begins: Millis,
    ) -> Result<RuleSetRun, ReplayError> {
        let limits = HourlyLimits::new(&trial.rules);
        // The limit depends on the order of all customers, so it is applied after the merge.
        let unlimited = |campaign: &Arc<Campaign>| {
            let mut campaign = Campaign::clone(campaign);
            campaign.spec.per_hour_max = None;
            Arc::new(campaign)
        };
        let campaigns = trial.rules.campaigns().iter().map(unlimited).collect();
        let rules = RuleSet::build(campaigns, trial.rules.number);
        let rules = Arc::new(rules.with_policies(trial.rules.policies().cloned()));
        let redirects = Redirects::in_memory();
        let settings = Settings {
            environment: Arc::clone(&options.environment),
            recheck_one_in: options.recheck_one_in,
            begins,
            gives_up: None,
            are_distinct: true,
        };
        let dry_run = |_| DryRun::new(&rules, &trial.sandbox, &settings, redirects.clone());
        let mut dry_runs =
            (0..options.threads.max(1)).map(dry_run).collect::<Result<Vec<_>, _>>()?;
        let tells_zones = rules.policies().is_some_and(|all| all.zone_attribute.is_some());
        let shards = dry_runs.len();
        for statement in &*trial.consents {
            dry_runs[statement.customer.shard(shards)].import(statement, !tells_zones)?;
        }
        let not_seen: HashSet<_> = trial.consents.iter().map(|one| one.customer).collect();
        let counts = CampaignCounts::new(&rules);
        Ok(RuleSetRun {
            rules,
            dry_runs,
            redirects,
            assignments: Assignments::default(),
            limits,
            counts,
            imported: not_seen.len(),
            not_seen,
        })
    }

    /// Decides events, and the timers up to a time, in the order of time.
    pub(super) fn decide(
        &mut self,
        events: Vec<Arrived>,
        until: Millis,
    ) -> Result<Vec<Decision>, ReplayError> {
        if !self.not_seen.is_empty() {
            for customer in events.iter().filter_map(Arrived::customer) {
                self.not_seen.remove(&customer);
            }
        }
        let spread = self
            .assignments
            .spread(events, &mut self.dry_runs, &self.redirects)
            .map_err(DryRunError::from)?;
        let threads = self.dry_runs.len();
        let parts: Vec<_> = self.dry_runs.iter_mut().zip(spread).collect();
        let decided =
            parallel_map(threads, parts, |(dry_run, events)| dry_run.decide(events, until));
        let mut decisions = Vec::new();
        for some in decided {
            let some = some?;
            if decisions.is_empty() {
                decisions = some;
            } else {
                decisions.extend(some);
            }
        }
        // The parts are sorted already, so this sort is a merge.
        decisions.sort_by(Decision::in_order);
        self.limits.apply(&mut decisions);
        Ok(decisions)
    }

    /// Counts the decisions, and writes them as rows in their order if requested.
    pub(super) fn count(
        &mut self,
        decisions: Vec<Decision>,
        work: &Work,
        threads: usize,
        is_written: bool,
    ) -> Vec<Vec<u8>> {
        let rules = &self.rules;
        let counted =
            parallel_map(threads, split_into_parts(decisions, PART_DECISIONS), |decisions| {
                let (mut counts, mut rows) = (CampaignCounts::new(rules), Vec::new());
                for decision in decisions.iter().filter(|decision| decision.now >= work.counts_from)
                {
                    counts.add(decision);
                    if is_written {
                        row::append(decision, work, &mut rows);
                    }
                }
                (counts, rows)
            });
        let mut written = Vec::with_capacity(counted.len());
        for (counts, rows) in counted {
            self.counts.absorb(counts);
            written.push(rows);
        }
        written
    }

    /// The customers of imported consents; `None` if there are none.
    pub(super) fn consents(&self) -> Option<ConsentsReport> {
        let in_events = self.imported - self.not_seen.len();
        (self.imported > 0).then_some(ConsentsReport {
            customers: self.imported as u64,
            in_events: in_events as u64,
        })
    }

    pub(super) fn into_report(mut self) -> Vec<CampaignReport> {
        for (campaign, at) in self.limits.full() {
            self.counts.is_full(&campaign, at);
        }
        let mut impure: Vec<Arc<str>> = Vec::new();
        for campaign in self.dry_runs.iter().flat_map(DryRun::impure) {
            if !impure.contains(campaign) {
                impure.push(Arc::clone(campaign));
            }
        }
        self.counts.into_report(&impure)
    }
}
