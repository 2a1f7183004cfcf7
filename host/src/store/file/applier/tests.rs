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

/// Waits for no company any more.
fn taken(applier: &Applier) -> bool {
    applier.shared.lock().since = Instant::now().checked_sub(WAITS_MAX);
    applier.shared.next().unwrap();
    applier.shared.pace.is_gentle()
}

#[test]
fn what_nobody_waits_for_is_brought_over_gently() {
    assert!(taken(&with(1)));
    assert!(!taken(&with(BYTES_ENOUGH)));
    let wanted = with(1);
    wanted.hasten();
    assert!(!taken(&wanted));
}

#[test]
fn whoever_begins_to_wait_ends_the_gentleness() {
    let hastened = with(1);
    assert!(taken(&hastened));
    hastened.hasten();
    assert!(!hastened.shared.pace.is_gentle());

    let filled = with(1);
    assert!(taken(&filled));
    let mut changes = Changes::new();
    changes.put(Table::Customers, [1], vec![0; BYTES_ENOUGH]);
    filled.add(2, changes).unwrap();
    assert!(!filled.shared.pace.is_gentle());

    let waited_for = with(1);
    assert!(taken(&waited_for));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waited_for.wait(1));
        while waited_for.shared.pace.is_gentle() {
            std::thread::yield_now();
        }
        waited_for.shared.lock().shown = 1;
        waited_for.shared.has_shown.notify_all();
        waiting.join().unwrap().unwrap();
    });
}
