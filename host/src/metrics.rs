//! The metrics of the engine: units, help texts, labels, and the Prometheus exporter. Their names
//! are in `hailer-base`. **The values of a label come from the configuration and the code, never
//! from an event: their number is bounded, and none can hold personal data.**

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hailer_abi::wire::Channel;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub use hailer_base::metrics::*;

/// The kind of a metric.
#[derive(Clone, Copy)]
enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A histogram of seconds.
    Seconds,
}

/// Every metric, with its kind and its help text.
const METRICS: &[(Kind, &str, &str)] = &[
    (Kind::Counter, EVENTS_TOTAL, "Events by outcome: decided, unsubscribed, repeat, deadletter"),
    (Kind::Counter, EVENTS_REPAIRED_TOTAL, "Events that could be read only after a repair"),
    (
        Kind::Counter,
        EVENTS_AMBIGUOUS_TOTAL,
        "Copies without an id, from a session that broke, that were treated as repeats of an \
            event just decided",
    ),
    (
        Kind::Counter,
        FIELD_MISMATCHES_TOTAL,
        "Values that were present but could not be used, by field",
    ),
    (Kind::Gauge, IN_FLIGHT, "Events that were taken in and whose outcome is not durable yet"),
    (
        Kind::Seconds,
        EVENT_SECONDS,
        "Time from the intake of an event until its whole outcome was durable",
    ),
    (Kind::Counter, CALLS_TOTAL, "Calls of rules by campaign and outcome"),
    (
        Kind::Counter,
        GUARD_MISSES_TOTAL,
        "Events for which a rule was not called because its handler's condition did not match, by \
            campaign",
    ),
    (
        Kind::Counter,
        RECHECKED_TOTAL,
        "Calls that were made again on a fresh instance to check that the rule is pure",
    ),
    (
        Kind::Counter,
        INSTANCES_GIVEN_BACK_TOTAL,
        "Instances of rules that were given back because a shard had as many as it may have",
    ),
    (
        Kind::Counter,
        LOG_LINES_DROPPED_TOTAL,
        "Log lines of rules that were dropped because the campaign exceeded its limit over time, \
            by campaign",
    ),
    (
        Kind::Counter,
        LOG_BYTES_CUT_TOTAL,
        "Bytes of rules' logs that were cut because a call \
        exceeded its limit",
    ),
    (Kind::Seconds, DECIDE_SECONDS, "Time in which a shard decided a batch"),
    (Kind::Seconds, COMMIT_SECONDS, "Time until a commit was on disk"),
    (
        Kind::Seconds,
        APPLY_SECONDS,
        "Time to write the store's memory to its tables, many commits at once",
    ),
    (Kind::Counter, TIMERS_FIRED_TOTAL, "Timers that have fired"),
    (
        Kind::Counter,
        TIMES_NOT_BELIEVED_TOTAL,
        "Times of events that did not move the events' clock, by reason: range, leap",
    ),
    (
        Kind::Gauge,
        CLOCK_IN_DOUBT,
        "1 while the machine's clock is in doubt: no event is taken in, no timer fires and \
            nothing expires",
    ),
    (Kind::Gauge, FAILURES, "Failures and held events that are kept, by campaign"),
    (
        Kind::Gauge,
        MISSED,
        "Events that came while their campaign was stopped and are kept, by campaign",
    ),
    (
        Kind::Counter,
        MISSED_TOTAL,
        "Events that came while their campaign was stopped, by campaign and reason",
    ),
    (
        Kind::Counter,
        MISSED_NOT_KEPT_TOTAL,
        "Missed events that were not kept because the campaign's limit was reached, by campaign",
    ),
    (
        Kind::Counter,
        FAILURES_NOT_KEPT_TOTAL,
        "Failures that were not kept because the campaign's limit was reached, by campaign",
    ),
    (
        Kind::Counter,
        CUSTOMERS_FULL_TOTAL,
        "Operations refused because too much would be kept about one customer, by operation: \
            merge, shadow",
    ),
    (
        Kind::Gauge,
        SUSPECTS,
        "Events and timers that are decided alone, because the engine ended while it decided a \
            batch with them",
    ),
    (
        Kind::Counter,
        GIVEN_UP_TOTAL,
        "Events and timers that are no longer decided, because the engine ended each time it \
            decided them alone, by kind",
    ),
    (Kind::Gauge, OUTBOX, "Communications that are committed and not confirmed yet"),
    (Kind::Seconds, OUTBOX_SECONDS, "Time from a commit until its communications were confirmed"),
    (Kind::Gauge, DEAD_LETTERS, "Dead letters that are durable and not delivered yet"),
    (
        Kind::Counter,
        COMMUNICATIONS_TOTAL,
        "Communications that rules proposed, by campaign, channel, verdict and policy",
    ),
    (Kind::Gauge, DEFERRED, "Communications that wait for the end of quiet hours"),
    (Kind::Counter, CONSENT_CHANGES_TOTAL, "Recorded changes of consent, by source"),
    (
        Kind::Counter,
        STATEMENTS_UNUSABLE_TOTAL,
        "What events say about consent or time zones and cannot be used, by subject",
    ),
    (Kind::Gauge, SOURCE_CONNECTED, "1 while the source has a session, else 0"),
    (
        Kind::Gauge,
        SOURCE_STANDBY,
        "1 while this engine is a standby for another active consumer, else 0",
    ),
    (
        Kind::Counter,
        SOURCE_GIVEN_BACK_TOTAL,
        "Sessions that were closed to return events to the queue because intake was paused too \
            long",
    ),
    (Kind::Counter, SOURCE_MESSAGES_TOTAL, "Messages received from the source"),
    (Kind::Counter, SOURCE_REDELIVERED_TOTAL, "Messages that the source delivered again"),
    (Kind::Counter, SOURCE_RECONNECTS_TOTAL, "New sessions of the source after a failure"),
    (Kind::Counter, SOURCE_ACKNOWLEDGED_TOTAL, "Messages that were acknowledged to the source"),
    (Kind::Gauge, SINK_CONNECTED, "1 while the sink has a session, by room"),
    (Kind::Counter, SINK_CONFIRMED_TOTAL, "Messages that the sink has confirmed, by room"),
    (Kind::Gauge, SINK_BLOCKED, "1 while the broker blocks publishers, by room"),
    (
        Kind::Counter,
        SINK_RETRIES_TOTAL,
        "Messages published again because they were not confirmed, by room and reason",
    ),
    (Kind::Counter, SINK_RECONNECTS_TOTAL, "New sessions of the sink after a failure, by room"),
    (
        Kind::Seconds,
        SINK_CONFIRM_SECONDS,
        "Time from publishing a batch to its last confirm, by room",
    ),
    (Kind::Counter, RECORDED_TOTAL, "Events that have been recorded"),
    (
        Kind::Counter,
        RECORD_MISSING_TOTAL,
        "Events that could not be recorded, and were decided without that",
    ),
    (Kind::Counter, RELOAD_TOTAL, "Readings of the rules directory by result"),
    (
        Kind::Counter,
        ARTIFACTS_TOTAL,
        "Requests for compiled modules by result: cached, compiled, damaged",
    ),
    (Kind::Counter, ROLLBACKS_TOTAL, "Rollbacks by campaign and cause"),
    (Kind::Gauge, BUILD_INFO, "1, with the version of the engine as label"),
    (Kind::Gauge, START_TIME, "When the process started, in seconds since 1970"),
    (Kind::Gauge, RESIDENT_BYTES, "Resident memory of the process, in bytes"),
    (Kind::Gauge, STORE_BYTES, "Size of the store's files in bytes; 0 for a store in memory"),
    (
        Kind::Gauge,
        STORE_MEMORY_BYTES,
        "Rows that the store has in memory beside its cache, in bytes: rows that are only in its \
            log, and rows that were written to tables last",
    ),
    (Kind::Gauge, STORE_TABLES, "Tables of the store"),
    (
        Kind::Gauge,
        STORE_RUNS,
        "Runs of the store's tables that wait to be merged; at 12 of them, commits wait",
    ),
    (Kind::Counter, STORE_BLOCKS_TOTAL, "Reads of blocks of the store's tables"),
    (
        Kind::Counter,
        STORE_BLOCKS_READ_TOTAL,
        "Reads of blocks of the store's tables that were not \
        in the cache",
    ),
    (
        Kind::Counter,
        STORE_LOOKS_SPARED_TOTAL,
        "Reads of the store's tables that a filter made \
        unnecessary",
    ),
    (
        Kind::Gauge,
        FREE_BYTES,
        "Free bytes of the file system with the directory of the data, the store or the recording",
    ),
    (Kind::Gauge, CAMPAIGNS, "Campaigns by state"),
    (Kind::Gauge, RULE_SET, "Number of the current rule set"),
    (
        Kind::Gauge,
        POLICIES_INFO,
        "1 for the policies that apply, by the digest of their file; `none` without policies",
    ),
];

