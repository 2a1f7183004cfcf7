//! Rules propose, the host disposes: puts the communications that an event or timer led to before
//! the policies, in the order of their campaigns' priorities. What passes is encoded once; what is
//! deferred goes to the customer's row; the rest is suppressed with its reason.

use std::cmp::Reverse;
use std::sync::Arc;

use super::case::{Case, Proposal, Reason};
use super::decide::Decider;
use super::notice::Notice;
use crate::records::{Decided, DeferredRow, Outcome, Proposed, Released, Verdict};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_broker::communication::{Occasion, Proposal as Part};
use hailer_engine::{CampaignSpec, Mode, RuleSet};
use hailer_policies::{
    At, Candidate, Judge, PolicyRow, Reason as Why, Suppression, Verdict as Judged,
};

impl Decider {
    /// Judges what the rules proposed on a case.
    pub(super) fn dispose(&mut self, rules: &RuleSet, case: &mut Case) {
        if !case.proposals.is_empty() {
            self.dispose_all(rules, case);
        }
        if let Some(retry) = &mut case.retry {
            self.limits.quotas.give_back(retry.places.drain(..));
        }
    }

    fn dispose_all(&mut self, rules: &RuleSet, case: &mut Case) {
        let mut proposals = std::mem::take(&mut case.proposals);
        // A retry is judged by the time at which it is sent.
        let now = if case.retry.is_some() { self.now } else { case.now };
        let row = case.customer.and_then(|customer| self.rows.policy(customer));
        let environment = Arc::clone(&self.environment);
        let policies = rules.policies().map(|policies| &**policies);
        let mut judge = Judge::new(policies, &environment, now, row);
        if policies.is_some() {
            proposals.sort_by_cached_key(|proposal| {
                let name = rules.campaigns()[proposal.campaign].spec.acts_for();
                (Reverse(judge.priority(name)), Arc::clone(name), proposal.place)
            });
        }
        case.communications.reserve_exact(proposals.len());
        for proposal in proposals {
            let judgement = self.dispose_one(rules, case, &mut judge, now, &proposal);
            let proposed = proposed_of(case, &proposal);
            judgement.write(proposed);
        }
    }

    fn dispose_one(
        &mut self,
        rules: &RuleSet,
        case: &mut Case,
        judge: &mut Judge<'_>,
        now: Millis,
        proposal: &Proposal,
    ) -> Judgement {
        let Proposal { campaign: index, channel, .. } = *proposal;
        let spec = &rules.campaigns()[index].spec;
        let row = case.customer.and_then(|customer| self.rows.policy(customer));
        let mut judged = judge.judge(row, &candidate(case, spec, channel), At::Decision, now);
        let mut deferred = None;
        if let Judged::Defer { policy, until, discard_at } = &judged {
            let times = Times { due: *until, decided: now, discard_at: *discard_at };
            let message = deferred_row(case, spec, proposal, times, policy);
            let customer = case.customer.expect("only a customer with a key has a recipient");
            if self.rows.can_defer(customer, &message) && self.limits.deferrals.take() {
                deferred = Some((customer, message));
            } else {
                let policy = Some(policy.clone());
                judged = Judged::Suppress(Suppression { policy, ..Why::DeferralFull.into() });
            }
        }
        // Deferred messages take their place in the hour at the decision, too: otherwise the
        // releases of one morning would fill an hour.
        if !matches!(judged, Judged::Suppress(_)) && !self.take_place(case, spec, index) {
            judged = Judged::Suppress(Why::PerHourMax.into());
            self.limits.deferrals.give_back(u64::from(deferred.take().is_some()));
        }
        if let Some((customer, message)) = deferred {
            let policy = message.policy.clone();
            judge.deferred(&candidate(case, spec, channel));
            self.rows.defer(customer, message);
            case.deferred += 1;
            self.notices.push(Notice::Deferred { campaign: index, channel, policy });
        }
        match &judged {
            Judged::Suppress(Suppression { reason, policy, .. }) => {
                let (why, policy) = (*reason, policy.clone());
                self.notices.push(Notice::Suppressed { campaign: index, channel, why, policy });
            }
            Judged::Defer { .. } => {}
            Judged::Pass => {
                self.note_sent(rules, judge, &candidate(case, spec, channel));
                self.notices.push(Notice::Passed { campaign: index, channel });
                return Judgement::sent(self.send(case, spec, proposal));
            }
        }
        Judgement::of(judged)
    }

    /// Takes a place among the messages that the campaign may send in this hour; false if the hour
    /// is full. A retry has reserved its places.
    fn take_place(&mut self, case: &mut Case, spec: &CampaignSpec, index: usize) -> bool {
        let Some(max) = spec.per_hour_max else { return true };
        let reserved = case.retry.as_mut().and_then(|retry| retry.places.pop());
        let taken = reserved.unwrap_or_else(|| {
            self.limits.quotas.take(spec.acts_for(), max, case.now, self.rule_set)
        });
        let has_room = taken.has_room;
        if !has_room {
            self.notices.push(Notice::HourFull { campaign: index, max });
        }
        self.taken.push(taken);
        has_room
    }

