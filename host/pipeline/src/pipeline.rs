//! The life of an event, from top to bottom:
//!
//! source → **accept** (validate the body, read the envelope) → **shard** by customer → **batch** →
//! **decide** (copy? project the fields, call the rules, apply the policies) → **commit** (rows of
//! customers, dedup entries, journal, outbox: one transaction) → **acknowledge**. Beside that, the
//! **outbox** task publishes committed communications, and the **dead-letter** task publishes dead
//! letters.
//!
//! The entrance accepts where the source runs (`entrance.rs`). Each shard decides on a thread of
//! its own, which owns its guests (`shard.rs`, `decide.rs`). The committer has a thread, each
//! publisher a task. Every channel between them is bounded, in events and in bytes, so a slow part
//! stops the source. **A receipt is settled only after everything that its event led to is durable
//! (G1).** If one part stops early, the pipeline ends: from then on only groups that the committer
//! has made durable are acknowledged.

mod accepted;
mod breaker;
mod budget;
mod case;
mod commit;
mod dead_letters;
mod decide;
mod dedup;
mod deferrals;
mod dispose;
mod drop_deferred;
pub mod dry_run;
mod entrance;
mod event_clock;
mod failures;
mod gather;
mod group;
mod identify;
mod intake;
mod judge;

mod merge;
mod missed;
mod notice;
mod outbox;
mod overlay;
mod owner;
mod poison;
mod queues;
mod quota;
mod receive;
mod redirects;
mod release;
mod requests;
mod reset_limits;
mod retention;
mod retries;
mod rows;
mod senders;
mod settings;
mod shard;
mod stall;
mod statements;
mod timers;
mod trials;

mod counts;
mod log_allowance;
mod report;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::records::{Progress, decode, encode};
use accepted::{Accepted, What, shard_of};
use budget::Budget;
use commit::Committer;
use dead_letters::WaitingLetters;
use dedup::{DedupFilters, DedupWriter};
use entrance::Unreadable;
use event_clock::EventClock;
use group::Group;
use hailer_base::clock::{self, Millis};
use hailer_base::metrics;
use hailer_broker::sinks::{DeadLetterSink, Sink, SinkError};
use hailer_engine::RuleSet;
use hailer_store::{Changes, Store, StoreError, Table};
use intake::IntakeState;
use outbox::{OutboxLevel, PublishError};
use overlay::{LastCommitted, Overlay};
use requests::Requests;
use retention::RetentionUpkeep;
use shard::{Exit, Shard, Shared};
use timers::{Due, Timers};

pub use crate::clock_doubt::{
    ClockDoubt, Contradiction, accept_clock, clock_doubt, doubt_at_start,
};
pub use breaker::BreakerSettings;
pub use entrance::{Entrance, Recorder};
pub use intake::Clock;
pub use owner::{CampaignOwner, Misbehaviour};
pub use poison::{FILE_NAME as IN_FLIGHT_FILE, PoisonGuard};
pub use queues::{Cursor, FailureSelection};
pub use redirects::Redirects;
pub use requests::{
    DeferredDropPage, DropPage, Reply, Request, RequestReceiver, RequestSender, RetryPage,
};
pub use reset_limits::reset_limits;
pub use retention::Retention;
pub use retries::{Tried, TryResult};
pub use settings::{LettersBound, Rules, Settings, StoreSettings};
pub use tally::{CampaignTally, Tally};

/// Groups that may wait to be committed.
const GROUPS_MAX: usize = 64;
/// Dead letters, and removals from the outbox, that may wait.
const LETTERS_MAX: usize = 64;
const REMOVALS_MAX: usize = 64;
/// The time in which the remaining tasks of a pipeline that ended early must end.
const PARTS_END_WITHIN: Duration = Duration::from_secs(5);

/// Why a pipeline ended early. Events that were not committed are not acknowledged, and the source
/// delivers them again.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{part} stopped unexpectedly; what it held was not acknowledged and will be delivered \
         again"
    )]
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

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    intake: Arc<IntakeState>,
    shards: JoinSet<Result<Tally, StoreError>>,
    parts: JoinSet<Result<(), PipelineError>>,
    /// Totals of the shards that have finished.
    tally: Tally,
    outbox: Arc<OutboxLevel>,
    letters: Arc<WaitingLetters>,
}

