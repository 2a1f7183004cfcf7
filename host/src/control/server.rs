//! What the socket answers. Everything that changes campaigns is asked of the directory's owner, who answers one
//! request after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::protocol::{
    BackupRequest, BackupStatus, ClockRequest, EngineStatus, FailuresRequest, PauseRequest, Refusal, ReloadRequest,
    RollbackRequest, ShowFailureRequest,
};
use super::store::{ReadError, StoreDoor};
use crate::erasure::{Erased, Whose};
use crate::health::Health;
use crate::pipeline::{self, Door, DropPage, RetryPage};
use crate::reload::{CampaignStatus, LoadReport, OwnerGone, ReloadHandle, Request};
use crate::story::{
    ClockReport, DecisionPage, DecisionQuery, FailurePage, FailureQuery, FailureShown, Overview, Question, Story,
};

/// No request is longer than a campaign's name.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// What the answers are made from.
#[derive(Clone)]
pub struct Context {
    pub reload: ReloadHandle,
    pub health: Health,
    pub store: StoreDoor,
    pub pipeline: Door,
    /// The engine as it was started; its problems are filled in when somebody asks.
    pub about: Arc<EngineStatus>,
}

pub(super) fn router(context: Context) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/campaigns", get(campaigns))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/reload", post(reload))
        .route("/rollback", post(rollback))
        .route("/why", post(why))
        .route("/decisions", post(decisions))
        .route("/failures", post(failures))
        .route("/failures/show", post(show_failure))
        .route("/failures/retry", post(retry_failures))
        .route("/failures/drop", post(drop_failures))
        .route("/erase", post(erase))
        .route("/store", get(store))
        .route("/store/clock", post(clock))
        .route("/store/backup", get(backup).post(begin_backup))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(context)
}

/// Why a request is not done.
struct Refused(StatusCode, String);

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer<T> = Result<Json<T>, Refused>;

async fn status(State(context): State<Context>) -> Json<EngineStatus> {
    let owned = |rooms: BTreeMap<&str, String>| rooms.into_iter().map(|(room, why)| (room.to_owned(), why)).collect();
    let (problems, standbys) = (owned(context.health.complaints()), owned(context.health.standbys()));
    Json(EngineStatus { problems, standbys, ..(*context.about).clone() })
}

async fn campaigns(State(context): State<Context>) -> Answer<Vec<CampaignStatus>> {
    Ok(Json(context.reload.ask(|reply| Request::Campaigns { reply }).await?))
}

async fn reload(State(context): State<Context>, body: Body<ReloadRequest>) -> Answer<LoadReport> {
    let ReloadRequest { allow_removals } = body?.0;
    Ok(Json(context.reload.ask(|reply| Request::Reload { allow_removals, reply }).await?))
}

async fn pause(State(context): State<Context>, body: Body<PauseRequest>) -> Answer<Vec<String>> {
    let PauseRequest { target } = body?.0;
    answered(context.reload.pause(target).await?)
}

async fn resume(State(context): State<Context>, body: Body<PauseRequest>) -> Answer<Vec<String>> {
    let PauseRequest { target } = body?.0;
    answered(context.reload.resume(target).await?)
}

async fn rollback(State(context): State<Context>, body: Body<RollbackRequest>) -> Answer<CampaignStatus> {
    let RollbackRequest { campaign, undo } = body?.0;
    let request = |reply| match undo {
        true => Request::UndoRollback { campaign, reply },
        false => Request::Rollback { campaign, reply },
    };
    answered(context.reload.ask(request).await?)
}

/// Asked with a body, as an id of a customer does not belong into an address.
async fn why(State(context): State<Context>, body: Body<Question>) -> Answer<Story> {
    Ok(Json(context.store.why(body?.0).await?))
}

async fn decisions(State(context): State<Context>, body: Body<DecisionQuery>) -> Answer<DecisionPage> {
    Ok(Json(context.store.decisions(body?.0).await?))
}

async fn failures(State(context): State<Context>, body: Body<FailureQuery>) -> Answer<FailurePage> {
    Ok(Json(context.store.failures(body?.0).await?))
}

async fn show_failure(State(context): State<Context>, body: Body<ShowFailureRequest>) -> Answer<Option<FailureShown>> {
    Ok(Json(context.store.failure(body?.0.number).await?))
}

async fn retry_failures(State(context): State<Context>, body: Body<FailuresRequest>) -> Answer<RetryPage> {
    let FailuresRequest { which, from } = body?.0;
    answered(context.pipeline.ask(|reply| pipeline::Request::Retry { which, from, reply }).await)
}

async fn drop_failures(State(context): State<Context>, body: Body<FailuresRequest>) -> Answer<DropPage> {
    let FailuresRequest { which, from } = body?.0;
    answered(context.pipeline.ask(|reply| pipeline::Request::Drop { which, from, reply }).await)
}

async fn erase(State(context): State<Context>, body: Body<Whose>) -> Answer<Option<Erased>> {
    let whose = body?.0;
    answered(context.pipeline.ask(|reply| pipeline::Request::Erase { whose, reply }).await)
}

async fn store(State(context): State<Context>) -> Answer<Overview> {
    Ok(Json(context.store.overview().await?))
}

async fn clock(State(context): State<Context>, body: Body<ClockRequest>) -> Answer<ClockReport> {
    let accept = body?.0.accept;
    answered(context.pipeline.ask(|reply| pipeline::Request::Clock { accept, reply }).await)
}

async fn begin_backup(State(context): State<Context>, body: Body<BackupRequest>) -> Answer<()> {
    answered(context.store.begin_backup(body?.0.directory))
}

async fn backup(State(context): State<Context>) -> Json<Option<BackupStatus>> {
    Json(context.store.backup())
}

fn answered<T>(answer: Result<T, String>) -> Answer<T> {
    answer.map(Json).map_err(|reason| Refused(StatusCode::CONFLICT, reason))
}

impl From<OwnerGone> for Refused {
    fn from(gone: OwnerGone) -> Self {
        Refused(StatusCode::SERVICE_UNAVAILABLE, gone.to_string())
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        let status = match error {
            ReadError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            ReadError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refused(status, error.to_string())
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        Refused(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(Refusal { error: self.1 })).into_response()
    }
}
