//! Scenarios of rules: every example has some, a broken rule fails exactly its own, and an engine
//! refuses a module that fails its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use hailer_tests::built::{checkout, example_module, hailer, target, without_settings};
use hailer_tests::copies::copy;
use hailer_tests::site::{Site, campaign};
use serde_json::Value;

use crate::swaps::purchase;

/// Runs `hailer test` in a directory, with a target directory of its own. Returns the exit code,
/// standard output and standard error.
fn test(directory: &Path, place: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(hailer());
    command
        .arg("test")
        .args(arguments)
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", target().join(place));
    without_settings(&mut command);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The scenarios of each rule, and whether they passed.
fn results(json: &str) -> BTreeMap<String, Vec<(String, bool)>> {
    let outcomes: Vec<Value> = serde_json::from_str(json).unwrap();
    let of = |outcome: &Value| {
        let scenarios = outcome["scenarios"].as_array().unwrap().iter().map(|scenario| {
            let steps = scenario["steps"].as_array().unwrap();
            let passed = scenario["error"].is_null()
                && steps.iter().all(|step| step["mismatches"] == Value::Array(vec![]));
            (scenario["name"].as_str().unwrap().to_owned(), passed)
        });
        (outcome["rule"].as_str().unwrap().to_owned(), scenarios.collect())
    };
    outcomes.iter().map(of).collect()
}

#[test]
fn every_example_has_scenarios_and_they_pass() {
    let directory = tempfile::tempdir().unwrap();
    let junit = directory.path().join("junit.xml");
    let (code, json, said) =
        test(checkout(), "", &["rules", "--json", "--junit", junit.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    let results = results(&json);
    let rules = fs::read_dir(checkout().join("rules")).unwrap();
    let crates = rules.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(results.len(), crates, "every example has scenarios");
    assert!(
        results
            .values()
            .all(|scenarios| scenarios.len() >= 3 && scenarios.iter().all(|(_, passed)| *passed))
    );
    let cases = results.values().map(Vec::len).sum::<usize>();
    let junit = fs::read_to_string(junit).unwrap();
    assert_eq!(junit.matches("<testcase").count(), cases);
    assert!(!junit.contains("<failure"), "{junit}");
}

#[test]
fn a_broken_rule_fails_exactly_its_own_scenarios() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    // A copy of the workspace, with three of the example rules.
    let names = ["abandoned-registration", "welcome", "win-back"];
    let workspace = fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
    let (_, shared) = workspace.split_once("[workspace.package]").unwrap();
    let members = r#"["guest-sdk", "guest-sdk/abi", "guest-sdk/macros", "rules/*"]"#;
    let manifest = format!(
        "[workspace]\nresolver = \"3\"\nmembers = {members}\n\n[workspace.package]{shared}"
    );
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    fs::copy(checkout().join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    fs::copy(checkout().join("rust-toolchain.toml"), root.join("rust-toolchain.toml")).unwrap();
    copy(&checkout().join("guest-sdk"), &root.join("guest-sdk"));
    for name in names {
        copy(&checkout().join("rules").join(name), &root.join("rules").join(name));
    }
    let source = root.join("rules/win-back/src/lib.rs");
    let rule = fs::read_to_string(&source).unwrap();
    let (whole, broken) = ("in_days(self.first_days)", "in_days(self.first_days + 1)");
    assert!(rule.contains(whole));
    fs::write(&source, rule.replace(whole, broken)).unwrap();

    let (code, json, said) = test(root, "broken-rules", &["rules", "--json"]);
    assert_eq!(code, Some(1), "{said}");
    let results = results(&json);
    let red = |rule: &str| {
        results[rule]
            .iter()
            .filter(|(_, passed)| !passed)
            .map(|(name, _)| &**name)
            .collect::<Vec<_>>()
    };
    assert_eq!((red("abandoned-registration"), red("welcome")), (vec![], vec![]));
    // All scenarios fail, except the one about parameters.
    assert_eq!(red("win-back").len(), results["win-back"].len() - 1, "{json}");
    let (_, shown, _) = test(root, "broken-rules", &["rules/win-back", "--quiet"]);
    for part in [
        "FAILED a message is sent sixty and ninety days",
        "- first at 2026-03-11 11:00",
        "+ first at 2026-03-12 11:00",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "there are no colours without a terminal");
}

/// The welcome module with a changed first scenario, which expects another note than the rule
/// leaves.
fn failing_its_own() -> Vec<u8> {
    let mut module = example_module("welcome");
    let (note, other) = (b"greeted, in group A\"", b"greeted, in group X\"");
    let places: Vec<usize> = module
        .windows(note.len())
        .enumerate()
        .filter(|(_, part)| part == note)
        .map(|(at, _)| at)
        .collect();
    let at = *places.last().expect("the module contains its scenarios");
    module[at..at + other.len()].copy_from_slice(other);
    module
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_engine_refuses_a_module_that_fails_its_own_scenarios() {
    let site = Site::with_basket();
    let file = campaign("welcome", "");
    site.put("modules/welcome.wasm", example_module("welcome"));
    site.put("welcome.toml", file);
    let mut engine =
        site.start(&["--source", "-", "--sink", "-", "--set", "reload.debounce_ms=20"]);
    engine.ready().await;
    let version = engine.campaign("welcome").await.unwrap().version;
    site.put("modules/welcome.wasm", failing_its_own());
    let reloaded = site.command(&["reload"]).expect(1);
    let told = reloaded.stdout + &reloaded.stderr;
    for part in [
        "a new member gets an e-mail and a push message",
        "- …greeted, in group X…",
        "+ greeted, in group A",
        "hailer test",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    assert_eq!(engine.campaign("welcome").await.unwrap().version, version);
    engine.write(purchase(1, 1) + "\n");
    engine.prints(1).await;
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
    let checked = site.command(&["check", "--no-broker", "--json"]);
    assert!(
        checked.code != Some(0) && checked.stdout.contains("fails its own scenario"),
        "{}",
        checked.stdout
    );
}

#[test]
fn invalid_scenarios_are_reported_with_their_line_before_anything_runs() {
    let site = Site::empty();
    fs::write(site.path("welcome.wasm"), example_module("welcome")).unwrap();
    let story = "[[scenario]]\nname = \"a\"\nsteps = [{ event = \"RegistrationCompletd\" }]\n";
    fs::write(site.path("story.toml"), story).unwrap();
    let outcome = site.command(&["test", "story.toml", "--module", "welcome.wasm"]).expect(2);
    assert!(
        outcome.stderr.contains("story.toml:3: there is no event `RegistrationCompletd`"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("did you mean \"RegistrationCompleted\"?"),
        "{}",
        outcome.stderr
    );

    fs::write(site.path("story.toml"), story.replace("Completd", "Completed")).unwrap();
    let _ = site.command(&["test", "story.toml", "--module", "welcome.wasm"]).expect(0);
    for (arguments, part) in [
        (&["test", "story.toml"][..], "--module"),
        (&["test", "rules.d"], "no rule crate with a scenarios.toml"),
        (
            &["test", "story.toml", "--module", "welcome.wasm", "--only", "missing"],
            "no scenario has `missing`",
        ),
    ] {
        let outcome = site.command(arguments).expect(2);
        assert!(outcome.stderr.contains(part), "{arguments:?}: {}", outcome.stderr);
    }
    let outcome = site.command(&["test", "welcome.wasm", "--quiet"]).expect(0);
    assert!(
        outcome.stdout.contains("6 scenarios passed"),
        "a module is tested with its own scenarios: {}",
        outcome.stdout
    );
    let _ = site.command(&["inspect", "welcome.wasm"]).expect(0);
}
