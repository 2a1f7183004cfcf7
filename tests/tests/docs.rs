//! The documents are true: every block of code in them is compiled, run or read by what it is meant for. What its fence
//! says after the language decides how; see `docs/blocks.rs`.

mod blocks;
mod shell;

use std::path::Path;

use hailer_tests::built::{checkout, example_module};
use hailer_tests::site::{Site, lines};
use serde_json::Value;

use self::blocks::Class;

#[test]
fn a_block_that_does_not_say_what_it_is_is_refused() {
    for fence in ["```\nx\n```", "```rust,ignore\nx\n```", "```sh norun\nx\n```", "# Heading\n\n    indented\n"] {
        let problem = blocks::blocks("page", fence).unwrap_err();
        assert!(problem.contains("which is none of") && problem.contains("page:"), "{problem}");
    }
    let nested = blocks::blocks("page", "# One\n\n- text:\n\n  ```sh\n  ls\n  ```\n").unwrap();
    let [block] = &nested[..] else { panic!("{nested:?}") };
    let found = (&*block.place, &*block.section, block.class, &*block.text);
    assert_eq!(found, ("page:5", "One", Class::Shell, "ls\n"));
}

#[test]
fn the_rules_shown_compile_in_a_new_crate_and_their_tests_pass() {
    let site = Site::empty();
    let _ = site.command(&["new", "docs"]).expect(0);
    let mut modules: Vec<String> = Vec::new();
    let mut first_of_page = std::collections::HashMap::new();
    let mut tests = 0;
    for block in blocks::all() {
        let text = format!("// {}\n{}", block.place, block.text);
        let page = block.place.split(':').next().expect("a page").to_owned();
        match block.class {
            Class::Rule => {
                first_of_page.entry(page).or_insert(modules.len());
                modules.push(text);
            }
            Class::Continued => modules[first_of_page[&page]].push_str(&text),
            Class::Handler => modules.push(rule_around(&text)),
            Class::Statements => {
                modules.push(rule_around(&format!("fn purchase(&self, _: Purchase, ctx: &mut Context) {{\n{text}\n}}")))
            }
            _ => continue,
        }
        tests += block.text.matches("#[test]").count();
    }
    let mut root = "#![deny(warnings)]\n".to_owned();
    for (number, text) in modules.iter().enumerate() {
        site.write(&format!("docs/src/block_{number}.rs"), text);
        root += &format!("pub mod block_{number};\n");
    }
    site.write("docs/src/lib.rs", root);
    let said = site.shell("cd docs && cargo test --quiet").expect(0);
    assert!(tests > 0 && said.stdout.contains(&format!("{tests} passed")), "{tests} tests: {said:?}");
}

/// A rule with what the handlers of the documents name.
fn rule_around(handler: &str) -> String {
    format!(
        "use hailer_sdk::prelude::*;\n\
         #[rule]\npub struct Page {{\n #[param(default = 1)]\n pub low: i64,\n #[param(default = 2)]\n pub high: i64,\n \
         #[param(default = \"100.00\")]\n pub threshold: Decimal,\n #[param(default = \"\")]\n pub template: String,\n}}\n\
         #[handlers]\nimpl Page {{\n{handler}\nfn other(&self, _: CardActivated, ctx: &mut Context) {{ ctx.note(\"\"); }}\n}}\n"
    )
}

#[test]
fn the_reference_of_events_is_what_the_catalogue_says() {
    let printed = Site::empty().command_without_data(&["events", "--reference"]).expect(0).stdout;
    let page = std::fs::read_to_string(checkout().join("docs/events.md")).unwrap();
    assert!(page == printed, "docs/events.md is old: hailer events --reference > docs/events.md");
}

