//! The pipeline with a failing sink or a failing part: the failure ends the pipeline while the
//! source is still connected, and settles no delivery itself.

use std::sync::Mutex;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::time::{Duration, timeout};

use super::*;
use budget::Held;
use hailer_base::health::Health;
use hailer_base::metrics;
use hailer_broker::communication::Communication;
use hailer_broker::communication::DeadLetter;
use hailer_broker::delivery::Delivery;
use hailer_broker::delivery::Ledger;
use hailer_broker::sinks::PendingConfirm;
use hailer_broker::sources::Intake;
use hailer_engine::{Campaign, CampaignSpec, Limits, RuleSet, Sandbox, fixture, verify};
use hailer_event::EVENT_BYTES_MAX;
use hailer_store::MemoryStore;
use owner::NothingStops;

mod guards;

/// Far longer than any step here takes; a test that needs all of it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Broken;

impl Sink for Broken {
    async fn publish(&mut self, _batch: &[Communication]) -> Result<PendingConfirm, SinkError> {
        Err(disk_full())
    }
}

impl DeadLetterSink for Broken {
    async fn dead_letter(&mut self, _batch: &[DeadLetter]) -> Result<(), SinkError> {
        Err(disk_full())
    }
}

struct Panicking;

impl DeadLetterSink for Panicking {
    async fn dead_letter(&mut self, _batch: &[DeadLetter]) -> Result<(), SinkError> {
        panic!("a bug of ours")
    }
}

struct Working;

impl Sink for Working {
    async fn publish(&mut self, _batch: &[Communication]) -> Result<PendingConfirm, SinkError> {
        Ok(PendingConfirm::done())
    }
}

impl DeadLetterSink for Working {
    async fn dead_letter(&mut self, _batch: &[DeadLetter]) -> Result<(), SinkError> {
        Ok(())
    }
}

fn disk_full() -> SinkError {
    SinkError::Write { place: "test".into(), source: std::io::ErrorKind::StorageFull.into() }
}

fn start(dead_letters: impl DeadLetterSink + 'static) -> (Entrance, Pipeline) {
    start_with(store_settings(), dead_letters)
}

fn start_with(
    store_settings: StoreSettings,
    dead_letters: impl DeadLetterSink + 'static,
) -> (Entrance, Pipeline) {
    let owner = Arc::new(NothingStops);
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let current = Arc::new(ArcSwap::from_pointee(RuleSet::empty()));
    let settings = Settings {
        shards: 2,
        event_bytes_max: 1 << 10,
        batch_max: 8,
        in_flight_max: 16,
        in_flight_bytes_max: 4 << 10,
        settles_after: Duration::from_secs(20),
        environment: "test".into(),
        recheck_one_in: 0,
        breaker: BreakerSettings::default(),
    };
    Pipeline::start(
        settings,
        &Rules { sandbox, current, owner },
        store_settings,
        RequestSender::new().1,
        Working,
        dead_letters,
    )
    .unwrap()
}

/// A store in memory, with the limits of these tests.
fn store_settings() -> StoreSettings {
    let store = Arc::new(MemoryStore::new("test"));
    StoreSettings {
        letters: LettersBound { letters_max: 1000, bytes_max: 1 << 30 },
        store,
        clock: Clock::Wall,
        run_on_ms: 0,
        retention: Retention::default(),
        outbox_max: 1000,
        deferred_max: 1000,
        failures_bytes_max: 1 << 20,
        missed_bytes_max: 1 << 20,
        poison_guard: Arc::new(PoisonGuard::off()),
        health: Health::default(),
    }
}

fn delivery(ledger: &Arc<Ledger>, tag: u64, body: &'static str) -> Delivery {
    Delivery {
        origin: None,
        body: Bytes::from_static(body.as_bytes()),
        message_id: None,
        routing_key: None,
        timestamp_ms: None,
        position: None,
        redelivered: false,
        was_repaired: false,
        defect: None,
        receipt: ledger.receipt(tag),
    }
}

