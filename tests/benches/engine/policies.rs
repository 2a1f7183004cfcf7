//! What policies cost, beside the same run without them: throughput from RabbitMQ to RabbitMQ, the
//! time from file to file, memory with a million customers, and the release of 200,000 deferred
//! messages that are due in one minute.
//!
//! The policies are those of docs/policies.md. Each customer buys twice, so that every message
//! passes them, and both sides of a ratio send the same communications.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::measure::events::purchase_of;
use crate::measure::flow::{of_engine, rate_of};
use crate::measure::{Against, Outcome, campaigns, listed, mark, median, resident_mb};
use bytes::Bytes;
use hailer::clock::Millis;
use hailer::event::{Event, EventId};
use hailer::policies::{Channels, Consent, ConsentSource, Counted, PolicyRow};
use hailer::records::{CustomerRow, Key};
use hailer::store::{Changes, FileStore, Opening, Store, Table};
use hailer_tests::broker::Broker;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;

const ROUNDS: usize = 5;
const EVENTS: usize = 30_000;
const EVENTS_OF_FILE: usize = 200_000;
const CUSTOMERS: u64 = 1_000_000;
const CUSTOMERS_AT_ONCE: usize = 50_000;
/// The number of events of the million customers, so that the engine is busy when its memory is
/// measured.
const EVENTS_OF_MILLION: usize = 20_000;
const DEFERRED: usize = 200_000;
/// The number of events that come while deferred messages are released.
const MEANWHILE: usize = 5_000;
const MINUTE: u64 = 60;
const DAY_MS: Millis = 86_400_000;
const ENVIRONMENT: &str = "local";

pub(crate) async fn run() -> Outcome<()> {
    let broker = Broker::start();
    throughput(&broker).await?;
    file_to_file()?;
    million(&broker).await?;
    releases(&broker).await
}

/// The policies, with these quiet hours.
fn policies(from: &str, to: &str) -> String {
    format!(
        r#"time_zone = "UTC"
time_zone_attribute = "TimeZone"

[consent]
subscription = "Mailings"
yes = ["Enabled"]

[consent.unknown]
mail = "allow"
push = "allow"
sms = "allow"
viber = "refuse"
chatBot = "refuse"
socialNetworks = "refuse"

[[quiet_hours]]
name = "night"
from = "{from}"
to = "{to}"
then = "defer"

[deferral]
discard_after = "14h"
spread = "0m"

[[cap]]
name = "day"
max = 2
per = "day"

[[cap]]
name = "birthday-once"
max = 1
per = "300d"
campaigns = ["birthday"]

[control.holdout]
percent = 5
salt = "2026"
campaigns = ["another"]

[per_event]
campaigns_max = 1
"#
    )
}

/// The policies, with quiet hours that do not come during the benchmark.
fn policies_by_day() -> String {
    let now = seconds();
    policies(&time_of_day(now + 11 * 60 * MINUTE), &time_of_day(now + 12 * 60 * MINUTE))
}

/// Purchases, two of each customer, which are far apart.
fn two_of_each(count: usize) -> Vec<Vec<u8>> {
    let customer = |number: usize| (number % (count / 2)) as u64 + 1;
    (0..count).map(|number| purchase_of(customer(number), number).into_bytes()).collect()
}

async fn throughput(broker: &Broker) -> Outcome<()> {
    let wiring = Wiring::new(broker, "policies").await;
    let events = two_of_each(EVENTS);
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let without = of_engine(&wiring, &events, &campaigns::ten()).await?;
        let site = campaigns::ten();
        site.put("policies.toml", policies_by_day());
        let with = of_engine(&wiring, &events, &site).await?;
        println!("round {round}: without policies {without:.0}/s, with {with:.0}/s");
        ratios.push(with / without);
    }
    let beside = format!("of the same without; rounds {}", listed(&ratios, 2));
    let name = "policies: RabbitMQ to RabbitMQ, ten rules";
    mark(name, median(ratios), Against::AtLeast(0.93), " ×", &beside);
    Ok(())
}

/// A campaign that sends a communication for each purchase.
fn one_rule() -> Site {
    let site = Site::empty();
    campaigns::module(&site, "big-basket");
    site.put(campaigns::ANSWERS, campaign("big-basket", campaigns::ANSWERS_ALL));
    site
}

fn file_to_file() -> Outcome<()> {
    let events = two_of_each(EVENTS_OF_FILE);
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let mut seconds = Vec::new();
        for policies in [None, Some(policies_by_day())] {
            let site = one_rule();
            if let Some(policies) = policies {
                site.put("policies.toml", policies);
            }
            let began = Instant::now();
            let sent = run_over(&site, &events);
            seconds.push(began.elapsed().as_secs_f64());
            if sent != EVENTS_OF_FILE {
                return Err(format!("{sent} communications for {EVENTS_OF_FILE} events").into());
            }
        }
        println!("round {round}: without policies {:.2} s, with {:.2} s", seconds[0], seconds[1]);
        ratios.push(seconds[0] / seconds[1]);
    }
    let beside = format!("of the speed without; rounds {}", listed(&ratios, 2));
    let name = "policies: file to file, one rule";
    mark(name, median(ratios), Against::AtLeast(0.85), " ×", &beside);
    Ok(())
}

/// Runs an engine over a file of events, with the site's store; returns the number of
/// communications.
fn run_over(site: &Site, events: &[impl AsRef<[u8]>]) -> usize {
    let mut lines = Vec::new();
    for event in events {
        lines.extend(event.as_ref().iter().filter(|byte| **byte != b'\n'));
        lines.push(b'\n');
    }
    let source = format!("file:{}", site.write("events.jsonl", lines).display());
    let out = site.path("out.jsonl");
    let sink = format!("file:{}", out.display());
    let store = site.data().join("store").display().to_string();
    let _ = site.run(&["--source", &source, "--sink", &sink, "--store", &store]).expect(0);
    std::fs::read(out).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}

