//! Output of commands for people and for programs: of rules directories with every kind of error,
//! of the machine, and in the log.

use std::os::unix::fs::DirBuilderExt;

use hailer_tests::built;
use hailer_tests::site::{Outcome, Site, campaign};

use crate::swaps::purchase;

/// Files that are not rule modules, each with the expected message.
fn bad_modules() -> [(&'static str, Vec<u8>, &'static str); 6] {
    [
        ("bytes", b"\x7fELF and so on".to_vec(), "it does not start with `\\0asm`"),
        ("nothing", Vec::new(), "the module is empty"),
        ("cut", b"\0asm\x01\0\0\0\x01\x7f".to_vec(), "at byte 10: unexpected end-of-file"),
        (
            "component",
            b"\0asm\x0d\0\x01\0".to_vec(),
            "this is a component, and a rule must be a core module",
        ),
        ("foreign", b"\0asm\x01\0\0\0".to_vec(), "does not export `memory`"),
        ("fifty-megabytes", vec![0; 50 << 20], "it has 52428800 bytes, the most is 1048576"),
    ]
}

const BAD_CAMPAIGNS: [(&str, &str, &[&str]); 4] = [
    (
        "gone.toml",
        "module = \"modules/gone.wasm\"\nmode = \"live\"\n",
        &["gone.toml: the module modules/gone.wasm is not there"],
    ),
    (
        "typo.toml",
        "module = \"modules/gone.wasm\"\nmood = \"live\"\n",
        &[
            "typo.toml: `mode` is missing",
            "typo.toml:2: there is no key `mood`",
            "did you mean `mode`?",
        ],
    ),
    (
        "away.toml",
        "module = \"../away.wasm\"\nmode = \"live\"\n",
        &["away.toml:1: the module `../away.wasm` leaves the rules directory"],
    ),
    (
        "month.toml",
        "module = \"modules/gone.wasm\"\nmode = \"live\"\nstart = 2026-13-01T00:00:00\n",
        &["month.toml:3: not TOML: invalid date, expected month between 01 and 12"],
    ),
];

fn check(site: &Site) -> Outcome {
    site.command(&["check", "--no-broker", "--rules", &site.rules().display().to_string()])
}

#[test]
fn a_template_that_is_too_long_is_refused_before_it_is_used() {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", built::example_module("big-basket"));
    site.put(
        "long.toml",
        campaign("big-basket", &format!("[params]\ntemplate = \"{}\"", "t".repeat(60_000))),
    );
    let checked = check(&site).expect(1);
    let part = "long.toml:4: `template` is 60000 characters, above the most, 128";
    assert!(checked.stdout.contains(part), "{}", checked.stdout);
}

#[test]
fn a_check_warns_of_a_backup_copy_and_passes() {
    let site = Site::with_basket();
    site.put("basket-2026-11-29.toml", std::fs::read(site.rules().join("basket.toml")).unwrap());
    let checked = check(&site).expect(0);
    let warning = checked
        .stdout
        .lines()
        .find(|line| line.starts_with("warning  rules basket-2026-11-29.toml: "));
    assert!(warning.is_some_and(|line| line.contains("of `basket`")), "{}", checked.stdout);
    let json = site.command(&[
        "check",
        "--no-broker",
        "--json",
        "--rules",
        &site.rules().display().to_string(),
    ]);
    let findings = json.expect(0).json();
    let warnings =
        findings.as_array().unwrap().iter().filter(|finding| finding["level"] == "warning");
    assert_eq!(warnings.count(), 1, "{findings}");
}

#[test]
fn a_check_reports_each_error_once_with_a_next_step() {
    let site = Site::with_basket();
    let well = check(&site).expect(0);
    assert_eq!(well.stderr, "");
    for (name, bytes, _) in bad_modules() {
        site.put(&format!("{name}.wasm"), bytes);
    }
    let modules = check(&site).expect(1);
    for (name, _, part) in bad_modules() {
        let about = format!("PROBLEM  rules {name}.wasm");
        let line =
            modules.stdout.lines().find(|line| line.starts_with(&about)).expect(&modules.stdout);
        assert!(line.contains(part), "{line}");
    }
    for (name, text, _) in BAD_CAMPAIGNS {
        site.put(name, text);
    }
    let both = check(&site).expect(1);
    for part in BAD_CAMPAIGNS.iter().flat_map(|(_, _, parts)| *parts) {
        assert_eq!(both.stdout.matches(part).count(), 1, "{part}: {}", both.stdout);
    }
    let count =
        |mark: &str| both.stdout.lines().filter(|line| line.trim_start().starts_with(mark)).count();
    assert_eq!(count("PROBLEM"), count("→"), "each has a next step: {}", both.stdout);
    assert_eq!(both.stderr, "", "nothing is reported twice");
    let json = site.command(&[
        "check",
        "--no-broker",
        "--json",
        "--rules",
        &site.rules().display().to_string(),
    ]);
    assert!(
        json.expect(1).json().as_array().unwrap().len()
            >= bad_modules().len() + BAD_CAMPAIGNS.len()
    );
}

