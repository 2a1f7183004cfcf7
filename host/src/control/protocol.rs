//! What crosses the socket: the shapes that both sides share. JSON over HTTP, so that `curl --unix-socket` does too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::pipeline::{Cursor, Which};
use crate::reload::Target;

/// `GET /status`: the engine as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineStatus {
    pub version: String,
    pub pid: u32,
    pub started_ms: Millis,
    pub environment: String,
    /// Without its password.
    pub source: String,
    /// The queue of events, of a source that is a broker.
    #[serde(default)]
    pub queue: Option<String>,
    /// Without its password.
    pub sink: String,
    /// The rules' directory.
    pub rules: String,
    /// The store's directory; `None` for one in memory.
    #[serde(default)]
    pub store: Option<PathBuf>,
    /// Where `/metrics` listens.
    pub http: Option<String>,
    /// What is not ready, by room; empty when all is well.
    #[serde(default)]
    pub problems: BTreeMap<String, String>,
    /// What waits for another engine to end, by room: of a standby the source.
    #[serde(default)]
    pub standbys: BTreeMap<String, String>,
}

/// `POST /pause` and `POST /resume`; answered with the names of the campaigns that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseRequest {
    pub target: Target,
}

/// `POST /reload`; answered with a `LoadReport`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReloadRequest {
    #[serde(default)]
    pub allow_removals: bool,
}

/// `POST /rollback`; answered with the campaign's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    pub campaign: String,
    /// End a rollback in place of making one.
    #[serde(default)]
    pub undo: bool,
}

/// `POST /failures/retry` and `POST /failures/drop`, page by page; answered with a `RetryPage` or a `DropPage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FailuresRequest {
    pub which: Which,
    /// Where the page before ended.
    #[serde(default)]
    pub from: Option<Cursor>,
}

/// `POST /failures/show`; answered with the failure, or null if there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShowFailureRequest {
    pub number: u64,
}

/// `POST /store/clock`; answered with a `ClockReport`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClockRequest {
    /// The machine's clock is right, if it is in doubt.
    #[serde(default)]
    pub accept: bool,
}

/// `POST /store/backup`: begins one. `GET /store/backup` tells how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupRequest {
    /// A directory that is not there, as a whole path.
    pub directory: PathBuf,
}

/// How the backup stands that was begun last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    pub directory: PathBuf,
    /// Since it began.
    pub seconds: u64,
    pub is_done: bool,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Any answer that is not what was asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
}
