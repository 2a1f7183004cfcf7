//! Every metric by name, with its unit and what it counts. Rooms emit through the `metrics` facade with these names;
//! nobody makes up a name elsewhere. **A label's values come from the configuration and the code, never from an
//! event: their number is bounded, and no personal data can get into one.**

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub const EVENTS_TOTAL: &str = "hailer_events_total";
pub const EVENTS_REPAIRED_TOTAL: &str = "hailer_events_repaired_total";
pub const REDIRECTS_WITHOUT_IDS_TOTAL: &str = "hailer_redirects_without_ids_total";
pub const EVENTS_AMBIGUOUS_TOTAL: &str = "hailer_events_ambiguous_total";
pub const FIELD_MISMATCHES_TOTAL: &str = "hailer_field_mismatches_total";
pub const IN_FLIGHT: &str = "hailer_in_flight";
pub const EVENT_SECONDS: &str = "hailer_event_seconds";
pub const CALLS_TOTAL: &str = "hailer_calls_total";
pub const GUARD_MISSES_TOTAL: &str = "hailer_guard_misses_total";
pub const RECHECKED_TOTAL: &str = "hailer_calls_rechecked_total";
pub const LOG_LINES_DROPPED_TOTAL: &str = "hailer_log_lines_dropped_total";
pub const LOG_BYTES_CUT_TOTAL: &str = "hailer_log_bytes_cut_total";
pub const DECIDE_SECONDS: &str = "hailer_decide_seconds";
pub const COMMIT_SECONDS: &str = "hailer_commit_seconds";
pub use crate::store::APPLY_SECONDS;
pub const TIMERS_FIRED_TOTAL: &str = "hailer_timers_fired_total";
pub const TIMES_NOT_BELIEVED_TOTAL: &str = "hailer_times_not_believed_total";
pub const CLOCK_IN_DOUBT: &str = "hailer_clock_in_doubt";
pub const FAILURES: &str = "hailer_failures";
pub const MISSED: &str = "hailer_missed";
pub const MISSED_TOTAL: &str = "hailer_missed_total";
pub const MISSED_NOT_KEPT_TOTAL: &str = "hailer_missed_not_kept_total";
pub const FAILURES_NOT_KEPT_TOTAL: &str = "hailer_failures_not_kept_total";
pub const CUSTOMERS_FULL_TOTAL: &str = "hailer_customers_full_total";
pub const SUSPECTS: &str = "hailer_suspects";
pub const GIVEN_UP_TOTAL: &str = "hailer_given_up_total";
pub const OUTBOX: &str = "hailer_outbox";
pub const OUTBOX_SECONDS: &str = "hailer_outbox_seconds";
pub const DEAD_LETTERS: &str = "hailer_dead_letters";
pub const COMMUNICATIONS_TOTAL: &str = "hailer_communications_total";
pub const SOURCE_CONNECTED: &str = "hailer_source_connected";
pub const SOURCE_STANDBY: &str = "hailer_source_standby";
pub const SOURCE_GIVEN_BACK_TOTAL: &str = "hailer_source_given_back_total";
pub const SOURCE_MESSAGES_TOTAL: &str = "hailer_source_messages_total";
pub const SOURCE_REDELIVERED_TOTAL: &str = "hailer_source_redelivered_total";
pub const SOURCE_RECONNECTS_TOTAL: &str = "hailer_source_reconnects_total";
pub const SOURCE_ACKNOWLEDGED_TOTAL: &str = "hailer_source_acknowledged_total";
pub const SINK_CONNECTED: &str = "hailer_sink_connected";
pub const SINK_CONFIRMED_TOTAL: &str = "hailer_sink_confirmed_total";
pub const SINK_BLOCKED: &str = "hailer_sink_blocked";
pub const SINK_RETRIES_TOTAL: &str = "hailer_sink_retries_total";
pub const SINK_RECONNECTS_TOTAL: &str = "hailer_sink_reconnects_total";
pub const SINK_CONFIRM_SECONDS: &str = "hailer_sink_confirm_seconds";
pub const RECORDED_TOTAL: &str = "hailer_recorded_total";
pub const RECORD_MISSING_TOTAL: &str = "hailer_record_missing_total";
pub const RELOAD_TOTAL: &str = "hailer_reload_total";
pub const ARTIFACTS_TOTAL: &str = "hailer_artifacts_total";
pub const BUILD_INFO: &str = "hailer_build_info";
pub const STORE_BYTES: &str = "hailer_store_bytes";
pub const STORE_MEMORY_BYTES: &str = "hailer_store_memory_bytes";
pub const STORE_TABLES: &str = "hailer_store_tables";
pub const STORE_RUNS: &str = "hailer_store_runs";
pub const STORE_BLOCKS_TOTAL: &str = "hailer_store_blocks_total";
pub const STORE_BLOCKS_READ_TOTAL: &str = "hailer_store_blocks_read_total";
pub const STORE_LOOKS_SPARED_TOTAL: &str = "hailer_store_looks_spared_total";
pub const FREE_BYTES: &str = "hailer_free_bytes";
pub const START_TIME: &str = "process_start_time_seconds";
pub const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
pub const CAMPAIGNS: &str = "hailer_campaigns";
pub const RULE_SET: &str = "hailer_rule_set";
pub const ROLLBACKS_TOTAL: &str = "hailer_rollbacks_total";

