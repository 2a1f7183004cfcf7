//! The system under test: an engine with its queues, its store and its campaigns, and the ledger of
//! everything that was ever sent to it.
//!
//! A test bed gets many faults. After each, [`TestBed::settle`] runs an undisturbed engine until
//! the ledger is fully handled, stops it, and compares the results with the oracle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hailer_tests::broker::{Broker, Client};
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicCancelOptions};

use super::check::{Collected, Count, compare_store};
use super::ledger::{Ledger, Message};
use super::oracle::{Expected, FAULT_EVERY, FAULTS_FROM, HELD_EVERY};
use super::random::Random;

/// The time from the start of a registration to its reminder. Everything that cancels a reminder is
/// published within a fraction of it.
const WAIT: Duration = Duration::from_secs(3);
/// The time without a new communication after which missing communications count as lost.
pub(super) const NOTHING_NEW: Duration = Duration::from_secs(45);
/// A cancelled consumer ends within this time.
const CANCELLED_WITHIN: Duration = Duration::from_secs(5);
pub(super) const SHOWN_MAX: usize = 12;
/// The settings of every engine. Small batches give many moments for a fault. There are two of
/// everything that can exist twice.
pub(super) const USUAL: [&str; 6] = [
    "shards=2",
    "event.batch_max=16",
    "rabbitmq.prefetch=200",
    "purity.recheck_one_in=50",
    "breaker.call_mean_us_max=0",
    // So small that tables are written and merged all the time.
    "store.log_bytes=65536",
];

/// An engine's environment, and everything that was sent to it.
pub(super) struct TestBed {
    pub(super) broker: Arc<Broker>,
    pub(super) wiring: Wiring,
    pub(super) site: Site,
    pub(super) ledger: Ledger,
    pub(super) random: Random,
    collected: Collected,
    /// Additional flags.
    pub(super) flags: Vec<String>,
    seed: u64,
}

impl TestBed {
    pub(super) async fn new(
        broker: &Arc<Broker>,
        name: &str,
        with_ids: bool,
        seed: u64,
    ) -> TestBed {
        let mut random = Random::new(seed);
        let wiring = Wiring::new(broker, name).await;
        let site = Site::empty();
        for module in ["big-basket", "nth-purchase", "tally"] {
            site.put(&format!("modules/{module}.wasm"), example_module(module));
        }
        let wait = format!("[params]\nwait_seconds = {}", WAIT.as_secs());
        let flaky = format!(
            "on_fault = \"skip\"\n{wait}\nfault_every = {FAULT_EVERY}\nfault_from = {FAULTS_FROM}"
        );
        site.put("basket.toml", campaign("big-basket", "[params]\nthreshold = \"0\""));
        site.put("third.toml", campaign("nth-purchase", "[params]\npurchases = 3"));
        site.put("tally.toml", campaign("tally", &wait));
        site.put("flaky.toml", campaign("tally", &flaky));
        let ledger = Ledger::new(random.split(), with_ids);
        let broker = Arc::clone(broker);
        let collected = Collected::default();
        let bed =
            TestBed { broker, wiring, site, ledger, random, collected, flags: Vec::new(), seed };
        bed.hold_every(HELD_EVERY);
        bed
    }

    /// A test bed with a ledger of equal messages without ids.
    pub(super) async fn of_equal_messages(broker: &Arc<Broker>, name: &str, seed: u64) -> TestBed {
        let mut bed = TestBed::new(broker, name, false, seed).await;
        bed.ledger = Ledger::of_equal_messages(bed.random.split());
        bed
    }

    /// Makes the campaign `held` fault on purchases whose number is a multiple of `number`, and
    /// hold later events; 0 means no faults.
    pub(super) fn hold_every(&self, number: u32) {
        let params = format!(
            "[params]\nwait_seconds = {}\nfault_every = {number}\nfault_from = {FAULTS_FROM}",
            WAIT.as_secs()
        );
        self.site.put("held.toml", campaign("tally", &format!("on_fault = \"hold\"\n{params}")));
    }

    /// The flags of an engine.
    pub(super) fn all_flags(&self) -> Vec<String> {
        let usual = USUAL.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
        self.wiring.flags().into_iter().chain(usual).chain(self.flags.clone()).collect()
    }

    /// Starts an engine without failpoints.
    pub(super) fn start(&self) -> Engine {
        self.site.environment(&[]);
        self.site.start(&self.all_flags())
    }

    /// Starts an engine with failpoints.
    pub(super) fn start_armed(&self, failpoints: &str) -> Engine {
        self.site.environment(&[(hailer::failpoint::VARIABLE, failpoints)]);
        self.site.start(&self.all_flags())
    }

    /// Publishes at least `count` more events.
    pub(super) async fn publish(&mut self, count: usize) {
        let messages = self.ledger.write(count);
        send(&self.wiring, &messages).await;
    }

    /// Connects again: a client's connection does not survive its broker.
    pub(super) async fn reconnect(&mut self) {
        self.wiring.client = Client::connect(&self.broker).await;
    }

