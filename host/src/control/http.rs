//! `/metrics`, `/healthz` and `/readyz` over TCP, and nothing else: they show numbers and
//! conditions, no personal data, and change nothing.

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

/// Bounds for one or two scrapers and probes, each answered at once.
const BOUNDS: Bounds = Bounds {
    connections_max: 32,
    head_timeout: Duration::from_secs(5),
    connection_timeout: Duration::from_secs(60),
    // A probe that waits this long is still answered in time.
    yields_after: Duration::from_millis(200),
};

/// A listener for metrics and health that is bound to its address.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

/// The data that the endpoints show.
#[derive(Clone)]
pub struct Observed {
    pub health: Health,
    pub metrics: PrometheusHandle,
}

impl Http {
    /// Listens on `host:port`. Port 0 means any free port. `None` if `listen` is empty.
    ///
    /// # Errors
    /// When it cannot listen on the address.
    pub async fn bind(listen: &str) -> Result<Option<Http>, ControlError> {
        if listen.is_empty() {
            return Ok(None);
        }
        let failed = |source| ControlError::Listen { listen: listen.to_owned(), source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "metrics and health are readable from other machines that \
                reach this address");
        }
        Ok(Some(Http { listener, address }))
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `shutdown` completes, also when single connections fail.
    pub async fn serve(self, observed: Observed, shutdown: impl Future<Output = ()>) {
        let metrics = observed.metrics.clone();
        let upkeep = crate::metrics::sum_up(metrics);
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
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        observed.metrics.render(),
    )
        .into_response()
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
