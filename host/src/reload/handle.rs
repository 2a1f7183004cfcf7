//! How the rest of the engine talks to the one owner of the directory: a closed set of requests, answered in order.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Millis;
use crate::engine::Mode;

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
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    Resume {
        target: Target,
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// Go back to the version before this one, and stay there until a third one appears.
    Rollback {
        campaign: String,
        reply: oneshot::Sender<Result<CampaignStatus, String>>,
    },
    /// A guest proved to be impure, or faults too often: suspend its campaign, and say why.
    Suspend {
        campaign: String,
        generation: u64,
        reason: String,
    },
}

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
    /// The version that runs: `1.3.0+9f3ac1d2`.
    pub version: Option<String>,
    pub digest: Option<String>,
    pub start_ms: Option<Millis>,
    pub end_ms: Option<Millis>,
    /// The event codes that it takes.
    pub events: Vec<String>,
    /// What is wrong with the file as it stands now, if something is; the version above runs on.
    pub problem: Option<Problem>,
    /// Why the engine suspended it, if it did.
    pub suspended: Option<String>,
    /// Rolled back: the digest that is kept out.
    pub refused_digest: Option<String>,
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
        let (rule_set, problems) = (self.rule_set, self.problems.clone());
        LoadReport { rule_set, unchanged, problems, ..LoadReport::default() }
    }
}

/// Sends requests to the directory's owner.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
}

/// The directory's owner has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the engine is shutting down")]
pub struct OwnerGone;

impl ReloadHandle {
    /// A handle, and the requests that its owner is to answer.
    #[must_use]
    pub fn new() -> (ReloadHandle, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(64);
        (ReloadHandle { requests }, received)
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

    /// Tells, without waiting and without blocking a shard; `false` if the owner is too busy to hear it now.
    pub fn tell(&self, request: Request) -> bool {
        self.requests.try_send(request).is_ok()
    }
}
