//! The entrance of the pipeline: accepts deliveries where the source runs.
//!
//! It validates the whole body, reads the envelope, finds the customer, and hands the event to its
//! shard; a message that it cannot read becomes a dead letter. **A delivery has no effect until
//! it has its place in the pipeline (G4).**

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::accepted::{Accepted, What, shard_of_event};
use super::budget::{Budget, Held};
use super::dead_letters::WaitingLetters;
use super::event_clock::EventClock;
use super::intake::IntakeState;
use super::merge::{self, Meant};
use super::outbox::OutboxLevel;
use super::poison::{InFlightId, PoisonGuard};
use super::redirects::Redirects;
use super::timers::Timers;
use hailer_base::clock::{self, Millis};
use hailer_base::metrics;
use hailer_broker::communication::DeadLetter;
use hailer_broker::delivery::{Delivery, Receipt, Session};
use hailer_broker::sources::{Intake, IntakeClosed};
use hailer_event::{DedupKey, Event, EventErrorKind};
use hailer_store::StoreError;

/// The entrance: the end of the pipeline that sources see.
#[derive(Clone, Debug)]
pub struct Entrance {
    pub(super) shards: Arc<[mpsc::Sender<Accepted>]>,
    pub(super) letters: mpsc::Sender<Unreadable>,
    /// The number of dead letters that are durable and not published yet.
    pub(super) letters_waiting: Arc<WaitingLetters>,
    pub(super) intake: Arc<IntakeState>,
    pub(super) outbox: Arc<OutboxLevel>,
    pub(super) outbox_max: usize,
    pub(super) event_bytes_max: usize,
    pub(super) budget: Budget,
    /// The bytes of unreadable messages. They have a budget of their own, as they may wait longer
    /// than events.
    pub(super) unreadable: Budget,
    pub(super) redirects: Redirects,
    pub(super) poison_guard: Arc<PoisonGuard>,
    /// Set when the machine's clock is the engine's clock.
    pub(super) timers: Option<Timers>,
    /// Set when event time is the engine's clock (`clock.source = "events"`).
    pub(super) event_clock: Option<Arc<EventClock>>,
    pub(super) run_on_ms: Millis,
    pub(super) recorder: Option<Arc<dyn Recorder>>,
    /// The latest moment for which every message that waited in the source is settled.
    pub(super) handled: watch::Sender<Millis>,
    /// Errors of the store that the entrance meets; they end the pipeline.
    pub(super) errors: mpsc::Sender<StoreError>,
}

/// Records the events that come in. **Recording never delays an event**: calls must not block.
pub trait Recorder: std::fmt::Debug + Send + Sync {
    /// Records one event. `now` is the event's time in the engine, in ms since 1970.
    fn note(&self, delivery: &Delivery, was_repaired: bool, now: Millis);
}

/// The event, its dedup key and its id while it is in flight; or why it becomes a dead letter.
pub(super) type Read = Result<(Event, DedupKey, InFlightId), Refusal>;

/// A message that cannot be read, on its way to become a dead letter.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) letter: DeadLetter,
    pub(super) receipt: Receipt,
    pub(super) held: Held,
}

/// Why a delivery becomes a dead letter.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    /// The event's name and code, if the engine ended too often while it decided the event.
    pub(super) given_up: Option<(InFlightId, Box<str>)>,
}

impl Intake for Entrance {
    async fn accept(&self, delivery: Delivery) -> Result<(), IntakeClosed> {
        self.wait_until_unpaused().await;
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
        self.intake.session_settled(session);
    }

    fn earlier_sessions_settled(&self, session: &Session) {
        self.intake.earlier_sessions_settled(session);
    }

    async fn wait_until_unpaused(&self) {
        self.outbox.is_below(self.outbox_max).await;
        self.clock_is_believed().await;
        self.letters_waiting.has_room().await;
    }

    async fn wait_for_room(&self) {
        self.outbox.is_below(self.outbox_max.div_ceil(2)).await;
        self.clock_is_believed().await;
        self.letters_waiting.has_room().await;
    }

    async fn idle(&self) {
        if let Some(clock) = &self.event_clock {
            // The source learns of a closed pipeline at its next delivery.
            let _ = self.hand_on_settled(clock, true).await;
        }
    }

    async fn input_ended(&self) {
        if let Some(clock) = &self.event_clock
            && self.hand_on_settled(clock, true).await.is_ok()
        {
            // An error ends the pipeline, and `finished` returns it.
            let _ = clock.run_on(self.run_on_ms).await;
        }
    }