#[tokio::test]
async fn a_sink_that_gives_up_ends_the_pipeline_while_the_source_is_idle() {
    let (entrance, mut pipeline) = start(Broken);
    let (ledger, prefix) = Ledger::new();
    entrance.accept(delivery(&ledger, 1, "no event")).await.unwrap();
    let finished = timeout(PATIENCE, pipeline.finished()).await.expect("it is noticed");
    assert!(matches!(finished, Err(PipelineError::Sink(SinkError::Write { .. }))), "{finished:?}");
    assert_eq!(*prefix.borrow(), 1, "the letter is in the store");
    drop(entrance);
}

#[tokio::test]
async fn a_pipeline_that_ended_early_tells_what_was_done() {
    let (entrance, mut pipeline) = start(Broken);
    let (ledger, _prefix) = Ledger::new();
    entrance.accept(delivery(&ledger, 1, r#"{"eventCode":"A"}"#)).await.unwrap();
    entrance.accept(delivery(&ledger, 2, "no event")).await.unwrap();
    timeout(PATIENCE, pipeline.finished()).await.expect("it is noticed").unwrap_err();
    drop(entrance);
    let tally = timeout(PATIENCE, pipeline.into_tally()).await.expect("the shards end");
    assert_eq!((tally.events, tally.dead_letters, tally.unclaimed), (1, 1, 1));
}

#[tokio::test]
async fn a_part_that_panics_ends_the_pipeline_while_the_source_is_idle() {
    let (entrance, mut pipeline) = start(Panicking);
    let (ledger, prefix) = Ledger::new();
    entrance.accept(delivery(&ledger, 1, "no event")).await.unwrap();
    let finished = timeout(PATIENCE, pipeline.finished()).await.expect("it is noticed");
    assert!(matches!(finished, Err(PipelineError::Died { .. })), "{finished:?}");
    assert_eq!(*prefix.borrow(), 1, "the letter is in the store");
    drop(entrance);
}

/// Keeps the reasons of the dead letters that it receives.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl DeadLetterSink for Told {
    async fn dead_letter(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
        self.0.lock().unwrap().extend(batch.iter().map(|letter| letter.reason.clone()));
        Ok(())
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_buried_with_the_limit_and_its_setting() {
    let told = Told::default();
    let (entrance, mut pipeline) = start(told.clone());
    let (ledger, _prefix) = Ledger::new();
    let too_large = Bytes::from(vec![b' '; 1 << 11]);
    entrance.accept(Delivery { body: too_large, ..delivery(&ledger, 1, "") }).await.unwrap();
    drop(entrance);
    timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
    assert_eq!(
        *told.0.lock().unwrap(),
        ["2048 bytes, over the limit of 1024 bytes (event.bytes_max)"]
    );
}

#[tokio::test]
async fn intake_goes_on_below_the_outboxs_bound_and_a_source_that_gave_events_back_at_half_of_it() {
    let (entrance, mut pipeline) =
        start_with(StoreSettings { outbox_max: 11, ..store_settings() }, Working);
    entrance.outbox.add(11);
    for (waiting, is_paused, is_refilled) in
        [(11, true, false), (10, false, false), (6, false, false), (5, false, true)]
    {
        entrance.outbox.remove(entrance.outbox.communications() - waiting);
        assert_eq!(
            waits(std::pin::pin!(entrance.wait_until_unpaused())).await,
            is_paused,
            "{waiting}"
        );
        assert_eq!(
            waits(std::pin::pin!(entrance.wait_for_room())).await,
            !is_refilled,
            "{waiting}"
        );
    }
    entrance.outbox.remove(5);
    drop(entrance);
    timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
}

/// Records, at each dead letter, how many letters the store has and how many deliveries are
/// settled.
struct Looking {
    store: Arc<dyn Store>,
    settled: tokio::sync::watch::Receiver<u64>,
    seen: Arc<Mutex<Vec<(usize, u64)>>>,
}

impl DeadLetterSink for Looking {
    async fn dead_letter(&mut self, _batch: &[DeadLetter]) -> Result<(), SinkError> {
        let (from, to) = crate::records::LetterKey::all();
        let mut letters = 0;
        let count = &mut |_: &[u8], _: &[u8]| {
            letters += 1;
            std::ops::ControlFlow::Continue(())
        };
        self.store.snapshot().unwrap().range(Table::Outbox, &from, &to, count).unwrap();
        self.seen.lock().unwrap().push((letters, *self.settled.borrow()));
        Ok(())
    }
}

#[tokio::test]
async fn a_letter_that_is_too_large_for_a_row_is_settled_only_when_it_is_delivered() {
    for (bytes, seen) in [(EVENT_BYTES_MAX, (1, 1)), (EVENT_BYTES_MAX + 1, (0, 0))] {
        let (ledger, prefix) = Ledger::new();
        let (store_settings, told) = (store_settings(), Arc::default());
        let letters = Looking {
            store: Arc::clone(&store_settings.store),
            settled: prefix.clone(),
            seen: Arc::clone(&told),
        };
        let (entrance, mut pipeline) = start_with(store_settings, letters);
        let body = Bytes::from(vec![b' '; bytes]);
        entrance.accept(Delivery { body, ..delivery(&ledger, 1, "") }).await.unwrap();
        drop(entrance);
        timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
        assert_eq!(*told.lock().unwrap(), [seen], "{bytes}");
        assert_eq!(*prefix.borrow(), 1);
    }
}

/// Takes one batch of dead letters for each permit.
struct Gated(Arc<tokio::sync::Semaphore>);

impl DeadLetterSink for Gated {
    async fn dead_letter(&mut self, _batch: &[DeadLetter]) -> Result<(), SinkError> {
        self.0.acquire().await.unwrap().forget();
        Ok(())
    }
}

/// Whether `work` is still pending after one poll.
async fn waits(work: impl Future + Unpin) -> bool {
    tokio::select! {
        biased;
        _ = work => false,
        () = std::future::ready(()) => true,
    }
}

#[tokio::test]
async fn events_and_dead_letters_in_flight_are_bounded_in_bytes_and_a_huge_one_passes_alone() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (entrance, mut pipeline) = start(Gated(Arc::clone(&gate)));
    let budget = entrance.budget.clone();
    let (ledger, prefix) = Ledger::new();
    let large = |bytes: usize| Bytes::from(vec![b' '; bytes]);
    let letter =
        |tag: u64, bytes: usize| Delivery { body: large(bytes), ..delivery(&ledger, tag, "") };
    entrance.accept(letter(1, 2 << 10)).await.unwrap();
    {
        let mut event =
            std::pin::pin!(entrance.accept(delivery(&ledger, 2, r#"{"eventCode":"A"}"#)));
        assert!(!waits(&mut event).await, "a small event has room beside it");
        let mut second = std::pin::pin!(entrance.accept(letter(3, 2 << 10)));
        assert!(waits(&mut second).await, "a large one has not");
        gate.add_permits(1);
        timeout(PATIENCE, second).await.expect("what is settled makes room").unwrap();
    }
    {
        let mut huge = std::pin::pin!(entrance.accept(letter(4, 1 << 20)));
        assert!(waits(&mut huge).await, "there is something in flight");
        gate.add_permits(1);
        timeout(PATIENCE, huge).await.expect("it passes alone").unwrap();
    }
    gate.add_permits(1);
    drop(entrance);
    timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
    assert_eq!(*prefix.borrow(), 4);
    assert!(budget.is_whole(), "everything is given back");
}

/// A rule that answers each call with one message of 60 000 letters, and with a state if
/// `remembers` is true.
pub(super) fn verbose(sandbox: &Arc<Sandbox>, remembers: bool) -> Arc<Campaign> {
    let (state_version, state) =
        if remembers { ("1", &b"\xc4\x01s"[..]) } else { ("null", &b"\xc0"[..]) };
    let manifest = format!(
        r#"{{ "abi": 1, "sdk": "0.1.0", "name": "verbose", "version": "0.1.0",
        "description": "Much.", "params": [], "stateVersion": {state_version},
        "handlers": [{{ "name": "h", "events": ["OnPurchaseConfirm"], "fields": [] }}] }}"#
    );
    // The answer [nil, state, [[send, sms, "t", {"x": …}]]]; the guest fills in the letters.
    let actions = b"\x91\x94\x01\x02\xa1t\x81\xa1x\xda";
    let head = [b"\x93\xc0", state, actions, &60_000_u16.to_be_bytes()].concat();
    let bytes = head.len() + 60_000;
    let head = fixture::escape(&head);
    let handle = format!(
        r#"(memory (export "memory") 40) (data (i32.const 65536) "{head}")
        (func (export "hailer_handle") (param i32 i32 i32) (result i64)
          (local $at i32) (local $calls i32)
          (memory.fill (i32.const {letters_at}) (i32.const 120) (i32.const 60000))
          (local.set $at (i32.const 65536))
          (loop $more
            (memory.copy (local.get $at) (i32.const 65536) (i32.const {bytes}))
            (local.set $at (i32.add (local.get $at) (i32.const {bytes})))
            (local.set $calls (i32.add (local.get $calls) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $calls) (local.get 1))))
          (i64.or (i64.const {place})
            (i64.extend_i32_u (i32.mul (local.get $calls) (i32.const {bytes})))))"#,
        letters_at = 65_536 + bytes - 60_000,
        place = 65_536_u64 << 32,
    );
    let configure = format!(
        r#"(data (i32.const 16) "\91\c0")
        (func (export "hailer_configure") (param i32) (result i64) (i64.const {}))"#,
        16_u64 << 32 | 2
    );
    let wasm = fixture::module(&[fixture::INPUT, &configure, &handle, &fixture::custom(&manifest)]);
    let module = verify(wasm, sandbox.limits()).unwrap();
    let spec = CampaignSpec::of("verbose", &module, vec![0x80]);
    Campaign::admit(sandbox, spec, sandbox.compile_here(&module.bytes).unwrap(), 1).unwrap()
}

/// Records the bytes of each published batch and the customer of its first communication. It takes
/// one batch for each permit.
#[derive(Clone)]
struct Slow {
    gate: Arc<tokio::sync::Semaphore>,
    published: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Sink for Slow {
    async fn publish(&mut self, batch: &[Communication]) -> Result<PendingConfirm, SinkError> {
        let bytes = batch.iter().map(|one| one.body.len()).sum();
        let first = serde_json::from_slice::<serde_json::Value>(&batch[0].body).unwrap();
        self.published.lock().unwrap().push((bytes, first["recipient"]["customerId"].to_string()));
        self.gate.acquire().await.unwrap().forget();
        Ok(PendingConfirm::done())
    }
}

#[tokio::test]
async fn what_leaves_a_shard_is_bounded_in_bytes_and_stays_in_order() {
    leaves_in_parts(false).await;
}

#[tokio::test]
async fn what_a_rule_remembers_is_kept_although_its_batch_leaves_in_parts() {
    leaves_in_parts(true).await;
}

async fn leaves_in_parts(remembers: bool) {
    const EVENTS: usize = 400;
    let sandbox = Sandbox::new(Limits { call_deadline_ms: 10_000, ..Limits::default() }).unwrap();
    let rules = RuleSet::build(vec![verbose(&sandbox, remembers)], 1);
    let owner = Arc::new(NothingStops);
    let rules = Rules { sandbox, current: Arc::new(ArcSwap::from_pointee(rules)), owner };
    let sink = Slow { gate: Arc::new(tokio::sync::Semaphore::new(0)), published: Arc::default() };
    let store_settings = store_settings();
    let store = Arc::clone(&store_settings.store);
    let settings = Settings {
        shards: 1,
        event_bytes_max: 1 << 10,
        batch_max: EVENTS,
        in_flight_max: EVENTS,
        in_flight_bytes_max: 10 << 20,
        settles_after: Duration::from_secs(20),
        environment: "test".into(),
        recheck_one_in: 0,
        breaker: BreakerSettings::default(),
    };
    let (entrance, mut pipeline) = Pipeline::start(
        settings,
        &rules,
        store_settings,
        RequestSender::new().1,
        sink.clone(),
        Working,
    )
    .unwrap();
    let (ledger, prefix) = Ledger::new();
    for tag in 1..=EVENTS as u64 {
        let body =
            format!(r#"{{"eventCode":"OnPurchaseConfirm","customerInfo":{{"customerId":{tag}}}}}"#);
        entrance
            .accept(Delivery { body: body.into(), ..delivery(&ledger, tag, "") })
            .await
            .unwrap();
    }
    drop(entrance);
    sink.gate.add_permits(EVENTS);
    timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
    assert_eq!(*prefix.borrow(), EVENTS as u64);
    let tally = pipeline.into_tally().await;
    assert_eq!(
        (tally.communications(), tally.confirmed),
        (EVENTS as u64, EVENTS as u64),
        "each is decided once"
    );
    let sizes = store.sizes().unwrap().tables;
    let rows = sizes.iter().find(|size| size.table == Table::Customers).unwrap().rows;
    assert_eq!(rows, if remembers { EVENTS as u64 } else { 0 }, "a row for each who is remembered");
    let published = sink.published.lock().unwrap();
    let largest = published.iter().map(|(bytes, _)| *bytes).max().unwrap();
    assert!(largest <= 10 << 20, "{largest} bytes at once");
    let customers: Vec<u64> =
        published.iter().map(|(_, customer)| customer.trim_matches('"').parse().unwrap()).collect();
    assert!(customers.is_sorted() && customers.len() >= 3, "{customers:?}");
}

#[tokio::test]
async fn everything_that_came_in_is_settled_in_the_end_and_counted() {
    let (entrance, mut pipeline) = start(Working);
    let (ledger, prefix) = Ledger::new();
    let bodies = [
        r#"{"eventCode":"A"}"#,
        "no event",
        r#"{"eventCode":"B","customerInfo":{"customerId":1},}"#,
    ];
    for (tag, body) in (1..).zip(bodies) {
        entrance.accept(delivery(&ledger, tag, body)).await.unwrap();
    }
    let too_large = Bytes::from(vec![b' '; 1 << 11]);
    entrance.accept(Delivery { body: too_large, ..delivery(&ledger, 4, "") }).await.unwrap();
    drop(entrance);
    timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
    let tally = pipeline.into_tally().await;
    assert_eq!(*prefix.borrow(), 4);
    assert_eq!((tally.events, tally.repaired, tally.dead_letters, tally.unclaimed), (2, 1, 2, 2));
}

#[tokio::test]
async fn what_the_source_says_is_handled_never_goes_back() {
    let (entrance, _pipeline) = start(Working);
    let mut handled = entrance.handled.subscribe();
    assert_eq!(*handled.borrow_and_update(), Millis::MIN);
    entrance.clone().handled_until(20);
    assert_eq!(*handled.borrow_and_update(), 20);
    entrance.handled_until(10);
    entrance.handled_until(20);
    assert!(!handled.has_changed().unwrap());
    assert_eq!(*handled.borrow(), 20);
}

#[tokio::test]
async fn a_delivery_that_is_given_up_while_it_waits_leaves_no_trace() {
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let shown = metrics.handle();
    let _local = ::metrics::set_default_local_recorder(&metrics);
    let (entrance, mut pipeline) = start(Working);
    let (ledger, prefix) = Ledger::new();
    let bodies = [r#"{"eventCode":"A"}"#, "no event"];
    let no_trace = || {
        let tally = entrance.intake.count(|tally| (tally.events, tally.dead_letters));
        assert_eq!(tally, (0, 0), "it is not counted");
        assert!(!shown.render().contains(metrics::IN_FLIGHT), "it is not in flight");
        assert!(ledger.is_covered_by(0), "it was not taken");
    };
    let held = [entrance.budget.take(usize::MAX).await, entrance.unreadable.take(usize::MAX).await];
    for (tag, body) in (1..).zip(bodies) {
        assert!(
            waits(std::pin::pin!(entrance.accept(delivery(&ledger, tag, body)))).await,
            "its budget is taken"
        );
        no_trace();
    }
    drop(held);
    let shards: Vec<_> = entrance.shards.iter().map(full).collect();
    let letters = full(&entrance.letters);
    for (tag, body) in (3..).zip(bodies) {
        assert!(
            waits(std::pin::pin!(entrance.accept(delivery(&ledger, tag, body)))).await,
            "its channel is full"
        );
        no_trace();
    }
    drop((shards, letters));
    // The next session delivers them again.
    let (ledger, next_prefix) = Ledger::new();
    for (tag, body) in (1..).zip(bodies) {
        entrance.accept(delivery(&ledger, tag, body)).await.unwrap();
    }
    assert_eq!(entrance.intake.count(|tally| (tally.events, tally.dead_letters)), (1, 1));
    drop(entrance);
    timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
    assert_eq!((*prefix.borrow(), *next_prefix.borrow()), (0, 2));
}

#[tokio::test]
async fn a_taken_delivery_whose_receipt_is_dropped_leaves_its_session_open() {
    let (entrance, _pipeline) = start(Working);
    for body in [r#"{"eventCode":"A"}"#, "no event"] {
        let (ledger, _prefix) = Ledger::new();
        let delivery = delivery(&ledger, 1, body);
        match entrance.read(&delivery) {
            Ok(read) => drop(entrance.stamp(read, (None, None), delivery, Held::default())),
            Err(refusal) => drop(entrance.dead_letter(delivery, refusal, Held::default())),
        }
        assert_eq!(ledger.outstanding(), 0);
        assert!(!ledger.is_covered_by(0), "{body}");
    }
}

/// The event sends nothing, so no later commit removes an outbox row.
#[tokio::test]
async fn a_settled_session_is_committed_at_the_end_of_the_run() {
    let store_settings = store_settings();
    let store = Arc::clone(&store_settings.store);
    let (entrance, mut pipeline) = start_with(store_settings, Working);
    let (ledger, mut prefix) = Ledger::new();
    entrance.accept(delivery(&ledger, 1, r#"{"eventCode":"A"}"#)).await.unwrap();
    timeout(PATIENCE, prefix.wait_for(|prefix| *prefix == 1))
        .await
        .expect("it is settled")
        .unwrap();
    entrance.session_settled(ledger.session());
    drop(entrance);
    timeout(PATIENCE, pipeline.finished()).await.expect("it ends").unwrap();
    let progress = store.snapshot().unwrap().get(Table::Meta, Progress::KEY).unwrap().unwrap();
    let progress: Progress = decode(Table::Meta, &progress).unwrap();
    let session = progress.runs << 32 | ledger.session().number();
    assert_eq!(progress.sessions.last_alive(session), Some(Millis::MAX));
}

/// Reserves all free places of a channel.
fn full<T>(channel: &mpsc::Sender<T>) -> Vec<mpsc::Permit<'_, T>> {
    std::iter::from_fn(|| channel.try_reserve().ok()).collect()
}

#[tokio::test]
async fn a_redirect_that_cannot_be_read_ends_the_pipeline_with_the_reason() {
    let (entrance, mut pipeline) = start(Working);
    assert!(entrance.or_close::<()>(Err(StoreError::Interrupted)).is_err(), "the source stops");
    let finished = timeout(PATIENCE, pipeline.finished()).await.expect("it is noticed");
    assert!(matches!(finished, Err(PipelineError::Store(StoreError::Interrupted))), "{finished:?}");
}
