//! One shard: a thread that decides the events of its customers, batch by batch, under one rule set a batch (G8). It
//! owns its guests; nothing here waits for a lock.

use std::sync::Arc;
use std::time::Instant;

use hailer_abi::wire::{self, Channel};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::arrivals::Arrivals;
use super::commit::JournalPiece;
use super::counts::Counts;
use super::group::Group;
use super::identify::{Arrival, Identity, identify};
use super::memory::Memory;
use super::{Accepted, Rules, Settings, Tally};
use crate::communication::{Communication, Proposal};
use crate::engine::{Action, Batch, Campaign, CampaignSpec, Decided, GuestFault, GuestLine, Guests, Outcome, RuleSet};
use crate::event::{EventId, Projection};
use crate::metrics;
use crate::policies::{Facts, PolicyVerdict, judge};
use crate::store::StoreError;
use crate::store::records::{self, Cause, JournalEntry, Partition, Proposed, Sessions, Verdict, encode};

/// Events without a customer all look the same to a rule's `bucket`.
const SEED_OF_NOBODY: u64 = 0;
/// The most input that waits for its calls, in bytes: one large event read whole by many campaigns is decided before
/// the next is read.
const INPUT_BYTES_MAX: usize = 8 << 20;

pub(super) struct Shard {
    number: usize,
    rules: Rules,
    guests: Guests,
    memory: Memory,
    arrivals: Arc<Arrivals>,
    groups: mpsc::Sender<Group>,
    batch_max: usize,
    environment: Arc<str>,
    batch: Batch,
    projection: Projection,
    decided: Decided,
    counts: Counts,
}

/// An event that is being decided.
struct Case {
    /// Its place among the accepted.
    at: usize,
    id: EventId,
    partition: Partition,
    outcomes: Vec<records::Outcome>,
    communications: Vec<Communication>,
}

/// A communication that a rule asked for.
struct Send<'a> {
    /// Its place among those of this event and campaign.
    place: u32,
    channel: Channel,
    template: &'a str,
    data: &'a RawValue,
}

impl Case {
    /// Notes what became of the event in a campaign.
    fn note(&mut self, spec: &CampaignSpec, decided: records::Decided) {
        let (campaign, version) = (Arc::clone(&spec.name), Arc::clone(&spec.version));
        self.outcomes.push(records::Outcome { campaign, version, decided });
    }
}

