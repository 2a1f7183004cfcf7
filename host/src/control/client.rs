//! The client side of the control socket, for commands.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::protocol::{
    BackupRequest, BackupStatus, ClockRequest, DropDeferredRequest, EngineStatus, FailuresRequest,
    PauseRequest, Refusal, ReloadRequest, RollbackRequest, ShowFailureRequest,
};
use super::{ControlError, socket_path};
use crate::consent::{ImportPart, Terms};
use crate::consents::Imported;
use crate::deferred::DeferredSelection;
use crate::erasure::{EraseRequest, Erased};
use crate::event::EVENT_BYTES_MAX;
use crate::explain::{
    ClockReport, DecisionPage, DecisionQuery, DeferredPage, DeferredQuery, ExplainQuery,
    Explanation, FailureDetails, FailurePage, FailureQuery, Judgement, JudgementQuery,
    KnownConsents, Overview,
};
use crate::pipeline::{Cursor, DeferredDropPage, DropPage, FailureSelection, RetryPage};
use crate::reload::{CampaignStatus, LoadReport, PoliciesStatus, Target};

/// The longest wait for an answer, in seconds. A reload compiles changed modules, which may take
/// the compiler's full time limit for a few of them.
const ANSWER_SECONDS_MAX: u64 = 120;
/// The largest answer, in bytes: one failure with the body of its event, in which each quote and
/// line break is escaped.
const ANSWER_BYTES_MAX: usize = 2 * EVENT_BYTES_MAX + (1 << 20);

