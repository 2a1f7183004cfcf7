//! How many communications a campaign may send in an hour (`per_hour_max`), counted over all shards. What comes on top does not go out, and the
//! campaign is suspended: something is wrong with it, or with whoever set the number.
//!
//! Hours are those of the clock, and the count begins anew when the engine starts or the campaign is resumed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Millis;

const HOUR_MS: Millis = 3_600_000;

/// The counts of all campaigns that have a maximum; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Quotas(Arc<Mutex<HashMap<Arc<str>, Hour>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    number: Millis,
    sent: u32,
    /// The number of the rule set in which it was too much. A later one that still has the campaign has had it resumed.
    full_in: Option<u64>,
}

impl Quotas {
    /// Whether there is room for one more, as far as is known now.
    pub(super) fn has_room(&self, campaign: &str, max: u32, now: Millis, rule_set: u64) -> bool {
        let hours = self.lock();
        let hour = hours.get(campaign).filter(|hour| !hour.is_over(now, rule_set));
        hour.is_none_or(|hour| hour.sent < max)
    }

    /// Counts a communication of this moment, if there is room for it under `max`.
    pub(super) fn take(&self, campaign: &Arc<str>, max: u32, now: Millis, rule_set: u64) -> bool {
        let mut hours = self.lock();
        let hour = hours.entry(Arc::clone(campaign)).or_default();
        if hour.is_over(now, rule_set) {
            *hour = Hour { number: now.div_euclid(HOUR_MS), ..Hour::default() };
        }
        if hour.sent < max {
            hour.sent += 1;
            return true;
        }
        hour.full_in.get_or_insert(rule_set);
        false
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Hour>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hour {
    /// Whether another begins, by the clock or because the campaign was resumed.
    fn is_over(&self, now: Millis, rule_set: u64) -> bool {
        now.div_euclid(HOUR_MS) > self.number || self.full_in.is_some_and(|full_in| rule_set > full_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_room_for_so_many_and_the_next_hour_for_as_many_again() {
        let quotas = Quotas::default();
        let name: Arc<str> = "welcome".into();
        let sent = |now| (0..10).filter(|_| quotas.take(&name, 3, now, 1)).count();
        assert_eq!((sent(HOUR_MS), sent(2 * HOUR_MS - 1), sent(2 * HOUR_MS)), (3, 0, 3));
        assert_eq!(sent(HOUR_MS), 0, "a shard that is behind counts with the others");
        assert!(quotas.take(&"other".into(), 3, HOUR_MS, 1));
    }

    #[test]
    fn a_campaign_that_was_resumed_has_room_again() {
        let quotas = Quotas::default();
        let name: Arc<str> = "welcome".into();
        let take = |rule_set| quotas.take(&name, 1, 0, rule_set);
        assert_eq!([take(4), take(4), take(4)], [true, false, false]);
        assert_eq!([take(6), take(6)], [true, false]);
    }
}
