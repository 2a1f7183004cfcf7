//! The documentation is correct: the tests compile, run or read every code block, as its fence
//! says. `docs/blocks.rs` lists the words after the language that decide how.

mod blocks;
mod shell;

use std::path::Path;

use hailer::consent::{ConsentFile, Terms};
use hailer_tests::built::{checkout, example_module};
use hailer_tests::site::{Site, lines};
use serde_json::Value;

use self::blocks::Class;

#[test]
fn a_code_block_without_a_known_class_is_refused() {
    for fence in [
        "```\nx\n```",
        "```rust,ignore\nx\n```",
        "```sh norun\nx\n```",
        "# Heading\n\n    indented\n",
    ] {
        let problem = blocks::blocks("page", fence).unwrap_err();
        assert!(problem.contains("which is none of") && problem.contains("page:"), "{problem}");
    }
    let nested = blocks::blocks("page", "# One\n\n- text:\n\n  ```sh\n  ls\n  ```\n").unwrap();
    let [block] = &nested[..] else { panic!("{nested:?}") };
    let found = (&*block.place, &*block.section, block.class, &*block.text);
    assert_eq!(found, ("page:5", "One", Class::Shell, "ls\n"));
}

#[test]
fn documented_rules_compile_in_a_new_crate_and_their_tests_pass() {
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
            Class::Statements => modules.push(rule_around(&format!(
                "fn purchase(&self, _: Purchase, ctx: &mut Context) {{\n{text}\n}}"
            ))),
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
    assert!(
        tests > 0 && said.stdout.contains(&format!("{tests} passed")),
        "{tests} tests: {said:?}"
    );
}

/// A rule with the parameters that handlers in the documentation use.
fn rule_around(handler: &str) -> String {
    format!(
        "use hailer_sdk::prelude::*;\n#[rule]\npub struct Page {{\n #[param(default = 1)]\n pub \
         low: i64,\n #[param(default = 2)]\n pub high: i64,\n #[param(default = \"100.00\")]\n \
         pub threshold: Decimal,\n #[param(default = \"\")]\n pub template: \
         String,\n}}\n#[handlers]\nimpl Page {{\n{handler}\nfn other(&self, _: CardActivated, \
         ctx: &mut Context) {{ ctx.note(\"\"); }}\n}}\n"
    )
}

#[test]
fn the_event_reference_matches_the_catalogue() {
    let printed = Site::empty().command_without_data(&["events", "--reference"]).expect(0).stdout;
    let page = std::fs::read_to_string(checkout().join("docs/events.md")).unwrap();
    assert!(
        page == printed,
        "docs/events.md is out of date; run `hailer events --reference > docs/events.md`"
    );
}

#[test]
fn every_recipe_of_the_cookbook_is_an_excerpt_of_a_tested_rule() {
    let page = std::fs::read_to_string(checkout().join("docs/cookbook.md")).unwrap();
    let excerpts = blocks::of(Class::Excerpt);
    let mut rules = std::collections::BTreeSet::new();
    for recipe in page.split("\n## ").skip(1) {
        let title = recipe.lines().next().unwrap();
        let rule = recipe
            .split("](../rules/")
            .nth(1)
            .unwrap_or_else(|| panic!("{title} links to no rule"));
        let rule = rule.split('/').next().unwrap();
        let source =
            std::fs::read_to_string(checkout().join("rules").join(rule).join("src/lib.rs"))
                .unwrap();
        let own: Vec<_> = excerpts.iter().filter(|block| block.section == title).collect();
        assert!(!own.is_empty(), "{title} shows nothing of {rule}");
        for block in own {
            assert!(
                unindented(&source).contains(&unindented(&block.text)),
                "{}: differs from rules/{rule}/src/lib.rs; copy it from there",
                block.place
            );
        }
        assert!(source.contains("#[cfg(test)]") && rules.insert(rule.to_owned()), "{rule}");
        for file in ["scenarios.toml", "campaign.toml"] {
            assert!(
                checkout().join("rules").join(rule).join(file).is_file(),
                "rules/{rule}/{file}"
            );
        }
    }
    assert_eq!(rules.len(), 10);
}

