//! Serving connections, boundedly: so many at a time, and an end that comes although somebody holds on to theirs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long open requests may take once the end has come.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until `shutdown` is done, then lets open requests finish for a moment.
pub(super) async fn serve_until<L>(
    listener: L,
    connections_max: usize,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let bounded = Bounded { listener, places: Arc::new(Semaphore::new(connections_max)) };
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move {
        // An error means that the other end is gone, which is the word as well.
        let _ = stopped.await;
    };
    let serving = std::future::IntoFuture::into_future(axum::serve(bounded, router).with_graceful_shutdown(stopped));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = shutdown => {}
    }
    drop(stop);
    tokio::time::timeout(GRACE, serving).await.unwrap_or(Ok(()))
}

/// A listener that accepts no more than so many connections at a time.
struct Bounded<L> {
    listener: L,
    places: Arc<Semaphore>,
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Held<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // The semaphore is never closed; were it, the connection would merely not be counted.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (io, address) = self.listener.accept().await;
        (Held { io, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection and its place among those that may be open.
struct Held<I> {
    io: I,
    _place: Option<OwnedSemaphorePermit>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Held<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Held<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
