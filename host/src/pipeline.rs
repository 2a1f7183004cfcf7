//! The life of an event, from top to bottom:
//!
//! source → **accept** (validate, read the envelope, identify) → **shard** by customer → **batch** → **decide**
//! (project, call the rules) → **policies** → **commit** → **publish** → **acknowledge**.
//!
//! Accepting happens where the source runs; deciding on one thread a shard, which owns its guests and takes no lock; the rest in one task.
//! Every channel between them is bounded, in events and in bytes, so a slow part stops the source. **A receipt is settled only after everything that its event
//! led to has been confirmed (G1).** When a part dies the pipeline ends and nothing more is acknowledged.

mod budget;
mod counts;
mod log_allowance;
mod occurrences;
mod shard;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::{self, Millis};
use crate::communication::{Communication, DeadLetter};
use crate::delivery::{Delivery, Receipt};
use crate::engine::{RuleSet, Sandbox};
use crate::event::{Event, EventErrorKind, EventId};
use crate::metrics;
use crate::reload::ReloadHandle;
use crate::sinks::{DeadLetters, Sink, SinkError};
use crate::sources::{Intake, IntakeClosed};
use budget::{Budget, Held};
use occurrences::{Occurrence, Occurrences};
use shard::{Exit, Shard};
pub use tally::{CampaignTally, Tally};

/// The most communications, or events, whose outcome is confirmed together; one more group may come on top.
const PUBLISH_MAX: usize = 1024;
/// Groups that may wait to be published.
const GROUPS_MAX: usize = 64;

/// How a pipeline is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub shards: usize,
    /// A larger message is a dead letter.
    pub event_bytes_max: usize,
    /// The most events that a shard takes at once.
    pub batch_max: usize,
    /// The most events that wait for a shard, over all of them.
    pub in_flight_max: usize,
    /// The most bytes of events that wait, and as much again of communications on their way out.
    pub in_flight_bytes_max: usize,
    pub environment: Arc<str>,
    /// One in so many calls runs again on a fresh instance; 0 means none.
    pub recheck_one_in: u32,
}

/// What runs, and who is told when a rule misbehaves.
#[derive(Clone, Debug)]
pub struct Rules {
    pub sandbox: Arc<Sandbox>,
    pub current: Arc<ArcSwap<RuleSet>>,
    pub owner: ReloadHandle,
}

/// An event that has been read, on its way to its shard.
#[derive(Debug)]
struct Accepted {
    event: Event,
    id: EventId,
    /// The `now` of everything that this event leads to.
    now: Millis,
    /// Set if the event had no id of its own.
    occurrence: Option<Occurrence>,
    receipt: Receipt,
    held: Held,
}

/// What has been decided together, and is committed, published and acknowledged together.
#[derive(Debug, Default)]
struct Group {
    communications: Vec<Communication>,
    dead_letters: Vec<DeadLetter>,
    receipts: Vec<Receipt>,
    occurrences: Vec<Occurrence>,
    /// What its events hold of one budget, and its communications of another.
    held_in: Held,
    held_out: Held,
}

/// Why a pipeline ended early.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("a shard stopped unexpectedly; what it held was not acknowledged and will be delivered again")]
    Shard,
    #[error("publishing stopped unexpectedly; what was not confirmed was not acknowledged and will be delivered again")]
    Delivery,
}

/// The entrance: the end of the pipeline that sources see.
#[derive(Clone, Debug)]
pub struct Entrance {
    shards: Arc<[mpsc::Sender<Accepted>]>,
    groups: mpsc::Sender<Group>,
    arrivals: Arc<Mutex<Arrivals>>,
    event_bytes_max: usize,
    budget: Budget,
}

/// What the entrance remembers from message to message.
#[derive(Debug, Default)]
struct Arrivals {
    occurrences: Occurrences,
    last_now: Millis,
    tally: Tally,
}

/// A pipeline at work.
#[derive(Debug)]
pub struct Pipeline {
    arrivals: Arc<Mutex<Arrivals>>,
    shards: JoinSet<Tally>,
    delivery: JoinHandle<Result<(), SinkError>>,
    has_delivered: bool,
    /// Of the shards that have ended.
    tally: Tally,
}

