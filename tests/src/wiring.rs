//! The queues and the exchange of one engine. Each test uses names of its own, so that tests can
//! share a node.

use lapin::types::AMQPValue;
use serde_json::Value;

use crate::broker::{Broker, Client, Message};
use crate::engine::Engine;
use crate::wait;

/// The most engines that are started to handle what is in a queue.
const STARTS_MAX: usize = 10;

/// The broker objects of one engine, and a client that inspects them.
pub struct Wiring {
    pub client: Client,
    pub address: String,
    /// The queue that the engine consumes.
    pub events: String,
    /// The exchange that it publishes to.
    pub exchange: String,
    /// The queue of dead letters.
    pub letters: String,
    /// A queue that receives everything published to the exchange.
    pub out: String,
}

impl Wiring {
    /// Chooses the names and declares nothing.
    pub async fn named(broker: &Broker, name: &str) -> Wiring {
        let queue = |what: &str| format!("{name}.{what}");
        Wiring {
            client: Client::connect(broker).await,
            address: broker.patient_address(),
            events: queue("events"),
            exchange: queue("communications"),
            letters: queue("deadletters"),
            out: queue("out"),
        }
    }

    /// Declares and binds all objects, with classic queues.
    pub async fn new(broker: &Broker, name: &str) -> Wiring {
        Wiring::named(broker, name).await.declared(&[]).await
    }

    /// Declares and binds all objects, with quorum queues.
    pub async fn of_quorum_queues(broker: &Broker, name: &str) -> Wiring {
        let quorum = AMQPValue::LongString("quorum".into());
        Wiring::named(broker, name).await.declared(&[("x-queue-type", quorum)]).await
    }

    async fn declared(self, arguments: &[(&str, AMQPValue)]) -> Wiring {
        for queue in [&self.events, &self.letters, &self.out] {
            self.client.queue_with(queue, arguments).await;
        }
        self.client.exchange(&self.exchange, &[]).await;
        self.client.bind(&self.out, &self.exchange, "#").await;
        self
    }

    /// Declares `out` and binds it to the exchange.
    pub async fn bind_out(&self) {
        self.client.queue(&self.out).await;
        self.client.bind(&self.out, &self.exchange, "#").await;
    }

    /// The flags that connect an engine to these objects.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            "--source".to_owned(),
            self.address.clone(),
            "--sink".to_owned(),
            self.address.clone(),
        ];
        let names = [
            ("queue", &self.events),
            ("exchange", &self.exchange),
            ("deadletter_queue", &self.letters),
        ];
        for (setting, name) in names {
            flags.extend(["--set".to_owned(), format!("rabbitmq.{setting}={name}")]);
        }
        flags
    }

    /// Publishes events directly into the queue, as the source does.
    pub async fn send(&self, bodies: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        self.client.publish("", &self.events, bodies).await;
    }

    /// Waits for this many communications, and returns them with their parsed bodies.
    pub async fn communications(&self, count: usize) -> Vec<(Message, Value)> {
        let messages = self.client.take_many(&self.out, count).await;
        let read = |message: Message| {
            let body = serde_json::from_slice(&message.body).expect("a communication is JSON");
            (message, body)
        };
        messages.into_iter().map(read).collect()
    }

    /// Runs engines until every event in the queue is handled and everything is published.
    ///
    /// A message on its way to an engine is counted neither by the queue nor by the engine. If the
    /// engine stops before it takes the message, the message returns to the queue. So this looks
    /// again after the stop, and starts another engine if something is left.
    ///
    /// # Panics
    /// If that does not happen in time.
    pub async fn run_until_handled(&self, start: impl Fn() -> Engine) {
        for _ in 0..STARTS_MAX {
            let engine = start();
            engine.ready().await;
            wait::until("everything is handled", async || {
                self.client.counts(&self.events).await.0 == 0
                    && engine.metric("hailer_in_flight").await == 0.0
                    && engine.metric("hailer_outbox").await == 0.0
            })
            .await;
            engine.stop().await;
            if self.client.counts(&self.events).await.0 == 0 {
                return;
            }
        }
        panic!("events are left in {} after {STARTS_MAX} engines", self.events);
    }

    /// Checks that no event is left in the queue. Call it after the engine has ended: the engine
    /// then has returned what it had not acknowledged.
    ///
    /// # Panics
    /// If an event or a consumer is left.
    pub async fn is_drained(&self) {
        assert_eq!(
            self.client.counts(&self.events).await,
            (0, 0),
            "messages and consumers of {}",
            self.events
        );
    }
}
