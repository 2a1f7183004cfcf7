//! The life of an event, from top to bottom:
//!
//! source → **accept** (validate, read the envelope) → **shard** by customer → **batch** → **decide** (seen before? project, call the
//! rules, policies) → **commit** (what was seen, journal, outbox: one transaction) → **acknowledge**. Beside it the **outbox** publishes what is
//! committed, and dead letters are **buried**.
//!
//! Accepting happens where the source runs; deciding on one thread a shard, which owns its guests; committing on a thread;
//! publishing and burying in a task each. Every channel between them is bounded, in events and in bytes, so a slow part stops the source. **A receipt is settled
//! only after everything that its event led to is durable (G1).** When a part dies the pipeline ends, and nothing more is acknowledged but what the
//! committer still made durable.

mod arrivals;
mod awake;
mod breaker;
mod budget;
mod bury;
mod case;
mod clock_doubt;
mod commit;
mod event_clock;
mod failures;
mod gather;
mod group;
mod identify;
mod judge;
mod memory;
mod merge;
mod missed;
mod outbox;
mod queues;
mod quota;
mod redirects;
pub(crate) mod rehearse;
mod requests;
mod resumed;
mod retries;
mod rows;
mod seen;
mod senders;
mod settings;
mod shard;
mod suspects;
mod sweep;
mod timers;
mod trials;
mod view;

mod counts;
mod log_allowance;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::clock::{self, Millis};
use crate::communication::DeadLetter;
use crate::delivery::{Delivery, Receipt, Session};
use crate::event::{Customer, CustomerKey, DedupKey, Event, EventErrorKind};
use crate::metrics;
use crate::recording::Recorder;
use crate::records::{Progress, TimerKey, decode, encode};
use crate::sinks::{DeadLetters, Sink, SinkError};
use crate::sources::{Intake, IntakeClosed};
use crate::store::{Changes, Store, StoreError, Table};
use arrivals::Arrivals;
pub use arrivals::Clock;
pub use breaker::BreakerSettings;
use budget::{Budget, Held};
pub use clock_doubt::{ClockDoubt, Contradiction, accept_clock, clock_doubt, doubt_at_start};
use commit::Committer;
use event_clock::EventClock;
use failures::FailureTotals;
use group::Group;
use memory::{LastCommitted, Memory};
use merge::Meant;
use outbox::{Fill, PublishError};
pub use queues::{Cursor, Which};
use quota::Quotas;
pub use redirects::Redirects;
use requests::Requests;
pub use requests::{Door, Doorway, DropPage, Reply, Request, RetryPage};
pub use resumed::begin_limits_anew;
use retries::RetryWork;
pub use retries::{Tried, TryResult};
pub use settings::{Keeping, LettersBound, Rules, Settings};
use shard::{Exit, Shard, Shared};
use suspects::Name;
pub use suspects::{FILE_NAME as IN_FLIGHT_FILE, Suspects};
pub use sweep::Retention;
use sweep::Sweep;
pub use tally::{CampaignTally, Tally};
use timers::{Due, Timers};
use view::View;

/// Groups that may wait to be committed.
const GROUPS_MAX: usize = 64;
/// Dead letters, and removals from the outbox, that may wait.
const LETTERS_MAX: usize = 64;
const REMOVALS_MAX: usize = 64;
/// How long what is left of a pipeline that ended early may take to end.
const PARTS_END_WITHIN: Duration = Duration::from_secs(5);

/// What is on its way to its shard.
#[derive(Debug)]
struct Accepted {
    what: What,
    /// What it is called while it is decided.
    name: Option<Name>,
    /// The `now` of everything that it leads to.
    now: Millis,
    /// Timers have none: nobody waits for them to be acknowledged.
    receipt: Option<Receipt>,
    held: Held,
}

#[derive(Debug)]
enum What {
    /// An event that has been read.
    Event {
        event: Box<Event>,
        /// The customer, after redirects from merges.
        customer: Option<CustomerKey>,
        /// The ids of that customer, if a merge has made them others than the event names.
        became: Option<Arc<Customer>>,
        key: DedupKey,
        redelivered: bool,
        session: u64,
    },
    /// A timer that seems to be due.
    Timer(TimerKey),
    /// Failures that are to be tried again.
    Retry(Box<RetryWork>),
}

