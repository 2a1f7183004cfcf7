//! Requests of operators to a running pipeline: retry failures, drop failures or deferred messages,
//! erase a customer, import consents, compare the clocks.
//!
//! Each request is carried out in rounds. **A round has the whole byte budget: it begins when
//! everything before it is durable, and no event is accepted until it is durable itself.** So a
//! round may read the store and know that no shard has newer rows. A request is answered page by
//! page, which bounds both the size of an answer and the wait for it.

mod import;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::budget::{Budget, Held};
use super::counts;
use super::deferrals::Deferrals;
use super::drop_deferred::{DroppedDeferred, drop_deferred};
use super::group::Group;
use super::intake::IntakeState;
use super::poison::InFlightId;
use super::queues::{self, Chosen, Cursor, Dropped, FailureSelection, Round};
use super::retries::RetryWork;
use super::settings::StoreSettings;
use super::shard::Shared;
use super::{Accepted, Rules, Tried, TryResult, What, shard_of};
use crate::clock_report::{self, ClockReport};
use crate::consents::{ImportRequest, Imported};
use crate::deferred::DeferredSelection;
use crate::erasure::{self, EraseRequest, Erased};
use hailer_base::clock::{self, Millis};
use hailer_policies::Reason;
use hailer_store::{Store, StoreError};

/// A page ends after this time if there is more to do.
const PAGE_TIME: Duration = Duration::from_secs(5);
/// The most failures that a page lists one by one.
const LISTED_MAX: usize = 100;
/// The most requests that wait.
const REQUESTS_MAX: usize = 16;

/// The results of a page of retries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPage {
    /// Failures that the rules have decided, or that had become void.
    pub settled: u64,
    pub failed_again: u64,
    /// Failures whose rule was not called: the campaign does not run, or a failure ahead of it
    /// failed again.
    pub not_called: u64,
    /// The failures that were not settled, up to a bound.
    #[serde(rename = "told")]
    pub unsettled: Vec<Tried>,
    /// The start of the next page; `None` if this is the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// The results of a page of drops. After the last page, held events with no failure ahead of them
/// any more are decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropPage {
    pub dropped: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// The results of a page of dropped deferred messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeferredDropPage {
    pub dropped: u64,
    /// The key to go on behind; `None` on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Vec<u8>>,
}

/// A request.
#[derive(Debug)]
pub enum Request {
    Retry {
        selection: FailureSelection,
        from: Option<Cursor>,
        reply: Reply<RetryPage>,
    },
    Drop {
        selection: FailureSelection,
        from: Option<Cursor>,
        reply: Reply<DropPage>,
    },
    /// Drops deferred messages from behind the key `after` on.
    DropDeferred {
        selection: DeferredSelection,
        after: Vec<u8>,
        reply: Reply<DeferredDropPage>,
    },
    Erase {
        request: EraseRequest,
        reply: Reply<Option<Erased>>,
    },
    Import {
        request: ImportRequest,
        reply: Reply<Imported>,
    },
    /// Compares the clocks, and accepts the machine's clock if `accept` is set.
    Clock {
        accept: bool,
        reply: Reply<ClockReport>,
    },
}

/// Receives the answer. An error is a sentence for the operator.
pub type Reply<T> = oneshot::Sender<Result<T, String>>;

/// Sends requests to the pipeline.
#[derive(Clone, Debug)]
pub struct RequestSender {
    requests: mpsc::Sender<Request>,
    is_open: Arc<AtomicBool>,
}

/// The pipeline's side of a [`RequestSender`].
#[derive(Debug)]
pub struct RequestReceiver {
    requests: mpsc::Receiver<Request>,
    is_open: Arc<AtomicBool>,
}

const SHUTTING_DOWN: &str = "the engine is shutting down; repeat the command when it runs";
const STARTING: &str = "the engine is still starting: it waits for its source or its sink; \
                        `hailer campaigns` and the log say what for";

impl RequestSender {
    /// Both sides of the channel. The sender refuses requests until a pipeline starts.
    #[must_use]
    pub fn new() -> (RequestSender, RequestReceiver) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let is_open = Arc::<AtomicBool>::default();
        (
            RequestSender { requests: sender, is_open: Arc::clone(&is_open) },
            RequestReceiver { requests, is_open },
        )
    }

    /// Sends a request, and waits for the answer.
    ///
    /// # Errors
    /// No pipeline runs, or the request cannot be carried out.
    pub async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, String> {
        if !self.is_open.load(Ordering::Acquire) {
            return Err(STARTING.to_owned());
        }
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| SHUTTING_DOWN.to_owned())?;
        answer.await.unwrap_or_else(|_| Err(SHUTTING_DOWN.to_owned()))
    }
}

