//! `hailer doctor`: checks everything that an engine on this machine needs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use hailer_abi::wire::Channel;

use super::settings::{Global, SettingFlags};
use super::{DONE, EXIT_CODES, FAILED, engine, logging, output, store_access, toolchain};
use crate::address::redacted;
use crate::clock;
use crate::config::{Config, ConfigError, Exposed, Purpose};
use crate::control::{Client, ControlError, EngineStatus, check_data_directory};
use crate::daemon::{self, Finding, Level};
use crate::explain::{self, KnownConsents};
use crate::policies::{Channels, NamedChannel};
use crate::reload::{POLICIES_NAME, StatedRules};
use crate::store::{self, Store};

const NO_ENGINE: &str = "no engine runs with this data directory";

/// Find out what this machine lacks to run Hailer, and what to do about it
///
/// Checks the toolchain for building rules, the configuration, the socket and the machine's clock.
/// Warns if the policies need consents of which none is known.
/// Checks the directories of rules, data and recordings, and their free space. Checks the address
/// space that the sandbox reserves, and everything that a start needs of the broker. Changes
/// nothing.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:\n  hailer doctor\n  hailer doctor --config \
    /etc/hailer/hailer.toml --json\n\n{EXIT_CODES}"))]
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
                findings.push(Finding::ok("configuration", "every setting is valid"));
                let secret = |exposed: Exposed| {
                    let subject = format!("secret {}", exposed.setting);
                    Finding::problem(&subject, exposed.reason(), exposed.next_step())
                };
                findings.extend(loaded.exposed().into_iter().map(secret));
                loaded.config
            }
            Err(error) => {
                let Some(ConfigError { problems }) = error.downcast_ref() else {
                    return Err(error);
                };
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
        findings.extend(consents(&config, is_stopped)?);
        findings.push(daemon::check_address_space(&config, campaigns_in(&config.rules)));
        findings.extend(daemon::check_broker(&config, is_consumed_by_engine(&config)?));
        show(&findings, global.json)
    }
}

/// Prints the findings. The exit code says whether one of them is a problem.
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
            let next_step =
                next_step.as_ref().map(|step| format!("         → {step}\n")).unwrap_or_default();
            format!("{level:<7}  {subject}: {detail}\n{next_step}")
        };
        output::data(&findings.iter().map(line).collect::<String>())?;
    }
    Ok(if findings.iter().all(|finding| finding.level != Level::Problem) { DONE } else { FAILED })
}

fn rules(config: &Config) -> Finding {
    let subject = format!("rules {}", config.rules.display());
    match std::fs::read_dir(&config.rules) {
        Err(error) => Finding::problem(
            &subject,
            error.to_string(),
            "create the directory, or name another with --rules",
        ),
        Ok(entries) => {
            let named = entries.filter_map(Result::ok).map(|entry| entry.path());
            let (modules, others): (Vec<_>, Vec<_>) =
                named.partition(|path| has_extension(path, "wasm"));
            let is_campaign_file = |path: &&PathBuf| {
                has_extension(path, "toml")
                    && path.file_stem().is_none_or(|stem| stem != POLICIES_NAME)
            };
            let campaigns = others.iter().filter(is_campaign_file).count();
            let modules = modules.len() + modules_below(&config.rules.join("modules"));
            let detail = format!(
                "readable, {campaigns} campaign files and {modules} modules; `hailer check` loads \
                 them"
            );
            Finding::ok(&subject, detail)
        }
    }
}

fn data(data: &Path) -> Finding {
    let subject = format!("data {}", data.display());
    let metadata = match std::fs::metadata(data) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::ok(&subject, "does not exist yet; `hailer run` creates it");
        }
        Err(error) => {
            return Finding::problem(
                &subject,
                error.to_string(),
                "give the engine's user read access to the directory",
            );
        }
    };
    if !metadata.is_dir() {
        return Finding::problem(&subject, "not a directory", "name a directory with --data");
    }
    if rustix::fs::access(data, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err()
    {
        return Finding::problem(
            &subject,
            "not writable",
            "give the engine's user write access to the directory",
        );
    }
    if let Err(error) = check_data_directory(data) {
        return Finding::problem(
            &subject,
            "another user owns it or can write to it, so `hailer run` refuses it",
            error.to_string(),
        );
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let next_step = format!("remove the access of other users: chmod o= {}", data.display());
        return Finding::problem(
            &subject,
            format!("open to every user of this machine (mode {mode:o})"),
            next_step,
        );
    }
    Finding::ok(&subject, "writable and private")
}