/// What was read of a delivery; or why it is to be buried.
type Read = Result<(Event, DedupKey, Name), Refusal>;

/// A message that can't be read, on its way to be buried.
#[derive(Debug)]
struct Unreadable {
    letter: DeadLetter,
    receipt: Receipt,
    held: Held,
}

/// Why a delivery becomes a dead letter.
#[derive(Debug)]
struct Refusal {
    reason: String,
    /// The event's name and code, if the engine ended too often while it decided the event.
    given_up: Option<(Name, Box<str>)>,
}

/// Why a pipeline ended early. What was not committed was not acknowledged, and will be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{part} stopped unexpectedly; what it held was not acknowledged and will be delivered again")]
    Died { part: &'static str },
}

impl From<PublishError> for PipelineError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Sink(error) => error.into(),
            PublishError::Store(error) => error.into(),
        }
    }
}

/// The entrance: the end of the pipeline that sources see.
#[derive(Clone, Debug)]
pub struct Entrance {
    shards: Arc<[mpsc::Sender<Accepted>]>,
    letters: mpsc::Sender<Unreadable>,
    /// Dead letters that are durable and not yet delivered.
    letters_waiting: Arc<bury::Waiting>,
    arrivals: Arc<Arrivals>,
    outbox: Arc<Fill>,
    outbox_max: usize,
    event_bytes_max: usize,
    budget: Budget,
    /// Of dead letters: they may wait for their queue longer than anything else should.
    unreadable: Budget,
    redirects: Redirects,
    suspects: Arc<Suspects>,
    /// With the machine's clock.
    timers: Option<Timers>,
    /// With a clock that the events tell.
    event_clock: Option<Arc<EventClock>>,
    run_on_ms: Millis,
    recorder: Option<Recorder>,
    /// Everything that was waiting in the source at this moment has been settled.
    handled: watch::Sender<Millis>,
    /// Errors of the store that the entrance meets; they end the pipeline.
    errors: mpsc::Sender<StoreError>,
}

/// A pipeline at work.
#[derive(Debug)]
pub struct Pipeline {
    arrivals: Arc<Arrivals>,
    shards: JoinSet<Result<Tally, StoreError>>,
    parts: JoinSet<Result<(), PipelineError>>,
    /// Of the shards that have ended.
    tally: Tally,
    outbox: Arc<Fill>,
    letters: Arc<bury::Waiting>,
}

