//! A topology for people, for `rabbitmqctl import_definitions`, and as the commands that grant the least permissions.

use std::fmt;

use serde_json::{Value, json};

use super::{Binding, Exchange, Kept, Queue, Topology};
use crate::broker::single_active_mark;

impl Topology {
    /// The same as RabbitMQ exports and imports it.
    #[must_use]
    pub fn to_definitions(&self, virtual_host: &str) -> Value {
        let exchange = |Exchange { name, kind, alternate, .. }: &Exchange| {
            let arguments = alternate.as_ref().map_or_else(|| json!({}), |name| json!({ "alternate-exchange": name }));
            json!({ "name": name, "vhost": virtual_host, "type": kind.name(), "durable": true, "auto_delete": false,
                    "internal": false, "arguments": arguments })
        };
        let queue = |Queue { name, dead_letters_to, single_active, keeps, .. }: &Queue| {
            let mut arguments = match (dead_letters_to, keeps) {
                (Some(to), _) => json!({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": to }),
                (None, Some(keeps)) => json!({ "x-queue-type": "stream", "x-max-age": keeps.age(),
                    "x-max-length-bytes": keeps.bytes_max, "x-stream-max-segment-size-bytes": keeps.segment_bytes() }),
                (None, None) => json!({}),
            };
            if *single_active {
                arguments["x-single-active-consumer"] = json!(true);
            }
            json!({ "name": name, "vhost": virtual_host, "durable": true, "auto_delete": false, "arguments": arguments })
        };
        // An import does not say whether a queue that is there has other arguments, so it marks none.
        let binding = |Binding { exchange, queue, routing_key }: &Binding| {
            json!({ "source": exchange, "vhost": virtual_host, "destination": queue, "destination_type": "queue",
                    "routing_key": routing_key, "arguments": {} })
        };
        json!({
            "exchanges": self.exchanges.iter().map(exchange).collect::<Vec<_>>(),
            "queues": self.queues.iter().map(queue).collect::<Vec<_>>(),
            "bindings": self.bindings.iter().map(binding).collect::<Vec<_>>(),
        })
    }

    /// The command that lets `user` do what the engine does, and nothing else: it declares nothing, publishes to its
    /// exchange and (for dead letters) to the default one, and consumes its queue.
    #[must_use]
    pub fn to_permissions(&self, user: &str, virtual_host: &str) -> String {
        let one_of =
            |names: &[String]| format!("^({})$", names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join("|"));
        let arguments = [virtual_host, user, "^$", &one_of(&self.writes), &one_of(&self.reads)].map(quoted);
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
        for Queue { name, dead_letters_to, single_active, keeps, purpose } in &self.queues {
            write!(formatter, "queue {name} (durable")?;
            if *single_active {
                write!(formatter, ", a single active consumer, marked by the exchange {}", single_active_mark(name))?;
            }
            if let Some(to) = dead_letters_to {
                write!(formatter, ", what the broker would drop goes to {to}")?;
            }
            if let Some(Kept { days, bytes_max }) = keeps {
                write!(formatter, ", a stream that keeps {days} days and at most {bytes_max} bytes")?;
            }
            writeln!(formatter, "): {purpose}")?;
        }
        for Binding { exchange, queue, routing_key } in &self.bindings {
            write!(formatter, "binding {exchange} -> {queue}, key `{routing_key}`")?;
            if !routing_key.is_ascii() {
                // What can't be told apart by eye is spelt out.
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

/// A name as a regular expression that matches it alone.
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

/// An argument as a shell reads it.
fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::super::{OwnQueue, RecordedStream};
    use super::*;
    use crate::config::RabbitMqConfig;

    fn topology() -> Topology {
        let keys = ["customer.card.link", "сustomer.card.changeCategory"].map(str::to_owned).to_vec();
        let own = OwnQueue { exchange: "loymax".to_owned(), routing_keys: keys };
        let config = RabbitMqConfig { queue: "hailer.events".to_owned(), ..RabbitMqConfig::default() };
        Topology::new(&config, Some(&own))
    }

    #[test]
    fn the_text_tells_letters_apart_that_look_alike() {
        insta::assert_snapshot!(topology().to_string(), @r"
        exchange smc.communications.unrouted (fanout, durable): takes communications that no binding takes
        exchange smc.communications (topic, durable, alternate exchange smc.communications.unrouted): communications, with the key communication.CHANNEL.CAMPAIGN
        queue smc.communications.unrouted (durable): communications that no binding took
        queue hailer.deadletter (durable): events that can't be read, the reason in their headers
        queue hailer.events (durable, a single active consumer, marked by the exchange hailer.events.single-active-consumer, what the broker would drop goes to hailer.deadletter): events for the engine alone
        binding smc.communications.unrouted -> smc.communications.unrouted, key ``
        binding loymax -> hailer.events, key `customer.card.link`
        binding loymax -> hailer.events, key `сustomer.card.changeCategory` (U+0441 ustomer.card.changeCategory)
        ");
    }

    #[test]
    fn a_stream_for_replays_says_how_much_it_keeps() {
        let config = RabbitMqConfig { queue: "hailer.events".to_owned(), ..RabbitMqConfig::default() };
        let keeps = Kept { days: 14, bytes_max: 10 << 30 };
        let topology = Topology::of_source(&config, None)
            .with_stream(&config, &RecordedStream { exchange: "loymax".to_owned(), keeps });
        let text = topology.to_string();
        for part in [
            "queue hailer.events.recorded (durable, a stream that keeps 14 days and at most 10737418240 bytes): every event, to be replayed\n",
            "binding loymax -> hailer.events.recorded, key `customer.card.link`\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(topology.to_permissions("u", "/").ends_with(r"'^(hailer\.events|hailer\.events\.recorded)$'"));
        let arguments = &topology.to_definitions("/")["queues"][1]["arguments"];
        let expected = json!({ "x-queue-type": "stream", "x-max-age": "14D", "x-max-length-bytes": 10_737_418_240_u64,
            "x-stream-max-segment-size-bytes": 500_000_000 });
        assert_eq!(*arguments, expected);
    }

    #[test]
    fn definitions_say_the_same() {
        let definitions = topology().to_definitions("/");
        assert_eq!(definitions["exchanges"][1]["arguments"]["alternate-exchange"], "smc.communications.unrouted");
        assert_eq!(definitions["queues"][2]["arguments"]["x-dead-letter-routing-key"], "hailer.deadletter");
        assert_eq!(definitions["queues"][2]["arguments"]["x-single-active-consumer"], true);
        assert_eq!(definitions["bindings"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn permissions_name_exactly_what_is_used_and_survive_a_shell() {
        assert_eq!(
            topology().to_permissions("o'hara", "/"),
            r"rabbitmqctl set_permissions -p '/' 'o'\''hara' '^$' '^(smc\.communications|amq\.default)$' '^(hailer\.events)$'"
        );
    }
}
