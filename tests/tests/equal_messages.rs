//! Byte-equal messages without an id: only the engine's occurrence count distinguishes them across
//! restarts.

use std::collections::{BTreeMap, BTreeSet};

use hailer::failpoint::{self, Failpoint};
use hailer_tests::engine::Engine;
use hailer_tests::site::Site;
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

use crate::support::shared_broker;

const PURCHASE: &str = "{\"eventCode\":\"OnPurchaseConfirm\",\"customerInfo\":{\"customerId\":7},\
     \"purchaseOperationInfo\":{\"purchaseData\":{\"amount\":150.0}}}";
/// The number of messages for each start of an engine.
const MESSAGES: usize = 150;
const STARTS: usize = 5;

/// Flags with small batches and a small prefetch, so that the engine ends in the middle of many of
/// them.
fn flags(wiring: &Wiring) -> Vec<String> {
    flags_with(wiring, SMALL)
}

/// A batch size much smaller than the prefetch.
const SMALL: usize = 8;
/// A batch size equal to the prefetch: one batch mixes repeats with undecided messages of the same
/// key.
const LARGE: usize = 64;

fn flags_with(wiring: &Wiring, batch_max: usize) -> Vec<String> {
    let settings = [&format!("event.batch_max={batch_max}"), "rabbitmq.prefetch=64", "shards=1"];
    let settings = settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
    wiring.flags().into_iter().chain(settings).collect()
}

/// Runs the engine several times while messages arrive, and ends it each time in the middle of
/// them.
async fn interrupted(site: &Site, wiring: &Wiring, end: impl AsyncFn(Engine)) {
    for _ in 0..STARTS {
        let engine = site.start(&flags(wiring));
        engine.ready().await;
        wiring.send((0..MESSAGES).map(|_| PURCHASE)).await;
        let acknowledged = "hailer_source_acknowledged_total";
        wait::until("some are acknowledged", async || engine.metric(acknowledged).await >= 1.0)
            .await;
        end(engine).await;
    }
    run_until_done(site, wiring).await;
}

/// Runs the engine until nothing is left to do.
async fn run_until_done(site: &Site, wiring: &Wiring) {
    wiring.run_until_handled(|| site.start(&flags(wiring))).await;
    wiring.is_drained().await;
}

/// The bodies of each communication id.
async fn bodies_by_id(wiring: &Wiring) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    let mut bodies = BTreeMap::<_, BTreeSet<_>>::new();
    for message in wiring.client.take_all(&wiring.out).await {
        let id = message.properties.message_id().as_ref().unwrap().to_string();
        bodies.entry(id).or_default().insert(message.body);
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn each_equal_message_is_an_event_of_its_own_across_clean_restarts() {
    let wiring = Wiring::new(shared_broker(), "equal-clean").await;
    let site = Site::with_basket();
    interrupted(&site, &wiring, async |engine| engine.stop().await).await;
    let bodies = bodies_by_id(&wiring).await;
    assert_eq!(bodies.len(), STARTS * MESSAGES, "one communication for each message");
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "one body under one id");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_messages_never_share_an_id_after_a_crash() {
    let wiring = Wiring::new(shared_broker(), "equal-killed").await;
    let site = Site::with_basket();
    for start in 0..STARTS {
        // The messages are in the queue before the engine starts. The engine is killed when some
        // are decided and not acknowledged.
        wiring.send((0..MESSAGES).map(|_| PURCHASE)).await;
        site.environment(&[(
            failpoint::VARIABLE,
            &format!("{}={}", Failpoint::BeforeAck.name(), start + 1),
        )]);
        let mut engine =
            site.start(&flags_with(&wiring, if start % 2 == 0 { SMALL } else { LARGE }));
        assert_eq!(engine.ended().await, None, "the failpoint kills it");
    }
    site.environment(&[]);
    run_until_done(&site, &wiring).await;
    let bodies = bodies_by_id(&wiring).await;
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "one body under one id");
    assert!(bodies.len() <= STARTS * MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn undecided_equal_messages_are_not_copies_of_an_old_session() {
    let wiring = Wiring::new(shared_broker(), "equal-old").await;
    let site = Site::with_basket();
    let decided = async |engine: &Engine, count: usize| {
        wiring.send((0..count).map(|_| PURCHASE)).await;
        let acknowledged = "hailer_source_acknowledged_total";
        wait::until("all are acknowledged", async || {
            engine.metric(acknowledged).await >= count as f64
        })
        .await;
        wait::until("all are published", async || engine.metric("hailer_outbox").await == 0.0)
            .await;
    };
    let first = site.start(&flags(&wiring));
    first.ready().await;
    decided(&first, 20).await;
    first.kill();
    let second = site.start(&flags(&wiring));
    second.ready().await;
    decided(&second, 5).await;
    second.stop().await;
    // The third engine takes its messages, and is killed before it decides one.
    wiring.send((0..20).map(|_| PURCHASE)).await;
    site.environment(&[(hailer::failpoint::VARIABLE, "before-evaluation=1")]);
    let mut third = site.start(&flags(&wiring));
    assert_eq!(third.ended().await, None, "the failpoint kills it");
    site.environment(&[]);
    wiring.run_until_handled(|| site.start(&flags(&wiring))).await;
    wiring.is_drained().await;
    assert_eq!(bodies_by_id(&wiring).await.len(), 45, "one communication for each message");
}