impl Pipeline {
    /// Starts the shards and the tasks behind them. The pipeline ends when every clone of its
    /// entrance is dropped and all accepted work is done.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub fn start(
        settings: Settings,
        rules: &Rules,
        store_settings: StoreSettings,
        request_receiver: RequestReceiver,
        sink: impl Sink + 'static,
        dead_letters: impl DeadLetterSink + 'static,
    ) -> Result<(Entrance, Pipeline), StoreError> {
        let StoreSettings { store, clock, retention, .. } = &store_settings;
        let progress = begin_run(&**store, *clock, &rules.current.load())?;
        let shared = Shared::new(&settings, rules, &store_settings, &progress)?;
        let intake = &shared.intake;
        let (filters, dedup) = dedup::open(&**store, &progress, retention.dedup())?;
        store.set_upkeep(Box::new(RetentionUpkeep::new(*retention).with_floor(dedup.floor())));

        // The shards decide. Timers and requests come to them beside the events, and take their
        // share of one budget.
        let (groups, decided) = mpsc::channel(GROUPS_MAX);
        let Shards { senders, threads, last_committed } =
            Shards::start(&settings, rules, &store_settings, &shared, &filters, &groups);
        let weak: Vec<_> = senders.iter().map(mpsc::Sender::downgrade).collect();
        let budget = Budget::new(settings.in_flight_bytes_max);
        let handled = watch::Sender::new(Millis::MIN);
        let timers = Timers::new(&store_settings, &shared, &weak, &budget, handled.subscribe());
        let mut parts = Parts::default();
        let requests = Requests::new(
            &store_settings,
            &shared,
            rules,
            weak,
            &groups,
            &budget,
            handled.subscribe(),
        );
        parts.task(requests.run(request_receiver));
        let behind = Behind { progress, dedup, last_committed, due: Arc::clone(&timers.due) };
        let groups = (groups, decided);
        let Waiting { letters, letters_waiting, outbox } = behind.start(
            &mut parts,
            &settings,
            &store_settings,
            &shared,
            groups,
            (sink, dead_letters),
        )?;
        let (errors, error) = mpsc::channel(1);
        parts.task(first_error(error));
        let (wall_timers, event_clock) = match clock {
            Clock::Wall => (Some(timers), None),
            Clock::Events => (None, Some(Arc::new(EventClock::new(timers)))),
        };
        if let Some(timers) = wall_timers.clone() {
            // First, before a source can report that it is ready.
            timers.report(intake.look_at_clock());
            parts.task(timers.run());
        }

        let entrance = Entrance {
            shards: senders.into(),
            letters,
            letters_waiting: Arc::clone(&letters_waiting),
            intake: Arc::clone(intake),
            outbox: Arc::clone(&outbox),
            outbox_max: store_settings.outbox_max,
            event_bytes_max: settings.event_bytes_max,
            budget,
            unreadable: Budget::new(settings.in_flight_bytes_max),
            redirects: shared.redirects,
            poison_guard: shared.poison_guard,
            timers: wall_timers,
            event_clock,
            run_on_ms: store_settings.run_on_ms,
            recorder: None,
            handled,
            errors,
        };
        let pipeline = Pipeline {
            intake: shared.intake,
            shards: threads,
            parts: parts.0,
            tally: Tally::default(),
            outbox,
            letters: letters_waiting,
        };
        Ok((entrance, pipeline))
    }

    /// Waits until every accepted event is decided, committed, published and settled.
    ///
    /// # Errors
    ///
    /// The error of the first task or shard that ended early. Its events are not settled, nor are
    /// any later ones.
    pub async fn finished(&mut self) -> Result<(), PipelineError> {
        let died = |part| PipelineError::Died { part };
        loop {
            tokio::select! {
                Some(ended) = self.parts.join_next() => ended.map_err(|_| died("a task"))??,
                Some(shard) = self.shards.join_next() => {
                    self.tally.add(shard.map_err(|_| died("a shard"))??);
                }
                else => return Ok(()),
            }
        }
    }

    /// The number of communications that are committed and not yet confirmed.
    #[must_use]
    pub fn in_outbox(&self) -> usize {
        self.outbox.communications()
    }

    /// The number of dead letters that are durable and not yet published.
    #[must_use]
    pub fn waiting_letters(&self) -> usize {
        self.letters.letters()
    }

    /// The totals of the run, also if the pipeline ended early. Waits for the shards, which end
    /// when every clone of the entrance is dropped; then up to 5 s for the other tasks, so that the
    /// committer can close the store.
    pub async fn into_tally(mut self) -> Tally {
        while let Some(shard) = self.shards.join_next().await {
            // A shard that panicked takes its counts with it; `finished` has returned that it died.
            self.tally.add(shard.ok().and_then(Result::ok).unwrap_or_default());
        }
        self.parts.abort_all();
        // A disk that hangs must not keep the process alive.
        let _ = tokio::time::timeout(PARTS_END_WITHIN, async {
            while self.parts.join_next().await.is_some() {}
        })
        .await;
        self.tally.add(self.intake.count(|tally| tally.clone()));
        self.tally
    }
}

/// Continues from the progress of the last run, and writes the start down. So a store that cannot
/// be written fails here.
fn begin_run(store: &dyn Store, source: Clock, rules: &RuleSet) -> Result<Progress, StoreError> {
    let last = store.snapshot()?.get(Table::Meta, Progress::KEY)?;
    let mut progress = match last {
        Some(bytes) => decode::<Progress>(Table::Meta, &bytes)?,
        None => Progress::default(),
    };
    progress.runs += 1;
    ::metrics::gauge!(metrics::DEFERRED).set(progress.deferred as f64);
    let reading = clock::reading();
    if source == Clock::Wall && clock_doubt(&progress.clock, progress.now, reading).is_none() {
        progress.clock.mark = Some(reading);
    }
    let mut changes = Changes::default();
    changes.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
    store.commit(changes)?;
    // Counts of campaigns that are stopped or removed are dropped: they begin at zero when they run
    // again.
    let mut running: HashSet<&str> = HashSet::new();
    for (index, campaign) in rules.campaigns().iter().enumerate() {
        if rules.stop(index).is_none() {
            running.insert(&campaign.spec.name);
        }
    }
    progress.faults.retain(|campaign, _| running.contains(&**campaign));
    progress.trials.retain(|canary, _| running.contains(&**canary));
    Ok(progress)
}

