//! `policies.toml` in the rules directory of a running engine, and at its start.

use hailer::reload::{CampaignState, PoliciesChange};
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Site, campaign};

use crate::swaps::purchase;

/// The engine reads the directory only on request.
const ASKED: [&str; 8] = [
    "--source",
    "-",
    "--sink",
    "-",
    "--set",
    "reload.debounce_ms=60000",
    "--set",
    "reload.poll_ms=3600000",
];

/// A file of 14 lines, whose last one is the maximum of a cap. The cap concerns no campaign of
/// these tests.
fn policies(last: &str) -> String {
    format!(
        "# The policies of these tests.\ntime_zone = \"Europe/Moscow\"\n\n\n\n\n\n[[cap]]\nname = \
         \"birthday-once\"\nper = \"300d\"\nchannels = [\"viber\"]\n\n\n{last}\n"
    )
}

const GOOD: &str = "max = 2";
const TYPO: &str = "maxx = 2";

/// A campaign that sends a communication with this template for every purchase.
fn answering(template: &str) -> String {
    campaign("big-basket", &format!("[params]\nthreshold = \"0\"\ntemplate = \"{template}\""))
}

/// A site with the campaign `basket` and policies.
fn site() -> Site {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    site.put("basket.toml", answering("first"));
    site.put("policies.toml", policies(GOOD));
    site
}

/// Sends a purchase, and returns the template of the communication that follows.
async fn next(engine: &mut Engine) -> String {
    let before = engine.printed().len();
    engine.write(purchase(1, 1) + "\n");
    engine.prints(before + 1).await[before]["template"].as_str().unwrap().to_owned()
}

/// The line of `hailer campaigns` about the policies.
fn policies_line(site: &Site) -> String {
    let said = site.command(&["campaigns"]).expect(0).stdout;
    said.lines().find(|line| line.contains("policies")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_typo_in_the_policies_keeps_the_last_ones_and_makes_new_campaigns_wait() {
    let site = site();
    let mut engine = site.start(&ASKED);
    engine.ready().await;
    let accepted = policies_line(&site);
    let digest = hailer::engine::digest_of(policies(GOOD).as_bytes());
    assert_eq!(accepted, format!("policies {}", &digest[..8]));
    let metric = format!("hailer_policies_info{{digest=\"{}\"}}", &digest[..8]);
    engine.metric_is(&metric, 1.0).await;

    site.put("policies.toml", policies(TYPO));
    site.put("basket.toml", answering("second"));
    site.put("other.toml", answering("other"));
    let said = site.command(&["reload"]).expect(1).stdout;
    assert!(said.contains("changed basket"), "{said}");
    assert!(said.contains("policies.toml:14: "), "{said}");
    assert_eq!(next(&mut engine).await, "second");
    let other = engine.campaign("other").await.unwrap();
    assert_eq!(other.state, CampaignState::Waiting);
    assert!(other.problem.unwrap().reason.contains("policies.toml:"));
    assert_eq!(policies_line(&site), accepted);
    assert!(site.command(&["campaigns"]).stdout.contains("policies.toml:14: "));
    engine.metric_is(&metric, 1.0).await;
    engine.ready().await;

    site.put("other.toml", answering("other").replace("live", "off"));
    site.put("policies.toml", policies("max = 3"));
    let report = engine.reload().await;
    assert_eq!((report.policies, report.problems), (Some(PoliciesChange::Changed), vec![]));
    assert_eq!(report.added, ["other"]);
    engine.metric_is(&metric, 0.0).await;
    let log = engine.stderr();
    assert!(log.contains("policies changed"), "{log}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn removing_the_policies_waits_for_a_confirmation() {
    let site = site();
    let mut engine = site.start(&ASKED);
    engine.ready().await;
    let accepted = policies_line(&site);
    site.remove("policies.toml");
    site.put("basket.toml", answering("second"));
    let said = site.command(&["reload"]).expect(1).stdout;
    assert!(said.contains("missing in the directory: policies.toml"), "{said}");
    let (code, text) = engine.readyz().await;
    assert!(code == 503 && text.contains("policies.toml is gone"), "{code} {text}");
    assert_eq!(next(&mut engine).await, "first");
    assert_eq!(policies_line(&site), accepted);
    site.put("policies.toml", policies(GOOD));
    assert!(engine.reload().await.withheld_removals.is_empty());
    engine.ready().await;
    site.remove("policies.toml");
    let said = site.command(&["reload", "--allow-removals"]).expect(0).stdout;
    assert!(said.contains("policies removed"), "{said}");
    assert_eq!(policies_line(&site), "no policies");
    site.put("policies.toml", policies(GOOD));
    let said = site.command(&["reload"]).expect(0).stdout;
    assert!(said.contains("policies added"), "{said}");
    engine.stop().await;
    site.remove("policies.toml");
    site.put("basket.toml", answering("third"));

    // A run over standard input cannot wait for a confirmation.
    let refused = site.run(&ASKED).expect(1);
    assert!(refused.stderr.contains("policies.toml; put them back"), "{}", refused.stderr);
    let mut engine = site.start(&[&ASKED[..], &["--allow-removals"]].concat());
    engine.ready().await;
    assert_eq!(policies_line(&site), "no policies");
    engine.metric_is("hailer_policies_info{digest=\"none\"}", 1.0).await;
    assert_eq!(next(&mut engine).await, "third");
    engine.stop().await;
}

#[test]
fn broken_policies_refuse_the_first_start_with_exit_2_and_every_mistake() {
    let site = site();
    site.put("policies.toml", policies(TYPO).replace("300d", "300 days"));
    let refused = site.run(&["--source", "-", "--sink", "-"]).expect(2);
    let events = site.write("events.jsonl", purchase(1, 1) + "\n").display().to_string();
    let rules = site.rules().display().to_string();
    let replay = site.command(&["replay", &events, "--rules", &rules]).expect(2);
    assert!(replay.stderr.contains("policies.toml:14"), "{}", replay.stderr);
    let check = ["check", "--no-broker", "--rules", &rules];
    let checked = site.command(&check).expect(1);
    for line in ["policies.toml:10", "policies.toml:14"] {
        assert!(refused.stderr.contains(line), "{}", refused.stderr);
        assert!(checked.stdout.contains(line), "{}", checked.stdout);
    }
    site.put("policies.toml", policies(GOOD) + "[campaigns.baskett]\npriority = 1\n");
    let checked = site.command(&check).expect(0);
    assert!(checked.stdout.contains("warning  rules policies.toml: [campaigns.baskett]"));
    assert!(checked.stdout.contains("`basket`"), "{}", checked.stdout);
    let _ = site.run(&["--source", "-", "--sink", "-"]).expect(0);
    site.put("policies.toml", policies(TYPO));
    let accepted = site.run(&["--source", "-", "--sink", "-"]).expect(0);
    assert!(accepted.stderr.contains("policies.toml:14"), "{}", accepted.stderr);
}

#[test]
fn no_command_makes_a_campaign_with_the_name_policies() {
    let site = site();
    for arguments in [
        &["new", "policies", "--template", "stateless"][..],
        &["new", "policies", "--from", "big-basket", "--rules", "rules.d"],
    ] {
        let refused = site.command_without_data(arguments).expect(2);
        assert!(refused.stderr.contains("reserved for policies.toml"), "{}", refused.stderr);
    }
    let package = site.path("policies");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("Cargo.toml"), "[package]\nname = \"policies\"\n").unwrap();
    let refused = site.command_without_data(&["build", "policies"]).expect(2);
    assert!(refused.stderr.contains("reserved for policies.toml"), "{}", refused.stderr);
}
