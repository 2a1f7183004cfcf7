//! A shard: one thread that decides the events of its customers in batches, each batch under one
//! rule set (G8). The shard owns its guests, and its decisions that the committer has not committed
//! yet (`overlay.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::budget::Budget;
use super::case::{Case, Reason, Repeated};
use super::commit::EncodedJournalEntry;
use super::counts::Counts;
use super::decide::{Decider, Limits, OUTPUT_BYTES_MAX};
use super::deferrals::Deferrals;
use super::failures::{FailureRows, FailureTotals};
use super::group::Group;
use super::identify::{DeliveryFacts, Identity, identify};
use super::intake::IntakeState;
use super::merge::Merge;
use super::overlay::Overlay;
use super::poison::{ClearSuspect, PoisonGuard};
use super::quota::Quotas;
use super::receive::receive_within;
use super::redirects::Redirects;
use super::release::reason_of;
use super::trials::{Registry, Trials};
use super::{Accepted, Rules, Settings, StoreSettings, Tally, What};
use crate::records::{DedupEntry, FaultCount, JournalEntry, Partition, Progress, Sessions};
use hailer_base::clock::Millis;
use hailer_base::failpoint::Failpoint;
use hailer_base::metrics;
use hailer_broker::communication::Communication;
use hailer_engine::RuleSet;
use hailer_event::{CustomerKey, DedupKey, Event, EventId};
use hailer_store::StoreError;

/// The most bytes of customers' rows that are committed together. One event's rows may exceed the
/// limit.
const ROWS_BYTES_MAX: usize = 8 << 20;
/// Events that passed an index of conditions are reported after this time. That looks at every
/// indexed campaign.
const MISSES_REPORTED_WITHIN: Duration = Duration::from_millis(100);
/// The interval between two looks for guests that have not been called for long.
const LOOK_FOR_IDLE_EVERY: Duration = Duration::from_secs(60);

/// A shard: the decision core and everything that it needs.
pub(super) struct Shard {
    number: usize,
    rules: Rules,
    pub(super) core: Decider,
    overlay: Overlay,
    redirects: Redirects,
    failures: FailureRows,
    intake: Arc<IntakeState>,
    poison_guard: Arc<PoisonGuard>,
    /// Clears the suspect that is being decided; its group carries it to the commit.
    clear_suspect: Option<ClearSuspect>,
    exit: Exit,
    batch_max: usize,
    settles_after_ms: Millis,
    /// When the first event passed an index of conditions that is not reported yet.
    pub(super) passed_since: Option<Instant>,
    /// When it last looked for guests that have not been called for long.
    looked_for_idle: Instant,
    pub(super) counts: Counts,
}

/// The state that all shards and the entrance share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) redirects: Redirects,
    pub(super) intake: Arc<IntakeState>,
    pub(super) poison_guard: Arc<PoisonGuard>,
    pub(super) failures: Arc<FailureTotals>,
    pub(super) quotas: Quotas,
    /// The committed fault counts, by campaign.
    pub(super) faults: BTreeMap<Arc<str>, FaultCount>,
    pub(super) trials: Registry,
    pub(super) deferrals: Deferrals,
}

impl Shared {
    /// Continues from the committed progress of the last run.
    ///
    /// # Errors
    /// When the redirects cannot be read.
    pub(super) fn new(
        settings: &Settings,
        rules: &Rules,
        store_settings: &StoreSettings,
        progress: &Progress,
    ) -> Result<Shared, StoreError> {
        let StoreSettings { store, clock, failures_bytes_max, missed_bytes_max, .. } =
            store_settings;
        let failures = FailureTotals::new(progress, *failures_bytes_max, *missed_bytes_max);
        Ok(Shared {
            redirects: Redirects::open(store)?,
            intake: Arc::new(IntakeState::new(progress, *clock, settings.settles_after)),
            poison_guard: Arc::clone(&store_settings.poison_guard),
            failures: Arc::new(failures),
            quotas: Quotas::new(&progress.hours, rules.current.load().number),
            faults: progress.faults.clone(),
            trials: Registry::new(&progress.trials),
            deferrals: Deferrals::new(progress.deferred, store_settings.deferred_max as u64),
        })
    }
}

