//! One shard: a thread that decides the events of its customers, batch by batch, under one rule set a batch (G8). It
//! owns its guests; nothing here waits for a lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use hailer_abi::wire;
use tokio::sync::mpsc;

use super::{Accepted, Group, Rules, Settings, Tally};
use crate::communication::{Communication, Proposal};
use crate::engine::{Action, Batch, Campaign, Decided, GuestFault, GuestLine, Guests, RuleSet};
use crate::event::Projection;
use crate::metrics;
use crate::policies::{Facts, PolicyVerdict, judge};

/// Events without a customer all look the same to a rule's `bucket`.
const SEED_OF_NOBODY: u64 = 0;

pub(super) struct Shard {
    rules: Rules,
    guests: Guests,
    groups: mpsc::Sender<Group>,
    batch_max: usize,
    environment: Arc<str>,
    batch: Batch,
    projection: Projection,
    decided: Decided,
    tally: Tally,
    faults_logged: HashMap<Arc<str>, u64>,
}

impl Shard {
    pub(super) fn new(settings: &Settings, rules: Rules, groups: mpsc::Sender<Group>) -> Shard {
        Shard {
            guests: Guests::new(Arc::clone(&rules.sandbox), settings.recheck_one_in),
            rules,
            groups,
            batch_max: settings.batch_max,
            environment: Arc::clone(&settings.environment),
            batch: Batch::default(),
            projection: Projection::new(),
            decided: Decided::default(),
            tally: Tally::default(),
            faults_logged: HashMap::new(),
        }
    }

    /// Decides until there are no more events. A batch is whatever waits, so an idle shard adds no delay and a busy one
    /// shares the cost.
    pub(super) fn run(mut self, mut events: mpsc::Receiver<Accepted>) -> Tally {
        let mut accepted = Vec::with_capacity(self.batch_max);
        while events.blocking_recv_many(&mut accepted, self.batch_max) > 0 {
            let group = self.decide(&mut accepted);
            if self.groups.blocking_send(group).is_err() {
                break;
            }
        }
        self.tally
    }

    fn decide(&mut self, accepted: &mut Vec<Accepted>) -> Group {
        let began = Instant::now();
        let rules = self.rules.current.load_full();
        self.guests.adopt(&rules);
        self.batch.open(&rules);
        for (at, accepted) in accepted.iter().enumerate() {
            self.gather(&rules, at, accepted);
        }
        self.guests.decide(&self.batch, &mut self.decided);
        let communications = self.judge(&rules, accepted);
        self.report_misbehaviour(&rules, accepted);
        ::metrics::histogram!(metrics::DECIDE_SECONDS).record(began.elapsed());
        let receipts = accepted.drain(..).map(|accepted| accepted.receipt).collect();
        Group { communications, dead_letters: Vec::new(), receipts }
    }

    /// Reads what the loaded rules want of an event, and adds a call for each campaign that takes it.
    fn gather(&mut self, rules: &RuleSet, at: usize, accepted: &Accepted) {
        let reading = rules.reading(accepted.event.code());
        let takes = |campaign: usize| {
            let Campaign { spec, generation, .. } = &*rules.campaigns()[campaign];
            spec.is_active(accepted.now) && !self.rules.owner.is_stopped(&spec.name, *generation)
        };
        if !reading.subscriptions.iter().any(|subscription| takes(subscription.campaign)) {
            self.tally.unclaimed += 1;
            ::metrics::counter!(metrics::EVENTS_TOTAL, "outcome" => "unsubscribed").increment(1);
            return;
        }
        ::metrics::counter!(metrics::EVENTS_TOTAL, "outcome" => "decided").increment(1);
        reading.plan.project(&accepted.event, &mut self.projection);
        let mismatches = u64::from(self.projection.mismatches());
        if mismatches > 0 {
            self.tally.field_mismatches += mismatches;
            ::metrics::counter!(metrics::FIELD_MISMATCHES_TOTAL).increment(mismatches);
        }
        let seed = accepted.event.customer_key().map_or(SEED_OF_NOBODY, |customer| customer.seed());
        for subscription in reading.subscriptions.iter().filter(|subscription| takes(subscription.campaign)) {
            let added = self.batch.add(subscription, at, accepted.now, seed, &self.projection);
            if let Err(absent) = added {
                let campaign = &rules.campaigns()[subscription.campaign];
                let field = &campaign.spec.manifest.handlers[subscription.handler as usize].fields[absent].name;
                tracing::debug!(campaign = &*campaign.spec.name, event = %accepted.id, field, "not called: a required field is absent");
                self.tally.campaigns.entry(Arc::clone(&campaign.spec.name)).or_default().skipped += 1;
                count_call(campaign, "skipped");
            }
        }
    }

