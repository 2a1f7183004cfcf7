//! What a campaign misses while it is paused or suspended: counted, noted in the journal, and kept within bounds, so that it can be decided
//! later. It is kept beside the failures and waits in no queue: the campaign goes on without it when it is resumed.

use std::sync::Arc;

use super::case::Case;
use super::shard::Shard;
use crate::clock::Millis;
use crate::engine::{Campaign, Mode, OnPause, RuleSet, Stop};
use crate::records::{Decided, FailureRow, FailureStatus};

impl Shard {
    /// Why a campaign that would take something at `now` is not called; `None` if it is not stopped, or takes nothing now. A canary misses
    /// nothing: without it its campaign decides.
    pub(super) fn stop(&self, rules: &RuleSet, index: usize, now: Millis) -> Option<Stop> {
        let Campaign { spec, generation, .. } = &*rules.campaigns()[index];
        if !spec.is_active(now) || spec.canary_of().is_some() {
            return None;
        }
        rules.stop(index).or_else(|| self.rules.owner.stop(&spec.name, *generation))
    }

    /// Notes that a campaign misses an event, and keeps it if there is room.
    pub(super) fn miss(&mut self, campaign: &Campaign, index: usize, case: &mut Case, stop: Stop) -> Decided {
        let spec = &campaign.spec;
        let reason = stop.name();
        // Nothing of a shadow would go out.
        let is_wanted = spec.mode == Mode::Live && spec.on_pause == OnPause::Keep;
        let is_kept = is_wanted && self.keep_missed(spec.acts_for(), case, reason);
        let count = self.counts.of(index).missed_while(reason, is_wanted && !is_kept);
        if is_wanted && !is_kept && count.is_power_of_two() {
            tracing::warn!(
                campaign = &*spec.name,
                count,
                "an event that came while the campaign is {reason} is not kept for it: there are too many (store.missed_bytes_max)"
            );
        }
        Decided::Missed { reason: reason.into(), is_kept }
    }

    fn keep_missed(&mut self, campaign: &Arc<str>, case: &mut Case, reason: &str) -> bool {
        let Some(work) = case.work() else { return false };
        let Some(key) = self.failures.place(case.partition, case.customer, campaign, true) else { return false };
        let status = FailureStatus::Missed { reason: reason.into() };
        case.failures.push((key, FailureRow { work, now: case.now, status, is_queued: false, bytes: 0 }));
        true
    }
}
