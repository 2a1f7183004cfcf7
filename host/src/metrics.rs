//! Every metric by name, with its unit and what it counts. Rooms emit through the `metrics` facade with these names;
//! nobody makes up a name elsewhere. **A label's values come from the configuration and the code, never from an
//! event: their number is bounded, and no personal data can get into one.**

use std::sync::{Mutex, PoisonError};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Events by what became of them: label `outcome`, one of `decided`, `deadletter`, `unsubscribed`.
pub const EVENTS_TOTAL: &str = "hailer_events_total";
/// Events that were readable only after repair (a trailing comma).
pub const EVENTS_REPAIRED_TOTAL: &str = "hailer_events_repaired_total";
/// Fields that were there and of another type than the rules asked for.
pub const FIELD_MISMATCHES_TOTAL: &str = "hailer_field_mismatches_total";
/// Events taken in whose outcome is not yet durable.
pub const IN_FLIGHT: &str = "hailer_in_flight";

/// Calls of rules: labels `campaign` and `outcome` (`ok`, `error`, `trap`, `deadline`, `memory`, `output`, `skipped`).
pub const CALLS_TOTAL: &str = "hailer_calls_total";
/// How long a crossing into a rule took, over all campaigns: a histogram a campaign would be too many series.
pub const CALL_SECONDS: &str = "hailer_call_seconds";
/// Communications: labels `campaign`, `channel` and `verdict` (`published`, `shadow`, `suppressed`).
pub const COMMUNICATIONS_TOTAL: &str = "hailer_communications_total";

/// 1 while the source has a session, else 0.
pub const SOURCE_CONNECTED: &str = "hailer_source_connected";
/// Messages taken from the source.
pub const SOURCE_MESSAGES_TOTAL: &str = "hailer_source_messages_total";
/// Messages that the source had delivered before.
pub const SOURCE_REDELIVERED_TOTAL: &str = "hailer_source_redelivered_total";
/// Times that the source had to begin a new session.
pub const SOURCE_RECONNECTS_TOTAL: &str = "hailer_source_reconnects_total";
/// Messages that the broker was told to forget.
pub const SOURCE_ACKNOWLEDGED_TOTAL: &str = "hailer_source_acknowledged_total";

// All of the sink's are told apart by the label `room`: `sink` for communications, `deadletters`.

/// 1 while the sink has a session, else 0.
pub const SINK_CONNECTED: &str = "hailer_sink_connected";
/// Messages that the sink has confirmed.
pub const SINK_CONFIRMED_TOTAL: &str = "hailer_sink_confirmed_total";
/// 1 while the broker blocks publishers, else 0.
pub const SINK_BLOCKED: &str = "hailer_sink_blocked";
/// Messages published again, as they were not confirmed: label `reason` (`nack`, `return`, `session`).
pub const SINK_RETRIES_TOTAL: &str = "hailer_sink_retries_total";
/// Times that the sink had to begin a new session.
pub const SINK_RECONNECTS_TOTAL: &str = "hailer_sink_reconnects_total";
/// How long a batch took from publishing to its last confirm.
pub const SINK_CONFIRM_SECONDS: &str = "hailer_sink_confirm_seconds";

/// Readings of the directory: label `result` (`changed`, `unchanged`, `problems`, `withheld`).
pub const RELOAD_TOTAL: &str = "hailer_reload_total";
/// Campaigns by state: label `state` (`running`, `paused`, `suspended`, `waiting`, `failed`).
pub const CAMPAIGNS: &str = "hailer_campaigns";
/// The number of the rule set that runs.
pub const RULE_SET: &str = "hailer_rule_set";

/// Shortest to longest time that a call may take, in seconds: a warm call is some hundred nanoseconds.
const CALL_BUCKETS: &[f64] = &[1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1];
const CONFIRM_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

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
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(CALL_SECONDS.to_owned()), CALL_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(SINK_CONFIRM_SECONDS.to_owned()), CONFIRM_BUCKETS)?
        .install_recorder()?;
    describe();
    *installed = Some(handle.clone());
    Ok(handle)
}

fn describe() {
    let count = Unit::Count;
    describe_counter!(EVENTS_TOTAL, count, "Events by what became of them");
    describe_counter!(EVENTS_REPAIRED_TOTAL, count, "Events that were readable only after repair");
    describe_counter!(FIELD_MISMATCHES_TOTAL, count, "Fields of another type than the rules asked for");
    describe_gauge!(IN_FLIGHT, count, "Events taken in whose outcome is not yet durable");
    describe_counter!(CALLS_TOTAL, count, "Calls of rules by campaign and outcome");
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "Time of a crossing into a rule");
    describe_counter!(COMMUNICATIONS_TOTAL, count, "Communications by campaign, channel and verdict");
    describe_gauge!(SOURCE_CONNECTED, count, "1 while the source has a session");
    describe_counter!(SOURCE_MESSAGES_TOTAL, count, "Messages taken from the source");
    describe_counter!(SOURCE_REDELIVERED_TOTAL, count, "Messages that the source had delivered before");
    describe_counter!(SOURCE_RECONNECTS_TOTAL, count, "New sessions of the source after trouble");
    describe_counter!(SOURCE_ACKNOWLEDGED_TOTAL, count, "Messages that the broker was told to forget");
    describe_gauge!(SINK_BLOCKED, count, "1 while the broker blocks publishers");
    describe_gauge!(SINK_CONNECTED, count, "1 while the sink has a session");
    describe_counter!(SINK_CONFIRMED_TOTAL, count, "Messages that the sink has confirmed");
    describe_counter!(SINK_RETRIES_TOTAL, count, "Messages published again by reason");
    describe_counter!(SINK_RECONNECTS_TOTAL, count, "New sessions of the sink after trouble");
    describe_histogram!(SINK_CONFIRM_SECONDS, Unit::Seconds, "Time from publishing a batch to its last confirm");
    describe_counter!(RELOAD_TOTAL, count, "Readings of the rules' directory by result");
    describe_gauge!(CAMPAIGNS, count, "Campaigns by state");
    describe_gauge!(RULE_SET, count, "Number of the rule set that runs");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rooms_count_is_rendered_with_its_description() {
        let handle = install().unwrap();
        install().expect("a second engine shares the recorder");
        metrics::counter!(RELOAD_TOTAL, "result" => "changed").increment(1);
        metrics::histogram!(CALL_SECONDS).record(2e-6);
        let text = handle.render();
        assert!(text.contains("# HELP hailer_reload_total Readings of the rules' directory by result"), "{text}");
        assert!(text.contains("hailer_reload_total{result=\"changed\"} "), "{text}");
        assert!(text.contains("hailer_call_seconds_bucket{le=\"0.0000025\"} "), "{text}");
    }
}
