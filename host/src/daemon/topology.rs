//! The objects that the configuration needs in RabbitMQ: printed, or created by an operator's
//! command. The engine itself declares nothing.

use anyhow::Context as _;

use crate::address::{Address, BrokerAddress};
use crate::config::Config;
use crate::topology::{OwnQueue, RecordedStream, StreamRetention, Topology};

/// The placeholder in a permissions line for an unknown user.
const ENGINE_USER: &str = "ENGINE_USER";

/// Optional objects beside those that an engine needs. Each is bound to the exchange to which the
/// source publishes.
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionalObjects<'a> {
    /// The exchange for a queue of the engine's own.
    pub own_queue_on: Option<&'a str>,
    /// The exchange for a stream that keeps every event.
    pub record_on: Option<&'a str>,
}

/// The objects that the configuration needs in RabbitMQ.
#[derive(Debug)]
pub struct TopologyReport {
    /// The report as text, or as definitions that RabbitMQ imports.
    pub text: String,
    /// The objects that `apply` did not change or could not create, one sentence each.
    pub problems: Vec<String>,
}

/// Returns the objects that the configuration needs in RabbitMQ, and creates them if `apply` is
/// true. Two brokers get a part each, under their addresses. The permissions are for `engine_user`.
/// If it is `None`, they are for the user in the address. With `apply` that user is an
/// administrator, so a placeholder is used instead.
///
/// # Errors
/// When a broker cannot be reached.
pub fn topology(
    config: &Config,
    optional: &OptionalObjects<'_>,
    engine_user: Option<&str>,
    apply: bool,
    as_json: bool,
) -> anyhow::Result<TopologyReport> {
    let mut parts = parts(config, optional.own_queue_on.map(OwnQueue::on).as_ref())?;
    // The broker of the source is first.
    let Some((_, of_source)) = parts.first_mut() else {
        anyhow::bail!("neither source nor sink is a broker: add --source amqp://USER@HOST/");
    };
    if let Some(exchange) = optional.record_on {
        let retention =
            StreamRetention { days: config.record.days, bytes_max: config.record.bytes_max };
        let stream = RecordedStream { exchange: exchange.to_owned(), retention };
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
    let definitions = |(address, topology): &(BrokerAddress, Topology)| {
        topology.to_definitions(address.virtual_host())
    };
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

/// The brokers of the configuration and the objects on each: one broker has all of them, two share
/// them.
pub(super) fn parts(
    config: &Config,
    own_queue: Option<&OwnQueue>,
) -> anyhow::Result<Vec<(BrokerAddress, Topology)>> {
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

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a thread to connect to the broker")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(source: &str, sink: &str) -> Config {
        Config { source: source.into(), sink: sink.into(), ..Config::default() }
    }

    #[test]
    fn two_brokers_need_one_part_each_and_one_broker_needs_both() {
        let parts = parts(&config("amqp://u@in/", "amqp://u@out/"), None).unwrap();
        let [(_, source), (_, sink)] = &parts[..] else { panic!("{parts:?}") };
        assert!(
            source.exchanges.is_empty() && source.queues[0].name == "hailer.deadletter",
            "{source:?}"
        );
        assert!(
            sink.reads.is_empty() && sink.queues[0].name == "smc.communications.unrouted",
            "{sink:?}"
        );
        for (source, sink) in
            [("amqp://u@one/", "amqp://u@one/"), ("amqp://u@one/", "-"), ("-", "amqp://u@one/")]
        {
            let parts = super::parts(&config(source, sink), None).unwrap();
            let [(_, whole)] = &parts[..] else { panic!("{parts:?}") };
            assert_eq!((whole.exchanges.len(), whole.queues.len()), (2, 2));
        }
    }

    #[test]
    fn definitions_of_two_brokers_are_under_their_addresses_those_of_one_are_not() {
        let definitions = |source: &str, sink: &str| -> serde_json::Value {
            let report =
                topology(&config(source, sink), &OptionalObjects::default(), None, false, true)
                    .unwrap();
            serde_json::from_str(&report.text).unwrap()
        };
        let both = definitions("amqp://u:secret@in/", "amqp://u:secret@out/");
        let names: Vec<_> = both.as_object().unwrap().keys().collect();
        assert_eq!(names, ["amqp://u@in:5672", "amqp://u@out:5672"]);
        assert_eq!(both["amqp://u@in:5672"]["queues"][0]["name"], "hailer.deadletter");
        assert_eq!(definitions("amqp://u@one/", "-")["queues"][1]["name"], "hailer.deadletter");
    }
}