/// What kind of number a metric is.
#[derive(Clone, Copy)]
enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Seconds, in buckets.
    Seconds,
}

/// Every metric, and what it says.
const METRICS: &[(Kind, &str, &str)] = &[
    (Kind::Counter, EVENTS_TOTAL, "Events by what became of them: decided, unsubscribed, repeat, deadletter"),
    (Kind::Counter, EVENTS_REPAIRED_TOTAL, "Events that were readable only after repair"),
    (
        Kind::Counter,
        REDIRECTS_WITHOUT_IDS_TOTAL,
        "Events and timers of merged customers that stay addressed to the old id, as the merge was decided by a version that kept no ids",
    ),
    (
        Kind::Counter,
        EVENTS_AMBIGUOUS_TOTAL,
        "Copies without an id, of a session that broke, that were taken for repeats of an event just decided",
    ),
    (Kind::Counter, FIELD_MISMATCHES_TOTAL, "Values that were there and could not be used, by field"),
    (Kind::Gauge, IN_FLIGHT, "Events taken in whose outcome is not yet durable"),
    (Kind::Seconds, EVENT_SECONDS, "Time from taking an event in until everything that it led to was durable"),
    (Kind::Counter, CALLS_TOTAL, "Calls of rules by campaign and outcome"),
    (
        Kind::Counter,
        GUARD_MISSES_TOTAL,
        "Events for which a rule was not called, as its handler's condition did not match, by campaign",
    ),
    (Kind::Counter, RECHECKED_TOTAL, "Calls that were made again on a fresh instance, to see whether the rule is pure"),
    (Kind::Counter, LOG_LINES_DROPPED_TOTAL, "Lines that rules logged over what a campaign may over time, by campaign"),
    (Kind::Counter, LOG_BYTES_CUT_TOTAL, "Bytes that rules logged over what a call may"),
    (Kind::Seconds, DECIDE_SECONDS, "Time that a shard took to decide a batch"),
    (Kind::Seconds, COMMIT_SECONDS, "Time that a commit took to be on disk"),
    (Kind::Seconds, APPLY_SECONDS, "Time that writing the store's memory to its tables took, many commits at once"),
    (Kind::Counter, TIMERS_FIRED_TOTAL, "Timers that have fired"),
    (
        Kind::Counter,
        TIMES_NOT_BELIEVED_TOTAL,
        "Times of events that did not move the clock of the events, by reason: range, leap",
    ),
    (
        Kind::Gauge,
        CLOCK_IN_DOUBT,
        "1 while the machine's clock is not believed: no event is taken in, no timer fires and nothing expires",
    ),
    (Kind::Gauge, FAILURES, "Failures that are kept, and what waits behind them, by campaign"),
    (Kind::Gauge, MISSED, "Events that came while their campaign was stopped and are kept, by campaign"),
    (Kind::Counter, MISSED_TOTAL, "Events that came while their campaign was stopped, by campaign and reason"),
    (Kind::Counter, MISSED_NOT_KEPT_TOTAL, "Missed events over what is kept of a campaign's, by campaign"),
    (Kind::Counter, FAILURES_NOT_KEPT_TOTAL, "Failures over what is kept of a campaign's, by campaign"),
    (
        Kind::Counter,
        CUSTOMERS_FULL_TOTAL,
        "What was not done as too much would be kept about a customer, by what was refused: merge, shadow",
    ),
    (
        Kind::Gauge,
        SUSPECTS,
        "Events and timers that are decided alone, as the engine ended while it decided them among others",
    ),
    (
        Kind::Counter,
        GIVEN_UP_TOTAL,
        "Events and timers that are not decided any more, as the engine ended each time it decided them alone, by kind",
    ),
    (Kind::Gauge, OUTBOX, "Communications that are committed and not yet confirmed"),
    (Kind::Seconds, OUTBOX_SECONDS, "Time from a commit until its communications were confirmed"),
    (Kind::Gauge, DEAD_LETTERS, "Dead letters that are durable and not yet delivered"),
    (Kind::Counter, COMMUNICATIONS_TOTAL, "Communications that rules proposed, by campaign, channel and verdict"),
    (Kind::Gauge, SOURCE_CONNECTED, "1 while the source has a session, else 0"),
    (Kind::Gauge, SOURCE_STANDBY, "1 while another engine is the active consumer and this one waits, else 0"),
    (
        Kind::Counter,
        SOURCE_GIVEN_BACK_TOTAL,
        "Sessions that were closed to give events back to the queue, as intake was paused for too long",
    ),
    (Kind::Counter, SOURCE_MESSAGES_TOTAL, "Messages taken from the source"),
    (Kind::Counter, SOURCE_REDELIVERED_TOTAL, "Messages that the source had delivered before"),
    (Kind::Counter, SOURCE_RECONNECTS_TOTAL, "New sessions of the source after trouble"),
    (Kind::Counter, SOURCE_ACKNOWLEDGED_TOTAL, "Messages that the source may forget"),
    (Kind::Gauge, SINK_CONNECTED, "1 while the sink has a session, by room"),
    (Kind::Counter, SINK_CONFIRMED_TOTAL, "Messages that the sink has confirmed, by room"),
    (Kind::Gauge, SINK_BLOCKED, "1 while the broker blocks publishers, by room"),
    (Kind::Counter, SINK_RETRIES_TOTAL, "Messages published again, as they were not confirmed, by room and reason"),
    (Kind::Counter, SINK_RECONNECTS_TOTAL, "New sessions of the sink after trouble, by room"),
    (Kind::Seconds, SINK_CONFIRM_SECONDS, "Time from publishing a batch to its last confirm, by room"),
    (Kind::Counter, RECORDED_TOTAL, "Events that have been recorded"),
    (Kind::Counter, RECORD_MISSING_TOTAL, "Events that could not be recorded, and were decided all the same"),
    (Kind::Counter, RELOAD_TOTAL, "Readings of the rules' directory by result"),
    (Kind::Counter, ARTIFACTS_TOTAL, "Compiled modules asked for by result: cached, compiled, damaged"),
    (Kind::Counter, ROLLBACKS_TOTAL, "Rollbacks by campaign and cause"),
    (Kind::Gauge, BUILD_INFO, "1, with the version that runs"),
    (Kind::Gauge, START_TIME, "When the process started, in seconds since 1970"),
    (Kind::Gauge, RESIDENT_BYTES, "Memory that the process has resident, in bytes"),
    (Kind::Gauge, STORE_BYTES, "Size of the store's files in bytes; 0 for a store in memory"),
    (
        Kind::Gauge,
        STORE_MEMORY_BYTES,
        "Rows that the store has in memory beside its cache, in bytes: those that are in its log and in no table yet, and those that were written to tables last",
    ),
    (Kind::Gauge, STORE_TABLES, "Tables of the store"),
    (Kind::Gauge, STORE_RUNS, "Runs of the store's tables that wait to be merged; at 12 commits begin to wait"),
    (Kind::Counter, STORE_BLOCKS_TOTAL, "Blocks of the store's tables that were needed"),
    (Kind::Counter, STORE_BLOCKS_READ_TOTAL, "Blocks of them that were not in the cache"),
    (Kind::Counter, STORE_LOOKS_SPARED_TOTAL, "Looks into the store's tables that a filter spared"),
    (
        Kind::Gauge,
        FREE_BYTES,
        "Free bytes of the file system under the directory of the data, the store or the recording",
    ),
    (Kind::Gauge, CAMPAIGNS, "Campaigns by state"),
    (Kind::Gauge, RULE_SET, "Number of the rule set that runs"),
];

