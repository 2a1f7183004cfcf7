//! The task that publishes on one channel. There is one for each channel: four tasks on one channel
//! gave 128 of 20,000 confirms to the wrong publish. The task keeps its session open while there is
//! nothing to publish, so that readiness is correct in quiet times, too.
//!
//! Requests are sent one after another without waiting for confirms, as long as the session has
//! room. A request completes when all its confirms are in. If a publication is not delivered,
//! nothing more is sent until the last confirm is in; the undelivered ones are then sent first.
//!
//! If the session breaks, all requests that are not complete are sent again, one at a time until
//! one of them completes. So a message for which the broker closes the session does not affect the
//! others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use lapin::message::BasicReturnMessage;
use tokio::sync::{mpsc, oneshot};

use crate::connection::{Backoff, BrokerError, Dialer};
use crate::sinks::{PendingConfirm, SinkError};
use hailer_base::health::Health;
use hailer_base::metrics;

use super::reporter::Reporter;
use super::session::{Publication, PublisherSession, Route};

/// The maximum number of requests in progress.
const REQUESTS_MAX: usize = 64;

/// Hands batches to the publishing task.
#[derive(Debug)]
pub(super) struct Publisher {
    requests: mpsc::Sender<PublishRequest>,
}

#[derive(Debug)]
struct PublishRequest {
    /// The publications of the batch that are not published yet.
    batch: Vec<Arc<Publication>>,
    /// The number of publications that were sent, from the start of the batch; `confirmed` counts
    /// those whose confirm is in.
    sent: usize,
    confirmed: usize,
    /// The indices of confirmed publications that must be sent again.
    undelivered: Vec<usize>,
    since: Instant,
    done: oneshot::Sender<()>,
}

impl Publisher {
    pub(super) fn start(
        dialer: Dialer,
        route: Route,
        room: &'static str,
        health: Health,
    ) -> Publisher {
        let (requests, received) = mpsc::channel(1);
        let reporter = Reporter { room, health, blocked: false };
        reporter.not_ready(format!("connecting to {}", dialer.address()));
        let (pending, backoff) = (VecDeque::new(), Backoff::default());
        let task = PublisherTask {
            dialer,
            route,
            reporter,
            requests: received,
            pending,
            problem: None,
            one_at_a_time: false,
            backoff,
        };
        tokio::spawn(task.run());
        Publisher { requests }
    }

    /// Queues a batch as soon as there is room for it. The result completes when the whole batch is
    /// published. For an empty batch, it completes when the route exists.
    pub(super) async fn publish(
        &mut self,
        batch: Vec<Arc<Publication>>,
    ) -> Result<PendingConfirm, SinkError> {
        let (done, published) = oneshot::channel();
        let (sent, confirmed, undelivered) = (0, 0, Vec::new());
        let request =
            PublishRequest { batch, sent, confirmed, undelivered, since: Instant::now(), done };
        self.requests.send(request).await.map_err(|_| SinkError::Died)?;
        Ok(PendingConfirm::from_receiver(published))
    }
}

struct PublisherTask {
    dialer: Dialer,
    route: Route,
    reporter: Reporter,
    requests: mpsc::Receiver<PublishRequest>,
    /// The requests that are not completed, in the order of their arrival.
    pending: VecDeque<PublishRequest>,
    /// The reason why publications must be sent again; `None` if there are none.
    problem: Option<PublishProblem>,
    /// True while only one request may be in progress: a session broke, and no request has
    /// completed since.
    one_at_a_time: bool,
    backoff: Backoff,
}

/// The reason why a publication was not delivered.
struct PublishProblem {
    /// `return` or `nack`, for the metric.
    reason: &'static str,
    why: String,
}

/// The [`Publisher`] was dropped, so no further request can come.
struct PublisherDropped;

