//! `hailer dev`: a rule's crate, watched; each save is built and swapped into a local engine, whose decisions on sample events are shown as they are
//! made. The engine is this very program with everything that it checks: what does not build, does not load or fails its own scenarios never
//! displaces what ran before.

mod feed;
mod local;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use hailer_abi::manifest::Manifest;

use self::feed::Feed;
use self::local::LocalEngine;
use self::sources::Sources;
use super::settings::Global;
use super::test::{self, Course, Look, Passed};
use super::{DONE, EXIT_CODES, build, output};
use crate::engine::{Limits, VerifiedModule, personal_fields, verify};
use crate::reload::LoadReport;
use crate::scenarios;
use crate::story::Decision;

/// How often the sources and the decisions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Watch a rule's crate: build on save, swap into a local engine, show its decisions
///
/// Each save of a source, of scenarios.toml or of campaign.toml builds the crate and swaps the module into an engine of its own, which is fed
/// with the source's samples of the events that the rule takes, or with --events; every decision is shown. The swap is the engine's: a module
/// that fails one of its scenarios is refused, and after a failed build or a refusal the last good one goes on deciding.
///
/// The crate's campaign.toml, if it has one, gives parameters and grants; without it they are the defaults, and what the rule reads is granted.
/// States and timers live as long as the command. Nothing is published: communications end in a temporary directory.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer dev my-rule\n  hailer dev my-rule --events events.jsonl --every-ms 100\n  \
     hailer dev my-rule --json | jq .notes\n\n{EXIT_CODES}",
))]
pub(super) struct Dev {
    /// The rule's crate
    directory: PathBuf,
    /// Events to feed, one a line, again and again, in place of the samples
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Milliseconds from one event to the next
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    every_ms: u64,
}

impl Dev {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        if !self.directory.join("Cargo.toml").is_file() {
            bail!(
                "{} holds no Cargo.toml: name a rule's crate, or write one with `hailer new`",
                self.directory.display()
            );
        }
        let limits = global.limits()?;
        let feed = self.events.as_deref().map(Feed::of_file).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            // Whatever it is at, a build too: the local engine ends with what is dropped here.
            tokio::select! {
                ended = self.watch(feed, &limits, global.json) => ended,
                interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| DONE).map_err(Into::into),
                _ = terminated.recv() => Ok(DONE),
            }
        });
        // A build under way is not waited for.
        runtime.shutdown_background();
        ended
    }

    async fn watch(&self, mut feed: Option<Feed>, limits: &Limits, as_json: bool) -> anyhow::Result<u8> {
        let place = tempfile::Builder::new().prefix("hailer-dev-").tempdir().context("no place for a local engine")?;
        let mut engine = LocalEngine::start(place.path(), limits).await?;
        let mut sources = Sources::of(&self.directory);
        let mut is_changed = true;
        let mut fed_at: Option<Instant> = None;
        output::say(&format!("watching {}; Ctrl-C ends it", self.directory.display()));
        loop {
            if is_changed {
                let saved = Instant::now();
                match self.swap(&engine, limits).await {
                    Ok(swapped) => {
                        output::say(&format!("{} ({:.1} s)", swapped.said, saved.elapsed().as_secs_f64()));
                        if self.events.is_none() {
                            feed = Some(Feed::of_samples(&swapped.manifest));
                        }
                    }
                    Err(error) => {
                        output::say(&format!("{error:#}\nthe last good one, if there is one, goes on; save again"))
                    }
                }
            }
            if let Some(feed) = &mut feed
                && fed_at.is_none_or(|fed_at| fed_at.elapsed() >= Duration::from_millis(self.every_ms))
            {
                fed_at = Some(Instant::now());
                engine.feed(feed.next()).await?;
            }
            for decision in engine.decisions().await? {
                if as_json {
                    output::data(&serde_json::to_string(&decision)?)?
                } else {
                    output::data(&line(&decision))?
                }
            }
            tokio::time::sleep(LOOK_EVERY.min(Duration::from_millis(self.every_ms))).await;
            is_changed = sources.have_changed();
        }
    }

    /// Builds the crate and hands its module to the engine.
    async fn swap(&self, engine: &LocalEngine, limits: &Limits) -> anyhow::Result<Swapped> {
        let (directory, of_build) = (self.directory.clone(), limits.clone());
        let build::Whole { name, bytes, .. } =
            tokio::task::spawn_blocking(move || build::whole(&directory, false, &of_build)).await??;
        let verified = verify(bytes.into(), limits)
            .map_err(|error| anyhow::anyhow!("the module is refused: {error}: {}", error.hint()))?;
        let manifest = Arc::clone(&verified.manifest);
        let (directory, of_course, module) = (self.directory.clone(), limits.clone(), verified.clone());
        tokio::task::spawn_blocking(move || run_scenarios(&directory, of_course, module)).await??;
        let campaign = self.campaign(&name, &manifest)?;
        let report = engine.put(&name, &verified.bytes, &campaign).await?;
        if !report.problems.is_empty() {
            let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
            bail!("refused: {}", problems.join("\n"));
        }
        let LoadReport { added, changed, .. } = &report;
        let done = if added.is_empty() && changed.is_empty() { "nothing to swap" } else { "swapped" };
        let version = format!("{}+{}", manifest.version, &verified.digest[..8]);
        Ok(Swapped { said: format!("{done}: {name} {version}"), manifest })
    }

    /// The campaign's file: the crate's own, or one with every default.
    fn campaign(&self, name: &str, manifest: &Manifest) -> anyhow::Result<String> {
        let file = self.directory.join("campaign.toml");
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let personal =
                    toml::Value::Array(personal_fields(manifest).into_iter().map(toml::Value::String).collect());
                Ok(format!("module = \"modules/{name}.wasm\"\nmode = \"live\"\npersonal = {personal}\n"))
            }
            Err(error) => Err(error).with_context(|| format!("can't read {}", file.display())),
        }
    }
}