impl Pipeline {
    /// Starts the shards and the task that publishes. The pipeline ends when every clone of its entrance is gone and
    /// what was inside is done.
    pub fn start(
        settings: Settings,
        rules: &Rules,
        sink: impl Sink + 'static,
        dead_letters: impl DeadLetters + 'static,
    ) -> (Entrance, Pipeline) {
        let (groups, groups_received) = mpsc::channel(GROUPS_MAX);
        let waiting_max = (settings.in_flight_max / settings.shards).max(1);
        let [budget, outgoing] = [(); 2].map(|()| Budget::new(settings.in_flight_bytes_max));
        let mut entrances = Vec::new();
        let mut shards = JoinSet::new();
        for _ in 0..settings.shards {
            let (entrance, events) = mpsc::channel(waiting_max);
            let exit = Exit { groups: groups.clone(), budget: outgoing.clone(), runtime: Handle::current() };
            let shard = Shard::new(&settings, rules.clone(), exit);
            shards.spawn_blocking(move || shard.run(events));
            entrances.push(entrance);
        }
        let arrivals = Arc::<Mutex<Arrivals>>::default();
        let delivery = tokio::spawn(deliver(groups_received, sink, dead_letters, Arc::clone(&arrivals)));
        let event_bytes_max = settings.event_bytes_max;
        let arrived = Arc::clone(&arrivals);
        let entrance = Entrance { shards: entrances.into(), groups, arrivals: arrived, event_bytes_max, budget };
        (entrance, Pipeline { arrivals, shards, delivery, has_delivered: false, tally: Tally::default() })
    }

    /// Waits until everything that came in has been decided, published and settled.
    ///
    /// # Errors
    /// As soon as a part has ended early: what it held is not settled, and nothing behind it will be.
    pub async fn finished(&mut self) -> Result<(), PipelineError> {
        loop {
            tokio::select! {
                ended = &mut self.delivery, if !self.has_delivered => {
                    self.has_delivered = true;
                    ended.map_err(|_| PipelineError::Delivery)??;
                }
                shard = self.shards.join_next(), if !self.shards.is_empty() => {
                    let of_shard = shard.and_then(Result::ok).ok_or(PipelineError::Shard)?;
                    self.tally.add(of_shard);
                }
                else => return Ok(()),
            }
        }
    }

    /// What was done, also if the pipeline ended early. Waits for the shards, which end when every clone of the entrance is gone.
    pub async fn into_tally(mut self) -> Tally {
        while let Some(shard) = self.shards.join_next().await {
            // What a shard that died has counted is lost with it, and that it died has been told.
            self.tally.add(shard.unwrap_or_default());
        }
        self.tally.add(lock(&self.arrivals).tally.clone());
        self.tally
    }
}

fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- accept, where the source runs -----------------------------------------------------------------------------------

impl Intake for Entrance {
    async fn accept(&self, delivery: Delivery) -> Result<(), IntakeClosed> {
        match self.read(&delivery) {
            Ok(event) => {
                let held = self.budget.take(event.held_bytes()).await;
                let accepted = self.identify(event, delivery, held);
                let shard = self.shard_of(&accepted);
                self.shards[shard].send(accepted).await.map_err(|_| IntakeClosed)
            }
            Err(reason) => {
                let held = self.budget.take(delivery.body.len() + reason.len()).await;
                let group = self.dead_letter(delivery, reason, held);
                self.groups.send(group).await.map_err(|_| IntakeClosed)
            }
        }
    }
}

impl Entrance {
    /// Validates the whole body and reads the envelope; or says why it can't be read.
    fn read(&self, delivery: &Delivery) -> Result<Event, String> {
        if let Some(defect) = &delivery.defect {
            return Err(defect.to_string());
        }
        let limit_bytes = self.event_bytes_max;
        Event::read_within(delivery.body.clone(), limit_bytes).map_err(|error| match error.kind {
            EventErrorKind::TooLarge => {
                format!("{} bytes, over the limit of {limit_bytes} bytes (event.bytes_max)", delivery.body.len())
            }
            _ => error.to_string(),
        })
    }

