//! What a fault strikes: an engine with its queues, its store and its campaigns, and the ledger of all that was ever sent to it.
//!
//! A stand is struck again and again, and after each time it is **settled**: an engine that nothing is done to runs until everything has come of
//! the ledger that must, ends, and leaves behind exactly that.

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

/// From the beginning of a registration to its reminder. Whatever calls one off is published within a fraction of it.
const WAIT: Duration = Duration::from_secs(3);
/// When so much time has gone by without anything new, what is missing is lost.
const NOTHING_NEW: Duration = Duration::from_secs(45);
/// A consumer that is cancelled ends so soon.
const CANCELLED_WITHIN: Duration = Duration::from_secs(5);
const SHOWN_MAX: usize = 12;

/// An engine's surroundings, and everything that was sent to it.
pub(super) struct Stand {
    pub(super) broker: Arc<Broker>,
    pub(super) wiring: Wiring,
    pub(super) site: Site,
    pub(super) ledger: Ledger,
    pub(super) random: Random,
    collected: Collected,
    /// Flags beside the usual ones.
    pub(super) flags: Vec<String>,
    seed: u64,
}

impl Stand {
    pub(super) async fn new(broker: &Arc<Broker>, name: &str, with_ids: bool, seed: u64) -> Stand {
        let mut random = Random::new(seed);
        let wiring = Wiring::new(broker, name).await;
        let site = Site::empty();
        for module in ["big-basket", "nth-purchase", "tally"] {
            site.put(&format!("modules/{module}.wasm"), example_module(module));
        }
        let wait = format!("[params]\nwait_seconds = {}", WAIT.as_secs());
        let flaky = format!("on_fault = \"skip\"\n{wait}\nfault_every = {FAULT_EVERY}\nfault_from = {FAULTS_FROM}");
        site.put("basket.toml", campaign("big-basket", "[params]\nthreshold = \"0\""));
        site.put("third.toml", campaign("nth-purchase", "[params]\npurchases = 3"));
        site.put("tally.toml", campaign("tally", &wait));
        site.put("flaky.toml", campaign("tally", &flaky));
        let ledger = Ledger::new(random.split(), with_ids);
        let broker = Arc::clone(broker);
        let collected = Collected::default();
        let stand = Stand { broker, wiring, site, ledger, random, collected, flags: Vec::new(), seed };
        stand.hold_every(HELD_EVERY);
        stand
    }

    /// The same with a ledger of equal messages without ids.
    pub(super) async fn of_equal_messages(broker: &Arc<Broker>, name: &str, seed: u64) -> Stand {
        let mut stand = Stand::new(broker, name, false, seed).await;
        stand.ledger = Ledger::of_equal_messages(stand.random.split());
        stand
    }

    /// Has the campaign `held` fault on purchases with a multiple of this number, and hold what comes behind; on none with 0.
    pub(super) fn hold_every(&self, number: u32) {
        let params =
            format!("[params]\nwait_seconds = {}\nfault_every = {number}\nfault_from = {FAULTS_FROM}", WAIT.as_secs());
        self.site.put("held.toml", campaign("tally", &format!("on_fault = \"hold\"\n{params}")));
    }

    /// What an engine here is told.
    pub(super) fn all_flags(&self) -> Vec<String> {
        // Small batches, so that there are many moments; and two of everything that there can be two of.
        let usual = [
            "shards=2",
            "event.batch_max=16",
            "rabbitmq.prefetch=200",
            "purity.recheck_one_in=50",
            "breaker.call_mean_us_max=0",
            // So small that tables are written and merged all the time.
            "store.log_bytes=65536",
        ];
        let usual = usual.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
        self.wiring.flags().into_iter().chain(usual).chain(self.flags.clone()).collect()
    }

    /// Starts an engine that nothing is wrong with.
    pub(super) fn start(&self) -> Engine {
        self.site.environment(&[]);
        self.site.start(&self.all_flags())
    }

    /// Starts an engine with failpoints.
    pub(super) fn start_armed(&self, failpoints: &str) -> Engine {
        self.site.environment(&[(hailer::failpoint::VARIABLE, failpoints)]);
        self.site.start(&self.all_flags())
    }

    /// Publishes at least so many more events.
    pub(super) async fn publish(&mut self, count: usize) {
        let messages = self.ledger.write(count);
        send(&self.wiring, &messages).await;
    }

