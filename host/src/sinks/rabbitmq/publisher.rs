//! The one task that publishes on a channel. It keeps its session whether or not there is something to publish, so that
//! readiness tells the truth in quiet times too.
//!
//! Orders follow each other without waiting for confirms, as far as the session has room; each is told when its own are in. When something
//! could not be delivered, nothing more is sent until the last confirm is in, and what is missing goes out first. When the session breaks, everything does
//! that nobody was told about, one order at a time until one is through: a message for which the broker closes the session then takes no others with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use lapin::message::BasicReturnMessage;
use tokio::sync::{mpsc, oneshot};

use crate::broker::{Backoff, BrokerError, Dialer};
use crate::health::{Condition, Health};
use crate::metrics;
use crate::sinks::{Confirmed, SinkError};

use super::session::{Publication, Route, Session};

const BLOCKED: &str = "the broker blocks publishers: it is short of memory or disk";
/// Orders that may be under way at once.
const ORDERS_MAX: usize = 64;

/// Hands batches to the publishing task.
#[derive(Debug)]
pub(super) struct Publisher {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    /// What is not yet published of the batch.
    batch: Vec<Arc<Publication>>,
    /// How much of it the session has got, and how much of that has its confirm: a beginning of the batch each.
    sent: usize,
    confirmed: usize,
    /// The places of what was confirmed and has to go out again.
    undelivered: Vec<usize>,
    since: Instant,
    done: oneshot::Sender<()>,
}

impl Publisher {
    pub(super) fn start(dialer: Dialer, route: Route, room: &'static str, health: Health) -> Publisher {
        let (orders, received) = mpsc::channel(1);
        let report = Report { room, health, blocked: false };
        report.not_ready(format!("connecting to {}", dialer.address()));
        let (pending, backoff) = (VecDeque::new(), Backoff::default());
        let task = Task { dialer, route, report, orders: received, pending, trouble: None, is_careful: false, backoff };
        tokio::spawn(task.run());
        Publisher { orders }
    }

    /// Takes a batch as soon as there is room for it. What it returns tells when the whole batch is published, and the route was there.
    pub(super) async fn publish(&mut self, batch: Vec<Arc<Publication>>) -> Result<Confirmed, SinkError> {
        let (done, published) = oneshot::channel();
        let (sent, confirmed, undelivered) = (0, 0, Vec::new());
        let order = Order { batch, sent, confirmed, undelivered, since: Instant::now(), done };
        self.orders.send(order).await.map_err(|_| SinkError::Died)?;
        Ok(Confirmed::when(published))
    }
}

struct Task {
    dialer: Dialer,
    route: Route,
    report: Report,
    orders: mpsc::Receiver<Order>,
    /// In the order in which they came.
    pending: VecDeque<Order>,
    /// Why something has to go out again.
    trouble: Option<Trouble>,
    /// One order at a time: a session broke, and none has gone through since.
    is_careful: bool,
    backoff: Backoff,
}

/// What kept a publication from being delivered.
struct Trouble {
    /// `return` or `nack`.
    reason: &'static str,
    why: String,
}

/// Nobody can order any more.
struct Dismissed;

