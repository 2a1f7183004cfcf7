//! The commands of the README, from an empty directory to a rule that decides.

use hailer_tests::built::example_module;
use hailer_tests::site::Site;

use crate::swaps::purchase;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_rule_decides_the_next_event() {
    let site = Site::empty();
    let mut engine =
        site.start(&["--source", "-", "--sink", "-", "--set", "reload.debounce_ms=20"]);
    let _ = site.command(&["new", "first-rule"]).expect(0);
    let _ = site.command(&["build", "first-rule", "--out", "built"]).expect(0);
    std::fs::copy(site.path("built/first-rule.wasm"), site.rules().join("first-rule.wasm"))
        .unwrap();
    engine.ready().await;
    engine.write(purchase(999, 1) + "\n" + &purchase(1000, 1) + "\n");
    let printed = engine.prints(1).await;
    assert_eq!(
        (&printed[0]["campaign"], &printed[0]["template"]),
        (&"first-rule".into(), &"thank-you".into())
    );

    for file in ["first-rule/src/lib.rs", "first-rule/scenarios.toml"] {
        let text = std::fs::read_to_string(site.path(file)).unwrap();
        std::fs::write(site.path(file), text.replace("\"thank-you\"", "\"many-thanks\"")).unwrap();
    }
    // The build writes directly into the rules directory: it puts the module in place atomically.
    let _ = site.command(&["build", "first-rule", "--out", "rules.d"]).expect(0);
    let _ = site.command(&["reload"]).expect(0);
    engine.write(purchase(1000, 1) + "\n");
    assert_eq!(engine.prints(2).await[1]["template"], "many-thanks");
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
    assert_eq!(engine.printed().len(), 2);
}

#[test]
fn every_template_builds_and_its_tests_and_scenarios_pass() {
    let site = Site::empty();
    for (template, scenarios) in [("stateless", 2), ("counter", 2), ("timer", 4), ("sequence", 5)] {
        let name = format!("my-{template}");
        let _ = site.command_without_data(&["new", &name, "--template", template]).expect(0);
        let tested = site.command_without_data(&["test", &name]).expect(0);
        assert!(tested.stdout.contains(&format!("{scenarios} scenarios passed")), "{tested:?}");
        let native = site.shell(&format!("cd {name} && cargo test --quiet")).expect(0);
        assert!(
            native.stdout.contains("passed") && !native.stderr.contains("warning"),
            "{native:?}"
        );
        let built =
            site.command_without_data(&["build", &name, "--out", "rules.d"]).expect(0).stdout;
        for part in ["kB (", "digest ", "reads of On", "FUEL", " %)"] {
            assert!(built.contains(part), "{part} of {built}");
        }
    }
    // Each module loads as a campaign with its defaults, and none affects another.
    let checked = site.command(&["check", "--rules", "rules.d", "--no-broker"]).expect(0);
    assert!(
        checked.stdout.contains("my-counter, my-sequence, my-stateless, my-timer"),
        "{checked:?}"
    );
}

#[test]
fn build_and_test_use_the_crate_of_the_current_directory() {
    let site = Site::empty();
    let whole = site
        .shell("hailer new unnamed --template counter && cd unnamed && hailer build && hailer test")
        .expect(0);
    assert!(
        whole.stdout.contains("rules.d/unnamed.wasm")
            && whole.stdout.contains("2 scenarios passed"),
        "{whole:?}"
    );
    let nowhere = site.command_without_data(&["build"]).expect(1);
    assert!(
        nowhere.stderr.contains("Cargo.toml is missing: name the directory of a rule crate"),
        "{nowhere:?}"
    );
}

#[test]
fn an_unknown_template_is_refused_with_a_list_of_templates() {
    let outcome =
        Site::empty().command_without_data(&["new", "my-rule", "--template", "counte"]).expect(2);
    assert!(
        outcome.stderr.contains("counter") && outcome.stderr.contains("sequence"),
        "{outcome:?}"
    );
}

