//! Serving connections, boundedly: so many at a time, none that stays silent for long, and an end that comes although
//! somebody holds on to theirs.

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

/// How long open requests may take once the end has come.
const GRACE: Duration = Duration::from_secs(2);

/// What clients may take. **A place is given back in bounded time, whatever the client does or doesn't**: else so many
/// silent ones would keep everybody out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// More connections than this wait.
    pub(super) connections_max: usize,
    /// The longest wait for a whole head, of the first request and of each that follows.
    pub(super) head_timeout: Duration,
    /// The longest that a connection lasts: longer than the longest answer takes.
    pub(super) connection_timeout: Duration,
    /// A connection of this age gives its place to one that waits, the oldest first: clients that never read do not keep others out.
    pub(super) yields_after: Duration,
}

/// Serves until `shutdown` is done, then lets open requests finish for a moment.
pub(super) async fn serve_until<L>(mut listener: L, bounds: Bounds, router: Router, shutdown: impl Future<Output = ()>)
where
    L: Listener,
{
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    // The oldest first.
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
        let yields_at = open.front().map_or_else(Instant::now, |(since, _)| *since + bounds.yields_after);
        tokio::select! {
            (io, _) = listener.accept(), if waiting.is_none() => waiting = Some(io),
            // What has ended is forgotten.
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
    // Whoever holds on for longer is hung up on as `connections` goes.
    let _ = tokio::time::timeout(GRACE, finished).await;
}

/// One connection, from its first request to its end. How a client's connection ends is no concern of the engine.
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
            // An error means that the other end is gone, which is the word.
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
    /// More than the buffers between two ends hold.
    const LARGE_BYTES: usize = 64 << 20;
    /// Longer than anything here takes, and far from [`LONG`].
    const PATIENCE: Duration = Duration::from_secs(20);

    /// As many clients as there are places send `words` and no more; then one more asks for its answer.
    async fn is_answered_beside(words: &str, head_timeout: Duration, connection_timeout: Duration) {
        let bounds = Bounds { connections_max: 2, head_timeout, connection_timeout, yields_after: LONG };
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
    async fn clients_that_never_read_their_answer_give_their_places_to_those_that_wait() {
        let bounds = Bounds { connections_max: 2, head_timeout: LONG, connection_timeout: LONG, yields_after: SHORT };
        is_answered_within(bounds, "GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    }

    #[tokio::test]
    async fn a_client_keeps_its_place_while_nobody_waits_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds =
            Bounds { connections_max: 2, head_timeout: LONG, connection_timeout: LONG, yields_after: Duration::ZERO };
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
    async fn the_oldest_client_gives_its_place_and_no_other_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds { connections_max: 2, head_timeout: LONG, connection_timeout: LONG, yields_after: SHORT };
        let serving = tokio::spawn(serve_until(listener, bounds, router(), std::future::pending()));
        let mut oldest = TcpStream::connect(address).await.unwrap();
        oldest.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let younger = TcpStream::connect(address).await.unwrap();
        is_answered(address).await;
        is_answered_on(younger).await;
        serving.abort();
    }

    #[tokio::test]
    async fn clients_that_say_nothing_lose_their_places() {
        is_answered_beside("", SHORT, LONG).await;
    }

    #[tokio::test]
    async fn clients_that_stop_within_a_head_lose_their_places() {
        is_answered_beside("GET / HTTP/1.1\r\nhost:", SHORT, LONG).await;
    }

    #[tokio::test]
    async fn clients_that_keep_an_answered_connection_lose_their_places() {
        is_answered_beside("GET / HTTP/1.1\r\nhost: x\r\n\r\n", SHORT, LONG).await;
    }

    #[tokio::test]
    async fn clients_that_never_send_their_body_lose_their_places() {
        is_answered_beside("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n", LONG, SHORT).await;
    }

    #[tokio::test]
    async fn a_client_in_the_middle_of_a_request_does_not_hold_the_end_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds { connections_max: 2, head_timeout: LONG, connection_timeout: LONG, yields_after: LONG };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(serve_until(listener, bounds, router(), async { stopped.await.unwrap_or(()) }));
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n")
            .await
            .unwrap();
        // Its request is being served.
        let mut go_on = [0; 12];
        tokio::time::timeout(PATIENCE, client.read_exact(&mut go_on)).await.unwrap().unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100");
        stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, serving).await.expect("it ends").unwrap();
    }
}