    async fn fire_due_timers(&self) {
        if let Some(timers) = &self.timers {
            // An error ends the pipeline, and `finished` returns it.
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
    /// Hands on every event whose time has come.
    async fn hand_on_settled(&self, clock: &EventClock, is_end: bool) -> Result<(), IntakeClosed> {
        while let Some((delivery, read)) = self.or_close(clock.next(is_end).await)? {
            if self.hand_on(delivery, read).await.is_err() {
                clock.clear().await;
                return Err(IntakeClosed);
            }
        }
        Ok(())
    }

    /// Hands an event to its shard, or an unreadable message to the dead letters.
    async fn hand_on(&self, delivery: Delivery, read: Read) -> Result<(), IntakeClosed> {
        // **A delivery has no effect until it has its place (G4)**: the source may cancel this
        // future at every await, and the broker then delivers the message again.
        match read {
            Ok((event, key, name)) => {
                let held = self.room_for(&event).await;
                let meant = self.customer_of(&event).await?;
                let shard = shard_of_event(meant.0, key, self.shards.len());
                let place = self.shards[shard].reserve().await.map_err(|_| IntakeClosed)?;
                place.send(self.stamp((event, key, name), meant, delivery, held));
            }
            Err(unreadable) => {
                let held =
                    self.unreadable.take(delivery.body.len() + unreadable.reason.len()).await;
                let place = self.letters.reserve().await.map_err(|_| IntakeClosed)?;
                place.send(self.dead_letter(delivery, unreadable, held));
            }
        }
        Ok(())
    }

    /// Waits for room in the budget. **A merge takes the whole budget: it is decided when every
    /// earlier event is committed, and every later event waits until the merge is committed.**
    async fn room_for(&self, event: &Event) -> Held {
        let bytes = if merge::merge_of(event).is_some() { usize::MAX } else { event.held_bytes() };
        self.budget.take(bytes).await
    }

    /// The customer of an event, after redirects from merges.
    async fn customer_of(&self, event: &Event) -> Result<Meant, IntakeClosed> {
        match event.customer_key() {
            Some(customer) => {
                let resolved = self.or_close(self.redirects.find(customer).await)?;
                Ok(merge::meaning(event, resolved))
            }
            None => Ok((None, None)),
        }
    }

    /// Waits until the machine's clock is believed: an event that is accepted before would keep a
    /// wrong time.
    pub async fn clock_is_believed(&self) {
        self.intake.clock_is_believed().await;
    }

    /// Closes the intake at an error of the store, which ends the pipeline.
    pub(super) fn or_close<T>(&self, result: Result<T, StoreError>) -> Result<T, IntakeClosed> {
        result.map_err(|error| {
            // The channel has room for one error, and only the first one matters.
            let _ = self.errors.try_send(error);
            IntakeClosed
        })
    }

    /// Records every event that can be read, too.
    #[must_use]
    pub fn recorded_by(self, recorder: Option<Arc<dyn Recorder>>) -> Entrance {
        Entrance { recorder, ..self }
    }

    /// Validates the whole body and reads the envelope; or returns why the event cannot be read, or
    /// may not be decided.
    pub(super) fn read(&self, delivery: &Delivery) -> Read {
        let because = |reason| Refusal { reason, given_up: None };
        if let Some(defect) = &delivery.defect {
            return Err(because(defect.to_string()));
        }
        let limit_bytes = self.event_bytes_max;
        let read = Event::read_within(delivery.body.clone(), limit_bytes).map_err(|error| {
            match error.kind {
                EventErrorKind::TooLarge => {
                    format!(
                        "{} bytes, over the limit of {limit_bytes} bytes (event.bytes_max)",
                        delivery.body.len()
                    )
                }
                _ => error.to_string(),
            }
        });
        let event = read.map_err(because)?;
        let key = event.dedup_key(delivery.message_id.as_deref(), delivery.position.as_deref());
        let name = InFlightId::of_event(&event, delivery, key);
        match self.poison_guard.refuses_event(name) {
            Some(reason) => Err(Refusal { reason, given_up: Some((name, event.code().into())) }),
            None => Ok((event, key, name)),
        }
    }

    /// Counts and stamps a delivery that has its place in the pipeline.
    pub(super) fn stamp(
        &self,
        (event, key, name): (Event, DedupKey, InFlightId),
        (customer, became): Meant,
        mut delivery: Delivery,
        held: Held,
    ) -> Accepted {
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1);
        delivery.receipt.mark_accepted();
        let stamp = self.intake.stamp(&delivery.receipt);
        if let Some(recorder) = &self.recorder {
            recorder.note(&delivery, event.was_repaired(), stamp.now);
        }
        let was_repaired = event.was_repaired() || delivery.was_repaired;
        for field in event.unusable_ids() {
            ::metrics::counter!(metrics::FIELD_MISMATCHES_TOTAL, "field" => *field).increment(1);
        }
        self.intake.count(|tally| {
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

    pub(super) fn dead_letter(
        &self,
        mut delivery: Delivery,
        refusal: Refusal,
        held: Held,
    ) -> Unreadable {
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1);
        delivery.receipt.mark_accepted();
        let Refusal { reason, given_up } = refusal;
        if let Some((name, code)) = given_up {
            self.poison_guard.give_up_event(name, &code);
        }
        ::metrics::counter!(metrics::EVENTS_TOTAL, "outcome" => "deadletter").increment(1);
        let count = self.intake.count(|tally| {
            tally.dead_letters += 1;
            tally.dead_letters
        });
        // A broken sender must not flood the log: it shows the first dead letter, the second, the
        // fourth …
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
