//! How the rest of the engine talks to the one owner of the directory: a closed set of requests, answered in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::brake::{Brake, Hold, Order};
use crate::clock::Millis;
use crate::engine::{Mode, Stop};

/// What can be asked of the directory's owner.
#[derive(Debug)]
pub enum Request {
    /// Read the directory now.
    Reload {
        allow_removals: bool,
        reply: oneshot::Sender<LoadReport>,
    },
    Campaigns {
        reply: oneshot::Sender<Vec<CampaignStatus>>,
    },
    /// Stop calling campaigns until they are resumed; kept across restarts.
    Pause {
        target: Target,
        hold: Hold,
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    Resume {
        target: Target,
        hold: Hold,
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// Go back to the version before this one, and stay there until a third one appears.
    Rollback {
        campaign: String,
        reply: oneshot::Sender<Result<CampaignStatus, String>>,
    },
    /// Ends a rollback: the version that was kept out is loaded again from the directory.
    UndoRollback {
        campaign: String,
        reply: oneshot::Sender<Result<CampaignStatus, String>>,
    },
    /// A campaign misbehaves: the owner goes back to the version before, or suspends it.
    Suspend {
        campaign: String,
        generation: u64,
        misbehaviour: Misbehaviour,
        hold: Hold,
    },
}

/// Why the engine stops a campaign; the text says it for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// It faults, is late or is impure. A version that ran well may be better.
    Unfit(String),
    /// It sends too much, or drifts from its campaign: only an operator may let it go on.
    Excessive(String),
}

impl Misbehaviour {
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Misbehaviour::Unfit(reason) | Misbehaviour::Excessive(reason) => reason,
        }
    }
}

/// Who pauses something is answered after this long, whatever the owner is at: it is in force, and is written down later.
const PATIENCE: Duration = Duration::from_secs(1);

/// One campaign, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    All,
    Campaign(String),
}

/// How a campaign stands, for people and machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CampaignStatus {
    pub name: String,
    /// The file that makes it a campaign, from the directory's root; `None` once it has been removed.
    pub file: Option<String>,
    pub state: CampaignState,
    pub mode: Option<Mode>,
    /// The campaign beside which it is tried.
    #[serde(default)]
    pub shadow_of: Option<String>,
    /// It decides for so many of the customers, in percent; all if nothing is said.
    #[serde(default)]
    pub rollout_percent: Option<u32>,
    /// The version that runs: `1.3.0+9f3ac1d2`.
    pub version: Option<String>,
    pub digest: Option<String>,
    pub start_ms: Option<Millis>,
    pub end_ms: Option<Millis>,
    /// The event codes that it takes.
    pub events: Vec<String>,
    /// What is wrong with the file as it stands now, if something is; the version above runs on.
    pub problem: Option<Problem>,
    /// Why it may not be meant to run, if it seems to be a copy of another campaign.
    #[serde(default)]
    pub warning: Option<Problem>,
    /// Why the engine suspended it, if it did.
    pub suspended: Option<String>,
    /// Rolled back: the digest that is kept out.
    pub refused_digest: Option<String>,
    /// Why the engine went back to this version by itself, if it did.
    #[serde(default)]
    pub rolled_back: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CampaignState {
    /// Takes events, by its mode and times.
    Running,
    /// Somebody paused it.
    Paused,
    /// The engine suspended it.
    Suspended,
    /// Its file names a digest that the module does not have yet.
    Waiting,
    /// No version of it has ever loaded.
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

    /// The name that metrics and people see.
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

/// Something wrong in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// From the directory's root.
    pub file: String,
    pub line: Option<u32>,
    pub reason: String,
    /// What to do about it.
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
    /// `welcome.toml:3: reason (hint)`
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(formatter, "{line}:")?;
        }
        write!(formatter, " {} ({})", self.reason, self.hint)
    }
}

/// What one reading of the directory did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    /// The number of the rule set that runs now.
    pub rule_set: u64,
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub unchanged: usize,
    /// Campaigns that are gone from the directory and run on until the removal is confirmed.
    pub withheld_removals: Vec<String>,
    pub problems: Vec<Problem>,
    /// What runs and may not be meant: campaigns that seem to be copies of others.
    #[serde(default)]
    pub warnings: Vec<Problem>,
}

