//! A release: deferred messages of one customer that are due together are judged again, and what
//! passes is sent. No rule is called.

use std::cmp::Reverse;
use std::sync::Arc;

use super::case::{Case, Reason};
use super::decide::Decider;
use super::dispose::{Judgement, released};
use super::notice::Notice;
use crate::records::{DeferredRow, TimerKey};
use hailer_base::clock::Millis;
use hailer_broker::communication::{Cause as SentFor, Occasion, Proposal as Part};
use hailer_engine::{Mode, RuleSet};
use hailer_event::{CustomerKey, EventId};
use hailer_policies::{At, Candidate, Judge, Reason as Why, Suppression, Verdict as Judged};

/// The least and the most time after which messages of a stopped campaign are looked at again, in
/// ms.
const STOPPED_MIN_MS: Millis = 5_000;
const STOPPED_MAX_MS: Millis = 600_000;

/// What the rule set has for the campaign of a deferred message.
enum Found {
    /// The campaign, or its canary, decides.
    Runs(usize),
    /// It is paused, suspended or not begun: its messages wait.
    Stopped,
    /// It does not exist any more, is off, or is over.
    Gone,
}

impl Decider {
    /// Judges the messages of a release again.
    pub(super) fn release(&mut self, rules: &RuleSet, case: &mut Case) {
        let Reason::Release { release, .. } = &case.reason else { return };
        let release = release.clone();
        let (customer, now) = (release.customer, case.now);
        let mut messages = self.rows.take_deferred(customer, |message| message.due <= release.due);
        self.rows.drop_release(&release);
        let Some(first) = messages.first() else {
            return set_had_messages(case, false);
        };
        if self.limits.poison.refuse_timer(&release).is_err() {
            // Judging these messages ended the engine again and again: they wait until they are
            // stale, and nothing else is judged of them then.
            for mut message in messages {
                message.due = message.discard_at.max(now).saturating_add(1);
                self.rows.defer(customer, message);
            }
            return set_had_messages(case, false);
        }
        case.id = EventId::of_timer(first.event, "", "release", release.due);
        let row = self.rows.policy(customer);
        let environment = Arc::clone(&self.environment);
        let policies = rules.policies().map(|policies| &**policies);
        let mut judge = Judge::new(policies, &environment, now, row);
        messages.sort_by(|one, other| {
            let order = |message: &DeferredRow| {
                (Reverse(judge.priority(&message.campaign)), message.decided)
            };
            let names = |message: &DeferredRow| (Arc::clone(&message.campaign), message.place);
            order(one).cmp(&order(other)).then_with(|| names(one).cmp(&names(other)))
        });
        for message in messages {
            self.release_one(rules, case, &mut judge, customer, message);
        }
        set_had_messages(case, !case.outcomes.is_empty());
    }

    fn release_one(
        &mut self,
        rules: &RuleSet,
        case: &mut Case,
        judge: &mut Judge<'_>,
        customer: CustomerKey,
        mut message: DeferredRow,
    ) {
        let now = case.now;
        let channel = message.channel;
        let index = match self.find_campaign(rules, customer, &message.campaign, now) {
            Found::Runs(index) => index,
            Found::Stopped if now <= message.discard_at => {
                // Nothing is decided: the message waits until the campaign runs, or until it is too
                // old.
                let wait = ((now - message.decided) / 8).clamp(STOPPED_MIN_MS, STOPPED_MAX_MS);
                message.due = (now + wait).min(message.discard_at.saturating_add(1)).max(now + 1);
                return self.rows.defer(customer, message);
            }
            found => {
                let why = if matches!(found, Found::Gone) { Why::CampaignGone } else { Why::Stale };
                return self.undefer(case, &message, "", why.into());
            }
        };
        let spec = Arc::clone(&rules.campaigns()[index]);
        let spec = &spec.spec;
        let candidate = Candidate {
            campaign: &message.campaign,
            channel,
            is_live: spec.mode == Mode::Live,
            recipient: Some(&message.recipient),
            customer: Some(customer),
            event: message.event,
        };
        let at = At::Release { discard_at: message.discard_at };
        let judged = judge.judge(self.rows.policy(customer), &candidate, at, message.decided);
        match judged {
            Judged::Defer { policy, until, discard_at } => {
                let campaign = index;
                self.notices.push(Notice::Deferred { campaign, channel, policy: policy.clone() });
                let judgement =
                    Judgement::of(Judged::Defer { policy: policy.clone(), until, discard_at });
                case.outcomes.push(released(&message, &spec.version, judgement));
                (message.due, message.discard_at, message.policy) = (until, discard_at, policy);
                self.rows.defer(customer, message);
            }
            Judged::Suppress(why) => self.undefer(case, &message, &spec.version, why),
            Judged::Pass => {
                self.note_sent(rules, judge, &candidate);
                let sent_for = match message.is_timer {
                    true => SentFor::Timer { name: &message.name },
                    false => SentFor::Event { code: &message.name },
                };
                // A release comes at a time of the engine's clock.
                let occasion = Occasion::new(message.event, sent_for, &message.recipient, now)
                    .expect("a date");
                let sender = self.senders.of(index, spec, &self.environment);
                let (template, data) = (&*message.template, &*message.data);
                let part = Part { index: message.place, channel, template, data };
                let communication = sender.send(&occasion, part);
                let id = communication.id.clone();
                case.communications.push(communication);
                case.deferred -= 1;
                self.limits.deferrals.give_back(1);
                self.notices.push(Notice::Passed { campaign: index, channel });
                case.outcomes.push(released(&message, &spec.version, Judgement::sent(id)));
            }
        }
    }

    /// Suppresses a deferred message.
    pub(super) fn undefer(
        &mut self,
        case: &mut Case,
        message: &DeferredRow,
        version: &str,
        why: Suppression,
    ) {
        let reason = why.reason;
        case.deferred -= 1;
        self.limits.deferrals.give_back(1);
        self.notices.push(Notice::Undeferred {
            campaign: Arc::clone(&message.campaign),
            channel: message.channel,
            why: reason,
        });
        let judgement = Judgement::of(Judged::Suppress(why));
        case.outcomes.push(released(message, version, judgement));
    }

    fn find_campaign(
        &self,
        rules: &RuleSet,
        customer: CustomerKey,
        campaign: &str,
        now: Millis,
    ) -> Found {
        let runs = |index| self.runs(rules, index, now);
        let Some(named) = rules.place(campaign) else { return Found::Gone };
        let spec = &rules.campaigns()[named].spec;
        if spec.mode == Mode::Off || spec.end_ms.is_some_and(|end| now >= end) {
            return Found::Gone;
        }
        // A canary sends only while its campaign runs.
        let decider = rules.decider(campaign, Some(customer), runs).filter(|_| runs(named));
        let decides = |index: &usize| runs(*index) && rules.decides(*index, Some(customer), runs);
        decider.filter(decides).map_or(Found::Stopped, Found::Runs)
    }
}

fn set_had_messages(case: &mut Case, had: bool) {
    if let Reason::Release { had_messages, .. } = &mut case.reason {
        *had_messages = had;
    }
}

/// The reason of a case for a due row of the timers' table, which is a release or a rule's timer.
pub(super) fn reason_of(timer: TimerKey) -> Reason {
    if timer.is_release() {
        Reason::Release { release: timer, had_messages: true }
    } else {
        Reason::Timer { timer, fired: None, step: None }
    }
}
