//! The pipeline with edges that fail: what dies is noticed while the source is still connected, and nothing is settled.

use bytes::Bytes;
use tokio::time::{Duration, timeout};

use super::*;
use crate::delivery::Ledger;
use crate::communication::Communication;
use crate::engine::Limits;
use crate::store::MemoryStore;

/// Far longer than anything here takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Broken;

impl Sink for Broken {
    async fn publish(&mut self, _batch: &[Communication]) -> Result<(), SinkError> {
        Err(disk_full())
    }
}

impl DeadLetters for Broken {
    async fn bury(&mut self, _batch: &[DeadLetter]) -> Result<(), SinkError> {
        Err(disk_full())
    }
}

struct Panicking;

impl DeadLetters for Panicking {
    async fn bury(&mut self, _batch: &[DeadLetter]) -> Result<(), SinkError> {
        panic!("a bug of ours")
    }
}

struct Working;

impl Sink for Working {
    async fn publish(&mut self, _batch: &[Communication]) -> Result<(), SinkError> {
        Ok(())
    }
}

impl DeadLetters for Working {
    async fn bury(&mut self, _batch: &[DeadLetter]) -> Result<(), SinkError> {
        Ok(())
    }
}

fn disk_full() -> SinkError {
    SinkError::Write { place: "test".into(), source: std::io::ErrorKind::StorageFull.into() }
}

fn start(dead_letters: impl DeadLetters + 'static) -> (Entrance, Pipeline) {
    let (owner, _requests) = ReloadHandle::new();
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let current = Arc::new(ArcSwap::from_pointee(RuleSet::empty()));
    let settings = Settings {
        shards: 2,
        event_bytes_max: 1 << 10,
        batch_max: 8,
        in_flight_max: 16,
        environment: "test".into(),
        recheck_one_in: 0,
    };
    let keeping = Keeping { store: MemoryStore::new(), retention: Retention::default(), outbox_max: 16 };
    Pipeline::start(settings, &Rules { sandbox, current, owner }, keeping, Working, dead_letters).unwrap()
}

fn delivery(ledger: &Arc<Ledger>, tag: u64, body: &'static str) -> Delivery {
    Delivery {
        body: Bytes::from_static(body.as_bytes()),
        message_id: None,
        routing_key: None,
        timestamp_ms: None,
        position: None,
        redelivered: false,
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
    assert_eq!(*prefix.borrow(), 0, "nothing is acknowledged");
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
    assert_eq!(*prefix.borrow(), 0, "nothing is acknowledged");
    drop(entrance);
}

/// Keeps the reasons of what it buries.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl DeadLetters for Told {
    async fn bury(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
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
    assert_eq!(*told.0.lock().unwrap(), ["2048 bytes, over the limit of 1024 bytes (event.bytes_max)"]);
}

#[tokio::test]
async fn everything_that_came_in_is_settled_in_the_end_and_counted() {
    let (entrance, mut pipeline) = start(Working);
    let (ledger, prefix) = Ledger::new();
    let bodies = [r#"{"eventCode":"A"}"#, "no event", r#"{"eventCode":"B","customerInfo":{"customerId":1},}"#];
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
