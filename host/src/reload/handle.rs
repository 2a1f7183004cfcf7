//! The interface of the owner of the rules directory: a closed set of requests, answered in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::pending_orders::{Order, OrderGuard, PendingOrders};
use super::policies_file::{PoliciesChange, PoliciesStatus};
use crate::clock::Millis;
use crate::engine::{Mode, Stop};
use crate::pipeline::{CampaignOwner, Misbehaviour};

/// A request to the owner of the rules directory.
#[derive(Debug)]
pub enum Request {
    /// Reads the directory now.
    Reload {
        allow_removals: bool,
        reply: oneshot::Sender<LoadReport>,
    },
    Campaigns {
        reply: oneshot::Sender<Vec<CampaignStatus>>,
    },
    Policies {
        reply: oneshot::Sender<PoliciesStatus>,
    },
    /// Stops calling campaigns until they are resumed, also across restarts.
    Pause {
        target: Target,
        guard: OrderGuard,
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    Resume {
        target: Target,
        guard: OrderGuard,
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// Goes back to the previous version, and refuses the present one until a third one appears.
    Rollback {
        campaign: String,
        reply: oneshot::Sender<Result<CampaignStatus, String>>,
    },
    /// Ends a rollback: loads the refused version from the directory again.
    UndoRollback {
        campaign: String,
        reply: oneshot::Sender<Result<CampaignStatus, String>>,
    },
    /// Reports a misbehaving campaign: the owner rolls it back or suspends it.
    Suspend {
        campaign: String,
        generation: u64,
        misbehaviour: Misbehaviour,
        guard: OrderGuard,
    },
}

/// Maximum wait for the answer to a pause. The pause is in force from the request on; the ledger
/// may be written later.
const PAUSE_ANSWER_MAX: Duration = Duration::from_secs(1);

/// One campaign, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    All,
    Campaign(String),
}

/// The status of a campaign, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CampaignStatus {
    pub name: String,
    /// The campaign file or bare module, relative to the rules directory; `None` once it has been
    /// removed.
    pub file: Option<String>,
    pub state: CampaignState,
    pub mode: Option<Mode>,
    /// The campaign for which this one is on trial; `None` if it is not.
    #[serde(default)]
    pub shadow_of: Option<String>,
    /// The share of customers for which this campaign decides, in percent; `None` for all.
    #[serde(default)]
    pub rollout_percent: Option<u32>,
    /// The running version, such as `1.3.0+9f3ac1d2`; `None` if no version runs.
    pub version: Option<String>,
    pub digest: Option<String>,
    pub start_ms: Option<Millis>,
    pub end_ms: Option<Millis>,
    /// The event codes that the campaign takes.
    pub events: Vec<String>,
    /// A problem of the file as it is now; the running version is not affected.
    pub problem: Option<Problem>,
    /// A warning that the campaign may be an unintended copy of another one.
    #[serde(default)]
    pub warning: Option<Problem>,
    /// The reason why the breaker suspended the campaign; `None` if it is not suspended.
    pub suspended: Option<String>,
    /// The digest of the module that a rollback refused; `None` without a rollback.
    pub refused_digest: Option<String>,
    /// The reason why the engine itself rolled back to this version; `None` if it did not.
    #[serde(default)]
    pub rolled_back: Option<String>,
}

/// The state of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CampaignState {
    /// Takes events, subject to its mode and times.
    Running,
    /// Paused by a person.
    Paused,
    /// Suspended by the breaker.
    Suspended,
    /// The campaign file or its module is not complete yet.
    Waiting,
    /// No version of the campaign runs.
    Failed,
}

impl CampaignState {
    pub const ALL: [CampaignState; 5] = [
        CampaignState::Running,
        CampaignState::Paused,
        CampaignState::Suspended,
        CampaignState::Waiting,
        CampaignState::Failed,
    ];

    /// The state's name in metrics and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            CampaignState::Running => "running",
            CampaignState::Paused => "paused",
            CampaignState::Suspended => "suspended",
            CampaignState::Waiting => "waiting",
            CampaignState::Failed => "failed",
        }
    }
}

/// A problem in the rules directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Path of the file, relative to the rules directory.
    pub file: String,
    pub line: Option<u32>,
    pub reason: String,
    /// The way to solve the problem.
    pub hint: String,
}

impl Problem {
    pub(crate) fn new(
        file: impl Into<String>,
        line: Option<u32>,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) -> Problem {
        Problem { file: file.into(), line, reason: reason.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Problem {
    /// Formats as `welcome.toml:3: reason (hint)`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(formatter, "{line}:")?;
        }
        write!(formatter, " {} ({})", self.reason, self.hint)
    }
}

/// The result of one load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    /// The number of the rule set that runs now.
    pub rule_set: u64,
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub unchanged: usize,
    /// How the policies were changed; `None` if they were not.
    #[serde(default)]
    pub policies: Option<PoliciesChange>,
    /// The digest of the policies that apply now; `None` without policies.
    #[serde(default)]
    pub policies_digest: Option<String>,
    /// Campaigns that are gone from the directory, and `policies.toml` if it is gone; they keep
    /// running until the removal is confirmed.
    pub withheld_removals: Vec<String>,
    pub problems: Vec<Problem>,
    /// Warnings about running campaigns that may be unintended copies of others, and about names in
    /// the policies to which no campaign belongs.
    #[serde(default)]
    pub warnings: Vec<Problem>,
}

