//! What the engine needs to find in RabbitMQ, described once: to be printed for whoever looks after the broker, or
//! made by `hailer topology --apply`. The engine itself declares nothing, so that it runs with the least permissions.
//!
//! - The topic exchange for communications, with an alternate exchange: what no binding takes ends up in a queue to be
//!   looked at, instead of nowhere.
//! - The queue for dead letters.
//! - If asked for, a queue of the engine's own for events, bound to the source's exchange. SMC consumes the queue that
//!   Loymax's plugin makes, and two consumers of one queue split the events between them. The queue has a single active
//!   consumer, and an exchange beside it marks that: the broker shows a queue's arguments only to a user who may declare it.
//! - If asked for, a stream queue that keeps every event for a while, for replays. The engine has no part in it.
//!
//! Queue types are left to the virtual host's default. A queue of events names the dead-letter queue as its dead-letter
//! route, because a quorum queue that redelivers too often would drop the message otherwise.

mod apply;
mod inspect;
mod print;

pub use apply::{Applied, TopologyError};
pub use inspect::{Found, Standing};

use hailer_abi::catalogue;

use crate::config::RabbitMqConfig;

/// Exchanges, queues and bindings, and what a user needs to work with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub exchanges: Vec<Exchange>,
    pub queues: Vec<Queue>,
    pub bindings: Vec<Binding>,
    /// What the engine publishes to; `amq.default` stands for the default exchange.
    pub writes: Vec<String>,
    /// What the engine consumes.
    pub reads: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub name: String,
    pub kind: Kind,
    pub alternate: Option<String>,
    pub purpose: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Topic,
    Fanout,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    /// The queue that takes what the broker would drop.
    pub dead_letters_to: Option<String>,
    /// The broker delivers to one consumer at a time, and a second engine stands by.
    pub single_active: bool,
    /// It is a stream, and keeps so much.
    pub keeps: Option<Kept>,
    pub purpose: &'static str,
}

/// How long a stream keeps messages, and how many bytes of them at most: whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub days: u64,
    pub bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub exchange: String,
    pub queue: String,
    pub routing_key: String,
}

/// A stream queue that is given every event, to be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedStream {
    /// The exchange that the source publishes to; it must be there.
    pub exchange: String,
    pub keeps: Kept,
}

/// A queue of the engine's own for events; its name is `rabbitmq.queue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnQueue {
    /// The exchange that the source publishes to; it must be there.
    pub exchange: String,
    pub routing_keys: Vec<String>,
}

impl OwnQueue {
    /// Bound with every routing key of the catalogue.
    #[must_use]
    pub fn on(exchange: &str) -> OwnQueue {
        OwnQueue { exchange: exchange.to_owned(), routing_keys: routing_keys() }
    }
}

/// The routing keys of the catalogue, to the letter: one of them starts with a Cyrillic `с` (U+0441), so it is also
/// given as somebody would type it who did not see that.
#[must_use]
pub fn routing_keys() -> Vec<String> {
    let mut keys = Vec::new();
    for event in catalogue::EVENTS {
        for key in [event.routing_key.to_owned(), event.routing_key.replace('\u{441}', "c")] {
            if !key.is_empty() && !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

impl Topology {
    /// What an engine with this configuration needs, if its source and its sink are one broker.
    #[must_use]
    pub fn new(config: &RabbitMqConfig, own_queue: Option<&OwnQueue>) -> Topology {
        let mut topology = Topology::of_sink(config);
        let source = Topology::of_source(config, own_queue);
        topology.exchanges.extend(source.exchanges);
        topology.queues.extend(source.queues);
        topology.bindings.extend(source.bindings);
        topology.writes.extend(source.writes);
        topology.reads.extend(source.reads);
        topology
    }

    /// What the broker of events needs: the queue for dead letters, which stay on the broker that they came from, and
    /// the engine's own queue.
    #[must_use]
    pub fn of_source(config: &RabbitMqConfig, own_queue: Option<&OwnQueue>) -> Topology {
        let RabbitMqConfig { deadletter_queue, queue, .. } = config;
        let mut topology = Topology {
            exchanges: Vec::new(),
            queues: vec![Queue {
                name: deadletter_queue.clone(),
                dead_letters_to: None,
                single_active: false,
                keeps: None,
                purpose: "events that can't be read, the reason in their headers",
            }],
            bindings: Vec::new(),
            writes: vec!["amq.default".to_owned()],
            reads: vec![queue.clone()],
        };
        if let Some(OwnQueue { exchange, routing_keys }) = own_queue {
            let dead_letters_to = Some(deadletter_queue.clone());
            topology.queues.push(Queue {
                name: queue.clone(),
                dead_letters_to,
                single_active: true,
                keeps: None,
                purpose: "events for the engine alone",
            });
            let bound =
                |key: &String| Binding { exchange: exchange.clone(), queue: queue.clone(), routing_key: key.clone() };
            topology.bindings.extend(routing_keys.iter().map(bound));
        }
        topology
    }

    /// With a stream beside the queue of events, bound with every routing key of the catalogue.
    #[must_use]
    pub fn with_stream(mut self, config: &RabbitMqConfig, stream: &RecordedStream) -> Topology {
        let RecordedStream { exchange, keeps } = stream;
        let name = format!("{}.recorded", config.queue);
        let bound = |routing_key| Binding { exchange: exchange.clone(), queue: name.clone(), routing_key };
        self.bindings.extend(routing_keys().into_iter().map(bound));
        self.reads.push(name.clone());
        let purpose = "every event, to be replayed";
        let queue = Queue { name, dead_letters_to: None, single_active: false, keeps: Some(*keeps), purpose };
        self.queues.push(queue);
        self
    }

    /// What the broker of communications needs.
    #[must_use]
    pub fn of_sink(config: &RabbitMqConfig) -> Topology {
        let exchange = &config.exchange;
        let unrouted = format!("{exchange}.unrouted");
        Topology {
            exchanges: vec![
                Exchange {
                    name: unrouted.clone(),
                    kind: Kind::Fanout,
                    alternate: None,
                    purpose: "takes communications that no binding takes",
                },
                Exchange {
                    name: exchange.clone(),
                    kind: Kind::Topic,
                    alternate: Some(unrouted.clone()),
                    purpose: "communications, with the key communication.CHANNEL.CAMPAIGN",
                },
            ],
            queues: vec![Queue {
                name: unrouted.clone(),
                dead_letters_to: None,
                single_active: false,
                keeps: None,
                purpose: "communications that no binding took",
            }],
            bindings: vec![Binding { exchange: unrouted.clone(), queue: unrouted, routing_key: String::new() }],
            writes: vec![exchange.clone()],
            reads: Vec::new(),
        }
    }
}

impl Kept {
    /// A stream forgets by whole segments, so these are small beside all that it keeps.
    pub(crate) fn segment_bytes(self) -> u64 {
        (self.bytes_max / 16).clamp(1 << 20, 500_000_000)
    }

    /// As RabbitMQ writes it.
    pub(crate) fn age(self) -> String {
        format!("{}D", self.days)
    }
}

impl Kind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Topic => "topic",
            Kind::Fanout => "fanout",
        }
    }
}
