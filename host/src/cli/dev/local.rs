//! The local engine: a process of this program, in a directory that goes with it. Of the configuration it hears the
//! limits, and else what stands here.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use crate::cli::build::place;
use crate::control::Client;
use crate::engine::Limits;
use crate::reload::LoadReport;
use crate::story::{Decision, DecisionQuery};

const START_MAX: Duration = Duration::from_secs(30);
/// Decisions are asked for again from so long before the last one, as one may be committed after a later one.
const OVERLAP: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct LocalEngine {
    root: PathBuf,
    process: Child,
    input: ChildStdin,
    client: Client,
    /// Nothing before is asked for.
    since: Timestamp,
    shown: HashSet<(String, String)>,
}

impl LocalEngine {
    /// Starts it and waits until it answers.
    pub(super) async fn start(root: &Path, limits: &Limits) -> anyhow::Result<LocalEngine> {
        let rules = root.join("rules.d");
        std::fs::create_dir_all(rules.join("modules")).context("no place for a local engine")?;
        let log = std::fs::File::create(root.join("log")).context("no place for a local engine's log")?;
        let program = std::env::current_exe().context("which program is this?")?;
        let mut command = Command::new(program);
        command.current_dir(root).args(["run", "--source", "-", "--listen", "", "--environment", "dev"]);
        let limits = toml::to_string(&BTreeMap::from([("limits", limits)])).context("limits that can't be written")?;
        std::fs::write(root.join("hailer.toml"), limits).context("no place for a local engine's configuration")?;
        command.arg("--rules").arg(&rules).arg("--data").arg(root.join("data"));
        command.arg("--sink").arg(format!("file:{}", root.join("sent.jsonl").display()));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HAILER_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn().context("can't start a local engine")?;
        let input = process.stdin.take().context("a local engine that can't be fed")?;
        let client = Client::new(&root.join("data"));
        let (root, since, shown) = (root.to_owned(), Timestamp::now(), HashSet::new());
        let mut engine = LocalEngine { root, process, input, client, since, shown };
        let began = Instant::now();
        while engine.client.status().await.is_err() {
            engine.check_alive()?;
            if began.elapsed() > START_MAX {
                bail!("the local engine does not answer:\n{}", engine.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(engine)
    }

    /// Puts a module and its campaign's file in place, and has the engine look.
    pub(super) async fn put(&self, name: &str, module: &[u8], campaign: &str) -> anyhow::Result<LoadReport> {
        let rules = self.root.join("rules.d");
        place(module, &rules.join("modules"), name)?;
        let file = rules.join(name).with_extension("toml");
        let partial = self.root.join("campaign.partial");
        std::fs::write(&partial, campaign)
            .and_then(|()| std::fs::rename(partial, &file))
            .context("can't write a campaign's file")?;
        Ok(self.client.reload(true).await?)
    }

    pub(super) async fn feed(&mut self, line: Option<&str>) -> anyhow::Result<()> {
        let Some(line) = line else { return Ok(()) };
        let written = self.input.write_all(format!("{line}\n").as_bytes()).await;
        if written.is_err() {
            bail!("the local engine has ended:\n{}", self.last_words());
        }
        Ok(self.input.flush().await?)
    }

    /// What has been decided since the last time.
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
            Some(status) => bail!("the local engine has ended ({status}):\n{}", self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.root.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

fn key(decision: &Decision) -> (String, String) {
    (decision.event_id.clone(), decision.campaign.clone())
}