impl LoadReport {
    /// Whether the load changed the running campaigns or the policies.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let has_same_campaigns =
            self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty();
        !has_same_campaigns || self.policies.is_some()
    }

    /// The report for reading the same directory again.
    pub(crate) fn without_changes(&self) -> LoadReport {
        let unchanged = self.unchanged + self.added.len() + self.changed.len();
        LoadReport {
            rule_set: self.rule_set,
            unchanged,
            policies_digest: self.policies_digest.clone(),
            problems: self.problems.clone(),
            warnings: self.warnings.clone(),
            ..LoadReport::default()
        }
    }
}

/// Sends requests to the owner of the rules directory, and knows the pending stops.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
    pending_orders: PendingOrders,
    names: Arc<ArcSwap<BTreeSet<String>>>,
}

/// The receiving end of the requests, for the owner.
#[derive(Debug)]
pub struct Requests {
    received: mpsc::Receiver<Request>,
    names: Arc<ArcSwap<BTreeSet<String>>>,
}

/// The owner of the rules directory has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the engine is shutting down")]
pub struct OwnerGone;

impl CampaignOwner for ReloadHandle {
    fn stop(&self, campaign: &str, generation: u64) -> Option<Stop> {
        self.pending_orders.stop(campaign, generation)
    }

    fn suspend(&self, campaign: &str, generation: u64, misbehaviour: Misbehaviour) -> bool {
        let campaign = campaign.to_owned();
        let guard =
            self.pending_orders.add(Order::Suspend { campaign: campaign.clone(), generation });
        self.requests
            .try_send(Request::Suspend { campaign, generation, misbehaviour, guard })
            .is_ok()
    }
}

impl ReloadHandle {
    /// Creates a handle and the receiving end of its requests.
    #[must_use]
    pub fn new() -> (ReloadHandle, Requests) {
        let (requests, received) = mpsc::channel(64);
        let names = Arc::<ArcSwap<BTreeSet<String>>>::default();
        (
            ReloadHandle {
                requests,
                pending_orders: PendingOrders::default(),
                names: Arc::clone(&names),
            },
            Requests { received, names },
        )
    }

    /// Sends a request and waits for the answer: `handle.ask(|reply| Request::Campaigns { reply
    /// })`.
    ///
    /// # Errors
    /// The owner has stopped.
    pub async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, OwnerGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| OwnerGone)?;
        answer.await.map_err(|_| OwnerGone)
    }

    /// Pauses campaigns at once and returns their names. The wait for the owner is limited: after
    /// that the pause is in force, and the owner writes it to the ledger when it can.
    ///
    /// # Errors
    /// The owner has stopped. Inside: there is no such campaign, or the ledger cannot be written.
    pub async fn pause(&self, target: Target) -> Result<Result<Vec<String>, String>, OwnerGone> {
        let guard = self.pending_orders.add(Order::Pause(target.clone()));
        let (handle, asked_for) = (self.clone(), target.clone());
        // A task of its own: the caller may give up, and the pause must be written all the same.
        let mut asking = tokio::spawn(async move {
            handle.ask(|reply| Request::Pause { target: asked_for, guard, reply }).await
        });
        let answered = tokio::time::timeout(PAUSE_ANSWER_MAX, &mut asking).await;
        let answered = match (answered, self.stopped_names(&target)) {
            (Ok(answered), _) => answered,
            (Err(_), Some(names)) => return Ok(Ok(names)),
            // The name may belong to a campaign that is about to load: only the owner knows.
            (Err(_), None) => asking.await,
        };
        answered.unwrap_or(Err(OwnerGone))
    }

    /// Lifts pauses and suspensions, and returns the names of the campaigns.
    ///
    /// # Errors
    /// The owner has stopped. Inside: there is no such campaign, or the ledger cannot be written.
    pub async fn resume(&self, target: Target) -> Result<Result<Vec<String>, String>, OwnerGone> {
        let guard = self.pending_orders.add(Order::Resume(target.clone()));
        self.ask(|reply| Request::Resume { target, guard, reply }).await
    }

    /// Waits until every pending pause, resume and suspension has been applied.
    pub async fn orders_are_written(&self) {
        self.pending_orders.wait_until_applied().await;
    }

    fn stopped_names(&self, target: &Target) -> Option<Vec<String>> {
        let names = self.names.load();
        match target {
            Target::All => Some(names.iter().cloned().collect()),
            Target::Campaign(name) => names.contains(name).then(|| vec![name.clone()]),
        }
    }
}

impl Requests {
    /// The next request; `None` when all handles are gone.
    pub async fn recv(&mut self) -> Option<Request> {
        self.received.recv().await
    }

    /// Publishes the campaigns' names, so that a handle can answer while the owner is busy.
    pub(super) fn publish_names(&self, names: BTreeSet<String>) {
        self.names.store(Arc::new(names));
    }
}
