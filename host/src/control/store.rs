//! Answers of the control socket about the engine's store. They are read beside event processing:
//! on threads of their own, few at a time, from snapshots, which neither wait for a commit nor
//! delay one.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hailer_abi::manifest::Handler;
use tokio::sync::{Semaphore, mpsc};

use super::protocol::BackupStatus;
use crate::clock;
use crate::consent::{Terms, append_line};
use crate::consents;
use crate::engine::{Mode, RuleSet, no_campaign};
use crate::explain::{
    self, DecisionPage, DecisionQuery, DeferredPage, DeferredQuery, ExplainQuery, Explanation,
    FailureDetails, FailurePage, FailureQuery, JudgedCampaign, Judgement, JudgementQuery,
    JudgingPolicies, KnownConsents, Overview, RunningCampaign,
};
use crate::store::{Store, StoreError};

/// The largest number of reads at a time; further ones wait. Each may read hundreds of megabytes,
/// and events have priority.
const READERS_MAX: usize = 2;

/// The largest number of exports at a time. An export lasts as long as its client reads, so it
/// takes no place of the other reads, and a further one is refused in place of waiting.
const EXPORTERS_MAX: usize = 1;

/// The size of a part of an exported answer, and how many parts wait for the client.
const PART_BYTES: usize = 64 << 10;
const PARTS_MAX: usize = 4;

/// Read access to the engine's store, for the control socket.
#[derive(Clone, Debug)]
pub struct StoreQueries {
    /// A weak reference, so that the engine's end closes the store even while clients are
    /// connected.
    store: Weak<dyn Store>,
    /// The store's directory; `None` for a store in memory.
    directory: Option<PathBuf>,
    rules: Arc<ArcSwap<RuleSet>>,
    /// The most deferred messages of all customers.
    deferred_max: u64,
    readers: Arc<Semaphore>,
    exporters: Arc<Semaphore>,
    backup: Arc<Mutex<Backup>>,
}

/// The backup that runs, or the last one.
#[derive(Debug, Default)]
struct Backup {
    directory: PathBuf,
    began: Option<Instant>,
    /// The result; `None` while the backup runs.
    ended: Option<Result<(), String>>,
}

/// The reason why the store cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{SHUTTING_DOWN}")]
    ShuttingDown,
    #[error("another export is running; repeat the command when it is complete, or end it")]
    Exporting,
}

const SHUTTING_DOWN: &str = "the engine is shutting down";

impl StoreQueries {
    #[must_use]
    pub fn new(
        store: &Arc<dyn Store>,
        directory: Option<PathBuf>,
        rules: Arc<ArcSwap<RuleSet>>,
        deferred_max: u64,
    ) -> StoreQueries {
        let store = Arc::downgrade(store);
        StoreQueries {
            store,
            directory,
            rules,
            deferred_max,
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            exporters: Arc::new(Semaphore::new(EXPORTERS_MAX)),
            backup: Arc::default(),
        }
    }

    pub(super) async fn why(&self, question: ExplainQuery) -> Result<Explanation, ReadError> {
        let rules = self.rules.load_full();
        self.read(move |store| {
            explain::explain(&*store.snapshot()?, &question, Some(&running_campaigns(&rules)))
        })
        .await
    }

    pub(super) async fn decisions(&self, query: DecisionQuery) -> Result<DecisionPage, ReadError> {
        self.read(move |store| explain::decisions(&*store.snapshot()?, &query)).await
    }

    pub(super) async fn failures(&self, query: FailureQuery) -> Result<FailurePage, ReadError> {
        self.read(move |store| explain::failures(&*store.snapshot()?, &query)).await
    }

    pub(super) async fn failure(&self, number: u64) -> Result<Option<FailureDetails>, ReadError> {
        self.read(move |store| explain::failure(&*store.snapshot()?, number)).await
    }

    pub(super) async fn deferred(&self, query: DeferredQuery) -> Result<DeferredPage, ReadError> {
        self.read(move |store| explain::deferred(&*store.snapshot()?, &query)).await
    }

    pub(super) async fn known_consents(&self) -> Result<KnownConsents, ReadError> {
        self.read(move |store| explain::known_consents(&*store.snapshot()?)).await
    }

    /// What the policies that apply would say of a message. The inner error is for the operator.
    pub(super) async fn judgement(
        &self,
        query: JudgementQuery,
        environment: String,
    ) -> Result<Result<Judgement, String>, ReadError> {
        let (rules, deferred_max) = (self.rules.load_full(), self.deferred_max);
        let campaign = match judged_campaign(&rules, &query.campaign) {
            Ok(campaign) => campaign,
            Err(error) => return Ok(Err(error)),
        };
        let judged = self.read(move |store| {
            let policies = rules.policies().map(|policies| &**policies);
            let judging = JudgingPolicies { policies, environment: &environment, deferred_max };
            explain::judgement(&*store.snapshot()?, &query, &campaign, judging)
        });
        judged.await.map(Ok)
    }

