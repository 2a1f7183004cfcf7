//! The rules directory of a running engine: what is put there decides the next event, and what is bad changes nothing.

use hailer::reload::CampaignState;
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Outcome, Site, campaign};
use hailer_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

use crate::swaps::purchase;

/// What is read is read because of a notice: there is no poll that would come first.
const STREAMS: [&str; 8] =
    ["--source", "-", "--sink", "-", "--set", "reload.debounce_ms=20", "--set", "reload.poll_ms=3600000"];
/// Nothing is read unless somebody asks.
const ASKED: [&str; 8] =
    ["--source", "-", "--sink", "-", "--set", "reload.debounce_ms=60000", "--set", "reload.poll_ms=3600000"];

/// A campaign that answers every purchase with a template.
fn answering(template: &str) -> String {
    campaign("big-basket", &format!("[params]\nthreshold = \"0\"\ntemplate = \"{template}\""))
}

/// With the module, and the campaign `basket`.
fn site() -> Site {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", answering("first"));
    site
}

/// Sends a purchase, and returns the templates of the communications that it leads to.
async fn next(engine: &mut Engine, count: usize) -> Vec<String> {
    let before = engine.printed().len();
    engine.write(purchase(1, 1) + "\n");
    let printed = engine.prints(before + count).await;
    printed[before..].iter().map(|one| one["template"].as_str().unwrap().to_owned()).collect()
}

async fn campaign_is(engine: &Engine, name: &str, what: &str, is: impl Fn(&hailer::reload::CampaignStatus) -> bool) {
    let has = async || engine.campaign(name).await.is_some_and(|campaign| is(&campaign));
    wait::until(&format!("{name} {what}"), has).await;
}

