//! The time limit of requests to the broker. A broker that stalls in the middle of a request may keep sending heartbeats,
//! so the client library waits for its answer without end.

use std::time::Duration;

use lapin::Connection;

use super::BrokerError;

/// The longest that the broker may take to answer one request.
pub const ANSWER_MAX: Duration = Duration::from_secs(15);
/// The longest that closing a connection may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Waits for the broker's answer to one request, for at most [`ANSWER_MAX`]. `request` names it in the error.
///
/// # Errors
/// When the broker refuses, does not answer in time, or the connection is lost.
pub async fn answered<T>(
    request: &'static str,
    answer: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, BrokerError> {
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(BrokerError::Unanswered { request, seconds: ANSWER_MAX.as_secs() }),
    }
}

/// Closes a connection; returns whether the broker confirmed it. A close that fails or takes too long changes nothing: the
/// broker ends the connection itself.
pub async fn close(connection: &Connection) -> bool {
    match tokio::time::timeout(CLOSE_MAX, connection.close(200, "OK".into())).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::debug!(%error, "the connection was not closed in order"),
        Err(_) => tracing::debug!("the broker did not answer the request to close the connection"),
    }
    false
}