/// The shards, once they have started.
struct Shards {
    senders: Vec<mpsc::Sender<Accepted>>,
    threads: JoinSet<Result<Tally, StoreError>>,
    /// The last committed group of each shard.
    last_committed: Box<[LastCommitted]>,
}

impl Shards {
    fn start(
        settings: &Settings,
        rules: &Rules,
        store_settings: &StoreSettings,
        shared: &Shared,
        filters: &Arc<DedupFilters>,
        groups: &mpsc::Sender<Group>,
    ) -> Shards {
        let outgoing = Budget::new(settings.in_flight_bytes_max);
        let waiting_max = (settings.in_flight_max / settings.shards).max(1);
        let (mut senders, mut threads) = (Vec::new(), JoinSet::new());
        let last_committed: Box<[LastCommitted]> =
            (0..settings.shards).map(|_| LastCommitted::default()).collect();
        for (number, committed) in last_committed.iter().enumerate() {
            let (sender, events) = mpsc::channel(waiting_max);
            let overlay = Overlay::new(
                Arc::clone(&store_settings.store),
                Arc::clone(filters),
                committed.clone(),
            );
            let exit = Exit {
                groups: groups.clone(),
                budget: outgoing.clone(),
                runtime: Handle::current(),
            };
            let shard = Shard::new(number, settings, rules.clone(), overlay, shared.clone(), exit);
            threads.spawn_blocking(move || shard.run(events));
            senders.push(sender);
        }
        Shards { senders, threads, last_committed }
    }
}

/// The tasks behind the shards: the committer makes decisions durable, and two publishers send
/// communications and dead letters from the store.
struct Behind {
    progress: Progress,
    dedup: DedupWriter,
    last_committed: Box<[LastCommitted]>,
    due: Arc<Due>,
}

/// The channel for dead letters, and the numbers of dead letters and communications that wait to be
/// published.
struct Waiting {
    letters: mpsc::Sender<Unreadable>,
    letters_waiting: Arc<WaitingLetters>,
    outbox: Arc<OutboxLevel>,
}

impl Behind {
    /// Starts the committer and the publishers.
    ///
    /// # Errors
    /// When the store can't be read.
    fn start(
        self,
        parts: &mut Parts,
        settings: &Settings,
        store_settings: &StoreSettings,
        shared: &Shared,
        (groups, decided): (mpsc::Sender<Group>, mpsc::Receiver<Group>),
        (sink, dead_letters): (impl Sink + 'static, impl DeadLetterSink + 'static),
    ) -> Result<Waiting, StoreError> {
        let Behind { progress, dedup, last_committed, due } = self;
        let (store, bound) = (&store_settings.store, store_settings.letters);
        let (removals, removals_sent) = mpsc::channel(REMOVALS_MAX);
        let (writer, letter_publisher, letters_waiting) =
            dead_letters::open(store, bound.letters_max, bound.bytes_max)?;
        let (sender, publisher, outbox) =
            outbox::open(store, removals.clone(), Arc::clone(&shared.intake))?;
        let committer = Committer {
            store: Arc::clone(store),
            progress,
            dedup,
            last_committed,
            outbox: sender,
            intake: Arc::clone(&shared.intake),
            failures: Arc::clone(&shared.failures),
            trials: shared.trials.clone(),
            due,
            settles_after: settings.settles_after,
            alive_at: None,
        };
        let (letters, letters_sent) = mpsc::channel(LETTERS_MAX);
        parts.thread(committer.run(decided, removals_sent));
        parts.task(publisher.publish(sink));
        parts.task(writer.run(letters_sent, groups));
        parts.task(letter_publisher.run(dead_letters, removals));
        Ok(Waiting { letters, letters_waiting, outbox })
    }
}

/// Waits for the first error that the entrance meets; `Ok` when the entrance is gone.
async fn first_error(mut errors: mpsc::Receiver<StoreError>) -> Result<(), PipelineError> {
    errors.recv().await.map_or(Ok(()), |error| Err(error.into()))
}

/// The tasks behind the shards.
#[derive(Debug, Default)]
struct Parts(JoinSet<Result<(), PipelineError>>);

impl Parts {
    /// Runs a part as a task of the runtime.
    fn task<E: Into<PipelineError> + Send + 'static>(
        &mut self,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.0.spawn(async move { part.await.map_err(Into::into) });
    }

    /// Runs a part that blocks on a thread of its own.
    fn thread<E: Into<PipelineError> + Send + 'static>(
        &mut self,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let runtime = Handle::current();
        self.0.spawn_blocking(move || runtime.block_on(part).map_err(Into::into));
    }
}
