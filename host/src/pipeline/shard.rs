//! One shard: a thread that decides the events of its customers, batch by batch, under one rule set a batch (G8). It
//! owns its guests; nothing here waits for a lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use hailer_abi::wire::{self, Channel};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::Level;

use super::arrivals::Arrivals;
use super::budget::Budget;
use super::commit::JournalPiece;
use super::counts::Counts;
use super::group::Group;
use super::identify::{Arrival, Identity, identify};
use super::log_allowance::{LINES_AT_ONCE_MAX, LINES_PER_SECOND_MAX};
use super::memory::Memory;
use super::{Accepted, Rules, Settings, Tally};
use crate::clock::Millis;
use crate::communication::{Communication, Proposal};
use crate::engine::{
    Action, Batch, Campaign, CampaignSpec, Decided, GuestFault, GuestLine, Guests, NotCalled, Outcome, RuleSet,
};
use crate::event::{DedupKey, EventId, Projection};
use crate::metrics;
use crate::policies::{Facts, PolicyVerdict, judge};
use crate::store::StoreError;
use crate::store::records::{self, Cause, JournalEntry, Partition, Proposed, SeenRow, Sessions, Verdict, encode};

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
    number: usize,
    rules: Rules,
    guests: Guests,
    memory: Memory,
    arrivals: Arc<Arrivals>,
    exit: Exit,
    batch_max: usize,
    environment: Arc<str>,
    settles_after_ms: Millis,
    batch: Batch,
    projection: Projection,
    decided: Decided,
    counts: Counts,
}

/// Where groups go when they are decided.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) groups: mpsc::Sender<Group>,
    /// Of communications that wait to be committed, over all shards.
    pub(super) budget: Budget,
    pub(super) runtime: Handle,
}

/// Why a shard ends before its events do.
enum Stop {
    /// Nobody takes groups any more.
    Closed,
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

impl Exit {
    /// Waits until there is room for the group's communications.
    fn send(&self, mut group: Group) -> Result<(), Stop> {
        let bytes = group.outbox.iter().map(|(_, communication)| bytes_of(communication)).sum();
        if bytes > 0 {
            group.held_out = self.budget.take_blocking(bytes, &self.runtime);
        }
        self.groups.blocking_send(group).map_err(|_| Stop::Closed)
    }
}

/// An event that is being decided.
struct Case {
    accepted: Accepted,
    id: EventId,
    partition: Partition,
    /// What is known of its deduplication key once it is decided.
    seen: SeenRow,
    outcomes: Vec<records::Outcome>,
    communications: Vec<Communication>,
}

/// An event that had been decided before: it is acknowledged once that is durable.
struct Repeated {
    accepted: Accepted,
    partition: Partition,
    seen: SeenRow,
}

/// A communication that a rule asked for.
struct Send<'a> {
    /// Its place among those of this event and campaign.
    place: u32,
    channel: Channel,
    template: &'a str,
    data: &'a RawValue,
}

impl Shard {
    pub(super) fn new(
        number: usize,
        settings: &Settings,
        rules: Rules,
        memory: Memory,
        arrivals: Arc<Arrivals>,
        exit: Exit,
    ) -> Shard {
        Shard {
            number,
            guests: Guests::new(Arc::clone(&rules.sandbox), settings.recheck_one_in),
            rules,
            memory,
            arrivals,
            exit,
            batch_max: settings.batch_max,
            environment: Arc::clone(&settings.environment),
            settles_after_ms: settings.settles_after.as_millis() as Millis,
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
            match self.decide(&mut accepted) {
                Ok(()) => {}
                Err(Stop::Closed) => break,
                Err(Stop::Store(error)) => return Err(error),
            }
        }
        Ok(self.counts.finish())
    }

    /// The whole batch under one rule set, wave after wave: a wave holds at most one event of each customer, so that a rule sees what it
    /// made of the event before.
    fn decide(&mut self, accepted: &mut Vec<Accepted>) -> Result<(), Stop> {
        let rules = self.rules.current.load_full();
        self.guests.adopt(&rules);
        self.counts.adopt(&rules);
        self.memory.begin()?;
        let (cases, repeated) = self.open_cases(accepted)?;
        let mut done = Vec::with_capacity(cases.len());
        self.decide_wave(&rules, cases, &mut done)?;
        self.close(done, repeated, rules.number)
    }

