//! Time limits for requests to the broker. A broker that stalls during a request may still send
//! heartbeats, and the client library would wait for its answer without limit.

use std::time::Duration;

use lapin::Connection;

use super::BrokerError;

/// The longest wait for the answer to one request.
pub const ANSWER_MAX: Duration = Duration::from_secs(15);
/// The longest wait for the broker to confirm that a connection is closed.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Waits for the broker's answer to one request, for at most [`ANSWER_MAX`]. `request` is the AMQP
/// method, for the error.
///
/// # Errors
/// The broker refuses, does not answer in time, or the connection is lost.
pub async fn answered<T>(
    request: &'static str,
    answer: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, BrokerError> {
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(BrokerError::Unanswered { request, seconds: ANSWER_MAX.as_secs() }),
    }
}

/// Closes a connection; returns whether the broker confirmed the close. A failed or late close
/// needs no handling, because the broker then ends the connection itself.
pub async fn close(connection: &Connection) -> bool {
    match tokio::time::timeout(CLOSE_MAX, connection.close(200, "OK".into())).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::debug!(%error, "closing the connection failed"),
        Err(_) => tracing::debug!("the broker did not answer the request to close the connection"),
    }
    false
}
