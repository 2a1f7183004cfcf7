//! What a start would find, without a start: the rules' directory, the brokers, and what they need.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::address_space::{AddressSpace, NEXT_STEP};
use super::stage::EngineStage;
use crate::address::{Address, BrokerAddress};
use crate::config::Config;
use crate::engine::{RuleSet, Sandbox};
use crate::health::Health;
use crate::recording::Recording;
use crate::reload::{LoadReport, Owner, Problem};
use crate::topology::{Found, Kept, OwnQueue, RecordedStream, Topology};

/// One thing that was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: `rules`, `broker amqp://…`.
    pub subject: String,
    /// What is so.
    pub detail: String,
    pub level: Level,
    /// What to do about it; absent when all is well.
    pub next_step: Option<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, and may not be meant.
    Warning,
    /// It keeps a start from working, or puts it at risk.
    Problem,
}

impl Finding {
    #[must_use]
    pub fn well(subject: impl Into<String>, detail: impl Into<String>) -> Finding {
        Finding { subject: subject.into(), detail: detail.into(), level: Level::Ok, next_step: None }
    }

    #[must_use]
    pub fn problem(subject: impl Into<String>, detail: impl Into<String>, next_step: impl Into<String>) -> Finding {
        Finding { level: Level::Problem, next_step: Some(next_step.into()), ..Finding::well(subject, detail) }
    }

    #[must_use]
    pub fn warning(subject: impl Into<String>, detail: impl Into<String>, next_step: impl Into<String>) -> Finding {
        Finding { level: Level::Warning, ..Finding::problem(subject, detail, next_step) }
    }

    /// A problem if there is a next step.
    fn judged(subject: String, detail: String, next_step: Option<impl Into<String>>) -> Finding {
        match next_step {
            Some(next_step) => Finding::problem(subject, detail, next_step),
            None => Finding::well(subject, detail),
        }
    }
}

/// Loads the rules' directory as a first start would, into a data directory that is thrown away, and says what came of
/// it.
#[must_use]
pub fn check_rules(config: &Config) -> Vec<Finding> {
    let subject = format!("rules {}", config.rules.display());
    match load_aside(config) {
        Ok(report) => {
            let place = |problem: &Problem| match problem.line {
                Some(line) => format!("rules {}:{line}", problem.file),
                None => format!("rules {}", problem.file),
            };
            let problems = report.problems.into_iter().map(|problem| {
                let place = place(&problem);
                Finding::problem(place, problem.reason, problem.hint)
            });
            let mut findings: Vec<Finding> = problems.collect();
            findings.extend(report.warnings.into_iter().map(|warning| {
                let place = place(&warning);
                Finding::warning(place, warning.reason, warning.hint)
            }));
            let detail = match report.added.len() {
                0 => "no campaign loads".to_owned(),
                _ => format!("these campaigns load: {}", report.added.join(", ")),
            };
            findings.push(Finding::well(subject, detail));
            findings
        }
        Err(error) => vec![Finding::problem(subject, format!("{error:#}"), "see `hailer doctor`")],
    }
}

/// The rules of a directory, as a first start would load them, for whoever wants to try them without an engine.
///
/// # Errors
/// When a campaign does not load: whoever tries rules means all of them.
pub fn load_rules(config: &Config, sandbox: &Arc<Sandbox>) -> anyhow::Result<Arc<RuleSet>> {
    let (rules, report) = load_into(config, sandbox)?;
    let Some(first) = report.problems.first() else { return Ok(rules) };
    let line = first.line.map(|line| format!(":{line}")).unwrap_or_default();
    let more = match report.problems.len() {
        1 => String::new(),
        several => {
            format!("; and {} more, see `hailer check --no-broker --rules {}`", several - 1, config.rules.display())
        }
    };
    anyhow::bail!("{}/{}{line}: {}: {}{more}", config.rules.display(), first.file, first.reason, first.hint)
}

fn load_aside(config: &Config) -> anyhow::Result<LoadReport> {
    Ok(load_into(config, &Sandbox::new(config.limits.clone())?)?.1)
}

/// Loads into a data directory that is thrown away.
fn load_into(config: &Config, sandbox: &Arc<Sandbox>) -> anyhow::Result<(Arc<RuleSet>, LoadReport)> {
    let aside = tempfile::tempdir().context("no place to load the rules aside")?;
    let config = Config { data: aside.path().to_owned(), ..config.clone() };
    let current = Arc::new(ArcSwap::from_pointee(RuleSet::empty()));
    let stage = EngineStage::open(&config, Arc::clone(sandbox), Arc::clone(&current))?;
    let (_owner, report) = Owner::open(&config, stage, Health::default(), None)?;
    Ok((current.load_full(), report))
}

