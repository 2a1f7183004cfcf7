//! Dead letters, to where somebody will look at them: confirmed, before the event is acknowledged.

use tokio::sync::mpsc;

use crate::communication::DeadLetter;
use crate::delivery::Receipt;
use crate::metrics;
use crate::sinks::{DeadLetters, SinkError};

/// The most letters that are buried together.
const LETTERS_MAX: usize = 256;

/// Buries until there are no more.
pub(super) async fn bury(
    mut letters: mpsc::Receiver<(DeadLetter, Receipt)>,
    mut grave: impl DeadLetters,
) -> Result<(), SinkError> {
    let mut taken = Vec::new();
    while letters.recv_many(&mut taken, LETTERS_MAX).await > 0 {
        let (batch, receipts): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
        grave.bury(&batch).await?;
        ::metrics::gauge!(metrics::IN_FLIGHT).decrement(receipts.len() as f64);
        receipts.into_iter().for_each(Receipt::settle);
    }
    Ok(())
}