impl Pipeline {
    /// Starts the shards and the tasks behind them. The pipeline ends when every clone of its entrance is gone and
    /// what was inside is done.
    ///
    /// # Errors
    /// When the store can't be read, or not be written.
    pub fn start(
        settings: Settings,
        rules: &Rules,
        keeping: Keeping,
        doorway: Doorway,
        sink: impl Sink + 'static,
        dead_letters: impl DeadLetters + 'static,
    ) -> Result<(Entrance, Pipeline), StoreError> {
        let Keeping {
            store,
            clock,
            run_on_ms,
            retention,
            outbox_max,
            failures_bytes_max,
            missed_bytes_max,
            suspects,
            health,
            letters,
        } = keeping;
        let mut progress = begin_run(&*store, clock)?;
        let current = rules.current.load_full();
        let running = current.campaigns().iter().enumerate().filter(|(index, _)| current.stop(*index).is_none());
        let runs = |name: &Arc<str>| running.clone().any(|(_, campaign)| campaign.spec.name == *name);
        progress.faults.retain(|campaign, _| runs(campaign));
        progress.trials.retain(|canary, _| runs(canary));
        let shared = Shared {
            redirects: Redirects::open(&store)?,
            arrivals: Arc::new(Arrivals::new(&progress, clock, settings.settles_after)),
            suspects,
            failures: Arc::new(FailureTotals::new(&progress, failures_bytes_max, missed_bytes_max)),
            quotas: Quotas::new(&progress.hours, current.number),
            faults: progress.faults.clone(),
            trials: trials::Registry::new(&progress.trials),
        };
        let arrivals = Arc::clone(&shared.arrivals);
        let (seen_filters, seen) = seen::open(&*store, &progress, (retention.seen_ms, retention.seen_rows_max))?;
        let (groups, groups_decided) = mpsc::channel(GROUPS_MAX);
        let waiting_max = (settings.in_flight_max / settings.shards).max(1);
        let [budget, outgoing, unreadable] = [(); 3].map(|()| Budget::new(settings.in_flight_bytes_max));
        let mut entrances = Vec::new();
        let mut shards = JoinSet::new();
        let last_committed: Box<[LastCommitted]> = (0..settings.shards).map(|_| LastCommitted::default()).collect();
        for number in 0..settings.shards {
            let (entrance, events) = mpsc::channel(waiting_max);
            let last_committed = last_committed[number].clone();
            let view = View::Store(Memory::new(Arc::clone(&store), Arc::clone(&seen_filters), last_committed));
            let exit = Some(Exit { groups: groups.clone(), budget: outgoing.clone(), runtime: Handle::current() });
            let shard = Shard::new(number, &settings, rules.clone(), view, shared.clone(), exit);
            shards.spawn_blocking(move || shard.run(events));
            entrances.push(entrance);
        }
        let due = Arc::<Due>::default();
        let handled_until = watch::Sender::new(Millis::MIN);
        let handled = handled_until.subscribe();
        let timers = Timers {
            store: Arc::clone(&store),
            due: Arc::clone(&due),
            arrivals: Arc::clone(&arrivals),
            shards: entrances.iter().map(mpsc::Sender::downgrade).collect(),
            budget: budget.clone(),
            redirects: shared.redirects.clone(),
            handled: handled.clone(),
            health,
        };
        let looked_at_end = (clock == Clock::Wall).then(|| timers.clone());
        if clock == Clock::Wall {
            // Before a source can say that it is ready.
            timers.report(arrivals.look_at_clock());
        }
        let requests = Requests {
            store: Arc::clone(&store),
            arrivals: Arc::clone(&arrivals),
            shards: entrances.iter().map(mpsc::Sender::downgrade).collect(),
            groups: groups.downgrade(),
            budget: budget.clone(),
            entrance: handled,
            journal_ms: retention.journal_ms,
        };
        let (removals, removals_sent) = mpsc::channel(REMOVALS_MAX);
        let (keeper, deliverer, letters_waiting) = bury::open(&store, letters.letters_max, letters.bytes_max)?;
        let letters_removals = removals.clone();
        let (outbox, publisher, fill) = outbox::open(&store, removals, Arc::clone(&arrivals))?;
        store.set_upkeep(Box::new(Sweep::new(retention).with_floor(seen.floor())));
        let committer = Committer {
            store: Arc::clone(&store),
            progress,
            seen,
            last_committed,
            outbox,
            arrivals: Arc::clone(&arrivals),
            failures: Arc::clone(&shared.failures),
            trials: shared.trials.clone(),
            due,
            settles_after: settings.settles_after,
            alive_at: None,
        };
        let (letters, letters_sent) = mpsc::channel(LETTERS_MAX);
        let mut parts = JoinSet::new();
        let runtime = Handle::current();
        parts.spawn_blocking(move || Ok(runtime.block_on(committer.run(groups_decided, removals_sent))?));
        let event_clock = match clock {
            Clock::Events => Some(Arc::new(EventClock::new(timers))),
            Clock::Wall => {
                parts.spawn(async move { Ok(timers.run().await?) });
                None
            }
        };
        parts.spawn(async move { Ok(publisher.publish(sink).await?) });
        parts.spawn(async move { Ok(requests.run(doorway).await?) });
        parts.spawn(async move {
            keeper.keep(letters_sent, groups).await;
            Ok(())
        });
        parts.spawn(deliverer.deliver(dead_letters, letters_removals));
        let (errors, mut error) = mpsc::channel(1);
        parts.spawn(async move { error.recv().await.map_or(Ok(()), |error: StoreError| Err(error.into())) });
        let outbox = Arc::clone(&fill);
        let entrance = Entrance {
            shards: entrances.into(),
            letters,
            letters_waiting: Arc::clone(&letters_waiting),
            arrivals: Arc::clone(&arrivals),
            outbox: fill,
            outbox_max,
            event_bytes_max: settings.event_bytes_max,
            budget,
            unreadable,
            redirects: shared.redirects,
            suspects: shared.suspects,
            timers: looked_at_end,
            event_clock,
            run_on_ms,
            recorder: None,
            handled: handled_until,
            errors,
        };
        Ok((entrance, Pipeline { arrivals, shards, parts, tally: Tally::default(), outbox, letters: letters_waiting }))
    }

