//! Shared by the tests of sources and sinks: a broker that no test stops, and a fake pipeline
//! under the test's control.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use hailer::clock::Millis;
use hailer::communication::{Communication, DeadLetter};
use hailer::config::RabbitMqConfig;
use hailer::delivery::Delivery;
use hailer::health::Health;
use hailer::shutdown::{Shutdown, ShutdownTrigger};
use hailer::sinks::SinkError;
use hailer::sinks::rabbitmq::{RabbitMqDeadLetterSink, RabbitMqSink};
use hailer::sources::rabbitmq::RabbitMqSource;
use hailer::sources::{Intake, IntakeClosed, SourceError};
use hailer_tests::broker::{Broker, Client};
use hailer_tests::wait;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A broker for tests that do not stop or reconfigure it.
pub(crate) fn shared_broker() -> &'static Broker {
    static BROKER: LazyLock<Broker> = LazyLock::new(Broker::start);
    &BROKER
}

/// A fake pipeline that keeps deliveries until the test settles or drops them.
#[derive(Clone, Default)]
pub(crate) struct Pipeline {
    held: Arc<Mutex<Vec<Delivery>>>,
    handled: Arc<Mutex<Option<Millis>>>,
    is_paused: Arc<watch::Sender<bool>>,
    /// The first delivery that is offered starts a pause.
    pauses_in_accept: Arc<AtomicBool>,
    /// True while there is room for some deliveries, but not for many.
    has_little_room: Arc<watch::Sender<bool>>,
    /// The number of times the source has waited for room for many.
    refills_awaited: Arc<AtomicUsize>,
}

impl Intake for Pipeline {
    async fn wait_until_unpaused(&self) {
        // The sender belongs to this value, so the wait cannot fail.
        let _ = self.is_paused.subscribe().wait_for(|is_paused| !is_paused).await;
    }

    async fn wait_for_room(&self) {
        self.refills_awaited.fetch_add(1, Ordering::AcqRel);
        self.wait_until_unpaused().await;
        // The sender belongs to this value, so the wait cannot fail.
        let _ = self.has_little_room.subscribe().wait_for(|is_little| !is_little).await;
    }

    async fn accept(&self, delivery: Delivery) -> Result<(), IntakeClosed> {
        if self.pauses_in_accept.swap(false, Ordering::AcqRel) {
            self.is_paused.send_replace(true);
        }
        self.wait_until_unpaused().await;
        self.held.lock().unwrap().push(delivery);
        Ok(())
    }

    fn handled_until(&self, moment: Millis) {
        let mut handled = self.handled.lock().unwrap();
        *handled = (*handled).max(Some(moment));
    }
}

impl Pipeline {
    /// A pipeline whose intake is paused until [`Self::resume`].
    pub(crate) fn paused() -> Pipeline {
        let pipeline = Pipeline::default();
        pipeline.is_paused.send_replace(true);
        pipeline
    }

    pub(crate) fn pausing_in_accept() -> Pipeline {
        let pipeline = Pipeline::default();
        pipeline.pauses_in_accept.store(true, Ordering::Release);
        pipeline
    }

    /// Sets whether room for many deliveries comes later than room for some.
    pub(crate) fn has_little_room(&self, is_little: bool) {
        self.has_little_room.send_replace(is_little);
    }

    pub(crate) async fn refills_are_awaited(&self, times: usize) {
        wait::until("the source waits for room", async || {
            self.refills_awaited.load(Ordering::Acquire) == times
        })
        .await;
    }

    pub(crate) fn resume(&self) {
        self.is_paused.send_replace(false);
    }

    pub(crate) fn len(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.held.lock().unwrap().iter().map(body).collect()
    }

    pub(crate) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.held.lock().unwrap())
    }

    /// The moment up to which the source has reported its backlog as handled; `None` before the
    /// first report.
    pub(crate) fn handled(&self) -> Option<Millis> {
        *self.handled.lock().unwrap()
    }

    pub(crate) async fn handled_after(&self, moment: Millis) {
        wait::until("the backlog is handled", async || self.handled() > Some(moment)).await;
    }

    /// Waits until at least `count` deliveries are held, and takes them.
    pub(crate) async fn take_many(&self, count: usize) -> Vec<Delivery> {
        wait::until(&format!("{count} deliveries"), async || self.len() >= count).await;
        self.take()
    }
}

pub(crate) fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.body.to_vec()).unwrap()
}

pub(crate) fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// A source that runs in the background, with a fake pipeline.
pub(crate) struct Running {
    pub(crate) pipeline: Pipeline,
    pub(crate) health: Health,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) ended: JoinHandle<Result<(), SourceError>>,
}

