//! The rules directory of a running engine: a change applies to the next event, and an invalid
//! change changes nothing.

use hailer::reload::CampaignState;
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Outcome, RELOADS_ON_REQUEST, Site, campaign};
use hailer_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

use crate::swaps::purchase;

/// The engine reads the directory on a file notification: the poll would come much later.
const STREAMS: [&str; 8] = [
    "--source",
    "-",
    "--sink",
    "-",
    "--set",
    "reload.debounce_ms=20",
    "--set",
    "reload.poll_ms=3600000",
];
/// A campaign that sends a communication with this template for every purchase.
fn answering(template: &str) -> String {
    campaign("big-basket", &format!("[params]\nthreshold = \"0\"\ntemplate = \"{template}\""))
}

/// A site with the module and the campaign `basket`.
fn site() -> Site {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", answering("first"));
    site
}

/// Sends a purchase, and returns the templates of the `count` communications that follow.
async fn next(engine: &mut Engine, count: usize) -> Vec<String> {
    let before = engine.printed().len();
    engine.write(purchase(1, 1) + "\n");
    let printed = engine.prints(before + count).await;
    printed[before..].iter().map(|one| one["template"].as_str().unwrap().to_owned()).collect()
}

async fn campaign_is(
    engine: &Engine,
    name: &str,
    what: &str,
    is: impl Fn(&hailer::reload::CampaignStatus) -> bool,
) {
    let has = async || engine.campaign(name).await.is_some_and(|campaign| is(&campaign));
    wait::until(&format!("{name} {what}"), has).await;
}

