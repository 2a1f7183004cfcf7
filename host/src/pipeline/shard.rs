//! One shard: a thread that decides the events of its customers, batch by batch, under one rule set a batch (G8). It
//! owns its guests; nothing here waits for a lock.

use std::sync::Arc;
use std::time::Instant;

use hailer_abi::wire;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::Level;

use super::budget::Budget;
use super::counts::Counts;
use super::log_allowance::{LINES_AT_ONCE_MAX, LINES_PER_SECOND_MAX};
use super::{Accepted, Group, Rules, Settings, Tally};
use crate::communication::{Communication, Proposal};
use crate::engine::{Action, Batch, Campaign, Decided, GuestFault, GuestLine, Guests, RuleSet};
use crate::event::Projection;
use crate::metrics;
use crate::policies::{Facts, PolicyVerdict, judge};

/// Events without a customer all look the same to a rule's `bucket`.
const SEED_OF_NOBODY: u64 = 0;
/// The most input that waits for its calls, in bytes: one large event read whole by many campaigns is decided before
/// the next is read.
const INPUT_BYTES_MAX: usize = 8 << 20;
/// The most that the calls of several events may answer together; events that lead to more are decided in smaller parts.
const OUTPUT_BYTES_MAX: usize = 8 << 20;
/// What a communication takes beside its body, in bytes, about.
const COMMUNICATION_BYTES: usize = 256;

pub(super) struct Shard {
    rules: Rules,
    guests: Guests,
    exit: Exit,
    batch_max: usize,
    environment: Arc<str>,
    batch: Batch,
    projection: Projection,
    decided: Decided,
    counts: Counts,
}

/// Where groups go when they are decided.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) groups: mpsc::Sender<Group>,
    /// Of communications that wait to be published, over all shards.
    pub(super) budget: Budget,
    pub(super) runtime: Handle,
}

/// Nobody takes groups any more.
struct Closed;

impl Exit {
    /// Waits until there is room for the group's communications.
    fn send(&self, mut group: Group) -> Result<(), Closed> {
        let bytes = group.communications.iter().map(|one| one.body.len() + COMMUNICATION_BYTES).sum();
        if bytes > 0 {
            group.held_out = self.budget.take_blocking(bytes, &self.runtime);
        }
        self.groups.blocking_send(group).map_err(|_| Closed)
    }
}

impl Shard {
    pub(super) fn new(settings: &Settings, rules: Rules, exit: Exit) -> Shard {
        Shard {
            guests: Guests::new(Arc::clone(&rules.sandbox), settings.recheck_one_in),
            rules,
            exit,
            batch_max: settings.batch_max,
            environment: Arc::clone(&settings.environment),
            batch: Batch::default(),
            projection: Projection::new(),
            decided: Decided::default(),
            counts: Counts::new(),
        }
    }

    /// Decides until there are no more events. A batch is whatever waits, so an idle shard adds no delay and a busy one
    /// shares the cost.
    pub(super) fn run(mut self, mut events: mpsc::Receiver<Accepted>) -> Tally {
        let mut accepted = Vec::with_capacity(self.batch_max);
        while events.blocking_recv_many(&mut accepted, self.batch_max) > 0 {
            if self.decide(&mut accepted).is_err() {
                break;
            }
        }
        self.counts.finish()
    }

    /// The whole batch under one rule set; in parts, if its calls need much input.
    fn decide(&mut self, accepted: &mut Vec<Accepted>) -> Result<(), Closed> {
        let rules = self.rules.current.load_full();
        self.guests.adopt(&rules);
        self.counts.adopt(&rules);
        while !accepted.is_empty() {
            let began = Instant::now();
            self.batch.open(&rules);
            let mut gathered = 0;
            while gathered < accepted.len() && self.batch.input_bytes() <= INPUT_BYTES_MAX {
                self.gather(&rules, gathered, &accepted[gathered]);
                gathered += 1;
            }
            self.decide_gathered(&rules, accepted, gathered, began)?;
        }
        Ok(())
    }