/// Threads and allocators reserve address space. A compile child has no more than this limit.
#[test]
fn a_small_rule_is_compiled_with_little_memory() {
    let site = Site::with_basket();
    let rules = site.rules().display().to_string();
    for mebibytes in [128, 144, 208] {
        let little = format!("limits.compile_memory_bytes_max={}", mebibytes << 20);
        let checked =
            site.command(&["check", "--no-broker", "--rules", &rules, "--set", &little]).expect(0);
        assert!(
            checked.stdout.contains("these campaigns were loaded: "),
            "{mebibytes} MiB: {}",
            checked.stdout
        );
    }
}

#[test]
fn doctor_reports_what_is_missing_with_a_next_step() {
    let site = Site::empty();
    let rules = site.rules().display().to_string();
    let well = site.command(&["doctor", "--rules", &rules]).expect(0);
    assert!(well.stdout.lines().all(|line| line.starts_with("ok ")), "{}", well.stdout);
    let recording = format!("record.dir={}", site.path("recording").display());
    let later = site.command(&["doctor", "--rules", &rules, "--set", &recording]).expect(0);
    assert!(
        later.stdout.contains("/recording: does not exist yet; `hailer run` creates it"),
        "{}",
        later.stdout
    );
    assert!(!site.path("recording").exists(), "doctor creates nothing");
    let path = site.write("recording", "a file");
    let never =
        site.command(&["check", "--no-broker", "--rules", &rules, "--set", &recording]).expect(1);
    assert!(
        never.stdout.contains(&format!("PROBLEM  recording {}: ", path.display())),
        "{}",
        never.stdout
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::DirBuilder::new().mode(0o755).create(&path).unwrap();
    let open = site.command(&["doctor", "--rules", &rules, "--set", &recording]).expect(1);
    assert!(open.stdout.contains("other users can access it"), "{}", open.stdout);
    let missing = site.command(&["doctor", "--rules", "nowhere", "--set", "shards=4000"]).expect(1);
    assert!(missing.stdout.contains("PROBLEM  configuration shards: "), "{}", missing.stdout);
    let missing = site.command(&["doctor", "--rules", "nowhere"]).expect(1);
    assert!(
        missing.stdout.contains("→ create the directory, or name another with --rules"),
        "{}",
        missing.stdout
    );
}

#[test]
fn completions_know_every_command_in_every_shell() {
    let site = Site::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = site.command_without_data(&["completions", shell]).expect(0).stdout;
        for command in ["run", "rollback", "decisions", "completions"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(
            !script.contains("compile-module"),
            "{shell} offers a command that is not for people"
        );
    }
}

/// The last line of a log for machines, each of which is an object with a level and a message.
fn last_line(stderr: &str) -> serde_json::Value {
    let read =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let lines: Vec<serde_json::Value> = stderr.lines().map(read).collect();
    assert!(
        lines.iter().all(|line| line["level"].is_string() && line["message"].is_string()),
        "{stderr}"
    );
    lines.last().expect("a line").clone()
}

#[tokio::test]
async fn a_log_for_machines_is_json_to_its_last_line() {
    let site = Site::with_basket();
    let source =
        format!("file:{}", site.write("events.jsonl", purchase(1, 7) + "\nnothing\n").display());
    let flags = ["--source", &source, "--sink", "-", "--log-format", "json"];
    let last = last_line(&site.run(&flags).expect(0).stderr);
    assert_eq!(last["message"], "the run has ended");
    assert_eq!([&last["events"], &last["communications"], &last["dead_letters"]], [1, 1, 1]);

    let engine = site.start(&["--source", "-", "--sink", "-"]);
    engine.ready().await;
    let second = site.run(&flags).expect(1);
    let last = last_line(&second.stderr);
    assert_eq!((&last["level"], &last["message"]), (&"ERROR".into(), &"the run has failed".into()));
    assert!(
        last["error"].as_str().unwrap().contains("another engine runs in the data directory"),
        "{last}"
    );
    engine.kill();
}
