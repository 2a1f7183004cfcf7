//! The broker's faults: it dies, is short of memory, loses a queue or a binding, refuses what is published, or takes back what is held for too long.

use std::sync::Arc;

use hailer_tests::engine::Engine;
use hailer_tests::wait;
use lapin::types::FieldTable;

use super::stand::Stand;

const EVENTS: usize = 400;

/// An engine that is in the middle of so many events.
async fn at_work(stand: &mut Stand) -> Engine {
    stand.publish(EVENTS).await;
    let engine = stand.start();
    engine.ready().await;
    engine
}

/// It is killed, and comes back with what is durable.
pub(super) async fn killed(stand: &mut Stand) -> Engine {
    let engine = at_work(stand).await;
    stand.broker.kill();
    engine.ready_with("\"ready\":false").await;
    stand.broker.restart();
    come_back(stand, engine).await
}

/// It ends in order, and comes back.
pub(super) async fn restarted(stand: &mut Stand) -> Engine {
    let engine = at_work(stand).await;
    let _ = stand.broker.ctl(&["stop_app"]);
    engine.ready_with("\"ready\":false").await;
    let _ = stand.broker.ctl(&["start_app"]);
    come_back(stand, engine).await
}

async fn come_back(stand: &mut Stand, engine: Engine) -> Engine {
    stand.reconnect().await;
    engine.ready().await;
    stand.publish(EVENTS / 4).await;
    engine
}

/// It is short of memory, and takes nothing that is published until it is not.
pub(super) async fn alarmed(stand: &mut Stand) -> Engine {
    stand.publish(EVENTS).await;
    let _ = stand.broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let engine = stand.start();
    // A connection is blocked when it first publishes.
    engine.ready_with("short of memory").await;
    let settled = "hailer_source_acknowledged_total";
    wait::until("events are settled all the same", async || engine.metric(settled).await >= 100.0).await;
    let _ = stand.broker.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    engine.ready().await;
    stand.publish(EVENTS / 4).await;
    engine
}

/// The queue of events is deleted when it is empty, and made anew.
pub(super) async fn queue_deleted(stand: &mut Stand) -> Engine {
    let engine = at_work(stand).await;
    wait::until("every event is acknowledged", async || unacknowledged(stand).await == 0).await;
    let events = stand.wiring.events.clone();
    stand.wiring.client.delete_queue(&events).await;
    engine.ready_with("does not exist").await;
    stand.wiring.client.queue(&events).await;
    engine.ready().await;
    stand.publish(EVENTS / 4).await;
    engine
}

/// Messages in the queue of events, those that are delivered included.
async fn unacknowledged(stand: &Stand) -> usize {
    let listed = stand.broker.ctl(&["list_queues", "name", "messages"]);
    let line = listed.lines().find_map(|line| line.strip_prefix(&stand.wiring.events)?.strip_prefix('\t'));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// Nothing takes what is published, until something does.
pub(super) async fn unbound(stand: &mut Stand) -> Engine {
    let engine = at_work(stand).await;
    let (out, exchange) = (stand.wiring.out.clone(), stand.wiring.exchange.clone());
    let channel = stand.wiring.client.channel.clone();
    let unbind = channel.queue_unbind(out.into(), exchange.into(), "#".into(), FieldTable::default());
    unbind.await.expect("no binding");
    stand.publish(EVENTS / 2).await;
    engine.ready_with("nothing takes what is published").await;
    stand.wiring.bind_out().await;
    engine.ready().await;
    engine
}

/// The queue of communications takes few at a time, and refuses the others.
///
/// A policy says so, and no other queue takes its place: whatever is on its way into a queue that is deleted, the broker confirms and has lost.
pub(super) async fn full(stand: &mut Stand) -> Engine {
    let out = stand.wiring.out.clone();
    let (pattern, few) = (format!("^{out}$"), r#"{"max-length":20,"overflow":"reject-publish"}"#);
    stand.broker.ctl(&["set_policy", "--apply-to", "queues", &out, &pattern, few]);
    stand.publish(EVENTS).await;
    let engine = stand.start();
    engine.ready_with("the broker refuses publications").await;
    for _ in 0..3 {
        stand.collect().await;
        wait::until("it is full again", async || stand.wiring.client.counts(&out).await.0 >= 15).await;
    }
    // As large as it was; what was refused comes again.
    stand.broker.ctl(&["clear_policy", &out]);
    engine
}

/// The engine holds messages for longer than the broker waits for an acknowledgement: their channel is closed, and they come again.
pub(super) async fn acknowledged_too_late(stand: &mut Stand) -> Engine {
    let broker = Arc::clone(&stand.broker);
    let set = |setting: &str, ms: u32| {
        let _ = broker.ctl(&["eval", &format!("application:set_env(rabbit, {setting}, {ms}).")]);
    };
    set("channel_tick_interval", 500);
    set("consumer_timeout", 1500);
    let (out, exchange) = (stand.wiring.out.clone(), stand.wiring.exchange.clone());
    let channel = stand.wiring.client.channel.clone();
    let unbind = channel.queue_unbind(out.into(), exchange.into(), "#".into(), FieldTable::default());
    unbind.await.expect("no binding");
    // With a full outbox nothing more is taken in, and what is delivered stays where it is.
    stand.flags = ["--set", "store.outbox_max=20"].map(String::from).to_vec();
    stand.publish(EVENTS).await;
    let engine = stand.start();
    let reconnects = "hailer_source_reconnects_total";
    // Once is all: with a full outbox the engine does not consume again.
    wait::until("the broker has waited for too long", async || engine.metric(reconnects).await >= 1.0).await;
    set("consumer_timeout", 1_800_000);
    stand.wiring.bind_out().await;
    stand.flags.clear();
    engine
}