impl Shard {
    pub(super) fn new(
        number: usize,
        settings: &Settings,
        rules: Rules,
        memory: Memory,
        arrivals: Arc<Arrivals>,
        groups: mpsc::Sender<Group>,
    ) -> Shard {
        Shard {
            number,
            guests: Guests::new(Arc::clone(&rules.sandbox), settings.recheck_one_in),
            rules,
            memory,
            arrivals,
            groups,
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
    ///
    /// # Errors
    /// When the store can't be read.
    pub(super) fn run(mut self, mut events: mpsc::Receiver<Accepted>) -> Result<Tally, StoreError> {
        let mut accepted = Vec::with_capacity(self.batch_max);
        while events.blocking_recv_many(&mut accepted, self.batch_max) > 0 {
            let began = Instant::now();
            let group = self.decide(std::mem::take(&mut accepted))?;
            ::metrics::histogram!(metrics::DECIDE_SECONDS).record(began.elapsed());
            if self.groups.blocking_send(group).is_err() {
                break;
            }
        }
        Ok(self.counts.finish())
    }

    /// The whole batch under one rule set; in parts, if its calls need much input.
    fn decide(&mut self, accepted: Vec<Accepted>) -> Result<Group, StoreError> {
        self.memory.begin()?;
        let mut cases = self.open_cases(&accepted)?;
        let rules = self.rules.current.load_full();
        self.guests.adopt(&rules);
        self.counts.adopt(&rules);
        self.batch.open(&rules);
        for number in 0..cases.len() {
            let case = &mut cases[number];
            self.gather(&rules, number, case, &accepted[case.at]);
            if self.batch.input_bytes() > INPUT_BYTES_MAX || number + 1 == cases.len() {
                self.guests.decide(&self.batch, &mut self.decided);
                self.judge(&rules, &accepted, &mut cases);
                self.report_misbehaviour(&rules, &cases);
                self.batch.open(&rules);
            }
        }
        Ok(self.group(cases, accepted, rules.number))
    }

    /// Sorts out what has been decided before, and gives every other event its id.
    fn open_cases(&mut self, accepted: &[Accepted]) -> Result<Vec<Case>, StoreError> {
        let connected_ms = self.arrivals.connected_ms();
        let mut sessions: Option<Sessions> = None;
        let mut cases = Vec::with_capacity(accepted.len());
        for (at, Accepted { event, key, redelivered, session, now, .. }) in accepted.iter().enumerate() {
            let partition = Partition::of_event(event.customer_key(), *key);
            let known = self.memory.seen(partition, *key)?;
            let sessions = sessions.get_or_insert_with(|| self.arrivals.now_and_sessions().1);
            let arrival =
                Arrival { key: *key, redelivered: *redelivered, session: *session, now: *now, connected_ms };
            let (identity, row) = identify(arrival, known, sessions);
            self.memory.saw(partition, *key, row);
            match identity {
                Identity::Fresh(id) => {
                    cases.push(Case { at, id, partition, outcomes: Vec::new(), communications: Vec::new() });
                }
                Identity::Repeat { is_certain } => self.counts.repeat(is_certain),
            }
        }
        Ok(cases)
    }

    /// Everything that the batch led to.
    fn group(&mut self, cases: Vec<Case>, accepted: Vec<Accepted>, rule_set: u64) -> Group {
        let (number, changes) = self.memory.end();
        let mut group = Group {
            shard: self.number,
            number,
            changes,
            journal: Vec::with_capacity(cases.len()),
            outbox: Vec::new(),
            receipts: Vec::with_capacity(accepted.len()),
            has_open_occurrences: accepted.iter().any(|accepted| !accepted.key.has_id()),
        };
        for Case { at, id, partition, outcomes, communications } in cases {
            let event = &accepted[at].event;
            let customer = event.customer_key();
            let cause = Cause::Event { code: event.code().into() };
            let entry = JournalEntry { event_id: id, customer, cause, now: accepted[at].now, rule_set, outcomes };
            group.journal.push(JournalPiece { partition, customer, bytes: encode(&entry) });
            group.outbox.extend(communications.into_iter().map(|communication| (partition, communication)));
        }
        group.receipts.extend(accepted.into_iter().map(|accepted| accepted.receipt));
        group
    }

    /// Reads what the loaded rules want of an event, and adds a call for each campaign that takes it.
    fn gather(&mut self, rules: &RuleSet, number: usize, case: &mut Case, accepted: &Accepted) {
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
            let added = self.batch.add(subscription, number, accepted.now, seed, &self.projection);
            if let Err(absent) = added {
                let spec = &rules.campaigns()[subscription.campaign].spec;
                let field = &spec.manifest.handlers[subscription.handler as usize].fields[absent].name;
                tracing::debug!(campaign = &*spec.name, event = %case.id, field, "not called: a required field is absent");
                self.counts.of(subscription.campaign).skipped();
                case.note(spec, records::Decided::Skipped { field: field.as_str().into() });
            }
        }
    }

    /// Puts what the rules proposed before the policies, and makes the communications that pass.
    fn judge(&mut self, rules: &RuleSet, accepted: &[Accepted], cases: &mut [Case]) {
        for verdict in std::mem::take(&mut self.decided.verdicts) {
            let campaign = &rules.campaigns()[verdict.campaign];
            let case = &mut cases[verdict.event];
            let decided = match verdict.result {
                Ok(outcome) => self.answered(campaign, verdict.campaign, case, &accepted[case.at], outcome),
                Err(fault) => self.fault(campaign, verdict.campaign, case, &accepted[case.at], &fault),
            };
            case.note(&campaign.spec, decided);
        }
    }

    fn answered(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        accepted: &Accepted,
        outcome: Outcome,
    ) -> records::Decided {
        self.counts.of(index).decided();
        let (mut communications, mut notes) = (Vec::new(), Vec::new());
        for action in outcome.actions {
            match action {
                Action::Note(text) => {
                    let (name, note) = (&*campaign.spec.name, shown(campaign, &text));
                    tracing::debug!(campaign = name, event = %case.id, note, "note");
                    notes.push(text);
                }
                Action::Send { channel, template, data } => {
                    let place = communications.len() as u32;
                    let send = Send { place, channel, template: &template, data: &data };
                    let (id, verdict) = self.dispose(campaign, index, case, accepted, send);
                    communications.push(Proposed { id, channel: channel as u8, template, verdict });
                }
            }
        }
        records::Decided::Answered {
            communications,
            notes,
            state_changed: false,
            scheduled: Vec::new(),
            cancelled: Vec::new(),
        }
    }

    /// Rules propose, the host disposes.
    fn dispose(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        accepted: &Accepted,
        send: Send<'_>,
    ) -> (Box<str>, Verdict) {
        let spec = &campaign.spec;
        let Send { place, channel, template, data } = send;
        // An application or a device is not a person: without a key there is nobody to send to.
        let recipient = accepted.event.customer_key().and(accepted.event.customer());
        let verdict = judge(Facts { mode: spec.mode, has_recipient: recipient.is_some() });
        let recipient = match (verdict, recipient) {
            (PolicyVerdict::Suppress(why), _) => {
                self.counts.of(index).suppressed(channel, why);
                return ("".into(), Verdict::Suppressed(why.name().into()));
            }
            (PolicyVerdict::Publish, recipient) => recipient.expect("only what has a recipient is published"),
        };
        let proposal = Proposal {
            event_id: case.id,
            event_code: accepted.event.code(),
            campaign: &spec.name,
            version: &spec.version,
            environment: &self.environment,
            index: place,
            channel,
            template,
            recipient,
            data,
            now: accepted.now,
        };
        self.counts.of(index).published(channel);
        // Nothing in a proposal can fail to be written: its parts have been checked.
        let communication = proposal.compose().expect("a checked proposal is written as JSON");
        let id = communication.id.clone();
        case.communications.push(communication);
        (id, Verdict::Passed)
    }

    fn fault(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &Case,
        accepted: &Accepted,
        fault: &GuestFault,
    ) -> records::Decided {
        let counts = self.counts.of(index);
        let count = counts.fault(fault);
        let said = fault.to_string();
        // A rule that always faults must not flood the log: the first, the second, the fourth …
        if count.is_power_of_two() {
            let (name, version, code) = (&*campaign.spec.name, &*campaign.spec.version, accepted.event.code());
            let fault = match fault {
                GuestFault::Panic(_) | GuestFault::Returned(_) => shown(campaign, &said),
                _ => &said,
            };
            tracing::warn!(campaign = name, version, event = %case.id, code, fault, count, "a rule faulted; the event goes on without it");
        }
        if counts.is_too_late() {
            self.suspend(campaign, "it took longer than its limit many times in a row, at the cost of all others");
        }
        records::Decided::Failed { error: said.into() }
    }

    fn report_misbehaviour(&mut self, rules: &RuleSet, cases: &[Case]) {
        for GuestLine { event, campaign, line } in self.decided.lines.drain(..) {
            let campaign = &rules.campaigns()[campaign];
            let (name, event, text) = (&*campaign.spec.name, cases[event].id, shown(campaign, &line.text));
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