    /// Connects anew, as a client's connection does not outlive its broker.
    pub(super) async fn reconnect(&mut self) {
        self.wiring.client = Client::connect(&self.broker).await;
    }

    /// Lets an engine that nothing is done to any more run until everything has come of the ledger, and checks all of it.
    ///
    /// # Errors
    /// What is wrong, in words, beside the count.
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
        let (seed, ids, more) = (self.seed, self.ledger.with_ids(), wrong.len().saturating_sub(SHOWN_MAX));
        wrong.truncate(SHOWN_MAX);
        let wrong = wrong.join("\n");
        let text = format!(
            "seed {seed}, message ids: {ids}, {count:?}:\n{wrong}\nand {more} more; the last engine said:\n{log}"
        );
        (count, Err(text))
    }

    /// Runs an engine until nothing waits any more, and checks what holds even if equal messages were taken for copies.
    ///
    /// # Errors
    /// What is wrong, in words, beside the count.
    pub(super) async fn settle_ids(&mut self) -> (Count, Result<(), String>) {
        let engine = self.start();
        engine.ready().await;
        wait::until("nothing waits any more", async || {
            self.collect().await;
            let (events, _) = self.wiring.client.counts(&self.wiring.events).await;
            events == 0 && engine.metric("hailer_in_flight").await + engine.metric("hailer_outbox").await == 0.0
        })
        .await;
        engine.stop().await;
        self.collect().await;
        let mut wrong = Vec::new();
        let count = self.collected.compare_ids(&Expected::of(self.ledger.messages()), &mut wrong);
        (count, if wrong.is_empty() { Ok(()) } else { Err(format!("seed {}: {}", self.seed, wrong.join("\n"))) })
    }

    /// Sees that the store of a stopped engine is sound.
    pub(super) fn verify(&self, wrong: &mut Vec<String>) {
        self.site.environment(&[]);
        let verified = self.site.command(&["store", "verify", "--store", &self.store().display().to_string()]);
        if verified.code != Some(0) {
            wrong.push(format!("`hailer store verify` says: {}", verified.stderr));
        }
    }

    pub(super) fn store(&self) -> std::path::PathBuf {
        self.site.data().join("store")
    }

    /// Takes what is in the way out now.
    pub(super) async fn collect(&mut self) {
        let (waiting, _) = self.wiring.client.counts(&self.wiring.out).await;
        if waiting == 0 {
            return;
        }
        let mut consumer = self.wiring.client.consume(&self.wiring.out).await;
        for left in (0..waiting).rev() {
            let next = wait::end_of("a communication", consumer.next()).await;
            let delivery = next.expect("a consumer").expect("a message");
            let id = delivery.properties.message_id().as_ref().expect("an id").to_string();
            self.collected.add(&id, delivery.data.clone());
            if left == 0 {
                let tag = consumer.tag();
                // Cancelled first: what came beyond the count goes back when it is refused below.
                self.wiring.client.channel.basic_cancel(tag, BasicCancelOptions::default()).await.expect("an end");
                delivery.ack(BasicAckOptions { multiple: true }).await.expect("an acknowledgement");
            }
        }
        // What the cancellation let through. Nobody waits for a stream whose end is not told: what were missed for it, the oracle would miss.
        while let Ok(Some(Ok(beyond))) = tokio::time::timeout(CANCELLED_WITHIN, consumer.next()).await {
            let id = beyond.properties.message_id().as_ref().expect("an id").to_string();
            self.collected.add(&id, beyond.data.clone());
            beyond.ack(BasicAckOptions::default()).await.expect("an acknowledgement");
        }
    }
}

/// Publishes messages in their order, and returns when all are confirmed.
pub(super) async fn send(wiring: &Wiring, messages: &[Message]) {
    let mut last = Instant::now();
    let mut confirms = Vec::new();
    for Message { id, body, .. } in messages {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let properties = match id {
            Some(id) => properties.with_message_id(format!("event-{id}").into()),
            None => properties,
        };
        confirms.push(wiring.client.send("", &wiring.events, body.as_bytes(), properties).await);
        // Nothing that calls off a reminder may come when it is due already.
        let took = std::mem::replace(&mut last, Instant::now()).elapsed();
        assert!(took < WAIT / 3, "publishing one message took {took:?}: this machine is too busy to tell anything");
    }
    for confirm in confirms {
        assert!(confirm.await.expect("a confirm").is_ack());
    }
}