    /// Decides one wave, in parts if its calls need much input or answer at length. A rule is pure, so calls of a part that was too large are
    /// simply made again.
    fn decide_wave(&mut self, rules: &RuleSet, mut cases: Vec<Case>, done: &mut Vec<Case>) -> Result<(), Stop> {
        while !cases.is_empty() {
            self.batch.open(rules);
            let mut gathered = 0;
            while gathered < cases.len() && self.batch.input_bytes() <= INPUT_BYTES_MAX {
                self.gather(rules, gathered, &mut cases[gathered]);
                gathered += 1;
            }
            let (mut first, mut part) = (0, gathered);
            while first < gathered {
                let began = Instant::now();
                let events = first..gathered.min(first + part);
                if !self.guests.decide_some(&self.batch, events.clone(), OUTPUT_BYTES_MAX, &mut self.decided) {
                    part = events.len() / 2;
                    continue;
                }
                self.judge(rules, first, &mut cases);
                self.report_misbehaviour(rules, first, &cases);
                ::metrics::histogram!(metrics::DECIDE_SECONDS).record(began.elapsed());
                first = events.end;
                done.extend(cases.drain(..events.len()));
                if done.iter().flat_map(|case| &case.communications).map(bytes_of).sum::<usize>() > OUTPUT_BYTES_MAX {
                    self.close(std::mem::take(done), Vec::new(), rules.number)?;
                    self.memory.begin()?;
                }
            }
        }
        Ok(())
    }

    /// Sorts out what has been decided before, and gives every other event its id.
    fn open_cases(&mut self, accepted: &mut Vec<Accepted>) -> Result<(Vec<Case>, Vec<Repeated>), StoreError> {
        let connected_ms = self.arrivals.connected_ms();
        let mut sessions: Option<Sessions> = None;
        // What this batch itself adds, before it is decided.
        let mut added: HashMap<DedupKey, SeenRow> = HashMap::new();
        let (mut cases, mut repeated) = (Vec::with_capacity(accepted.len()), Vec::new());
        for accepted in accepted.drain(..) {
            let Accepted { key, redelivered, session, now, .. } = accepted;
            let partition = Partition::of_event(accepted.event.customer_key(), key);
            let known = match added.get(&key) {
                Some(row) => Some(row.clone()),
                None => self.memory.seen(partition, key)?,
            };
            let sessions = sessions.get_or_insert_with(|| self.arrivals.now_and_sessions().1);
            let arrival =
                Arrival { key, redelivered, session, now, connected_ms, settles_after_ms: self.settles_after_ms };
            let (identity, seen) = identify(arrival, known, sessions);
            added.insert(key, seen.clone());
            match identity {
                Identity::Fresh(id) => {
                    let (outcomes, communications) = (Vec::new(), Vec::new());
                    cases.push(Case { accepted, id, partition, seen, outcomes, communications });
                }
                Identity::Repeat { is_certain } => {
                    self.counts.repeat(is_certain);
                    repeated.push(Repeated { accepted, partition, seen });
                }
            }
        }
        Ok((cases, repeated))
    }

    /// Sends on everything that was decided, to be committed as a whole.
    fn close(&mut self, done: Vec<Case>, repeated: Vec<Repeated>, rule_set: u64) -> Result<(), Stop> {
        let mut group = Group::of_shard(self.number);
        for Case { accepted, id, partition, seen, outcomes, communications } in done {
            let Accepted { event, key, now, receipt, held, .. } = accepted;
            self.memory.saw(partition, key, seen);
            group.has_open_occurrences |= !key.has_id();
            let customer = event.customer_key();
            let cause = Cause::Event { code: event.code().into() };
            let entry = JournalEntry { event_id: id, customer, cause, now, rule_set, outcomes };
            group.journal.push(JournalPiece { partition, customer, bytes: encode(&entry) });
            group.outbox.extend(communications.into_iter().map(|communication| (partition, communication)));
            group.receipts.push(receipt);
            group.held_in.absorb(held);
        }
        for Repeated { accepted, partition, seen } in repeated {
            self.memory.saw(partition, accepted.key, seen);
            group.receipts.push(accepted.receipt);
            group.held_in.absorb(accepted.held);
        }
        (group.number, group.changes) = self.memory.end();
        if group.receipts.is_empty() { Ok(()) } else { self.exit.send(group) }
    }