/// A campaign of `hailer campaigns --json`.
fn listed(site: &Site, name: &str) -> Value {
    let campaigns = site.command(&["campaigns", "--json"]).expect(0).json();
    let found = campaigns.as_array().unwrap().iter().find(|campaign| campaign["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {campaigns}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bare_module_and_a_campaign_file_copied_in_decide_the_next_event() {
    let site = Site::empty();
    let mut engine = site.start(&STREAMS);
    engine.ready_with("\"rules\"").await;
    std::fs::write(site.rules().join("bare.wasm"), example_module("big-basket")).unwrap();
    engine.ready().await;
    engine.write(purchase(135, 1) + "\n");
    assert_eq!(engine.prints(1).await[0]["template"], "big-basket");

    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", answering("first"));
    campaign_is(&engine, "basket", "runs", |campaign| campaign.state == CampaignState::Running).await;
    assert_eq!(next(&mut engine, 1).await, ["first"], "one rouble is too little for the bare module's default");
    let before = engine.campaign("basket").await;
    site.put("basket.toml", answering("second"));
    let is_swapped = async || engine.metric("hailer_rule_set").await >= 4.0;
    wait::until("the new parameters are taken up", is_swapped).await;
    assert_eq!(next(&mut engine, 1).await, ["second"]);
    assert_eq!(before.unwrap().state, CampaignState::Running);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broken_file_never_displaces_a_good_one_and_is_shown() {
    let site = site();
    let mut engine = site.start(&ASKED);
    engine.ready().await;
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
        assert_eq!((&campaign["state"], campaign["problem"].is_object()), (&"running".into(), true), "{campaign}");
        assert_eq!(next(&mut engine, 1).await, ["first"], "with a broken {file}");
        engine.ready().await;
        site.put(file, kept);
        let said = site.command(&["reload"]).expect(0);
        assert!(listed(&site, "basket")["problem"].is_null(), "{}", said.stdout);
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pinned_digest_waits_for_its_module_and_both_swap_together() {
    let site = site();
    let mut engine = site.start(&ASKED);
    engine.ready().await;
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
    assert_eq!((&campaign["state"], &campaign["digest"]), (&"running".into(), &digest.into()), "{campaign}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn removing_all_campaigns_waits_for_a_confirmation() {
    let site = site();
    let mut engine = site.start(&ASKED);
    engine.ready().await;
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
async fn pause_resume_and_rollback_take_effect_at_once_and_survive_a_restart() {
    let site = site();
    let mut engine = site.start(&ASKED);
    engine.ready().await;
    let _ = site.command(&["pause", "basket"]).expect(0);
    engine.write(purchase(1, 1) + "\n");
    engine.metric_is("hailer_missed_total{campaign=\"basket\",reason=\"paused\"}", 1.0).await;
    engine.stop().await;

    let mut engine = site.start(&ASKED);
    wait::until("the socket answers", async || engine.client.campaigns().await.is_ok()).await;
    assert_eq!(listed(&site, "basket")["state"], "paused");
    let log = engine.stderr();
    assert!(log.contains("the campaign is paused and is not called; to end that: `hailer resume basket`"), "{log}");
    let _ = site.command(&["resume", "--all"]).expect(0);
    engine.ready().await;
    assert_eq!(next(&mut engine, 1).await, ["first"]);

    // Another module takes other events; going back brings the first one and its parameters.
    site.put("modules/big-basket.wasm", example_module("event-watch"));
    site.put("basket.toml", campaign("big-basket", "[params.templates]\nOnPurchaseConfirm = \"third\""));
    assert_eq!(engine.reload().await.changed, ["basket"]);
    assert_eq!(next(&mut engine, 1).await, ["third"]);
    let _ = site.command(&["rollback", "basket"]).expect(0);
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    assert!(!engine.reload().await.has_changes(), "the refused pair is kept out");
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    engine.kill();

    let mut engine = site.start(&ASKED);
    engine.ready().await;
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    let unknown = site.command(&["pause", "nobody"]).expect(1);
    assert!(unknown.stderr.contains("nobody"), "{}", unknown.stderr);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn resuming_all_lifts_the_pause_of_all_and_names_what_was_paused_before() {
    let site = site();
    site.put("other.toml", answering("other"));
    let engine = site.start(&ASKED);
    engine.ready().await;
    let _ = site.command(&["pause", "other"]).expect(0);
    let _ = site.command(&["pause", "--all"]).expect(0);
    let resumed = site.command(&["resume", "--all"]).expect(0);
    assert_eq!(resumed.stdout, "resumed: basket\n");
    let left = "stopped before, and still: other; `hailer resume NAME` lifts that";
    assert!(resumed.stderr.contains(left), "{resumed:?}");
    let resumed = site.command(&["resume", "--all"]).expect(0);
    assert_eq!(resumed.stdout, "resumed: other\n");
    assert!(!resumed.stderr.contains("stopped before"), "{resumed:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restart_with_a_bad_file_runs_the_last_good_version() {
    let site = site();
    let engine = site.start(&ASKED);
    engine.ready().await;
    engine.stop().await;
    site.put("basket.toml", "mode = ");
    site.put("modules/big-basket.wasm", "no module");
    let mut engine = site.start(&ASKED);
    engine.ready().await;
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    assert!(listed(&site, "basket")["problem"].is_object());
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn shadow_decides_and_sends_nothing() {
    let site = site();
    site.put("shadow.toml", answering("never").replace("live", "shadow"));
    site.put("off.toml", answering("never").replace("live", "off"));
    let mut engine = site.start(&ASKED);
    engine.ready().await;
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    let shadow = "hailer_communications_total{campaign=\"shadow\",channel=\"push\",verdict=\"shadow\"}";
    engine.metric_is(shadow, 1.0).await;
    let metrics = engine.metrics().await;
    let mut of_off = metrics.lines().filter(|line| line.contains("campaign=\"off\""));
    assert!(of_off.all(|line| line.ends_with(" 0")), "a campaign that is off is not called: {metrics}");
    assert_eq!(engine.printed().len(), 1);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hangup_reads_the_directory() {
    let site = site();
    let mut engine = site.start(&ASKED);
    engine.ready().await;
    site.put("basket.toml", answering("second"));
    let rule_set = engine.metric("hailer_rule_set").await;
    engine.signal(Signal::HUP);
    wait::until("the rules are swapped", async || engine.metric("hailer_rule_set").await > rule_set).await;
    assert_eq!(next(&mut engine, 1).await, ["second"]);
    engine.stop().await;
}

#[test]
fn a_command_without_an_engine_says_so() {
    let Outcome { stderr, .. } = Site::empty().command(&["campaigns"]).expect(1);
    assert!(stderr.contains("no engine answers"), "{stderr}");
}

/// How a slow writer goes on after its pause.
#[derive(Clone, Copy, Debug)]
enum Writer {
    KeepsOpen,
    Reopens,
}

/// A whole file, changed above and below each cut, is written in two parts with a pause of 0.7 s; what is sent meanwhile is by the old file, and
/// afterwards by the new one.
async fn slow_writer(cut: &str, writer: Writer) {
    use std::io::Write;
    let text = |template: &str, threshold: u32, more: &str| {
        format!(
            "module = \"modules/big-basket.wasm\"\nmode = \"live\"\n{more}per_hour_max = 5000\n[params]\nthreshold = {threshold}00\ntemplate = \"{template}\"\n"
        )
    };
    let site = site();
    site.put("basket.toml", text("old", 5, ""));
    let mut engine =
        site.start(&["--source", "-", "--sink", "-", "--set", "reload.debounce_ms=20", "--set", "reload.poll_ms=200"]);
    engine.ready().await;
    let new = text("new", 6, if cut == "start" { "start = 2027-01-01T00:00:00\n" } else { "" });
    // The file was rewritten as it was, but for the end: a beginning of it is a beginning of the old one, too.
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
        // More than the default threshold of the rule, and less than the file's.
        engine.write(purchase(300, 1) + "\n");
        engine.write(purchase(900, 1) + "\n");
        sent += 1;
        let printed = engine.prints(sent).await;
        assert_eq!(printed.len(), sent, "{cut} {writer:?}: {printed:?}");
        assert!(printed.iter().all(|one| one["template"] == "old"), "{cut} {writer:?}: {printed:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut file = kept.unwrap_or_else(|| std::fs::OpenOptions::new().append(true).open(&path).unwrap());
    file.write_all(&new.as_bytes()[at..]).unwrap();
    drop(file);
    let rule_set = engine.metric("hailer_rule_set").await;
    if cut == "start" {
        campaign_is(&engine, "basket", "has a start", |campaign| campaign.start_ms.is_some()).await;
    } else {
        wait::until("the whole file is taken up", async || {
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
async fn a_campaign_file_is_never_taken_up_before_its_slow_writer_has_ended() {
    for cut in ["[params]", "threshold", "per_hour_max", "start"] {
        for writer in [Writer::KeepsOpen, Writer::Reopens] {
            slow_writer(cut, writer).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_campaign_that_is_half_written_waits_and_one_that_is_renamed_into_place_does_not() {
    let site = site();
    let mut engine = site.start(&STREAMS);
    engine.ready().await;
    let text = answering("second");
    let half = text.find("[params]").unwrap();
    std::fs::write(site.rules().join("other.toml"), &text[..half]).unwrap();
    campaign_is(&engine, "other", "waits", |campaign| campaign.state == CampaignState::Waiting).await;
    let status = engine.campaign("other").await.unwrap();
    assert!(status.problem.unwrap().reason.contains("until the file is whole"));
    assert_eq!(next(&mut engine, 1).await, ["first"]);
    std::fs::write(site.rules().join("other.toml"), &text).unwrap();
    campaign_is(&engine, "other", "runs", |campaign| campaign.state == CampaignState::Running).await;
    let mut sent = next(&mut engine, 2).await;
    sent.sort_unstable();
    assert_eq!(sent, ["first", "second"]);
    let began = std::time::Instant::now();
    site.put("third.toml", answering("third"));
    campaign_is(&engine, "third", "runs", |campaign| campaign.state == CampaignState::Running).await;
    assert!(began.elapsed() < std::time::Duration::from_millis(2900), "a rename is not held up");
    engine.stop().await;
}
