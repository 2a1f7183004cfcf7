//! What the socket answers about the engine's store. It is read beside the events' path: on threads of its own, few at a time, from
//! snapshots, which neither wait for a commit nor hold one up.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use hailer_abi::manifest::Handler;
use tokio::sync::Semaphore;

use super::protocol::BackupStatus;
use crate::clock;
use crate::engine::{Mode, RuleSet};
use crate::store::{Store, StoreError};
use crate::story::{
    self, DecisionPage, DecisionQuery, FailurePage, FailureQuery, FailureShown, Overview, Question, Story, Taker,
};

/// More questions than this wait: each may read hundreds of megabytes, and the events come first.
const READERS_MAX: usize = 2;

/// The engine's store, for questions.
#[derive(Clone, Debug)]
pub struct StoreDoor {
    /// Not to keep it open: the engine's end closes it, whoever is connected.
    store: Weak<dyn Store>,
    /// `None` for a store in memory.
    directory: Option<PathBuf>,
    rules: Arc<ArcSwap<RuleSet>>,
    readers: Arc<Semaphore>,
    backup: Arc<Mutex<Backup>>,
}

/// The backup that runs, or the last one.
#[derive(Debug, Default)]
struct Backup {
    directory: PathBuf,
    began: Option<Instant>,
    /// `None` while it runs.
    ended: Option<Result<(), String>>,
}

/// Why the store can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{SHUTTING_DOWN}")]
    ShuttingDown,
}

const SHUTTING_DOWN: &str = "the engine is shutting down";

impl StoreDoor {
    #[must_use]
    pub fn new(store: &Arc<dyn Store>, directory: Option<PathBuf>, rules: Arc<ArcSwap<RuleSet>>) -> StoreDoor {
        let store = Arc::downgrade(store);
        StoreDoor { store, directory, rules, readers: Arc::new(Semaphore::new(READERS_MAX)), backup: Arc::default() }
    }

    pub(super) async fn why(&self, question: Question) -> Result<Story, ReadError> {
        let rules = self.rules.load_full();
        self.read(move |store| story::tell(&*store.snapshot()?, &question, Some(&takers(&rules)))).await
    }

    pub(super) async fn decisions(&self, query: DecisionQuery) -> Result<DecisionPage, ReadError> {
        self.read(move |store| story::decisions(&*store.snapshot()?, &query)).await
    }

    pub(super) async fn failures(&self, query: FailureQuery) -> Result<FailurePage, ReadError> {
        self.read(move |store| story::failures(&*store.snapshot()?, &query)).await
    }

    pub(super) async fn failure(&self, number: u64) -> Result<Option<FailureShown>, ReadError> {
        self.read(move |store| story::failure(&*store.snapshot()?, number)).await
    }

    pub(super) async fn overview(&self) -> Result<Overview, ReadError> {
        let directory = self.directory.as_ref().map(|directory| directory.display().to_string());
        self.read(move |store| story::overview(store, directory, clock::reading())).await
    }

    /// Begins a backup, which goes on whoever waits for it; one at a time.
    pub(super) fn begin_backup(&self, to: PathBuf) -> Result<(), String> {
        if !to.is_absolute() {
            return Err(format!(
                "`{}` is not a whole path: the engine has a working directory of its own",
                to.display()
            ));
        }
        let mut backup = self.lock();
        if backup.began.is_some() && backup.ended.is_none() {
            return Err(format!(
                "a backup to `{}` is being made already; wait for its end",
                backup.directory.display()
            ));
        }
        *backup = Backup { directory: to.clone(), began: Some(Instant::now()), ended: None };
        let store = self.store.upgrade().ok_or_else(|| SHUTTING_DOWN.to_owned())?;
        let door = self.clone();
        tokio::spawn(async move {
            let directory = to.display().to_string();
            let ended = tokio::task::spawn_blocking(move || store.backup(&to)).await;
            let ended = ended.unwrap_or(Err(StoreError::Interrupted)).map_err(|error| error.to_string());
            match &ended {
                Ok(()) => tracing::info!(directory, "the store was backed up"),
                Err(error) => tracing::warn!(directory, error, "the store was not backed up"),
            }
            door.lock().ended = Some(ended);
        });
        Ok(())
    }

    pub(super) fn backup(&self) -> Option<BackupStatus> {
        let backup = self.lock();
        let seconds = backup.began?.elapsed().as_secs();
        let (is_done, error) = match &backup.ended {
            None => (false, None),
            Some(ended) => (true, ended.clone().err()),
        };
        Some(BackupStatus { directory: backup.directory.clone(), seconds, is_done, error })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ReadError> {
        // The semaphore is never closed. The place is kept until the reading ends, also if nobody waits for it any more.
        let place = Arc::clone(&self.readers).acquire_owned().await.ok();
        let store = self.store.upgrade().ok_or(ReadError::ShuttingDown)?;
        let read = tokio::task::spawn_blocking(move || {
            let _place = place;
            read(&*store)
        });
        Ok(read.await.map_err(|_| StoreError::Interrupted)??)
    }

    fn lock(&self) -> MutexGuard<'_, Backup> {
        self.backup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Also of campaigns that are off: that is what a story tells then.
fn takers(rules: &RuleSet) -> Vec<Taker> {
    let taker = |campaign: &Arc<crate::engine::Campaign>| {
        let handlers = campaign.spec.manifest.handlers.iter();
        let codes = handlers.flat_map(|handler| &handler.events).cloned().collect();
        let in_place_of = campaign.spec.canary_of().map(ToString::to_string);
        Taker { campaign: campaign.spec.name.to_string(), codes, in_place_of, conditions: conditions(campaign) }
    };
    rules.campaigns().iter().map(taker).collect()
}

/// By event code. A campaign that is off is asked nothing.
fn conditions(campaign: &crate::engine::Campaign) -> Vec<(String, String)> {
    if campaign.spec.mode == Mode::Off {
        return Vec::new();
    }
    let of = |(handler, condition): (&Handler, &str)| {
        handler.events.iter().map(|code| (code.clone(), condition.to_owned())).collect::<Vec<_>>()
    };
    campaign.conditions().flat_map(of).collect()
}
