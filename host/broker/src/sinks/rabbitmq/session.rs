//! One publishing session: a connection and a channel with confirms, used by one task.
//!
//! A confirm alone does not show whether its own message was delivered. The client attaches a
//! returned message to whichever confirm it completes next. But returns come in publishing order,
//! each before its own confirm, and each confirm takes the first waiting one. So when every message
//! of a prefix has its confirm, each return of that prefix is attached to a completed confirm. The
//! return names its message by id.
//!
//! For this reason, confirms are taken in publishing order, and `returned` is asked before anything
//! counts as published. If the session breaks before that, or a return matches no message,
//! everything outstanding counts as unconfirmed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use lapin::message::BasicReturnMessage;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use tokio::time::{Instant, MissedTickBehavior};

use crate::connection::{BrokerError, Dialer, answered, close};
use crate::sinks::OUTSTANDING_MAX;
use hailer_base::failpoint::Failpoint;

const OUTSTANDING_BYTES_MAX: usize = 8 << 20;
/// The session is given up when no confirm comes for this long.
const NO_CONFIRM_MAX: Duration = Duration::from_secs(30);
/// The limit for an alarm. During an alarm, the broker sends no confirms. If it dies, the missing
/// heartbeat ends the connection; this limit is for a broker that never clears the alarm.
const BLOCKED_MAX: Duration = Duration::from_secs(600);
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
const NOT_FOUND: u16 = 404;
const HINT: &str = "`hailer topology --apply` creates it";

/// The destination of publications, which is checked before the first one.
#[derive(Clone, Debug)]
pub(super) enum Route {
    Exchange(ShortString),
    Queue(ShortString),
}

/// One message, which can be sent any number of times.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

pub(super) struct PublisherSession {
    connection: Connection,
    channel: Arc<Channel>,
    /// The messages without a confirm, in publishing order. The confirms are taken in this order.
    outstanding: VecDeque<Outstanding>,
    outstanding_bytes: usize,
    /// Messages that were returned with the confirms polled so far.
    returned: Vec<BasicReturnMessage>,
    checks: tokio::time::Interval,
    last_progress: Instant,
    blocked_since: Option<Instant>,
}

/// A publication that waits for its confirm.
struct Outstanding {
    bytes: usize,
    publishing: Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>,
    /// Whether the broker accepted it; `None` until its confirm is in.
    is_ack: Option<lapin::Result<bool>>,
}

