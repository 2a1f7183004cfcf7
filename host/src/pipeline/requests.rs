//! What people ask of a running pipeline: to try failures again, to drop them, to erase a customer.
//!
//! Each is done in rounds, and **a round has the whole byte budget: it begins when everything before it is durable, and nothing is let in until
//! it is durable itself.** So it may read the store and know that no shard has anything newer. A request is answered page by page, so that
//! neither an answer nor a wait is without bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::arrivals::Arrivals;
use super::budget::{Budget, Held};
use super::group::Group;
use super::queues::{self, Chosen, Cursor, Dropped, Round, Which};
use super::retries::RetryWork;
use super::suspects::Name;
use super::{Accepted, Tried, TryResult, What, shard_of};
use crate::clock::{self, Millis};
use crate::erasure::{self, Erased, Whose};
use crate::records::FailureDelta;
use crate::store::{Changes, Store, StoreError};
use crate::story::{self, ClockReport};

/// A page is done after so long, if there is more.
const PAGE_TIME: Duration = Duration::from_secs(5);
/// What is told one by one of a page, at most.
const TOLD_MAX: usize = 100;
/// Requests that wait.
const REQUESTS_MAX: usize = 16;

/// A page of failures that were tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPage {
    /// Those that the rules have decided, or that had become void.
    pub settled: u64,
    pub failed_again: u64,
    /// Not called: the campaign does not run, or something in front of it failed again.
    pub not_called: u64,
    /// Those that were not settled, one by one; the first of many.
    pub told: Vec<Tried>,
    /// There is more: ask again from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A page of failures that were dropped. What nothing stands in front of any more is tried when the last of them is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropPage {
    pub dropped: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// What can be asked.
#[derive(Debug)]
pub enum Request {
    Retry {
        which: Which,
        from: Option<Cursor>,
        reply: Reply<RetryPage>,
    },
    Drop {
        which: Which,
        from: Option<Cursor>,
        reply: Reply<DropPage>,
    },
    Erase {
        whose: Whose,
        reply: Reply<Option<Erased>>,
    },
    /// Compare the clocks, and accept the machine's if that is asked for.
    Clock {
        accept: bool,
        reply: Reply<ClockReport>,
    },
}

/// Where the answer goes; an error is a sentence for whoever asked.
pub type Reply<T> = oneshot::Sender<Result<T, String>>;

/// By which requests reach the pipeline.
#[derive(Clone, Debug)]
pub struct Door {
    requests: mpsc::Sender<Request>,
    is_open: Arc<AtomicBool>,
}

/// The inside of the door.
#[derive(Debug)]
pub struct Doorway {
    requests: mpsc::Receiver<Request>,
    is_open: Arc<AtomicBool>,
}

const SHUTTING_DOWN: &str = "the engine is shutting down; ask again when it runs";
const STARTING: &str =
    "the engine is still starting: it waits for its source or its sink; `hailer campaigns` and the log say what for";

impl Door {
    /// Both sides of a door, which is closed until a pipeline starts.
    #[must_use]
    pub fn new() -> (Door, Doorway) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let is_open = Arc::<AtomicBool>::default();
        (Door { requests: sender, is_open: Arc::clone(&is_open) }, Doorway { requests, is_open })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is no pipeline to answer, or it can't be done.
    pub async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, String> {
        if !self.is_open.load(Ordering::Acquire) {
            return Err(STARTING.to_owned());
        }
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| SHUTTING_DOWN.to_owned())?;
        answer.await.unwrap_or_else(|_| Err(SHUTTING_DOWN.to_owned()))
    }
}