impl Running {
    pub(crate) fn start(address: &str, config: &RabbitMqConfig) -> Running {
        Running::start_with(address, config, Pipeline::default())
    }

    pub(crate) fn start_with(
        address: &str,
        config: &RabbitMqConfig,
        pipeline: Pipeline,
    ) -> Running {
        let health = Health::default();
        let (trigger, shutdown) = Shutdown::new();
        let source = RabbitMqSource::new(address.parse().unwrap(), config, health.clone()).unwrap();
        let ended = tokio::spawn(source.run(pipeline.clone(), shutdown));
        Running { pipeline, health, trigger, ended }
    }

    pub(crate) async fn ready(&self) {
        ready(&self.health).await;
    }

    pub(crate) async fn problem(&self, text: &str) {
        problem(&self.health, "source", text).await;
    }

    /// Drains the source, and waits until it ends.
    pub(crate) async fn finish(self) {
        self.trigger.drain();
        wait::end_of("the source", self.ended).await.unwrap().unwrap();
    }
}

/// Closes the connections that consume a queue, as an operator would.
pub(crate) fn close_consumers_of(queue: &str) {
    let table = |command: &[&str]| -> Vec<(String, String)> {
        let listed = shared_broker().ctl(command);
        listed
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect()
    };
    let consumers = table(&["list_consumers", "queue_name", "channel_pid"]);
    let connections = table(&["list_channels", "pid", "connection"]);
    for (_, channel) in consumers.iter().filter(|(name, _)| name == queue) {
        for (_, connection) in connections.iter().filter(|(pid, _)| pid == channel) {
            shared_broker().ctl(&["close_connection", connection, "test"]);
        }
    }
}

pub(crate) async fn ready(health: &Health) {
    wait::until("no problem is left", async || health.problems().is_empty()).await;
}

/// Waits until the health of a component reports a problem with this text.
pub(crate) async fn problem(health: &Health, room: &str, text: &str) {
    let what = format!("{room} says `{text}`");
    wait::until(&what, async || health.problems().get(room).is_some_and(|why| why.contains(text)))
        .await;
}

/// Declares the exchange `out`, and a queue that receives everything from it.
pub(crate) async fn way_out(client: &Client) {
    client.exchange("out", &[]).await;
    client.queue("out.q").await;
    client.bind("out.q", "out", "#").await;
}

pub(crate) fn queue(name: &str) -> RabbitMqConfig {
    RabbitMqConfig { queue: name.to_owned(), ..RabbitMqConfig::default() }
}

pub(crate) fn exchange(name: &str) -> RabbitMqConfig {
    RabbitMqConfig { exchange: name.to_owned(), ..RabbitMqConfig::default() }
}

pub(crate) fn sink(address: &str, config: &RabbitMqConfig, health: &Health) -> RabbitMqSink {
    RabbitMqSink::new(address.parse().unwrap(), config, health.clone()).unwrap()
}

pub(crate) fn dead_letters(address: &str, queue: &str, health: &Health) -> RabbitMqDeadLetterSink {
    let config = RabbitMqConfig { deadletter_queue: queue.to_owned(), ..RabbitMqConfig::default() };
    RabbitMqDeadLetterSink::new(address.parse().unwrap(), &config, health.clone()).unwrap()
}

pub(crate) fn communication(id: impl ToString, routing_key: &str) -> Communication {
    let id = id.to_string();
    let body = Bytes::from(format!("{{\"id\":\"{id}\"}}"));
    Communication {
        id: id.into(),
        routing_key: routing_key.into(),
        body,
        created_ms: 1_764_000_000_123,
    }
}

pub(crate) fn letter(body: &'static [u8]) -> DeadLetter {
    DeadLetter {
        origin: None,
        body: Bytes::from_static(body),
        reason: "expected `,` or `}` at offset 7".to_owned(),
        message_id: Some("m-1".into()),
        routing_key: Some("customer.card.link".into()),
        position: None,
        received_ms: 1_764_000_000_123,
    }
}

/// Publishes in the background, so that the test can check what happens meanwhile.
pub(crate) fn publishing(
    mut sink: RabbitMqSink,
    batch: Vec<Communication>,
) -> JoinHandle<Result<RabbitMqSink, SinkError>> {
    tokio::spawn(async move { publish(&mut sink, &batch).await.map(|()| sink) })
}

/// Publishes, and waits until everything is confirmed.
pub(crate) async fn publish(
    sink: &mut RabbitMqSink,
    batch: &[Communication],
) -> Result<(), SinkError> {
    use hailer::sinks::Sink;
    sink.publish(batch).await?.wait().await
}
