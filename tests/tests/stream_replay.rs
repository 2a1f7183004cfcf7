//! `hailer replay` and `hailer record export` of a stream queue. The result is that of the same
//! events from a file, up to the end that the stream had at the start. A queue that is not a stream
//! keeps its messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hailer::recording::{Archive, ArchiveError, Chunks, Origin, StreamError, StreamQueue};
use hailer_tests::broker::Client;
use hailer_tests::site::{Outcome, Site, lines};
use hailer_tests::wait;
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde_json::Value;

use crate::support::shared_broker;

const KEY: &str = "customer.card.link";
/// An event without a time, in a message without one: only the broker knows the time.
const TIMELESS: &str = "{\"eventCode\":\"OnSomething\",\"customerInfo\":{\"customerId\":1}}";

/// Declares an exchange and, with `hailer topology --record-on`, its stream; returns the stream's
/// name.
async fn stream(site: &Site, client: &Client, name: &str) -> String {
    client.exchange(name, &[]).await;
    // The second call finds the stream unchanged.
    for _ in 0..2 {
        let _ = topology(site, name, "7").expect(0);
    }
    format!("{name}.recorded")
}

fn topology(site: &Site, name: &str, days: &str) -> Outcome {
    let (source, queue, days) = (
        shared_broker().patient_address(),
        format!("rabbitmq.queue={name}"),
        format!("record.days={days}"),
    );
    let settings = ["--set", &queue, "--set", &days, "--set", "record.bytes_max=67108864"];
    let command = ["topology", "--apply", "--source", &source, "--record-on", name];
    tokio::task::block_in_place(|| site.command_without_data(&[&command[..], &settings].concat()))
}

fn address(queue: &str) -> String {
    shared_broker().patient_address().replace('?', &format!("/{queue}?"))
}

fn replay(site: &Site, address: &str, arguments: &[&str]) -> Outcome {
    let rules = site.rules();
    let patient = ["--rules", rules.to_str().unwrap(), "--set", "limits.call_deadline_ms=2000"];
    tokio::task::block_in_place(|| {
        site.command(&[&["replay", address], &patient[..], arguments].concat())
    })
}

fn export(site: &Site, address: &str, arguments: &[&str]) -> Outcome {
    let arguments = [&["record", "export", address], arguments].concat();
    tokio::task::block_in_place(|| site.command_without_data(&arguments))
}

/// Publishes the lines of a file as messages, with times in whole seconds.
async fn publish(client: &Client, exchange: &str, events: &[Value]) {
    let mut confirms = Vec::new();
    for line in events {
        let at: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        let mut properties = BasicProperties::default().with_timestamp(at.as_second() as u64);
        if let Some(id) = line["messageId"].as_str() {
            properties = properties.with_message_id(id.into());
        }
        confirms.push(
            client.send(exchange, KEY, line["body"].to_string().as_bytes(), properties).await,
        );
    }
    for confirm in confirms {
        assert!(confirm.await.unwrap().is_ack());
    }
}