/// Answers requests, one after another.
pub(super) struct Requests {
    pub(super) store: Arc<dyn Store>,
    pub(super) arrivals: Arc<Arrivals>,
    /// Neither keeps the pipeline alive: it ends with its source.
    pub(super) shards: Vec<mpsc::WeakSender<Accepted>>,
    pub(super) groups: mpsc::WeakSender<Group>,
    pub(super) budget: Budget,
    /// Ends when the entrance is gone.
    pub(super) entrance: watch::Receiver<Millis>,
    /// For how long decisions are kept.
    pub(super) journal_ms: Millis,
}

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error("{SHUTTING_DOWN}")]
    ShuttingDown,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Requests {
    /// Answers until the entrance is gone.
    pub(super) async fn run(mut self, mut doorway: Doorway) -> Result<(), StoreError> {
        doorway.is_open.store(true, Ordering::Release);
        let mut are_asked = true;
        // The last run may have ended between what made something ready and its turn.
        let mut ready = Some(Cursor::default());
        let mut not_before = Instant::now();
        loop {
            let request = tokio::select! {
                biased;
                () = ended(&mut self.entrance) => return Ok(()),
                request = doorway.requests.recv(), if are_asked => request,
                () = tokio::time::sleep_until(not_before.into()), if ready.is_some() => {
                    ready = match self.retry(Which::Ready, ready, Duration::ZERO).await {
                        Ok(page) => page.next,
                        Err(Undone::ShuttingDown) => None,
                        Err(Undone::Store(error)) => return Err(error),
                    };
                    continue;
                }
            };
            let Some(request) = request else {
                are_asked = false;
                continue;
            };
            // Whoever asked may have gone; what they asked for is done all the same.
            match request {
                Request::Retry { which, from, reply } => {
                    let _ = reply.send(said(self.retry(which, from, PAGE_TIME).await)?);
                }
                Request::Drop { which, from, reply } => {
                    let page = said(self.drop(which, from).await)?;
                    // Not what the next page drops; if nobody asks for it, what stands behind goes on all the same.
                    let is_last = page.as_ref().is_ok_and(|page| page.next.is_none());
                    not_before = Instant::now() + if is_last { Duration::ZERO } else { 2 * PAGE_TIME };
                    ready = Some(Cursor::default());
                    let _ = reply.send(page);
                }
                Request::Erase { whose, reply } => {
                    let _ = reply.send(said(self.erase(whose).await)?);
                }
                Request::Clock { accept, reply } => {
                    let _ = reply.send(said(self.clock(accept).await)?);
                }
            }
        }
    }

    /// Tries failures again, each queue in order and up to the first that fails again, for about so long.
    async fn retry(&self, which: Which, from: Option<Cursor>, time: Duration) -> Result<RetryPage, Undone> {
        let began = Instant::now();
        let chosen = Arc::new(self.read(move |store| Chosen::of(&*store.snapshot()?, which)).await?);
        let mut page = RetryPage { next: Some(from.unwrap_or_default()), ..RetryPage::default() };
        while let Some(cursor) = page.next.take() {
            // Looked for before the barrier, which is not raised for nothing.
            let looked = Arc::clone(&chosen);
            let looks_at = cursor.clone();
            let found = self.read(move |store| queues::round(&*store.snapshot()?, &looked, looks_at)).await?;
            if found.queues.is_empty() && found.cursor.is_none() {
                page.passed_over(found);
                break;
            }
            let barrier = Arc::new(self.budget.take(usize::MAX).await);
            let looked = Arc::clone(&chosen);
            let mut found = self.read(move |store| queues::round(&*store.snapshot()?, &looked, cursor)).await?;
            let queues = std::mem::take(&mut found.queues);
            let wanted: usize = queues.iter().map(|queue| queue.failures.len()).sum();
            let (tried, mut told) = mpsc::unbounded_channel();
            for queue in queues {
                self.send(queue.into_work(tried.clone(), Arc::clone(&barrier))).await?;
            }
            drop((tried, barrier));
            let mut cursor = found.cursor.take();
            let mut seen = 0;
            while let Some(tried) = told.recv().await {
                seen += 1;
                page.count(tried, &mut cursor);
            }
            if seen < wanted {
                return Err(Undone::ShuttingDown);
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
    async fn drop(&self, which: Which, from: Option<Cursor>) -> Result<DropPage, Undone> {
        let chosen = self.read(move |store| Chosen::of(&*store.snapshot()?, which)).await?;
        let cursor = from.unwrap_or_default();
        let barrier = Arc::new(self.budget.take(usize::MAX).await);
        let dropped = self.read(move |store| queues::drop(&*store.snapshot()?, &chosen, &cursor)).await?;
        let Dropped { changes, deltas, count, next } = dropped;
        if count > 0 {
            self.commit(changes, deltas, 0, barrier).await?;
        }
        Ok(DropPage { dropped: count, next })
    }

    /// Erases what is kept about a customer, for about the time of a page; `None` if that is nothing.
    async fn erase(&self, whose: Whose) -> Result<Option<Erased>, Undone> {
        let began = Instant::now();
        let mut erased: Option<Erased> = None;
        loop {
            let barrier = Arc::new(self.budget.take(usize::MAX).await);
            let whose = whose.clone();
            let step = self.read(move |store| erasure::step(&*store.snapshot()?, &whose)).await?;
            let Some(erasure::Step { changes, deltas, journal_bytes_freed, erased: more }) = step else {
                return Ok(erased);
            };
            self.commit(changes, deltas, journal_bytes_freed, barrier).await?;
            let so_far = more.after(erased);
            if so_far.is_whole || began.elapsed() > PAGE_TIME {
                return Ok(Some(so_far));
            }
            erased = Some(so_far);
        }
    }

    /// Compares the engine's time with the machine's clock. If that is accepted, it is so when this returns, also for the next start.
    async fn clock(&self, accept: bool) -> Result<ClockReport, Undone> {
        let doubt = self.arrivals.look_at_clock();
        let told = (self.arrivals.last_now(), doubt);
        let (machine_ms, journal_ms) = (clock::now_ms(), self.journal_ms);
        let report = move |store: &dyn Store| story::clock_report(&*store.snapshot()?, told, machine_ms, journal_ms);
        let mut report = self.read(report).await?;
        if accept && self.arrivals.accept_clock().is_some() {
            report.is_accepted = true;
            tracing::warn!(?doubt, "an operator has accepted the machine's clock; the engine goes by it");
            self.commit(Changes::default(), Vec::new(), 0, Arc::default()).await?;
        }
        Ok(report)
    }

    /// Has changes committed, and waits for it.
    async fn commit(
        &self,
        changes: Changes,
        failures: Vec<FailureDelta>,
        journal_bytes_freed: u64,
        barrier: Arc<Held>,
    ) -> Result<(), Undone> {
        let (committed, is_committed) = oneshot::channel();
        let group = Group { changes, failures, journal_bytes_freed, committed: Some(committed), ..Group::of_nobody() };
        let groups = self.groups.upgrade().ok_or(Undone::ShuttingDown)?;
        groups.send(group).await.map_err(|_| Undone::ShuttingDown)?;
        drop(groups);
        is_committed.await.map_err(|_| Undone::ShuttingDown)?;
        drop(barrier);
        Ok(())
    }

    async fn send(&self, work: RetryWork) -> Result<(), Undone> {
        let name = work.failures.first().map(|first| Name::of_failure(&first.key));
        let what = What::Retry(Box::new(work));
        let accepted = Accepted { what, name, now: self.arrivals.now(), receipt: None, held: Held::default() };
        let shard = self.shards.get(shard_of(&accepted, self.shards.len())).and_then(mpsc::WeakSender::upgrade);
        shard.ok_or(Undone::ShuttingDown)?.send(accepted).await.map_err(|_| Undone::ShuttingDown)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || read(&*store)).await.map_err(|_| StoreError::Interrupted)?
    }
}

impl RetryPage {
    /// Counts one, and lets the cursor know of it.
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
        if self.told.len() < TOLD_MAX {
            self.told.push(tried);
        }
    }

    fn passed_over(&mut self, round: Round) {
        self.not_called += round.passed_over;
    }

    /// Adds the next page.
    pub fn add(&mut self, next: RetryPage) {
        self.settled += next.settled;
        self.failed_again += next.failed_again;
        self.not_called += next.not_called;
        let room = TOLD_MAX.saturating_sub(self.told.len());
        self.told.extend(next.told.into_iter().take(room));
        self.next = next.next;
    }
}

/// What to say to whoever asked. A store that can't be read ends the pipeline.
fn said<T>(done: Result<T, Undone>) -> Result<Result<T, String>, StoreError> {
    match done {
        Ok(answer) => Ok(Ok(answer)),
        Err(Undone::ShuttingDown) => Ok(Err(SHUTTING_DOWN.to_owned())),
        Err(Undone::Store(error)) => Err(error),
    }
}

/// Waits until the entrance is gone.
async fn ended(entrance: &mut watch::Receiver<Millis>) {
    while entrance.changed().await.is_ok() {}
}