impl Task {
    async fn run(mut self) {
        loop {
            let opened = tokio::select! {
                opened = Session::open(&mut self.dialer, &self.route) => opened,
                Dismissed = dismissed(&mut self.orders, &mut self.pending) => return,
            };
            let error = match opened {
                Ok(mut session) => {
                    self.report.ready();
                    self.report.connected(true);
                    let served = self.serve(&mut session).await;
                    self.report.connected(false);
                    match served {
                        Ok(Dismissed) => return session.close().await,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            ::metrics::counter!(metrics::SINK_RECONNECTS_TOTAL, "room" => self.report.room).increment(1);
            self.report.retry(self.pending.iter().map(|order| order.sent).sum(), "session");
            self.pending.iter_mut().for_each(Order::begin_again);
            (self.trouble, self.is_careful) = (None, true);
            self.report.not_ready(error.to_string());
            if self.pause().await.is_err() {
                return;
            }
        }
    }

    /// Carries out orders for as long as the session is good.
    async fn serve(&mut self, session: &mut Session) -> Result<Dismissed, BrokerError> {
        let mut is_open = true;
        loop {
            self.conclude(session).await;
            if self.trouble.is_some() && session.is_idle() {
                self.keep_undelivered(session).await;
                match self.pause().await {
                    Ok(()) => continue,
                    Err(dismissed) => return Ok(dismissed),
                }
            }
            if !is_open && self.pending.is_empty() {
                return Ok(Dismissed);
            }
            // Behind what was concluded, as that may have made room.
            self.send(session).await;
            let is_all_sent = self.pending.back().is_none_or(|order| order.sent == order.batch.len());
            let takes_more = is_open
                && is_all_sent
                && self.trouble.is_none()
                && session.has_room_for(0)
                && self.pending.len() < ORDERS_MAX;
            tokio::select! {
                biased;
                order = self.orders.recv(), if takes_more => match order {
                    Some(order) => self.pending.push_back(Order { since: Instant::now(), ..order }),
                    None => is_open = false,
                },
                () = given_up(&mut self.pending) => {
                    self.pending.retain(|order| !order.done.is_closed());
                    if !session.is_idle() {
                        // Their confirms are still outstanding on this channel and would be taken for those of others.
                        return Err(BrokerError::Session("a batch was given up; connecting again".to_owned()));
                    }
                }
                confirmed = session.confirmed(|blocked| self.report.blocked(blocked)) => {
                    let is_ack = confirmed?;
                    let order = self.pending.iter_mut().find(|order| order.confirmed < order.sent);
                    let order = order.ok_or_else(|| BrokerError::Session("a confirm for nothing".to_owned()))?;
                    order.confirm(is_ack);
                    if !is_ack {
                        self.trouble.get_or_insert_with(Trouble::refused);
                    }
                }
            }
        }
    }

    /// Sends what there is room for.
    async fn send(&mut self, session: &mut Session) {
        if self.trouble.is_some() {
            return;
        }
        let orders_max = if self.is_careful { 1 } else { ORDERS_MAX };
        for order in self.pending.iter_mut().take(orders_max) {
            while let Some(publication) = order.batch.get(order.sent) {
                if !session.has_room_for(publication.body.len()) {
                    return;
                }
                session.send(publication).await;
                order.sent += 1;
            }
        }
    }

    /// Tells of orders that are published whole, the first ones first: only then all that was returned of them is known.
    async fn conclude(&mut self, session: &mut Session) {
        while self.trouble.is_none()
            && let Some(order) = self.pending.front()
            && order.confirmed == order.batch.len()
        {
            let returned = session.returned().await;
            self.note_returned(&returned);
            if let Some(order) = self.pending.pop_front_if(|order| order.undelivered.is_empty()) {
                self.report.confirmed(order.batch.len(), order.since);
                self.is_careful &= order.batch.is_empty();
                self.backoff.reset();
                self.report.takes_publications();
                let _ = order.done.send(());
            }
        }
    }

    /// Notes which publications came back: all that have the id of a returned message, as a dead letter's is whatever its sender chose; and if that tells
    /// nothing, all that were sent.
    fn note_returned(&mut self, returned: &[BasicReturnMessage]) {
        for message in returned {
            self.trouble = Some(Trouble::returned(message));
            let id = message.properties.message_id();
            let mut is_told = false;
            for order in self.pending.iter_mut().filter(|_| id.is_some()) {
                let sent = (0..).zip(&order.batch[..order.sent]);
                let before = order.undelivered.len();
                order
                    .undelivered
                    .extend(sent.filter(|(_, one)| one.properties.message_id() == id).map(|(place, _)| place));
                is_told |= order.undelivered.len() > before;
            }
            if !is_told {
                self.pending.iter_mut().for_each(|order| order.undelivered.extend(0..order.sent));
            }
        }
    }

    /// Lets go of what was delivered of what has been sent, when the last confirm is in.
    async fn keep_undelivered(&mut self, session: &mut Session) {
        let returned = session.returned().await;
        self.note_returned(&returned);
        let mut again = 0;
        for mut order in std::mem::take(&mut self.pending) {
            let undelivered = order.keep_undelivered();
            let delivered = order.sent - undelivered;
            again += undelivered;
            self.report.confirmed(delivered, order.since);
            if order.batch.is_empty() {
                let _ = order.done.send(());
            } else {
                order.begin_again();
                self.pending.push_back(order);
            }
        }
        if let Some(Trouble { reason, why }) = self.trouble.take() {
            self.report.retry(again, reason);
            self.report.not_ready(why);
        }
    }

    async fn pause(&mut self) -> Result<(), Dismissed> {
        tokio::select! {
            () = tokio::time::sleep(self.backoff.next_pause()) => Ok(()),
            Dismissed = dismissed(&mut self.orders, &mut self.pending) => Err(Dismissed),
        }
    }
}

/// Waits until nobody can order any more; takes an order that comes meanwhile, and drops those that nobody waits for.
async fn dismissed(orders: &mut mpsc::Receiver<Order>, pending: &mut VecDeque<Order>) -> Dismissed {
    loop {
        match pending.front_mut() {
            Some(order) => {
                order.done.closed().await;
                pending.pop_front();
            }
            None => match orders.recv().await {
                Some(order) => pending.push_back(order),
                None => return Dismissed,
            },
        }
    }
}

/// Waits until nobody waits for the first any more.
async fn given_up(pending: &mut VecDeque<Order>) {
    match pending.front_mut() {
        Some(order) => order.done.closed().await,
        None => std::future::pending().await,
    }
}

impl Order {
    /// What the session has got of it is to be sent again.
    fn begin_again(&mut self) {
        (self.sent, self.confirmed) = (0, 0);
        self.undelivered.clear();
        self.since = Instant::now();
    }

    fn confirm(&mut self, is_ack: bool) {
        if !is_ack {
            self.undelivered.push(self.confirmed);
        }
        self.confirmed += 1;
    }

    /// Lets go of what was sent and delivered; returns how much was sent and not.
    fn keep_undelivered(&mut self) -> usize {
        let unsent = self.batch.split_off(self.sent);
        self.undelivered.sort_unstable();
        self.undelivered.dedup();
        let again: Vec<_> = self.undelivered.iter().map(|place| Arc::clone(&self.batch[*place])).collect();
        let undelivered = again.len();
        self.batch = again;
        self.batch.extend(unsent);
        undelivered
    }
}

impl Trouble {
    fn refused() -> Trouble {
        let why = "the broker refuses publications (a full queue, or a policy); trying again".to_owned();
        Trouble { reason: "nack", why }
    }

    fn returned(message: &BasicReturnMessage) -> Trouble {
        let (exchange, key) = (message.exchange.as_str(), &message.routing_key);
        let why = if exchange.is_empty() {
            // On the default exchange the key names the queue, and nothing can be bound.
            format!(
                "queue `{key}` does not exist ({}); waiting for it (`hailer topology --apply` makes it)",
                message.reply_text
            )
        } else {
            format!(
                "nothing takes what is published to exchange `{exchange}` with the key `{key}` ({}): bind a queue, or give \
                 the exchange an alternate one (`hailer topology`); trying again",
                message.reply_text
            )
        };
        Trouble { reason: "return", why }
    }
}

/// Tells how the publishing goes.
struct Report {
    room: &'static str,
    health: Health,
    blocked: bool,
}

impl Report {
    fn ready(&mut self) {
        self.blocked = false;
        self.health.report(self.room, Condition::Ready);
    }

    fn not_ready(&self, why: String) {
        self.health.report(self.room, Condition::NotReady(why));
    }

    fn connected(&self, connected: bool) {
        ::metrics::gauge!(metrics::SINK_CONNECTED, "room" => self.room).set(f64::from(u8::from(connected)));
    }

    /// The broker took something. Under an alarm that says nothing about what comes next.
    fn takes_publications(&mut self) {
        if !self.blocked {
            self.ready();
        }
    }

    fn confirmed(&self, count: usize, since: Instant) {
        if count == 0 {
            return;
        }
        ::metrics::counter!(metrics::SINK_CONFIRMED_TOTAL, "room" => self.room).increment(count as u64);
        ::metrics::histogram!(metrics::SINK_CONFIRM_SECONDS, "room" => self.room).record(since.elapsed());
    }

    fn retry(&self, count: usize, reason: &'static str) {
        if count > 0 {
            let retries = ::metrics::counter!(metrics::SINK_RETRIES_TOTAL, "room" => self.room, "reason" => reason);
            retries.increment(count as u64);
        }
    }

    /// The alarm comes and goes by itself; what else may be wrong is told by whoever finds it.
    fn blocked(&mut self, blocked: bool) {
        ::metrics::gauge!(metrics::SINK_BLOCKED, "room" => self.room).set(f64::from(u8::from(blocked)));
        match (blocked, std::mem::replace(&mut self.blocked, blocked)) {
            (true, false) => self.not_ready(BLOCKED.to_owned()),
            (false, true) => self.ready(),
            _ => {}
        }
    }
}