    /// Puts what the rules proposed before the policies, and makes the communications that pass.
    fn judge(&mut self, rules: &RuleSet, accepted: &[Accepted]) -> Vec<Communication> {
        let mut communications = Vec::new();
        for verdict in std::mem::take(&mut self.decided.verdicts) {
            let campaign = &rules.campaigns()[verdict.campaign];
            let cause = &accepted[verdict.event];
            match verdict.result {
                Ok(ref outcome) => {
                    self.tally.campaigns.entry(Arc::clone(&campaign.spec.name)).or_default().decided += 1;
                    count_call(campaign, "ok");
                    let mut sends = 0;
                    for action in &outcome.actions {
                        self.act(campaign, cause, sends, action, &mut communications);
                        sends += u32::from(matches!(action, Action::Send { .. }));
                    }
                }
                Err(ref fault) => self.fault(campaign, cause, fault),
            }
        }
        communications
    }

    fn act(
        &mut self,
        campaign: &Campaign,
        cause: &Accepted,
        index: u32,
        action: &Action,
        communications: &mut Vec<Communication>,
    ) {
        let spec = &campaign.spec;
        let (channel, template, data) = match action {
            Action::Send { channel, template, data } => (*channel, template, data),
            Action::Note(text) => {
                tracing::debug!(campaign = &*spec.name, event = %cause.id, note = shown(campaign, text), "note");
                return;
            }
        };
        let tally = self.tally.campaigns.entry(Arc::clone(&spec.name)).or_default();
        let customer = cause.event.customer();
        let verdict = judge(Facts { mode: spec.mode, has_recipient: customer.is_some() });
        let proposal = customer.filter(|_| verdict == PolicyVerdict::Publish).map(|recipient| Proposal {
            event_id: cause.id,
            event_code: cause.event.code(),
            campaign: &spec.name,
            version: &spec.version,
            environment: &self.environment,
            index,
            channel,
            template,
            recipient,
            data,
            now: cause.now,
        });
        let word = match (verdict, proposal) {
            (PolicyVerdict::Suppress(reason), _) => {
                *tally.suppressed.entry(reason.name()).or_default() += 1;
                reason.name()
            }
            (PolicyVerdict::Publish, Some(proposal)) => {
                // Nothing in a proposal can fail to be written: its parts have been checked.
                let composed = proposal.compose().expect("a checked proposal is written as JSON");
                communications.push(composed);
                *tally.published.entry(channel.name()).or_default() += 1;
                "published"
            }
            (PolicyVerdict::Publish, None) => unreachable!("a communication without a recipient is suppressed"),
        };
        let name = spec.name.to_string();
        ::metrics::counter!(metrics::COMMUNICATIONS_TOTAL, "campaign" => name, "channel" => channel.name(), "verdict" => word)
            .increment(1);
    }

    fn fault(&mut self, campaign: &Campaign, cause: &Accepted, fault: &GuestFault) {
        let name = &campaign.spec.name;
        self.tally.campaigns.entry(Arc::clone(name)).or_default().faults += 1;
        count_call(campaign, fault.kind());
        let count = self.faults_logged.entry(Arc::clone(name)).or_default();
        *count += 1;
        // A rule that always faults must not flood the log: the first, the second, the fourth …
        if count.is_power_of_two() {
            let (version, code) = (&*campaign.spec.version, cause.event.code());
            let fault = shown(campaign, &fault.to_string()).to_owned();
            tracing::warn!(campaign = &**name, version, event = %cause.id, code, fault, count = *count, "a rule faulted; the event goes on without it");
        }
    }

    fn report_misbehaviour(&mut self, rules: &RuleSet, accepted: &[Accepted]) {
        for GuestLine { event, campaign, line } in self.decided.lines.drain(..) {
            let campaign = &rules.campaigns()[campaign];
            let (name, event, text) = (&*campaign.spec.name, accepted[event].id, shown(campaign, &line.text));
            match line.level {
                wire::LOG_PANIC | wire::LOG_ERROR => tracing::error!(campaign = name, %event, "rule: {text}"),
                wire::LOG_WARN => tracing::warn!(campaign = name, %event, "rule: {text}"),
                wire::LOG_INFO => tracing::info!(campaign = name, %event, "rule: {text}"),
                _ => tracing::debug!(campaign = name, %event, "rule: {text}"),
            }
        }
        for campaign in self.decided.impure.drain(..) {
            let campaign = &rules.campaigns()[campaign];
            let reason = "the rule is not a pure function: it gave two answers to one call".to_owned();
            tracing::error!(campaign = &*campaign.spec.name, reason, "suspending a campaign");
            let (campaign, generation) = (campaign.spec.name.to_string(), campaign.generation);
            // When its owner is too busy to hear it, the next recheck tells it again.
            self.rules.owner.suspend(campaign, generation, reason);
        }
    }
}

fn count_call(campaign: &Campaign, outcome: &'static str) {
    ::metrics::counter!(metrics::CALLS_TOTAL, "campaign" => campaign.spec.name.to_string(), "outcome" => outcome)
        .increment(1);
}

/// A guest's words, for the log: withheld when it reads personal data, as they may repeat it.
fn shown<'a>(campaign: &Campaign, text: &'a str) -> &'a str {
    if campaign.spec.reads_personal() { "(withheld: this campaign reads personal fields)" } else { text }
}
