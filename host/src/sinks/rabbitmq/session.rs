//! One publishing session: a connection and a channel with confirms, used by one task.
//!
//! What a batch came to is known only when **every** confirm of it has arrived. The client hangs a returned message on
//! whichever confirm completes next, so a confirm by itself says nothing about its own message; but each return precedes
//! its own confirm, so after the last confirm all returns have shown up, and each names its message by id. If a
//! session breaks before that, or a return can't be told, the whole batch counts as unconfirmed.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use tokio::time::{Instant, MissedTickBehavior};

use crate::broker::{BrokerError, Dialer};
use crate::failpoint::Failpoint;

/// Publications that may wait for their confirms at once.
const OUTSTANDING_MAX: usize = 1024;
const OUTSTANDING_BYTES_MAX: usize = 8 << 20;
/// Without any confirm for so long, the session is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A broker with an alarm says nothing on purpose. If it died meanwhile, the missing heartbeat ends the connection; this
/// bound is for a broker that forgot to lift the alarm.
const BLOCKED_MAX: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const NOT_FOUND: u16 = 404;
const HINT: &str = "`hailer topology --apply` makes it";

/// Where publications go, as far as it can be checked beforehand.
#[derive(Clone, Debug)]
pub(super) enum Route {
    Exchange(ShortString),
    Queue(ShortString),
}

/// One message, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

/// What became of a batch of which every confirm has arrived.
pub(super) enum Verdict {
    Published,
    /// The places in the batch that must be published again, and why.
    Undelivered {
        places: Vec<usize>,
        /// `return` or `nack`.
        reason: &'static str,
        why: String,
    },
}

pub(super) struct Session {
    connection: Connection,
    channel: Channel,
}

type Publishing<'a> = Pin<Box<dyn Future<Output = (usize, lapin::Result<Confirmation>)> + Send + 'a>>;

impl Session {
    /// Connects, and sees that the route is there.
    pub(super) async fn open(dialer: &mut Dialer, route: &Route) -> Result<Session, BrokerError> {
        let connection = dialer.connect().await?;
        let channel = connection.create_channel().await?;
        let (checked, what) = match route {
            Route::Exchange(exchange) => {
                let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let arguments = FieldTable::default();
                let kind = ExchangeKind::Topic;
                let checked = channel.exchange_declare(exchange.clone(), kind, options, arguments).await;
                (checked, format!("exchange `{exchange}`"))
            }
            Route::Queue(queue) => {
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                let checked = channel.queue_declare(queue.clone(), options, FieldTable::default()).await;
                (checked.map(drop), format!("queue `{queue}`"))
            }
        };
        checked.map_err(|error| match BrokerError::from(error) {
            error if error.has_code(NOT_FOUND) => {
                BrokerError::Session(format!("{what} does not exist; waiting for it ({HINT})"))
            }
            error => error,
        })?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Session { connection, channel })
    }

    /// Publishes a batch in order, without waiting between. `blocked` is told when the broker stops and starts taking
    /// publications.
    ///
    /// # Errors
    /// When the session is of no use any more; the whole batch then counts as unconfirmed.
    pub(super) async fn publish(
        &mut self,
        batch: &[Publication],
        mut blocked: impl FnMut(bool),
    ) -> Result<Verdict, BrokerError> {
        let mut outcome = Outcome::default();
        let mut outstanding: FuturesUnordered<Publishing<'_>> = FuturesUnordered::new();
        let mut outstanding_bytes = 0;
        let mut watch = Watch::new();
        for (place, publication) in batch.iter().enumerate() {
            while outstanding.len() >= OUTSTANDING_MAX
                || (outstanding_bytes + publication.body.len() > OUTSTANDING_BYTES_MAX && !outstanding.is_empty())
            {
                let (done, confirmation) = watch.next(&mut outstanding, &self.connection, &mut blocked).await?;
                outstanding_bytes -= batch[done].body.len();
                outcome.record(done, confirmation?);
            }
            let mut publishing: Publishing<'_> = Box::pin(publish_one(&self.channel, place, publication));
            // The first poll puts the frames into the client's queue; polling here, one after the other, is what keeps
            // them in order.
            match poll_fn(|context| Poll::Ready(publishing.as_mut().poll(context))).await {
                Poll::Ready((done, confirmation)) => outcome.record(done, confirmation?),
                Poll::Pending => {
                    outstanding_bytes += publication.body.len();
                    outstanding.push(publishing);
                }
            }
        }
        while !outstanding.is_empty() {
            let (done, confirmation) = watch.next(&mut outstanding, &self.connection, &mut blocked).await?;
            outcome.record(done, confirmation?);
        }
        Ok(outcome.verdict(batch))
    }

    /// Waits until the session breaks while nobody publishes.
    pub(super) async fn lost(&self, mut blocked: impl FnMut(bool)) -> BrokerError {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let status = self.connection.status();
            if !status.connected() || !self.channel.status().connected() {
                return BrokerError::Session("the connection was lost; connecting again".to_owned());
            }
            blocked(status.blocked());
        }
    }

    pub(super) async fn close(self) {
        let farewell = self.connection.close(200, "OK".into());
        let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
    }
}