    /// Waits until everything that came in has been decided, committed, published and settled.
    ///
    /// # Errors
    /// As soon as a part has ended early: what it held is not settled, and nothing behind it will be.
    pub async fn finished(&mut self) -> Result<(), PipelineError> {
        let died = |part| PipelineError::Died { part };
        loop {
            tokio::select! {
                Some(ended) = self.parts.join_next() => ended.map_err(|_| died("a part of the pipeline"))??,
                Some(shard) = self.shards.join_next() => self.tally.add(shard.map_err(|_| died("a shard"))??),
                else => return Ok(()),
            }
        }
    }

    /// Communications that are committed and not yet confirmed.
    #[must_use]
    pub fn in_outbox(&self) -> usize {
        self.outbox.communications()
    }

    /// Dead letters that are durable and not yet delivered.
    #[must_use]
    pub fn waiting_letters(&self) -> usize {
        self.letters.letters()
    }

    /// What was done, also if the pipeline ended early. Waits for the shards, which end when every clone of the entrance is gone; and a little for the
    /// other parts, so that the committer can close the store.
    pub async fn into_tally(mut self) -> Tally {
        while let Some(shard) = self.shards.join_next().await {
            // What a shard that died has counted is lost with it, and that it died has been told.
            self.tally.add(shard.ok().and_then(Result::ok).unwrap_or_default());
        }
        self.parts.abort_all();
        // A disk that hangs must not keep the process.
        let _ = tokio::time::timeout(PARTS_END_WITHIN, async { while self.parts.join_next().await.is_some() {} }).await;
        self.tally.add(self.arrivals.count(|tally| tally.clone()));
        self.tally
    }
}

/// Goes on from where the last run stopped. Writing that down shows that the store can be written.
fn begin_run(store: &dyn Store, source: Clock) -> Result<Progress, StoreError> {
    let last = store.snapshot()?.get(Table::Meta, Progress::KEY)?;
    let mut progress = match last {
        Some(bytes) => decode::<Progress>(Table::Meta, &bytes)?,
        None => Progress::default(),
    };
    progress.runs += 1;
    let reading = clock::reading();
    if source == Clock::Wall && clock_doubt(&progress.clock, progress.now, reading).is_none() {
        progress.clock.mark = Some(reading);
    }
    let mut changes = Changes::default();
    changes.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
    store.commit(changes)?;
    Ok(progress)
}

// ---- accept, where the source runs -----------------------------------------------------------------------------------

impl Intake for Entrance {
    async fn accept(&self, delivery: Delivery) -> Result<(), IntakeClosed> {
        self.unpaused().await;
        let read = self.read(&delivery);
        match &self.event_clock {
            Some(clock) => {
                clock.push(delivery, read).await;
                self.hand_on_settled(clock, false).await
            }
            None => self.hand_on(delivery, read).await,
        }
    }

    fn session_settled(&self, session: &Session) {
        self.arrivals.session_settled(session);
    }

    fn earlier_sessions_settled(&self, session: &Session) {
        self.arrivals.earlier_sessions_settled(session);
    }

    async fn unpaused(&self) {
        self.outbox.is_below(self.outbox_max).await;
        self.clock_is_believed().await;
        self.letters_waiting.has_room().await;
    }

