//! `hailer dev`: watches a rule crate, builds it at each save, swaps the module into a local
//! engine, and prints the engine's decisions on sample events. The engine is this program with all
//! its checks. A module that does not build, does not load or fails its own scenarios never
//! replaces the one before.

mod feed;
mod local;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use hailer_abi::manifest::Manifest;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

use self::feed::Feed;
use self::local::LocalEngine;
use self::sources::Sources;
use super::settings::Global;
use super::test::{self, Colours, ScenarioRunner, ShowPassed};
use super::{DONE, EXIT_CODES, build, output};
use crate::engine::{Limits, VerifiedModule, personal_fields, verify};
use crate::explain::{Decision, ProposedCommunication, reason_text};
use crate::reload::LoadReport;
use crate::scenarios;

/// Time between two looks at the changes of the sources and at the decisions.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Watch a rule crate: build on save, swap into a local engine, show its decisions
///
/// Each save of a source, of scenarios.toml or of campaign.toml builds the crate and swaps the
/// module into a local engine. The engine gets sample events of the kinds that the rule takes, or
/// the events of --events, and every decision is printed. After a failed build, or if the module
/// fails one of its scenarios, the last good module goes on deciding.
///
/// Parameters and grants come from the crate's campaign.toml. Without that file the parameters are
/// the defaults, and every field that the rule reads is granted. States and timers are lost when
/// the command ends. Nothing is published: communications go to a file in a temporary directory.
///
/// Changes are noticed on file systems that report them. Some network mounts do not; start the
/// command again there after a save.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer dev my-rule\n  hailer dev my-rule --events events.jsonl --every-ms 100\n  \
     hailer dev my-rule --json | jq .notes\n\n{EXIT_CODES}",
))]
pub(super) struct Dev {
    /// The directory of the rule crate
    directory: PathBuf,
    /// A file of events, one a line, to send again and again instead of the samples
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Milliseconds between two events
    #[arg(long, value_name = "COUNT", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    every_ms: u64,
}

impl Dev {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        if !self.directory.join("Cargo.toml").is_file() {
            bail!(
                "{} holds no Cargo.toml: name the directory of a rule crate, or write one with \
                    `hailer new`",
                self.directory.display()
            );
        }
        let limits = global.limits()?;
        let feed = self.events.as_deref().map(Feed::of_file).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            // A signal ends the command at any point, during a build too. The local engine ends
            // when the future is dropped.
            tokio::select! {
                ended = self.watch(feed, &limits, global.json) => ended,
                interrupted = ctrl_c() => interrupted.map(|()| DONE).map_err(Into::into),
                _ = terminated.recv() => Ok(DONE),
            }
        });
        // A build that still runs is not waited for.
        runtime.shutdown_background();
        ended
    }

    async fn watch(
        &self,
        mut feed: Option<Feed>,
        limits: &Limits,
        as_json: bool,
    ) -> anyhow::Result<u8> {
        let place = tempfile::Builder::new()
            .prefix("hailer-dev-")
            .tempdir()
            .context("cannot create a directory for the local engine")?;
        let mut engine = LocalEngine::start(place.path(), limits).await?;
        let mut sources = Sources::watch(&self.directory)?;
        let mut is_changed = true;
        let mut sent_at: Option<Instant> = None;
        output::message(&format!("watching {}; Ctrl-C ends it", self.directory.display()));
        loop {
            if is_changed {
                let saved = Instant::now();
                match self.swap(&engine, limits).await {
                    Ok(swapped) => {
                        output::message(&format!(
                            "{} ({:.1} s)",
                            swapped.message,
                            saved.elapsed().as_secs_f64()
                        ));
                        if self.events.is_none() {
                            feed = Some(Feed::of_samples(&swapped.manifest));
                        }
                    }
                    Err(error) => output::message(&format!(
                        "{error:#}\nthe last good module, if there is one, goes on deciding; \
                            correct the error and save again"
                    )),
                }
            }
            if let Some(feed) = &mut feed
                && sent_at
                    .is_none_or(|sent_at| sent_at.elapsed() >= Duration::from_millis(self.every_ms))
            {
                sent_at = Some(Instant::now());
                engine.send(feed.next()).await?;
            }
            for decision in engine.decisions().await? {
                if as_json {
                    output::data(&serde_json::to_string(&decision)?)?
                } else {
                    output::data(&line(&decision))?
                }
            }
            tokio::time::sleep(LOOK_EVERY.min(Duration::from_millis(self.every_ms))).await;
            is_changed = sources.changes()?.is_some();
        }
    }

    /// Builds the crate and loads its module into the engine.
    async fn swap(&self, engine: &LocalEngine, limits: &Limits) -> anyhow::Result<Swapped> {
        let (directory, of_build) = (self.directory.clone(), limits.clone());
        let build::DeployableModule { name, bytes, .. } =
            tokio::task::spawn_blocking(move || build::build_module(&directory, false, &of_build))
                .await??;
        let verified = verify(bytes.into(), limits)
            .map_err(|error| anyhow::anyhow!("the module is refused: {error}: {}", error.hint()))?;
        let manifest = Arc::clone(&verified.manifest);
        let (directory, limits, module) =
            (self.directory.clone(), limits.clone(), verified.clone());
        tokio::task::spawn_blocking(move || run_scenarios(&directory, limits, module)).await??;
        let campaign = self.campaign(&name, &manifest)?;
        let report = engine.load(&name, &verified.bytes, &campaign).await?;
        if !report.problems.is_empty() {
            let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
            bail!("refused: {}", problems.join("\n"));
        }
        let LoadReport { added, changed, .. } = &report;
        let done =
            if added.is_empty() && changed.is_empty() { "nothing to swap" } else { "swapped" };
        let version = format!("{}+{}", manifest.version, &verified.digest[..8]);
        Ok(Swapped { message: format!("{done}: {name} {version}"), manifest })
    }

    /// The text of the campaign file: the crate's own, or one with all defaults.
    fn campaign(&self, name: &str, manifest: &Manifest) -> anyhow::Result<String> {
        let file = self.directory.join("campaign.toml");
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let personal = toml::Value::Array(
                    personal_fields(manifest).into_iter().map(toml::Value::String).collect(),
                );
                Ok(format!(
                    "module = \"modules/{name}.wasm\"\nmode = \"live\"\npersonal = {personal}\n"
                ))
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }
}