/// In place of a label's values: the campaigns that run, each from its first start on.
const OF_CAMPAIGNS: &[&str] = &[];
/// In place of a label's values: they are known only when they are measured.
const MEASURED: &[&str] = &[];

/// A label, and all its values.
type Label = (&'static str, &'static [&'static str]);

/// Those of rules come with the first value that can't be used.
const ENVELOPE_IDS: &[&str] = &[
    "customerId",
    "accountgroupId",
    "accountfroupId",
    "customerUid",
    "customerCode",
    "mobileDeviceId",
    "identifierId",
    "applicationId",
    "externalId",
];
const CHANNELS: &[&str] = &["mail", "push", "sms", "viber", "chatBot", "socialNetworks"];
const FAULTS_AND_MORE: &[&str] =
    &["ok", "skipped", "error", "trap", "panic", "deadline", "memory", "stack", "output", "state", "engine", "held"];
const ROOMS: Label = ("room", &["sink", "deadletters"]);
const CAMPAIGN: Label = ("campaign", OF_CAMPAIGNS);

/// The labels of each metric that has any. **Every series with known values is there from the start, with 0**: an alert on a rise misses the first
/// incident of a series that appears with it.
const LABELS: &[(&str, &[Label])] = &[
    (EVENTS_TOTAL, &[("outcome", &["decided", "unsubscribed", "repeat", "deadletter"])]),
    (CALLS_TOTAL, &[CAMPAIGN, ("outcome", FAULTS_AND_MORE)]),
    (GUARD_MISSES_TOTAL, &[CAMPAIGN]),
    (LOG_LINES_DROPPED_TOTAL, &[CAMPAIGN]),
    (TIMES_NOT_BELIEVED_TOTAL, &[("reason", &["range", "leap"])]),
    (FIELD_MISMATCHES_TOTAL, &[("field", ENVELOPE_IDS)]),
    (ROLLBACKS_TOTAL, &[CAMPAIGN, ("cause", &["engine", "asked"])]),
    (FAILURES, &[CAMPAIGN]),
    (FAILURES_NOT_KEPT_TOTAL, &[CAMPAIGN]),
    (MISSED, &[CAMPAIGN]),
    (MISSED_TOTAL, &[CAMPAIGN, ("reason", &["paused", "suspended"])]),
    (MISSED_NOT_KEPT_TOTAL, &[CAMPAIGN]),
    (CUSTOMERS_FULL_TOTAL, &[("refused", &["merge", "shadow"])]),
    (GIVEN_UP_TOTAL, &[("kind", &["event", "timer", "failure"])]),
    (
        COMMUNICATIONS_TOTAL,
        &[CAMPAIGN, ("channel", CHANNELS), ("verdict", &["passed", "shadow", "no-recipient", "per-hour-max"])],
    ),
    (SINK_CONNECTED, &[ROOMS]),
    (SINK_CONFIRMED_TOTAL, &[ROOMS]),
    (SINK_BLOCKED, &[ROOMS]),
    (SINK_RETRIES_TOTAL, &[ROOMS, ("reason", &["return", "nack", "session"])]),
    (SINK_RECONNECTS_TOTAL, &[ROOMS]),
    (SINK_CONFIRM_SECONDS, &[ROOMS]),
    (RELOAD_TOTAL, &[("result", &["changed", "unchanged", "refused", "withheld", "failed"])]),
    (ARTIFACTS_TOTAL, &[("result", &["cached", "compiled", "damaged"])]),
    (CAMPAIGNS, &[("state", &["running", "paused", "suspended", "waiting", "failed"])]),
    (BUILD_INFO, &[("version", MEASURED)]),
    (FREE_BYTES, &[("directory", MEASURED)]),
];

/// Shortest to longest time of a batch, in seconds: one event takes some microseconds.
const DECIDE_BUCKETS: &[f64] = &[2.5e-6, 1e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2, 1e-1, 1.0];

/// Times of what waits for a disk, or for a broker that may be away for a day.
const WAIT_BUCKETS: &[f64] = &[
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0,
    14_400.0, 86_400.0,
];

/// The process's recorder. There can be one only, so a second engine in a process (a test) shares it.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the recorder, once in a process, and says what every metric is.
///
/// # Errors
/// When another recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for (_, name, _) in METRICS.iter().filter(|(kind, ..)| matches!(kind, Kind::Seconds)) {
        let buckets = if *name == DECIDE_SECONDS { DECIDE_BUCKETS } else { WAIT_BUCKETS };
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)?;
    }
    let handle = builder.install_recorder()?;
    describe();
    *installed = Some(handle.clone());
    Ok(handle)
}