impl LoadReport {
    /// Whether another set of campaigns runs now than before.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !(self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty())
    }

    /// What the same directory comes to when it is read again.
    pub(crate) fn without_changes(&self) -> LoadReport {
        let unchanged = self.unchanged + self.added.len() + self.changed.len();
        let (rule_set, problems, warnings) = (self.rule_set, self.problems.clone(), self.warnings.clone());
        LoadReport { rule_set, unchanged, problems, warnings, ..LoadReport::default() }
    }
}

/// Sends requests to the directory's owner, and tells what has been stopped.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
    brake: Brake,
    names: Arc<ArcSwap<BTreeSet<String>>>,
}

/// What its owner is to answer.
#[derive(Debug)]
pub struct Requests {
    received: mpsc::Receiver<Request>,
    names: Arc<ArcSwap<BTreeSet<String>>>,
}

/// The directory's owner has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the engine is shutting down")]
pub struct OwnerGone;

impl ReloadHandle {
    /// A handle, and the requests that its owner is to answer.
    #[must_use]
    pub fn new() -> (ReloadHandle, Requests) {
        let (requests, received) = mpsc::channel(64);
        let names = Arc::<ArcSwap<BTreeSet<String>>>::default();
        (ReloadHandle { requests, brake: Brake::default(), names: Arc::clone(&names) }, Requests { received, names })
    }

    /// Asks, and waits for the answer: `handle.ask(|reply| Request::Campaigns { reply })`.
    ///
    /// # Errors
    /// When the owner has stopped.
    pub async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, OwnerGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| OwnerGone)?;
        answer.await.map_err(|_| OwnerGone)
    }

    /// Stops calling campaigns, at once; says which. The owner is waited for only so long: then what is paused is
    /// paused, and written down when the owner gets to it.
    ///
    /// # Errors
    /// When the owner has stopped; inside, when it knows of no such campaign, or can't write the pause down.
    pub async fn pause(&self, target: Target) -> Result<Result<Vec<String>, String>, OwnerGone> {
        let hold = self.brake.order(Order::Pause(target.clone()));
        let (handle, asked_for) = (self.clone(), target.clone());
        // A task of its own: whoever asked may give up, and the pause is written down all the same.
        let mut asking =
            tokio::spawn(async move { handle.ask(|reply| Request::Pause { target: asked_for, hold, reply }).await });
        let answered = tokio::time::timeout(PATIENCE, &mut asking).await;
        let answered = match (answered, self.stopped_names(&target)) {
            (Ok(answered), _) => answered,
            (Err(_), Some(names)) => return Ok(Ok(names)),
            // It may be about to become a campaign: only the owner knows.
            (Err(_), None) => asking.await,
        };
        answered.unwrap_or(Err(OwnerGone))
    }

    /// Lifts pauses and suspensions; says of which campaigns.
    ///
    /// # Errors
    /// When the owner has stopped; inside, when it knows of no such campaign, or can't write it down.
    pub async fn resume(&self, target: Target) -> Result<Result<Vec<String>, String>, OwnerGone> {
        let hold = self.brake.order(Order::Resume(target.clone()));
        self.ask(|reply| Request::Resume { target, hold, reply }).await
    }

    /// Stops what runs as this generation, at once and without waiting; the owner then goes back to the version before or suspends it.
    /// `false` if the owner is too busy to hear it now: then it runs on, and is to be stopped again.
    pub fn suspend(&self, campaign: String, generation: u64, misbehaviour: Misbehaviour) -> bool {
        let hold = self.brake.order(Order::Suspend { campaign: campaign.clone(), generation });
        self.requests.try_send(Request::Suspend { campaign, generation, misbehaviour, hold }).is_ok()
    }

    /// Waits until every order to stop a campaign, or to let it go on, is written down.
    pub async fn orders_are_written(&self) {
        self.brake.is_free().await;
    }

    /// Whether somebody stopped a campaign that the rule set may still hold.
    #[must_use]
    pub fn is_stopped(&self, campaign: &str, generation: u64) -> bool {
        self.stop(campaign, generation).is_some()
    }

    /// How an order that is under way stops a campaign that the rule set may still hold.
    #[must_use]
    pub fn stop(&self, campaign: &str, generation: u64) -> Option<Stop> {
        self.brake.stop(campaign, generation)
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
    /// The next one; `None` when there is nobody left to ask.
    pub async fn recv(&mut self) -> Option<Request> {
        self.received.recv().await
    }

    /// Lets handles know which campaigns there are, for when the owner has no time to tell.
    pub(super) fn tell_names(&self, names: BTreeSet<String>) {
        self.names.store(Arc::new(names));
    }
}
