//! Several batches of dead letters are published while their rows stay in the store.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use hailer_broker::sinks::SinkError;
use hailer_store::MemoryStore;

/// Records the reasons of the published letters.
struct Kept(Arc<Mutex<Vec<String>>>);

impl DeadLetterSink for Kept {
    async fn dead_letter(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
        assert!(batch.len() <= LETTERS_MAX);
        self.0.lock().unwrap().extend(batch.iter().map(|letter| letter.reason.clone()));
        Ok(())
    }
}

fn letter(number: usize) -> DeadLetter {
    DeadLetter {
        body: Bytes::from_static(b"{"),
        reason: number.to_string(),
        message_id: None,
        routing_key: None,
        position: None,
        received_ms: 0,
        origin: None,
    }
}

/// The committer deletes rows some time after their letters are published, so the publisher may
/// read the next batch first.
#[tokio::test]
async fn each_letter_is_published_once_while_earlier_rows_remain() {
    let letters = 2 * LETTERS_MAX + 9;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
    let mut changes = Changes::default();
    for number in 0..letters {
        changes.put(
            Table::Outbox,
            LetterKey(number as u64).encode(),
            encode(&LetterRow::from(letter(number))),
        );
    }
    store.commit(changes).unwrap();
    let (writer, publisher, waiting) = open(&store, 10_000, 1 << 30).unwrap();
    assert_eq!(waiting.letters(), letters);
    drop(writer);
    let delivered = Arc::default();
    // The test never carries out these removals.
    let (removals, mut asked) = mpsc::channel(16);
    publisher.run(Kept(Arc::clone(&delivered)), removals).await.unwrap();
    let expected: Vec<_> = (0..letters).map(|number| number.to_string()).collect();
    assert_eq!(*delivered.lock().unwrap(), expected);
    let mut keys = Vec::new();
    while let Ok(removal) = asked.try_recv() {
        keys.extend(removal.keys);
    }
    let of_all: Vec<_> = (0..letters).map(|number| LetterKey(number as u64).encode()).collect();
    assert_eq!(keys, of_all);
}