/// Generated events at whole seconds, each with an id.
fn made_up(site: &Site) -> Vec<Value> {
    let made = ["events", "--generate", "3000", "--seed", "7", "--customers", "100", "--envelope"];
    let made = site.command_without_data(&made).expect(0).stdout;
    let event = |(number, line): (usize, &str)| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let at: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        line["timestamp"] =
            jiff::Timestamp::from_second(at.as_second()).unwrap().to_string().into();
        line["messageId"] = format!("m-{number}").into();
        line
    };
    made.lines().enumerate().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_a_stream_decides_the_same_as_one_of_a_file() {
    let site = Site::with_examples();
    let client = Client::connect(shared_broker()).await;
    let queue = stream(&site, &client, "replayed").await;
    let events = made_up(&site);
    let file = site
        .write("events.jsonl", events.iter().map(|line| format!("{line}\n")).collect::<String>());
    publish(&client, "replayed", &events).await;

    let decided = |from: &str, threads: &str| {
        let out = site.path("out.jsonl");
        let arguments =
            ["--run-on", "30d", "--json", "--threads", threads, "--out", out.to_str().unwrap()];
        let report = replay(&site, from, &arguments).expect(0).json();
        (report, std::fs::read(&out).unwrap(), lines(&out))
    };
    let by_stream = decided(&address(&queue), "1");
    assert_eq!(decided(&address(&queue), "2").1, by_stream.1, "a second read gives the same");
    let by_file = decided(file.to_str().unwrap(), "2");
    assert_eq!((&by_stream.0["events"], &by_stream.0), (&3000.into(), &by_file.0));
    let without_place = |rows: &[Value]| -> Vec<Value> {
        let without = |row: &Value| {
            let mut row = row.clone();
            row.as_object_mut().unwrap().remove("event");
            row
        };
        rows.iter().map(without).collect()
    };
    assert_eq!(without_place(&by_stream.2), without_place(&by_file.2));
    let first = by_stream.2.iter().find_map(|row| row["event"].as_str()).unwrap();
    assert!(
        first.starts_with("amqp://guest@127.0.0.1:") && first.contains(&format!("/{queue}:")),
        "{first}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_stream_contains_the_published_messages() {
    let site = Site::empty();
    let client = Client::connect(shared_broker()).await;
    let queue = stream(&site, &client, "exported").await;
    let events = made_up(&site);
    publish(&client, "exported", &events).await;
    client.publish("exported", KEY, [TIMELESS, "no event"]).await;
    let exported = export(&site, &address(&queue), &[]).expect(1);
    // Its offset is larger than all others. The broker's own entries in a stream have offsets, too.
    let told = exported
        .stderr
        .split_once(&format!("/{queue}:"))
        .and_then(|(_, told)| told.split_once(": "));
    assert!(
        told.is_some_and(|(place, _)| place.parse::<u64>().unwrap() >= 3001),
        "{}",
        exported.stderr
    );
    let exported: Vec<Value> =
        exported.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(exported.len(), 3001);
    let said = |line: &Value| {
        let at = line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        (at, line["messageId"].clone(), line["body"].clone())
    };
    assert!(exported[..3000].iter().map(said).eq(events.iter().map(said)));
    assert_eq!(
        (&exported[3000]["routingKey"], &exported[3000]["timestamp"]),
        (&KEY.into(), &Value::Null)
    );
    // The broker counts from its own time, whatever the messages say. An event without a time can
    // only be selected by that.
    let since =
        export(&site, &address(&queue), &["--since", "2026-03-01", "--codes", "OnSomething"])
            .expect(1);
    assert_eq!(since.stdout.lines().count(), 1);
    let until = ["--until", "2036-03-01", "--codes", "OnSomething"];
    let until = export(&site, &address(&queue), &until).expect(1);
    assert!(until.stdout.is_empty() && until.stderr.contains("1 events have no time"), "{until:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_a_growing_stream_ends() {
    let site = Site::with_basket();
    let client = Client::connect(shared_broker()).await;
    let queue = stream(&site, &client, "filled").await;
    client.publish("filled", KEY, vec![TIMELESS; 5000]).await;
    let is_read = Arc::new(AtomicBool::new(false));
    let filling = tokio::spawn({
        let is_read = Arc::clone(&is_read);
        async move {
            let mut more = 0;
            // Limited, so that a replay without an end fails instead of running for ever.
            while !is_read.load(Ordering::Relaxed) && more < 100_000 {
                client.publish("filled", KEY, vec![TIMELESS; 50]).await;
                more += 50;
            }
            more
        }
    });
    let report =
        replay(&site, &address(&queue), &["--start", "2026-03-01", "--json"]).expect(0).json();
    is_read.store(true, Ordering::Relaxed);
    let (read, more) = (report["events"].as_u64().unwrap(), filling.await.unwrap());
    assert!((5000..5000 + more).contains(&read), "{read} read, {more} came meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn since_selects_by_the_time_of_the_broker() {
    let site = Site::with_basket();
    let client = Client::connect(shared_broker()).await;
    let queue = stream(&site, &client, "since").await;
    let read = |since: &str| {
        let arguments = ["--since", since, "--start", "2026-03-01", "--json"];
        replay(&site, &address(&queue), &arguments).expect(0).json()["events"].as_u64().unwrap()
    };
    assert_eq!(read("2026-03-01T00:00:00Z"), 0, "an empty stream");
    client.publish("since", KEY, vec![TIMELESS; 300]).await;
    // At least one whole second must pass.
    let before = jiff::Timestamp::now().as_second();
    wait::until("the next second has begun", async || {
        jiff::Timestamp::now().as_second() > before + 1
    })
    .await;
    let between = jiff::Timestamp::from_second(before + 2).unwrap();
    client.publish("since", KEY, vec![TIMELESS; 20]).await;
    assert_eq!(read("2026-03-01T00:00:00Z"), 320);
    assert_eq!(read(&between.to_string()), 20);
    let later = jiff::Timestamp::from_second(before + 3600).unwrap();
    assert_eq!(read(&later.to_string()), 0, "nothing since then");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_deleted_while_it_is_read_is_an_error() {
    let site = Site::empty();
    let client = Client::connect(shared_broker()).await;
    let queue = stream(&site, &client, "gone").await;
    client.publish("gone", KEY, vec![TIMELESS; 20_000]).await;
    let origin = StreamQueue { address: address(&queue).parse().unwrap(), since: None };
    let mut chunks = tokio::task::block_in_place(|| {
        let archive = Archive::open(&[Origin::Stream(Box::new(origin))], 1 << 20).unwrap();
        Chunks::of(archive, 10, 1 << 20)
    });
    assert!(tokio::task::block_in_place(|| chunks.next()).unwrap().is_ok());
    client.delete_queue(&queue).await;
    let (mut read, mut ends) = (1, Vec::new());
    tokio::task::block_in_place(|| {
        for chunk in chunks {
            match chunk {
                Ok(_) => read += 1,
                Err(error) => ends.push(error),
            }
        }
    });
    let [ArchiveError::Stream(error @ StreamError::Cancelled { .. })] = &ends[..] else {
        panic!("{read}: {ends:?}")
    };
    assert!(
        read < 2000 && error.to_string().contains("of 19999: the queue was deleted"),
        "{read}: {error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_a_stream_is_refused_and_keeps_its_messages() {
    let site = Site::with_basket();
    let client = Client::connect(shared_broker()).await;
    client.queue("no.stream.classic").await;
    let quorum = AMQPValue::LongString("quorum".into());
    client.queue_with("no.stream.quorum", &[("x-queue-type", quorum)]).await;
    for queue in ["no.stream.classic", "no.stream.quorum"] {
        client.publish("", queue, ["1", "2", "3"]).await;
        for refused in [
            replay(&site, &address(queue), &[]).expect(2),
            export(&site, &address(queue), &[]).expect(2),
        ] {
            for part in
                [queue, "is not a stream", "remove its messages", "hailer topology --record-on"]
            {
                assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
            }
        }
        let kept = client.take_many(queue, 3).await;
        assert!(kept.iter().all(|message| !message.redelivered), "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_reported_with_a_next_step_and_no_password() {
    let site = Site::with_basket();
    let client = Client::connect(shared_broker()).await;
    let missing = replay(&site, &address("no.such.queue"), &[]).expect(2);
    assert!(
        missing.stderr.contains("there is no queue `no.such.queue` in the virtual host `/`"),
        "{}",
        missing.stderr
    );
    let nameless = replay(&site, "amqp://me:s3cret@localhost/", &[]).expect(2);
    assert!(
        nameless.stderr.contains("it names no queue; write amqp://")
            && !nameless.stderr.contains("s3cret"),
        "{}",
        nameless.stderr
    );
    let unreachable =
        replay(&site, "amqp://me:s3cret@127.0.0.1:1/x?connection_timeout=500", &[]).expect(1);
    assert!(
        unreachable.stderr.contains("check that the broker runs")
            && !unreachable.stderr.contains("s3cret"),
        "{}",
        unreachable.stderr
    );
    // An existing stream with other properties stays unchanged.
    let _ = stream(&site, &client, "kept").await;
    let other = topology(&site, "kept", "8").expect(1);
    assert!(
        other.stderr.contains("queue `kept.recorded` exists with other properties"),
        "{}",
        other.stderr
    );
}