    /// Encodes a communication that passed; returns its id.
    fn send(&mut self, case: &mut Case, spec: &CampaignSpec, proposal: &Proposal) -> Box<str> {
        let recipient = case.recipient().expect("only what has a recipient is sent");
        // A `now` that is no date was refused when the event was accepted.
        let occasion =
            || Occasion::new(case.id, case.sent_for(), recipient, case.now).expect("a date");
        let occasion = case.occasion.get_or_init(|| Box::new(occasion()));
        let sender = self.senders.of(proposal.campaign, spec, &self.environment);
        let template = &proposed_of_ref(&case.outcomes, proposal).template;
        let Proposal { place, channel, data, .. } = proposal;
        let part = Part { index: *place, channel: *channel, template, data };
        let communication = sender.send(occasion, part);
        let id = communication.id.clone();
        case.communications.push(communication);
        id
    }

    /// Counts a message that is sent towards caps and the slots of its event.
    pub(super) fn note_sent(
        &mut self,
        rules: &RuleSet,
        judge: &mut Judge<'_>,
        candidate: &Candidate<'_>,
    ) {
        let counts = rules.policies().is_some_and(|policies| !policies.caps.is_empty());
        let row = candidate.customer.filter(|_| counts);
        match row.and_then(|customer| self.rows.policy_mut(customer)) {
            Some(row) => judge.sent(row, candidate),
            None => judge.sent(&mut PolicyRow::default(), candidate),
        }
    }
}

/// What the journal says of a judged communication.
pub(super) struct Judgement {
    /// The communication's id; empty if it is not sent.
    id: Box<str>,
    verdict: Verdict,
    policy: Option<Box<str>>,
    detail: Option<Box<str>>,
}

impl Judgement {
    /// A communication that is sent under this id.
    pub(super) fn sent(id: Box<str>) -> Judgement {
        Judgement { id, verdict: Verdict::Passed, policy: None, detail: None }
    }

    pub(super) fn of(judged: Judged) -> Judgement {
        let (verdict, policy, detail) = match judged {
            Judged::Pass => (Verdict::Passed, None, None),
            Judged::Defer { policy, until, .. } => {
                (Verdict::Deferred { until }, Some(policy), None)
            }
            Judged::Suppress(Suppression { reason, policy, detail }) => {
                (Verdict::Suppressed(reason.name().into()), policy, detail)
            }
        };
        Judgement { id: "".into(), verdict, policy, detail }
    }

    fn write(self, proposed: &mut Proposed) {
        let Judgement { id, verdict, policy, detail } = self;
        (proposed.id, proposed.verdict) = (id, verdict);
        (proposed.policy, proposed.detail) = (policy, detail);
    }
}

/// A message that a campaign proposes, as it is judged.
fn candidate<'a>(case: &'a Case, spec: &'a CampaignSpec, channel: Channel) -> Candidate<'a> {
    Candidate {
        campaign: spec.acts_for(),
        channel,
        is_live: spec.mode == Mode::Live,
        recipient: case.recipient(),
        customer: case.customer,
        event: case.id,
    }
}

/// The times of a deferred message.
struct Times {
    due: Millis,
    decided: Millis,
    discard_at: Millis,
}

/// A message that `policy` defers.
fn deferred_row(
    case: &Case,
    spec: &CampaignSpec,
    proposal: &Proposal,
    Times { due, decided, discard_at }: Times,
    policy: &str,
) -> DeferredRow {
    let recipient = case.recipient().expect("only what has a recipient is deferred");
    DeferredRow {
        due,
        decided,
        discard_at,
        event: case.id,
        name: case.name().into(),
        is_timer: matches!(case.reason, Reason::Timer { .. }),
        campaign: Arc::clone(spec.acts_for()),
        place: proposal.place,
        channel: proposal.channel,
        template: proposed_of_ref(&case.outcomes, proposal).template.clone(),
        data: proposal.data.clone(),
        policy: policy.into(),
        recipient: recipient.clone(),
    }
}

/// The outcome of a deferred message that was judged again. `version` is the campaign's; "" if the
/// campaign is not there.
pub(super) fn released(message: &DeferredRow, version: &str, judgement: Judgement) -> Outcome {
    let mut communication = Proposed {
        id: "".into(),
        channel: message.channel as u8,
        template: message.template.clone(),
        verdict: Verdict::Passed,
        data_hash: 0,
        policy: None,
        detail: None,
    };
    judgement.write(&mut communication);
    let (event, decided) = (message.event, message.decided);
    let communications = vec![Released { event, decided, communication }];
    Outcome {
        campaign: Arc::clone(&message.campaign),
        version: version.into(),
        decided: Decided::Released { communications },
    }
}

fn proposed_of<'a>(case: &'a mut Case, proposal: &Proposal) -> &'a mut Proposed {
    let Decided::Answered { communications, .. } = &mut case.outcomes[proposal.outcome].decided
    else {
        unreachable!("a proposal belongs to an answer")
    };
    &mut communications[proposal.place as usize]
}

fn proposed_of_ref<'a>(outcomes: &'a [Outcome], proposal: &Proposal) -> &'a Proposed {
    let Decided::Answered { communications, .. } = &outcomes[proposal.outcome].decided else {
        unreachable!("a proposal belongs to an answer")
    };
    &communications[proposal.place as usize]
}
