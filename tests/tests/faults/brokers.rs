//! Faults of the broker: it is killed, lacks memory, loses a queue or a binding, refuses
//! publications, or takes unacknowledged messages back.

use std::sync::Arc;

use hailer_tests::engine::Engine;
use hailer_tests::wait;
use lapin::types::FieldTable;

use super::testbed::TestBed;

const EVENTS: usize = 400;

/// Starts an engine that is in the middle of [`EVENTS`] events.
async fn at_work(bed: &mut TestBed) -> Engine {
    bed.publish(EVENTS).await;
    let engine = bed.start();
    engine.ready().await;
    engine
}

/// The broker is killed, and restarts with its durable data.
pub(super) async fn killed(bed: &mut TestBed) -> Engine {
    let engine = at_work(bed).await;
    bed.broker.kill();
    engine.ready_with("\"ready\":false").await;
    bed.broker.restart();
    come_back(bed, engine).await
}

/// The broker stops cleanly, and starts again.
pub(super) async fn restarted(bed: &mut TestBed) -> Engine {
    let engine = at_work(bed).await;
    let _ = bed.broker.ctl(&["stop_app"]);
    engine.ready_with("\"ready\":false").await;
    let _ = bed.broker.ctl(&["start_app"]);
    come_back(bed, engine).await
}

async fn come_back(bed: &mut TestBed, engine: Engine) -> Engine {
    bed.reconnect().await;
    engine.ready().await;
    bed.publish(EVENTS / 4).await;
    engine
}

/// The broker has a memory alarm, and blocks publishers until it ends.
pub(super) async fn alarmed(bed: &mut TestBed) -> Engine {
    bed.publish(EVENTS).await;
    let _ = bed.broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let engine = bed.start();
    // The broker blocks a connection when it first publishes.
    engine.ready_with("short of memory").await;
    let settled = "hailer_source_acknowledged_total";
    wait::until("events are settled in spite of the alarm", async || {
        engine.metric(settled).await >= 100.0
    })
    .await;
    let _ = bed.broker.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    engine.ready().await;
    bed.publish(EVENTS / 4).await;
    engine
}

/// The queue of events is deleted when it is empty, and declared again.
pub(super) async fn queue_deleted(bed: &mut TestBed) -> Engine {
    let engine = at_work(bed).await;
    wait::until("every event is acknowledged", async || unacknowledged(bed).await == 0).await;
    let events = bed.wiring.events.clone();
    bed.wiring.client.delete_queue(&events).await;
    engine.ready_with("does not exist").await;
    bed.wiring.client.queue(&events).await;
    engine.ready().await;
    bed.publish(EVENTS / 4).await;
    engine
}

/// The number of messages in the queue of events, delivered ones included.
async fn unacknowledged(bed: &TestBed) -> usize {
    let listed = bed.broker.ctl(&["list_queues", "name", "messages"]);
    let line =
        listed.lines().find_map(|line| line.strip_prefix(&bed.wiring.events)?.strip_prefix('\t'));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// No queue receives the communications until it is bound again.
pub(super) async fn unbound(bed: &mut TestBed) -> Engine {
    let engine = at_work(bed).await;
    let (out, exchange) = (bed.wiring.out.clone(), bed.wiring.exchange.clone());
    let channel = bed.wiring.client.channel.clone();
    let unbind =
        channel.queue_unbind(out.into(), exchange.into(), "#".into(), FieldTable::default());
    unbind.await.expect("no binding");
    bed.publish(EVENTS / 2).await;
    engine.ready_with("no queue is bound to exchange").await;
    bed.wiring.bind_out().await;
    engine.ready().await;
    engine
}

/// The queue of communications holds few messages, and rejects the others.
///
/// A policy sets that. Replacing the queue would not work: the broker confirms messages that are on
/// their way into a deleted queue, and loses them.
pub(super) async fn full(bed: &mut TestBed) -> Engine {
    let out = bed.wiring.out.clone();
    let (pattern, few) = (format!("^{out}$"), r#"{"max-length":20,"overflow":"reject-publish"}"#);
    bed.broker.ctl(&["set_policy", "--apply-to", "queues", &out, &pattern, few]);
    bed.publish(EVENTS).await;
    let engine = bed.start();
    engine.ready_with("the broker refuses publications").await;
    for _ in 0..3 {
        bed.collect().await;
        wait::until("the queue is full again", async || {
            bed.wiring.client.counts(&out).await.0 >= 15
        })
        .await;
    }
    // The limit ends; the engine publishes the rejected messages again.
    bed.broker.ctl(&["clear_policy", &out]);
    engine
}

/// The engine holds messages for longer than the broker waits for an acknowledgement: the broker
/// closes the channel, and delivers the messages again.
pub(super) async fn acknowledged_too_late(bed: &mut TestBed) -> Engine {
    let broker = Arc::clone(&bed.broker);
    let set = |setting: &str, ms: u32| {
        let _ = broker.ctl(&["eval", &format!("application:set_env(rabbit, {setting}, {ms}).")]);
    };
    set("channel_tick_interval", 500);
    set("consumer_timeout", 1500);
    let (out, exchange) = (bed.wiring.out.clone(), bed.wiring.exchange.clone());
    let channel = bed.wiring.client.channel.clone();
    let unbind =
        channel.queue_unbind(out.into(), exchange.into(), "#".into(), FieldTable::default());
    unbind.await.expect("no binding");
    // With a full outbox the engine takes no more events, and delivered messages stay
    // unacknowledged.
    bed.flags = ["--set", "store.outbox_max=20"].map(String::from).to_vec();
    bed.publish(EVENTS).await;
    let engine = bed.start();
    let reconnects = "hailer_source_reconnects_total";
    // Only one reconnect happens: with a full outbox the engine does not consume again.
    wait::until("the broker closes the channel", async || engine.metric(reconnects).await >= 1.0)
        .await;
    set("consumer_timeout", 1_800_000);
    bed.wiring.bind_out().await;
    bed.flags.clear();
    engine
}
