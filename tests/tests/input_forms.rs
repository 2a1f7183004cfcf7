//! Files without one event in each line: the messages and exit codes of a run and of a replay.

use std::io::Write;
use std::process::{Command, Stdio};

use hailer_tests::site::Site;

use crate::swaps::purchase;

/// The name of a file, its bytes, and a part of the expected hint.
fn forms() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let event = purchase(1, 1);
    let pretty =
        serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&event).unwrap())
            .unwrap();
    let utf16: Vec<u8> =
        format!("\u{feff}{event}\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        ("array.json", format!("[{event},{event}]\n").into_bytes(), "a JSON array"),
        ("array-of-lines.json", format!("[\n{event},\n{event}\n]\n").into_bytes(), "a JSON array"),
        ("pretty.json", pretty.into_bytes(), "spread over several lines"),
        ("events.bin", gzip(event.as_bytes()), "compressed (gzip)"),
        ("utf-16.jsonl", utf16, "UTF-16"),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip");
    gzip.stdin.take().unwrap().write_all(bytes).unwrap();
    gzip.wait_with_output().unwrap().stdout
}

#[test]
fn a_run_over_a_file_of_another_form_names_it_and_exits_with_1() {
    let site = Site::with_basket();
    for (name, bytes, hint) in forms() {
        let source = format!("file:{}", site.write(name, bytes).display());
        let outcome = site.run(&["--source", &source, "--sink", "-"]);
        // An array over several lines has one event in each line between the brackets.
        let code = if name == "array-of-lines.json" { 0 } else { 1 };
        let outcome = outcome.expect(code);
        assert!(outcome.stderr.contains(hint), "{name}: {}", outcome.stderr);
        assert_eq!(
            outcome.stderr.contains("write one event a line, as"),
            code == 1,
            "{name}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn a_run_over_lines_without_an_event_exits_with_1() {
    let site = Site::with_basket();
    for text in ["a,b\n1,2\n", "\"x\"\n\"y\"\n", "BZh91AY&SY\nx\n"] {
        let source = format!("file:{}", site.write("events.txt", text).display());
        let outcome = site.run(&["--source", &source, "--sink", "-"]).expect(1);
        assert!(
            outcome.stderr.contains("write one event a line, as"),
            "{text}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn a_file_with_one_event_among_other_lines_is_read() {
    let site = Site::with_basket();
    let source = format!(
        "file:{}",
        site.write("events.jsonl", format!("{{\n{}\n", purchase(1, 1))).display()
    );
    let outcome = site.run(&["--source", &source, "--sink", "-"]).expect(0);
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stderr);
}

#[test]
fn a_replay_of_a_file_of_another_form_names_it() {
    let site = Site::with_basket();
    let rules = site.rules().display().to_string();
    for (name, bytes, hint) in
        forms().into_iter().filter(|(name, ..)| !name.starts_with("array-of"))
    {
        // A replay reads compressed files.
        if name == "events.bin" {
            continue;
        }
        let events = site.write(name, bytes).display().to_string();
        let outcome = site.command_without_data(&["replay", &events, "--rules", &rules]).expect(1);
        assert!(
            outcome.stderr.contains(hint) && outcome.stderr.contains("one event a line"),
            "{name}: {}",
            outcome.stderr
        );
    }
}
