//! Byte-equal messages without an id: what tells them apart across restarts is the engine's count alone.

use std::collections::{BTreeMap, BTreeSet};

use hailer_tests::engine::Engine;
use hailer_tests::site::Site;
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

use crate::edges::shared_broker;

const PURCHASE: &str = r#"{"eventCode":"OnPurchaseConfirm","customerInfo":{"customerId":7},"purchaseOperationInfo":{"purchaseData":{"amount":150.0}}}"#;
/// Messages for each start of an engine.
const MESSAGES: usize = 150;
const STARTS: usize = 5;

/// Small batches and a small prefetch, so that an end comes in the middle of much.
fn flags(wiring: &Wiring) -> Vec<String> {
    let settings = ["event.batch_max=8", "rabbitmq.prefetch=64", "shards=1"];
    let settings = settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
    wiring.flags().into_iter().chain(settings).collect()
}

/// Runs the engine over and over while messages come in, and ends it each time in the middle of them.
async fn interrupted(site: &Site, wiring: &Wiring, end: impl AsyncFn(Engine)) {
    for _ in 0..STARTS {
        let engine = site.start(&flags(wiring));
        engine.ready().await;
        wiring.send((0..MESSAGES).map(|_| PURCHASE)).await;
        let acknowledged = "hailer_source_acknowledged_total";
        wait::until("some are acknowledged", async || engine.metric(acknowledged).await >= 1.0).await;
        end(engine).await;
    }
    let engine = site.start(&flags(wiring));
    engine.ready().await;
    wait::until("everything is decided and published", async || {
        let (waiting, _) = wiring.client.counts(&wiring.events).await;
        let unsettled = engine.metric("hailer_in_flight").await + engine.metric("hailer_outbox").await;
        waiting == 0 && unsettled == 0.0
    })
    .await;
    engine.stop().await;
    wiring.is_drained().await;
}

/// The bodies that each communication id came with.
async fn bodies_by_id(wiring: &Wiring) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    let mut bodies = BTreeMap::<_, BTreeSet<_>>::new();
    for message in wiring.client.take_all(&wiring.out).await {
        let id = message.properties.message_id().as_ref().unwrap().to_string();
        bodies.entry(id).or_default().insert(message.body);
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_messages_are_as_many_events_across_clean_restarts() {
    let wiring = Wiring::new(shared_broker(), "equal-clean").await;
    let site = Site::with_basket();
    interrupted(&site, &wiring, async |engine| engine.stop().await).await;
    let bodies = bodies_by_id(&wiring).await;
    assert_eq!(bodies.len(), STARTS * MESSAGES, "a communication of its own for each message");
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "one body under one id");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_messages_never_share_an_id_after_a_crash() {
    let wiring = Wiring::new(shared_broker(), "equal-killed").await;
    let site = Site::with_basket();
    interrupted(&site, &wiring, async |engine| engine.kill()).await;
    let bodies = bodies_by_id(&wiring).await;
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "one body under one id");
    assert!(bodies.len() <= STARTS * MESSAGES);
}
