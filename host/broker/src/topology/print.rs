//! Prints a topology as text, as definitions for `rabbitmqctl import_definitions`, and as the
//! command that grants the least permissions.

use std::fmt;

use serde_json::{Value, json};

use super::{Binding, Exchange, Queue, StreamRetention, Topology};
use crate::connection::single_active_mark;

impl Topology {
    /// The topology in the format of RabbitMQ's definitions export and import.
    #[must_use]
    pub fn to_definitions(&self, virtual_host: &str) -> Value {
        let exchange = |Exchange { name, kind, alternate, .. }: &Exchange| {
            let arguments = alternate
                .as_ref()
                .map_or_else(|| json!({}), |name| json!({ "alternate-exchange": name }));
            json!({ "name": name, "vhost": virtual_host, "type": kind.name(), "durable": true,
                    "auto_delete": false, "internal": false, "arguments": arguments })
        };
        let queue = |Queue { name, dead_letters_to, single_active, retention, .. }: &Queue| {
            let mut arguments = match (dead_letters_to, retention) {
                (Some(to), _) => {
                    json!({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": to })
                }
                (None, Some(retention)) => {
                    json!({ "x-queue-type": "stream", "x-max-age": retention.age(),
                    "x-max-length-bytes": retention.bytes_max,
                    "x-stream-max-segment-size-bytes": retention.segment_bytes() })
                }
                (None, None) => json!({}),
            };
            if *single_active {
                arguments["x-single-active-consumer"] = json!(true);
            }
            json!({ "name": name, "vhost": virtual_host, "durable": true, "auto_delete": false,
                    "arguments": arguments })
        };
        // The exchange that marks a single active consumer is left out: an import does not report
        // whether an existing queue has other arguments, so the mark could be wrong.
        let binding = |Binding { exchange, queue, routing_key }: &Binding| {
            json!({ "source": exchange, "vhost": virtual_host, "destination": queue,
                    "destination_type": "queue", "routing_key": routing_key, "arguments": {} })
        };
        json!({
            "exchanges": self.exchanges.iter().map(exchange).collect::<Vec<_>>(),
            "queues": self.queues.iter().map(queue).collect::<Vec<_>>(),
            "bindings": self.bindings.iter().map(binding).collect::<Vec<_>>(),
        })
    }

    /// The command that grants `user` only the permissions that the engine needs. The engine
    /// declares nothing, publishes to its exchange and (for dead letters) to the default one, and
    /// consumes its queue.
    #[must_use]
    pub fn to_permissions(&self, user: &str, virtual_host: &str) -> String {
        let one_of = |names: &[String]| {
            format!("^({})$", names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join("|"))
        };
        let arguments =
            [virtual_host, user, "^$", &one_of(&self.writes), &one_of(&self.reads)].map(quoted);
        format!("rabbitmqctl set_permissions -p {}", arguments.join(" "))
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Exchange { name, kind, alternate, purpose } in &self.exchanges {
            write!(formatter, "exchange {name} ({}, durable", kind.name())?;
            if let Some(alternate) = alternate {
                write!(formatter, ", alternate exchange {alternate}")?;
            }
            writeln!(formatter, "): {purpose}")?;
        }
        for Queue { name, dead_letters_to, single_active, retention, purpose } in &self.queues {
            write!(formatter, "queue {name} (durable")?;
            if *single_active {
                write!(
                    formatter,
                    ", a single active consumer, marked by the exchange {}",
                    single_active_mark(name)
                )?;
            }
            if let Some(to) = dead_letters_to {
                write!(formatter, ", dead-letters to {to}")?;
            }
            if let Some(StreamRetention { days, bytes_max }) = retention {
                write!(
                    formatter,
                    ", a stream that keeps {days} days and at most {bytes_max} bytes"
                )?;
            }
            writeln!(formatter, "): {purpose}")?;
        }
        for Binding { exchange, queue, routing_key } in &self.bindings {
            write!(formatter, "binding {exchange} -> {queue}, key `{routing_key}`")?;
            if !routing_key.is_ascii() {
                // Characters that look like ASCII letters are written as code points.
                write!(formatter, " ({})", spelt_out(routing_key))?;
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

fn spelt_out(text: &str) -> String {
    let spell = |character: char| match character.is_ascii() {
        true => character.to_string(),
        false => format!("U+{:04X} ", u32::from(character)),
    };
    text.chars().map(spell).collect()
}

/// A regular expression that matches exactly this name.
fn escaped(name: &str) -> String {
    let mut pattern = String::new();
    for character in name.chars() {
        if character.is_ascii_punctuation() && !matches!(character, '-' | '_') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// An argument in single quotes for a shell.
fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::super::{OwnQueue, RecordedStream};
    use super::*;
    use crate::RabbitMqConfig;

    fn topology() -> Topology {
        let keys =
            ["customer.card.link", "сustomer.card.changeCategory"].map(str::to_owned).to_vec();
        let own = OwnQueue { exchange: "loymax".to_owned(), routing_keys: keys };
        let config =
            RabbitMqConfig { queue: "hailer.events".to_owned(), ..RabbitMqConfig::default() };
        Topology::new(&config, Some(&own))
    }

    #[test]
    fn the_text_distinguishes_letters_that_look_alike() {
        // One part a line, so that the lines stay short.
        let text = topology().to_string().replace(", ", ",\n  ").replace("): ", "):\n  ");
        insta::assert_snapshot!(text, @r"
        exchange smc.communications.unrouted (fanout,
          durable):
          takes communications that no binding takes
        exchange smc.communications (topic,
          durable,
          alternate exchange smc.communications.unrouted):
          communications,
          with the key communication.CHANNEL.CAMPAIGN
        queue smc.communications.unrouted (durable):
          communications that no binding took
        queue hailer.deadletter (durable):
          events that cannot be read,
          with the reason in a header
        queue hailer.events (durable,
          a single active consumer,
          marked by the exchange hailer.events.single-active-consumer,
          dead-letters to hailer.deadletter):
          events for the engine alone
        binding smc.communications.unrouted -> smc.communications.unrouted,
          key ``
        binding loymax -> hailer.events,
          key `customer.card.link`
        binding loymax -> hailer.events,
          key `сustomer.card.changeCategory` (U+0441 ustomer.card.changeCategory)
        ");
    }

    #[test]
    fn a_stream_is_printed_with_its_retention() {
        let config =
            RabbitMqConfig { queue: "hailer.events".to_owned(), ..RabbitMqConfig::default() };
        let retention = StreamRetention { days: 14, bytes_max: 10 << 30 };
        let topology = Topology::of_source(&config, None)
            .with_stream(&config, &RecordedStream { exchange: "loymax".to_owned(), retention });
        let text = topology.to_string();
        for part in [
            "queue hailer.events.recorded (durable, a stream that keeps 14 days and at most \
             10737418240 bytes): every event, for replays\n",
            "binding loymax -> hailer.events.recorded, key `customer.card.link`\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(
            topology
                .to_permissions("u", "/")
                .ends_with(r"'^(hailer\.events|hailer\.events\.recorded)$'")
        );
        let arguments = &topology.to_definitions("/")["queues"][1]["arguments"];
        let expected = json!({ "x-queue-type": "stream", "x-max-age": "14D",
            "x-max-length-bytes": 10_737_418_240_u64,
            "x-stream-max-segment-size-bytes": 500_000_000 });
        assert_eq!(*arguments, expected);
    }

    #[test]
    fn the_definitions_have_the_same_topology() {
        let definitions = topology().to_definitions("/");
        assert_eq!(
            definitions["exchanges"][1]["arguments"]["alternate-exchange"],
            "smc.communications.unrouted"
        );
        assert_eq!(
            definitions["queues"][2]["arguments"]["x-dead-letter-routing-key"],
            "hailer.deadletter"
        );
        assert_eq!(definitions["queues"][2]["arguments"]["x-single-active-consumer"], true);
        assert_eq!(definitions["bindings"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn permissions_are_exact_and_quoted_for_a_shell() {
        assert_eq!(
            topology().to_permissions("o'hara", "/"),
            concat!(
                r"rabbitmqctl set_permissions -p '/' 'o'\''hara' '^$' ",
                r"'^(smc\.communications|amq\.default)$' '^(hailer\.events)$'"
            )
        );
    }
}