    async fn refilled(&self) {
        self.outbox.is_below(self.outbox_max.div_ceil(2)).await;
        self.clock_is_believed().await;
        self.letters_waiting.has_room().await;
    }

    async fn rested(&self) {
        if let Some(clock) = &self.event_clock {
            // A source that goes on finds the pipeline closed, too.
            let _ = self.hand_on_settled(clock, true).await;
        }
    }

    async fn ended(&self) {
        if let Some(clock) = &self.event_clock
            && self.hand_on_settled(clock, true).await.is_ok()
        {
            // An error ends the pipeline, which tells it.
            let _ = clock.run_on(self.run_on_ms).await;
        }
    }

    async fn handled_all(&self) {
        if let Some(timers) = &self.timers {
            // An error ends the pipeline, which tells it.
            let _ = self.or_close(timers.fire_due().await);
        }
    }

    fn handled_until(&self, moment: Millis) {
        self.handled.send_if_modified(|handled| {
            let further = moment > *handled;
            *handled = moment.max(*handled);
            further
        });
    }
}

impl Entrance {
    /// Hands on everything that has its time.
    async fn hand_on_settled(&self, clock: &EventClock, is_end: bool) -> Result<(), IntakeClosed> {
        while let Some((delivery, read)) = self.or_close(clock.next(is_end).await)? {
            if self.hand_on(delivery, read).await.is_err() {
                clock.clear().await;
                return Err(IntakeClosed);
            }
        }
        Ok(())
    }

    /// Hands an event to its shard, or what can't be read to be buried.
    async fn hand_on(&self, delivery: Delivery, read: Read) -> Result<(), IntakeClosed> {
        // **A delivery leaves a trace only once it has its place (G4)**: the source may cancel this at every wait, and the broker delivers again.
        match read {
            Ok((event, key, name)) => {
                let held = self.room_for(&event).await;
                let meant = self.customer_of(&event).await?;
                let shard = shard_of_event(meant.0, key, self.shards.len());
                let place = self.shards[shard].reserve().await.map_err(|_| IntakeClosed)?;
                place.send(self.stamp((event, key, name), meant, delivery, held));
            }
            Err(unreadable) => {
                let held = self.unreadable.take(delivery.body.len() + unreadable.reason.len()).await;
                let place = self.letters.reserve().await.map_err(|_| IntakeClosed)?;
                place.send(self.dead_letter(delivery, unreadable, held));
            }
        }
        Ok(())
    }

    /// Waits for room. **A merge has the whole budget: it is decided when all before it is committed, and all behind it when that is.**
    async fn room_for(&self, event: &Event) -> Held {
        let bytes = if merge::merge_of(event).is_some() { usize::MAX } else { event.held_bytes() };
        self.budget.take(bytes).await
    }

    /// The customer whom an event is about, after redirects from merges.
    async fn customer_of(&self, event: &Event) -> Result<Meant, IntakeClosed> {
        match event.customer_key() {
            Some(customer) => {
                let resolved = self.or_close(self.redirects.find(customer).await)?;
                Ok(merge::meaning(event, resolved))
            }
            None => Ok((None, None)),
        }
    }

    /// Waits until the machine's clock is believed: what was taken in meanwhile would have the wrong time for ever.
    pub async fn clock_is_believed(&self) {
        self.arrivals.clock_is_believed().await;
    }

    /// Closes the intake at an error of the store, which ends the pipeline.
    fn or_close<T>(&self, result: Result<T, StoreError>) -> Result<T, IntakeClosed> {
        result.map_err(|error| {
            // Only the first matters, and it has room.
            let _ = self.errors.try_send(error);
            IntakeClosed
        })
    }

    /// Has every event that can be read recorded, too.
    #[must_use]
    pub fn recorded_by(self, recorder: Option<Recorder>) -> Entrance {
        Entrance { recorder, ..self }
    }