    /// Reads what the loaded rules want of an event, and adds a call for each campaign that takes it.
    fn gather(&mut self, rules: &RuleSet, number: usize, case: &mut Case) {
        let Case { accepted, id, outcomes, .. } = case;
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
            let added = self.batch.add(subscription, number, accepted.now, seed, None, &self.projection);
            // Without a state nothing else can be wrong.
            if let Err(NotCalled::Absent(absent)) = added {
                let spec = &rules.campaigns()[subscription.campaign].spec;
                let field = &spec.manifest.handlers[subscription.handler as usize].fields[absent].name;
                tracing::debug!(campaign = &*spec.name, event = %id, field, "not called: a required field is absent");
                self.counts.of(subscription.campaign).skipped();
                outcomes.push(outcome(spec, records::Decided::Skipped { field: field.as_str().into() }));
            }
        }
    }

    /// Puts what the rules proposed before the policies, and makes the communications that pass. `first` is the batch's index of the first
    /// event that is still here.
    fn judge(&mut self, rules: &RuleSet, first: usize, cases: &mut [Case]) {
        for verdict in std::mem::take(&mut self.decided.verdicts) {
            let campaign = &rules.campaigns()[verdict.campaign];
            let case = &mut cases[verdict.event - first];
            let decided = match verdict.result {
                Ok(outcome) => self.answered(campaign, verdict.campaign, case, outcome),
                Err(fault) => self.fault(campaign, verdict.campaign, case, &fault),
            };
            case.outcomes.push(outcome(&campaign.spec, decided));
        }
    }

    fn answered(&mut self, campaign: &Campaign, index: usize, case: &mut Case, outcome: Outcome) -> records::Decided {
        self.counts.of(index).decided();
        let (mut communications, mut notes) = (Vec::new(), Vec::new());
        for action in outcome.actions {
            match action {
                Action::Note(text) => {
                    let (name, note) = (&*campaign.spec.name, shown(campaign, &text));
                    tracing::debug!(campaign = name, event = %case.id, note, "note");
                    notes.push(text);
                }
                // Rules with timers are refused where campaigns are admitted (`reload/not_yet.rs`).
                Action::Schedule { .. } | Action::Cancel { .. } => {}
                Action::Send { channel, template, data } => {
                    let place = communications.len() as u32;
                    let send = Send { place, channel, template: &template, data: &data };
                    let (id, verdict) = self.dispose(campaign, index, case, &send);
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
    fn dispose(&mut self, campaign: &Campaign, index: usize, case: &mut Case, send: &Send<'_>) -> (Box<str>, Verdict) {
        let spec = &campaign.spec;
        let Send { place, channel, template, data } = *send;
        let accepted = &case.accepted;
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

    fn fault(&mut self, campaign: &Campaign, index: usize, case: &Case, fault: &GuestFault) -> records::Decided {
        let counts = self.counts.of(index);
        let count = counts.fault(fault);
        let said = fault.to_string();
        // A rule that always faults must not flood the log: the first, the second, the fourth …
        if count.is_power_of_two() {
            let (name, version, code) = (&*campaign.spec.name, &*campaign.spec.version, case.accepted.event.code());
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

    fn report_misbehaviour(&mut self, rules: &RuleSet, first: usize, cases: &[Case]) {
        self.counts.log_bytes_cut(self.decided.log_bytes_cut);
        for GuestLine { event, campaign: at, line } in self.decided.lines.drain(..) {
            if !is_logged(line.level) {
                continue;
            }
            let Some(dropped) = self.counts.of(at).log_line(Instant::now()) else { continue };
            let campaign = &rules.campaigns()[at];
            let (name, event, text) = (&*campaign.spec.name, cases[event - first].id, shown(campaign, &line.text));
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

/// What became of an event in a campaign.
fn outcome(spec: &CampaignSpec, decided: records::Decided) -> records::Outcome {
    records::Outcome { campaign: Arc::clone(&spec.name), version: Arc::clone(&spec.version), decided }
}

fn bytes_of(communication: &Communication) -> usize {
    communication.body.len() + COMMUNICATION_BYTES
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
