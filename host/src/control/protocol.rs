//! The requests and answers of the control socket, shared by client and server. They are JSON over
//! HTTP, so `curl --unix-socket` works too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::deferred::DeferredSelection;
use crate::pipeline::{Cursor, FailureSelection};
use crate::reload::Target;

/// The answer to `GET /status`: the engine as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineStatus {
    pub version: String,
    pub pid: u32,
    pub started_ms: Millis,
    pub environment: String,
    /// The address of the source, without its password.
    pub source: String,
    /// The queue of events; `None` if the source is not a broker.
    #[serde(default)]
    pub queue: Option<String>,
    /// The address of the sink, without its password.
    pub sink: String,
    /// The rules directory.
    pub rules: String,
    /// The store's directory; `None` for one in memory.
    #[serde(default)]
    pub store: Option<PathBuf>,
    /// The address of `/metrics`; `None` if it does not listen.
    pub http: Option<String>,
    /// The reason why a component is not ready or impaired, by component; empty when all is well.
    #[serde(default)]
    pub problems: BTreeMap<String, String>,
    /// The components that wait for another engine to end, with the reason: on a standby, the
    /// source.
    #[serde(default)]
    pub standbys: BTreeMap<String, String>,
}

/// The body of `POST /pause` and `POST /resume`. The answer holds the names of the campaigns that
/// changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseRequest {
    pub target: Target,
}

/// The body of `POST /reload`. The answer is a `LoadReport`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReloadRequest {
    #[serde(default)]
    pub allow_removals: bool,
}

/// The body of `POST /rollback`. The answer is the campaign's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    pub campaign: String,
    /// Ends a rollback instead of starting one.
    #[serde(default)]
    pub undo: bool,
}

/// The body of `POST /failures/retry` and `POST /failures/drop`, page by page. The answer is a
/// `RetryPage` or a `DropPage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FailuresRequest {
    /// The selected failures. The member is called `which`, as in every version of the protocol.
    #[serde(rename = "which")]
    pub selection: FailureSelection,
    /// The end of the previous page; `None` for the first page.
    #[serde(default)]
    pub from: Option<Cursor>,
}

/// The body of `POST /failures/show`. The answer is the failure, or null if there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShowFailureRequest {
    pub number: u64,
}

/// The body of `POST /deferred/drop`, page by page. The answer is a `DeferredDropPage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DropDeferredRequest {
    pub selection: DeferredSelection,
    /// The `next` key of the previous page; empty for the first page.
    #[serde(default)]
    pub after: Vec<u8>,
}

/// The body of `POST /store/clock`. The answer is a `ClockReport`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClockRequest {
    /// Whether the engine should use the machine's clock if it is in doubt.
    #[serde(default)]
    pub accept: bool,
}

/// The body of `POST /store/backup`, which begins a backup. `GET /store/backup` returns its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupRequest {
    /// The absolute path of a directory that does not exist.
    pub directory: PathBuf,
}

/// The status of the last backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    pub directory: PathBuf,
    /// Seconds since it began.
    pub seconds: u64,
    pub is_done: bool,
    /// The reason why it failed; `None` if it did not.
    pub error: Option<String>,
}

/// The answer to a request that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
}
