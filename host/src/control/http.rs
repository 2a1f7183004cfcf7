//! `/metrics`, `/healthz` and `/readyz` over TCP, and nothing else: numbers and conditions, no personal data, nothing
//! that changes anything.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::ControlError;
use super::connections::{Bounds, serve_until};
use crate::health::Health;

/// A scraper or two, a probe or two, each answered at once.
const BOUNDS: Bounds = Bounds {
    connections_max: 32,
    head_timeout: Duration::from_secs(5),
    connection_timeout: Duration::from_secs(60),
    // A probe that waits a little is answered still in its time.
    yields_after: Duration::from_millis(200),
};

/// A bound listener.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

/// What is shown.
#[derive(Clone)]
pub struct Observed {
    pub health: Health,
    pub metrics: PrometheusHandle,
}

impl Http {
    /// Listens on `host:port`; port 0 takes any that is free. `None` if `listen` is empty.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub async fn bind(listen: &str) -> Result<Option<Http>, ControlError> {
        if listen.is_empty() {
            return Ok(None);
        }
        let failed = |source| ControlError::Listen { listen: listen.to_owned(), source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "metrics and health can be read by whoever reaches this address");
        }
        Ok(Some(Http { listener, address }))
    }

    /// The address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is done, whatever becomes of single connections.
    pub async fn serve(self, observed: Observed, shutdown: impl Future<Output = ()>) {
        let metrics = observed.metrics.clone();
        let upkeep = crate::metrics::keep_up(metrics);
        let serving = serve_until(self.listener, BOUNDS, router(observed), shutdown);
        tokio::select! {
            () = serving => {}
            () = upkeep => {}
        }
    }
}

fn router(observed: Observed) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readiness))
        .with_state(observed)
}

async fn metrics(State(observed): State<Observed>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], observed.metrics.render()).into_response()
}

async fn readiness(State(observed): State<Observed>) -> Response {
    let problems = observed.health.problems();
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut answer = serde_json::json!({ "ready": problems.is_empty(), "problems": problems });
    let standbys = observed.health.standbys();
    if !standbys.is_empty() {
        answer["standby"] = serde_json::json!(standbys);
    }
    (status, Json(answer)).into_response()
}
