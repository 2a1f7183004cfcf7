//! The report of notices by a running engine: counts, log lines, and the suspension of campaigns
//! that misbehave.

use std::sync::Arc;
use std::time::Instant;

use hailer_abi::wire;
use tracing::Level;

use super::Misbehaviour;
use super::case::Case;
use super::failures::QUEUE_MAX;
use super::log_allowance::{LINES_AT_ONCE_MAX, LINES_PER_SECOND_MAX};
use super::notice::{ConsentSource, Fault, Notice};
use super::shard::Shard;
use crate::records::{CUSTOMER_BYTES_MAX, Decided};
use hailer_base::metrics;
use hailer_engine::{Campaign, GuestFault, GuestLine, RuleSet, Spent};

impl Shard {
    /// Reports the notices, and the log lines and costs of the guests. `first` is the place of the
    /// first of the cases among those that were gathered.
    pub(super) fn report(&mut self, rules: &RuleSet, first: usize, cases: &[Case]) {
        let mut notices = std::mem::take(&mut self.core.notices);
        notices.drain(..).for_each(|notice| self.report_notice(rules, notice));
        // It goes back empty, for its room.
        self.core.notices = notices;
        self.report_lines(rules, first, cases);
        for Spent { campaign: at, calls, time } in std::mem::take(&mut self.core.answers.spent) {
            if let Some(reason) = self.counts.of(at).took(calls, time) {
                self.suspend(&rules.campaigns()[at], Misbehaviour::Unfit(reason));
            }
        }
        for canary in rules.canaries() {
            if let Some(reason) = self.core.limits.trials.drift(rules, canary) {
                self.suspend(&rules.campaigns()[canary], Misbehaviour::Excessive(reason));
            }
        }
        self.counts.rechecked(std::mem::take(&mut self.core.answers.rechecked));
        self.counts.given_back(self.core.guests.take_given_back());
        for campaign in std::mem::take(&mut self.core.answers.impure) {
            let reason = "it is not a pure function: it gave two answers to one call".to_owned();
            self.suspend(&rules.campaigns()[campaign], Misbehaviour::Unfit(reason));
        }
        if tracing::enabled!(Level::DEBUG) {
            cases.iter().for_each(|case| log_outcomes(rules, case));
        }
    }

    /// Counts the events that did not match. Those that passed an index of conditions are counted
    /// for every campaign that the index names, so they are counted together.
    pub(super) fn report_misses(&mut self, with_passed: bool) {
        if with_passed {
            let rules = Arc::clone(self.counts.rules());
            self.core.settle_misses(&rules);
            self.passed_since = None;
        }
        for (campaign, events) in self.core.misses.drain() {
            self.counts.of(campaign).missed(events);
        }
    }