#[test]
fn new_from_a_module_writes_a_campaign_file_that_loads_in_shadow_mode() {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    let written = site.command_without_data(&["new", "--from", "big-basket", "vip"]).expect(0);
    assert_eq!(written.stdout.trim(), "rules.d/vip.toml");
    let text = std::fs::read_to_string(site.path("rules.d/vip.toml")).unwrap();
    assert!(
        text.contains("# threshold = \"100.00\"") && text.contains("mode = \"shadow\""),
        "{text}"
    );
    let checked = site.command(&["check", "--rules", "rules.d", "--no-broker"]).expect(0);
    assert!(checked.stdout.contains("these campaigns were loaded: vip"), "{checked:?}");
    // `params` prints the same.
    let printed =
        site.command_without_data(&["params", "rules.d/modules/big-basket.wasm"]).expect(0);
    assert_eq!(printed.stdout, text);
    let again = site.command_without_data(&["new", "--from", "big-basket", "vip"]).expect(1);
    assert!(again.stderr.contains("already exists"), "{again:?}");
    let unknown = site.command_without_data(&["new", "--from", "big-baskt", "gold"]).expect(2);
    assert!(unknown.stderr.contains("did you mean `big-basket`?"), "{unknown:?}");
}

#[test]
fn all_mistakes_in_parameters_are_reported_together_with_their_lines() {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", example_module("big-basket"));
    let file = "module = \"modules/big-basket.wasm\"\nmode = \"live\"\nper_hour = \
                10\n\n[params]\nthreshold = \"-1\"\ntreshold = \"5\"\nhours_max = \
                \"2\"\nexcluded_items = [\n  \"1\",\n  2,\n]\n";
    site.put("vip.toml", file);
    let outcome = site.command(&["check", "--rules", "rules.d", "--no-broker"]).expect(1);
    for expected in [
        "vip.toml:3",
        "did you mean `per_hour_max`?",
        "vip.toml:6",
        "below the least, 0",
        "vip.toml:7",
        "did you mean `threshold`?",
        "vip.toml:8",
        "is a string, not an integer",
        "vip.toml:11",
        "holds an integer, not only strings",
    ] {
        assert!(outcome.stdout.contains(expected), "{expected} in {}", outcome.stdout);
    }
}

#[test]
fn the_fuel_of_a_call_is_constant_and_differs_between_two_modules() {
    let site = Site::empty();
    let _ = site.command_without_data(&["new", "measured-rule"]).expect(0);
    let fuel = |module: &str| {
        let benched = site.command_without_data(&["bench", module, "--json"]).expect(0).json();
        let call = benched["cost"][0].clone();
        assert!(call["nanoseconds"].as_f64().unwrap() > 0.0, "{call}");
        call["fuel"].as_u64().unwrap()
    };
    let built = site
        .command_without_data(&["build", "measured-rule", "--out", "rules.d", "--json"])
        .expect(0)
        .json();
    let before = built[0]["cost"][0]["fuel"].as_u64().unwrap();
    assert!(before > 0);
    assert_eq!(
        (fuel("rules.d/measured-rule.wasm"), fuel("rules.d/measured-rule.wasm")),
        (before, before)
    );

    let source = site.path("measured-rule/src/lib.rs");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(
        &source,
        text.replace("Purchase { amount, .. }", "Purchase { amount, brand_id, .. }").replace(
            "        if amount",
            "        ctx.note(brand_id.unwrap_or(\"no brand\"));\n        if amount",
        ),
    )
    .unwrap();
    let _ = site.command_without_data(&["build", "measured-rule", "--out", "new"]).expect(0);
    let arguments =
        ["inspect", "rules.d/measured-rule.wasm", "--diff", "new/measured-rule.wasm", "--json"];
    let differences = site.command_without_data(&arguments).expect(0).json();
    let different: Vec<_> =
        differences.as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert!(different.contains(&"purchase reads brand_id"), "{different:?}");
    assert!(different.contains(&"fuel of purchase on OnPurchaseConfirm"), "{different:?}");
    assert!(
        !different.contains(&"name") && !different.contains(&"parameter threshold"),
        "{different:?}"
    );
    let same = site
        .command_without_data(&[
            "inspect",
            "new/measured-rule.wasm",
            "--diff",
            "new/measured-rule.wasm",
        ])
        .expect(0);
    assert!(same.stdout.contains("no difference"), "{same:?}");
}
