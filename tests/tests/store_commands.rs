//! `hailer store` and `hailer decisions`, with a running engine and on the store of a stopped one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hailer_tests::built::example_module;
use hailer_tests::copies::copy;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Outcome, Site, campaign};
use hailer_tests::wait;
use serde_json::Value;

use crate::swaps::purchase;

fn site() -> Site {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", campaign("big-basket", "[params]\nthreshold = \"0\""));
    site
}

fn store_of(site: &Site) -> String {
    site.path("store").display().to_string()
}

/// Runs an engine over these purchases until it ends.
fn run(site: &Site, purchases: std::ops::Range<usize>) {
    let event =
        |number| format!(r#"{{"messageId":"m-{number}","body":{}}}"#, purchase(number, number % 5));
    let lines: Vec<_> = purchases.map(event).collect();
    let events = format!("file:{}", site.write("events.jsonl", lines.join("\n")).display());
    let _ = site.run(&["--source", &events, "--store", &store_of(site)]).expect(0);
}

/// Starts an engine that has decided two purchases and waits for more.
async fn running(site: &Site) -> Engine {
    let mut engine = site.start(&["--store", &store_of(site)]);
    engine.ready().await;
    engine.write(format!("{}\n{}\n", purchase(500, 7), purchase(600, 8)));
    engine.prints(2).await;
    engine
}

fn stopped(site: &Site, arguments: &[&str]) -> Outcome {
    site.command(&[arguments, &["--store", &store_of(site)]].concat())
}

fn rows(overview: &Value, table: &str) -> u64 {
    let tables = overview["tables"].as_array().unwrap();
    tables.iter().find(|one| one["name"] == table).unwrap()["rows"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn store_show_prints_the_same_with_a_running_and_a_stopped_engine() {
    let site = site();
    let engine = running(&site).await;
    let show = || site.command(&["store", "show", "--json"]).expect(0).json();
    wait::until("the outbox is empty", async || {
        show()["outboxWaiting"] == 0 && rows(&show(), "outbox") == 0
    })
    .await;
    let while_running = show();
    assert_eq!(
        (&while_running["environment"], &while_running["format"]),
        (&"local".into(), &10.into())
    );
    assert_eq!((&while_running["dedupRows"], rows(&while_running, "trail")), (&2.into(), 2));
    assert!(while_running["journal"]["first"].as_str().unwrap().starts_with("20"));
    assert!(while_running["fileBytes"].as_u64().unwrap() > 4096);
    engine.stop().await;
    let afterwards = stopped(&site, &["store", "show", "--json"]).expect(0);
    assert_eq!(afterwards.stderr, "", "the engine closed its store properly");
    let afterwards = afterwards.json();
    for fact in ["directory", "environment", "id", "journal", "dedupRows", "runs"] {
        assert_eq!(afterwards[fact], while_running[fact], "{fact}");
    }
    let text = stopped(&site, &["store", "show", "--utc"]).expect(0).stdout;
    assert!(
        text.contains("outbox       0 communications wait\n") && text.contains("TABLE"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn decisions_export_prints_the_same_from_an_engine_and_from_its_store() {
    let site = site();
    let engine = running(&site).await;
    let jsonl = ["decisions", "export", "--format", "jsonl"];
    let while_running = site.command(&jsonl).expect(0).stdout;
    let decisions: Vec<Value> =
        while_running.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(decisions.len(), 2);
    for decision in &decisions {
        assert_eq!(
            (&decision["campaign"], &decision["decision"]),
            (&"basket".into(), &"answered".into())
        );
        assert_eq!(decision["communications"][0]["verdict"], "passed");
        assert_eq!(decision["eventCode"], "OnPurchaseConfirm");
    }
    engine.stop().await;
    assert_eq!(stopped(&site, &jsonl).expect(0).stdout, while_running);
    let csv = stopped(&site, &["decisions", "export", "--since", "1d"]).expect(0).stdout;
    assert!(
        csv.starts_with("at,event_id,customer,event_code,") && csv.lines().count() == 3,
        "{csv}"
    );
    let nothing = ["decisions", "export", "--until", "2020-01-01", "--json"];
    assert_eq!(stopped(&site, &nothing).expect(0).stdout, "");
    assert_eq!(
        stopped(&site, &["decisions", "export", "--campaign", "x", "--json"]).expect(0).stdout,
        ""
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backup_of_a_running_engine_is_a_store_and_overwrites_nothing() {
    let site = site();
    let engine = running(&site).await;
    // The path is relative to the command's working directory, not to the engine's.
    let backup = ["store", "backup", "backup"];
    let said = site.command(&backup).expect(0).stdout;
    assert!(said.contains("backed up to") && said.contains("backup, "), "{said}");
    let again = site.command(&backup).expect(1);
    assert!(
        again.stderr.contains("already exists; name a path that does not exist"),
        "{}",
        again.stderr
    );
    let verified = site.command(&["store", "verify", "--store", "backup"]).expect(0).stdout;
    assert!(
        verified.starts_with("sound: ") && verified.contains("environment local"),
        "{verified}"
    );
    let story = site.command(&["why", "7", "--store", "backup"]).expect(0).stdout;
    assert!(
        story.contains("OnPurchaseConfirm"),
        "the answer comes from the backup, not from the engine: {story}"
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn commands_that_need_the_store_alone_are_refused_beside_an_engine() {
    let site = site();
    let engine = running(&site).await;
    for (command, next_step) in [
        ("verify", "and verify the copy with --store"),
        ("export", "and export the copy with --store"),
        ("compact", "stop the engine first"),
    ] {
        let refused = site.command(&["store", command]).expect(1);
        assert!(refused.stderr.contains("an engine has it open"), "{}", refused.stderr);
        assert!(refused.stderr.contains(next_step), "{}", refused.stderr);
    }
    // The engine of another data directory uses the store.
    let other = site.path("other").display().to_string();
    let refused = site.command_at(&other, &["why", "7", "--store", &store_of(&site)]).expect(1);
    assert!(
        refused.stderr.contains("is already in use by another engine or command"),
        "{}",
        refused.stderr
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_environment_than_the_running_engines_is_refused() {
    let site = site();
    let engine = running(&site).await;
    for command in [&["why", "7"][..], &["store", "show"], &["decisions", "export"]] {
        let of =
            |environment: &str| site.command(&[command, &["--environment", environment]].concat());
        let _ = of("local").expect(0);
        let refused = of("production").expect(2);
        let expected = "the running engine has the environment `local`, not `production`: leave \
                        --environment out";
        assert!(refused.stderr.contains(expected) && refused.stdout.is_empty(), "{refused:?}");
    }
    engine.stop().await;
}

#[test]
fn a_missing_or_foreign_store_is_refused_with_a_next_step() {
    let site = site();
    let nothing = site.command(&["store", "show"]).expect(1);
    assert!(nothing.stderr.contains("no engine answers on"), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("with --store or --config"), "{}", nothing.stderr);
    for command in [
        &["store", "show"][..],
        &["store", "verify"],
        &["store", "compact"],
        &["store", "export"],
        &["why", "7"],
    ] {
        let missing = stopped(&site, command).expect(1);
        assert!(missing.stderr.contains("there is no store in"), "{}", missing.stderr);
        assert!(!site.path("store").exists(), "no store is created");
    }
    run(&site, 0..3);
    let other = stopped(&site, &["store", "show", "--environment", "production"]).expect(1);
    assert!(other.stderr.contains("belongs to the environment `local`"), "{}", other.stderr);
}

#[test]
fn every_command_reports_a_damaged_store() {
    let site = site();
    run(&site, 0..50);
    let _ = stopped(&site, &["store", "verify"]).expect(0);
    let file = site.path("store/hailer.wal");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(9).rposition(|window| window == b"OnPurchas");
    bytes[at.expect("a row of the journal")] ^= 1;
    fs::write(&file, bytes).unwrap();
    let export = ["store", "export", "--to", "export.jsonl"];
    for command in [&["store", "verify"][..], &["decisions", "export"], &export] {
        let damaged = stopped(&site, command).expect(1);
        assert!(
            damaged.stderr.contains("damaged") && damaged.stderr.contains("restore a backup"),
            "{}",
            damaged.stderr
        );
    }
    let left = fs::read_dir(site.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(
        !left.into_iter().any(|name| name.contains("export")),
        "a failed export leaves no file"
    );
}

#[test]
fn compact_reports_the_bytes_before_and_after() {
    let site = site();
    run(&site, 0..500);
    let said = stopped(&site, &["store", "compact", "--json"]).expect(0).json();
    assert!(said["bytesAfter"].as_u64().unwrap() <= said["bytesBefore"].as_u64().unwrap());
    let _ = stopped(&site, &["store", "verify"]).expect(0);
}

/// The procedure of docs/operations/store.md.
#[test]
fn an_engine_continues_from_a_restored_backup() {
    let site = site();
    run(&site, 0..20);
    let _ = stopped(&site, &["store", "backup", "backup"]).expect(0);
    let then = stopped(&site, &["store", "show", "--json"]).expect(0).json();
    run(&site, 20..40);
    let later = stopped(&site, &["store", "show", "--json"]).expect(0).json();
    assert!(later["commit"].as_u64() > then["commit"].as_u64());
    fs::rename(site.path("store"), site.path("store.damaged")).unwrap();
    copy(&site.path("backup"), &site.path("store"));
    let _ = stopped(&site, &["store", "verify"]).expect(0);
    let restored = stopped(&site, &["store", "show", "--json"]).expect(0).json();
    assert_eq!((&restored["commit"], &restored["id"]), (&then["commit"], &then["id"]));
    run(&site, 40..60);
    let decisions = stopped(&site, &["decisions", "export", "--json"]).expect(0).stdout;
    assert_eq!(decisions.lines().count(), 40);
}

/// The procedure of docs/operations/store.md.
#[test]
fn an_engine_continues_from_an_imported_export() {
    let (old, new) = (site(), site());
    run(&old, 0..20);
    let said = stopped(&old, &["store", "export", "--to", "moved.jsonl"]).expect(0).stdout;
    assert!(said.starts_with("exported ") && said.contains(" rows to moved.jsonl, "), "{said}");
    let file = old.path("moved.jsonl");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let export = fs::read_to_string(&file).unwrap();
    let printed = stopped(&old, &["store", "export"]).expect(0);
    assert!(
        printed.stdout == export && printed.stderr.starts_with("exported "),
        "{}",
        printed.stderr
    );
    let again = stopped(&old, &["store", "export", "--to", "moved.jsonl"]).expect(1);
    assert!(
        again.stderr.contains("`moved.jsonl` already exists; name a new file"),
        "{}",
        again.stderr
    );
    assert!(fs::read_to_string(&file).unwrap() == export);

    let file = file.display().to_string();
    let said = stopped(&new, &["store", "import", &file]).expect(0).stdout;
    assert!(said.starts_with("imported ") && said.contains("environment local"), "{said}");
    assert_eq!(fs::metadata(new.path("store")).unwrap().permissions().mode() & 0o777, 0o700);
    let verified = stopped(&new, &["store", "verify", "--json"]).expect(0).json();
    let rows = verified["rows"]
        .as_object()
        .unwrap()
        .values()
        .map(|rows| rows.as_u64().unwrap())
        .sum::<u64>();
    assert!(said.contains(&format!("imported {rows} rows")) && rows > 20, "{said}");
    let show = |site| stopped(site, &["store", "show", "--json"]).expect(0).json();
    let (before, after) = (show(&old), show(&new));
    for (fact, value) in before.as_object().unwrap() {
        assert!(
            matches!(&**fact, "directory" | "fileBytes") || after[fact] == *value,
            "{fact}: {after}"
        );
    }
    let why = ["why", "3", "--utc"];
    let story = stopped(&new, &why).expect(0).stdout;
    assert!(
        story.contains("OnPurchaseConfirm") && story == stopped(&old, &why).expect(0).stdout,
        "{story}"
    );
    let export = ["store", "export", "--to", "again.jsonl"];
    let _ = stopped(&new, &export).expect(0);
    assert!(
        fs::read(new.path("again.jsonl")).unwrap() == fs::read(&file).unwrap(),
        "the import lost rows"
    );
    run(&new, 10..30);
    let decisions = stopped(&new, &["decisions", "export", "--json"]).expect(0).stdout;
    assert_eq!(decisions.lines().count(), 30, "events of the old engine were decided again");
}

#[test]
fn an_import_refuses_a_wrong_environment_damage_and_an_existing_store() {
    let site = site();
    run(&site, 0..20);
    let _ = stopped(&site, &["store", "export", "--to", "export.jsonl"]).expect(0);
    let refused = |arguments: &[&str], expected: &str| {
        let refused = site.command(&[&["store", "import"], arguments].concat()).expect(1);
        assert!(refused.stderr.contains(expected) && refused.stdout.is_empty(), "{refused:?}");
    };
    refused(
        &["export.jsonl", "--store", "store"],
        "`store` already exists; name a path that does not exist",
    );
    let production = ["--store", "new", "--environment", "production"];
    let other = "line 1 has the environment `local`, and the configuration has `production`; \
                 correct `environment`";
    refused(&[&["export.jsonl"], &production[..]].concat(), other);
    refused(&["nothing.jsonl", "--store", "new"], "cannot read `nothing.jsonl`");
    let mut bytes = fs::read(site.path("export.jsonl")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    site.write("damaged.jsonl", bytes);
    refused(&["damaged.jsonl", "--store", "new"], "cannot import `damaged.jsonl`: line ");
    let piped = |script: &str| site.shell(&format!("set -o pipefail; {script}"));
    let cut =
        piped("head -n 30 export.jsonl | hailer store import - --store new --data data").expect(1);
    assert!(
        cut.stderr.contains("cannot import `standard input`: line 31 is missing"),
        "{}",
        cut.stderr
    );
    assert!(!site.path("new").exists());
    // A reader that closes the pipe early must not look like a complete export.
    let early = site
        .shell(
            "mkfifo pipe; exec 3<>pipe 4>pipe 3>&-; hailer store export --store store --data data \
             >&4",
        )
        .expect(1);
    assert!(early.stderr.contains("cannot write the export: Broken pipe"), "{}", early.stderr);
    let _ = piped(
        "hailer store export --store store --data data | hailer store import - --store new --data \
         data",
    )
    .expect(0);
    let _ = site.command(&["store", "verify", "--store", "new"]).expect(0);
}
