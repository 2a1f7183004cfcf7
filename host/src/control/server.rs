//! The server side of the control socket. Every request that changes campaigns goes to the owner of
//! the rules directory, which handles one request after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body as AnswerBody;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::protocol::{
    BackupRequest, BackupStatus, ClockRequest, DropDeferredRequest, EngineStatus, FailuresRequest,
    PauseRequest, Refusal, ReloadRequest, RollbackRequest, ShowFailureRequest,
};
use super::store::{ReadError, StoreQueries};
use crate::consent::{ImportPart, Terms};
use crate::consents::Imported;
use crate::erasure::{EraseRequest, Erased};
use crate::explain::{
    ClockReport, DecisionPage, DecisionQuery, DeferredPage, DeferredQuery, ExplainQuery,
    Explanation, FailureDetails, FailurePage, FailureQuery, Judgement, JudgementQuery,
    KnownConsents, Overview,
};
use crate::health::Health;
use crate::pipeline::{self, DeferredDropPage, DropPage, RequestSender, RetryPage};
use crate::reload::{CampaignStatus, LoadReport, OwnerGone, PoliciesStatus, ReloadHandle, Request};

/// The largest request body, in bytes.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// The largest body of a part of an import, in bytes.
const IMPORT_BYTES_MAX: usize = 1 << 20;

/// The state from which the answers are made.
#[derive(Clone)]
pub struct Context {
    pub reload: ReloadHandle,
    pub health: Health,
    pub store: StoreQueries,
    pub pipeline: RequestSender,
    /// The engine's status at its start. Each answer adds the current problems.
    pub about: Arc<EngineStatus>,
}

pub(super) fn router(context: Context) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/campaigns", get(campaigns))
        .route("/policies", get(policies))
        .route("/policies/explain", post(judgement))
        .route("/policies/consents", get(known_consents))
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
        .route("/deferred", post(deferred))
        .route("/deferred/drop", post(drop_deferred))
        .route("/erase", post(erase))
        .route("/consent", get(consent_terms))
        .route("/consent/export", get(export_consents))
        .route(
            "/consent/import",
            post(import_consents).layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX)),
        )
        .route("/store", get(store))
        .route("/store/clock", post(clock))
        .route("/store/backup", get(backup).post(begin_backup))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(context)
}

/// A request that failed: the status code and the reason.
struct Refused(StatusCode, String);

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer<T> = Result<Json<T>, Refused>;

async fn status(State(context): State<Context>) -> Json<EngineStatus> {
    let owned = |rooms: BTreeMap<&str, String>| {
        rooms.into_iter().map(|(room, why)| (room.to_owned(), why)).collect()
    };
    let (problems, standbys) =
        (owned(context.health.complaints()), owned(context.health.standbys()));
    Json(EngineStatus { problems, standbys, ..(*context.about).clone() })
}

async fn campaigns(State(context): State<Context>) -> Answer<Vec<CampaignStatus>> {
    Ok(Json(context.reload.ask(|reply| Request::Campaigns { reply }).await?))
}

async fn policies(State(context): State<Context>) -> Answer<PoliciesStatus> {
    Ok(Json(context.reload.ask(|reply| Request::Policies { reply }).await?))
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

async fn rollback(
    State(context): State<Context>,
    body: Body<RollbackRequest>,
) -> Answer<CampaignStatus> {
    let RollbackRequest { campaign, undo } = body?.0;
    let request = |reply| match undo {
        true => Request::UndoRollback { campaign, reply },
        false => Request::Rollback { campaign, reply },
    };
    answered(context.reload.ask(request).await?)
}

/// This is a POST with a body, because a customer's id must not be in a URL.
async fn why(State(context): State<Context>, body: Body<ExplainQuery>) -> Answer<Explanation> {
    Ok(Json(context.store.why(body?.0).await?))
}

async fn decisions(
    State(context): State<Context>,
    body: Body<DecisionQuery>,
) -> Answer<DecisionPage> {
    Ok(Json(context.store.decisions(body?.0).await?))
}

async fn failures(State(context): State<Context>, body: Body<FailureQuery>) -> Answer<FailurePage> {
    Ok(Json(context.store.failures(body?.0).await?))
}

async fn show_failure(
    State(context): State<Context>,
    body: Body<ShowFailureRequest>,
) -> Answer<Option<FailureDetails>> {
    Ok(Json(context.store.failure(body?.0.number).await?))
}

async fn retry_failures(
    State(context): State<Context>,
    body: Body<FailuresRequest>,
) -> Answer<RetryPage> {
    let FailuresRequest { selection, from } = body?.0;
    answered(
        context.pipeline.ask(|reply| pipeline::Request::Retry { selection, from, reply }).await,
    )
}

async fn drop_failures(
    State(context): State<Context>,
    body: Body<FailuresRequest>,
) -> Answer<DropPage> {
    let FailuresRequest { selection, from } = body?.0;
    answered(context.pipeline.ask(|reply| pipeline::Request::Drop { selection, from, reply }).await)
}

async fn deferred(
    State(context): State<Context>,
    body: Body<DeferredQuery>,
) -> Answer<DeferredPage> {
    Ok(Json(context.store.deferred(body?.0).await?))
}

async fn drop_deferred(
    State(context): State<Context>,
    body: Body<DropDeferredRequest>,
) -> Answer<DeferredDropPage> {
    let DropDeferredRequest { selection, after } = body?.0;
    let request = |reply| pipeline::Request::DropDeferred { selection, after, reply };
    answered(context.pipeline.ask(request).await)
}

async fn judgement(
    State(context): State<Context>,
    body: Body<JudgementQuery>,
) -> Answer<Judgement> {
    answered(context.store.judgement(body?.0, context.about.environment.clone()).await?)
}

async fn known_consents(State(context): State<Context>) -> Answer<KnownConsents> {
    Ok(Json(context.store.known_consents().await?))
}

async fn erase(State(context): State<Context>, body: Body<EraseRequest>) -> Answer<Option<Erased>> {
    let request = body?.0;
    answered(context.pipeline.ask(|reply| pipeline::Request::Erase { request, reply }).await)
}

/// How the policies that apply read the values of an import.
async fn consent_terms(State(context): State<Context>) -> Json<Terms> {
    Json(context.store.consent_terms())
}

/// The answer is lines of JSON. It is cut off if the store cannot be read to its end.
async fn export_consents(State(context): State<Context>) -> Result<AnswerBody, Refused> {
    let mut parts = context.store.export_consents()?;
    Ok(AnswerBody::from_stream(futures_util::stream::poll_fn(move |waker| parts.poll_recv(waker))))
}

async fn import_consents(
    State(context): State<Context>,
    body: Body<ImportPart>,
) -> Answer<Imported> {
    let ImportPart { terms, request } = body?.0;
    if terms != context.store.consent_terms() {
        let reason = "the policies changed while the file was read; repeat the import";
        return Err(Refused(StatusCode::CONFLICT, reason.to_owned()));
    }
    answered(context.pipeline.ask(|reply| pipeline::Request::Import { request, reply }).await)
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
            ReadError::Exporting => StatusCode::CONFLICT,
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