/// Between two of [`keep_up`]'s turns.
const UPKEEP: Duration = Duration::from_secs(5);

/// Sums up what was timed, for ever: until then each time is kept by itself.
pub async fn keep_up(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Shows every series whose labels are known before anything is counted.
pub fn begin() {
    for (kind, name, _) in METRICS.iter().copied() {
        let labels = labels_of(name);
        if labels.iter().all(|(_, values)| !values.is_empty()) {
            show(kind, name, labels, &mut Vec::new());
        }
    }
    ::metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Shows every series of a campaign.
pub fn begin_campaign(campaign: &str) {
    for (kind, name, _) in METRICS.iter().copied() {
        if let [CAMPAIGN, rest @ ..] = labels_of(name) {
            show(kind, name, rest, &mut vec![::metrics::Label::new(CAMPAIGN.0, campaign.to_owned())]);
        }
    }
}

fn labels_of(name: &str) -> &'static [Label] {
    LABELS.iter().find(|(labelled, _)| *labelled == name).map_or(&[], |(_, labels)| labels)
}

/// Shows a metric with all values of the labels that are left to choose.
fn show(kind: Kind, name: &'static str, labels: &[Label], chosen: &mut Vec<::metrics::Label>) {
    if let [(label, values), rest @ ..] = labels {
        for value in *values {
            chosen.push(::metrics::Label::new(*label, *value));
            show(kind, name, rest, chosen);
            chosen.pop();
        }
        return;
    }
    let chosen = chosen.clone();
    match kind {
        Kind::Counter => ::metrics::counter!(name, chosen).increment(0),
        Kind::Gauge => ::metrics::gauge!(name, chosen).increment(0.0),
        Kind::Seconds => drop(::metrics::histogram!(name, chosen)),
    }
}

fn describe() {
    for (kind, name, text) in METRICS.iter().copied() {
        match kind {
            Kind::Counter => describe_counter!(name, Unit::Count, text),
            Kind::Gauge => describe_gauge!(name, Unit::Count, text),
            Kind::Seconds => describe_histogram!(name, Unit::Seconds, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rooms_count_is_rendered_with_its_description() {
        let handle = install().unwrap();
        install().expect("a second engine shares the recorder");
        metrics::counter!(RELOAD_TOTAL, "result" => "changed").increment(1);
        metrics::histogram!(DECIDE_SECONDS).record(2e-6);
        let text = handle.render();
        assert!(text.contains("# HELP hailer_reload_total Readings of the rules' directory by result"), "{text}");
        assert!(text.contains("hailer_reload_total{result=\"changed\"} "), "{text}");
        assert!(text.contains("hailer_decide_seconds_bucket{le=\"0.0000025\"} "), "{text}");
    }

    #[test]
    fn every_label_is_of_a_metric_that_there_is() {
        for (name, labels) in LABELS {
            assert!(METRICS.iter().any(|(_, known, _)| known == name), "{name}");
            assert!(!labels.is_empty(), "{name}");
        }
        let channels = hailer_abi::wire::Channel::ALL.map(hailer_abi::wire::Channel::name);
        assert_eq!(CHANNELS, channels);
    }

    #[test]
    fn no_room_makes_up_a_name() {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("src/metrics.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for macro_name in ["counter!(", "gauge!(", "histogram!("] {
                        for rest in text.split(macro_name).skip(1) {
                            let Some((name, _)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) else {
                                continue;
                            };
                            assert!(METRICS.iter().any(|(_, known, _)| *known == name), "{name} in {}", path.display());
                        }
                    }
                }
            }
        }
    }
}