/// Carries out requests, one after another.
pub(super) struct Requests {
    pub(super) store: Arc<dyn Store>,
    pub(super) intake: Arc<IntakeState>,
    pub(super) rules: Rules,
    /// The senders are weak, so that the pipeline ends with its source.
    pub(super) shards: Vec<mpsc::WeakSender<Accepted>>,
    pub(super) groups: mpsc::WeakSender<Group>,
    pub(super) budget: Budget,
    /// A channel that closes when the entrance ends.
    pub(super) entrance: watch::Receiver<Millis>,
    /// The time for which the journal keeps decisions, in milliseconds.
    pub(super) journal_ms: Millis,
    pub(super) deferrals: Deferrals,
}

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("{SHUTTING_DOWN}")]
    ShuttingDown,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Requests {
    pub(super) fn new(
        store_settings: &StoreSettings,
        shared: &Shared,
        rules: &Rules,
        shards: Vec<mpsc::WeakSender<Accepted>>,
        groups: &mpsc::Sender<Group>,
        budget: &Budget,
        entrance: watch::Receiver<Millis>,
    ) -> Requests {
        Requests {
            store: Arc::clone(&store_settings.store),
            intake: Arc::clone(&shared.intake),
            rules: rules.clone(),
            shards,
            groups: groups.downgrade(),
            budget: budget.clone(),
            entrance,
            journal_ms: store_settings.retention.journal_ms,
            deferrals: shared.deferrals.clone(),
        }
    }

    /// Carries out requests until the entrance is gone.
    pub(super) async fn run(mut self, mut receiver: RequestReceiver) -> Result<(), StoreError> {
        receiver.is_open.store(true, Ordering::Release);
        let mut are_asked = true;
        // The last run may have ended before it decided the held events that had become ready.
        let mut ready = Some(Cursor::default());
        let mut not_before = Instant::now();
        loop {
            let request = tokio::select! {
                biased;
                () = ended(&mut self.entrance) => return Ok(()),
                request = receiver.requests.recv(), if are_asked => request,
                () = tokio::time::sleep_until(not_before.into()), if ready.is_some() => {
                    ready = match self.retry(FailureSelection::Ready, ready, Duration::ZERO).await {
                        Ok(page) => page.next,
                        Err(RequestError::ShuttingDown) => None,
                        Err(RequestError::Store(error)) => return Err(error),
                    };
                    continue;
                }
            };
            let Some(request) = request else {
                are_asked = false;
                continue;
            };
            // If the requester is gone, the request is carried out all the same.
            match request {
                Request::Retry { selection, from, reply } => {
                    let _ =
                        reply.send(answer_or_end(self.retry(selection, from, PAGE_TIME).await)?);
                }
                Request::Drop { selection, from, reply } => {
                    let page = answer_or_end(self.drop(selection, from).await)?;
                    // The delay leaves the next page the chance to drop more. If no next page is
                    // requested, the events behind the dropped ones are decided all the same.
                    let is_last = page.as_ref().is_ok_and(|page| page.next.is_none());
                    not_before =
                        Instant::now() + if is_last { Duration::ZERO } else { 2 * PAGE_TIME };
                    ready = Some(Cursor::default());
                    let _ = reply.send(page);
                }
                Request::DropDeferred { selection, after, reply } => {
                    let page = answer_or_end(self.drop_deferred(selection, after).await)?;
                    let _ = reply.send(page);
                }
                Request::Erase { request, reply } => {
                    let _ = reply.send(answer_or_end(self.erase(request).await)?);
                }
                Request::Import { request, reply } => {
                    let checked = request.check();
                    let _ = reply.send(match checked {
                        Ok(()) => answer_or_end(self.import(request).await)?,
                        Err(reason) => Err(reason),
                    });
                }
                Request::Clock { accept, reply } => {
                    let _ = reply.send(answer_or_end(self.clock(accept).await)?);
                }
            }
        }
    }

    /// Retries failures for about `time`. Each queue is retried in order, up to the first failure
    /// that fails again.
    async fn retry(
        &self,
        selection: FailureSelection,
        from: Option<Cursor>,
        time: Duration,
    ) -> Result<RetryPage, RequestError> {
        let began = Instant::now();
        let chosen =
            Arc::new(self.read(move |store| Chosen::of(&*store.snapshot()?, selection)).await?);
        let mut page = RetryPage { next: Some(from.unwrap_or_default()), ..RetryPage::default() };
        while let Some(cursor) = page.next.take() {
            // Look first without the barrier, so that it is raised only if there is work.
            let selection = Arc::clone(&chosen);
            let position = cursor.clone();
            let found = self
                .read(move |store| queues::round(&*store.snapshot()?, &selection, position))
                .await?;
            if found.queues.is_empty() && found.cursor.is_none() {
                page.passed_over(found);
                break;
            }
            let barrier = Arc::new(self.budget.take(usize::MAX).await);
            let selection = Arc::clone(&chosen);
            let mut found = self
                .read(move |store| queues::round(&*store.snapshot()?, &selection, cursor))
                .await?;
            let queues = std::mem::take(&mut found.queues);
            let wanted: usize = queues.iter().map(|queue| queue.failures.len()).sum();
            let (tried, mut results) = mpsc::unbounded_channel();
            for queue in queues {
                self.send(queue.into_work(tried.clone(), Arc::clone(&barrier))).await?;
            }
            drop((tried, barrier));
            let mut cursor = found.cursor.take();
            let mut received = 0;
            while let Some(tried) = results.recv().await {
                received += 1;
                page.count(tried, &mut cursor);
            }
            if received < wanted {
                return Err(RequestError::ShuttingDown);
            }
            for tried in std::mem::take(&mut found.untried) {
                page.count(tried, &mut cursor);
            }
            page.passed_over(found);
            page.next = cursor;
            if began.elapsed() > time {
                break;
            }
        }
        Ok(page)
    }

    /// Drops failures.
    async fn drop(
        &self,
        selection: FailureSelection,
        from: Option<Cursor>,
    ) -> Result<DropPage, RequestError> {
        let chosen = self.read(move |store| Chosen::of(&*store.snapshot()?, selection)).await?;
        let cursor = from.unwrap_or_default();
        let barrier = Arc::new(self.budget.take(usize::MAX).await);
        let dropped =
            self.read(move |store| queues::drop(&*store.snapshot()?, &chosen, &cursor)).await?;
        let Dropped { changes, deltas, count, next } = dropped;
        if count > 0 {
            let group = Group { changes, failures: deltas, ..Group::of_nobody() };
            self.commit(group, barrier).await?;
        }
        Ok(DropPage { dropped: count, next })
    }

    /// Drops deferred messages, one page.
    async fn drop_deferred(
        &self,
        selection: DeferredSelection,
        after: Vec<u8>,
    ) -> Result<DeferredDropPage, RequestError> {
        let barrier = Arc::new(self.budget.take(usize::MAX).await);
        let decided = (self.intake.now(), self.rules.current.load().number);
        let dropped = self
            .read(move |store| drop_deferred(&*store.snapshot()?, &selection, &after, decided))
            .await?;
        let DroppedDeferred { changes, journal, messages, next } = dropped;
        let dropped = messages.len() as u64;
        if dropped > 0 {
            let deferred = -(messages.len() as i64);
            let group = Group { changes, journal, deferred, ..Group::of_nobody() };
            self.commit(group, barrier).await?;
            self.deferrals.give_back(dropped);
            self.intake.count(|tally| {
                for (campaign, channel) in messages {
                    counts::count_undeferred(tally, &campaign, channel, Reason::Cancelled);
                }
            });
        }
        Ok(DeferredDropPage { dropped, next })
    }

    /// Erases a customer, for about the time of a page; `None` if nothing is known about the
    /// customer.
    async fn erase(&self, request: EraseRequest) -> Result<Option<Erased>, RequestError> {
        let began = Instant::now();
        let mut erased: Option<Erased> = None;
        loop {
            let barrier = Arc::new(self.budget.take(usize::MAX).await);
            let request = request.clone();
            let step = self.read(move |store| erasure::step(&*store.snapshot()?, &request)).await?;
            let Some(erasure::Step {
                changes,
                deltas,
                journal_bytes_freed,
                deferred,
                erased: more,
            }) = step
            else {
                return Ok(erased);
            };
            let group = Group {
                changes,
                failures: deltas,
                journal_bytes_freed,
                deferred: -(deferred as i64),
                ..Group::of_nobody()
            };
            self.commit(group, barrier).await?;
            self.deferrals.give_back(deferred);
            let so_far = more.after(erased);
            if so_far.is_whole || began.elapsed() > PAGE_TIME {
                return Ok(Some(so_far));
            }
            erased = Some(so_far);
        }
    }

    /// Compares the engine's time with the machine's clock. If the clock is accepted, that is
    /// durable when this returns, so it also holds for the next start.
    async fn clock(&self, accept: bool) -> Result<ClockReport, RequestError> {
        let doubt = self.intake.look_at_clock();
        let known = (self.intake.last_now(), doubt);
        let (machine_ms, journal_ms) = (clock::now_ms(), self.journal_ms);
        let report = move |store: &dyn Store| {
            clock_report::clock_report(&*store.snapshot()?, known, machine_ms, journal_ms)
        };
        let mut report = self.read(report).await?;
        if accept && self.intake.accept_clock().is_some() {
            report.is_accepted = true;
            tracing::warn!(
                ?doubt,
                "an operator has accepted the machine's clock; the engine trusts it from now on"
            );
            self.commit(Group::of_nobody(), Arc::default()).await?;
        }
        Ok(report)
    }

    /// Sends a group to the committer, and waits until it is committed.
    async fn commit(&self, group: Group, barrier: Arc<Held>) -> Result<(), RequestError> {
        let (committed, is_committed) = oneshot::channel();
        let group = Group { committed: Some(committed), ..group };
        let groups = self.groups.upgrade().ok_or(RequestError::ShuttingDown)?;
        groups.send(group).await.map_err(|_| RequestError::ShuttingDown)?;
        drop(groups);
        is_committed.await.map_err(|_| RequestError::ShuttingDown)?;
        drop(barrier);
        Ok(())
    }

    async fn send(&self, work: RetryWork) -> Result<(), RequestError> {
        let name = work.failures.first().map(|first| InFlightId::of_failure(&first.key));
        let what = What::Retry(Box::new(work));
        let accepted =
            Accepted { what, name, now: self.intake.now(), receipt: None, held: Held::default() };
        let shard = self
            .shards
            .get(shard_of(&accepted, self.shards.len()))
            .and_then(mpsc::WeakSender::upgrade);
        shard
            .ok_or(RequestError::ShuttingDown)?
            .send(accepted)
            .await
            .map_err(|_| RequestError::ShuttingDown)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || read(&*store))
            .await
            .map_err(|_| StoreError::Interrupted)?
    }
}