/// The lines without leading and trailing spaces.
fn unindented(text: &str) -> String {
    text.lines().map(|line| line.trim().to_owned() + "\n").collect()
}

#[test]
fn the_commands_of_every_page_run_in_their_order() {
    let shown = blocks::of(Class::Shell);
    for page in
        blocks::PAGES.into_iter().filter(|page| shown.iter().any(|block| block.page == *page))
    {
        // An operator's page expects campaigns and events.
        let is_operators = page.starts_with("docs/operations");
        let site = if is_operators { Site::with_examples() } else { Site::empty() };
        if is_operators {
            let events =
                site.command_without_data(&["events", "--generate", "100"]).expect(0).stdout;
            site.write("events.jsonl", events + "no event\n");
        }
        let of_page: Vec<_> =
            blocks::all().into_iter().filter(|block| block.page == page).collect();
        let _ = site.shell(&shell::script(&of_page)).expect(0);
    }
}

#[test]
fn commands_that_a_test_cannot_run_have_valid_flags() {
    let site = Site::empty();
    for block in blocks::of(Class::NoRun) {
        let outcome = site.shell(&shell::only_parsed(&block.text));
        assert_eq!(outcome.code, Some(0), "{}: {}", block.place, outcome.stderr);
    }
    let wrong =
        site.shell(&shell::only_parsed("sudo nothing\nhailer run --no-such-flag")).expect(2);
    assert!(wrong.stderr.contains("--no-such-flag"), "{}", wrong.stderr);
    for block in blocks::of(Class::Unit) {
        let start =
            block.text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/"));
        let _ =
            site.shell(&shell::only_parsed(start.expect("the unit starts the engine"))).expect(0);
    }
}