/// Used instead of a label's values: the campaigns that run, each from its first start on.
const ALL_CAMPAIGNS: &[&str] = &[];
/// Used instead of a label's values: the values are known only when they are measured.
const MEASURED: &[&str] = &[];

/// A label, with all its values.
type Label = (&'static str, &'static [&'static str]);

/// The ids of an envelope. Fields of rules are added with the first value that cannot be used.
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
const CALL_OUTCOMES: &[&str] = &[
    "ok", "skipped", "error", "trap", "panic", "deadline", "memory", "stack", "output", "state",
    "engine", "held",
];
const ROOMS: Label = ("room", &["sink", "deadletters"]);
/// The verdicts on a communication: it passed, is deferred, or the reason why it is suppressed.
const VERDICTS: &[&str] = &[
    "passed",
    "deferred",
    "shadow",
    "no-recipient",
    "not-listed",
    "consent-off",
    "consent-unknown",
    "control",
    "event-max",
    "quiet-hours",
    "deferral-full",
    "cap",
    "per-hour-max",
    "stale",
    "cancelled",
    "campaign-gone",
];
const CAMPAIGN: Label = ("campaign", ALL_CAMPAIGNS);

/// The labels of each metric that has any. **Every series with known values exists from the start,
/// with 0**: otherwise an alert on an increase would miss the first incident, with which the series
/// appears. Many campaigns are the exception ([`SERIES_AHEAD_MAX`]).
const LABELS: &[(&str, &[Label])] = &[
    (EVENTS_TOTAL, &[("outcome", &["decided", "unsubscribed", "repeat", "deadletter"])]),
    (CALLS_TOTAL, &[CAMPAIGN, ("outcome", CALL_OUTCOMES)]),
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
        &[CAMPAIGN, ("channel", Channel::NAMES), ("verdict", VERDICTS), ("policy", &[""])],
    ),
    (CONSENT_CHANGES_TOTAL, &[("source", &["event", "import"])]),
    (STATEMENTS_UNUSABLE_TOTAL, &[("about", &["consent", "time-zone"])]),
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
    (POLICIES_INFO, &[("digest", MEASURED)]),
    (FREE_BYTES, &[("directory", MEASURED)]),
];

/// Buckets for the time of a batch, in seconds. One event takes some microseconds.
const DECIDE_BUCKETS: &[f64] = &[2.5e-6, 1e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2, 1e-1, 1.0];

/// Buckets for the time of waiting for a disk, or for a broker that may be unreachable for a day,
/// in seconds.
const WAIT_BUCKETS: &[f64] = &[
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0,
    600.0, 3600.0, 14_400.0, 86_400.0,
];

/// The recorder of the process. There can be only one, so a second engine in a process (in a test)
/// shares it.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the recorder, once in a process, and describes every metric.
///
/// # Errors
/// When another recorder is already installed.
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

/// Time between two rounds of [`sum_up`].
const UPKEEP: Duration = Duration::from_secs(5);

/// Sums up recorded times, again and again, without end. Until then each recorded time takes memory
/// of its own.
pub async fn sum_up(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Creates every series whose labels are known, before anything is counted.
pub fn create_series() {
    for (kind, name, _) in METRICS.iter().copied() {
        let labels = labels_of(name);
        if labels.iter().all(|(_, values)| !values.is_empty()) {
            create(kind, name, labels, &mut Vec::new());
        }
    }
    ::metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// With more campaigns than this, a series of a campaign begins when it is first counted: each has
/// more than a hundred.
pub const SERIES_AHEAD_MAX: usize = 1024;

/// Creates every series of a campaign.
pub fn create_campaign_series(campaign: &str) {
    for (kind, name, _) in METRICS.iter().copied() {
        if let [CAMPAIGN, rest @ ..] = labels_of(name) {
            create(
                kind,
                name,
                rest,
                &mut vec![::metrics::Label::new(CAMPAIGN.0, campaign.to_owned())],
            );
        }
    }
}

fn labels_of(name: &str) -> &'static [Label] {
    LABELS.iter().find(|(labelled, _)| *labelled == name).map_or(&[], |(_, labels)| labels)
}

/// Creates the series of a metric for all values of the remaining labels.
fn create(kind: Kind, name: &'static str, labels: &[Label], chosen: &mut Vec<::metrics::Label>) {
    if let [(label, values), rest @ ..] = labels {
        for value in *values {
            chosen.push(::metrics::Label::new(*label, *value));
            create(kind, name, rest, chosen);
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
    fn a_metric_is_rendered_with_its_help_text() {
        let handle = install().unwrap();
        install().expect("a second engine shares the recorder");
        metrics::counter!(RELOAD_TOTAL, "result" => "changed").increment(1);
        metrics::histogram!(DECIDE_SECONDS).record(2e-6);
        let text = handle.render();
        assert!(
            text.contains("# HELP hailer_reload_total Readings of the rules directory by result"),
            "{text}"
        );
        assert!(text.contains("hailer_reload_total{result=\"changed\"} "), "{text}");
        assert!(text.contains("hailer_decide_seconds_bucket{le=\"0.0000025\"} "), "{text}");
    }

    #[test]
    fn every_label_belongs_to_a_metric_that_exists() {
        for (name, labels) in LABELS {
            assert!(METRICS.iter().any(|(_, known, _)| known == name), "{name}");
            assert!(!labels.is_empty(), "{name}");
        }
    }

    #[test]
    fn no_other_file_defines_the_name_of_a_metric() {
        let mut folders =
            vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs")
                    && !path.ends_with("src/metrics.rs")
                {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for macro_name in ["counter!(", "gauge!(", "histogram!("] {
                        for rest in text.split(macro_name).skip(1) {
                            let Some((name, _)) =
                                rest.strip_prefix('"').and_then(|rest| rest.split_once('"'))
                            else {
                                continue;
                            };
                            assert!(
                                METRICS.iter().any(|(_, known, _)| *known == name),
                                "{name} in {}",
                                path.display()
                            );
                        }
                    }
                }
            }
        }
    }
}
