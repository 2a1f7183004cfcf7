//! A client of the broker that does what the producer, the consumer of communications and an
//! operator do.

use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};

use super::Broker;
use crate::wait::{self, end_of};

const GREETS_WITHIN: Duration = Duration::from_secs(10);

/// A connection with one channel in confirm mode.
pub struct Client {
    _connection: Connection,
    pub channel: Channel,
}

/// A message that was taken from a queue.
#[derive(Clone, Debug)]
pub struct Message {
    pub body: Vec<u8>,
    pub routing_key: String,
    pub redelivered: bool,
    pub properties: BasicProperties,
}

impl Client {
    /// # Panics
    /// If the broker does not accept the connection in time.
    pub async fn connect(broker: &Broker) -> Client {
        wait::until_some("a client connects", async || {
            let properties = ConnectionProperties::default();
            let opened = async {
                let connection =
                    Connection::connect(&broker.patient_address(), properties).await.ok()?;
                let channel = connection.create_channel().await.ok()?;
                channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
                Some(Client { _connection: connection, channel })
            };
            // A broker that is starting may accept a connection and never greet the client.
            tokio::time::timeout(GREETS_WITHIN, opened).await.ok()?
        })
        .await
    }

    /// Declares a durable queue.
    ///
    /// # Panics
    /// Like all functions below, if the broker refuses.
    pub async fn queue(&self, name: &str) {
        self.queue_with(name, &[]).await;
    }

    pub async fn queue_with(&self, name: &str, arguments: &[(&str, AMQPValue)]) {
        let options = QueueDeclareOptions::durable();
        let declared = self.channel.queue_declare(name.into(), options, table(arguments));
        end_of("declaring a queue", declared).await.expect("a queue");
    }

    pub async fn delete_queue(&self, name: &str) {
        let deleted = self.channel.queue_delete(name.into(), QueueDeleteOptions::default());
        end_of("deleting a queue", deleted).await.expect("no queue");
    }

    pub async fn purge(&self, name: &str) {
        let purged = self.channel.queue_purge(name.into(), QueuePurgeOptions::default());
        end_of("emptying a queue", purged).await.expect("an empty queue");
    }

    /// Declares a durable topic exchange.
    pub async fn exchange(&self, name: &str, arguments: &[(&str, AMQPValue)]) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = self.channel.exchange_declare(
            name.into(),
            ExchangeKind::Topic,
            options,
            table(arguments),
        );
        end_of("declaring an exchange", declared).await.expect("an exchange");
    }

    pub async fn bind(&self, queue: &str, exchange: &str, routing_key: &str) {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound = self.channel.queue_bind(
            queue.into(),
            exchange.into(),
            routing_key.into(),
            options,
            arguments,
        );
        end_of("binding a queue", bound).await.expect("a binding");
    }

    /// Publishes persistent messages, and returns when all are confirmed.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        bodies: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) {
        let mut confirms = Vec::new();
        for body in bodies {
            let properties = BasicProperties::default().with_delivery_mode(2);
            confirms.push(self.send(exchange, routing_key, body.as_ref(), properties).await);
        }
        for confirm in confirms {
            assert!(end_of("a confirm", confirm).await.expect("a confirm").is_ack());
        }
    }

    pub async fn send(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::PublisherConfirm {
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(
            exchange.into(),
            routing_key.into(),
            options,
            body,
            properties,
        );
        end_of("publishing", sent).await.expect("a publication")
    }

    /// Takes and acknowledges the next message of a queue; `None` if the queue is empty.
    pub async fn take(&self, queue: &str) -> Option<Message> {
        let found = self.channel.basic_get(queue.into(), BasicGetOptions::default());
        let found = end_of("a look into a queue", found).await.expect("a look")?;
        end_of("acknowledging", found.ack(BasicAckOptions::default()))
            .await
            .expect("an acknowledgement");
        let delivery = found.delivery;
        Some(Message {
            body: delivery.data,
            routing_key: delivery.routing_key.to_string(),
            redelivered: delivery.redelivered,
            properties: delivery.properties,
        })
    }

    /// Takes all messages out of a queue.
    pub async fn take_all(&self, queue: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.take(queue).await {
            messages.push(message);
        }
        messages
    }

    /// Takes messages until there are at least this many.
    pub async fn take_many(&self, queue: &str, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        wait::until(&format!("{count} messages in {queue}"), async || {
            messages.extend(self.take_all(queue).await);
            messages.len() >= count
        })
        .await;
        messages
    }

    /// The numbers of ready messages and of consumers of a queue. Messages that a consumer has not
    /// acknowledged are not counted.
    pub async fn counts(&self, queue: &str) -> (u32, u32) {
        let passive = QueueDeclareOptions::durable().passive();
        let declared = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        let declared = end_of("looking at a queue", declared).await.expect("a queue");
        (declared.message_count(), declared.consumer_count())
    }

    pub async fn consume(&self, queue: &str) -> Consumer {
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = self.channel.basic_consume(queue.into(), "".into(), options, arguments);
        end_of("consuming", consumer).await.expect("a consumer")
    }
}

impl Message {
    /// The value of a header; `None` unless it is a string.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            _ => None,
        }
    }
}

fn table(arguments: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    table
}