/// Whether what is consumed could be recorded; nothing to say if nobody wants it. Nothing is made.
#[must_use]
pub fn check_recording(config: &Config) -> Option<Finding> {
    let directory = config.record.dir.as_ref()?;
    let subject = format!("recording {}", directory.display());
    Some(match Recording::look_at(directory) {
        Ok(true) => Finding::well(subject, "writable and private"),
        Ok(false) => Finding::well(subject, "not there yet; `hailer run` makes it"),
        Err(error) => {
            let next_step = "let `record.dir` be a directory of the engine's user alone, or leave it out";
            Finding::problem(subject, error.source.to_string(), next_step)
        }
    })
}

/// Whether guests of so many campaigns fit into a process of the engine.
#[must_use]
pub fn check_address_space(config: &Config, campaigns: usize) -> Finding {
    let checked = AddressSpace::of_this_process().check(super::shards_of(config), campaigns);
    let next_step = checked.is_err().then_some(NEXT_STEP);
    let (Ok(detail) | Err(detail)) = checked;
    Finding::judged("address space".to_owned(), detail, next_step)
}

/// Asks the brokers that the configuration names for what a start would need of them. Nothing is consumed or made.
/// `is_consumed` says that an engine of this data directory consumes the queue: a restart replaces its consumer.
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
        inspect(config, &address, &topology, is_consumed).unwrap_or_else(|error| vec![unusable(error)])
    };
    parts.into_iter().flat_map(inspected).collect()
}

/// AMQP's code for what the user may not do.
const ACCESS_REFUSED: u16 = 403;

fn inspect(
    config: &Config,
    address: &BrokerAddress,
    topology: &Topology,
    is_consumed: bool,
) -> anyhow::Result<Vec<Finding>> {
    let standings = runtime()?.block_on(topology.inspect(address))?;
    let queue_in = format!("queue {}", config.rabbitmq.queue);
    let finding = |standing: crate::topology::Standing| {
        let (detail, next_step) = match standing.found {
            Ok(Found::Exchange) => ("is there".to_owned(), None),
            Ok(Found::Queue { messages, consumers, single_active }) => {
                let is_read = standing.what == queue_in;
                let own = u32::from(is_read && is_consumed && consumers > 0);
                let is_contested = is_read && consumers > own && !config.rabbitmq.take_over && !single_active;
                let next_step = "events would be split: bind a queue of your own, `hailer topology`, or `--take-over`";
                let whose = match (is_read, own, single_active) {
                    (true, 1, _) => ", the running engine's among them",
                    (true, 0, true) if consumers > 0 => ", so an engine would stand by",
                    _ => "",
                };
                (
                    format!("is there, {messages} messages, {consumers} consumers{whose}"),
                    is_contested.then(|| next_step.to_owned()),
                )
            }
            Ok(Found::Allowed) => ("the user may".to_owned(), None),
            Ok(Found::Stream) => (
                "is a stream, and streams forget nothing that is consumed".to_owned(),
                Some("consume a queue of your own (`hailer topology`); `hailer replay` reads a stream".to_owned()),
            ),
            Err(error) if error.has_code(ACCESS_REFUSED) => (
                error.to_string(),
                Some("give the engine's user the permissions that `hailer topology --print` ends with".to_owned()),
            ),
            Err(error) => (error.to_string(), Some("see `hailer topology --print`".to_owned())),
        };
        Finding::judged(format!("broker {address}: {}", standing.what), detail, next_step)
    };
    Ok(standings.into_iter().map(finding).collect())
}

/// Stands in a permissions line for a user that is not known.
const ENGINE_USER: &str = "ENGINE_USER";

/// What an operator wants beside what an engine needs; exchanges that the source publishes to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// A queue of the engine's own.
    pub own_queue_on: Option<&'a str>,
    /// A stream that keeps every event.
    pub record_on: Option<&'a str>,
}

/// What the configuration needs of RabbitMQ.
#[derive(Debug)]
pub struct TopologyReport {
    /// As people read it, or as definitions that RabbitMQ imports.
    pub text: String,
    /// What `apply` left alone or could not make, a sentence each.
    pub problems: Vec<String>,
}