    pub(super) async fn overview(&self) -> Result<Overview, ReadError> {
        let directory = self.directory.as_ref().map(|directory| directory.display().to_string());
        self.read(move |store| explain::overview(store, directory, clock::reading())).await
    }

    pub(super) fn consent_terms(&self) -> Terms {
        Terms::of(self.rules.load().policies().map(|policies| &**policies))
    }

    /// Exports what the store knows about consents, as lines of one snapshot, part by part. The
    /// export waits while its client does not read, and ends when the receiver is dropped. Only one
    /// runs at a time; other reads do not wait for it.
    pub(super) fn export_consents(
        &self,
    ) -> Result<mpsc::Receiver<Result<Bytes, StoreError>>, ReadError> {
        let place = Arc::clone(&self.exporters).try_acquire_owned();
        let place = place.map_err(|_| ReadError::Exporting)?;
        let store = self.store.upgrade().ok_or(ReadError::ShuttingDown)?;
        let (parts, received) = mpsc::channel(PARTS_MAX);
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut part = Vec::with_capacity(PART_BYTES);
            let written = store.snapshot().and_then(|snapshot| {
                consents::visit(&*snapshot, &mut |statement| {
                    append_line(&statement, &mut part);
                    if part.len() < PART_BYTES {
                        return ControlFlow::Continue(());
                    }
                    match parts.blocking_send(Ok(std::mem::take(&mut part).into())) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    }
                })
            });
            // The receiver may be gone.
            let _ = parts.blocking_send(written.map(|()| part.into()));
        });
        Ok(received)
    }

    /// Begins a backup, which runs to its end even if no client waits for it. Only one runs at a
    /// time.
    pub(super) fn begin_backup(&self, to: PathBuf) -> Result<(), String> {
        if !to.is_absolute() {
            return Err(format!(
                "`{}` is not an absolute path: the engine has its own working directory",
                to.display()
            ));
        }
        let mut backup = self.lock();
        if backup.began.is_some() && backup.ended.is_none() {
            return Err(format!(
                "a backup to `{}` is already running; wait until it is complete",
                backup.directory.display()
            ));
        }
        *backup = Backup { directory: to.clone(), began: Some(Instant::now()), ended: None };
        let store = self.store.upgrade().ok_or_else(|| SHUTTING_DOWN.to_owned())?;
        let queries = self.clone();
        tokio::spawn(async move {
            let directory = to.display().to_string();
            let ended = tokio::task::spawn_blocking(move || store.backup(&to)).await;
            let ended =
                ended.unwrap_or(Err(StoreError::Interrupted)).map_err(|error| error.to_string());
            match &ended {
                Ok(()) => tracing::info!(directory, "the store was backed up"),
                Err(error) => tracing::warn!(directory, error, "the backup of the store failed"),
            }
            queries.lock().ended = Some(ended);
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
        // The semaphore is never closed. The permit is held until the read ends, even if no client
        // waits for it any more.
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

/// The loaded campaign with this name, as policies judge it.
fn judged_campaign(rules: &RuleSet, name: &str) -> Result<JudgedCampaign, String> {
    let specs = || rules.campaigns().iter().map(|campaign| &campaign.spec);
    let Some(spec) = specs().find(|spec| *spec.name == *name) else {
        return Err(no_campaign(name, specs().map(|spec| &*spec.name)));
    };
    Ok(JudgedCampaign {
        name: spec.acts_for().to_string(),
        is_live: spec.mode == Mode::Live,
        per_hour_max: spec.per_hour_max,
    })
}

/// The campaigns and the events that they take. Campaigns that are off are included, because
/// `hailer why` reports them as off.
fn running_campaigns(rules: &RuleSet) -> Vec<RunningCampaign> {
    let taker = |campaign: &Arc<crate::engine::Campaign>| {
        let handlers = campaign.spec.manifest.handlers.iter();
        let codes = handlers.flat_map(|handler| &handler.events).cloned().collect();
        let in_place_of = campaign.spec.canary_of().map(ToString::to_string);
        RunningCampaign {
            campaign: campaign.spec.name.to_string(),
            codes,
            in_place_of,
            conditions: conditions(campaign),
        }
    };
    rules.campaigns().iter().map(taker).collect()
}

/// The conditions of a campaign's handlers by event code; empty if the campaign is off.
fn conditions(campaign: &crate::engine::Campaign) -> Vec<(String, String)> {
    if campaign.spec.mode == Mode::Off {
        return Vec::new();
    }
    let of = |(handler, condition): (&Handler, &str)| {
        handler.events.iter().map(|code| (code.clone(), condition.to_owned())).collect::<Vec<_>>()
    };
    campaign.conditions().flat_map(of).collect()
}