impl PublisherSession {
    /// Connects, and checks that the exchange or queue exists.
    pub(super) async fn open(
        dialer: &mut Dialer,
        route: &Route,
    ) -> Result<PublisherSession, BrokerError> {
        let connection = dialer.connect().await?;
        let channel = answered("channel.open", connection.create_channel()).await?;
        let (checked, what) = match route {
            Route::Exchange(exchange) => {
                let options =
                    ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let arguments = FieldTable::default();
                let kind = ExchangeKind::Topic;
                let checked = channel.exchange_declare(exchange.clone(), kind, options, arguments);
                (answered("exchange.declare", checked).await, format!("exchange `{exchange}`"))
            }
            Route::Queue(queue) => {
                let options =
                    QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                let checked = channel.queue_declare(queue.clone(), options, FieldTable::default());
                (answered("queue.declare", checked).await.map(drop), format!("queue `{queue}`"))
            }
        };
        checked.map_err(|error| match error {
            error if error.has_code(NOT_FOUND) => {
                BrokerError::Session(format!("{what} does not exist; waiting for it ({HINT})"))
            }
            error => error,
        })?;
        answered("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let mut checks = tokio::time::interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(PublisherSession {
            connection,
            channel: Arc::new(channel),
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            returned: Vec::new(),
            checks,
            last_progress: Instant::now(),
            blocked_since: None,
        })
    }

    /// Whether one more publication of this size, in bytes, may be sent.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.is_idle()
            || (self.outstanding.len() < OUTSTANDING_MAX
                && self.outstanding_bytes + bytes <= OUTSTANDING_BYTES_MAX)
    }

    /// Whether no publication waits for its confirm.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Sends a publication after the earlier ones, without waiting for its confirm.
    pub(super) async fn send(&mut self, publication: &Arc<Publication>) {
        if self.is_idle() {
            self.last_progress = Instant::now();
        }
        let bytes = publication.body.len();
        let publishing = Box::pin(publish(Arc::clone(&self.channel), Arc::clone(publication)));
        let mut one = Outstanding { bytes, publishing, is_ack: None };
        // The first poll queues the frames in the client. Polling here, one publication after
        // another, keeps them in order.
        poll_fn(|context| {
            one.poll_confirm(context, &mut self.returned);
            Poll::Ready(())
        })
        .await;
        self.outstanding_bytes += bytes;
        self.outstanding.push_back(one);
    }

    /// Waits for the confirm of the first outstanding publication; returns whether the broker
    /// accepted it. It is cancel-safe. It also detects that the session broke, even if nothing is
    /// outstanding. It calls `blocked` with whether the broker blocks publishers.
    ///
    /// # Errors
    /// The session is unusable; everything outstanding then counts as unconfirmed.
    pub(super) async fn confirmed(
        &mut self,
        mut blocked: impl FnMut(bool),
    ) -> Result<bool, BrokerError> {
        loop {
            let PublisherSession { outstanding, returned, checks, .. } = self;
            tokio::select! {
                biased;
                (bytes, is_ack) = poll_fn(|context| take_first(outstanding, context, returned)) => {
                    self.outstanding_bytes -= bytes;
                    self.last_progress = Instant::now();
                    Failpoint::BeforeConfirm.pass();
                    return Ok(is_ack?);
                }
                _ = checks.tick() => self.check_connection(&mut blocked)?,
            }
        }
    }

    /// Takes the returned messages. **If every confirm up to a publication is taken, the result has
    /// every returned message up to that publication.** The client attaches a return to the confirm
    /// that it completes next. That may belong to a later publication, so all outstanding ones are
    /// polled.
    pub(super) async fn returned(&mut self) -> Vec<BasicReturnMessage> {
        poll_fn(|context| {
            self.outstanding
                .iter_mut()
                .for_each(|one| one.poll_confirm(context, &mut self.returned));
            Poll::Ready(())
        })
        .await;
        std::mem::take(&mut self.returned)
    }

    /// Ends the wait for a confirm if the connection is lost, silent or blocked for too long.
    fn check_connection(&mut self, blocked: &mut impl FnMut(bool)) -> Result<(), BrokerError> {
        let broken = |reason: &str| Err(BrokerError::Session(reason.to_owned()));
        let (now, status) = (Instant::now(), self.connection.status());
        if !status.connected() || !self.channel.status().connected() {
            return broken("the connection was lost; reconnecting");
        }
        blocked(status.blocked());
        if self.is_idle() {
            self.blocked_since = None;
        } else if status.blocked() {
            if now - *self.blocked_since.get_or_insert(now) > BLOCKED_MAX {
                return broken("the broker has blocked publishers for 10 minutes; reconnecting");
            }
            self.last_progress = now;
        } else {
            self.blocked_since = None;
            if now - self.last_progress > NO_CONFIRM_MAX {
                return broken("the broker has confirmed nothing for 30 s; reconnecting");
            }
        }
        Ok(())
    }

    pub(super) async fn close(self) {
        close(&self.connection).await;
    }
}

impl Outstanding {
    /// Polls for the confirm, and takes a returned message from it.
    fn poll_confirm(&mut self, context: &mut Context<'_>, returned: &mut Vec<BasicReturnMessage>) {
        if self.is_ack.is_none()
            && let Poll::Ready(confirmation) = self.publishing.as_mut().poll(context)
        {
            self.is_ack = Some(confirmation.map(|confirmation| {
                let is_ack = confirmation.is_ack();
                returned.extend(confirmation.take_message());
                is_ack
            }));
        }
    }
}

/// Removes the first publication if its confirm is in; returns its size in bytes and the result.
fn take_first(
    outstanding: &mut VecDeque<Outstanding>,
    context: &mut Context<'_>,
    returned: &mut Vec<BasicReturnMessage>,
) -> Poll<(usize, lapin::Result<bool>)> {
    let Some(first) = outstanding.front_mut() else { return Poll::Pending };
    first.poll_confirm(context, returned);
    let Some(is_ack) = first.is_ack.take() else { return Poll::Pending };
    let bytes = first.bytes;
    outstanding.pop_front();
    Poll::Ready((bytes, is_ack))
}

async fn publish(
    channel: Arc<Channel>,
    publication: Arc<Publication>,
) -> lapin::Result<Confirmation> {
    let Publication { exchange, routing_key, properties, body } = &*publication;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish(
        exchange.clone(),
        routing_key.clone(),
        options,
        body,
        properties.clone(),
    );
    sent.await?.await
}