/// A campaign in the output of `hailer campaigns --json`.
fn listed(site: &Site, name: &str) -> Value {
    let campaigns = site.command(&["campaigns", "--json"]).expect(0).json();
    let found = campaigns.as_array().unwrap().iter().find(|campaign| campaign["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {campaigns}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_copied_module_or_campaign_file_decides_the_next_event() {
    let site = Site::empty();
    let mut engine = site.start(&STREAMS);
    engine.ready_with("\"rules\"").await;
    std::fs::write(site.rules().join("bare.wasm"), example_module("big-basket")).unwrap();
    engine.ready().await;
    engine.write(purchase(135, 1) + "\n");
    assert_eq!(engine.prints(1).await[0]["template"], "big-basket");

    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", answering("first"));
    campaign_is(&engine, "basket", "runs", |campaign| campaign.state == CampaignState::Running)
        .await;
    assert_eq!(
        next(&mut engine, 1).await,
        ["first"],
        "one rouble is below the default threshold of the bare module"
    );
    let before = engine.campaign("basket").await;
    site.put("basket.toml", answering("second"));
    let is_swapped = async || engine.metric("hailer_rule_set").await >= 4.0;
    wait::until("the new parameters are used", is_swapped).await;
    assert_eq!(next(&mut engine, 1).await, ["second"]);
    assert_eq!(before.unwrap().state, CampaignState::Running);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_invalid_file_is_reported_and_never_replaces_a_valid_one() {
    let site = site();
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    let good = example_module("big-basket");
    let truncated = &good[..good.len() / 2];
    let broken: [(&str, &[u8], &str); 4] = [
        ("basket.toml", b"module = \"modules/big-basket.wasm\"\nmode = \"alive\"\n", "basket.toml"),
        ("basket.toml", b"module = ", "basket.toml"),
        ("modules/big-basket.wasm", truncated, "modules/big-basket.wasm"),
        ("modules/big-basket.wasm", b"\0asm\x01\0\0\0", "modules/big-basket.wasm"),
    ];
    for (file, bytes, named) in broken {
        let kept = std::fs::read(site.rules().join(file)).unwrap();
        site.put(file, bytes);
        let said = site.command(&["reload"]).expect(1);
        assert!(said.stdout.contains(named), "{}", said.stdout);
        let campaign = listed(&site, "basket");
        assert_eq!(
            (&campaign["state"], campaign["problem"].is_object()),
            (&"running".into(), true),
            "{campaign}"
        );
        assert_eq!(next(&mut engine, 1).await, ["first"], "with a broken {file}");
        engine.ready().await;
        site.put(file, kept);
        let said = site.command(&["reload"]).expect(0);
        assert!(listed(&site, "basket")["problem"].is_null(), "{}", said.stdout);
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pinned_digest_waits_for_its_module() {
    let site = site();
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    let other = example_module("refund-follow-up");
    let path = site.write("other.wasm", &other);
    let digest = site.command(&["inspect", &path.display().to_string(), "--json"]).expect(0).json();
    let digest = digest["digest"].as_str().unwrap();
    site.put("basket.toml", format!("digest = \"{digest}\"\n{}", campaign("big-basket", "")));
    let report = engine.reload().await;
    assert!(!report.has_changes(), "{report:?}");
    assert_eq!(listed(&site, "basket")["state"], "waiting");
    assert_eq!(next(&mut engine, 1).await, ["first"]);

    site.put("modules/big-basket.wasm", other);
    assert_eq!(engine.reload().await.changed, ["basket"]);
    let campaign = listed(&site, "basket");
    assert_eq!(
        (&campaign["state"], &campaign["digest"]),
        (&"running".into(), &digest.into()),
        "{campaign}"
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn removing_all_campaigns_waits_for_a_confirmation() {
    let site = site();
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    site.remove("basket.toml");
    site.remove("modules/big-basket.wasm");
    let said = site.command(&["reload"]).expect(1);
    assert!(said.stdout.contains("--allow-removals"), "{}", said.stdout);
    let (code, text) = engine.readyz().await;
    assert!(code == 503 && text.contains("gone from the rules directory"), "{code} {text}");
    assert_eq!(next(&mut engine, 1).await, ["first"]);

    let _ = site.command(&["reload", "--allow-removals"]).expect(0);
    assert_eq!(engine.campaign("basket").await, None);
    engine.write(purchase(1, 1) + "\n");
    engine.metric_is("hailer_events_total{outcome=\"unsubscribed\"}", 1.0).await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pause_resume_and_rollback_apply_at_once_and_survive_a_restart() {
    let site = site();
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    let _ = site.command(&["pause", "basket"]).expect(0);
    engine.write(purchase(1, 1) + "\n");
    engine.metric_is("hailer_missed_total{campaign=\"basket\",reason=\"paused\"}", 1.0).await;
    engine.stop().await;

    let mut engine = site.start(&RELOADS_ON_REQUEST);
    wait::until("the socket answers", async || engine.client.campaigns().await.is_ok()).await;
    assert_eq!(listed(&site, "basket")["state"], "paused");
    let log = engine.stderr();
    assert!(
        log.contains(
            "the campaign is paused and is not called; to lift that: `hailer resume basket`"
        ),
        "{log}"
    );
    let _ = site.command(&["resume", "--all"]).expect(0);
    engine.ready().await;
    assert_eq!(next(&mut engine, 1).await, ["first"]);

    // The other module handles other events. A rollback restores the first module and its
    // parameters.
    site.put("modules/big-basket.wasm", example_module("event-watch"));
    site.put(
        "basket.toml",
        campaign("big-basket", "[params.templates]\nOnPurchaseConfirm = \"third\""),
    );
    assert_eq!(engine.reload().await.changed, ["basket"]);
    assert_eq!(next(&mut engine, 1).await, ["third"]);
    let _ = site.command(&["rollback", "basket"]).expect(0);
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    assert!(!engine.reload().await.has_changes(), "the refused version stays refused");
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    engine.kill();

    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    let unknown = site.command(&["pause", "missing"]).expect(1);
    assert!(unknown.stderr.contains("missing"), "{}", unknown.stderr);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn resume_all_ends_only_the_pause_of_all_and_names_what_is_still_paused() {
    let site = site();
    site.put("other.toml", answering("other"));
    let engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    let _ = site.command(&["pause", "other"]).expect(0);
    let _ = site.command(&["pause", "--all"]).expect(0);
    let resumed = site.command(&["resume", "--all"]).expect(0);
    assert_eq!(resumed.stdout, "resumed: basket\n");
    let left = "paused or suspended before `pause --all`, and not resumed: other";
    assert!(resumed.stderr.contains(left), "{resumed:?}");
    let resumed = site.command(&["resume", "--all"]).expect(0);
    assert_eq!(resumed.stdout, "resumed: other\n");
    assert!(!resumed.stderr.contains("not resumed"), "{resumed:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restart_with_an_invalid_file_runs_the_last_good_version() {
    let site = site();
    let engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    engine.stop().await;
    site.put("basket.toml", "mode = ");
    site.put("modules/big-basket.wasm", "no module");
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    assert!(listed(&site, "basket")["problem"].is_object());
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_shadow_campaign_decides_and_sends_nothing() {
    let site = site();
    site.put("shadow.toml", answering("never").replace("live", "shadow"));
    site.put("off.toml", answering("never").replace("live", "off"));
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    let labels = r#"campaign="shadow",channel="push",verdict="shadow",policy="""#;
    let shadow = &format!("hailer_communications_total{{{labels}}}");
    engine.metric_is(shadow, 1.0).await;
    let metrics = engine.metrics().await;
    let mut of_off = metrics.lines().filter(|line| line.contains("campaign=\"off\""));
    assert!(
        of_off.all(|line| line.ends_with(" 0")),
        "a campaign that is off is not called: {metrics}"
    );
    assert_eq!(engine.printed().len(), 1);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sighup_reads_the_rules_directory() {
    let site = site();
    let mut engine = site.start_ready(&RELOADS_ON_REQUEST).await;
    site.put("basket.toml", answering("second"));
    let rule_set = engine.metric("hailer_rule_set").await;
    engine.signal(Signal::HUP);
    wait::until("the rules are swapped", async || {
        engine.metric("hailer_rule_set").await > rule_set
    })
    .await;
    assert_eq!(next(&mut engine, 1).await, ["second"]);
    engine.stop().await;
}

#[test]
fn a_command_without_a_running_engine_reports_that() {
    let Outcome { stderr, .. } = Site::empty().command(&["campaigns"]).expect(1);
    assert!(stderr.contains("no engine answers"), "{stderr}");
}

/// How a slow writer continues after its pause.
#[derive(Clone, Copy, Debug)]
enum Writer {
    KeepsOpen,
    Reopens,
}

/// A slow writer replaces the campaign file in two parts, with a pause of 0.7 s. Communications
/// during the pause follow the old file, and later ones the new file.
async fn slow_writer(cut: &str, writer: Writer) {
    use std::io::Write;
    let text = |template: &str, threshold: u32, more: &str| {
        format!(
            "module = \"modules/big-basket.wasm\"\nmode = \"live\"\n{more}per_hour_max = \
             5000\n[params]\nthreshold = {threshold}00\ntemplate = \"{template}\"\n"
        )
    };
    let site = site();
    site.put("basket.toml", text("old", 5, ""));
    let mut engine = site
        .start_ready(&[
            "--source",
            "-",
            "--sink",
            "-",
            "--set",
            "reload.debounce_ms=20",
            "--set",
            "reload.poll_ms=200",
        ])
        .await;
    let new = text("new", 6, if cut == "start" { "start = 2027-01-01T00:00:00\n" } else { "" });
    // Only the end of the file changes: the first part of the new file is also the beginning of the
    // old file.
    let new = if cut == "start" { new } else { new.replace("= 600", "= 500") };
    let at = match cut {
        "[params]" => new.find("[params]").unwrap(),
        "threshold" => new.find("threshold = 5").unwrap() + "threshold = 5".len(),
        "per_hour_max" => new.find("= 5000").unwrap() + 3,
        _ => new.find("start").unwrap(),
    };
    let path = site.rules().join("basket.toml");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&new.as_bytes()[..at]).unwrap();
    let kept = match writer {
        Writer::KeepsOpen => Some(file),
        Writer::Reopens => None,
    };
    let paused = std::time::Instant::now();
    let mut sent = 0;
    while paused.elapsed() < std::time::Duration::from_millis(700) {
        // The amount is above the rule's default threshold, and below the file's.
        engine.write(purchase(300, 1) + "\n");
        engine.write(purchase(900, 1) + "\n");
        sent += 1;
        let printed = engine.prints(sent).await;
        assert_eq!(printed.len(), sent, "{cut} {writer:?}: {printed:?}");
        assert!(
            printed.iter().all(|one| one["template"] == "old"),
            "{cut} {writer:?}: {printed:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut file =
        kept.unwrap_or_else(|| std::fs::OpenOptions::new().append(true).open(&path).unwrap());
    file.write_all(&new.as_bytes()[at..]).unwrap();
    drop(file);
    let rule_set = engine.metric("hailer_rule_set").await;
    if cut == "start" {
        campaign_is(&engine, "basket", "has a start", |campaign| campaign.start_ms.is_some()).await;
    } else {
        wait::until("the whole file is used", async || {
            let before = engine.printed().len();
            engine.write(purchase(900, 1) + "\n");
            engine.prints(before + 1).await.last().unwrap()["template"] == "new"
        })
        .await;
        assert_eq!(
            engine.metric("hailer_rule_set").await.to_bits(),
            (rule_set + 1.0).to_bits(),
            "one swap, of the whole file"
        );
    }
    engine.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_campaign_file_is_not_used_before_its_slow_writer_has_finished() {
    for cut in ["[params]", "threshold", "per_hour_max", "start"] {
        for writer in [Writer::KeepsOpen, Writer::Reopens] {
            slow_writer(cut, writer).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_half_written_campaign_waits_and_a_renamed_one_does_not() {
    let site = site();
    let mut engine = site.start_ready(&STREAMS).await;
    let text = answering("second");
    let half = text.find("[params]").unwrap();
    std::fs::write(site.rules().join("other.toml"), &text[..half]).unwrap();
    campaign_is(&engine, "other", "waits", |campaign| campaign.state == CampaignState::Waiting)
        .await;
    let status = engine.campaign("other").await.unwrap();
    assert!(status.problem.unwrap().reason.contains("until the file is whole"));
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    std::fs::write(site.rules().join("other.toml"), &text).unwrap();
    campaign_is(&engine, "other", "runs", |campaign| campaign.state == CampaignState::Running)
        .await;
    let mut sent = next(&mut engine, 2).await;
    sent.sort_unstable();
    assert_eq!(sent, ["first", "second"]);
    let began = std::time::Instant::now();
    site.put("third.toml", answering("third"));
    campaign_is(&engine, "third", "runs", |campaign| campaign.state == CampaignState::Running)
        .await;
    assert!(began.elapsed() < std::time::Duration::from_millis(2900), "a rename is not delayed");
    engine.stop().await;
}
