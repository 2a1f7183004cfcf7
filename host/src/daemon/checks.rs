//! Checks of what a start needs, without starting: the rules directory, the brokers, and the
//! objects on them.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::address_space::{AddressSpace, NEXT_STEP};
use super::stage::EngineStage;
use super::topology::{parts, runtime};
use crate::address::BrokerAddress;
use crate::config::Config;
use crate::engine::{RuleSet, Sandbox};
use crate::health::Health;
use crate::recording::Recording;
use crate::reload::{LoadReport, Owner, POLICIES_NAME, Problem, ReloadError, digest_shown};
use crate::topology::{Found, Topology};

/// One thing that was checked, and the result.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The subject of the check: `rules`, `broker amqp://…`.
    pub subject: String,
    /// The facts that were found.
    pub detail: String,
    pub level: Level,
    /// The action to take; `None` when all is well.
    pub next_step: Option<String>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// The engine works with this, but it may not be intended.
    Warning,
    /// A start fails, or may fail, because of this.
    Problem,
}

impl Finding {
    #[must_use]
    pub fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Finding {
        Finding {
            subject: subject.into(),
            detail: detail.into(),
            level: Level::Ok,
            next_step: None,
        }
    }

    #[must_use]
    pub fn problem(
        subject: impl Into<String>,
        detail: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Finding {
        Finding {
            level: Level::Problem,
            next_step: Some(next_step.into()),
            ..Finding::ok(subject, detail)
        }
    }

    #[must_use]
    pub fn warning(
        subject: impl Into<String>,
        detail: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Finding {
        Finding { level: Level::Warning, ..Finding::problem(subject, detail, next_step) }
    }

    /// A problem if there is a next step, else a finding without one.
    fn with_next_step(
        subject: String,
        detail: String,
        next_step: Option<impl Into<String>>,
    ) -> Finding {
        match next_step {
            Some(next_step) => Finding::problem(subject, detail, next_step),
            None => Finding::ok(subject, detail),
        }
    }
}

/// Loads the rules directory as a first start would, into a temporary data directory, and returns
/// the findings.
#[must_use]
pub fn check_rules(config: &Config) -> Vec<Finding> {
    let subject = format!("rules {}", config.rules.display());
    let place = |problem: &Problem| match problem.line {
        Some(line) => format!("rules {}:{line}", problem.file),
        None => format!("rules {}", problem.file),
    };
    let finding = |problem: Problem| {
        let place = place(&problem);
        Finding::problem(place, problem.reason, problem.hint)
    };
    match load_aside(config) {
        Ok(report) => {
            let mut findings: Vec<Finding> = report.problems.into_iter().map(finding).collect();
            findings.extend(report.warnings.into_iter().map(|warning| {
                let place = place(&warning);
                Finding::warning(place, warning.reason, warning.hint)
            }));
            let detail = match report.added.len() {
                0 => "no campaign was loaded".to_owned(),
                _ => format!("these campaigns were loaded: {}", report.added.join(", ")),
            };
            findings.push(Finding::ok(subject, detail));
            let policies = report.policies_digest.map(|digest| {
                let detail = format!("policies {}", digest_shown(&digest));
                Finding::ok(format!("rules {POLICIES_NAME}.toml"), detail)
            });
            findings.extend(policies);
            findings
        }
        Err(error) => match error.downcast_ref() {
            Some(ReloadError::Policies { problems, .. }) => {
                problems.iter().cloned().map(finding).collect()
            }
            _ => vec![Finding::problem(subject, format!("{error:#}"), "run `hailer doctor`")],
        },
    }
}

/// Loads the rules of a directory as a first start would, to try them without an engine.
///
/// # Errors
/// When one campaign does not load, because a user who tries rules expects all of them.
pub fn load_rules(config: &Config, sandbox: &Arc<Sandbox>) -> anyhow::Result<Arc<RuleSet>> {
    let (rules, report) = load_into(config, sandbox)?;
    let Some(first) = report.problems.first() else { return Ok(rules) };
    let line = first.line.map(|line| format!(":{line}")).unwrap_or_default();
    let more = match report.problems.len() {
        1 => String::new(),
        several => {
            format!(
                "; and {} more problems: run `hailer check --no-broker --rules {}`",
                several - 1,
                config.rules.display()
            )
        }
    };
    anyhow::bail!(
        "{}/{}{line}: {}: {}{more}",
        config.rules.display(),
        first.file,
        first.reason,
        first.hint
    )
}

fn load_aside(config: &Config) -> anyhow::Result<LoadReport> {
    Ok(load_into(config, &Sandbox::new(config.limits.clone())?)?.1)
}

/// Loads the rules into a temporary data directory.
fn load_into(
    config: &Config,
    sandbox: &Arc<Sandbox>,
) -> anyhow::Result<(Arc<RuleSet>, LoadReport)> {
    let aside =
        tempfile::tempdir().context("cannot create a temporary directory to load the rules")?;
    let config = Config { data: aside.path().to_owned(), ..config.clone() };
    let current = Arc::new(ArcSwap::from_pointee(RuleSet::empty()));
    let stage = EngineStage::open(&config, Arc::clone(sandbox), Arc::clone(&current))?;
    let (_owner, report) = Owner::open(&config, stage, Health::default(), None)?;
    Ok((current.load_full(), report))
}

/// Checks the directory of the recording; `None` if nothing is recorded. Creates nothing.
#[must_use]
pub fn check_recording(config: &Config) -> Option<Finding> {
    let directory = config.record.dir.as_ref()?;
    let subject = format!("recording {}", directory.display());
    Some(match Recording::look_at(directory) {
        Ok(true) => Finding::ok(subject, "writable and private"),
        Ok(false) => Finding::ok(subject, "does not exist yet; `hailer run` creates it"),
        Err(error) => {
            let next_step = "set `record.dir` to a directory that only the engine's user can \
                read, or leave \
                    it out";
            Finding::problem(subject, error.source.to_string(), next_step)
        }
    })
}

/// Checks whether the instances of this number of campaigns fit into the engine's process.
#[must_use]
pub fn check_address_space(config: &Config, campaigns: usize) -> Finding {
    let checked = AddressSpace::of_this_process().check(
        super::shards_of(config),
        campaigns,
        config.limits.instances_max,
    );
    let next_step = checked.is_err().then_some(NEXT_STEP);
    let (Ok(detail) | Err(detail)) = checked;
    Finding::with_next_step("address space".to_owned(), detail, next_step)
}

/// Asks the brokers of the configuration for everything that a start needs. Nothing is consumed or
/// created. `is_consumed` says that an engine of this data directory consumes the queue already: a
/// restart replaces its consumer.
#[must_use]
pub fn check_broker(config: &Config, is_consumed: bool) -> Vec<Finding> {
    let unusable = |error: anyhow::Error| {
        let next_step = "start the broker, or correct the address, user or TLS files";
        Finding::problem("broker", format!("{error:#}"), next_step)
    };
    let parts = match parts(config, None) {
        Ok(parts) => parts,
        Err(error) => return vec![unusable(error)],
    };
    let inspected = |(address, topology): (BrokerAddress, Topology)| {
        inspect(config, &address, &topology, is_consumed)
            .unwrap_or_else(|error| vec![unusable(error)])
    };
    parts.into_iter().flat_map(inspected).collect()
}

/// AMQP's code for an action that the user is not permitted to do.
const ACCESS_REFUSED: u16 = 403;

fn inspect(
    config: &Config,
    address: &BrokerAddress,
    topology: &Topology,
    is_consumed: bool,
) -> anyhow::Result<Vec<Finding>> {
    let inspected = runtime()?.block_on(topology.inspect(address))?;
    let queue_in = format!("queue {}", config.rabbitmq.queue);
    let finding = |item: crate::topology::Inspected| {
        let (detail, next_step) = match item.found {
            Ok(Found::Exchange) => ("exists".to_owned(), None),
            Ok(Found::Queue { messages, consumers, single_active }) => {
                let is_read = item.name == queue_in;
                let own = u32::from(is_read && is_consumed && consumers > 0);
                let is_contested =
                    is_read && consumers > own && !config.rabbitmq.take_over && !single_active;
                let next_step = "events would be split: bind a queue of your own (`hailer \
                    topology`), or use --take-over";
                let whose = match (is_read, own, single_active) {
                    (true, 1, _) => ", the running engine's among them",
                    (true, 0, true) if consumers > 0 => ", so an engine would be a standby",
                    _ => "",
                };
                (
                    format!("exists, {messages} messages, {consumers} consumers{whose}"),
                    is_contested.then(|| next_step.to_owned()),
                )
            }
            Ok(Found::Allowed) => ("the user is permitted".to_owned(), None),
            Ok(Found::Stream) => (
                "is a stream, which keeps consumed messages".to_owned(),
                Some(
                    "consume a queue of your own (`hailer topology`); `hailer replay` reads a \
                        stream"
                        .to_owned(),
                ),
            ),
            Err(error) if error.has_code(ACCESS_REFUSED) => (
                error.to_string(),
                Some(
                    "give the engine's user the permissions at the end of `hailer topology --print`"
                        .to_owned(),
                ),
            ),
            Err(error) => (error.to_string(), Some("compare it with `hailer topology \
                --print`".to_owned())),
        };
        Finding::with_next_step(format!("broker {address}: {}", item.name), detail, next_step)
    };
    Ok(inspected.into_iter().map(finding).collect())
}