#[test]
fn documented_campaigns_load() {
    for block in blocks::of(Class::Campaign) {
        let site = Site::empty();
        let shown: toml::Table = block.text.parse().unwrap();
        let path = shown["module"].as_str().unwrap();
        let rule =
            ["big-basket", "welcome"].into_iter().find(|rule| path.contains(rule)).expect(path);
        let module = example_module(rule);
        let copy = site.write("copy.wasm", &module).display().to_string();
        let digest = site.command_without_data(&["inspect", &copy, "--json"]).expect(0).json();
        site.put(path, module);
        // The digest in the page is an example.
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
fn documented_grants_name_existing_fields() {
    let site = Site::empty();
    let _ = site.command_without_data(&["new", "personal"]).expect(0);
    let handlers = "fn purchase(&self, Purchase { items: [ChequeItem { description, .. }], .. }: \
                    Purchase, ctx: &mut Context) \
                    {\nctx.note(items[0].description.unwrap_or_default());\n}\nfn replaced(&self, \
                    CardBlockChanged { card_number, .. }: CardBlockChanged, ctx: &mut Context) \
                    {\nctx.note(card_number.unwrap_or_default());\n}\n";
    site.write("personal/src/lib.rs", rule_around(handlers));
    // The template's scenarios are for another rule.
    std::fs::remove_file(site.path("personal/scenarios.toml")).unwrap();
    let _ = site.command_without_data(&["build", "personal", "--out", "rules.d/modules"]).expect(0);
    let check = |rest: &str| {
        site.put(
            "personal.toml",
            format!("module = \"modules/personal.wasm\"\nmode = \"live\"\n{rest}"),
        );
        site.command(&["check", "--rules", "rules.d", "--no-broker"])
    };
    let _ = check("").expect(1);
    for block in blocks::of(Class::Grant) {
        let outcome = check(&block.text);
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", block.place);
    }
}

#[test]
fn documented_scenarios_pass_for_big_basket() {
    let site = Site::empty();
    let module = site.write("big-basket.wasm", example_module("big-basket")).display().to_string();
    for block in blocks::of(Class::Scenarios) {
        let file = site.write("scenarios.toml", &block.text).display().to_string();
        let outcome = site.command(&["test", &file, "--module", &module]);
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", block.place);
    }
}

#[test]
fn documented_configurations_are_valid() {
    let site = Site::empty();
    for block in blocks::of(Class::Config) {
        let file = site.write_config("hailer.toml", &block.text).display().to_string();
        let outcome = site.command_without_data(&["config", "show", "--config", &file]);
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", block.place);
    }
}

#[test]
fn documented_policies_are_valid_and_pass_their_scenarios() {
    let site = Site::empty();
    for block in blocks::of(Class::Policies) {
        site.put("policies.toml", &block.text);
        let outcome = site.command_without_data(&["policies", "show", "--rules", "rules.d"]);
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", block.place);
        let own = blocks::of(Class::PolicyScenarios).into_iter();
        for scenarios in own.filter(|scenarios| scenarios.page == block.page) {
            let file = site.write("scenarios.toml", &scenarios.text).display().to_string();
            let test = ["policies", "test", &file, "--rules", "rules.d"];
            let outcome = site.command_without_data(&test);
            assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", scenarios.place);
        }
    }
}

#[test]
fn documented_manifests_are_accepted() {
    for block in blocks::of(Class::Manifest) {
        let manifest = hailer::engine::read_manifest(block.text.as_bytes());
        manifest.unwrap_or_else(|error| panic!("{}: {error}", block.place));
    }
}

#[test]
fn documented_consents_can_be_imported() {
    let site = Site::empty();
    let terms = Terms { yes: Some(vec!["Enabled".into()]), zones_from_events: false };
    for block in blocks::of(Class::Consents) {
        let file = site.write("consents.jsonl", &block.text);
        let read = ConsentFile::read(&file, &terms, i64::MAX);
        let read = read.unwrap_or_else(|error| panic!("{}: {error}", block.place));
        assert_eq!(read.statements.len(), block.text.lines().count());
    }
}

#[test]
fn documented_events_and_communications_have_the_real_form() {
    let site = Site::with_examples();
    for block in blocks::of(Class::Event) {
        let line = block.text.replace('\n', "") + "\n";
        let source = format!("file:{}", site.write("events.jsonl", line).display());
        let said = site.run(&["--source", &source, "--sink", "-"]).expect(0).stderr;
        assert!(
            said.contains("1 events, 0 communications, 0 dead letters"),
            "{}: {said}",
            block.place
        );
    }
    let example =
        std::fs::read_to_string(checkout().join("guest-sdk/abi/events/OnPurchaseConfirm.json"))
            .unwrap();
    let source = format!(
        "file:{}",
        site.write("purchase.jsonl", example.replace('\n', "") + "\n").display()
    );
    let sink = format!("file:{}", site.path("out").display());
    let _ = site.run(&["--source", &source, "--sink", &sink]).expect(0);
    let real =
        lines(&site.path("out")).into_iter().find(|one| one["campaign"] == "big-basket").unwrap();
    for block in blocks::of(Class::Communication) {
        let shown: Value = serde_json::from_str(&block.text).unwrap();
        for part in ["", "/cause"] {
            let members = |of: &Value| {
                of.pointer(part).unwrap().as_object().unwrap().keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(members(&shown), members(&real), "{}: the members of {part:?}", block.place);
        }
        for part in
            ["/schema", "/environment", "/channel", "/template", "/data", "/cause/eventCode"]
        {
            assert_eq!(shown.pointer(part), real.pointer(part), "{}: {part}", block.place);
        }
    }
}

#[test]
fn every_file_and_every_test_that_the_architecture_names_exists() {
    let mut sources = Vec::new();
    for directory in ["host", "guest-sdk", "rules", "tests"] {
        collect_sources(&checkout().join(directory), &mut sources);
    }
    let design = pages_below("docs/design");
    assert!(design.len() > 10, "{design:?}");
    let mut files = 0;
    for path in [&["ARCHITECTURE.md".to_owned()], &design[..]].concat() {
        let page = std::fs::read_to_string(checkout().join(&path)).unwrap();
        for span in page.split('`').skip(1).step_by(2).filter(|span| span.ends_with(".rs")) {
            files += 1;
            let is_there = sources.iter().any(|(source, _)| source.ends_with(&format!("/{span}")));
            assert!(is_there, "{path} names `{span}`, which does not exist");
        }
    }
    assert!(files > 50, "{files}");
    let page = std::fs::read_to_string(checkout().join("ARCHITECTURE.md")).unwrap();
    assert!(page.lines().count() < 150, "the map has fewer than 150 lines; docs/design has room");
    let (_, guarantees) = page.split_once("## Guarantees").unwrap();
    let rows: Vec<&str> = guarantees.lines().filter(|line| line.starts_with("| G")).collect();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let tests = row.rsplit('|').nth(1).unwrap();
        let names: Vec<&str> = tests
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|span| Some(span.rsplit_once("::")?.1))
            .collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            let is_there = sources.iter().any(|(_, text)| text.contains(&format!("fn {name}(")));
            assert!(is_there, "ARCHITECTURE.md names the test `{name}`, which does not exist");
        }
    }
}

