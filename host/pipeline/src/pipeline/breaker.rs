//! The circuit breaker: suspends a campaign that faults again and again, or whose calls take too
//! long on average, so that it does not slow down the others. Its messages never contain text from
//! a guest, which may be personal. Each shard has one breaker for each campaign and rule set, and
//! any of them may suspend the campaign.
//!
//! Fault counts over all shards are committed with the decisions, and a start continues from them.
//! So restarts lift no limit. The mean time of calls is not stored: 256 calls are enough to measure
//! it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::records::FaultCount;
use hailer_engine::GuestFault;

/// The number of calls in one window.
const CALLS_JUDGED: u32 = 256;

/// The conditions under which a campaign is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// Suspend after this many faults in a row; 0 turns it off.
    pub faults_in_a_row_max: u32,
    /// Suspend if more than this percentage of 256 calls fault; 100 turns it off.
    pub faults_percent_max: u32,
    /// Suspend if the mean time of 256 calls is longer, in microseconds; 0 turns it off. A deadline
    /// bounds one call, this bounds the average.
    pub call_mean_us_max: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        BreakerSettings { faults_in_a_row_max: 20, faults_percent_max: 25, call_mean_us_max: 1000 }
    }
}

/// Recent results of one campaign on one shard.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    faults_in_a_row: u32,
    late_in_a_row: u32,
    calls: u32,
    faults: u32,
    timed_calls: u32,
    time: Duration,
    /// The counts since the last commit.
    change: FaultChange,
}

/// The results of one campaign's calls on one shard, to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FaultChange {
    has_answered: bool,
    /// Faults since the last answer.
    in_a_row: u32,
    calls: u32,
    faults: u32,
}

impl FaultChange {
    /// Adds the counts to the committed ones of a campaign's version in this rule set. Counts of an
    /// earlier rule set are ignored.
    pub(super) fn count(
        self,
        (name, version): (Arc<str>, Arc<str>),
        rule_set: u64,
        committed: &mut BTreeMap<Arc<str>, FaultCount>,
    ) {
        let known = committed.get(&name);
        if known.is_none() && self.faults == 0
            || known.is_some_and(|known| known.rule_set > rule_set)
        {
            return;
        }
        let count = committed.entry(Arc::clone(&name)).or_default();
        if count.rule_set != rule_set || count.version != version {
            *count = FaultCount { version, rule_set, ..FaultCount::default() };
        }
        count.in_a_row = if self.has_answered {
            self.in_a_row
        } else {
            count.in_a_row.saturating_add(self.in_a_row)
        };
        count.calls = count.calls.saturating_add(self.calls);
        count.faults = count.faults.saturating_add(self.faults);
        if count.calls >= CALLS_JUDGED {
            (count.calls, count.faults) = (0, 0);
        }
        if count.faults == 0 && count.in_a_row == 0 {
            committed.remove(&name);
        }
    }
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Breaker {
        Breaker {
            settings,
            faults_in_a_row: 0,
            late_in_a_row: 0,
            calls: 0,
            faults: 0,
            timed_calls: 0,
            time: Duration::ZERO,
            change: FaultChange::default(),
        }
    }

    /// A breaker that continues from the committed counts.
    pub(super) fn from_committed(settings: BreakerSettings, count: &FaultCount) -> Breaker {
        let FaultCount { in_a_row, calls, faults, .. } = *count;
        Breaker { faults_in_a_row: in_a_row, calls, faults, ..Breaker::new(settings) }
    }

    /// Whether a call was counted since the last [`Self::take_change`].
    pub(super) fn has_change(&self) -> bool {
        self.change.calls > 0
    }

    /// The counts since the last call of this function; `None` if there are none.
    pub(super) fn take_change(&mut self) -> Option<FaultChange> {
        self.has_change().then(|| std::mem::take(&mut self.change))
    }

    /// Records that a call returned an answer.
    pub(super) fn answered(&mut self) {
        (self.faults_in_a_row, self.late_in_a_row) = (0, 0);
        (self.change.has_answered, self.change.in_a_row) = (true, 0);
        self.count(false);
    }

    /// Records that a call faulted. Returns the reason if the campaign is to be suspended.
    pub(super) fn faulted(&mut self, fault: &GuestFault) -> Option<String> {
        self.faults_in_a_row += 1;
        self.change.in_a_row += 1;
        match fault {
            GuestFault::Deadline { .. } => self.late_in_a_row += 1,
            _ => self.late_in_a_row = 0,
        }
        let faults = self.count(true);
        let BreakerSettings { faults_in_a_row_max, faults_percent_max, .. } = self.settings;
        if faults_in_a_row_max > 0 && self.faults_in_a_row >= faults_in_a_row_max {
            return Some(match self.late_in_a_row >= faults_in_a_row_max {
                true => format!(
                    "it passed its deadline {faults_in_a_row_max} times in a row, which delays all \
                     other campaigns"
                ),
                false => {
                    format!(
                        "it faulted {faults_in_a_row_max} times in a row; the last fault was {}",
                        fault.kind()
                    )
                }
            });
        }
        let is_too_often = faults * 100 > CALLS_JUDGED * faults_percent_max;
        is_too_often.then(|| {
            format!(
                "it faulted {faults} times in {CALLS_JUDGED} calls; the last fault was {}",
                fault.kind()
            )
        })
    }