    /// Makes the calls of the first `gathered` events, and sends on what came of them; in smaller parts, if they answer at length. A
    /// rule is pure, so calls of a part that was too large are simply made again.
    fn decide_gathered(
        &mut self,
        rules: &RuleSet,
        accepted: &mut Vec<Accepted>,
        gathered: usize,
        mut began: Instant,
    ) -> Result<(), Closed> {
        let (mut first, mut part) = (0, gathered);
        while first < gathered {
            let events = first..gathered.min(first + part);
            if !self.guests.decide_some(&self.batch, events.clone(), OUTPUT_BYTES_MAX, &mut self.decided) {
                part = events.len() / 2;
                continue;
            }
            let mut communications = Vec::new();
            self.judge(rules, first, accepted, &mut communications);
            self.report_misbehaviour(rules, first, accepted);
            ::metrics::histogram!(metrics::DECIDE_SECONDS).record(began.elapsed());
            first = events.end;
            self.exit.send(Group::of_decided(communications, accepted.drain(..events.len())))?;
            began = Instant::now();
        }
        Ok(())
    }

    /// Reads what the loaded rules want of an event, and adds a call for each campaign that takes it.
    fn gather(&mut self, rules: &RuleSet, at: usize, accepted: &Accepted) {
        let reading = rules.reading(accepted.event.code());
        let takes = |campaign: usize| {
            let Campaign { spec, generation, .. } = &*rules.campaigns()[campaign];
            spec.is_active(accepted.now) && !self.rules.owner.is_stopped(&spec.name, *generation)
        };
        if !reading.subscriptions.iter().any(|subscription| takes(subscription.campaign)) {
            self.counts.unclaimed();
            return;
        }
        reading.plan.project(&accepted.event, &mut self.projection);
        self.counts.event(self.projection.mismatches());
        let seed = accepted.event.customer_key().map_or(SEED_OF_NOBODY, |customer| customer.seed());
        for subscription in reading.subscriptions.iter().filter(|subscription| takes(subscription.campaign)) {
            let added = self.batch.add(subscription, at, accepted.now, seed, &self.projection);
            if let Err(absent) = added {
                let spec = &rules.campaigns()[subscription.campaign].spec;
                let field = &spec.manifest.handlers[subscription.handler as usize].fields[absent].name;
                tracing::debug!(campaign = &*spec.name, event = %accepted.id, field, "not called: a required field is absent");
                self.counts.of(subscription.campaign).skipped();
            }
        }
    }

    /// Puts what the rules proposed before the policies, and makes the communications that pass. `first` is the batch's index of the first
    /// event that is still here.
    fn judge(&mut self, rules: &RuleSet, first: usize, accepted: &[Accepted], communications: &mut Vec<Communication>) {
        for verdict in std::mem::take(&mut self.decided.verdicts) {
            let campaign = &rules.campaigns()[verdict.campaign];
            let cause = &accepted[verdict.event - first];
            match verdict.result {
                Ok(outcome) => {
                    self.counts.of(verdict.campaign).decided();
                    let mut sends = 0;
                    for action in &outcome.actions {
                        if let Action::Note(text) = action {
                            let (name, note) = (&*campaign.spec.name, shown(campaign, text));
                            tracing::debug!(campaign = name, event = %cause.id, note, "note");
                            continue;
                        }
                        communications.extend(self.dispose(campaign, verdict.campaign, cause, sends, action));
                        sends += 1;
                    }
                }
                Err(fault) => self.fault(campaign, verdict.campaign, cause, &fault),
            }
        }
    }