#[test]
fn every_invariant_names_a_file_and_a_test_that_exist() {
    let mut sources = Vec::new();
    for directory in ["host", "guest-sdk", "tests"] {
        collect_sources(&checkout().join(directory), &mut sources);
    }
    let page = std::fs::read_to_string(checkout().join("docs/design/invariants.md")).unwrap();
    let invariants: Vec<&str> = page.split("\n- **").skip(1).collect();
    assert!(invariants.len() > 60, "{}", invariants.len());
    for invariant in invariants {
        let invariant = invariant.split("\n\n").next().unwrap();
        let spans = || invariant.split('`').skip(1).step_by(2);
        assert!(spans().any(|span| span.ends_with(".rs")), "names no file: {invariant}");
        let tests: Vec<&str> = spans().filter(|span| span.contains("::")).collect();
        assert!(!tests.is_empty(), "names no test: {invariant}");
        for test in tests {
            let (module, name) = test.rsplit_once("::").unwrap();
            let module = module.rsplit("::").next().unwrap();
            let is_there = sources
                .iter()
                .any(|(path, text)| path.contains(module) && text.contains(&format!("fn {name}(")));
            assert!(is_there, "invariants.md names the test `{test}`, which does not exist");
        }
    }
}

#[test]
fn every_link_between_the_pages_has_a_target() {
    let mut pages = pages_below("docs");
    pages.extend(["README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY"].map(|n| format!("{n}.md")));
    let mut links = 0;
    for page in pages {
        let path = checkout().join(&page);
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains(char::is_whitespace) || target.starts_with("http") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file =
                if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{page} links to {target}, which does not exist");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(file).unwrap();
                assert!(anchors(&text).any(|one| one == anchor), "{page}: no heading for {target}");
            }
        }
    }
    assert!(links > 100, "{links}");
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    page.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept =
            title.chars().filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
        kept.collect::<String>().replace(' ', "-")
    })
}

/// The Markdown files below a directory of the checkout, by their paths in the checkout.
fn pages_below(directory: &str) -> Vec<String> {
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(checkout().join(directory)).unwrap() {
        let name = format!("{directory}/{}", entry.unwrap().file_name().to_str().unwrap());
        if checkout().join(&name).is_dir() {
            pages.extend(pages_below(&name));
        } else if name.ends_with(".md") {
            pages.push(name);
        }
    }
    pages
}

/// The path and the text of every source file below a directory, without build output.
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
