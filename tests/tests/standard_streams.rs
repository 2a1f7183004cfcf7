//! Without any service: events from a file or standard input, communications on standard output, and an end.

use std::collections::BTreeSet;

use hailer_tests::site::Site;
use serde_json::{Value, json};

use crate::seed::examples;

/// The examples as lines, with an id each, so that it does not matter where they come from.
fn envelopes() -> String {
    let mut lines = String::new();
    for (number, (routing_key, _, body)) in examples().into_iter().enumerate() {
        let body = String::from_utf8(body).unwrap();
        let line = json!({ "routingKey": routing_key, "messageId": format!("m-{number}"), "body": body });
        lines += &format!("{line}\n");
    }
    lines
}

fn ids(communications: &[Value]) -> BTreeSet<String> {
    let ids: BTreeSet<String> = communications.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), communications.len(), "an id of its own for each communication");
    ids
}

fn read(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_and_standard_input_lead_to_the_same_communications_and_exit_0() {
    let site = Site::with_examples();
    let events = site.write("events.jsonl", envelopes());
    let source = format!("file:{}", events.display());
    let from_file = read(&site.run(&["--source", &source, "--sink", "-"]).expect(0).stdout);
    assert_eq!(from_file.len(), 13);

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
async fn a_file_that_is_read_again_leads_to_the_same_ids() {
    let site = Site::with_examples();
    let bare = |(_, _, body): (String, String, Vec<u8>)| String::from_utf8(body).unwrap().replace('\n', "") + "\n";
    let events = site.write("events.jsonl", examples().into_iter().map(bare).collect::<String>());
    let source = format!("file:{}", events.display());
    let run = || ids(&read(&site.run(&["--source", &source, "--sink", "-"]).expect(0).stdout));
    let first = run();
    assert_eq!((first.len(), &first), (13, &run()));
}

#[tokio::test]
async fn a_sink_that_is_a_file_is_added_to() {
    let site = Site::with_examples();
    let events = site.write("events.jsonl", envelopes());
    let (source, sink) = (format!("file:{}", events.display()), format!("file:{}", site.path("out").display()));
    for _ in 0..2 {
        let outcome = site.run(&["--source", &source, "--sink", &sink]).expect(0);
        assert_eq!(outcome.stdout, "", "standard output is for data");
        assert!(outcome.stderr.contains("12 events, 13 communications, 0 dead letters"), "{}", outcome.stderr);
    }
    assert_eq!(hailer_tests::site::lines(&site.path("out")).len(), 26);
}

fn by_id(mut communications: Vec<Value>) -> Vec<Value> {
    communications.sort_by_key(|communication| communication["id"].to_string());
    communications
}

fn without_time(mut communication: Value) -> Value {
    communication.as_object_mut().unwrap().remove("createdAt").unwrap();
    communication
}
