//! The commands' side of the socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::protocol::{
    BackupRequest, BackupStatus, ClockRequest, EngineStatus, FailuresRequest, PauseRequest, Refusal, ReloadRequest,
    RollbackRequest, ShowFailureRequest,
};
use super::{ControlError, socket_path};
use crate::erasure::{Erased, Whose};
use crate::event::EVENT_BYTES_MAX;
use crate::pipeline::{Cursor, DropPage, RetryPage, Which};
use crate::reload::{CampaignStatus, LoadReport, Target};
use crate::story::{
    ClockReport, DecisionPage, DecisionQuery, FailurePage, FailureQuery, FailureShown, Overview, Question, Story,
};

/// A reload compiles what has changed, which may take the compiler's whole allowance for a few modules.
const ANSWER_SECONDS_MAX: u64 = 120;
/// The largest answer is one failure with the body of its event, in which each quote and line break is escaped.
const ANSWER_BYTES_MAX: usize = 2 * EVENT_BYTES_MAX + (1 << 20);

/// Speaks to the engine of a data directory; one connection a question.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    #[must_use]
    pub fn new(data: &Path) -> Client {
        Client { socket: socket_path(data) }
    }

    /// # Errors
    /// When no engine answers.
    pub async fn status(&self) -> Result<EngineStatus, ControlError> {
        self.ask(Method::GET, "/status", &()).await
    }

    /// # Errors
    /// When no engine answers.
    pub async fn campaigns(&self) -> Result<Vec<CampaignStatus>, ControlError> {
        self.ask(Method::GET, "/campaigns", &()).await
    }

    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn pause(&self, target: Target) -> Result<Vec<String>, ControlError> {
        self.ask(Method::POST, "/pause", &PauseRequest { target }).await
    }

    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn resume(&self, target: Target) -> Result<Vec<String>, ControlError> {
        self.ask(Method::POST, "/resume", &PauseRequest { target }).await
    }

    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn reload(&self, allow_removals: bool) -> Result<LoadReport, ControlError> {
        self.ask(Method::POST, "/reload", &ReloadRequest { allow_removals }).await
    }

    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn rollback(&self, campaign: String, undo: bool) -> Result<CampaignStatus, ControlError> {
        self.ask(Method::POST, "/rollback", &RollbackRequest { campaign, undo }).await
    }

    /// # Errors
    /// When no engine answers, or its store can't be read.
    pub async fn why(&self, question: &Question) -> Result<Story, ControlError> {
        self.ask(Method::POST, "/why", question).await
    }

    /// # Errors
    /// When no engine answers, or its store can't be read.
    pub async fn decisions(&self, query: &DecisionQuery) -> Result<DecisionPage, ControlError> {
        self.ask(Method::POST, "/decisions", query).await
    }

    /// # Errors
    /// When no engine answers, or its store can't be read.
    pub async fn failures(&self, query: &FailureQuery) -> Result<FailurePage, ControlError> {
        self.ask(Method::POST, "/failures", query).await
    }

    /// # Errors
    /// When no engine answers, or its store can't be read.
    pub async fn failure(&self, number: u64) -> Result<Option<FailureShown>, ControlError> {
        self.ask(Method::POST, "/failures/show", &ShowFailureRequest { number }).await
    }

    /// Tries failures again, a page of them.
    ///
    /// # Errors
    /// When no engine answers, or it can't now.
    pub async fn retry_failures(&self, which: Which, from: Option<Cursor>) -> Result<RetryPage, ControlError> {
        self.ask(Method::POST, "/failures/retry", &FailuresRequest { which, from }).await
    }

    /// Drops failures, a page of them.
    ///
    /// # Errors
    /// When no engine answers, or it can't now.
    pub async fn drop_failures(&self, which: Which, from: Option<Cursor>) -> Result<DropPage, ControlError> {
        self.ask(Method::POST, "/failures/drop", &FailuresRequest { which, from }).await
    }

    /// Erases a customer; `None` if nothing is known of them.
    ///
    /// # Errors
    /// When no engine answers, or it can't now.
    pub async fn erase(&self, whose: &Whose) -> Result<Option<Erased>, ControlError> {
        self.ask(Method::POST, "/erase", whose).await
    }

    /// # Errors
    /// When no engine answers, or its store can't be read.
    pub async fn store(&self) -> Result<Overview, ControlError> {
        self.ask(Method::GET, "/store", &()).await
    }

    /// Compares the engine's time with the machine's clock, and accepts the latter if that is asked for.
    ///
    /// # Errors
    /// When no engine answers, or it can't now.
    pub async fn clock(&self, accept: bool) -> Result<ClockReport, ControlError> {
        self.ask(Method::POST, "/store/clock", &ClockRequest { accept }).await
    }

    /// # Errors
    /// When no engine answers, or it refuses.
    pub async fn begin_backup(&self, directory: PathBuf) -> Result<(), ControlError> {
        self.ask(Method::POST, "/store/backup", &BackupRequest { directory }).await
    }

    /// How the last backup stands; `None` if there was none.
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
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) =
            http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let body = serde_json::to_vec(body).map_err(|error| failed(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "hailer")
            .header("content-type", "application/json")
            .body(Full::from(body))
            .map_err(|error| failed(&error))?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| failed(&error))?.to_bytes()))
        };
        // The connection is driven only as long as the answer takes; how it ends afterwards matters to nobody.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        let (status, body) = tokio::select! {
            answer = &mut answer => answer?,
            _ = &mut connection => answer.await?,
        };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| failed(&error));
        }
        match serde_json::from_slice(&body) {
            Ok(Refusal { error }) => Err(ControlError::Refused(error)),
            Err(_) => Err(ControlError::Exchange(format!("{path}: {status}"))),
        }
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