/// What the configuration needs of RabbitMQ; made as well, if `apply`. Two brokers get a part each, under their addresses.
/// The permissions are for `engine_user`. If it is `None`, the address names the user, except for `apply`: its address is
/// an administrator's.
///
/// # Errors
/// When a broker can't be reached.
pub fn topology(
    config: &Config,
    beside: &Beside<'_>,
    engine_user: Option<&str>,
    apply: bool,
    as_json: bool,
) -> anyhow::Result<TopologyReport> {
    let mut parts = parts(config, beside.own_queue_on.map(OwnQueue::on).as_ref())?;
    // The broker of events stands first.
    let Some((_, of_source)) = parts.first_mut() else {
        anyhow::bail!("neither source nor sink is a broker: give --source amqp://USER@HOST/");
    };
    if let Some(exchange) = beside.record_on {
        let keeps = Kept { days: config.record.days, bytes_max: config.record.bytes_max };
        let stream = RecordedStream { exchange: exchange.to_owned(), keeps };
        *of_source = of_source.clone().with_stream(&config.rabbitmq, &stream);
    }
    let mut problems = Vec::new();
    if apply {
        for (address, topology) in &parts {
            let applied = runtime()?.block_on(topology.apply(address))?;
            let on = if parts.len() > 1 { format!("on {address}: ") } else { String::new() };
            let all = applied.left_alone.into_iter().chain(applied.failed);
            problems.extend(all.map(|problem| format!("{on}{problem}")));
        }
    }
    let definitions = |(address, topology): &(BrokerAddress, Topology)| topology.to_definitions(address.virtual_host());
    let text = |(address, topology): &(BrokerAddress, Topology)| {
        let user = match engine_user {
            Some(user) => user,
            None if apply => ENGINE_USER,
            None => address.user(),
        };
        let permissions = topology.to_permissions(user, address.virtual_host());
        format!("{topology}least permissions of the engine's user: {permissions}\n")
    };
    let text = match &parts[..] {
        [one] if as_json => format!("{:#}\n", definitions(one)),
        [one] => text(one),
        several if as_json => {
            let of_each = several.iter().map(|part| (part.0.to_string(), definitions(part)));
            format!("{:#}\n", serde_json::Value::Object(of_each.collect()))
        }
        several => several.iter().map(|part| format!("on {}\n{}", part.0, text(part))).collect(),
    };
    Ok(TopologyReport { text, problems })
}

/// The brokers that the configuration names, and what the engine needs of each: one has it all, two share it.
fn parts(config: &Config, own_queue: Option<&OwnQueue>) -> anyhow::Result<Vec<(BrokerAddress, Topology)>> {
    let broker = |end: &str| -> anyhow::Result<Option<BrokerAddress>> {
        Ok(match Address::new(end, &config.rabbitmq)? {
            Address::RabbitMq(address) => Some(*address),
            _ => None,
        })
    };
    let whole = || Topology::new(&config.rabbitmq, own_queue);
    Ok(match (broker(&config.source)?, broker(&config.sink)?) {
        (Some(source), Some(sink)) if config.source != config.sink => vec![
            (source, Topology::of_source(&config.rabbitmq, own_queue)),
            (sink, Topology::of_sink(&config.rabbitmq)),
        ],
        (Some(one), _) | (None, Some(one)) => vec![(one, whole())],
        (None, None) => Vec::new(),
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no thread to ask the broker from")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(source: &str, sink: &str) -> Config {
        Config { source: source.into(), sink: sink.into(), ..Config::default() }
    }

    #[test]
    fn two_brokers_need_a_part_each_and_one_needs_both() {
        let parts = parts(&config("amqp://u@in/", "amqp://u@out/"), None).unwrap();
        let [(_, source), (_, sink)] = &parts[..] else { panic!("{parts:?}") };
        assert!(source.exchanges.is_empty() && source.queues[0].name == "hailer.deadletter", "{source:?}");
        assert!(sink.reads.is_empty() && sink.queues[0].name == "smc.communications.unrouted", "{sink:?}");
        for (source, sink) in [("amqp://u@one/", "amqp://u@one/"), ("amqp://u@one/", "-"), ("-", "amqp://u@one/")] {
            let parts = super::parts(&config(source, sink), None).unwrap();
            let [(_, whole)] = &parts[..] else { panic!("{parts:?}") };
            assert_eq!((whole.exchanges.len(), whole.queues.len()), (2, 2));
        }
    }

    #[test]
    fn definitions_of_two_brokers_stand_under_their_addresses_and_of_one_by_themselves() {
        let definitions = |source: &str, sink: &str| -> serde_json::Value {
            let report = topology(&config(source, sink), &Beside::default(), None, false, true).unwrap();
            serde_json::from_str(&report.text).unwrap()
        };
        let both = definitions("amqp://u:secret@in/", "amqp://u:secret@out/");
        let names: Vec<_> = both.as_object().unwrap().keys().collect();
        assert_eq!(names, ["amqp://u@in:5672", "amqp://u@out:5672"]);
        assert_eq!(both["amqp://u@in:5672"]["queues"][0]["name"], "hailer.deadletter");
        assert_eq!(definitions("amqp://u@one/", "-")["queues"][1]["name"], "hailer.deadletter");
    }
}