impl PublisherTask {
    async fn run(mut self) {
        loop {
            let PublisherTask { dialer, route, requests, pending, .. } = &mut self;
            let opened = tokio::select! {
                opened = PublisherSession::open(dialer, route) => opened,
                PublisherDropped = publisher_dropped(requests, pending) => return,
            };
            let error = match opened {
                Ok(mut session) => {
                    self.reporter.ready();
                    self.reporter.connected(true);
                    let served = self.serve(&mut session).await;
                    self.reporter.connected(false);
                    match served {
                        Ok(PublisherDropped) => return session.close().await,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            ::metrics::counter!(metrics::SINK_RECONNECTS_TOTAL, "room" => self.reporter.room)
                .increment(1);
            self.reporter.retry(self.pending.iter().map(|request| request.sent).sum(), "session");
            self.pending.iter_mut().for_each(PublishRequest::reset);
            (self.problem, self.one_at_a_time) = (None, true);
            self.reporter.not_ready(error.to_string());
            if self.pause().await.is_err() {
                return;
            }
        }
    }

    /// Serves requests until the session breaks or the publisher is dropped.
    async fn serve(
        &mut self,
        session: &mut PublisherSession,
    ) -> Result<PublisherDropped, BrokerError> {
        let mut is_open = true;
        loop {
            self.complete_confirmed(session).await;
            if self.problem.is_some() && session.is_idle() {
                self.keep_undelivered(session).await;
                match self.pause().await {
                    Ok(()) => continue,
                    Err(publisher_dropped) => return Ok(publisher_dropped),
                }
            }
            if !is_open && self.pending.is_empty() {
                return Ok(PublisherDropped);
            }
            // After the completed requests, because these may have made room.
            self.send(session).await;
            let is_all_sent =
                self.pending.back().is_none_or(|request| request.sent == request.batch.len());
            let takes_more = is_open
                && is_all_sent
                && self.problem.is_none()
                && session.has_room_for(0)
                && self.pending.len() < REQUESTS_MAX;
            tokio::select! {
                biased;
                request = self.requests.recv(), if takes_more => match request {
                    Some(mut request) => {
                        request.since = Instant::now();
                        self.pending.push_back(request);
                    }
                    None => is_open = false,
                },
                () = caller_gone(&mut self.pending) => {
                    self.pending.retain(|request| !request.done.is_closed());
                    if !session.is_idle() {
                        // Their confirms are still to come on this channel, and would be counted
                        // for other requests.
                        return Err(BrokerError::Session("a batch was abandoned; \
                            reconnecting".to_owned()));
                    }
                }
                confirmed = session.confirmed(|blocked| self.reporter.blocked(blocked)) => {
                    let is_ack = confirmed?;
                    let mut requests = self.pending.iter_mut();
                    let request = requests.find(|request| request.confirmed < request.sent);
                    let request = request.ok_or_else(|| BrokerError::Session("the broker \
                        confirmed an unknown publication".to_owned()))?;
                    request.confirm(is_ack);
                    if !is_ack {
                        self.problem.get_or_insert_with(PublishProblem::refused);
                    }
                }
            }
        }
    }

    /// Sends as many publications as there is room for.
    async fn send(&mut self, session: &mut PublisherSession) {
        if self.problem.is_some() {
            return;
        }
        let requests_max = if self.one_at_a_time { 1 } else { REQUESTS_MAX };
        for request in self.pending.iter_mut().take(requests_max) {
            while let Some(publication) = request.batch.get(request.sent) {
                if !session.has_room_for(publication.body.len()) {
                    return;
                }
                session.send(publication).await;
                request.sent += 1;
            }
        }
    }

    /// Completes the fully confirmed requests, from the front: only for a prefix of the requests
    /// are all returned messages known.
    async fn complete_confirmed(&mut self, session: &mut PublisherSession) {
        while self.problem.is_none()
            && let Some(request) = self.pending.front()
            && request.confirmed == request.batch.len()
        {
            let returned = session.returned().await;
            self.note_returned(&returned);
            if let Some(request) =
                self.pending.pop_front_if(|request| request.undelivered.is_empty())
            {
                self.reporter.confirmed(request.batch.len(), request.since);
                self.one_at_a_time &= request.batch.is_empty();
                self.backoff.reset();
                self.reporter.takes_publications();
                let _ = request.done.send(());
            }
        }
    }

    /// Marks the publications that were returned: all with the message id of a returned one,
    /// because producers choose the ids of dead letters and may repeat them. If no id matches, all
    /// sent publications count as returned.
    fn note_returned(&mut self, returned: &[BasicReturnMessage]) {
        for message in returned {
            self.problem = Some(PublishProblem::returned(message));
            let id = message.properties.message_id();
            let mut is_matched = false;
            for request in self.pending.iter_mut().filter(|_| id.is_some()) {
                let sent = (0..).zip(&request.batch[..request.sent]);
                let before = request.undelivered.len();
                request.undelivered.extend(
                    sent.filter(|(_, one)| one.properties.message_id() == id)
                        .map(|(place, _)| place),
                );
                is_matched |= request.undelivered.len() > before;
            }
            if !is_matched {
                self.pending
                    .iter_mut()
                    .for_each(|request| request.undelivered.extend(0..request.sent));
            }
        }
    }

    /// Removes the delivered publications after the last confirm is in, and notes that the rest
    /// must be sent again.
    async fn keep_undelivered(&mut self, session: &mut PublisherSession) {
        let returned = session.returned().await;
        self.note_returned(&returned);
        let mut again = 0;
        for mut request in std::mem::take(&mut self.pending) {
            let undelivered = request.keep_undelivered();
            let delivered = request.sent - undelivered;
            again += undelivered;
            self.reporter.confirmed(delivered, request.since);
            if request.batch.is_empty() {
                let _ = request.done.send(());
            } else {
                request.reset();
                self.pending.push_back(request);
            }
        }
        if let Some(PublishProblem { reason, why }) = self.problem.take() {
            self.reporter.retry(again, reason);
            self.reporter.not_ready(why);
        }
    }

    async fn pause(&mut self) -> Result<(), PublisherDropped> {
        let PublisherTask { requests, pending, backoff, .. } = self;
        tokio::select! {
            () = tokio::time::sleep(backoff.next_pause()) => Ok(()),
            PublisherDropped = publisher_dropped(requests, pending) => Err(PublisherDropped),
        }
    }
}

/// Waits until the publisher is dropped. Meanwhile it queues new requests, and drops those whose
/// caller has gone.
async fn publisher_dropped(
    requests: &mut mpsc::Receiver<PublishRequest>,
    pending: &mut VecDeque<PublishRequest>,
) -> PublisherDropped {
    loop {
        match pending.front_mut() {
            Some(request) => {
                request.done.closed().await;
                pending.pop_front();
            }
            None => match requests.recv().await {
                Some(request) => pending.push_back(request),
                None => return PublisherDropped,
            },
        }
    }
}

/// Waits until the caller of the first request has gone.
async fn caller_gone(pending: &mut VecDeque<PublishRequest>) {
    match pending.front_mut() {
        Some(request) => request.done.closed().await,
        None => std::future::pending().await,
    }
}

impl PublishRequest {
    /// Forgets what was sent in a session, so that all of it is sent again.
    fn reset(&mut self) {
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

    /// Removes the publications that were sent and delivered; returns how many were sent and not
    /// delivered.
    fn keep_undelivered(&mut self) -> usize {
        let unsent = self.batch.split_off(self.sent);
        self.undelivered.sort_unstable();
        self.undelivered.dedup();
        let again: Vec<_> =
            self.undelivered.iter().map(|place| Arc::clone(&self.batch[*place])).collect();
        let undelivered = again.len();
        self.batch = again;
        self.batch.extend(unsent);
        undelivered
    }
}

impl PublishProblem {
    fn refused() -> PublishProblem {
        let why =
            "the broker refuses publications (a queue is full, or a policy forbids them); retrying"
                .to_owned();
        PublishProblem { reason: "nack", why }
    }

    fn returned(message: &BasicReturnMessage) -> PublishProblem {
        let (exchange, key) = (message.exchange.as_str(), &message.routing_key);
        let why = if exchange.is_empty() {
            // On the default exchange, the routing key is the queue's name, and bindings are not
            // possible.
            format!(
                "queue `{key}` does not exist ({}); waiting for it (`hailer topology --apply` \
                    creates it)",
                message.reply_text
            )
        } else {
            format!(
                "no queue is bound to exchange `{exchange}` for the key `{key}` ({}): bind one, \
                    or give the exchange an alternate exchange (`hailer topology`); retrying",
                message.reply_text
            )
        };
        PublishProblem { reason: "return", why }
    }
}
