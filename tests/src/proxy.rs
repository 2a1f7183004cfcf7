//! A TCP proxy between an engine and its broker that can produce network faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const BUFFER_BYTES: usize = 16 << 10;
/// A half-open connection stays for this time: longer than any tested wait.
const HALF_OPEN_FOR: Duration = Duration::from_secs(120);

/// The state of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Normal,
    /// No data passes and none is lost: it passes when the state is normal again.
    Stalled,
    /// Data from clients passes; answers are dropped.
    AnswersDropped,
    /// The broker sees its connections end; the clients do not. Data of new connections is dropped.
    HalfOpen,
}

/// A proxy with a port of its own. Dropping the value ends it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    /// The number of times all connections were reset.
    resets: watch::Sender<u64>,
    requests: watch::Sender<Requests>,
    /// Whether a request is held now.
    is_holding: watch::Sender<bool>,
    passed: Passed,
}

/// The number of requests of each method that were passed on to the broker.
type Passed = Arc<Mutex<BTreeMap<Method, usize>>>;

/// The handling of requests on their way to the broker.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    /// Requests of this method are dropped.
    lost: Option<Method>,
    /// The n-th request of this method on each connection waits, and so does everything behind it.
    held: Option<(Method, usize)>,
}

/// An AMQP method: its class number and its method number.
pub type Method = (u16, u16);

/// The header of a frame: type, channel and size. The end of a frame is one byte.
const HEAD_BYTES: usize = 7;
const END_BYTES: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Towards {
    Broker,
    Client,
}

impl Proxy {
    /// A proxy for a server on this port of the local host.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn before(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Proxy {
            port: listener.local_addr().expect("an address").port(),
            network: watch::Sender::new(Network::Normal),
            resets: watch::Sender::new(0),
            requests: watch::Sender::default(),
            is_holding: watch::Sender::new(false),
            passed: Passed::default(),
        };
        let (network, resets) = (proxy.network.subscribe(), proxy.resets.subscribe());
        let requests =
            (proxy.requests.subscribe(), proxy.is_holding.clone(), Arc::clone(&proxy.passed));
        tokio::spawn(serve(listener, port, network, resets, requests));
        proxy
    }

    /// Holds the n-th request of this method on each connection, and everything behind it, until
    /// [`Self::release`]. A connection on which a request was held counts from there.
    pub fn hold(&self, method: Method, nth: usize) {
        self.requests.send_modify(|requests| requests.held = Some((method, nth)));
    }

    /// Waits until a request is held.
    pub async fn is_holding(&self) {
        let mut is_holding = self.is_holding.subscribe();
        crate::wait::end_of("a request to hold", is_holding.wait_for(|is| *is))
            .await
            .expect("a proxy");
    }

    /// Passes held requests on, and holds none from now on.
    pub fn release(&self) {
        self.requests.send_modify(|requests| requests.held = None);
    }

    /// The number of requests of a method that were passed on.
    ///
    /// # Panics
    /// If a connection of the proxy has panicked.
    #[must_use]
    pub fn passed(&self, method: Method) -> usize {
        self.passed.lock().expect("counts").get(&method).copied().unwrap_or_default()
    }

    /// Drops every request of this method and nothing else, so that it is never answered. `None`
    /// ends that.
    pub fn drop_requests(&self, method: Option<Method>) {
        self.requests.send_modify(|requests| requests.lost = method);
    }

    /// [`Self::address`] with heartbeats so long that none fails during a test.
    #[must_use]
    pub fn patient_address(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}?heartbeat=120", self.port)
    }

    /// The address for clients, in place of the broker's own, with heartbeats of 2 s.
    #[must_use]
    pub fn address(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}?heartbeat=2", self.port)
    }

    pub fn set_network(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Resets every connection, on both sides.
    pub fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }
}

