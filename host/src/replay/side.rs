//! One set of rules at work: its rehearsals, one for each thread, and what has been counted of what they decided.

use std::sync::Arc;

use super::chunk::Work;
use super::hours::Hours;
use super::route::Routes;
use super::row;
use super::tally::{CampaignReport, Tally};
use super::{Options, ReplayError, Trial};
use crate::clock::Millis;
use crate::engine::{Campaign, RuleSet};
use crate::fork::{fork, parts_of};
use crate::rehearsal::{Arrived, Decision, Redirects, Rehearsal, RehearsalError, Settings};

/// Decisions that a thread counts and writes before it takes others.
const PART_DECISIONS: usize = 1024;

pub(super) struct Side {
    rules: Arc<RuleSet>,
    rehearsals: Vec<Rehearsal>,
    redirects: Redirects,
    routes: Routes,
    hours: Hours,
    tally: Tally,
}

impl Side {
    pub(super) fn new(trial: &Trial, options: &Options, begins: Millis) -> Result<Side, ReplayError> {
        let hours = Hours::new(&trial.rules);
        // It depends on everybody's order, and is judged when that is known.
        let unlimited = |campaign: &Arc<Campaign>| {
            let mut campaign = Campaign::clone(campaign);
            campaign.spec.per_hour_max = None;
            Arc::new(campaign)
        };
        let campaigns = trial.rules.campaigns().iter().map(unlimited).collect();
        let rules = Arc::new(RuleSet::build(campaigns, trial.rules.number));
        let redirects = Redirects::of_rehearsal();
        let settings = Settings {
            environment: Arc::clone(&options.environment),
            recheck_one_in: options.recheck_one_in,
            begins,
            gives_up: None,
            are_told_apart: true,
        };
        let rehearsal = |_| Rehearsal::new(&rules, &trial.sandbox, &settings, redirects.clone());
        let rehearsals = (0..options.threads.max(1)).map(rehearsal).collect::<Result<_, _>>()?;
        let tally = Tally::new(&rules);
        Ok(Side { rules, rehearsals, redirects, routes: Routes::default(), hours, tally })
    }

    /// Decides events, and the timers up to a moment, in the order of their moments.
    pub(super) fn decide(&mut self, events: Vec<Arrived>, until: Millis) -> Result<Vec<Decision>, ReplayError> {
        let spread = self.routes.spread(events, &mut self.rehearsals, &self.redirects).map_err(RehearsalError::from)?;
        let threads = self.rehearsals.len();
        let parts: Vec<_> = self.rehearsals.iter_mut().zip(spread).collect();
        let decided = fork(threads, parts, |(rehearsal, events)| rehearsal.decide(events, until));
        let mut decisions = Vec::new();
        for some in decided {
            let some = some?;
            if decisions.is_empty() {
                decisions = some;
            } else {
                decisions.extend(some);
            }
        }
        // What each decided is in order already, so this is a merge.
        decisions.sort_by(Decision::in_order);
        self.hours.judge(&mut decisions);
        Ok(decisions)
    }

    /// Counts what was decided, and writes it, if it is to be written: the rows in their order.
    pub(super) fn count(
        &mut self,
        decisions: Vec<Decision>,
        work: &Work,
        threads: usize,
        is_written: bool,
    ) -> Vec<Vec<u8>> {
        let rules = &self.rules;
        let counted = fork(threads, parts_of(decisions, PART_DECISIONS), |decisions| {
            let (mut tally, mut rows) = (Tally::new(rules), Vec::new());
            for decision in decisions.iter().filter(|decision| decision.now >= work.counts_from) {
                tally.add(decision);
                if is_written {
                    row::append(decision, work, &mut rows);
                }
            }
            (tally, rows)
        });
        let mut written = Vec::with_capacity(counted.len());
        for (tally, rows) in counted {
            self.tally.absorb(tally);
            written.push(rows);
        }
        written
    }

    pub(super) fn into_report(mut self) -> Vec<CampaignReport> {
        for (campaign, at) in self.hours.full() {
            self.tally.is_full(&campaign, at);
        }
        let mut impure: Vec<Arc<str>> = Vec::new();
        for campaign in self.rehearsals.iter().flat_map(Rehearsal::impure) {
            if !impure.contains(campaign) {
                impure.push(Arc::clone(campaign));
            }
        }
        self.tally.into_report(&impure)
    }
}