/// Sends decided groups to the committer.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) groups: mpsc::Sender<Group>,
    /// The budget of bytes for communications and rows that wait to be committed, over all shards.
    pub(super) budget: Budget,
    pub(super) runtime: Handle,
}

/// The reasons for which a shard stops before its events end.
pub(super) enum Stop {
    /// The committer takes no more groups.
    Closed,
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

impl Exit {
    /// Sends a group; waits until the budget has room for its communications and rows.
    fn send(&self, mut group: Group) -> Result<(), Stop> {
        let outbox: usize =
            group.outbox.iter().map(|(_, communication)| bytes_of(communication)).sum();
        let bytes = outbox + group.changes.bytes();
        if bytes > 0 {
            group.held_out = self.budget.take_blocking(bytes, &self.runtime);
        }
        self.groups.blocking_send(group).map_err(|_| Stop::Closed)
    }
}

impl Shard {
    pub(super) fn new(
        number: usize,
        settings: &Settings,
        rules: Rules,
        overlay: Overlay,
        shared: Shared,
        exit: Exit,
    ) -> Shard {
        let Shared { redirects, intake, poison_guard, failures, quotas, .. } = shared;
        let (faults, trials, deferrals) = (shared.faults, shared.trials, shared.deferrals);
        let limits = Limits {
            owner: Arc::clone(&rules.owner),
            poison: Arc::clone(&poison_guard),
            failures: Arc::clone(&failures),
            quotas,
            trials: Trials::new(trials),
            deferrals,
        };
        let Settings { recheck_one_in, environment, .. } = settings;
        Shard {
            number,
            core: Decider::new(&rules.sandbox, *recheck_one_in, environment, limits),
            rules,
            overlay,
            redirects,
            failures: FailureRows::new(failures),
            intake,
            poison_guard,
            clear_suspect: None,
            exit,
            batch_max: settings.batch_max,
            settles_after_ms: settings.settles_after.as_millis() as Millis,
            passed_since: None,
            looked_for_idle: Instant::now(),
            counts: Counts::new(settings.breaker, faults),
        }
    }

    /// Decides until there are no more events. A batch is everything that waits, up to `batch_max`.
    /// An idle shard therefore adds no delay, and a busy one spreads the cost of a batch.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn run(mut self, mut events: mpsc::Receiver<Accepted>) -> Result<Tally, StoreError> {
        let mut accepted = Vec::with_capacity(self.batch_max);
        while self.receive(&mut events, &mut accepted) > 0 {
            while !accepted.is_empty() {
                let rest = self.poison_guard.split_off_suspect(&mut accepted);
                match self.decide(&mut accepted) {
                    Ok(()) => accepted.extend(rest),
                    Err(Stop::Closed) => return Ok(self.finish()),
                    Err(Stop::Store(error)) => return Err(error),
                }
            }
        }
        Ok(self.finish())
    }

    /// Waits for events. Returns how many came; 0 if no more will come. Meanwhile it does what can
    /// wait.
    fn receive(
        &mut self,
        events: &mut mpsc::Receiver<Accepted>,
        accepted: &mut Vec<Accepted>,
    ) -> usize {
        loop {
            if self.looked_for_idle.elapsed() >= LOOK_FOR_IDLE_EVERY {
                self.looked_for_idle = Instant::now();
                self.core.guests.give_back_idle(self.looked_for_idle);
            }
            let limit = self.passed_since.map_or(LOOK_FOR_IDLE_EVERY, |since| {
                MISSES_REPORTED_WITHIN.saturating_sub(since.elapsed())
            });
            if let Some(count) = receive_within(events, accepted, self.batch_max, limit) {
                return count;
            }
            self.report_misses(true);
        }
    }

    fn finish(mut self) -> Tally {
        self.report_misses(true);
        self.counts.finish()
    }

