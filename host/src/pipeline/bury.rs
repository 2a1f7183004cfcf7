//! Dead letters, to where somebody will look at them: confirmed, before the event is acknowledged.

use tokio::sync::mpsc;

use super::Unreadable;
use super::budget::Held;
use crate::delivery::Receipt;
use crate::metrics;
use crate::sinks::{DeadLetters, SinkError};

/// The most letters that are buried together.
const LETTERS_MAX: usize = 256;

/// Buries until there are no more.
pub(super) async fn bury(
    mut letters: mpsc::Receiver<Unreadable>,
    mut grave: impl DeadLetters,
) -> Result<(), SinkError> {
    let mut taken = Vec::new();
    while letters.recv_many(&mut taken, LETTERS_MAX).await > 0 {
        // What they hold of the budget is given back when they are buried.
        let mut buried: (Vec<Receipt>, Vec<Held>) = Default::default();
        let mut batch = Vec::with_capacity(taken.len());
        for Unreadable { letter, receipt, held } in taken.drain(..) {
            batch.push(letter);
            buried.0.push(receipt);
            buried.1.push(held);
        }
        grave.bury(&batch).await?;
        let (receipts, _held) = buried;
        ::metrics::gauge!(metrics::IN_FLIGHT).decrement(receipts.len() as f64);
        receipts.into_iter().for_each(Receipt::settle);
    }
    Ok(())
}
