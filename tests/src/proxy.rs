//! A stretch of network that can be told to misbehave: it stands between an engine and its broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
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
    requests: watch::Sender<Requests>,
    /// Whether a request is held at this moment.
    is_holding: watch::Sender<bool>,
    passed: Passed,
}

/// How many requests of each method have passed on their way to the broker.
type Passed = Arc<Mutex<BTreeMap<Method, usize>>>;

/// What becomes of requests on their way to the broker.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    /// This one never reaches the broker.
    lost: Option<Method>,
    /// This one waits, the so manieth of each connection, and so does all behind it.
    held: Option<(Method, usize)>,
}

/// A method of AMQP: the numbers of its class and of itself.
pub type Method = (u16, u16);

/// A frame's type, channel and size; and the byte that ends it.
const HEAD_BYTES: usize = 7;
const END_BYTES: usize = 1;

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
            requests: watch::Sender::default(),
            is_holding: watch::Sender::new(false),
            passed: Passed::default(),
        };
        let (weather, resets) = (proxy.weather.subscribe(), proxy.resets.subscribe());
        let requests = (proxy.requests.subscribe(), proxy.is_holding.clone(), Arc::clone(&proxy.passed));
        tokio::spawn(serve(listener, port, weather, resets, requests));
        proxy
    }

    /// Holds the n-th request of this method of each connection, and all that comes behind it, until [`Self::releases`]. A connection on which a
    /// request was held counts from there.
    pub fn holds(&self, method: Method, nth: usize) {
        self.requests.send_modify(|requests| requests.held = Some((method, nth)));
    }

    /// Waits until a request is held.
    pub async fn is_holding(&self) {
        let mut is_holding = self.is_holding.subscribe();
        crate::wait::end_of("a request to hold", is_holding.wait_for(|is| *is)).await.expect("a proxy");
    }

    /// Lets what is held go on, and holds nothing any more.
    pub fn releases(&self) {
        self.requests.send_modify(|requests| requests.held = None);
    }

    /// How many requests of a method have passed.
    ///
    /// # Panics
    /// If a connection of the proxy has panicked.
    #[must_use]
    pub fn passed(&self, method: Method) -> usize {
        self.passed.lock().expect("counts").get(&method).copied().unwrap_or_default()
    }

    /// Loses every request of this method on its way to the broker, and nothing else, so that it is never answered.
    pub fn loses(&self, method: Option<Method>) {
        self.requests.send_modify(|requests| requests.lost = method);
    }

    /// [`Self::address`] with heartbeats that notice nothing while a test lasts.
    #[must_use]
    pub fn patient_address(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}?heartbeat=120", self.port)
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
    requests: (watch::Receiver<Requests>, watch::Sender<bool>, Passed),
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
        for (from, to, towards) in
            [(from_client, to_server, Towards::Broker), (from_server, to_client, Towards::Client)]
        {
            tokio::spawn(carry(from, to, towards, weather.clone(), resets.clone(), requests.clone()));
        }
    }
}

/// Carries one direction of a connection through the weather.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    towards: Towards,
    mut weather: watch::Receiver<Weather>,
    mut resets: watch::Receiver<u64>,
    (mut requests, is_holding, passed): (watch::Receiver<Requests>, watch::Sender<bool>, Passed),
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut frames = Frames { passed, ..Frames::default() };
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

/// What a client has sent, cut into frames.
#[derive(Default)]
struct Frames {
    has_begun: bool,
    /// What has not been sent on: less than a frame, or what is held.
    rest: Vec<u8>,
    /// How many requests of the held method have come by.
    seen: usize,
    is_held: bool,
    passed: Passed,
}

impl Frames {
    /// The whole frames that have come, without lost requests, and up to the one that is held.
    fn take(&mut self, requests: Requests) -> Vec<u8> {
        let mut kept = Vec::new();
        self.is_held = false;
        // The protocol's header comes first, and is no frame.
        if !self.has_begun && self.rest.len() >= 8 {
            kept.extend(self.rest.drain(..8));
            self.has_begun = true;
        }
        while self.has_begun && self.rest.len() >= HEAD_BYTES {
            let size = u32::from_be_bytes([self.rest[3], self.rest[4], self.rest[5], self.rest[6]]) as usize;
            let bytes = HEAD_BYTES + size + END_BYTES;
            if self.rest.len() < bytes {
                break;
            }
            let number = |at: usize| u16::from_be_bytes([self.rest[at], self.rest[at + 1]]);
            let method = (self.rest[0] == 1 && size >= 4).then(|| (number(HEAD_BYTES), number(HEAD_BYTES + 2)));
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