async fn serve(
    listener: TcpListener,
    port: u16,
    mut network: watch::Receiver<Network>,
    mut resets: watch::Receiver<u64>,
    requests: (watch::Receiver<Requests>, watch::Sender<bool>, Passed),
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The proxy was dropped.
            () = gone(&mut network) => return,
        };
        let Ok((client, _)) = accepted else { continue };
        // If the broker is down, the client's connection is closed.
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        resets.mark_unchanged();
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        for (from, to, towards) in
            [(from_client, to_server, Towards::Broker), (from_server, to_client, Towards::Client)]
        {
            tokio::spawn(carry(
                from,
                to,
                towards,
                network.clone(),
                resets.clone(),
                requests.clone(),
            ));
        }
    }
}

/// Copies one direction of a connection, with the current network state.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    towards: Towards,
    mut network: watch::Receiver<Network>,
    mut resets: watch::Receiver<u64>,
    (mut requests, is_holding, passed): (watch::Receiver<Requests>, watch::Sender<bool>, Passed),
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut frames = Frames { passed, ..Frames::default() };
    loop {
        let now = *network.borrow_and_update();
        if now == Network::HalfOpen {
            return half_open(from, to, towards).await;
        }
        let read = tokio::select! {
            changed = network.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            _ = resets.changed() => {
                // With a linger time of zero, closing sends a reset.
                let _ = to.as_ref().set_zero_linger();
                return;
            }
            read = from.read(&mut buffer), if now != Network::Stalled => read,
        };
        let Ok(count @ 1..) = read else { return };
        let is_swallowed = now == Network::AnswersDropped && towards == Towards::Client;
        let kept;
        let bytes = match towards {
            Towards::Client => &buffer[..count],
            Towards::Broker => {
                frames.rest.extend_from_slice(&buffer[..count]);
                kept = frames.take(*requests.borrow());
                &kept[..]
            }
        };
        if !is_swallowed && to.write_all(bytes).await.is_err() {
            return;
        }
        if frames.is_held {
            is_holding.send_replace(true);
            let released = requests.wait_for(|requests| requests.held.is_none()).await;
            let Ok(released) = released.map(|requests| *requests) else { return };
            is_holding.send_replace(false);
            frames.seen = 0;
            if to.write_all(&frames.take(released)).await.is_err() {
                return;
            }
        }
    }
}

/// The data of a client, split into frames.
#[derive(Default)]
struct Frames {
    has_begun: bool,
    /// Data that was not passed on yet: part of a frame, or held frames.
    rest: Vec<u8>,
    /// The number of requests of the held method so far.
    seen: usize,
    is_held: bool,
    passed: Passed,
}

impl Frames {
    /// Returns the complete frames, without dropped requests, up to the held one.
    fn take(&mut self, requests: Requests) -> Vec<u8> {
        let mut kept = Vec::new();
        self.is_held = false;
        // The protocol header comes first, and is not a frame.
        if !self.has_begun && self.rest.len() >= 8 {
            kept.extend(self.rest.drain(..8));
            self.has_begun = true;
        }
        while self.has_begun && self.rest.len() >= HEAD_BYTES {
            let size = u32::from_be_bytes([self.rest[3], self.rest[4], self.rest[5], self.rest[6]])
                as usize;
            let bytes = HEAD_BYTES + size + END_BYTES;
            if self.rest.len() < bytes {
                break;
            }
            let number = |at: usize| u16::from_be_bytes([self.rest[at], self.rest[at + 1]]);
            let method = (self.rest[0] == 1 && size >= 4)
                .then(|| (number(HEAD_BYTES), number(HEAD_BYTES + 2)));
            if let Some((held, nth)) = requests.held
                && method == Some(held)
            {
                self.seen += 1;
                if self.seen == nth {
                    self.is_held = true;
                    break;
                }
            }
            let frame = self.rest.drain(..bytes);
            if method.is_none() || method != requests.lost {
                kept.extend(frame);
                if let Some(method) = method {
                    *self.passed.lock().expect("counts").entry(method).or_default() += 1;
                }
            }
        }
        kept
    }
}

/// Closes the broker's side and keeps the client's; data from the client is dropped.
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