    /// Runs an undisturbed engine until the ledger is fully handled, and checks everything.
    ///
    /// # Errors
    /// A description of what is wrong, beside the count.
    pub(super) async fn settle(&mut self, engine: Engine) -> (Count, Result<(), String>) {
        let expected = Expected::of(self.ledger.messages());
        let communications: usize = expected.communications.values().sum();
        let mut since = (Instant::now(), self.collected.len());
        while self.collected.len() < communications && since.0.elapsed() < NOTHING_NEW {
            self.collect().await;
            if self.collected.len() > since.1 {
                since = (Instant::now(), self.collected.len());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        wait::until("the outbox is empty", async || {
            self.collect().await;
            engine.metric("hailer_outbox").await == 0.0
        })
        .await;
        let log = engine.stderr();
        engine.stop().await;
        self.collect().await;

        let mut wrong = Vec::new();
        let count = self.collected.compare(&expected, &mut wrong);
        compare_store(&self.store(), &expected, &mut wrong);
        self.verify(&mut wrong);
        for queue in [&self.wiring.events, &self.wiring.letters] {
            let (messages, consumers) = self.wiring.client.counts(queue).await;
            if (messages, consumers) != (0, 0) {
                wrong.push(format!("`{queue}` has {messages} messages and {consumers} consumers"));
            }
        }
        if wrong.is_empty() {
            return (count, Ok(()));
        }
        let (seed, ids, more) =
            (self.seed, self.ledger.with_ids(), wrong.len().saturating_sub(SHOWN_MAX));
        wrong.truncate(SHOWN_MAX);
        let wrong = wrong.join("\n");
        let text = format!(
            "seed {seed}, message ids: {ids}, {count:?}:\n{wrong}\nand {more} more; standard error \
             of the last engine:\n{log}"
        );
        (count, Err(text))
    }

    /// Runs an engine until nothing waits, and checks only what holds even if equal messages were
    /// treated as copies.
    ///
    /// # Errors
    /// A description of what is wrong, beside the count.
    pub(super) async fn settle_ids(&mut self) -> (Count, Result<(), String>) {
        self.wiring.run_until_handled(|| self.start()).await;
        self.collect().await;
        let mut wrong = Vec::new();
        let count = self.collected.compare_ids(&Expected::of(self.ledger.messages()), &mut wrong);
        (
            count,
            if wrong.is_empty() {
                Ok(())
            } else {
                Err(format!("seed {}: {}", self.seed, wrong.join("\n")))
            },
        )
    }

    /// Verifies the store of a stopped engine.
    pub(super) fn verify(&self, wrong: &mut Vec<String>) {
        self.site.environment(&[]);
        let verified =
            self.site.command(&["store", "verify", "--store", &self.store().display().to_string()]);
        if verified.code != Some(0) {
            wrong.push(format!("`hailer store verify` says: {}", verified.stderr));
        }
    }

    pub(super) fn store(&self) -> std::path::PathBuf {
        self.site.data().join("store")
    }

    /// Takes all communications that are in the output queue now.
    pub(super) async fn collect(&mut self) {
        collect(&self.wiring, &mut self.collected).await;
    }
}

/// Takes all communications that are in the output queue now.
pub(super) async fn collect(wiring: &Wiring, collected: &mut Collected) {
    let (waiting, _) = wiring.client.counts(&wiring.out).await;
    if waiting == 0 {
        return;
    }
    let mut consumer = wiring.client.consume(&wiring.out).await;
    for left in (0..waiting).rev() {
        let next = wait::end_of("a communication", consumer.next()).await;
        let delivery = next.expect("a consumer").expect("a message");
        let id = delivery.properties.message_id().as_ref().expect("an id").to_string();
        collected.add(&id, delivery.data.clone());
        if left == 0 {
            let tag = consumer.tag();
            // Cancel first: messages beyond the count then return to the queue, unless they were
            // already on their way.
            let cancelled = wiring.client.channel.basic_cancel(tag, BasicCancelOptions::default());
            cancelled.await.expect("an end");
            delivery.ack(BasicAckOptions { multiple: true }).await.expect("an acknowledgement");
        }
    }
    // Take the messages that were already on their way. The end of the stream may be missing, so
    // the wait is limited; without these messages the oracle would report losses.
    while let Ok(Some(Ok(beyond))) = tokio::time::timeout(CANCELLED_WITHIN, consumer.next()).await {
        let id = beyond.properties.message_id().as_ref().expect("an id").to_string();
        collected.add(&id, beyond.data.clone());
        beyond.ack(BasicAckOptions::default()).await.expect("an acknowledgement");
    }
}

/// Publishes messages in order, and returns when all are confirmed.
pub(super) async fn send(wiring: &Wiring, messages: &[Message]) {
    let body =
        |Message { id, body, .. }: &'_ Message| (id.map(|id| format!("event-{id}")), body.clone());
    send_bodies(wiring, messages.iter().map(body)).await;
}

/// Publishes bodies in order, each with its message id, and returns when all are confirmed.
pub(super) async fn send_bodies(
    wiring: &Wiring,
    bodies: impl IntoIterator<Item = (Option<String>, String)>,
) {
    let mut last = Instant::now();
    let mut confirms = Vec::new();
    for (id, body) in bodies {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let properties = match id {
            Some(id) => properties.with_message_id(id.into()),
            None => properties,
        };
        confirms.push(wiring.client.send("", &wiring.events, body.as_bytes(), properties).await);
        // A message that cancels a reminder must not arrive when the reminder is already due.
        let took = std::mem::replace(&mut last, Instant::now()).elapsed();
        assert!(
            took < WAIT / 3,
            "publishing one message took {took:?}: this machine is too busy for the test"
        );
    }
    for confirm in confirms {
        assert!(confirm.await.expect("a confirm").is_ack());
    }
}
