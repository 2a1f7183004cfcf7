//! A campaign and its shadow, decision beside decision: on which events they agree, and on which they would have sent another thing.
//!
//! It is fed the decisions of the two in the order of the journal, where those of one event stand together; a timer is an entry of its own for each of the two,
//! and waits here for the other. What is kept meanwhile is bounded, and what did not fit is counted.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use super::decisions::{Decision, Sent};

/// Decisions that wait for the other's, and those of the campaign alone.
const WAITING_MAX: usize = 100_000;

/// What two versions have made of the same events.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    pub campaign: Side,
    pub shadow: Side,
    /// Events and timers that both decided.
    pub compared: u64,
    pub alike: u64,
    /// How many differ, and how.
    pub only_shadow_sends: u64,
    pub only_campaign_sends: u64,
    pub send_otherwise: u64,
    pub end_otherwise: u64,
    pub schedule_otherwise: u64,
    /// Decisions of the campaign with none of its shadow's beside them: from before there was one, or of no consequence.
    pub unpaired: u64,
    /// Decisions that were not compared, as too many had to wait.
    pub passed_over: u64,
    /// The first of them, the oldest of each part of the store first.
    pub differences: Vec<Difference>,
    #[serde(skip)]
    differences_max: usize,
    #[serde(skip)]
    now: Beside,
    #[serde(skip)]
    timers: HashMap<TimerName, Beside>,
    /// Of the campaign alone: whether it was before the shadow is known at the end.
    #[serde(skip)]
    alone: Vec<Decision>,
    #[serde(skip)]
    began: Option<Timestamp>,
}

/// One of the two.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    pub name: String,
    /// The version that decided last.
    pub version: String,
    pub decisions: u64,
    /// How many of them asked for a communication.
    pub sends: u64,
    pub failed: u64,
}

/// On what the two differ. One of them may not have been asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub how: How,
    pub campaign: Option<Decision>,
    pub shadow: Option<Decision>,
}

/// How two decisions differ; the first that is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    OnlyShadowSends,
    OnlyCampaignSends,
    /// Another number of communications, or another channel, template or data.
    SendOtherwise,
    /// One of them failed, was skipped or waits.
    EndOtherwise,
    /// Other timers are set or cancelled.
    ScheduleOtherwise,
}

/// The customer, the timer, and when it was due.
type TimerName = (Option<String>, String, Option<Timestamp>);

#[derive(Debug, Default)]
struct Beside {
    campaign: Option<Decision>,
    shadow: Option<Decision>,
}

impl Comparison {
    /// Of a campaign and its shadow, by their names. So many differences are kept whole.
    #[must_use]
    pub fn new(campaign: &str, shadow: &str, differences_max: usize) -> Comparison {
        let side = |name: &str| Side { name: name.to_owned(), ..Side::default() };
        Comparison {
            campaign: side(campaign),
            shadow: side(shadow),
            compared: 0,
            alike: 0,
            only_shadow_sends: 0,
            only_campaign_sends: 0,
            send_otherwise: 0,
            end_otherwise: 0,
            schedule_otherwise: 0,
            unpaired: 0,
            passed_over: 0,
            differences: Vec::new(),
            differences_max,
            now: Beside::default(),
            timers: HashMap::new(),
            alone: Vec::new(),
            began: None,
        }
    }

    /// The next decision of either.
    pub fn add(&mut self, decision: Decision) {
        let is_shadow = decision.campaign == self.shadow.name;
        let side = if is_shadow { &mut self.shadow } else { &mut self.campaign };
        side.version.clone_from(&decision.version);
        side.decisions += 1;
        side.sends += u64::from(!decision.communications.is_empty());
        side.failed += u64::from(decision.decision == "failed");
        if is_shadow {
            self.began = Some(self.began.map_or(decision.at, |began| began.min(decision.at)));
        }
        if let Some(timer) = &decision.timer {
            let name = (decision.customer.clone(), timer.clone(), decision.due);
            if !self.timers.contains_key(&name) && self.timers.len() >= WAITING_MAX {
                self.passed_over += 1;
                return;
            }
            let beside = self.timers.entry(name.clone()).or_default();
            *beside.place(is_shadow) = Some(decision);
            if beside.is_whole() {
                let beside = self.timers.remove(&name).unwrap_or_default();
                self.compare(beside);
            }
            return;
        }
        if self.now.event() != Some(&decision.event_id) {
            let last = std::mem::take(&mut self.now);
            self.compare(last);
        }
        *self.now.place(is_shadow) = Some(decision);
    }

