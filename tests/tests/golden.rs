//! ABI 1 is final: modules that were built when it became final still load, and decide what they
//! decided then.

use std::path::PathBuf;

use hailer_tests::built::checkout;
use hailer_tests::site::{Site, lines};
use serde_json::Value;

fn golden() -> PathBuf {
    checkout().join("tests/fixtures/abi-1")
}

#[test]
fn golden_modules_send_the_same_as_when_abi_1_became_final() {
    let site = Site::empty();
    let rules = golden();
    let made = ["events", "--generate", "200", "--seed", "1", "--customers", "12", "--envelope"];
    let events = site.write("events.jsonl", site.command_without_data(&made).expect(0).stdout);
    let decisions = site.path("decisions.jsonl");
    let [events, rules, out] = [&events, &rules, &decisions].map(|path| path.to_str().unwrap());
    let replay = ["replay", events, "--rules", rules, "--run-on", "120d", "--out", out];
    // All tests run at once, so the machine cannot measure how long a call takes.
    let _ =
        site.command(&[&replay[..], &["--set", "limits.call_deadline_ms=2000"]].concat()).expect(0);
    let sent: Vec<Value> = lines(&decisions)
        .iter()
        .flat_map(|row| row["communications"].as_array().cloned().unwrap_or_default())
        .map(|one| one["message"].clone())
        .filter(Value::is_object)
        .collect();
    let then = lines(&golden().join("communications.jsonl"));
    for (number, (now, then)) in sent.iter().zip(&then).enumerate() {
        assert_eq!(now, then, "communication {number}");
    }
    assert_eq!(sent.len(), then.len());
    let of_timers = then.iter().filter(|one| one["cause"]["timer"].is_string()).count();
    assert!(of_timers > 5, "{of_timers} communications of timers");
}

#[test]
fn golden_modules_pass_hailer_check() {
    let site = Site::empty();
    let check =
        site.command(&["check", "--no-broker", "--rules", golden().to_str().unwrap()]).expect(0);
    let modules = std::fs::read_dir(golden().join("modules")).unwrap().count();
    let (_, loaded) =
        check.stdout.split_once("these campaigns were loaded: ").expect(&check.stdout);
    assert_eq!(loaded.split(", ").count(), modules, "{loaded}");
}
