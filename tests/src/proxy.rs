//! A stretch of network that can be told to misbehave: it stands between an engine and its broker.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const BUFFER_BYTES: usize = 16 << 10;
/// So long a connection that was half opened stays: longer than anybody who is tested waits.
const HALF_OPEN_FOR: Duration = Duration::from_secs(120);

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Nothing goes through, and nothing is lost: it goes on when the weather is fair.
    Stalled,
    /// What clients send goes through, and every answer is swallowed.
    Deaf,
    /// The broker is told that the connections have ended, and the clients are not; new ones go nowhere.
    HalfOpen,
}

/// A proxy on a port of its own; it ends with the value.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    /// How often all connections were reset.
    resets: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Towards {
    Broker,
    Client,
}

impl Proxy {
    /// Stands before this port.
    ///
    /// # Panics
    /// If there is no port to listen on.
    pub async fn before(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Proxy {
            port: listener.local_addr().expect("an address").port(),
            weather: watch::Sender::new(Weather::Fair),
            resets: watch::Sender::new(0),
        };
        let (weather, resets) = (proxy.weather.subscribe(), proxy.resets.subscribe());
        tokio::spawn(serve(listener, port, weather, resets));
        proxy
    }

    /// Where clients connect in place of the broker's own address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}?heartbeat=2", self.port)
    }

    pub fn becomes(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Ends every connection with a reset, on both sides.
    pub fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }
}

async fn serve(
    listener: TcpListener,
    port: u16,
    mut weather: watch::Receiver<Weather>,
    mut resets: watch::Receiver<u64>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The proxy is gone.
            () = gone(&mut weather) => return,
        };
        let Ok((client, _)) = accepted else { continue };
        // Without a broker behind it, the client is hung up on.
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        resets.mark_unchanged();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(carry(from_client, to_server, Towards::Broker, weather.clone(), resets.clone()));
        tokio::spawn(carry(from_server, to_client, Towards::Client, weather.clone(), resets.clone()));
    }
}

/// Carries one direction of a connection through the weather.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    towards: Towards,
    mut weather: watch::Receiver<Weather>,
    mut resets: watch::Receiver<u64>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let now = *weather.borrow_and_update();
        if now == Weather::HalfOpen {
            return half_open(from, to, towards).await;
        }
        let read = tokio::select! {
            changed = weather.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            _ = resets.changed() => {
                // What is sent now is a reset in place of an end.
                let _ = to.as_ref().set_zero_linger();
                return;
            }
            read = from.read(&mut buffer), if now != Weather::Stalled => read,
        };
        let Ok(count @ 1..) = read else { return };
        let is_swallowed = now == Weather::Deaf && towards == Towards::Client;
        if !is_swallowed && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// The broker's side ends; the client's stays, and whatever the client says goes nowhere.
async fn half_open(mut from: OwnedReadHalf, to: OwnedWriteHalf, towards: Towards) {
    match towards {
        Towards::Client => {
            drop(from);
            tokio::time::sleep(HALF_OPEN_FOR).await;
            drop(to);
        }
        Towards::Broker => {
            drop(to);
            let mut buffer = vec![0; BUFFER_BYTES];
            while let Ok(1..) = from.read(&mut buffer).await {}
        }
    }
}

async fn gone<T>(watched: &mut watch::Receiver<T>) {
    while watched.changed().await.is_ok() {}
}
