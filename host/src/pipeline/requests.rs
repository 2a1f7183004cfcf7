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
use super::failures::Delta;
use super::group::Group;
use super::queues::{self, Cursor, Round, Select};
use super::retries::RetryWork;
use super::{Accepted, Tried, TryResult, What, shard_of};
use crate::clock::Millis;
use crate::erasure::{self, Erased, Whose};
use crate::store::{Changes, Store, StoreError};

/// A page is done after so long, if there is more.
const PAGE_TIME: Duration = Duration::from_secs(5);
/// What is told one by one of a page, at most.
const TOLD_MAX: usize = 100;
/// Requests that wait.
const REQUESTS_MAX: usize = 16;

/// Which failures are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    Numbers(Vec<u64>),
    Campaign(String),
    All,
}

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

/// A page of failures that were dropped, and what could be decided as nothing stands in front of it any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropPage {
    pub dropped: u64,
    pub freed: RetryPage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// What can be asked.
#[derive(Debug)]
pub enum Request {
    Retry { which: Which, from: Option<Cursor>, reply: Reply<RetryPage> },
    Drop { which: Which, from: Option<Cursor>, reply: Reply<DropPage> },
    Erase { whose: Whose, reply: Reply<Option<Erased>> },
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
        loop {
            let request = tokio::select! {
                request = doorway.requests.recv() => request,
                () = ended(&mut self.entrance) => return Ok(()),
            };
            let Some(request) = request else {
                ended(&mut self.entrance).await;
                return Ok(());
            };
            // Whoever asked may have gone; what they asked for is done all the same.
            match request {
                Request::Retry { which, from, reply } => {
                    let _ = reply.send(said(self.retry(Select::of(which), from).await)?);
                }
                Request::Drop { which, from, reply } => {
                    let _ = reply.send(said(self.drop(Select::of(which), from).await)?);
                }
                Request::Erase { whose, reply } => {
                    let _ = reply.send(said(self.erase(whose).await)?);
                }
            }
        }
    }

    /// Tries failures again, each queue in order and up to the first that fails again.
    async fn retry(&self, select: Select, from: Option<Cursor>) -> Result<RetryPage, Undone> {
        let began = Instant::now();
        let mut page = RetryPage { next: Some(from.unwrap_or_default()), ..RetryPage::default() };
        while let Some(cursor) = page.next.take() {
            let barrier = Arc::new(self.budget.take(usize::MAX).await);
            let select_too = select.clone();
            let Round { queues, mut cursor } =
                self.read(move |store| queues::round(&*store.snapshot()?, &select_too, cursor)).await?;
            let wanted: usize = queues.iter().map(|queue| queue.failures.len()).sum();
            let (tried, mut told) = mpsc::unbounded_channel();
            for queue in queues {
                self.send(queue.into_work(tried.clone(), Arc::clone(&barrier))).await?;
            }
            drop((tried, barrier));
            let mut seen = 0;
            while let Some(tried) = told.recv().await {
                seen += 1;
                if let Some(cursor) = &mut cursor {
                    cursor.note(&tried);
                }
                page.count(tried);
            }
            if seen < wanted {
                return Err(Undone::ShuttingDown);
            }
            page.next = cursor;
            if began.elapsed() > PAGE_TIME {
                break;
            }
        }
        Ok(page)
    }

    /// Drops failures, and lets what stood behind them go on.
    async fn drop(&self, select: Select, from: Option<Cursor>) -> Result<DropPage, Undone> {
        let barrier = Arc::new(self.budget.take(usize::MAX).await);
        let cursor = from.unwrap_or_default();
        let dropped = self.read(move |store| queues::drop(&*store.snapshot()?, &select, cursor)).await?;
        let queues::Dropped { changes, deltas, count, queues, next } = dropped;
        self.commit(changes, deltas, 0, barrier).await?;
        let freed = self.retry(Select::Behind(Arc::new(queues)), None).await?;
        Ok(DropPage { dropped: count, freed, next })
    }

    /// Erases what is kept about a customer; `None` if that is nothing.
    async fn erase(&self, whose: Whose) -> Result<Option<Erased>, Undone> {
        let mut erased: Option<Erased> = None;
        loop {
            let barrier = Arc::new(self.budget.take(usize::MAX).await);
            let whose = whose.clone();
            let step = self.read(move |store| erasure::step(&*store.snapshot()?, &whose)).await?;
            let Some(erasure::Step { changes, deltas, journal_bytes_freed, erased: more, is_last }) = step else {
                return Ok(erased);
            };
            let deltas = deltas.into_iter().map(|(campaign, count, bytes)| Delta { campaign, count, bytes }).collect();
            self.commit(changes, deltas, journal_bytes_freed, barrier).await?;
            match &mut erased {
                Some(erased) => erased.add(more),
                None => erased = Some(more),
            }
            if is_last {
                return Ok(erased);
            }
        }
    }

    /// Has changes committed, and waits for it.
    async fn commit(
        &self,
        changes: Changes,
        failures: Vec<Delta>,
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
        let what = What::Retry(Box::new(work));
        let accepted = Accepted { what, name: None, now: self.arrivals.now(), receipt: None, held: Held::default() };
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
    fn count(&mut self, tried: Tried) {
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