/// Runs the scenarios that a module brings, and tells each of them. The engine would run them too, and refuse the module, but says less.
fn run_scenarios(directory: &Path, limits: Limits, module: VerifiedModule) -> anyhow::Result<()> {
    let bytes = Arc::clone(&module.bytes);
    let Some(text) = scenarios::embedded(&bytes)? else { return Ok(()) };
    let file = directory.join("scenarios.toml").display().to_string();
    let outcome = Course::new(limits)?.run(module, file, text, |_| true)?;
    output::say(test::text_of(&outcome, Look::of(&std::io::stderr()), Passed::Named).trim_end());
    let failed = outcome.scenarios.iter().filter(|report| !report.is_passed()).count();
    if failed > 0 {
        bail!("refused: {failed} of {} scenarios failed", outcome.scenarios.len());
    }
    Ok(())
}

/// What runs now.
struct Swapped {
    said: String,
    manifest: Arc<Manifest>,
}

fn line(decision: &Decision) -> String {
    let cause = match (&decision.event_code, &decision.timer) {
        (_, Some(timer)) => format!("timer {timer}"),
        (Some(code), None) => code.clone(),
        (None, None) => String::new(),
    };
    let mut parts: Vec<String> = Vec::new();
    parts.extend(
        decision.communications.iter().map(|sent| format!("{} `{}` ({})", sent.channel, sent.template, sent.verdict)),
    );
    parts.extend(decision.scheduled.iter().map(|timer| format!("sets {timer}")));
    parts.extend(decision.cancelled.iter().map(|timer| format!("cancels {timer}")));
    parts.extend(decision.notes.iter().map(|note| format!("note: {note}")));
    parts.extend(decision.reason.iter().map(|reason| format!("{}: {reason}", decision.decision)));
    if decision.state_changed {
        parts.push("state changed".to_owned());
    }
    let parts = if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") };
    let time = crate::zones::machine().to_datetime(decision.at).strftime("%H:%M:%S").to_string();
    format!("{time} {} {cause}: {parts}", decision.version)
}

/// Whether this is a file that a build reads.
fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "rs" || ending == "toml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::Sent;

    #[test]
    fn a_decision_is_one_line_that_says_all_of_it() {
        let decision = Decision {
            at: "2026-03-01T08:00:00Z".parse().unwrap(),
            event_id: "81".into(),
            customer: None,
            event_code: Some("OnPurchaseConfirm".into()),
            timer: None,
            due: None,
            rule_set: 7,
            campaign: "my-rule".into(),
            version: "0.1.0+9f3ac1d2".into(),
            decision: "answered".into(),
            reason: None,
            communications: vec![Sent {
                channel: "push".into(),
                template: "thank-you".into(),
                verdict: "passed".into(),
                id: None,
                data_hash: 0,
            }],
            notes: vec!["thanked".into()],
            scheduled: vec!["nudge".into()],
            cancelled: vec![],
            state_changed: true,
        };
        let expected =
            "0.1.0+9f3ac1d2 OnPurchaseConfirm: push `thank-you` (passed); sets nudge; note: thanked; state changed";
        assert!(line(&decision).ends_with(expected), "{}", line(&decision));
        let nothing =
            Decision { communications: vec![], notes: vec![], scheduled: vec![], state_changed: false, ..decision };
        assert!(line(&nothing).ends_with("OnPurchaseConfirm: nothing"));
    }
}
