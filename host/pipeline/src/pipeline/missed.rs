//! Events that a campaign misses while it is paused or suspended: counted, noted in the journal,
//! and kept within bounds, so that `failures retry --missed` can decide them later. They are kept
//! beside the failures and wait in no queue: a resumed campaign goes on without them.

use std::sync::Arc;

use super::case::Case;
use super::decide::Decider;
use super::notice::Notice;
use crate::records::{Decided, FailureRow, FailureStatus};
use hailer_base::clock::Millis;
use hailer_engine::{Campaign, Mode, OnPause, RuleSet, Stop};

impl Decider {
    /// Why a campaign that takes something at `now` is stopped; `None` if it is not stopped, or
    /// takes nothing now. A canary misses nothing, as its campaign decides in its place.
    pub(super) fn stop(&self, rules: &RuleSet, index: usize, now: Millis) -> Option<Stop> {
        let Campaign { spec, generation, .. } = &*rules.campaigns()[index];
        if !spec.is_active(now) || spec.canary_of().is_some() {
            return None;
        }
        rules.stop(index).or_else(|| self.limits.owner.stop(&spec.name, *generation))
    }

    /// Notes that a campaign misses an event, and keeps the event if there is room.
    pub(super) fn miss(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        stop: Stop,
    ) -> Decided {
        let spec = &campaign.spec;
        let reason = stop.name();
        // A shadow sends nothing, so its events are not kept.
        let is_wanted = spec.mode == Mode::Live && spec.on_pause == OnPause::Keep;
        let is_kept = is_wanted && self.keep_missed(spec.acts_for(), case, reason);
        let is_lost = is_wanted && !is_kept;
        self.notices.push(Notice::MissedWhileStopped { campaign: index, reason, is_lost });
        Decided::Missed { reason: reason.into(), is_kept }
    }

    fn keep_missed(&mut self, campaign: &Arc<str>, case: &mut Case, reason: &str) -> bool {
        let Some(work) = case.work() else { return false };
        let Some(key) = self.limits.failures.place(case.partition, case.customer, campaign, true)
        else {
            return false;
        };
        let status = FailureStatus::Missed { reason: reason.into() };
        case.failures
            .push((key, FailureRow { work, now: case.now, status, is_queued: false, bytes: 0 }));
        true
    }
}