    /// Records the time of calls. Returns the reason if the campaign is to be suspended.
    pub(super) fn took(&mut self, calls: u32, time: Duration) -> Option<String> {
        self.timed_calls += calls;
        self.time += time;
        if self.timed_calls < CALLS_JUDGED {
            return None;
        }
        let mean_us = self.time.as_micros() / u128::from(self.timed_calls);
        (self.timed_calls, self.time) = (0, Duration::ZERO);
        let max_us = self.settings.call_mean_us_max;
        let is_too_long = max_us > 0 && mean_us > u128::from(max_us);
        is_too_long.then(|| {
            format!(
                "its calls take {mean_us} µs on average, over the limit of {max_us} µs \
                 (breaker.call_mean_us_max)"
            )
        })
    }

    /// Counts a call, and returns the number of faults in the current window.
    fn count(&mut self, has_faulted: bool) -> u32 {
        if self.calls == CALLS_JUDGED {
            (self.calls, self.faults) = (0, 0);
        }
        self.calls += 1;
        self.faults += u32::from(has_faulted);
        self.change.calls += 1;
        self.change.faults += u32::from(has_faulted);
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings::default())
    }

    fn trap() -> GuestFault {
        GuestFault::Trap("unreachable".to_owned())
    }

    #[test]
    fn faults_in_a_row_suspend_unless_an_answer_interrupts_them() {
        let mut breaker = breaker();
        for _ in 0..19 {
            assert_eq!(breaker.faulted(&trap()), None);
        }
        breaker.answered();
        for _ in 0..19 {
            assert_eq!(breaker.faulted(&trap()), None);
        }
        let why = breaker.faulted(&trap()).expect("the twentieth in a row");
        assert!(why.contains("20 times in a row") && why.contains("trap"), "{why}");
    }

    /// Makes calls, with a restart of the engine before each. Returns the call at which the
    /// campaign is suspended.
    fn calls_over_starts(faults: impl Fn(u32) -> bool) -> Option<u32> {
        let mut committed = BTreeMap::new();
        let names = || (Arc::<str>::from("faulty"), Arc::<str>::from("1+ab"));
        (1..=2000).find(|call| {
            let known = committed.get("faulty");
            let mut breaker = known.map_or_else(breaker, |count| {
                Breaker::from_committed(BreakerSettings::default(), count)
            });
            let is_suspended = if faults(*call) {
                breaker.faulted(&trap()).is_some()
            } else {
                breaker.answered();
                false
            };
            breaker.take_change().expect("a call").count(names(), 1, &mut committed);
            is_suspended
        })
    }

    #[test]
    fn a_restart_lifts_no_limit() {
        assert_eq!(calls_over_starts(|_| true), Some(20));
        assert_eq!(calls_over_starts(|call| call % 19 != 0), Some(68), "65 faults in 68 calls");
        assert_eq!(calls_over_starts(|call| call % 7 == 0), None);
    }

    #[test]
    fn counts_of_an_earlier_rule_set_or_version_are_ignored() {
        let (name, mut committed) = (Arc::<str>::from("faulty"), BTreeMap::new());
        let faults = |number| FaultChange {
            has_answered: false,
            in_a_row: number,
            calls: number,
            faults: number,
        };
        let mut count = |version: &str, rule_set, number| {
            faults(number).count((Arc::clone(&name), version.into()), rule_set, &mut committed);
            committed[&name].in_a_row
        };
        assert_eq!([count("1", 4, 5), count("1", 4, 5), count("1", 3, 7)], [5, 10, 10]);
        assert_eq!([count("1", 6, 2), count("1", 4, 9), count("2", 6, 1)], [2, 2, 1]);
        let answered =
            FaultChange { has_answered: true, calls: CALLS_JUDGED, ..FaultChange::default() };
        answered.count((Arc::clone(&name), "2".into()), 6, &mut committed);
        assert!(
            committed.is_empty(),
            "no counts are kept of a campaign that does not fault: {committed:?}"
        );
    }

    #[test]
    fn one_fault_in_two_suspends_and_one_in_seven_does_not() {
        let run = |every: u32| {
            let mut breaker = breaker();
            (0..10_000).find_map(|call: u32| match call.is_multiple_of(every) {
                true => breaker.faulted(&trap()),
                false => {
                    breaker.answered();
                    None
                }
            })
        };
        assert_eq!(run(7), None);
        assert!(run(2).expect("suspended").contains("times in 256 calls"));
    }

    #[test]
    fn a_long_mean_time_suspends_and_one_long_call_does_not() {
        let mut breaker = breaker();
        for call in 0..2560 {
            let time =
                if call == 300 { Duration::from_millis(10) } else { Duration::from_micros(2) };
            assert_eq!(breaker.took(1, time), None);
        }
        let why = (0..16).find_map(|_| breaker.took(32, 32 * Duration::from_millis(2)));
        assert!(why.expect("suspended").contains("2000 µs on average"));
    }

    #[test]
    fn limits_that_are_off_do_not_suspend() {
        let settings = BreakerSettings {
            faults_in_a_row_max: 0,
            faults_percent_max: 100,
            call_mean_us_max: 0,
        };
        let mut breaker = Breaker::new(settings);
        for _ in 0..1000 {
            assert_eq!(breaker.faulted(&trap()), None);
            assert_eq!(breaker.took(1, Duration::from_secs(1)), None);
        }
    }
}
