//! Letters of several batches, delivered while nothing of them leaves the store.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::sinks::SinkError;
use crate::store::MemoryStore;

/// Keeps the reasons of what is delivered.
struct Kept(Arc<Mutex<Vec<String>>>);

impl DeadLetters for Kept {
    async fn bury(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
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

/// The committer takes rows away a while after they are delivered: the next batch may be read before.
#[tokio::test]
async fn each_letter_is_delivered_once_although_the_rows_before_it_are_still_there() {
    let letters = 2 * LETTERS_MAX + 9;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new("test"));
    let mut changes = Changes::default();
    for number in 0..letters {
        changes.put(Table::Outbox, LetterKey(number as u64).encode(), encode(&LetterRow::from(letter(number))));
    }
    store.commit(changes).unwrap();
    let (keeper, deliverer, waiting) = open(&store, 10_000, 1 << 30).unwrap();
    assert_eq!(waiting.letters(), letters);
    drop(keeper);
    let delivered = Arc::default();
    // Nothing of these is done.
    let (removals, mut asked) = mpsc::channel(16);
    deliverer.deliver(Kept(Arc::clone(&delivered)), removals).await.unwrap();
    let expected: Vec<_> = (0..letters).map(|number| number.to_string()).collect();
    assert_eq!(*delivered.lock().unwrap(), expected);
    let mut keys = Vec::new();
    while let Ok(removal) = asked.try_recv() {
        keys.extend(removal.keys);
    }
    let of_all: Vec<_> = (0..letters).map(|number| LetterKey(number as u64).encode()).collect();
    assert_eq!(keys, of_all);
}
