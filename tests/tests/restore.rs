//! Restores on another host, by the steps of docs/operations/store.md, and starts with another
//! rules directory.

use hailer::reload::CampaignState;
use hailer_tests::built::example_module;
use hailer_tests::copies::copy;
use hailer_tests::site::{Site, campaign};

use crate::swaps::purchase;

fn answering(template: &str) -> String {
    campaign("big-basket", &format!("[params]\nthreshold = \"0\"\ntemplate = \"{template}\"\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pauses_and_rollbacks_survive_a_restore_on_another_host() {
    let old = Site::empty();
    let store = old.path("store").display().to_string();
    old.put("modules/one.wasm", example_module("big-basket"));
    old.put("modules/two.wasm", example_module("big-basket"));
    for (name, module) in [("paused", "one"), ("back", "two"), ("free", "one")] {
        old.put(
            &format!("{name}.toml"),
            answering(name).replace("big-basket.wasm", &format!("{module}.wasm")),
        );
    }
    let engine = old.start(&["--source", "-", "--sink", "-", "--store", &store]);
    engine.ready().await;
    old.put("modules/two.wasm", example_module("refund-follow-up"));
    old.put("back.toml", campaign("two", ""));
    assert_eq!(engine.reload().await.changed, ["back"]);
    let _ = old.command(&["rollback", "back"]).expect(0);
    let _ = old.command(&["pause", "paused"]).expect(0);
    let _ = old.command(&["store", "backup", "backup"]).expect(0);
    engine.stop().await;

    let new = Site::empty();
    copy(&old.rules(), &new.rules());
    copy(&old.path("backup"), &new.path("store"));
    let store = new.path("store").display().to_string();
    let mut engine = new.start(&["--source", "-", "--sink", "-", "--store", &store]);
    engine.ready().await;
    assert_eq!(engine.campaign("paused").await.unwrap().state, CampaignState::Paused);
    assert!(engine.campaign("back").await.unwrap().refused_digest.is_some());
    engine.write(purchase(1, 1) + "\n");
    let printed = engine.prints(2).await;
    let mut templates: Vec<_> =
        printed.iter().map(|one| one["template"].as_str().unwrap()).collect();
    templates.sort_unstable();
    assert_eq!(templates, ["back", "free"]);
    let _ = new.command(&["rollback", "--undo", "back"]).expect(0);
    assert_eq!(engine.campaign("back").await.unwrap().refused_digest, None);
    engine.stop().await;
}

#[test]
fn another_rules_directory_applies_and_a_renamed_campaign_needs_a_flag() {
    let site = Site::empty();
    let module = example_module("big-basket");
    for (directory, name) in [("a.d", "first"), ("b.d", "second")] {
        std::fs::create_dir_all(site.path(directory).join("modules")).unwrap();
        std::fs::write(site.path(directory).join("modules/big-basket.wasm"), &module).unwrap();
        std::fs::write(site.path(directory).join(name).with_extension("toml"), answering(name))
            .unwrap();
    }
    let events = site.write("events.jsonl", purchase(1, 1) + "\n");
    let source = format!("file:{}", events.display());
    let run = |directory: &str, more: &[&str]| {
        let rules = site.path(directory).display().to_string();
        let data = site.path("data").display().to_string();
        let arguments = [
            "run", "--source", &source, "--sink", "-", "--listen", "", "--rules", &rules, "--data",
            &data,
        ];
        site.command_without_data(&[&arguments[..], more].concat())
    };
    assert!(run("a.d", &[]).expect(0).stdout.contains("\"template\":\"first\""));
    let other = run("b.d", &[]).expect(0);
    assert!(
        other.stdout.contains("\"template\":\"second\"") && !other.stdout.contains("first"),
        "{other:?}"
    );
    std::fs::rename(site.path("b.d/second.toml"), site.path("b.d/third.toml")).unwrap();
    let refused = run("b.d", &[]).expect(1);
    assert!(
        refused.stdout.is_empty() && refused.stderr.contains("--allow-removals"),
        "{refused:?}"
    );
    let allowed = run("b.d", &["--allow-removals"]).expect(0);
    assert_eq!(allowed.stdout.lines().count(), 1, "{allowed:?}");
    assert!(allowed.stdout.contains("\"campaign\":\"third\""), "{allowed:?}");
}