    /// Validates the whole body and reads the envelope; or says why it can't be read, or not be decided.
    fn read(&self, delivery: &Delivery) -> Read {
        let because = |reason| Refusal { reason, given_up: None };
        if let Some(defect) = &delivery.defect {
            return Err(because(defect.to_string()));
        }
        let limit_bytes = self.event_bytes_max;
        let read = Event::read_within(delivery.body.clone(), limit_bytes).map_err(|error| match error.kind {
            EventErrorKind::TooLarge => {
                format!("{} bytes, over the limit of {limit_bytes} bytes (event.bytes_max)", delivery.body.len())
            }
            _ => error.to_string(),
        });
        let event = read.map_err(because)?;
        let key = event.dedup_key(delivery.message_id.as_deref(), delivery.position.as_deref());
        let name = Name::of_event(&event, delivery, key);
        match self.suspects.refuses_event(name) {
            Some(reason) => Err(Refusal { reason, given_up: Some((name, event.code().into())) }),
            None => Ok((event, key, name)),
        }
    }

    /// Notes that a delivery comes in, now that nothing keeps it out any more.
    fn stamp(
        &self,
        (event, key, name): (Event, DedupKey, Name),
        (customer, became): Meant,
        mut delivery: Delivery,
        held: Held,
    ) -> Accepted {
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1);
        delivery.receipt.take();
        let stamp = self.arrivals.stamp(&delivery.receipt);
        if let Some(recorder) = &self.recorder {
            recorder.note(&delivery, event.was_repaired(), stamp.now);
        }
        let was_repaired = event.was_repaired() || delivery.was_repaired;
        for field in event.unusable_ids() {
            ::metrics::counter!(metrics::FIELD_MISMATCHES_TOTAL, "field" => *field).increment(1);
        }
        self.arrivals.count(|tally| {
            tally.events += 1;
            tally.repaired += u64::from(was_repaired);
            tally.field_mismatches += event.unusable_ids().len() as u64;
        });
        if was_repaired {
            ::metrics::counter!(metrics::EVENTS_REPAIRED_TOTAL).increment(1);
        }
        let Delivery { redelivered, receipt, .. } = delivery;
        let (event, session) = (Box::new(event), stamp.session);
        let what = What::Event { event, customer, became, key, redelivered, session };
        Accepted { what, name: Some(name), now: stamp.now, receipt: Some(receipt), held }
    }

    fn dead_letter(&self, mut delivery: Delivery, refusal: Refusal, held: Held) -> Unreadable {
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1);
        delivery.receipt.take();
        let Refusal { reason, given_up } = refusal;
        if let Some((name, code)) = given_up {
            self.suspects.give_up_event(name, &code);
        }
        ::metrics::counter!(metrics::EVENTS_TOTAL, "outcome" => "deadletter").increment(1);
        let count = self.arrivals.count(|tally| {
            tally.dead_letters += 1;
            tally.dead_letters
        });
        // A broken sender must not flood the log: the first, the second, the fourth …
        if count.is_power_of_two() {
            let position = delivery.position.as_deref();
            tracing::warn!(reason, position, count, "an event becomes a dead letter");
        }
        let letter = DeadLetter {
            body: delivery.body,
            reason,
            message_id: delivery.message_id,
            routing_key: delivery.routing_key,
            position: delivery.position,
            received_ms: clock::now_ms(),
            origin: delivery.origin,
        };
        Unreadable { letter, receipt: delivery.receipt, held }
    }
}

/// A customer belongs to one shard, so that their events stay in order (G5); and so do the copies of an event.
fn shard_of(accepted: &Accepted, shards: usize) -> usize {
    match (accepted.customer(), &accepted.what) {
        (customer, What::Event { key, .. }) => shard_of_event(customer, *key, shards),
        (Some(customer), _) => customer.shard(shards),
        (None, What::Timer(timer)) => timer.customer.shard(shards),
        (None, What::Retry(work)) => usize::from(work.partition.number()) % shards,
    }
}

fn shard_of_event(customer: Option<CustomerKey>, key: DedupKey, shards: usize) -> usize {
    customer.map_or_else(|| usize::from(key.as_bytes()[0]) % shards, |customer| customer.shard(shards))
}

// ---- decide, on the shard's thread: `shard.rs`. Commit and acknowledge: `commit.rs`. Publish: `outbox.rs` ---------------