/// A client of the engine of a data directory. Each request has its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the engine that uses this data directory.
    #[must_use]
    pub fn new(data: &Path) -> Client {
        Client { socket: socket_path(data) }
    }

    /// The status of the engine.
    ///
    /// # Errors
    /// When no engine answers.
    pub async fn status(&self) -> Result<EngineStatus, ControlError> {
        self.ask(Method::GET, "/status", &()).await
    }

    /// The status of every campaign.
    ///
    /// # Errors
    /// When no engine answers.
    pub async fn campaigns(&self) -> Result<Vec<CampaignStatus>, ControlError> {
        self.ask(Method::GET, "/campaigns", &()).await
    }

    /// The policies that apply, and the problems of their file.
    ///
    /// # Errors
    /// When no engine answers.
    pub async fn policies(&self) -> Result<PoliciesStatus, ControlError> {
        self.ask(Method::GET, "/policies", &()).await
    }

    /// Pauses campaigns. Returns the names of those that changed.
    ///
    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn pause(&self, target: Target) -> Result<Vec<String>, ControlError> {
        self.ask(Method::POST, "/pause", &PauseRequest { target }).await
    }

    /// Resumes campaigns. Returns the names of those that changed.
    ///
    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn resume(&self, target: Target) -> Result<Vec<String>, ControlError> {
        self.ask(Method::POST, "/resume", &PauseRequest { target }).await
    }

    /// Makes the engine read its rules directory, and returns what changed.
    ///
    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn reload(&self, allow_removals: bool) -> Result<LoadReport, ControlError> {
        self.ask(Method::POST, "/reload", &ReloadRequest { allow_removals }).await
    }

    /// Rolls a campaign back to the version before; `undo` ends a rollback.
    ///
    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn rollback(
        &self,
        campaign: String,
        undo: bool,
    ) -> Result<CampaignStatus, ControlError> {
        self.ask(Method::POST, "/rollback", &RollbackRequest { campaign, undo }).await
    }

    /// The history of one customer.
    ///
    /// # Errors
    /// When no engine answers, or its store cannot be read.
    pub async fn why(&self, question: &ExplainQuery) -> Result<Explanation, ControlError> {
        self.ask(Method::POST, "/why", question).await
    }

    /// One page of decisions.
    ///
    /// # Errors
    /// When no engine answers, or its store cannot be read.
    pub async fn decisions(&self, query: &DecisionQuery) -> Result<DecisionPage, ControlError> {
        self.ask(Method::POST, "/decisions", query).await
    }

    /// One page of failures.
    ///
    /// # Errors
    /// When no engine answers, or its store cannot be read.
    pub async fn failures(&self, query: &FailureQuery) -> Result<FailurePage, ControlError> {
        self.ask(Method::POST, "/failures", query).await
    }

    /// One failure with its event; `None` if there is no failure with this number.
    ///
    /// # Errors
    /// When no engine answers, or its store cannot be read.
    pub async fn failure(&self, number: u64) -> Result<Option<FailureDetails>, ControlError> {
        self.ask(Method::POST, "/failures/show", &ShowFailureRequest { number }).await
    }

    /// Retries one page of failures.
    ///
    /// # Errors
    /// When no engine answers, or it cannot retry now.
    pub async fn retry_failures(
        &self,
        selection: FailureSelection,
        from: Option<Cursor>,
    ) -> Result<RetryPage, ControlError> {
        self.ask(Method::POST, "/failures/retry", &FailuresRequest { selection, from }).await
    }

    /// Drops one page of failures.
    ///
    /// # Errors
    /// When no engine answers, or it cannot drop them now.
    pub async fn drop_failures(
        &self,
        selection: FailureSelection,
        from: Option<Cursor>,
    ) -> Result<DropPage, ControlError> {
        self.ask(Method::POST, "/failures/drop", &FailuresRequest { selection, from }).await
    }

    /// One page of deferred messages.
    ///
    /// # Errors
    /// When no engine answers, or its store cannot be read.
    pub async fn deferred(&self, query: &DeferredQuery) -> Result<DeferredPage, ControlError> {
        self.ask(Method::POST, "/deferred", query).await
    }

    /// Drops one page of deferred messages.
    ///
    /// # Errors
    /// When no engine answers, or it cannot drop them now.
    pub async fn drop_deferred(
        &self,
        selection: DeferredSelection,
        after: Vec<u8>,
    ) -> Result<DeferredDropPage, ControlError> {
        self.ask(Method::POST, "/deferred/drop", &DropDeferredRequest { selection, after }).await
    }

    /// What the policies that apply would say of one message.
    ///
    /// # Errors
    /// When no engine answers, it has no such campaign, or its store cannot be read.
    pub async fn judgement(&self, query: &JudgementQuery) -> Result<Judgement, ControlError> {
        self.ask(Method::POST, "/policies/explain", query).await
    }

    /// The channels for which the store knows consents.
    ///
    /// # Errors
    /// When no engine answers, or its store cannot be read.
    pub async fn known_consents(&self) -> Result<KnownConsents, ControlError> {
        self.ask(Method::GET, "/policies/consents", &()).await
    }

    /// Erases a customer; `None` if nothing is known of the customer.
    ///
    /// # Errors
    /// When no engine answers, or it cannot erase now.
    pub async fn erase(&self, request: &EraseRequest) -> Result<Option<Erased>, ControlError> {
        self.ask(Method::POST, "/erase", request).await
    }

    /// How the policies that apply read the values of an import.
    ///
    /// # Errors
    /// When no engine answers.
    pub async fn consent_terms(&self) -> Result<Terms, ControlError> {
        self.ask(Method::GET, "/consent", &()).await
    }

    /// Imports a part of the statements of an import, or only counts them.
    ///
    /// # Errors
    /// When no engine answers, or it cannot import now.
    pub async fn import_consents(&self, part: &ImportPart) -> Result<Imported, ControlError> {
        self.ask(Method::POST, "/consent/import", part).await
    }

    /// Exports consents: calls `each` with the answer, part by part. The result is that of `each`,
    /// which ends the export with an error of its own.
    ///
    /// # Errors
    /// When no engine answers, or the answer is cut off.
    pub async fn export_consents(
        &self,
        mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<std::io::Result<()>, ControlError> {
        let failed = |error: &dyn std::fmt::Display| ControlError::Exchange(error.to_string());
        let (mut sender, connection) = self.connect().await?;
        let request = request(Method::GET, "/consent/export", &())?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            if !response.status().is_success() {
                let status = response.status();
                let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
                let body = body.map_err(|error| failed(&error))?.to_bytes();
                return Err(refusal("/consent/export", status, &body));
            }
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| failed(&error))?;
                if let Some(Err(error)) = frame.data_ref().map(|part| each(part)) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        }
    }

    /// An overview of the store.
    ///
    /// # Errors
    /// When no engine answers, or its store cannot be read.
    pub async fn store(&self) -> Result<Overview, ControlError> {
        self.ask(Method::GET, "/store", &()).await
    }

    /// Compares the engine's time with the machine's clock. `accept` makes the engine use the
    /// machine's clock.
    ///
    /// # Errors
    /// When no engine answers, or it cannot change its clock now.
    pub async fn clock(&self, accept: bool) -> Result<ClockReport, ControlError> {
        self.ask(Method::POST, "/store/clock", &ClockRequest { accept }).await
    }

    /// Begins a backup into a directory that does not exist.
    ///
    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn begin_backup(&self, directory: PathBuf) -> Result<(), ControlError> {
        self.ask(Method::POST, "/store/backup", &BackupRequest { directory }).await
    }

    /// The status of the last backup; `None` if there was none.
    ///
    /// # Errors
    /// When no engine answers.
    pub async fn backup(&self) -> Result<Option<BackupStatus>, ControlError> {
        self.ask(Method::GET, "/store/backup", &()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ControlError> {
        let exchange = self.exchange(method, path, body);
        match tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ControlError::Timeout { seconds: ANSWER_SECONDS_MAX }),
        }
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ControlError> {
        let failed = |error: &dyn std::fmt::Display| ControlError::Exchange(error.to_string());
        let (mut sender, connection) = self.connect().await?;
        let request = request(method, path, body)?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| failed(&error))?.to_bytes()))
        };
        // The connection is polled only until the answer is complete. How it ends afterwards does
        // not matter.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        let (status, body) = tokio::select! {
            answer = &mut answer => answer?,
            _ = &mut connection => answer.await?,
        };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| failed(&error));
        }
        Err(refusal(path, status, &body))
    }

    async fn connect(
        &self,
    ) -> Result<(SendRequest<Full<Bytes>>, impl Future<Output = hyper::Result<()>>), ControlError>
    {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| ControlError::Exchange(error.to_string()))
    }

    fn unreachable(&self, source: std::io::Error) -> ControlError {
        let socket = self.socket.clone();
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ControlError::NoEngine { socket },
            ErrorKind::PermissionDenied => ControlError::Forbidden { socket },
            _ => ControlError::File { path: socket, source },
        }
    }
}

fn request(
    method: Method,
    path: &str,
    body: &impl Serialize,
) -> Result<Request<Full<Bytes>>, ControlError> {
    let failed = |error: &dyn std::fmt::Display| ControlError::Exchange(error.to_string());
    let body = serde_json::to_vec(body).map_err(|error| failed(&error))?;
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "hailer")
        .header("content-type", "application/json")
        .body(Full::from(body))
        .map_err(|error| failed(&error))
}

/// The error of an answer that is no success.
fn refusal(path: &str, status: StatusCode, body: &[u8]) -> ControlError {
    match serde_json::from_slice(body) {
        Ok(Refusal { error }) => ControlError::Refused(error),
        Err(_) => ControlError::Exchange(format!("{path}: {status}")),
    }
}
