//! Engines without RabbitMQ: events from a file or standard input, communications on standard
//! output, and an end.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};

use hailer_tests::site::Site;
use hailer_tests::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::examples::examples;

/// The examples as lines with message ids, so that their ids do not depend on the source.
fn envelopes() -> String {
    envelopes_of("m")
}

/// The examples with message ids that begin with `run`.
fn envelopes_of(run: &str) -> String {
    let mut lines = String::new();
    for (number, (routing_key, _, body)) in examples().into_iter().enumerate() {
        let body = String::from_utf8(body).unwrap();
        let id = format!("{run}-{number}");
        let line = json!({ "routingKey": routing_key, "messageId": id, "body": body });
        lines += &format!("{line}\n");
    }
    lines
}

fn ids(communications: &[Value]) -> BTreeSet<String> {
    let ids: BTreeSet<String> =
        communications.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), communications.len(), "each communication has an id of its own");
    ids
}

fn read(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_and_standard_input_lead_to_the_same_communications() {
    let site = Site::with_examples();
    let events = site.write("events.jsonl", envelopes());
    let source = format!("file:{}", events.display());
    let from_file = read(&site.run(&["--source", &source, "--sink", "-"]).expect(0).stdout);
    assert_eq!(from_file.len(), 14);

    let mut engine = site.start(&["--source", "-", "--sink", "-"]);
    engine.write(envelopes());
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
    let from_input = read(&engine.stdout());
    assert_eq!(ids(&from_file), ids(&from_input));
    for (one, other) in by_id(from_file).into_iter().zip(by_id(from_input)) {
        assert_eq!(without_time(one), without_time(other));
    }
}

#[tokio::test]
async fn reading_a_file_again_leads_to_the_same_ids() {
    let site = Site::with_examples();
    let bare = |(_, _, body): (String, String, Vec<u8>)| {
        String::from_utf8(body).unwrap().replace('\n', "") + "\n"
    };
    let events = site.write("events.jsonl", examples().into_iter().map(bare).collect::<String>());
    let source = format!("file:{}", events.display());
    let run = || ids(&read(&site.run(&["--source", &source, "--sink", "-"]).expect(0).stdout));
    let first = run();
    assert_eq!((first.len(), &first), (14, &run()));
}

#[tokio::test]
async fn a_file_sink_appends() {
    let site = Site::with_examples();
    let events = site.write("events.jsonl", envelopes());
    let (source, sink) =
        (format!("file:{}", events.display()), format!("file:{}", site.path("out").display()));
    for _ in 0..2 {
        let outcome = site.run(&["--source", &source, "--sink", &sink]).expect(0);
        assert_eq!(outcome.stdout, "", "standard output is for data");
        assert!(
            outcome.stderr.contains("12 events, 14 communications, 0 dead letters"),
            "{}",
            outcome.stderr
        );
    }
    assert_eq!(hailer_tests::site::lines(&site.path("out")).len(), 28);
}

fn pipe(site: &Site, name: &str) -> String {
    let path = site.path(name);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    format!("file:{}", path.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pipe_without_another_end_does_not_delay_a_stop() {
    let site = Site::with_examples();
    let (source, sink) = (pipe(&site, "events"), pipe(&site, "out"));
    for [source, sink] in [[&*source, "-"], ["-", &*sink]] {
        let mut engine = site.start(&["--source", source, "--sink", sink]);
        wait::until("the rules are loaded", async || {
            engine.client.campaigns().await.is_ok_and(|campaigns| !campaigns.is_empty())
        })
        .await;
        engine.signal(Signal::TERM);
        assert_eq!(engine.ended().await, Some(0), "{source} {sink}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reader_that_closes_the_pipe_ends_the_run_with_a_summary() {
    let site = Site::with_examples();
    let events: String = (0..200).map(|run| envelopes_of(&run.to_string())).collect();
    let source = format!("file:{}", site.write("events.jsonl", events).display());
    let sink = pipe(&site, "out");
    let reader = site.path("out");
    // A reader that reads one line and closes the pipe.
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::with_capacity(1, File::open(reader).unwrap()).read_line(&mut line).unwrap();
    });
    let outcome =
        site.run(&["--source", &source, "--sink", &sink, "--set", "event.batch_max=1"]).expect(0);
    reader.join().unwrap();
    let (_, summary) = outcome
        .stderr
        .split_once("the reader of the communications has ended")
        .expect(&outcome.stderr);
    assert!(!summary.contains(" 0 events") && !summary.contains(" 0 communications"), "{summary}");
    assert!(summary.contains(" were not written"), "{summary}");
}

#[tokio::test]
async fn a_run_refuses_to_read_and_write_the_same_file() {
    let site = Site::with_examples();
    let _ = site.write("events.jsonl", envelopes());
    let rules = site.rules().display().to_string();
    for (ends, redirected) in [
        ("--source - --sink file:events.jsonl", "<"),
        ("--source file:events.jsonl --sink -", ">>"),
    ] {
        let refused = site.shell(&format!(
            "hailer run --data data --rules {rules} {ends} {redirected} events.jsonl"
        ));
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("the file that events are read from"), "{refused:?}");
    }
    assert_eq!(std::fs::read_to_string(site.path("events.jsonl")).unwrap(), envelopes());
}

#[tokio::test]
async fn a_copy_of_a_message_is_the_same_event_and_is_reported() {
    let site = Site::with_examples();
    let source = format!("file:{}", site.write("events.jsonl", envelopes().repeat(20)).display());
    let outcome = site.run(&["--source", &source, "--sink", "-"]).expect(0);
    let once = site.run(&[
        "--source",
        &format!("file:{}", site.write("once.jsonl", envelopes()).display()),
        "--sink",
        "-",
    ]);
    assert_eq!(outcome.stdout.lines().count(), once.expect(0).stdout.lines().count());
    assert!(
        outcome.stderr.contains("228 copies of events that had been decided"),
        "{}",
        outcome.stderr
    );
}

fn by_id(mut communications: Vec<Value>) -> Vec<Value> {
    communications.sort_by_key(|communication| communication["id"].to_string());
    communications
}

fn without_time(mut communication: Value) -> Value {
    communication.as_object_mut().unwrap().remove("createdAt").unwrap();
    communication
}
