//! What makes the thread go on, without the thread: no test waits for a time to pass.

use super::super::super::Table;
use super::*;

/// Something was added, and has not waited for any time.
fn with(value_bytes: usize) -> Applier {
    let applier = Applier { shared: Arc::default(), thread: None };
    let mut changes = Changes::new();
    changes.put(Table::Customers, [1], vec![0; value_bytes]);
    applier.add(1, changes).unwrap();
    applier.shared.lock().since = None;
    applier
}

fn is_due(applier: &Applier) -> bool {
    applier.shared.lock().is_due()
}

#[test]
fn little_is_brought_over_when_somebody_wants_it() {
    let applier = with(1);
    assert!(!is_due(&applier));
    applier.hasten();
    assert!(is_due(&applier));
}

#[test]
fn what_was_hastened_is_not_due_again() {
    let applier = with(1);
    applier.hasten();
    applier.shared.lock().shown = 1;
    assert!(!is_due(&applier));
    applier.hasten();
    assert!(!is_due(&applier));
}

#[test]
fn much_is_brought_over_at_once() {
    assert!(is_due(&with(BYTES_ENOUGH)));
    assert!(!is_due(&with(BYTES_ENOUGH - 2 * BLOCK_BYTES)));
}
