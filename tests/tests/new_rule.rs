//! From nothing to a rule that decides, with the commands that the README names.

use hailer_tests::site::Site;

use crate::swaps::purchase;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rule_that_was_just_written_decides_the_next_event() {
    let site = Site::empty();
    let mut engine = site.start(&["--source", "-", "--sink", "-", "--set", "reload.debounce_ms=20"]);
    let _ = site.command(&["new", "my-rule"]).expect(0);
    let _ = site.command(&["build", "my-rule", "--out", "built"]).expect(0);
    std::fs::copy(site.path("built/my-rule.wasm"), site.rules().join("my-rule.wasm")).unwrap();
    engine.ready().await;
    engine.write(purchase(999, 1) + "\n" + &purchase(1000, 1) + "\n");
    let printed = engine.prints(1).await;
    assert_eq!((&printed[0]["campaign"], &printed[0]["template"]), (&"my-rule".into(), &"thank-you".into()));

    let source = site.path("my-rule/src/lib.rs");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, text.replace("\"thank-you\"", "\"many-thanks\"")).unwrap();
    // Straight into the directory: the build puts the module in place in one step.
    let _ = site.command(&["build", "my-rule", "--out", "rules.d"]).expect(0);
    let _ = site.command(&["reload"]).expect(0);
    engine.write(purchase(1000, 1) + "\n");
    assert_eq!(engine.prints(2).await[1]["template"], "many-thanks");
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
    assert_eq!(engine.printed().len(), 2);
}
