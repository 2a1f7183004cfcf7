//! `hailer doctor`: what stands between this machine and a running engine.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Args;

use super::settings::{Global, SettingFlags};
use super::{DONE, EXIT_CODES, FAILED, engine, logging, output, reading, toolchain};
use crate::address::redacted;
use crate::clock;
use crate::config::{Config, ConfigError, Exposed, Purpose};
use crate::control::{Client, ControlError, EngineStatus, check_data_directory};
use crate::daemon::{self, Finding, Level};
use crate::store::{self, Store};
use crate::story;

const NO_ENGINE: &str = "none runs with this data directory";

/// Find out what is missing on this machine, and what to do about it
///
/// Looks at the toolchain for building rules, the configuration, the directories of rules, data and recordings, their free space, the socket, the
/// address space that the sandbox reserves, the machine's clock, and what a start needs of the broker. Changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer doctor\n  hailer doctor --config /etc/hailer/hailer.toml --json\n\n{EXIT_CODES}"))]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: SettingFlags,
}

impl Doctor {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_beside_findings()?;
        let mut findings = vec![toolchain::finding()];
        let config = match global.load(Purpose::Ask, &self.settings) {
            Ok(loaded) => {
                findings.push(Finding::well("configuration", "every setting is valid"));
                let secret = |exposed: Exposed| {
                    let subject = format!("secret {}", exposed.setting);
                    Finding::problem(&subject, exposed.reason(), exposed.next_step())
                };
                findings.extend(loaded.exposed().into_iter().map(secret));
                loaded.config
            }
            Err(error) => {
                let Some(ConfigError { problems }) = error.downcast_ref() else { return Err(error) };
                for problem in problems {
                    let subject = format!("configuration {}", problem.setting);
                    let detail = format!("{} ({})", problem.reason, problem.origin);
                    findings.push(Finding::problem(&subject, detail, problem.next_step.clone()));
                }
                return show(&findings, global.json);
            }
        };
        findings.push(rules(&config));
        findings.push(data(&config.data));
        findings.extend(daemon::check_disk(&config));
        findings.extend(daemon::check_recording(&config));
        let engine = socket(&config)?;
        let is_stopped = engine.next_step.is_none() && engine.detail == NO_ENGINE;
        findings.push(engine);
        findings.extend(is_stopped.then(|| clock(&config)).flatten());
        findings.push(daemon::check_address_space(&config, campaigns_in(&config.rules)));
        findings.extend(daemon::check_broker(&config, is_consumed_by_engine(&config)?));
        show(&findings, global.json)
    }
}

/// Prints findings; the exit code says whether any is a problem.
pub(super) fn show(findings: &[Finding], json: bool) -> anyhow::Result<u8> {
    if json {
        output::json(&findings)?;
    } else {
        let line = |Finding { subject, detail, level, next_step }: &Finding| {
            let level = match level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Problem => "PROBLEM",
            };
            let next_step = next_step.as_ref().map(|step| format!("         → {step}\n")).unwrap_or_default();
            format!("{level:<7}  {subject}: {detail}\n{next_step}")
        };
        output::data(&findings.iter().map(line).collect::<String>())?;
    }
    Ok(if findings.iter().all(|finding| finding.level != Level::Problem) { DONE } else { FAILED })
}

fn rules(config: &Config) -> Finding {
    let subject = format!("rules {}", config.rules.display());
    match std::fs::read_dir(&config.rules) {
        Err(error) => Finding::problem(&subject, error.to_string(), "make the directory, or name another with --rules"),
        Ok(entries) => {
            let named = entries.filter_map(Result::ok).map(|entry| entry.path());
            let (modules, others): (Vec<_>, Vec<_>) = named.partition(|path| is(path, "wasm"));
            let campaigns = others.iter().filter(|path| is(path, "toml")).count();
            let modules = modules.len() + modules_below(&config.rules.join("modules"));
            let detail =
                format!("readable, {campaigns} campaign files and {modules} modules; `hailer check` loads them");
            Finding::well(&subject, detail)
        }
    }
}

fn data(data: &Path) -> Finding {
    let subject = format!("data {}", data.display());
    let metadata = match std::fs::metadata(data) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::well(&subject, "not there yet; `hailer run` makes it");
        }
        Err(error) => return Finding::problem(&subject, error.to_string(), "let the engine's user read the directory"),
    };
    if !metadata.is_dir() {
        return Finding::problem(&subject, "not a directory", "name a directory with --data");
    }
    if rustix::fs::access(data, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() {
        return Finding::problem(&subject, "not writable", "let the engine's user write to the directory");
    }
    if let Err(error) = check_data_directory(data) {
        return Finding::problem(&subject, "not the engine's alone, so `hailer run` refuses it", error.to_string());
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let next_step = format!("take the others' rights away: chmod o= {}", data.display());
        return Finding::problem(&subject, format!("open to every user of this machine (mode {mode:o})"), next_step);
    }
    Finding::well(&subject, "writable and private")
}

/// The machine's clock, beside the time of a stopped engine. A running one has its clock among its problems. `None` if there is no store that can be read.
fn clock(config: &Config) -> Option<Finding> {
    let directory = config.store_dir().unwrap_or_else(|| config.default_store_dir());
    if !store::is_there(&directory) {
        return None;
    }
    let store = reading::open(config, &directory).ok()?;
    let snapshot = Store::snapshot(&store).ok()?;
    let doubt = story::doubt_of(&story::progress(&*snapshot).ok()?, clock::reading());
    Some(match doubt {
        None => Finding::well("clock", "the machine's clock agrees with the engine's time"),
        Some(doubt) => {
            Finding::problem("clock", doubt.to_string(), "`hailer store clock` shows both clocks, and settles it")
        }
    })
}

fn socket(config: &Config) -> anyhow::Result<Finding> {
    Ok(match engine::wait(Client::new(&config.data).status())? {
        Ok(status) if status.problems.is_empty() => {
            Finding::well("engine", format!("version {} runs as process {}, and is ready", status.version, status.pid))
        }
        Ok(status) => {
            let problems: Vec<_> = status.problems.iter().map(|(room, why)| format!("{room}: {why}")).collect();
            let detail = format!("version {} runs as process {}, and has problems", status.version, status.pid);
            Finding::problem("engine", detail, problems.join("; "))
        }
        Err(ControlError::NoEngine { .. }) => Finding::well("engine", NO_ENGINE),
        Err(error) => {
            Finding::problem("engine", error.to_string(), "see that commands and engine run as the same user")
        }
    })
}

/// Whether an engine runs with this data directory, and consumes from this source.
pub(super) fn is_consumed_by_engine(config: &Config) -> anyhow::Result<bool> {
    let status = engine::wait(Client::new(&config.data).status())?;
    let consumes = |status: EngineStatus| {
        let is_idle = status.problems.contains_key("source") || status.standbys.contains_key("source");
        let is_same_queue = status.queue.is_none_or(|queue| queue == config.rabbitmq.queue);
        status.source == redacted(&config.source) && is_same_queue && !is_idle
    };
    Ok(status.is_ok_and(consumes))
}

/// A bare module that a campaign file names is counted twice: at worst the sum is too large.
fn campaigns_in(rules: &Path) -> usize {
    let entries = std::fs::read_dir(rules).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| is(&entry.path(), "toml") || is(&entry.path(), "wasm")).count()
}

fn modules_below(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| is(&entry.path(), "wasm")).count()
}

fn is(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension == ending)
}