/// Runs the scenarios that are embedded in a module, and prints the result of each. The engine
/// would run them too and refuse the module, but it prints less.
fn run_scenarios(directory: &Path, limits: Limits, module: VerifiedModule) -> anyhow::Result<()> {
    let bytes = Arc::clone(&module.bytes);
    let Some(text) = scenarios::embedded(&bytes)? else { return Ok(()) };
    let file = directory.join("scenarios.toml").display().to_string();
    let outcome = ScenarioRunner::new(limits)?.run(module, file, text, |_| true)?;
    output::message(
        test::text_of(&outcome, Colours::of(&std::io::stderr()), ShowPassed::Named).trim_end(),
    );
    let failed = outcome.scenarios.iter().filter(|report| !report.is_passed()).count();
    if failed > 0 {
        bail!("refused: {failed} of {} scenarios failed", outcome.scenarios.len());
    }
    Ok(())
}

/// The module that the engine runs now.
struct Swapped {
    message: String,
    manifest: Arc<Manifest>,
}

fn line(decision: &Decision) -> String {
    let cause = match (&decision.event_code, &decision.timer) {
        (_, Some(timer)) => format!("timer {timer}"),
        (Some(code), None) => code.clone(),
        (None, None) => decision.decision.clone(),
    };
    let mut parts: Vec<String> = Vec::new();
    parts.extend(
        decision
            .communications
            .iter()
            .map(|sent| format!("{} `{}` ({})", sent.channel, sent.template, verdict(sent))),
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

fn verdict(sent: &ProposedCommunication) -> String {
    let (policy, detail) = (sent.policy.as_deref(), sent.detail.as_deref());
    match sent.until {
        None => reason_text(&sent.verdict, policy, detail),
        Some(until) => {
            let until = crate::zones::machine().to_datetime(until).strftime("%H:%M:%S");
            format!("{}, until {until}", reason_text(&sent.verdict, policy, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_shown_on_one_line() {
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
            communications: vec![ProposedCommunication {
                channel: "push".into(),
                template: "thank-you".into(),
                verdict: "passed".into(),
                ..ProposedCommunication::default()
            }],
            notes: vec!["thanked".into()],
            scheduled: vec!["nudge".into()],
            cancelled: vec![],
            state_changed: true,
        };
        let expected = "0.1.0+9f3ac1d2 OnPurchaseConfirm: push `thank-you` (passed); sets nudge; \
                        note: thanked; state changed";
        assert!(line(&decision).ends_with(expected), "{}", line(&decision));
        let nothing = Decision {
            communications: vec![],
            notes: vec![],
            scheduled: vec![],
            state_changed: false,
            ..decision
        };
        assert!(line(&nothing).ends_with("OnPurchaseConfirm: nothing"));
    }
}
