//! One publishing session: a connection and a channel with confirms, used by one task.
//!
//! A confirm by itself says nothing about its own message: the client hangs a returned message on whichever confirm it completes next. But
//! returns come in the order of what was sent, each before its own confirm, and each confirm takes the first of them; so when everything up to a message has its confirm, each
//! return of that beginning hangs on some confirm completed by then, and names its message by id. Hence confirms are taken in the order in which
//! was sent, and what came back is asked for (`returned`) before anything counts as published. If a session breaks before that, or a
//! return can't be told, all that is outstanding counts as unconfirmed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use tokio::time::{Instant, MissedTickBehavior};

use crate::broker::{BrokerError, Dialer, answered, close};
use crate::failpoint::Failpoint;
use crate::sinks::OUTSTANDING_MAX;

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

pub(super) struct Session {
    connection: Connection,
    channel: Arc<Channel>,
    /// In the order in which they were sent, which is the order in which their confirms are taken.
    outstanding: VecDeque<Outstanding>,
    outstanding_bytes: usize,
    /// Came back with the confirms that were seen so far.
    returned: Vec<BasicReturnMessage>,
    look: tokio::time::Interval,
    last_progress: Instant,
    blocked_since: Option<Instant>,
}

/// A publication on its way.
struct Outstanding {
    bytes: usize,
    publishing: Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>,
    /// Whether it was taken, once that is known.
    is_ack: Option<lapin::Result<bool>>,
}

impl Session {
    /// Connects, and sees that the route is there.
    pub(super) async fn open(dialer: &mut Dialer, route: &Route) -> Result<Session, BrokerError> {
        let connection = dialer.connect().await?;
        let channel = answered("channel.open", connection.create_channel()).await?;
        let (checked, what) = match route {
            Route::Exchange(exchange) => {
                let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let arguments = FieldTable::default();
                let kind = ExchangeKind::Topic;
                let checked = channel.exchange_declare(exchange.clone(), kind, options, arguments);
                (answered("exchange.declare", checked).await, format!("exchange `{exchange}`"))
            }
            Route::Queue(queue) => {
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
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
        let mut look = tokio::time::interval(LOOK_AGAIN);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Session {
            connection,
            channel: Arc::new(channel),
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            returned: Vec::new(),
            look,
            last_progress: Instant::now(),
            blocked_since: None,
        })
    }

    /// Whether one more of so many bytes may be sent.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.is_idle()
            || (self.outstanding.len() < OUTSTANDING_MAX && self.outstanding_bytes + bytes <= OUTSTANDING_BYTES_MAX)
    }

    /// Nothing waits for its confirm.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Sends a publication behind those before it, and doesn't wait for its confirm.
    pub(super) async fn send(&mut self, publication: &Arc<Publication>) {
        if self.is_idle() {
            self.last_progress = Instant::now();
        }
        let bytes = publication.body.len();
        let publishing = Box::pin(publish(Arc::clone(&self.channel), Arc::clone(publication)));
        let mut one = Outstanding { bytes, publishing, is_ack: None };
        // The first look puts the frames into the client's queue; looking here, at one after the other, is what keeps them in order.
        poll_fn(|context| {
            one.look(context, &mut self.returned);
            Poll::Ready(())
        })
        .await;
        self.outstanding_bytes += bytes;
        self.outstanding.push_back(one);
    }

    /// Waits for the confirm of what was sent first, and tells whether it was taken. It may be stopped and called again, and is where it is seen that the
    /// session breaks, also when nothing is outstanding. `blocked` is told whether the broker takes publications at all.
    ///
    /// # Errors
    /// When the session is of no use any more; what is outstanding then counts as unconfirmed.
    pub(super) async fn confirmed(&mut self, mut blocked: impl FnMut(bool)) -> Result<bool, BrokerError> {
        loop {
            let Session { outstanding, returned, look, .. } = self;
            tokio::select! {
                biased;
                (bytes, is_ack) = poll_fn(|context| take_first(outstanding, context, returned)) => {
                    self.outstanding_bytes -= bytes;
                    self.last_progress = Instant::now();
                    Failpoint::BeforeConfirm.pass();
                    return Ok(is_ack?);
                }
                _ = look.tick() => self.look_around(&mut blocked)?,
            }
        }
    }

    /// Takes what came back. **With every confirm taken up to one, everything is here that came back of what was sent up to it.** It hangs on whichever confirm
    /// the client completed next, which may be of something sent later, so all of them are looked at.
    pub(super) async fn returned(&mut self) -> Vec<BasicReturnMessage> {
        poll_fn(|context| {
            self.outstanding.iter_mut().for_each(|one| one.look(context, &mut self.returned));
            Poll::Ready(())
        })
        .await;
        std::mem::take(&mut self.returned)
    }

    /// Sees to it that a wait has an end.
    fn look_around(&mut self, blocked: &mut impl FnMut(bool)) -> Result<(), BrokerError> {
        let broken = |reason: &str| Err(BrokerError::Session(reason.to_owned()));
        let (now, status) = (Instant::now(), self.connection.status());
        if !status.connected() || !self.channel.status().connected() {
            return broken("the connection was lost; connecting again");
        }
        blocked(status.blocked());
        if self.is_idle() {
            self.blocked_since = None;
        } else if status.blocked() {
            if now - *self.blocked_since.get_or_insert(now) > BLOCKED_MAX {
                return broken("the broker blocks publishers for too long");
            }
            self.last_progress = now;
        } else {
            self.blocked_since = None;
            if now - self.last_progress > SILENCE_MAX {
                return broken("the broker confirms nothing; connecting again");
            }
        }
        Ok(())
    }

    pub(super) async fn close(self) {
        close(&self.connection).await;
    }
}

impl Outstanding {
    /// Sees whether the confirm is there, and takes what came back with it.
    fn look(&mut self, context: &mut Context<'_>, returned: &mut Vec<BasicReturnMessage>) {
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

/// The first of them, when its confirm is there.
fn take_first(
    outstanding: &mut VecDeque<Outstanding>,
    context: &mut Context<'_>,
    returned: &mut Vec<BasicReturnMessage>,
) -> Poll<(usize, lapin::Result<bool>)> {
    let Some(first) = outstanding.front_mut() else { return Poll::Pending };
    first.look(context, returned);
    let Some(is_ack) = first.is_ack.take() else { return Poll::Pending };
    let bytes = first.bytes;
    outstanding.pop_front();
    Poll::Ready((bytes, is_ack))
}

async fn publish(channel: Arc<Channel>, publication: Arc<Publication>) -> lapin::Result<Confirmation> {
    let Publication { exchange, routing_key, properties, body } = &*publication;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish(exchange.clone(), routing_key.clone(), options, body, properties.clone());
    sent.await?.await
}
