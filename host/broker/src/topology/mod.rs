//! The exchanges and queues that the engine needs in RabbitMQ, described once. `hailer topology`
//! prints the description for the broker's operators, or creates everything with `--apply`. The
//! engine itself declares nothing, so it can run with the least permissions.
//!
//! - The topic exchange for communications. Its alternate exchange routes a communication that no
//!   binding takes to a queue, where an operator can look at it, instead of dropping it.
//! - The queue for dead letters.
//! - On request, a queue for the engine's own events, bound to the source's exchange. SMC consumes
//!   the queue that Loymax's plugin makes, and two consumers of one queue would split the events
//!   between them. The engine's queue has a single active consumer. An exchange marks that, because
//!   the broker shows a queue's arguments only to a user who may declare it.
//! - On request, a stream that keeps every event for some time, for replays. The engine does not
//!   use it.
//!
//! The virtual host's default decides the queue type. A queue for events names the dead-letter
//! queue as its dead-letter route, because a quorum queue would otherwise drop a message after too
//! many deliveries.

mod apply;
mod inspect;
mod print;

pub use apply::{Applied, TopologyError};
pub use inspect::{Found, Inspected};

use hailer_abi::catalogue;

use crate::RabbitMqConfig;

/// Exchanges, queues and bindings, and the permissions that the engine's user needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub exchanges: Vec<Exchange>,
    pub queues: Vec<Queue>,
    pub bindings: Vec<Binding>,
    /// The exchanges to which the engine publishes; `amq.default` is the default exchange.
    pub writes: Vec<String>,
    /// The queues that the engine consumes.
    pub reads: Vec<String>,
}

/// One durable exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub name: String,
    pub kind: Kind,
    /// The exchange for messages that no binding takes; `None` if the broker drops them.
    pub alternate: Option<String>,
    /// The purpose of the exchange, as `hailer topology` prints it.
    pub purpose: &'static str,
}

/// The type of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Topic,
    Fanout,
}

/// One durable queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    /// The queue for messages that the broker dead-letters; `None` if it drops them.
    pub dead_letters_to: Option<String>,
    /// True if the broker delivers to one consumer at a time; a second engine is a standby.
    pub single_active: bool,
    /// The retention of a stream; `None` if the queue is no stream.
    pub retention: Option<StreamRetention>,
    /// The purpose of the queue, as `hailer topology` prints it.
    pub purpose: &'static str,
}

/// The retention of a stream: days and total bytes. The limit that is reached first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRetention {
    pub days: u64,
    pub bytes_max: u64,
}

/// One binding of a queue to an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub exchange: String,
    pub queue: String,
    pub routing_key: String,
}

/// A stream that gets every event, for replays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedStream {
    /// The exchange to which the source publishes; it must exist.
    pub exchange: String,
    pub retention: StreamRetention,
}

/// A queue for the engine's own events; its name is the setting `rabbitmq.queue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnQueue {
    /// The exchange to which the source publishes; it must exist.
    pub exchange: String,
    /// The routing keys with which the queue is bound to the exchange.
    pub routing_keys: Vec<String>,
}

impl OwnQueue {
    /// A queue that is bound with every routing key of the catalogue.
    #[must_use]
    pub fn on(exchange: &str) -> OwnQueue {
        OwnQueue { exchange: exchange.to_owned(), routing_keys: routing_keys() }
    }
}

/// The routing keys of the catalogue, unchanged. One of them starts with a Cyrillic `с` (U+0441),
/// which looks like a Latin `c`. The variant with a Latin `c` is in the list, too.
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
    /// The topology that an engine with this configuration needs if its source and its sink are on
    /// one broker.
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

    /// The topology for the broker of events: the queue for dead letters, which stay on the broker
    /// that they came from, and the engine's own queue.
    #[must_use]
    pub fn of_source(config: &RabbitMqConfig, own_queue: Option<&OwnQueue>) -> Topology {
        let RabbitMqConfig { deadletter_queue, queue, .. } = config;
        let mut topology = Topology {
            exchanges: Vec::new(),
            queues: vec![Queue {
                name: deadletter_queue.clone(),
                dead_letters_to: None,
                single_active: false,
                retention: None,
                purpose: "events that cannot be read, with the reason in a header",
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
                retention: None,
                purpose: "events for the engine alone",
            });
            let bound = |key: &String| Binding {
                exchange: exchange.clone(),
                queue: queue.clone(),
                routing_key: key.clone(),
            };
            topology.bindings.extend(routing_keys.iter().map(bound));
        }
        topology
    }

    /// Adds a stream that gets every event, bound with every routing key of the catalogue.
    #[must_use]
    pub fn with_stream(mut self, config: &RabbitMqConfig, stream: &RecordedStream) -> Topology {
        let RecordedStream { exchange, retention } = stream;
        let name = format!("{}.recorded", config.queue);
        let bound =
            |routing_key| Binding { exchange: exchange.clone(), queue: name.clone(), routing_key };
        self.bindings.extend(routing_keys().into_iter().map(bound));
        self.reads.push(name.clone());
        let purpose = "every event, for replays";
        let queue = Queue {
            name,
            dead_letters_to: None,
            single_active: false,
            retention: Some(*retention),
            purpose,
        };
        self.queues.push(queue);
        self
    }

    /// The topology for the broker of communications.
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
                retention: None,
                purpose: "communications that no binding took",
            }],
            bindings: vec![Binding {
                exchange: unrouted.clone(),
                queue: unrouted,
                routing_key: String::new(),
            }],
            writes: vec![exchange.clone()],
            reads: Vec::new(),
        }
    }
}

impl StreamRetention {
    /// The size of a segment file, in bytes. A stream deletes whole segments only, so a segment is
    /// small compared with the stream: a sixteenth, between 1 MiB and 500 MB.
    pub fn segment_bytes(self) -> u64 {
        (self.bytes_max / 16).clamp(1 << 20, 500_000_000)
    }

    /// The retention time in RabbitMQ's notation, for example `14D`.
    pub fn age(self) -> String {
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