    /// All of them have been added.
    #[must_use]
    pub fn finish(mut self) -> Comparison {
        let last = std::mem::take(&mut self.now);
        self.compare(last);
        let mut timers: Vec<Beside> = std::mem::take(&mut self.timers).into_values().collect();
        timers.sort_by(|one, other| one.order().cmp(&other.order()));
        timers.into_iter().for_each(|timer| self.compare(timer));
        for decision in std::mem::take(&mut self.alone) {
            if self.began.is_none_or(|began| decision.at < began) {
                self.unpaired += 1;
            } else {
                self.differ(Difference { how: How::OnlyCampaignSends, campaign: Some(decision), shadow: None });
            }
        }
        self
    }

    fn compare(&mut self, beside: Beside) {
        match (beside.campaign, beside.shadow) {
            (None, None) => {}
            (Some(campaign), None) if campaign.communications.is_empty() => self.unpaired += 1,
            (Some(campaign), None) if self.alone.len() < WAITING_MAX => self.alone.push(campaign),
            (Some(_), None) => self.passed_over += 1,
            (None, Some(shadow)) if shadow.communications.is_empty() => {}
            (None, Some(shadow)) => {
                self.differ(Difference { how: How::OnlyShadowSends, campaign: None, shadow: Some(shadow) });
            }
            (Some(campaign), Some(shadow)) => {
                self.compared += 1;
                match how(&campaign, &shadow) {
                    None => self.alike += 1,
                    Some(how) => self.differ(Difference { how, campaign: Some(campaign), shadow: Some(shadow) }),
                }
            }
        }
    }

    fn differ(&mut self, difference: Difference) {
        let count = match difference.how {
            How::OnlyShadowSends => &mut self.only_shadow_sends,
            How::OnlyCampaignSends => &mut self.only_campaign_sends,
            How::SendOtherwise => &mut self.send_otherwise,
            How::EndOtherwise => &mut self.end_otherwise,
            How::ScheduleOtherwise => &mut self.schedule_otherwise,
        };
        *count += 1;
        if self.differences.len() < self.differences_max {
            self.differences.push(difference);
        }
    }
}

impl Beside {
    fn place(&mut self, is_shadow: bool) -> &mut Option<Decision> {
        if is_shadow { &mut self.shadow } else { &mut self.campaign }
    }

    fn is_whole(&self) -> bool {
        self.campaign.is_some() && self.shadow.is_some()
    }

    fn either(&self) -> Option<&Decision> {
        self.campaign.as_ref().or(self.shadow.as_ref())
    }

    fn event(&self) -> Option<&String> {
        self.either().map(|decision| &decision.event_id)
    }

    fn order(&self) -> Option<(Timestamp, &String)> {
        self.either().map(|decision| (decision.at, &decision.event_id))
    }
}

