//! The one task that publishes on a channel. It keeps its session whether or not there is something to publish, so that
//! readiness tells the truth in quiet times too.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::broker::{Backoff, BrokerError, Dialer};
use crate::health::{Condition, Health};
use crate::metrics;
use crate::sinks::SinkError;

use super::session::{Publication, Route, Session, Verdict};

const BLOCKED: &str = "the broker blocks publishers: it is short of memory or disk";

/// Hands batches to the publishing task.
#[derive(Debug)]
pub(super) struct Publisher {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    /// What is not yet published of the batch.
    batch: Vec<Publication>,
    done: oneshot::Sender<()>,
}

impl Publisher {
    pub(super) fn start(dialer: Dialer, route: Route, room: &'static str, health: Health) -> Publisher {
        let (orders, received) = mpsc::channel(1);
        let report = Report { room, health, blocked: false };
        report.not_ready(format!("connecting to {}", dialer.address()));
        let task = Task { dialer, route, report, orders: received, pending: None, backoff: Backoff::default() };
        tokio::spawn(task.run());
        Publisher { orders }
    }

    /// Returns once the whole batch is published, and the route was there. If the caller stops waiting, the rest of
    /// the batch is given up.
    pub(super) async fn publish(&mut self, batch: Vec<Publication>) -> Result<(), SinkError> {
        let (done, published) = oneshot::channel();
        let gone = || SinkError::Configuration("the publishing task has ended".to_owned());
        self.orders.send(Order { batch, done }).await.map_err(|_| gone())?;
        published.await.map_err(|_| gone())
    }
}

struct Task {
    dialer: Dialer,
    route: Route,
    report: Report,
    orders: mpsc::Receiver<Order>,
    pending: Option<Order>,
    backoff: Backoff,
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
            let unconfirmed = self.pending.as_ref().map_or(0, |order| order.batch.len());
            self.report.retry(unconfirmed, "session");
            self.report.not_ready(error.to_string());
            if self.pause().await.is_err() {
                return;
            }
        }
    }

    /// Carries out orders for as long as the session is good.
    async fn serve(&mut self, session: &mut Session) -> Result<Dismissed, BrokerError> {
        loop {
            let Some(order) = &mut self.pending else {
                tokio::select! {
                    biased;
                    order = self.orders.recv() => match order {
                        Some(order) => self.pending = Some(order),
                        None => return Ok(Dismissed),
                    },
                    error = session.lost(|blocked| self.report.blocked(blocked)) => return Err(error),
                }
                continue;
            };
            let since = Instant::now();
            let verdict = tokio::select! {
                biased;
                () = order.done.closed() => {
                    self.pending = None;
                    // Confirms are still outstanding on this channel and would be taken for those of the next batch.
                    return Err(BrokerError::Session("a batch was given up; connecting again".to_owned()));
                }
                verdict = session.publish(&order.batch, |blocked| self.report.blocked(blocked)) => verdict?,
            };
            let published_before = order.batch.len();
            match verdict {
                Verdict::Published => {
                    self.report.confirmed(published_before, since);
                    self.backoff.reset();
                    self.report.ready();
                    if let Some(order) = self.pending.take() {
                        let _ = order.done.send(());
                    }
                }
                Verdict::Undelivered { places, reason, why } => {
                    self.report.confirmed(published_before - places.len(), since);
                    self.report.retry(places.len(), reason);
                    order.batch = places.into_iter().map(|place| order.batch[place].clone()).collect();
                    self.report.not_ready(why);
                    if self.pause().await.is_err() {
                        return Ok(Dismissed);
                    }
                }
            }
        }
    }

    async fn pause(&mut self) -> Result<(), Dismissed> {
        tokio::select! {
            () = tokio::time::sleep(self.backoff.next_pause()) => Ok(()),
            Dismissed = dismissed(&mut self.orders, &mut self.pending) => Err(Dismissed),
        }
    }
}

/// Waits until nobody can order any more; takes an order that comes meanwhile, and drops one that nobody waits for.
async fn dismissed(orders: &mut mpsc::Receiver<Order>, pending: &mut Option<Order>) -> Dismissed {
    loop {
        match pending {
            Some(order) => {
                order.done.closed().await;
                *pending = None;
            }
            None => match orders.recv().await {
                Some(order) => *pending = Some(order),
                None => return Dismissed,
            },
        }
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

    fn confirmed(&self, count: usize, since: Instant) {
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