async fn publish_one(
    channel: &Channel,
    place: usize,
    publication: &Publication,
) -> (usize, lapin::Result<Confirmation>) {
    let Publication { exchange, routing_key, properties, body } = publication;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish(exchange.clone(), routing_key.clone(), options, body, properties.clone());
    let confirmation = match sent.await {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    (place, confirmation)
}

/// Waits for confirms, and sees to it that the wait has an end.
struct Watch {
    look: tokio::time::Interval,
    last_progress: Instant,
    blocked_since: Option<Instant>,
}

impl Watch {
    fn new() -> Watch {
        let mut look = tokio::time::interval_at(Instant::now() + LOOK_AGAIN, LOOK_AGAIN);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Watch { look, last_progress: Instant::now(), blocked_since: None }
    }

    async fn next(
        &mut self,
        outstanding: &mut FuturesUnordered<Publishing<'_>>,
        connection: &Connection,
        blocked: &mut impl FnMut(bool),
    ) -> Result<(usize, lapin::Result<Confirmation>), BrokerError> {
        loop {
            tokio::select! {
                biased;
                confirmed = outstanding.next() => {
                    self.last_progress = Instant::now();
                    Failpoint::BeforeConfirm.pass();
                    return confirmed.ok_or_else(|| BrokerError::Session("no confirm is outstanding".to_owned()));
                }
                _ = self.look.tick() => {
                    let now = Instant::now();
                    blocked(connection.status().blocked());
                    if connection.status().blocked() {
                        let since = *self.blocked_since.get_or_insert(now);
                        if now - since > BLOCKED_MAX {
                            return Err(BrokerError::Session("the broker blocks publishers for too long".to_owned()));
                        }
                        self.last_progress = now;
                    } else {
                        self.blocked_since = None;
                    }
                    if now - self.last_progress > SILENCE_MAX {
                        return Err(BrokerError::Session("the broker confirms nothing; connecting again".to_owned()));
                    }
                }
            }
        }
    }
}

/// What the confirms of a batch said.
#[derive(Default)]
struct Outcome {
    refused: Vec<usize>,
    returned: Vec<BasicReturnMessage>,
}

impl Outcome {
    fn record(&mut self, place: usize, confirmation: Confirmation) {
        if !confirmation.is_ack() {
            self.refused.push(place);
        }
        self.returned.extend(confirmation.take_message());
    }

    fn verdict(self, batch: &[Publication]) -> Verdict {
        let (reason, why) = match (self.returned.first(), self.refused.is_empty()) {
            (None, true) => return Verdict::Published,
            (None, false) => {
                ("nack", "the broker refuses publications (a full queue, or a policy); trying again".to_owned())
            }
            (Some(returned), _) => (
                "return",
                format!(
                    "nothing takes what is published to {} with the key `{}` ({}): bind a queue, or give the exchange an \
                 alternate one (`hailer topology`); trying again",
                    place_name(returned.exchange.as_str()),
                    returned.routing_key,
                    returned.reply_text
                ),
            ),
        };
        let ids = self.returned.iter().map(|message| message.properties.message_id().clone());
        let places = match ids.collect::<Option<HashSet<ShortString>>>() {
            Some(ids) => undelivered(batch, &ids, &self.refused),
            None => (0..batch.len()).collect(),
        };
        Verdict::Undelivered { places, reason, why }
    }
}

fn undelivered(batch: &[Publication], returned: &HashSet<ShortString>, refused: &[usize]) -> Vec<usize> {
    let refused: HashSet<usize> = refused.iter().copied().collect();
    let is_returned = |publication: &Publication| {
        publication.properties.message_id().as_ref().is_some_and(|id| returned.contains(id))
    };
    let again = |(place, publication): &(usize, &Publication)| refused.contains(place) || is_returned(publication);
    let places: Vec<usize> = batch.iter().enumerate().filter(again).map(|(place, _)| place).collect();
    // A return that names nothing we sent can't be told: all of it again.
    let known: HashSet<_> = batch.iter().filter_map(|one| one.properties.message_id().as_ref()).collect();
    if returned.iter().all(|id| known.contains(id)) { places } else { (0..batch.len()).collect() }
}

fn place_name(exchange: &str) -> String {
    if exchange.is_empty() { "the default exchange".to_owned() } else { format!("exchange `{exchange}`") }
}