#[test]
fn every_recipe_of_the_cookbook_is_a_tested_rule_and_stands_as_it_does_there() {
    let page = std::fs::read_to_string(checkout().join("docs/cookbook.md")).unwrap();
    let excerpts = blocks::of(Class::Excerpt);
    let mut rules = std::collections::BTreeSet::new();
    for recipe in page.split("\n## ").skip(1) {
        let title = recipe.lines().next().unwrap();
        let rule = recipe.split("](../rules/").nth(1).unwrap_or_else(|| panic!("{title} links to no rule"));
        let rule = rule.split('/').next().unwrap();
        let source = std::fs::read_to_string(checkout().join("rules").join(rule).join("src/lib.rs")).unwrap();
        let own: Vec<_> = excerpts.iter().filter(|block| block.section == title).collect();
        assert!(!own.is_empty(), "{title} shows nothing of {rule}");
        for block in own {
            assert!(
                unindented(&source).contains(&unindented(&block.text)),
                "{}: not as it stands in rules/{rule}/src/lib.rs; copy it from there",
                block.place
            );
        }
        assert!(source.contains("#[cfg(test)]") && rules.insert(rule.to_owned()), "{rule}");
        for file in ["scenarios.toml", "campaign.toml"] {
            assert!(checkout().join("rules").join(rule).join(file).is_file(), "rules/{rule}/{file}");
        }
    }
    assert_eq!(rules.len(), 10);
}

/// The lines without what they begin and end with.
fn unindented(text: &str) -> String {
    text.lines().map(|line| line.trim().to_owned() + "\n").collect()
}

#[test]
fn the_commands_of_every_page_run_in_the_order_in_which_they_stand() {
    let shown = blocks::of(Class::Shell);
    for page in blocks::PAGES.into_iter().filter(|page| shown.iter().any(|block| block.page == *page)) {
        // A page that begins in the middle of an operator's day finds campaigns and events there.
        let site = if page == "docs/operations.md" { Site::with_examples() } else { Site::empty() };
        if page == "docs/operations.md" {
            let events = site.command_without_data(&["events", "--generate", "100"]).expect(0).stdout;
            site.write("events.jsonl", events + "no event\n");
        }
        let of_page: Vec<_> = blocks::all().into_iter().filter(|block| block.page == page).collect();
        let _ = site.shell(&shell::script(&of_page)).expect(0);
    }
}

#[test]
fn commands_that_can_only_be_shown_have_the_flags_that_they_are_shown_with() {
    let site = Site::empty();
    for block in blocks::of(Class::NoRun) {
        let outcome = site.shell(&shell::only_parsed(&block.text));
        assert_eq!(outcome.code, Some(0), "{}: {}", block.place, outcome.stderr);
    }
    let wrong = site.shell(&shell::only_parsed("sudo nothing\nhailer run --no-such-flag")).expect(2);
    assert!(wrong.stderr.contains("--no-such-flag"), "{}", wrong.stderr);
    for block in blocks::of(Class::Unit) {
        let start = block.text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/"));
        let _ = site.shell(&shell::only_parsed(start.expect("the unit starts the engine"))).expect(0);
    }
}

#[test]
fn the_campaigns_shown_load() {
    for block in blocks::of(Class::Campaign) {
        let site = Site::empty();
        let shown: toml::Table = block.text.parse().unwrap();
        let path = shown["module"].as_str().unwrap();
        let rule = ["big-basket", "welcome"].into_iter().find(|rule| path.contains(rule)).expect(path);
        let module = example_module(rule);
        let copy = site.write("copy.wasm", &module).display().to_string();
        let digest = site.command_without_data(&["inspect", &copy, "--json"]).expect(0).json();
        site.put(path, module);
        // The digest shown is made up.
        let text = block.text.replace("9f3ac1d2", &digest["digest"].as_str().unwrap()[..8]);
        site.put("shown.toml", text);
        if let Some(live) = shown.get("shadow_of") {
            let live = format!("{}.toml", live.as_str().unwrap());
            site.put(&live, format!("module = {path:?}\nmode = \"live\"\n"));
        }
        let outcome = site.command(&["check", "--rules", "rules.d", "--no-broker"]);
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", block.place);
    }
}

#[test]
fn the_grants_shown_are_of_fields_that_there_are() {
    let site = Site::empty();
    let _ = site.command_without_data(&["new", "personal"]).expect(0);
    let handlers = "fn purchase(&self, Purchase { items: [ChequeItem { description, .. }], .. }: Purchase, ctx: &mut Context) {\n\
                    ctx.note(items[0].description.unwrap_or_default());\n}\n\
                    fn replaced(&self, CardBlockChanged { card_number, .. }: CardBlockChanged, ctx: &mut Context) {\n\
                    ctx.note(card_number.unwrap_or_default());\n}\n";
    site.write("personal/src/lib.rs", rule_around(handlers));
    // Another rule, whose scenarios those are not.
    std::fs::remove_file(site.path("personal/scenarios.toml")).unwrap();
    let _ = site.command_without_data(&["build", "personal", "--out", "rules.d/modules"]).expect(0);
    let check = |rest: &str| {
        site.put("personal.toml", format!("module = \"modules/personal.wasm\"\nmode = \"live\"\n{rest}"));
        site.command(&["check", "--rules", "rules.d", "--no-broker"])
    };
    let _ = check("").expect(1);
    for block in blocks::of(Class::Grant) {
        let outcome = check(&block.text);
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", block.place);
    }
}

