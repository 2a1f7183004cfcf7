//! A bare client program that only moves messages: the upper limit for this broker on this machine.
//! It consumes with the engine's prefetch, acknowledges every 100 messages with `multiple`, and
//! publishes one persistent message of 400 bytes for each, with confirms and at most 500
//! unconfirmed.

use std::collections::VecDeque;

use futures_util::StreamExt;
use hailer::config::RabbitMqConfig;
use hailer_tests::wiring::Wiring;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Connection, ConnectionProperties};

/// The largest number of unconfirmed messages: less than the prefetch, or the program would wait
/// for itself.
const OUTSTANDING_MAX: usize = 500;
const BODY_BYTES: usize = 400;

/// The queues between which it moves messages.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    address: String,
    queue: ShortString,
    exchange: ShortString,
}

impl Route {
    pub(crate) fn of(wiring: &Wiring) -> Route {
        Route {
            address: wiring.address.clone(),
            queue: wiring.events.as_str().into(),
            exchange: wiring.exchange.as_str().into(),
        }
    }
}

/// Moves messages until it is aborted. The first `expected` messages come without a pause; after
/// that, confirms are awaited without waiting for further messages. A message's correlation id is
/// kept.
pub(crate) async fn move_messages(route: Route, expected: usize) {
    let connect = || Connection::connect(&route.address, ConnectionProperties::default());
    let (consuming, publishing) =
        (connect().await.expect("a connection"), connect().await.expect("a connection"));
    let source = consuming.create_channel().await.expect("a channel");
    let sink = publishing.create_channel().await.expect("a channel");
    sink.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let prefetch = RabbitMqConfig::default().prefetch;
    source.basic_qos(prefetch, BasicQosOptions::default()).await.expect("a prefetch");
    let consumed = source.basic_consume(
        route.queue,
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut deliveries = consumed.await.expect("a consumer");
    let body = vec![b'x'; BODY_BYTES];
    let mut confirms = VecDeque::new();
    let mut count = 0;
    while let Some(Ok(delivery)) = deliveries.next().await {
        let mut properties = BasicProperties::default().with_delivery_mode(2);
        if let Some(id) = delivery.properties.correlation_id() {
            properties = properties.with_correlation_id(id.clone());
        }
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let key = "communication.push.bare".into();
        let sent =
            sink.basic_publish(route.exchange.clone(), key, options, &body, properties).await;
        confirms.push_back((sent.expect("a publication"), delivery.delivery_tag));
        count += 1;
        let is_idle = count >= expected;
        while confirms.len() >= OUTSTANDING_MAX || (is_idle && !confirms.is_empty()) {
            let Some((confirm, tag)) = confirms.pop_front() else { break };
            confirm.await.expect("a confirm");
            if tag % 100 == 0 || is_idle {
                source
                    .basic_ack(tag, BasicAckOptions { multiple: true })
                    .await
                    .expect("an acknowledgement");
            }
        }
    }
}
