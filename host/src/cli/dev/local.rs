//! The local engine of `hailer dev`: a process of this program in a temporary directory. From the
//! configuration it gets the limits; its other settings are given here.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use crate::cli::build::install;
use crate::control::Client;
use crate::engine::Limits;
use crate::explain::{Decision, DecisionQuery};
use crate::reload::LoadReport;

const START_MAX: Duration = Duration::from_secs(30);
/// Each query for decisions begins this much before the last decision, because a decision may be
/// committed after a later one.
const OVERLAP: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct LocalEngine {
    root: PathBuf,
    process: Child,
    input: ChildStdin,
    client: Client,
    /// Queries ask for decisions since this time.
    since: Timestamp,
    shown: HashSet<(String, String)>,
}

impl LocalEngine {
    /// Starts the engine and waits until it answers.
    pub(super) async fn start(root: &Path, limits: &Limits) -> anyhow::Result<LocalEngine> {
        let rules = root.join("rules.d");
        std::fs::create_dir_all(rules.join("modules"))
            .context("cannot create a directory for the local engine")?;
        let log = std::fs::File::create(root.join("log"))
            .context("cannot write the log of the local engine")?;
        let program = std::env::current_exe().context("cannot find the file of this program")?;
        let mut command = Command::new(program);
        command.current_dir(root).args([
            "run",
            "--source",
            "-",
            "--listen",
            "",
            "--environment",
            "dev",
        ]);
        let limits = toml::to_string(&BTreeMap::from([("limits", limits)]))
            .context("cannot write the limits as TOML")?;
        std::fs::write(root.join("hailer.toml"), limits)
            .context("cannot write the configuration of the local engine")?;
        command.arg("--rules").arg(&rules).arg("--data").arg(root.join("data"));
        command.arg("--sink").arg(format!("file:{}", root.join("sent.jsonl").display()));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HAILER_"))
        {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn().context("cannot start the local engine")?;
        let input = process.stdin.take().context("cannot write to the local engine")?;
        let client = Client::new(&root.join("data"));
        let (root, since, shown) = (root.to_owned(), Timestamp::now(), HashSet::new());
        let mut engine = LocalEngine { root, process, input, client, since, shown };
        let began = Instant::now();
        while engine.client.status().await.is_err() {
            engine.check_alive()?;
            if began.elapsed() > START_MAX {
                bail!("the local engine does not answer:\n{}", engine.end_of_log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(engine)
    }

    /// Writes a module and its campaign file into the rules directory, and makes the engine load
    /// them.
    pub(super) async fn load(
        &self,
        name: &str,
        module: &[u8],
        campaign: &str,
    ) -> anyhow::Result<LoadReport> {
        let rules = self.root.join("rules.d");
        install(module, &rules.join("modules"), name)?;
        let file = rules.join(name).with_extension("toml");
        let partial = self.root.join("campaign.partial");
        std::fs::write(&partial, campaign)
            .and_then(|()| std::fs::rename(partial, &file))
            .context("cannot write the campaign file")?;
        Ok(self.client.reload(true).await?)
    }

    pub(super) async fn send(&mut self, line: Option<&str>) -> anyhow::Result<()> {
        let Some(line) = line else { return Ok(()) };
        let written = self.input.write_all(format!("{line}\n").as_bytes()).await;
        if written.is_err() {
            bail!("the local engine has ended:\n{}", self.end_of_log());
        }
        Ok(self.input.flush().await?)
    }

    /// The decisions that were not returned before, in order of time.
    pub(super) async fn decisions(&mut self) -> anyhow::Result<Vec<Decision>> {
        self.check_alive()?;
        let mut query = DecisionQuery { since: Some(self.since), ..DecisionQuery::default() };
        let mut new: Vec<Decision> = Vec::new();
        loop {
            let page = self.client.decisions(&query).await?;
            let is_new = |decision: &Decision| !self.shown.contains(&key(decision));
            new.extend(page.decisions.into_iter().filter(is_new));
            match page.next {
                Some(next) => query.from = next,
                None => break,
            }
        }
        new.sort_by_key(|decision| decision.at);
        self.shown.extend(new.iter().map(key));
        if let Some(last) = new.last() {
            let since = last.at.checked_sub(OVERLAP).unwrap_or(last.at).max(self.since);
            if since > self.since {
                self.since = since;
            }
        }
        Ok(new)
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the local engine has ended ({status}):\n{}", self.end_of_log()),
        }
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.root.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

fn key(decision: &Decision) -> (String, String) {
    (decision.event_id.clone(), decision.campaign.clone())
}