/// Compares the machine's clock with the time in the store of a stopped engine. A running engine
/// reports a wrong clock among its problems. `None` if no store can be read.
fn clock(config: &Config) -> Option<Finding> {
    let directory = config.store_dir().unwrap_or_else(|| config.default_store_dir());
    if !store::is_there(&directory) {
        return None;
    }
    let store = store_access::open(config, &directory).ok()?;
    let snapshot = Store::snapshot(&store).ok()?;
    let doubt = explain::doubt_of(&explain::progress(&*snapshot).ok()?, clock::reading());
    Some(match doubt {
        None => Finding::ok("clock", "the machine's clock agrees with the engine's time"),
        Some(doubt) => Finding::problem(
            "clock",
            doubt.to_string(),
            "`hailer store clock` shows both clocks; with --accept it settles the doubt",
        ),
    })
}

/// Warns of channels on which nobody would be written to: the policies refuse a customer of whom no
/// consent is known, and the store knows no consent at all. `None` if the policies refuse no
/// channel, or neither an engine nor a store can say.
fn consents(config: &Config, is_stopped: bool) -> anyhow::Result<Option<Finding>> {
    let stated = StatedRules::read(&config.rules, config.limits.module_bytes_max);
    let policies = stated.ok().and_then(|stated| stated.policies);
    let Some(consent) = policies.and_then(|policies| policies.consent) else { return Ok(None) };
    let is_refused = |channel: &Channel| !consent.allowed_unknown.contains(*channel);
    let refused: Channels = Channel::ALL.into_iter().filter(is_refused).collect();
    let known = if is_stopped {
        known_in_store(config)
    } else {
        engine::wait(Client::new(&config.data).known_consents())?.ok()
    };
    let Some(KnownConsents { channels, is_whole }) = known else { return Ok(None) };
    let is_known = |channel: &Channel| channels.contains(&NamedChannel(*channel));
    let missing: Vec<&str> =
        refused.iter().filter(|one| !is_known(one)).map(Channel::name).collect();
    let subject = format!("policies {POLICIES_NAME}.toml");
    Ok(match missing.is_empty() {
        _ if refused.iter().next().is_none() => None,
        true => Some(Finding::ok(subject, "consents are known for each channel that needs one")),
        // Consents may stand in the rows that were not read.
        false if !is_whole => None,
        false => Some(Finding::warning(
            subject,
            format!(
                "`unknown` says \"refuse\" for {}, and no consent to that is known of any \
                 customer: no message would be sent there",
                missing.join(", ")
            ),
            "import the consents of your customers with `hailer consent import FILE`; the engine \
             itself records those that events state",
        )),
    })
}

fn known_in_store(config: &Config) -> Option<KnownConsents> {
    let directory = config.store_dir().unwrap_or_else(|| config.default_store_dir());
    if !store::is_there(&directory) {
        return None;
    }
    let store = store_access::open(config, &directory).ok()?;
    explain::known_consents(&*Store::snapshot(&store).ok()?).ok()
}

fn socket(config: &Config) -> anyhow::Result<Finding> {
    Ok(match engine::wait(Client::new(&config.data).status())? {
        Ok(status) if status.problems.is_empty() => Finding::ok(
            "engine",
            format!("version {} runs as process {}, and is ready", status.version, status.pid),
        ),
        Ok(status) => {
            let problems: Vec<_> =
                status.problems.iter().map(|(room, why)| format!("{room}: {why}")).collect();
            let detail = format!(
                "version {} runs as process {}, and has problems",
                status.version, status.pid
            );
            Finding::problem("engine", detail, problems.join("; "))
        }
        Err(ControlError::NoEngine { .. }) => Finding::ok("engine", NO_ENGINE),
        Err(error) => Finding::problem(
            "engine",
            error.to_string(),
            "run the command as the user of the engine",
        ),
    })
}

/// Whether an engine runs with this data directory and consumes from this source.
pub(super) fn is_consumed_by_engine(config: &Config) -> anyhow::Result<bool> {
    let status = engine::wait(Client::new(&config.data).status())?;
    let consumes = |status: EngineStatus| {
        let is_idle =
            status.problems.contains_key("source") || status.standbys.contains_key("source");
        let is_same_queue = status.queue.is_none_or(|queue| queue == config.rabbitmq.queue);
        status.source == redacted(&config.source) && is_same_queue && !is_idle
    };
    Ok(status.is_ok_and(consumes))
}

/// The number of campaigns. A module that a campaign file names is counted twice, so the number may
/// be too large, never too small.
fn campaigns_in(rules: &Path) -> usize {
    let entries = std::fs::read_dir(rules).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| {
            has_extension(&entry.path(), "toml") || has_extension(&entry.path(), "wasm")
        })
        .count()
}

fn modules_below(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| has_extension(&entry.path(), "wasm")).count()
}

fn has_extension(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension == ending)
}