/// A million customers with consents and counted messages.
async fn million(broker: &Broker) -> Outcome<()> {
    let wiring = Wiring::new(broker, "million").await;
    let site = one_rule();
    site.put("policies.toml", policies_by_day());
    fill(&site)?;
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    let step = CUSTOMERS as usize / EVENTS_OF_MILLION;
    let events =
        (0..EVENTS_OF_MILLION).map(|number| purchase_of((number * step + 1) as u64, number));
    wiring.send(events).await;
    engine.metric_is("hailer_source_acknowledged_total", EVENTS_OF_MILLION as f64).await;
    let (now, most) = resident_mb(&engine).await?;
    let beside = format!("at most; {now:.0} MB in the end, after {EVENTS_OF_MILLION} events");
    let name = "policies: resident with a million customers with consents and counts";
    mark(name, most, Against::AtMost(450.0), " MB", &beside);
    engine.kill();
    Ok(())
}

fn fill(site: &Site) -> Outcome<()> {
    let directory = site.data().join("store");
    std::fs::create_dir_all(site.data())?;
    let store = FileStore::open(&directory, Opening { create: true, ..Opening::of(ENVIRONMENT) })?;
    let now = Millis::try_from(seconds())? * 1000;
    let subscription: Arc<str> = "Mailings".into();
    let mut row = CustomerRow::default();
    let consent = |channel| Consent {
        subscription: Arc::clone(&subscription),
        channel,
        is_yes: channel != 2,
        at: now - 10 * DAY_MS,
        source: ConsentSource::Event(EventId::NONE),
    };
    let counted = |days: Millis| Counted {
        at: now - days * DAY_MS,
        campaign: "answer".into(),
        event: EventId::NONE,
        channels: Channels::all(),
    };
    row.policy = PolicyRow {
        consents: (0..6).map(consent).collect(),
        zone: Some("Asia/Omsk".into()),
        counted: [9, 5, 2].map(counted).to_vec(),
    };
    let row = rmp_serde::to_vec(&row)?;
    println!("a customer's row takes {} bytes", row.len());
    let mut keys = Vec::with_capacity(CUSTOMERS as usize);
    for number in 1..=CUSTOMERS {
        let event = Event::read(Bytes::from(purchase_of(number, 1)))?;
        keys.push(Key::customer(event.customer_key().ok_or("a customer")?));
    }
    // Rows are written in the order of their keys.
    keys.sort_unstable();
    for keys in keys.chunks(CUSTOMERS_AT_ONCE) {
        let mut changes = Changes::new();
        keys.iter().for_each(|key| changes.put(Table::Customers, key.as_slice(), row.clone()));
        store.commit(changes)?;
    }
    Ok(())
}

/// 200,000 messages are deferred until one minute. When it comes, they are released while new
/// events arrive.
async fn releases(broker: &Broker) -> Outcome<()> {
    let wiring = Wiring::new(broker, "releases").await;
    let steady_site = one_rule();
    steady_site.put("policies.toml", policies_by_day());
    let steady = of_engine(&wiring, &two_of_each(EVENTS), &steady_site).await?;
    wiring.client.purge(&wiring.out).await;

    let site = one_rule();
    let end = (seconds() / MINUTE + 3) * MINUTE;
    let from = time_of_day(end - 60 * MINUTE);
    site.put("policies.toml", policies(&from, &time_of_day(end)));
    let events: Vec<String> =
        (0..DEFERRED).map(|number| purchase_of(number as u64 + 1, number)).collect();
    let sent = run_over(&site, &events);
    if sent != 0 {
        return Err(format!("{sent} communications in quiet hours").into());
    }
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    engine.metric_is("hailer_deferred", DEFERRED as f64).await;
    if seconds() >= end {
        return Err("the messages were due before they were all deferred".into());
    }
    println!("{DEFERRED} messages are deferred for another {} s", end - seconds());
    wait::until("the first releases", async || wiring.client.counts(&wiring.out).await.0 > 0).await;
    let began = Instant::now();
    let new = (0..MEANWHILE).map(|number| purchase_of(number as u64 + 1, DEFERRED + number));
    let of_new = async {
        wiring.send(new).await;
        engine.metric_is("hailer_source_acknowledged_total", MEANWHILE as f64).await;
        let left = engine.metric("hailer_deferred").await;
        (MEANWHILE as f64 / began.elapsed().as_secs_f64(), left)
    };
    let all = DEFERRED + MEANWHILE;
    let ((new, left), released) = tokio::join!(of_new, rate_of(&wiring, 1, all));
    engine.metric_is("hailer_deferred", 0.0).await;
    engine.stop().await;
    let beside = format!("{released:.0}/s, of the steady rate of {steady:.0}/s");
    let name = "policies: release of 200,000 messages due in one minute";
    mark(name, released / steady, Against::AtLeast(0.8), " ×", &beside);
    let beside = format!(
        "{new:.0} new events a second while messages are released, of the same steady rate; \
         {left:.0} messages were left when {MEANWHILE} new events were handled"
    );
    mark("the same: new events", new / steady, Against::AtLeast(0.2), " ×", &beside);
    Ok(())
}

/// The time since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// The UTC time of day as `HH:MM`.
fn time_of_day(seconds: u64) -> String {
    let minutes = seconds / MINUTE % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}