    fn report_notice(&mut self, rules: &RuleSet, notice: Notice) {
        match notice {
            Notice::Unclaimed => self.counts.unclaimed(),
            Notice::Taken { mismatches } => self.counts.event(mismatches),
            Notice::Unusable { field, mismatches } => self.counts.unusable(&field, mismatches),
            Notice::TimerFired => self.counts.timer(),
            Notice::Answered { campaign, is_judged } => self.counts.answered(campaign, is_judged),
            Notice::Skipped { campaign } => self.counts.of(campaign).skipped(),
            Notice::Faulted { campaign, is_judged, fault } => {
                self.report_fault(&rules.campaigns()[campaign], campaign, is_judged, &fault);
            }
            Notice::Held { campaign } => self.counts.of(campaign).held(),
            Notice::FailureNotKept { campaign: at, event } => {
                let (count, spec) = (self.counts.of(at).not_kept(), &rules.campaigns()[at].spec);
                if count.is_power_of_two() {
                    tracing::error!(
                        campaign = &**spec.acts_for(),
                        %event,
                        count,
                        "a failure is not kept, as there are too many (store.failures_bytes_max, \
                         or {QUEUE_MAX} of one customer); settle some with `hailer failures`"
                    );
                }
            }
            Notice::MissedWhileStopped { campaign: at, reason, is_lost } => {
                let count = self.counts.of(at).missed_while(reason, is_lost);
                if is_lost && count.is_power_of_two() {
                    tracing::warn!(
                        campaign = &*rules.campaigns()[at].spec.name,
                        count,
                        "an event that came while the campaign is {reason} is not kept for it: \
                         there are too many (store.missed_bytes_max)"
                    );
                }
            }
            Notice::Passed { campaign, channel } => self.counts.of(campaign).passed(channel),
            Notice::Suppressed { campaign, channel, why, policy } => {
                self.counts.of(campaign).suppressed(channel, why, policy);
            }
            Notice::Deferred { campaign, channel, policy } => {
                self.counts.of(campaign).deferred(channel, policy);
            }
            Notice::Undeferred { campaign, channel, why } => {
                self.counts.undeferred(&campaign, channel, why);
            }
            Notice::ConsentChanged { source } => count_consent_changes(source, 1),
            Notice::StatementUnusable { event, what } => {
                ::metrics::counter!(metrics::STATEMENTS_UNUSABLE_TOTAL, "about" => "consent")
                    .increment(1);
                tracing::warn!(
                    %event,
                    what = &*what,
                    "what an event says about the customer's consent is not recorded as it is"
                );
            }
            Notice::ZoneUnusable => {
                ::metrics::counter!(metrics::STATEMENTS_UNUSABLE_TOTAL, "about" => "time-zone")
                    .increment(1);
            }
            Notice::HourFull { campaign, max } => {
                let reason =
                    format!("it sends more than {max} communications an hour (per_hour_max)");
                self.suspend(&rules.campaigns()[campaign], Misbehaviour::Excessive(reason));
            }
            Notice::MergeTooLarge { event } => {
                count_full_customer("merge");
                tracing::error!(
                    %event,
                    "a merge is not done: the two customers together have more than \
                     {CUSTOMER_BYTES_MAX} bytes of states and timers; both stay as they are"
                );
            }
            Notice::StateLostInMerge { campaign, event } => tracing::error!(
                campaign = &*campaign,
                %event,
                "a state or a timer is lost in a merge: its campaign is not loaded, and the merge \
                 can't be kept for it (store.failures_bytes_max)"
            ),
            Notice::ShadowTooLarge { campaign } => {
                count_full_customer("shadow");
                tracing::warn!(
                    campaign = &*campaign,
                    "a shadow begins without its campaign's state: too much is kept about the \
                     customer"
                );
            }
        }
    }

    /// Counts a fault, logs it, and suspends a campaign that faults too often.
    fn report_fault(&mut self, campaign: &Campaign, index: usize, is_judged: bool, fault: &Fault) {
        let (count, suspended_for) = self.counts.faulted(index, &fault.fault, is_judged);
        // A rule that always faults must not flood the log: the first, the second, the fourth …
        if count.is_power_of_two() {
            let (name, version) = (&*campaign.spec.name, &*campaign.spec.version);
            let Fault { event, code, fault, error } = fault;
            let fault = match fault {
                GuestFault::Panic(_) | GuestFault::Returned(_) => shown(campaign, error),
                _ => error,
            };
            tracing::warn!(
                campaign = name,
                version,
                %event,
                code = &**code,
                fault,
                count,
                "a rule faulted; the event goes on without it, and is kept for it: \
                 `hailer failures list`"
            );
        }
        if let Some(reason) = suspended_for {
            self.suspend(campaign, Misbehaviour::Unfit(reason));
        }
    }