    fn identify(&self, event: Event, delivery: Delivery, held: Held) -> Accepted {
        let key = event.dedup_key(delivery.message_id.as_deref(), delivery.position.as_deref());
        let mut arrivals = lock(&self.arrivals);
        // Never backwards, whatever the machine's clock does.
        let now = clock::now_ms().max(arrivals.last_now);
        arrivals.last_now = now;
        let session = delivery.receipt.session();
        let (id, occurrence) = arrivals.occurrences.identify(key, delivery.redelivered, session, now);
        arrivals.tally.events += 1;
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1);
        if event.was_repaired() {
            arrivals.tally.repaired += 1;
            ::metrics::counter!(metrics::EVENTS_REPAIRED_TOTAL).increment(1);
        }
        Accepted { event, id, now, occurrence, receipt: delivery.receipt, held }
    }

    /// A customer belongs to one shard, so that their events stay in order (G5).
    fn shard_of(&self, accepted: &Accepted) -> usize {
        match accepted.event.customer_key() {
            Some(customer) => customer.shard(self.shards.len()),
            None => usize::from(accepted.id.as_bytes()[0]) % self.shards.len(),
        }
    }

    fn dead_letter(&self, delivery: Delivery, reason: String, held: Held) -> Group {
        ::metrics::counter!(metrics::EVENTS_TOTAL, "outcome" => "deadletter").increment(1);
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1);
        let mut arrivals = lock(&self.arrivals);
        arrivals.tally.dead_letters += 1;
        // A broken sender must not flood the log: the first, the second, the fourth …
        let count = arrivals.tally.dead_letters;
        if count.is_power_of_two() {
            tracing::warn!(
                reason,
                position = delivery.position.as_deref(),
                count,
                "an event can't be read: dead letter"
            );
        }
        let letter = DeadLetter {
            body: delivery.body,
            reason,
            message_id: delivery.message_id,
            routing_key: delivery.routing_key,
            position: delivery.position,
            received_ms: clock::now_ms(),
        };
        Group { dead_letters: vec![letter], receipts: vec![delivery.receipt], held_in: held, ..Group::default() }
    }
}

// ---- decide, on the shard's thread: see `shard.rs` -------------------------------------------------------------------

// ---- commit, publish, acknowledge: one task --------------------------------------------------------------------------

/// Publishes what the shards decided, in the order in which they did, and settles the receipts of what is confirmed.
/// The commit of state, timers and outbox will stand before it; until then an event is settled after its communications are confirmed.
async fn deliver(
    mut groups: mpsc::Receiver<Group>,
    mut sink: impl Sink,
    mut dead_letters: impl DeadLetters,
    arrivals: Arc<Mutex<Arrivals>>,
) -> Result<(), SinkError> {
    let mut taken = Group::default();
    while let Some(group) = groups.recv().await {
        taken.absorb(group);
        while taken.communications.len() < PUBLISH_MAX && taken.receipts.len() < PUBLISH_MAX {
            match groups.try_recv() {
                Ok(group) => taken.absorb(group),
                Err(_) => break,
            }
        }
        if !taken.communications.is_empty() {
            sink.publish(&taken.communications).await?;
            lock(&arrivals).tally.confirmed += taken.communications.len() as u64;
        }
        if !taken.dead_letters.is_empty() {
            dead_letters.bury(&taken.dead_letters).await?;
        }
        taken.settle(&arrivals);
    }
    Ok(())
}

impl Group {
    fn of_decided(communications: Vec<Communication>, events: impl Iterator<Item = Accepted>) -> Group {
        let mut group = Group { communications, ..Group::default() };
        for accepted in events {
            group.receipts.push(accepted.receipt);
            group.held_in.absorb(accepted.held);
            group.occurrences.extend(accepted.occurrence);
        }
        group
    }

    fn absorb(&mut self, mut later: Group) {
        self.communications.append(&mut later.communications);
        self.dead_letters.append(&mut later.dead_letters);
        self.receipts.append(&mut later.receipts);
        self.occurrences.append(&mut later.occurrences);
        self.held_in.absorb(later.held_in);
        self.held_out.absorb(later.held_out);
    }

    /// Everything that these events led to is done.
    fn settle(&mut self, arrivals: &Mutex<Arrivals>) {
        self.communications.clear();
        self.dead_letters.clear();
        (self.held_in, self.held_out) = (Held::default(), Held::default());
        ::metrics::gauge!(metrics::IN_FLIGHT).decrement(self.receipts.len() as f64);
        if !self.occurrences.is_empty() {
            let mut arrivals = lock(arrivals);
            let now = arrivals.last_now;
            self.occurrences.drain(..).for_each(|occurrence| arrivals.occurrences.settle(occurrence, now));
        }
        for receipt in self.receipts.drain(..) {
            receipt.settle();
        }
    }
}
