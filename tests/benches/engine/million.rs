//! A million customers with state and a million timers: resident memory, and the time of a start.
//! The engine starts after a clean stop, after a kill in the middle of its work, and with a full
//! outbox, each on the same store.
//!
//! The store is filled through its public interface with copies of a row that the engine itself has
//! written. Everything else uses the real binary. A start lasts until `/readyz` reports ready:
//! rules loaded, source consuming, sink connected.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::measure::events::purchase_of;
use crate::measure::{Against, Outcome, campaigns, listed, mark, median, resident_mb};
use bytes::Bytes;
use hailer::event::Event;
use hailer::records::{CustomerRow, Key, TimerKey};
use hailer::store::{Changes, FileStore, Opening, Store, Table};
use hailer_tests::broker::Broker;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

const CUSTOMERS: u64 = 1_000_000;
/// The number of changes in one commit while the store is filled.
const AT_ONCE: usize = 50_000;
const STARTS: usize = 3;
/// The number of events, for customers all over the store, so that the engine is busy when its
/// memory is measured.
const EVENTS: usize = 20_000;
/// The default of `store.outbox_max`.
const OUTBOX: usize = 100_000;
const ENVIRONMENT: &str = "local";
const RESIDENT_MB_MAX: f64 = 300.0;
const OUTBOX_MB_MAX: f64 = 500.0;
const START_SECONDS_MAX: f64 = 2.0;
const START_AFTER_KILL_SECONDS_MAX: f64 = 0.5;

pub(crate) async fn run() -> Outcome<()> {
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "bench").await;
    let site = campaigns::stateful();
    campaigns::module(&site, "abandoned-registration");
    // No timer must become due meanwhile.
    site.put("nudge.toml", campaign("abandoned-registration", "[params]\nwait_minutes = 43200"));
    let template = template(&site)?;
    let store = site.data().join("store");
    let began = Instant::now();
    fill(&store, &template)?;
    let megabytes = hailer::store::file_bytes(&store) >> 20;
    println!("{CUSTOMERS} customers and timers: {megabytes} MB, made in {:.0?}", began.elapsed());

    // The first start compiles the modules; a restart does not.
    start(&site, &wiring).await.0.stop().await;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let (engine, seconds) = start(&site, &wiring).await;
        starts.push(seconds);
        engine.stop().await;
    }
    mark_starts("start with a million customers and timers", starts, START_SECONDS_MAX);

    let (engine, _) = start(&site, &wiring).await;
    let step = CUSTOMERS as usize / EVENTS;
    wiring.send((0..EVENTS).map(|number| purchase_of((number * step + 1) as u64, number))).await;
    engine.metric_is("hailer_source_acknowledged_total", EVENTS as f64).await;
    let (now, most) = resident_mb(&engine).await?;
    let beside = format!(
        "at most; {now:.0} MB in the end, after {EVENTS} events of as many customers; a file of \
         {megabytes} MB"
    );
    mark(
        "resident with a million customers and timers",
        most,
        Against::AtMost(RESIDENT_MB_MAX),
        " MB",
        &beside,
    );
    engine.kill();

    let mut starts = Vec::new();
    for round in 0..STARTS {
        let (engine, seconds) = start(&site, &wiring).await;
        starts.push(seconds);
        // Some events must be in flight at the kill.
        wiring
            .send(
                (0..1000)
                    .map(|number| purchase_of(number, 1_000_000 + round * 1000 + number as usize)),
            )
            .await;
        engine.kill();
    }
    mark_starts("start on it after kill -9", starts, START_AFTER_KILL_SECONDS_MAX);
    with_full_outbox(&site, &wiring).await
}

