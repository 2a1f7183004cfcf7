//! Reports the state of a publisher to the health report and the metrics.

use std::time::Instant;

use hailer_base::health::{Condition, Health};
use hailer_base::metrics;

const BLOCKED: &str = "the broker blocks publishers: it is short of memory or disk";

/// Reports the state of the publisher to health report and metrics.
pub(super) struct Reporter {
    pub(super) room: &'static str,
    pub(super) health: Health,
    pub(super) blocked: bool,
}

impl Reporter {
    pub(super) fn ready(&mut self) {
        self.blocked = false;
        self.health.report(self.room, Condition::Ready);
    }

    pub(super) fn not_ready(&self, why: String) {
        self.health.report(self.room, Condition::NotReady(why));
    }

    pub(super) fn connected(&self, connected: bool) {
        ::metrics::gauge!(metrics::SINK_CONNECTED, "room" => self.room)
            .set(f64::from(u8::from(connected)));
    }

    /// The broker accepted a publication. During an alarm this does not mean that it accepts the
    /// next one.
    pub(super) fn takes_publications(&mut self) {
        if !self.blocked {
            self.ready();
        }
    }

    pub(super) fn confirmed(&self, count: usize, since: Instant) {
        if count == 0 {
            return;
        }
        ::metrics::counter!(metrics::SINK_CONFIRMED_TOTAL, "room" => self.room)
            .increment(count as u64);
        ::metrics::histogram!(metrics::SINK_CONFIRM_SECONDS, "room" => self.room)
            .record(since.elapsed());
    }

    pub(super) fn retry(&self, count: usize, reason: &'static str) {
        if count > 0 {
            let labels = [("room", self.room), ("reason", reason)];
            ::metrics::counter!(metrics::SINK_RETRIES_TOTAL, &labels).increment(count as u64);
        }
    }

    /// Reports the start and the end of an alarm. Other problems are reported where they are found.
    pub(super) fn blocked(&mut self, blocked: bool) {
        ::metrics::gauge!(metrics::SINK_BLOCKED, "room" => self.room)
            .set(f64::from(u8::from(blocked)));
        match (blocked, std::mem::replace(&mut self.blocked, blocked)) {
            (true, false) => self.not_ready(BLOCKED.to_owned()),
            (false, true) => self.ready(),
            _ => {}
        }
    }
}
