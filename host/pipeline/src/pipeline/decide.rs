//! The decision core: a rule set decides events, timers and retries.
//!
//! Rule set, cases with the rows of their customers, and the time in; outcomes, changed rows,
//! communications and notices out. **The core reads no store, sends on no channel, and counts and
//! logs nothing.** So the same code decides in a running engine (`shard.rs`), in a replay, in
//! `hailer test` and beside a campaign in its shadow (`dry_run`).
//!
//! Deciding has three steps:
//!
//! 1. **gather** (`gather.rs`; `retries.rs` for a failure that is tried again): which campaigns
//!    take the case? For each, a call with the fields, the state and the parameters that it reads.
//! 2. **call**: the guests answer, up to 32 calls in one crossing.
//! 3. **judge** (`judge.rs`): the host checks each answer, puts each proposed communication before
//!    the policies, and changes the rows.
//!
//! A merge of two customers comes before the calls for its own event (`merge.rs`).

use std::collections::HashSet;
use std::sync::Arc;

use super::CampaignOwner;
use super::case::Case;
use super::deferrals::Deferrals;
use super::failures::FailureTotals;
use super::notice::{Misses, Notice};
use super::poison::PoisonGuard;
use super::quota::{Quotas, Taken};
use super::rows::Rows;
use super::senders::Senders;
use super::trials::Trials;
use hailer_base::clock::Millis;
use hailer_engine::{Batch, BatchResult, Candidates, Guests, RuleSet, Sandbox};
use hailer_event::{CustomerKey, Projection};

/// The most input that waits for its calls, in bytes: one large event read whole by many campaigns
/// is decided before the next is read.
const INPUT_BYTES_MAX: usize = 8 << 20;
/// The most that the calls of several events may answer together, in bytes; events that lead to
/// more are decided in smaller parts.
pub(super) const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// The decision core of one shard, or of one dry run. It owns its guests.
pub(super) struct Decider {
    pub(super) guests: Guests,
    /// The calls that were gathered last, and the fields of the event that was read last.
    pub(super) batch: Batch,
    pub(super) projection: Projection,
    /// The campaigns whose conditions the event that was read last may match.
    pub(super) candidates: Candidates,
    /// The answers to the last calls, with the guests' logs and costs.
    pub(super) answers: BatchResult,
    /// The rows of the customers of the cases, after the decisions so far.
    pub(super) rows: Rows,
    pub(super) limits: Limits,
    pub(super) environment: Arc<str>,
    pub(super) senders: Senders,
    /// Queues of failures of which one has just failed again: nothing behind it is tried.
    pub(super) blocked: HashSet<(Option<CustomerKey>, Arc<str>)>,
    /// Places in campaigns' hours that decisions have used since this list was last taken.
    pub(super) taken: Vec<Taken>,
    pub(super) notices: Vec<Notice>,
    pub(super) misses: Misses,
    /// The number of the rule set that decides.
    pub(super) rule_set: u64,
    /// The time of the engine, for retries. A case has a `now` of its own.
    pub(super) now: Millis,
}

/// Limits on decisions beside the rule set. All of them are in memory, and all shards share them.
#[derive(Debug)]
pub(super) struct Limits {
    /// Campaigns that an order stops before the rule set does.
    pub(super) owner: Arc<dyn CampaignOwner>,
    /// Events and timers that may not be decided any more.
    pub(super) poison: Arc<PoisonGuard>,
    /// Room for failures.
    pub(super) failures: Arc<FailureTotals>,
    /// Communications in this hour, by campaign.
    pub(super) quotas: Quotas,
    /// Canaries beside their campaigns.
    pub(super) trials: Trials,
    /// Room for deferred messages.
    pub(super) deferrals: Deferrals,
}

impl Decider {
    /// A core whose guests live in `sandbox`. One in `recheck_one_in` calls is made again on a
    /// fresh instance; 0 means none.
    pub(super) fn new(
        sandbox: &Arc<Sandbox>,
        recheck_one_in: u32,
        environment: &Arc<str>,
        limits: Limits,
    ) -> Decider {
        Decider {
            guests: Guests::new(Arc::clone(sandbox), recheck_one_in),
            batch: Batch::default(),
            projection: Projection::new(),
            candidates: Candidates::default(),
            answers: BatchResult::default(),
            rows: Rows::default(),
            limits,
            environment: Arc::clone(environment),
            senders: Senders::new(),
            blocked: HashSet::new(),
            taken: Vec::new(),
            notices: Vec::new(),
            misses: Misses::default(),
            rule_set: 0,
            now: 0,
        }
    }

    /// Begins a batch under a rule set, at this time of the engine.
    pub(super) fn begin(&mut self, rules: &Arc<RuleSet>, now: Millis) {
        self.guests.adopt(rules);
        self.senders.adopt(rules);
        self.misses.adopt(rules);
        self.limits.trials.begin(rules, &*self.limits.owner);
        self.blocked.clear();
        (self.rule_set, self.now) = (rules.number, now);
    }

    /// Adds the misses of events that passed an index of conditions.
    pub(super) fn settle_misses(&mut self, rules: &RuleSet) {
        let mut misses = std::mem::take(&mut self.misses);
        misses.settle(rules, |campaign| self.runs(rules, campaign, self.now));
        self.misses = misses;
    }

    /// Gathers the calls for cases from the first on, and returns for how many: at least one, and
    /// as many as their input has room for. The rows of their customers are loaded. No two of them
    /// are of one customer, if the rules remember anything.
    ///
    /// **Gathering changes no row**: gathered work may be judged, and committed, in parts.
    pub(super) fn gather(&mut self, rules: &RuleSet, cases: &mut [Case]) -> usize {
        self.batch.open(rules);
        let mut gathered = 0;
        while gathered < cases.len() && self.batch.input_bytes() <= INPUT_BYTES_MAX {
            self.gather_case(rules, gathered, &mut cases[gathered]);
            gathered += 1;
        }
        gathered
    }

    /// Decides gathered cases: calls the guests, and judges what they answer. `first` is the place
    /// of the first case among those that were gathered. Returns how many cases were decided: all,
    /// or fewer if they lead to much. A rule is pure, so calls of a part that was too large are
    /// made again.
    pub(super) fn decide(&mut self, rules: &RuleSet, first: usize, cases: &mut [Case]) -> usize {
        let mut count = cases.len();
        while !self.guests.decide_some(
            &self.batch,
            first..first + count,
            OUTPUT_BYTES_MAX,
            &mut self.answers,
        ) {
            count /= 2;
        }
        self.judge(rules, first, &mut cases[..count]);
        count
    }
}