    /// Decides the whole batch under one rule set, one wave after another.
    fn decide(&mut self, accepted: &mut Vec<Accepted>) -> Result<(), Stop> {
        Failpoint::BeforeEvaluation.pass();
        let rules = self.rules.current.load_full();
        if !Arc::ptr_eq(self.counts.rules(), &rules) {
            self.report_misses(true);
        }
        self.counts.adopt(&rules);
        self.core.begin(&rules, self.intake.now());
        self.overlay.begin()?;
        self.failures.forget(&self.overlay);
        let poison_guard = Arc::clone(&self.poison_guard);
        let ids = poison_guard.ids_of(accepted);
        self.clear_suspect = ids.clear_suspect(&poison_guard);
        let (mut cases, repeated) = self.open_cases(accepted)?;
        let mut done = Vec::with_capacity(cases.len());
        let in_flight = poison_guard.mark_in_flight(self.number, &ids);
        if let [alone] = &mut cases[..] {
            self.unite(&rules, alone)?;
        }
        for wave in waves(cases, rules.remembers()) {
            self.decide_wave(&rules, wave, &mut done)?;
        }
        if done.iter().any(|case| matches!(case.reason, Reason::Release { .. })) {
            Failpoint::DuringRelease.pass();
        }
        Failpoint::AfterEvaluation.pass();
        let since = self.passed_since;
        self.report_misses(since.is_some_and(|since| since.elapsed() >= MISSES_REPORTED_WITHIN));
        if self.core.misses.all_passed() > 0 {
            self.passed_since.get_or_insert_with(Instant::now);
        }
        drop(in_flight);
        self.close(done, repeated, rules.number)
    }

