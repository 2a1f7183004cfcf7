//! Checks that the store stops growing. An hour at a thousand events a second would take an hour,
//! so the run uses the event clock and smaller limits: the deduplication window (one hour of that
//! clock) passes thirty times, and the limit of the journal is reached many times. Each hour has
//! the same number of events and customers.
//!
//! The run has the same two factors that decide the size: the number of events in a window, and
//! windows that pass. It does not have the same rate by wall clock, nor a million customers, whose
//! rows `million.rs` measures.

use std::io::Write;

use crate::measure::events::purchases;
use crate::measure::{Against, Outcome, campaigns, mark, resident_mb};
use hailer_tests::wait;

const HOURS: usize = 30;
const EVENTS_AN_HOUR: usize = 40_000;
/// Few customers, so that their states have their full size within the first hours and do not grow
/// later.
const CUSTOMERS: u32 = 500;
/// The number of events with the same time: between two times the engine waits until everything
/// before is durable.
const EVENTS_AT_ONCE: usize = 500;
const HOUR_MS: usize = 3_600_000;
const STEP_MS: usize = HOUR_MS / (EVENTS_AN_HOUR / EVENTS_AT_ONCE);
/// 2026-03-01T00:00:00Z.
const START_MS: usize = 1_772_323_200_000;
const DECIDED: &str = "hailer_events_total{outcome=\"decided\"}";
const JOURNAL_BYTES_MAX: usize = 8 << 20;
/// The largest allowed ratio between the size at the end and the size when the limits were first
/// reached.
const GROWTH_MAX: f64 = 1.1;
/// The time after which expired rows have been removed, and tables have been merged several times.
/// Between two merges the size rises and falls.
const SETTLED_AFTER_HOURS: usize = 10;

pub(crate) async fn run() -> Outcome<()> {
    let site = campaigns::stateful();
    let store = site.path("store");
    let (store_flag, journal) =
        (store.display().to_string(), format!("store.journal_bytes_max={JOURNAL_BYTES_MAX}"));
    let flags = ["--source", "-", "--sink", "-", "--clock", "events", "--store", &store_flag];
    let more = ["--set", "store.deduplication_hours=1", "--set", &journal];
    let mut engine = site.start(&[&flags[..], &more].concat());
    let mut events = purchases(CUSTOMERS);
    let mut sizes = Vec::new();
    for hour in 0..HOURS {
        engine.write(lines_of_hour(hour, &mut events)?);
        let done = ((hour + 1) * EVENTS_AN_HOUR) as f64;
        wait::until("the hour is over", async || engine.metric(DECIDED).await >= done).await;
        let bytes = hailer::store::file_bytes(&store) as f64;
        let (resident, _) = resident_mb(&engine).await?;
        println!(
            "after hour {}: files of {:.1} MB, {resident:.0} MB resident",
            hour + 1,
            bytes / 1e6
        );
        sizes.push(bytes);
    }
    engine.close_input();
    engine.ended().await;
    let settled = sizes[..SETTLED_AFTER_HOURS].iter().copied().fold(0.0, f64::max);
    let last = sizes[SETTLED_AFTER_HOURS..].iter().copied().fold(0.0, f64::max);
    let beside = format!(
        "{:.1} MB at most in hours {} to {HOURS}, {:.1} MB before",
        last / 1e6,
        SETTLED_AFTER_HOURS + 1,
        settled / 1e6
    );
    mark(
        "disk over thirty deduplication windows",
        last / settled,
        Against::AtMost(GROWTH_MAX),
        " of its size",
        &beside,
    );
    Ok(())
}

/// The lines of one hour, in envelopes with their time.
fn lines_of_hour(hour: usize, events: &mut impl Iterator<Item = Vec<u8>>) -> Outcome<Vec<u8>> {
    let mut lines = Vec::new();
    for (number, event) in events.take(EVENTS_AN_HOUR).enumerate() {
        let now = START_MS + hour * HOUR_MS + number / EVENTS_AT_ONCE * STEP_MS;
        // A JSON object as body is kept byte for byte.
        write!(lines, "{{\"timestamp\":{now},\"body\":")?;
        lines.extend_from_slice(&event);
        lines.extend_from_slice(b"}\n");
    }
    Ok(lines)
}