    /// Rules propose, the host disposes.
    fn dispose(
        &mut self,
        campaign: &Campaign,
        at: usize,
        cause: &Accepted,
        index: u32,
        action: &Action,
    ) -> Option<Communication> {
        let spec = &campaign.spec;
        let Action::Send { channel, template, data } = action else { return None };
        // An application or a device is not a person: without a key there is nobody to send to.
        let recipient = cause.event.customer_key().and(cause.event.customer());
        let verdict = judge(Facts { mode: spec.mode, has_recipient: recipient.is_some() });
        let recipient = match (verdict, recipient) {
            (PolicyVerdict::Suppress(why), _) => {
                self.counts.of(at).suppressed(*channel, why);
                return None;
            }
            (PolicyVerdict::Publish, recipient) => recipient.expect("only what has a recipient is published"),
        };
        let proposal = Proposal {
            event_id: cause.id,
            event_code: cause.event.code(),
            campaign: &spec.name,
            version: &spec.version,
            environment: &self.environment,
            index,
            channel: *channel,
            template,
            recipient,
            data,
            now: cause.now,
        };
        self.counts.of(at).published(*channel);
        // Nothing in a proposal can fail to be written: its parts have been checked.
        Some(proposal.compose().expect("a checked proposal is written as JSON"))
    }

    fn fault(&mut self, campaign: &Campaign, at: usize, cause: &Accepted, fault: &GuestFault) {
        let counts = self.counts.of(at);
        let count = counts.fault(fault);
        // A rule that always faults must not flood the log: the first, the second, the fourth …
        if count.is_power_of_two() {
            let (name, version, code) = (&*campaign.spec.name, &*campaign.spec.version, cause.event.code());
            let said = fault.to_string();
            let fault = match fault {
                GuestFault::Panic(_) | GuestFault::Returned(_) => shown(campaign, &said),
                _ => &said,
            };
            tracing::warn!(campaign = name, version, event = %cause.id, code, fault, count, "a rule faulted; the event goes on without it");
        }
        if counts.is_too_late() {
            self.suspend(campaign, "it took longer than its limit many times in a row, at the cost of all others");
        }
    }

    fn report_misbehaviour(&mut self, rules: &RuleSet, first: usize, accepted: &[Accepted]) {
        self.counts.log_bytes_cut(self.decided.log_bytes_cut);
        for GuestLine { event, campaign: at, line } in self.decided.lines.drain(..) {
            if !is_logged(line.level) {
                continue;
            }
            let Some(dropped) = self.counts.of(at).log_line(Instant::now()) else { continue };
            let campaign = &rules.campaigns()[at];
            let (name, event, text) = (&*campaign.spec.name, accepted[event - first].id, shown(campaign, &line.text));
            if dropped > 0 {
                tracing::warn!(
                    campaign = name,
                    dropped,
                    "lines of the rule were dropped: it logs more than {LINES_AT_ONCE_MAX} at once and {LINES_PER_SECOND_MAX} a second"
                );
            }
            match line.level {
                wire::LOG_PANIC | wire::LOG_ERROR => tracing::error!(campaign = name, %event, "rule: {text}"),
                wire::LOG_WARN => tracing::warn!(campaign = name, %event, "rule: {text}"),
                wire::LOG_INFO => tracing::info!(campaign = name, %event, "rule: {text}"),
                _ => tracing::debug!(campaign = name, %event, "rule: {text}"),
            }
        }
        self.counts.rechecked(self.decided.rechecked);
        for campaign in std::mem::take(&mut self.decided.impure) {
            self.suspend(&rules.campaigns()[campaign], "it is not a pure function: it gave two answers to one call");
        }
    }

    /// Has a campaign suspended: it is not called any more from now on. When its owner is too busy to hear it, the next
    /// misbehaviour tells it again.
    fn suspend(&self, campaign: &Campaign, reason: &str) {
        let spec = &campaign.spec;
        if self.rules.owner.is_stopped(&spec.name, campaign.generation) {
            return;
        }
        tracing::error!(campaign = &*spec.name, reason, "suspending a campaign");
        self.rules.owner.suspend(spec.name.to_string(), campaign.generation, reason.to_owned());
    }
}

/// A guest's words, for the log: withheld when it reads personal data, as they may repeat it.
fn shown<'a>(campaign: &Campaign, text: &'a str) -> &'a str {
    if campaign.spec.reads_personal() { "(withheld: this campaign reads personal fields)" } else { text }
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