    /// Decides one wave, in parts if its calls have large inputs or answers. Once rows or
    /// communications reach a limit, they are sent to the committer before the rest is decided.
    fn decide_wave(
        &mut self,
        rules: &RuleSet,
        mut cases: Vec<Case>,
        done: &mut Vec<Case>,
    ) -> Result<(), Stop> {
        while !cases.is_empty() {
            let loaded = self.load(rules, &mut cases)?;
            let gathered = self.core.gather(rules, &mut cases[..loaded]);
            let (mut first, mut part) = (0, gathered);
            while first < gathered {
                let began = Instant::now();
                part = part.min(gathered - first);
                part = self.core.decide(rules, first, &mut cases[..part]);
                self.report(rules, first, &cases[..part]);
                ::metrics::histogram!(metrics::DECIDE_SECONDS).record(began.elapsed());
                first += part;
                done.extend(cases.drain(..part));
                if self.core.rows.bytes() > ROWS_BYTES_MAX
                    || done.iter().map(Case::bytes_to_commit).sum::<usize>() > OUTPUT_BYTES_MAX
                {
                    self.close(std::mem::take(done), Vec::new(), rules.number)?;
                    self.overlay.begin()?;
                    // The group took the rows of the cases that are already gathered.
                    for case in &mut cases[..gathered - first] {
                        self.load_one(rules, case)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Loads the rows of the first cases, as many as fit and at least one case's. Returns the
    /// number of cases loaded.
    fn load(&mut self, rules: &RuleSet, cases: &mut [Case]) -> Result<usize, StoreError> {
        for (number, case) in cases.iter_mut().enumerate() {
            if number > 0 && self.core.rows.bytes() > ROWS_BYTES_MAX {
                return Ok(number);
            }
            self.load_one(rules, case)?;
        }
        Ok(cases.len())
    }

    fn load_one(&mut self, rules: &RuleSet, case: &mut Case) -> Result<(), StoreError> {
        if let Some(customer) = case.customer.filter(|_| case.reads_row(rules)) {
            self.core.rows.load(customer, || self.overlay.customer(customer))?;
        }
        Ok(())
    }

    /// Unites two customers if the case is a merge. A merge comes alone, after everything before it
    /// is committed.
    fn unite(&mut self, rules: &RuleSet, case: &mut Case) -> Result<(), StoreError> {
        let Some(merge) = Merge::of(case, &self.redirects)? else { return Ok(()) };
        for customer in merge.customers() {
            self.core.rows.load(customer, || self.overlay.customer(customer))?;
        }
        let is_done = self.core.unite(rules, case, &merge);
        self.report(rules, 0, std::slice::from_ref(case));
        if !is_done {
            return Ok(());
        }
        let Merge { from, to, recipient, .. } = &merge;
        if self.failures.are_any() {
            self.failures.unite(&self.overlay, *from, *to, recipient)?;
        }
        Failpoint::DuringMerge.pass();
        self.redirects.add(*from, *to, recipient);
        Ok(())
    }

    /// Separates events that were decided before from new ones, and gives each new event its id.
    fn open_cases(
        &mut self,
        accepted: &mut Vec<Accepted>,
    ) -> Result<(Vec<Case>, Vec<Repeated>), StoreError> {
        let connected_ms = self.intake.connected_ms();
        let mut sessions: Option<Sessions> = None;
        // The dedup entries of this batch's own events.
        let mut added: HashMap<DedupKey, DedupEntry> = HashMap::default();
        let (mut cases, mut repeated) = (Vec::with_capacity(accepted.len()), Vec::new());
        for Accepted { what, now, receipt, held, .. } in accepted.drain(..) {
            let (event, customer, became, key, redelivered, session) = match what {
                What::Event { event, customer, became, key, redelivered, session } => {
                    (event, customer, became, key, redelivered, session)
                }
                What::Timer(timer) => {
                    let customer = Some(timer.customer);
                    let partition = Partition::of_customer(timer.customer);
                    // The case gets its id once the shard knows whether the timer is still pending.
                    let (reason, id) = (reason_of(timer), EventId::NONE);
                    cases.push(Case {
                        receipt,
                        held,
                        ..Case::new(reason, id, now, customer, partition)
                    });
                    continue;
                }
                What::Retry(work) => {
                    cases.extend(work.into_cases()?);
                    continue;
                }
            };
            let partition = Partition::of_event(customer, key);
            let seen_in = seen_in(&event, key);
            let known = match added.get(&key) {
                Some(row) => Some(row.clone()),
                None => self.overlay.seen(seen_in, key)?,
            };
            let sessions = sessions.get_or_insert_with(|| self.intake.now_and_sessions().1);
            let settles_after_ms = self.settles_after_ms;
            let delivery =
                DeliveryFacts { key, redelivered, session, now, connected_ms, settles_after_ms };
            let (identity, seen) = identify(delivery, known, sessions);
            match identity {
                Identity::Fresh(id) => {
                    added.insert(key, seen.clone());
                    let reason = Reason::Event { event, seen: Some((key, seen)) };
                    cases.push(Case {
                        became,
                        receipt,
                        held,
                        ..Case::new(reason, id, now, customer, partition)
                    });
                }
                Identity::Repeat { is_certain } => {
                    added.insert(key, seen);
                    self.counts.repeat(is_certain);
                    repeated.push(Repeated { key, partition: seen_in, seen: None, receipt, held });
                }
            }
        }
        // Repeats close after all events of their batch, so their row is the key's last. An earlier
        // row could be older than that of a later event, and would lower the count.
        for repeat in &mut repeated {
            repeat.seen = added.remove(&repeat.key);
        }
        Ok((cases, repeated))
    }

    /// Sends all decisions to the committer as one group. **A row of a dedup key claims no
    /// occurrence that is decided in a later part of the batch (G4)**: an event's row is the one as
    /// of that event, and repeats come with the last part.
    fn close(
        &mut self,
        mut done: Vec<Case>,
        repeated: Vec<Repeated>,
        rule_set: u64,
    ) -> Result<(), Stop> {
        let mut group = Group::of_shard(self.number);
        // Comes first: if the store cannot be read, nothing decided here may have an effect.
        for retry in done.iter().filter_map(|case| case.retry.as_deref()) {
            self.failures.conclude(&self.overlay, retry)?;
        }
        for case in &mut done {
            let event = match &case.reason {
                Reason::Event { event, .. } => Some(&**event),
                Reason::Timer { .. } | Reason::Release { .. } | Reason::Merge { .. } => None,
            };
            self.failures.keep(&self.overlay, std::mem::take(&mut case.failures), event)?;
        }
        for case in done {
            if !case.is_void() {
                let (event_id, customer, cause) = (case.id, case.customer, case.cause());
                let (now, again) = match case.retry {
                    Some(_) => (self.intake.now(), Some(case.now)),
                    None => (case.now, None),
                };
                let named = case.named();
                let outcomes = case.outcomes;
                let entry = JournalEntry {
                    event_id,
                    customer,
                    cause,
                    now,
                    rule_set,
                    outcomes,
                    again,
                    named,
                };
                entry.encode(&mut |bytes| {
                    group.journal.push(EncodedJournalEntry {
                        partition: case.partition,
                        customer,
                        bytes,
                    });
                });
            }
            let partition = case.partition;
            group.deferred += case.deferred;
            group.outbox.extend(
                case.communications.into_iter().map(|communication| (partition, communication)),
            );
            match case.reason {
                Reason::Event { event, seen: Some((key, seen)) } => {
                    self.overlay.saw(seen_in(&event, key), key, seen);
                    group.has_open_occurrences |= !key.has_id();
                }
                Reason::Timer { timer, .. } if case.retry.is_none() => group.timers.push(timer),
                Reason::Release { release, .. } => group.timers.push(release),
                Reason::Event { .. } | Reason::Timer { .. } | Reason::Merge { .. } => {}
            }
            group.concluded.extend(case.retry.map(|retry| retry.into_concluded()));
            group.receipts.extend(case.receipt);
            group.held_in.absorb(case.held);
        }
        for Repeated { key, partition, seen, receipt, held } in repeated {
            if let Some(seen) = seen {
                self.overlay.saw(partition, key, seen);
            }
            group.receipts.extend(receipt);
            group.held_in.absorb(held);
        }
        group.clear_suspect = self.clear_suspect.take();
        let overlay = &mut self.overlay;
        let timers = self.core.rows.flush(|customer, row| overlay.keep(customer, row));
        (group.number, group.changes, group.dedup) = overlay.end();
        group.changes.append(timers);
        let (failures, deltas) = self.failures.flush();
        group.changes.append(failures);
        group.failures = deltas;
        group.hours = std::mem::take(&mut self.core.taken);
        group.faults = self.counts.take_faults();
        if group.is_empty() { Ok(()) } else { self.exit.send(group) }
    }
}

/// The partition of an event's dedup entry. It follows the customer that the event names, before
/// redirects. A merge changes which customer an id resolves to, and a later copy of the event would
/// then not be recognised.
pub(super) fn seen_in(event: &Event, key: DedupKey) -> Partition {
    Partition::of_event(event.customer_key(), key)
}

/// Splits cases into waves, in their order, with at most one case of a customer in each wave. A
/// rule then reads the state that its previous decision left. Without rules that keep state, one
/// wave holds all cases.
fn waves(cases: Vec<Case>, have_memory: bool) -> Vec<Vec<Case>> {
    if !have_memory {
        return vec![cases];
    }
    let mut waves: Vec<Vec<Case>> = Vec::new();
    let mut next_of: HashMap<CustomerKey, usize> = HashMap::default();
    for case in cases {
        let wave = match case.customer {
            Some(customer) => {
                let next = next_of.entry(customer).or_default();
                *next += 1;
                *next - 1
            }
            None => 0,
        };
        if waves.len() == wave {
            waves.push(Vec::new());
        }
        waves[wave].push(case);
    }
    waves
}

/// The approximate size of a communication without its body, in bytes.
const COMMUNICATION_BYTES: usize = 256;

/// The approximate size of a communication, in bytes.
pub(super) fn bytes_of(communication: &Communication) -> usize {
    communication.body.len() + COMMUNICATION_BYTES
}

#[cfg(test)]
mod tests;