/// Fills the outbox by removing the queue of communications, and kills the engine with it.
async fn with_full_outbox(site: &Site, wiring: &Wiring) -> Outcome<()> {
    wiring.client.delete_queue(&wiring.out).await;
    wiring.client.purge(&wiring.events).await;
    let engine = site.start(&wiring.flags());
    consumes(&engine).await;
    wiring
        .send(
            (0..OUTBOX + 5000)
                .map(|number| purchase_of(1 + number as u64 * 7 % CUSTOMERS, 5_000_000 + number)),
        )
        .await;
    wait::until("the outbox is full", async || {
        engine.metric("hailer_outbox").await >= OUTBOX as f64
    })
    .await;
    let (_, most) = resident_mb(&engine).await?;
    engine.kill();
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        // A full outbox must not delay the start: the sink is connected and its exchange exists.
        let began = Instant::now();
        let engine = site.start(&wiring.flags());
        consumes(&engine).await;
        starts.push(began.elapsed().as_secs_f64());
        engine.kill();
    }
    mark_starts("start with a full outbox", starts, START_SECONDS_MAX);
    let (engine, _) = {
        wiring.bind_out().await;
        start(site, wiring).await
    };
    wait::until("the outbox is published", async || {
        wiring.client.counts(&wiring.out).await.0 as usize > OUTBOX / 2
    })
    .await;
    let (_, drained) = resident_mb(&engine).await?;
    let beside = format!("at most, filling it and sending it: {most:.0} and {drained:.0} MB");
    mark(
        "resident with a full outbox",
        most.max(drained),
        Against::AtMost(OUTBOX_MB_MAX),
        " MB",
        &beside,
    );
    engine.kill();
    Ok(())
}

/// Waits until the source consumes: with an outbox that stays full the sink never becomes ready.
async fn consumes(engine: &Engine) {
    wait::until("the source is connected", async || {
        engine.metric("hailer_source_connected").await > 0.0
    })
    .await;
}

async fn start(site: &Site, wiring: &Wiring) -> (Engine, f64) {
    let began = Instant::now();
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    (engine, began.elapsed().as_secs_f64())
}

fn mark_starts(name: &str, seconds: Vec<f64>, most: f64) {
    let beside = format!("starts {}", listed(&seconds, 2));
    mark(name, median(seconds), Against::AtMost(most), " s", &beside);
}

/// The row of a customer who has bought once and registers again.
fn template(site: &Site) -> Outcome<CustomerRow> {
    let store = site.path("template");
    let begins = r#"{"eventCode":"OnBeginRegistration","customerInfo":{"customerId":7}}"#;
    let lines = format!("{}\n{begins}\n", purchase_of(7, 1).replace('\n', ""));
    let source = format!("file:{}", site.write("template.jsonl", lines).display());
    let store_flag = store.display().to_string();
    let _ = site.run(&["--source", &source, "--sink", "-", "--store", &store_flag]).expect(0);
    let opened = FileStore::open(&store, Opening::of(ENVIRONMENT))?;
    let key = Event::read(begins.into())?.customer_key().ok_or("a customer")?;
    let row = opened
        .snapshot()?
        .get(Table::Customers, &Key::customer(key))?
        .ok_or("the customer's row")?;
    println!("a customer's row takes {} bytes", row.len());
    Ok(rmp_serde::from_slice(&row)?)
}

/// Writes the template row for each customer, with the customer's own id in its one timer.
fn fill(directory: &Path, template: &CustomerRow) -> Outcome<()> {
    let store = FileStore::open(directory, Opening { create: true, ..Opening::of(ENVIRONMENT) })?;
    let mut rows = Vec::with_capacity(CUSTOMERS as usize);
    for number in 1..=CUSTOMERS {
        let event = Event::read(Bytes::from(purchase_of(number, 1)))?;
        let key = event.customer_key().ok_or("a customer")?;
        rows.push((Key::customer(key), key, event.customer().cloned().ok_or("a customer")?));
    }
    // Rows are written in the order of their keys.
    rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let nudge = Arc::<str>::from("nudge");
    for rows in rows.chunks(AT_ONCE) {
        let mut changes = Changes::new();
        for (key, customer, recipient) in rows {
            let mut row = template.clone();
            // One timer each: the timers of the purchase are left out.
            row.change(&Arc::from("win-back"), |campaign| campaign.timers.clear());
            row.change(&nudge, |campaign| {
                for timer in &mut campaign.timers {
                    timer.recipient = recipient.clone();
                    let (campaign, name) = ((*nudge).into(), timer.name.clone());
                    let key = TimerKey {
                        due: timer.looked_at,
                        customer: *customer,
                        campaign,
                        timer: name,
                    };
                    changes.put(Table::Timers, key.encode(), Vec::new());
                }
            });
            changes.put(Table::Customers, key.as_slice(), rmp_serde::to_vec(&row)?);
        }
        store.commit(changes)?;
    }
    let timers = store
        .sizes()?
        .tables
        .iter()
        .find(|size| size.table == Table::Timers)
        .map_or(0, |size| size.rows);
    assert_eq!(timers, CUSTOMERS, "a timer each");
    Ok(())
}