impl RetryPage {
    /// Counts a result, and updates the cursor.
    fn count(&mut self, tried: Tried, cursor: &mut Option<Cursor>) {
        if let Some(cursor) = cursor {
            cursor.note(&tried);
        }
        match tried.result {
            TryResult::Decided | TryResult::Void => {
                self.settled += 1;
                return;
            }
            TryResult::FailedAgain { .. } => self.failed_again += 1,
            TryResult::NotCalled { .. } => self.not_called += 1,
        }
        if self.unsettled.len() < LISTED_MAX {
            self.unsettled.push(tried);
        }
    }

    fn passed_over(&mut self, round: Round) {
        self.not_called += round.passed_over;
    }

    /// Adds the results of the next page.
    pub fn add(&mut self, next: RetryPage) {
        self.settled += next.settled;
        self.failed_again += next.failed_again;
        self.not_called += next.not_called;
        let room = LISTED_MAX.saturating_sub(self.unsettled.len());
        self.unsettled.extend(next.unsettled.into_iter().take(room));
        self.next = next.next;
    }
}

/// Turns a shutdown into an answer to the operator. An error of the store ends the pipeline.
fn answer_or_end<T>(done: Result<T, RequestError>) -> Result<Result<T, String>, StoreError> {
    match done {
        Ok(answer) => Ok(Ok(answer)),
        Err(RequestError::ShuttingDown) => Ok(Err(SHUTTING_DOWN.to_owned())),
        Err(RequestError::Store(error)) => Err(error),
    }
}

/// Waits until the entrance is gone.
async fn ended(entrance: &mut watch::Receiver<Millis>) {
    while entrance.changed().await.is_ok() {}
}