    /// Logs the log lines of rules, within the rate limit of each campaign.
    fn report_lines(&mut self, rules: &RuleSet, first: usize, cases: &[Case]) {
        self.counts.log_bytes_cut(std::mem::take(&mut self.core.answers.log_bytes_cut));
        for GuestLine { event, campaign: at, line } in self.core.answers.lines.drain(..) {
            if !is_logged(line.level) {
                continue;
            }
            let Some(dropped) = self.counts.of(at).log_line(Instant::now()) else { continue };
            let campaign = &rules.campaigns()[at];
            let (name, event, text) =
                (&*campaign.spec.name, cases[event - first].id, shown(campaign, &line.text));
            if dropped > 0 {
                tracing::warn!(
                    campaign = name,
                    dropped,
                    "lines of the rule were dropped: it logs more than {LINES_AT_ONCE_MAX} at \
                     once and {LINES_PER_SECOND_MAX} a second"
                );
            }
            match line.level {
                wire::LOG_PANIC | wire::LOG_ERROR => {
                    tracing::error!(campaign = name, %event, "rule: {text}")
                }
                wire::LOG_WARN => tracing::warn!(campaign = name, %event, "rule: {text}"),
                wire::LOG_INFO => tracing::info!(campaign = name, %event, "rule: {text}"),
                _ => tracing::debug!(campaign = name, %event, "rule: {text}"),
            }
        }
    }

    /// Has a campaign stopped: this version is not called any more from now on. If its owner is too
    /// busy to take the order, the next misbehaviour orders it again.
    fn suspend(&self, campaign: &Campaign, misbehaviour: Misbehaviour) {
        let (spec, owner) = (&campaign.spec, &self.core.limits.owner);
        if owner.is_stopped(&spec.name, campaign.generation) {
            return;
        }
        tracing::error!(
            campaign = &*spec.name,
            reason = misbehaviour.reason(),
            "stopping a campaign"
        );
        owner.suspend(&spec.name, campaign.generation, misbehaviour);
    }
}

/// Counts recorded changes of consent: one for each subscription of a customer.
pub(super) fn count_consent_changes(source: ConsentSource, count: u64) {
    let source = match source {
        ConsentSource::Event => "event",
        ConsentSource::Import => "import",
    };
    ::metrics::counter!(metrics::CONSENT_CHANGES_TOTAL, "source" => source).increment(count);
}

/// Counts something that is not done, as too much would be kept about a customer.
fn count_full_customer(refused: &'static str) {
    ::metrics::counter!(metrics::CUSTOMERS_FULL_TOTAL, "refused" => refused).increment(1);
}

/// Logs the notes of rules, and why rules were not called.
fn log_outcomes(rules: &RuleSet, case: &Case) {
    for outcome in &case.outcomes {
        let campaign = &*outcome.campaign;
        match &outcome.decided {
            Decided::Answered { notes, .. } => {
                let loaded = rules.place(campaign).map(|place| &rules.campaigns()[place]);
                for text in notes {
                    let note = loaded.map_or("", |loaded| shown(loaded, text));
                    tracing::debug!(campaign, event = %case.id, note, "note");
                }
            }
            Decided::Skipped { field, why } => tracing::debug!(
                campaign,
                event = %case.id,
                field = &**field,
                why = why.as_deref(),
                "not called: a field is absent, or can't be used"
            ),
            _ => {}
        }
    }
}

/// A guest's words, for the log: withheld when it reads personal data, as they may repeat it.
fn shown<'a>(campaign: &Campaign, text: &'a str) -> &'a str {
    if campaign.spec.reads_personal() {
        "(withheld: this campaign reads personal fields)"
    } else {
        text
    }
}

/// Whether the log shows lines of this level; those that it doesn't use up no allowance.
fn is_logged(level: i32) -> bool {
    match level {
        wire::LOG_PANIC | wire::LOG_ERROR => tracing::enabled!(Level::ERROR),
        wire::LOG_WARN => tracing::enabled!(Level::WARN),
        wire::LOG_INFO => tracing::enabled!(Level::INFO),
        _ => tracing::enabled!(Level::DEBUG),
    }
}