fn how(campaign: &Decision, shadow: &Decision) -> Option<How> {
    let (ours, theirs) = (&campaign.communications, &shadow.communications);
    if campaign.decision != shadow.decision {
        return Some(match (ours.is_empty(), theirs.is_empty()) {
            (true, false) => How::OnlyShadowSends,
            (false, true) => How::OnlyCampaignSends,
            _ => How::EndOtherwise,
        });
    }
    match (ours.is_empty(), theirs.is_empty()) {
        (true, false) => return Some(How::OnlyShadowSends),
        (false, true) => return Some(How::OnlyCampaignSends),
        _ => {}
    }
    let is_same = |(one, other): (&Sent, &Sent)| {
        // Before there was a shadow nobody asked what the data was.
        let has_same_data = one.data_hash == other.data_hash || one.data_hash == 0 || other.data_hash == 0;
        one.channel == other.channel && one.template == other.template && has_same_data
    };
    if ours.len() != theirs.len() || !ours.iter().zip(theirs).all(is_same) {
        return Some(How::SendOtherwise);
    }
    let timers = |decision: &Decision| {
        let mut timers = (decision.scheduled.clone(), decision.cancelled.clone());
        timers.0.sort();
        timers.1.sort();
        timers
    };
    (timers(campaign) != timers(shadow)).then_some(How::ScheduleOtherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(campaign: &str, event: &str, at: &str, sends: &[(&str, u64)]) -> Decision {
        let sent = |(template, data_hash): &(&str, u64)| Sent {
            channel: "push".into(),
            template: (*template).to_owned(),
            verdict: "passed".into(),
            id: None,
            data_hash: *data_hash,
        };
        Decision {
            at: format!("2026-03-01T{at}Z").parse().unwrap(),
            event_id: event.into(),
            customer: Some("c".into()),
            event_code: Some("OnPurchase".into()),
            timer: None,
            due: None,
            rule_set: 1,
            campaign: campaign.into(),
            version: "1".into(),
            decision: "answered".into(),
            reason: None,
            communications: sends.iter().map(sent).collect(),
            notes: Vec::new(),
            scheduled: Vec::new(),
            cancelled: Vec::new(),
            state_changed: false,
        }
    }

    fn compared(decisions: Vec<Decision>) -> Comparison {
        let mut comparison = Comparison::new("live", "next", 10);
        decisions.into_iter().for_each(|decision| comparison.add(decision));
        comparison.finish()
    }

    fn kinds(comparison: &Comparison) -> Vec<How> {
        comparison.differences.iter().map(|difference| difference.how).collect()
    }

    #[test]
    fn decisions_of_one_event_are_compared() {
        let at = "08:00:00";
        let comparison = compared(vec![
            decision("live", "1", at, &[("a", 7)]),
            decision("next", "1", at, &[("a", 7)]),
            decision("live", "2", at, &[]),
            decision("next", "2", at, &[("a", 7)]),
            decision("live", "3", at, &[("a", 7)]),
            decision("next", "3", at, &[("a", 8)]),
            decision("live", "4", at, &[("a", 7)]),
            decision("next", "4", at, &[]),
        ]);
        assert_eq!((comparison.compared, comparison.alike), (4, 1));
        assert_eq!(kinds(&comparison), [How::OnlyShadowSends, How::SendOtherwise, How::OnlyCampaignSends]);
        assert_eq!((comparison.campaign.sends, comparison.shadow.sends), (3, 3));
    }

    #[test]
    fn what_was_decided_before_there_was_a_shadow_is_no_difference() {
        let comparison = compared(vec![
            decision("live", "1", "08:00:00", &[("a", 0)]),
            decision("live", "2", "09:00:00", &[]),
            decision("next", "2", "09:00:00", &[]),
            decision("live", "3", "10:00:00", &[("a", 7)]),
        ]);
        assert_eq!((comparison.unpaired, comparison.alike), (1, 1));
        assert_eq!(kinds(&comparison), [How::OnlyCampaignSends]);
    }

    #[test]
    fn the_timers_of_both_meet_though_other_entries_are_between_them() {
        let timer = |campaign: &str, event: &str, sends: &[(&str, u64)]| {
            let decision = decision(campaign, event, "08:00:00", sends);
            Decision { timer: Some("nudge".into()), event_code: None, due: Some(decision.at), ..decision }
        };
        let comparison = compared(vec![
            timer("live", "t1", &[("a", 7)]),
            decision("live", "1", "08:00:00", &[]),
            decision("next", "1", "08:00:00", &[]),
            timer("next", "t2", &[("b", 7)]),
        ]);
        assert_eq!((comparison.compared, comparison.alike), (2, 1));
        assert_eq!(kinds(&comparison), [How::SendOtherwise]);
    }

    #[test]
    fn other_timers_and_failures_are_differences() {
        let at = "08:00:00";
        let comparison = compared(vec![
            Decision { scheduled: vec!["nudge".into()], ..decision("live", "1", at, &[]) },
            decision("next", "1", at, &[]),
            decision("live", "2", at, &[]),
            Decision { decision: "failed".into(), ..decision("next", "2", at, &[]) },
        ]);
        assert_eq!(kinds(&comparison), [How::ScheduleOtherwise, How::EndOtherwise]);
        assert_eq!(comparison.shadow.failed, 1);
    }
}
