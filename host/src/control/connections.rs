//! Serves connections within bounds: a maximum number at a time, none that is silent for long, and
//! an end that does not wait for clients.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// How long open requests may take after shutdown begins.
const GRACE: Duration = Duration::from_secs(2);

/// The bounds of a listener. **A client's slot is free again after a bounded time, whatever the
/// client does or does not do**: otherwise silent clients could lock all others out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The largest number of connections; further ones wait.
    pub(super) connections_max: usize,
    /// The longest wait for a complete request head, of the first request and of each later one.
    pub(super) head_timeout: Duration,
    /// The longest time of a connection. It is longer than the longest answer takes.
    pub(super) connection_timeout: Duration,
    /// When another connection waits, the oldest connection of at least this age is closed, so
    /// clients that never read do not lock others out.
    pub(super) yields_after: Duration,
}

/// Serves connections until `shutdown` completes, then gives open requests [`GRACE`] to finish.
pub(super) async fn serve_until<L>(
    mut listener: L,
    bounds: Bounds,
    router: Router,
    shutdown: impl Future<Output = ()>,
) where
    L: Listener,
{
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    // Open connections, the oldest first.
    let mut open: VecDeque<(Instant, AbortHandle)> = VecDeque::new();
    let mut waiting: Option<L::Io> = None;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        open.retain(|(_, connection)| !connection.is_finished());
        if open.len() < bounds.connections_max
            && let Some(io) = waiting.take()
        {
            let serving = connections.spawn(serve(io, bounds, router.clone(), stopped.clone()));
            open.push_back((Instant::now(), serving));
        }
        let yields_at =
            open.front().map_or_else(Instant::now, |(since, _)| *since + bounds.yields_after);
        tokio::select! {
            (io, _) = listener.accept(), if waiting.is_none() => waiting = Some(io),
            // Removes connections that have ended.
            Some(_) = connections.join_next() => {}
            () = tokio::time::sleep_until(yields_at), if waiting.is_some() => {
                if let Some((_, oldest)) = open.pop_front() {
                    oldest.abort();
                }
            }
            () = &mut shutdown => break,
        }
    }
    drop(stop);
    let finished = async { while connections.join_next().await.is_some() {} };
    // Connections that are open longer are closed when `connections` is dropped.
    let _ = tokio::time::timeout(GRACE, finished).await;
}

/// Serves one connection from its first request to its end. How a client's connection ends does not
/// concern the engine.
async fn serve<I>(io: I, bounds: Bounds, router: Router, mut stopped: watch::Receiver<()>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            _ = &mut connection => return,
            // An error means that the sender was dropped, which has the same meaning.
            _ = stopped.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(bounds.connection_timeout, served).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(50);
    /// More bytes than the buffers between client and server hold.
    const LARGE_BYTES: usize = 64 << 20;
    /// Longer than any step of these tests takes, and far from [`LONG`].
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Fills all slots with clients that send `words` and no more; then one more client must get an
    /// answer.
    async fn is_answered_beside(words: &str, head_timeout: Duration, connection_timeout: Duration) {
        let bounds =
            Bounds { connections_max: 2, head_timeout, connection_timeout, yields_after: LONG };
        is_answered_within(bounds, words).await;
    }

    async fn is_answered_within(bounds: Bounds, words: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve_until(listener, bounds, router(), std::future::pending()));
        let mut silent = Vec::new();
        for _ in 0..bounds.connections_max {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(words.as_bytes()).await.unwrap();
            silent.push(client);
        }
        is_answered(address).await;
        serving.abort();
    }

    fn router() -> Router {
        Router::new()
            .route("/", get(async || "here"))
            .route("/", post(async |body: String| body.len().to_string()))
            .route("/large", get(async || "x".repeat(LARGE_BYTES)))
    }

    async fn is_answered(address: SocketAddr) {
        is_answered_on(TcpStream::connect(address).await.unwrap()).await;
    }

    async fn is_answered_on(mut client: TcpStream) {
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, client.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
    }

    #[tokio::test]
    async fn clients_that_never_read_their_answer_lose_their_slots_to_waiting_ones() {
        let bounds = Bounds {
            connections_max: 2,
            head_timeout: LONG,
            connection_timeout: LONG,
            yields_after: SHORT,
        };
        is_answered_within(bounds, "GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    }

    #[tokio::test]
    async fn a_client_keeps_its_slot_while_no_other_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds {
            connections_max: 2,
            head_timeout: LONG,
            connection_timeout: LONG,
            yields_after: Duration::ZERO,
        };
        let serving = tokio::spawn(serve_until(listener, bounds, router(), std::future::pending()));
        let client = TcpStream::connect(address).await.unwrap();
        let since = Instant::now();
        while since.elapsed() < SHORT {
            is_answered(address).await;
        }
        is_answered_on(client).await;
        serving.abort();
    }

    #[tokio::test]
    async fn only_the_oldest_client_loses_its_slot() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds {
            connections_max: 2,
            head_timeout: LONG,
            connection_timeout: LONG,
            yields_after: SHORT,
        };
        let serving = tokio::spawn(serve_until(listener, bounds, router(), std::future::pending()));
        let mut oldest = TcpStream::connect(address).await.unwrap();
        oldest.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let younger = TcpStream::connect(address).await.unwrap();
        is_answered(address).await;
        is_answered_on(younger).await;
        serving.abort();
    }

    #[tokio::test]
    async fn silent_clients_lose_their_slots() {
        is_answered_beside("", SHORT, LONG).await;
    }

    #[tokio::test]
    async fn clients_that_stop_within_a_head_lose_their_slots() {
        is_answered_beside("GET / HTTP/1.1\r\nhost:", SHORT, LONG).await;
    }

    #[tokio::test]
    async fn clients_that_keep_an_answered_connection_lose_their_slots() {
        is_answered_beside("GET / HTTP/1.1\r\nhost: x\r\n\r\n", SHORT, LONG).await;
    }

    #[tokio::test]
    async fn clients_that_never_send_their_body_lose_their_slots() {
        is_answered_beside("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n", LONG, SHORT)
            .await;
    }

    #[tokio::test]
    async fn a_client_in_the_middle_of_a_request_does_not_delay_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds {
            connections_max: 2,
            head_timeout: LONG,
            connection_timeout: LONG,
            yields_after: LONG,
        };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(serve_until(listener, bounds, router(), async {
            stopped.await.unwrap_or(())
        }));
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(
                b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
            )
            .await
            .unwrap();
        // The request is being served.
        let mut go_on = [0; 12];
        tokio::time::timeout(PATIENCE, client.read_exact(&mut go_on)).await.unwrap().unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100");
        stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, serving).await.expect("it ends").unwrap();
    }
}