#[test]
fn the_scenarios_shown_are_true_of_a_big_basket() {
    let site = Site::empty();
    let module = site.write("big-basket.wasm", example_module("big-basket")).display().to_string();
    for block in blocks::of(Class::Scenarios) {
        let file = site.write("scenarios.toml", &block.text).display().to_string();
        let outcome = site.command(&["test", &file, "--module", &module]);
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", block.place);
    }
}

#[test]
fn the_configurations_shown_are_valid() {
    let site = Site::empty();
    for block in blocks::of(Class::Config) {
        let file = site.write("hailer.toml", &block.text).display().to_string();
        let outcome = site.command_without_data(&["config", "show", "--config", &file]);
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", block.place);
    }
}

#[test]
fn the_manifests_shown_are_taken() {
    for block in blocks::of(Class::Manifest) {
        let manifest = hailer::engine::read_manifest(block.text.as_bytes());
        manifest.unwrap_or_else(|error| panic!("{}: {error}", block.place));
    }
}

#[test]
fn the_events_and_communications_shown_are_what_goes_in_and_out() {
    let site = Site::with_examples();
    for block in blocks::of(Class::Event) {
        let source = format!("file:{}", site.write("events.jsonl", &block.text).display());
        let said = site.run(&["--source", &source, "--sink", "-"]).expect(0).stderr;
        assert!(said.contains("1 events, 0 communications, 0 dead letters"), "{}: {said}", block.place);
    }
    let example = std::fs::read_to_string(checkout().join("guest-sdk/abi/events/OnPurchaseConfirm.json")).unwrap();
    let source = format!("file:{}", site.write("purchase.jsonl", example.replace('\n', "") + "\n").display());
    let sink = format!("file:{}", site.path("out").display());
    let _ = site.run(&["--source", &source, "--sink", &sink]).expect(0);
    let real = lines(&site.path("out")).into_iter().find(|one| one["campaign"] == "big-basket").unwrap();
    for block in blocks::of(Class::Communication) {
        let shown: Value = serde_json::from_str(&block.text).unwrap();
        for part in ["", "/cause"] {
            let members =
                |of: &Value| of.pointer(part).unwrap().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(members(&shown), members(&real), "{}: the members of {part:?}", block.place);
        }
        for part in ["/schema", "/environment", "/channel", "/template", "/data", "/cause/eventCode"] {
            assert_eq!(shown.pointer(part), real.pointer(part), "{}: {part}", block.place);
        }
    }
}

#[test]
fn every_file_and_every_test_that_the_architecture_names_is_there() {
    let page = std::fs::read_to_string(checkout().join("ARCHITECTURE.md")).unwrap();
    let mut sources = Vec::new();
    for directory in ["host", "guest-sdk", "rules", "tests"] {
        collect_sources(&checkout().join(directory), &mut sources);
    }
    let spans: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let files: Vec<&&str> = spans.iter().filter(|span| span.ends_with(".rs")).collect();
    assert!(files.len() > 50, "{files:?}");
    for file in files {
        let is_there = sources.iter().any(|(path, _)| path == file || path.ends_with(&format!("/{file}")));
        assert!(is_there, "ARCHITECTURE.md names `{file}`, which is not there");
    }
    let (_, guarantees) = page.split_once("## Guarantees").unwrap();
    let rows: Vec<&str> = guarantees.lines().filter(|line| line.starts_with("| G")).collect();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let tests = row.rsplit('|').nth(1).unwrap();
        let names: Vec<&str> =
            tests.split('`').skip(1).step_by(2).filter_map(|span| Some(span.split_once("::")?.1)).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            let is_there = sources.iter().any(|(_, text)| text.contains(&format!("fn {name}(")));
            assert!(is_there, "ARCHITECTURE.md names the test `{name}`, which is not there");
        }
    }
}

/// The path and the text of every source below a directory, but for what was built there.
fn collect_sources(directory: &Path, sources: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}
