//! The tools of a rule author: `hailer dev` decides with each saved version, and failures name
//! their place in the code.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use hailer_tests::process::end_within;
use hailer_tests::site::{Site, lines};
use hailer_tests::{built, wait};

/// A running `hailer dev`. Dropping the value ends it.
struct Dev {
    process: Child,
    decisions: std::path::PathBuf,
    output: std::path::PathBuf,
}

impl Dev {
    fn start(site: &Site, crate_name: &str) -> Dev {
        let (decisions, output) = (site.path("decisions"), site.path("output"));
        let create = |path: &Path| std::fs::File::create(path).unwrap();
        let mut command = Command::new(built::hailer());
        command.args(["dev", crate_name, "--every-ms", "50", "--json"]).current_dir(site.path("."));
        command.env("CARGO_TARGET_DIR", built::target().join("e2e-new"));
        built::without_settings(&mut command);
        command.stdin(Stdio::null()).stdout(create(&decisions)).stderr(create(&output));
        Dev { process: command.spawn().unwrap(), decisions, output }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    async fn prints(&self, text: &str) {
        wait::until(&format!("dev prints {text}"), async || self.output().contains(text)).await;
    }

    /// Waits until the last decision sends this template, and returns how many there are.
    async fn decides(&self, template: &str) -> usize {
        wait::until_some(&format!("a decision for {template}"), async || {
            let text = std::fs::read_to_string(&self.decisions).unwrap();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole
                .lines()
                .last()
                .filter(|line| line.contains(template))
                .map(|_| whole.lines().count())
        })
        .await
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let has_ended = end_within(&mut self.process, wait::LONG_ENOUGH);
        if std::thread::panicking() {
            eprintln!("output of dev:\n{}", self.output());
        } else {
            assert!(has_ended, "dev does not end on SIGTERM; its output:\n{}", self.output());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn dev_decides_with_each_saved_version_and_keeps_the_last_good_one() {
    let site = Site::empty();
    let _ = site.command_without_data(&["new", "saved-rule"]).expect(0);
    let campaign =
        "module = \"modules/saved-rule.wasm\"\nmode = \"live\"\n[params]\nthreshold = \"100\"\n";
    site.write("saved-rule/campaign.toml", campaign);
    let change = |file: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(site.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        site.write(file, text.replace(from, to));
    };
    let dev = Dev::start(&site, "saved-rule");
    dev.decides("thank-you").await;

    // The output lists each scenario. A change that the scenarios do not expect fails them.
    dev.prints("  ok     ").await;
    change("saved-rule/src/lib.rs", "\"thank-you\"", "\"many-thanks\"");
    dev.prints("  FAILED ").await;
    dev.prints("+ push `many-thanks`").await;
    let before = dev.decides("thank-you").await;
    change("saved-rule/scenarios.toml", "\"thank-you\"", "\"many-thanks\"");
    let after = dev.decides("many-thanks").await;
    assert!(after > before);

    change("saved-rule/src/lib.rs", "fn purchase(", "fn purchase((");
    dev.prints("the last good module").await;
    dev.prints("cargo failed").await;
    let broken = dev.decides("many-thanks").await;
    wait::until("it goes on deciding", async || dev.decides("many-thanks").await > broken + 3)
        .await;
    change("saved-rule/src/lib.rs", "fn purchase((", "fn purchase(");
    change("saved-rule/src/lib.rs", "\"many-thanks\"", "\"thanks-again\"");
    change("saved-rule/scenarios.toml", "\"many-thanks\"", "\"thanks-again\"");
    dev.decides("thanks-again").await;
}

#[test]
fn every_command_that_reads_a_module_applies_the_configured_limits() {
    let site = Site::empty();
    let _ = site.command_without_data(&["new", "small"]).expect(0);
    let _ = site.command_without_data(&["build", "small", "--out", "rules.d"]).expect(0);
    let module = site.path("rules.d/small.wasm").display().to_string();
    site.write(
        "hailer.toml",
        "limits.output_bytes_max = 1024\nlimits.state_bytes_max = 64\nlimits.module_bytes_max = \
         4096\n",
    );
    for arguments in [
        vec!["inspect", &module],
        vec!["bench", &module],
        vec!["params", &module],
        vec!["build", "small", "--out", "rules.d"],
        vec!["test", "small"],
        vec!["new", "other", "--from", "small", "--rules", "rules.d"],
    ] {
        let said = site.command_without_data(&arguments).expect(1).stderr;
        assert!(said.contains("4096"), "{arguments:?}: {said}");
    }
}

const FAILING: &str = r#"
use hailer_sdk::prelude::*;

/// Fails in two ways.
#[rule]
pub struct Failing;

#[handlers]
impl Failing {
    fn purchase(&self, Purchase { amount, .. }: Purchase, ctx: &mut Context) {
        let turns = endless(amount.is_zero() || is_trial(ctx));
        ctx.note(if turns == 0 { "none" } else { "some" });
    }

    fn activated(&self, _: CardActivated, ctx: &mut Context) {
        ctx.note("activated");
        if !is_trial(ctx) {
            panic!("no such step");
        }
    }
}

/// The trial at load uses the year 2025. A rule that faults in it on every sample is refused.
fn is_trial(ctx: &Context) -> bool {
    ctx.now().date().0 == 2025
}

#[inline(never)]
fn endless(is_zero: bool) -> u32 {
    let mut turns = 0_u32;
    while !is_zero {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
    turns
}
"#;

#[test]
fn a_panic_shows_its_text_and_line_and_a_missed_deadline_its_function() {
    let site = Site::empty();
    let _ = site.command_without_data(&["new", "failing"]).expect(0);
    site.write("failing/src/lib.rs", FAILING);
    std::fs::remove_file(site.path("failing/scenarios.toml")).unwrap();
    let _ = site.command_without_data(&["build", "failing", "--out", "rules.d"]).expect(0);
    let samples = site.command_without_data(&["events", "--samples"]).expect(0).stdout;
    let source = format!("file:{}", site.write("events.jsonl", samples).display());
    let store = site.path("store").display().to_string();
    let arguments = [
        "--source",
        &source,
        "--sink",
        "-",
        "--set",
        "limits.call_deadline_ms=50",
        "--store",
        &store,
    ];
    let said = site.run(&arguments).expect(0).stderr;
    for part in
        ["campaign=\"failing\"", "OnCardActivation", "panicked: no such step, at src/lib.rs:18"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    let place = "in failing::endless, called by the handler `purchase`";
    assert!(said.contains("(call_deadline_ms), ") && said.contains(place), "{said}");
    // `failures list` shows the same places later.
    let kept = site.command(&["failures", "list", "--store", &store]).expect(0).stdout;
    assert!(kept.contains("no such step") && kept.contains("failing::endless"), "{kept}");
    assert!(lines(&site.path("nothing")).is_empty());
}
