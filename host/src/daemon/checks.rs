//! What a start would find, without a start: the rules' directory, the brokers, and what they need.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::stage::EngineStage;
use crate::address::{Address, BrokerAddress};
use crate::config::Config;
use crate::engine::{RuleSet, Sandbox};
use crate::health::Health;
use crate::reload::{LoadReport, Owner};
use crate::topology::{Found, OwnQueue, Topology};

/// One thing that was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: `rules`, `broker amqp://…`.
    pub subject: String,
    /// What is so.
    pub detail: String,
    /// What to do about it; absent when all is well.
    pub next_step: Option<String>,
}

/// Loads the rules' directory as a first start would, into a data directory that is thrown away, and says what came of
/// it.
#[must_use]
pub fn check_rules(config: &Config) -> Vec<Finding> {
    let subject = format!("rules {}", config.rules.display());
    match load_aside(config) {
        Ok(report) => {
            let mut findings: Vec<Finding> = report
                .problems
                .into_iter()
                .map(|problem| Finding {
                    subject: match problem.line {
                        Some(line) => format!("rules {}:{line}", problem.file),
                        None => format!("rules {}", problem.file),
                    },
                    detail: problem.reason,
                    next_step: Some(problem.hint),
                })
                .collect();
            let detail = match report.added.len() {
                0 => "no campaign loads".to_owned(),
                _ => format!("these campaigns load: {}", report.added.join(", ")),
            };
            findings.push(Finding { subject, detail, next_step: None });
            findings
        }
        Err(error) => {
            let next_step = Some("see `hailer doctor`".into());
            vec![Finding { subject, detail: format!("{error:#}"), next_step }]
        }
    }
}

fn load_aside(config: &Config) -> anyhow::Result<LoadReport> {
    let aside = tempfile::tempdir().context("no place to load the rules aside")?;
    let config = Config { data: aside.path().to_owned(), ..config.clone() };
    let sandbox = Sandbox::new(config.limits.clone())?;
    let stage = EngineStage::open(&config, sandbox, Arc::new(ArcSwap::from_pointee(RuleSet::empty())))?;
    let (_owner, report) = Owner::open(&config, stage, Health::default())?;
    Ok(report)
}

/// Asks the brokers that the configuration names for what a start would need of them. Nothing is consumed or made.
#[must_use]
pub fn check_broker(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in brokers(config) {
        match address.and_then(|address| inspect(config, &address)) {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(Finding {
                subject: "broker".into(),
                detail: format!("{error:#}"),
                next_step: Some("start the broker, or correct the address, user or TLS files".into()),
            }),
        }
    }
    findings
}

fn inspect(config: &Config, address: &BrokerAddress) -> anyhow::Result<Vec<Finding>> {
    let topology = Topology::new(&config.rabbitmq, None);
    let standings = runtime()?.block_on(topology.inspect(address))?;
    let queue_in = format!("queue {}", config.rabbitmq.queue);
    let finding = |standing: crate::topology::Standing| {
        let (detail, next_step) = match standing.found {
            Ok(Found::Exchange) => ("is there".to_owned(), None),
            Ok(Found::Queue { messages, consumers }) => {
                let contested = standing.what == queue_in && consumers > 0 && !config.rabbitmq.take_over;
                let next_step = "events would be split: bind a queue of your own, `hailer topology`, or `--take-over`";
                (
                    format!("is there, {messages} messages, {consumers} consumers"),
                    contested.then(|| next_step.to_owned()),
                )
            }
            Err(error) => (error.to_string(), Some("see `hailer topology --print`".to_owned())),
        };
        Finding { subject: format!("broker {address}: {}", standing.what), detail, next_step }
    };
    Ok(standings.into_iter().map(finding).collect())
}

/// What the configuration needs of RabbitMQ, as people read it, or as definitions that RabbitMQ imports; made as well,
/// if `apply`.
///
/// # Errors
/// When the broker can't be reached, or refuses.
pub fn topology(config: &Config, own_queue_on: Option<&str>, apply: bool, as_json: bool) -> anyhow::Result<String> {
    let address = match brokers(config).into_iter().next() {
        Some(address) => address?,
        None => anyhow::bail!("neither source nor sink is a broker: give --source amqp://USER@HOST/"),
    };
    let own_queue = own_queue_on.map(OwnQueue::on);
    let topology = Topology::new(&config.rabbitmq, own_queue.as_ref());
    if apply {
        runtime()?.block_on(topology.apply(&address))?;
    }
    if as_json {
        return Ok(format!("{:#}\n", topology.to_definitions(address.virtual_host())));
    }
    let permissions = topology.to_permissions(address.user(), address.virtual_host());
    Ok(format!("{topology}least permissions: {permissions}\n"))
}

/// The brokers that the configuration names, each once.
fn brokers(config: &Config) -> Vec<anyhow::Result<BrokerAddress>> {
    let mut ends = vec![&config.source];
    if config.sink != config.source {
        ends.push(&config.sink);
    }
    let broker = |end: &String| match Address::new(end, &config.rabbitmq) {
        Ok(Address::RabbitMq(address)) => Some(Ok(*address)),
        Ok(_) => None,
        Err(error) => Some(Err(error.into())),
    };
    ends.into_iter().filter_map(broker).collect()
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no thread to ask the broker from")
}
