//! What an event says about its customer to the policies: a consent, a time zone, or that deferred
//! messages are out of date.

use super::case::{Case, Reason};
use super::decide::Decider;
use super::notice::{ConsentSource, Notice};
use crate::records::DeferredRow;
use hailer_base::clock::Millis;
use hailer_engine::RuleSet;
use hailer_event::{CustomerKey, Event, EventId};
use hailer_policies::{
    ConsentSource as Source, Policies, Reason as Why, Room, SubscriptionChange, ZoneChange,
};

impl Decider {
    /// Takes what an event says about the customer's consent and time zone, and cancels deferred
    /// messages. That comes before the policies judge what rules propose on the event. Whether a
    /// rule takes the event makes no difference.
    pub(super) fn take_statements(&mut self, rules: &RuleSet, case: &mut Case) {
        let (Some(policies), Some(customer)) = (rules.policies(), case.customer) else { return };
        let Reason::Event { event, .. } = &case.reason else { return };
        if case.retry.is_some() || !case.reads_row(rules) {
            return;
        }
        self.take_consent(policies, customer, event, case.id, case.now);
        self.take_zone(policies, customer, event);
        if self.rows.row(customer).is_some_and(|row| !row.deferred.is_empty()) {
            let code: Box<str> = event.code().into();
            self.cancel(policies, &code, customer, case);
        }
    }

    fn take_consent(
        &mut self,
        policies: &Policies,
        customer: CustomerKey,
        event: &Event,
        id: EventId,
        now: Millis,
    ) {
        let Some(consent) = &policies.consent else { return };
        if event.code() != SubscriptionChange::EVENT {
            return;
        }
        let Some(read) = SubscriptionChange::read(event.raw()) else { return };
        let change = match read {
            Ok(change) => change,
            Err(unusable) => {
                let what = unusable.to_string().into();
                return self.notices.push(Notice::StatementUnusable { event: id, what });
            }
        };
        if !change.unusable.is_empty() {
            let what = format!("`{}` cannot be used", change.unusable.join("`, `")).into();
            self.notices.push(Notice::StatementUnusable { event: id, what });
        }
        if change.channels.iter().all(Option::is_none) {
            return;
        }
        let Some(row) = self.rows.policy_mut(customer) else { return };
        let room = row.change(consent, &change, now, Source::Event(id));
        if room != Room::Missing {
            self.notices.push(Notice::ConsentChanged { source: ConsentSource::Event });
        }
        let what = match room {
            Room::Enough => return,
            Room::Made => {
                "the refusal is recorded, and the oldest yes to another subscription is forgotten: \
                 the customer has consents for as many subscriptions as may be kept"
            }
            Room::Missing => "the customer has consents for as many subscriptions as may be kept",
        };
        self.notices.push(Notice::StatementUnusable { event: id, what: what.into() });
    }

    fn take_zone(&mut self, policies: &Policies, customer: CustomerKey, event: &Event) {
        let Some(attribute) = &policies.zone_attribute else { return };
        if event.code() != ZoneChange::EVENT {
            return;
        }
        let Some(change) = ZoneChange::read(event.raw(), attribute) else { return };
        if change.is_unusable {
            self.notices.push(Notice::ZoneUnusable);
        }
        let is_known = self.rows.policy(customer).is_none_or(|row| row.zone == change.zone);
        if let Some(row) = self.rows.policy_mut(customer).filter(|_| !is_known) {
            row.set_zone(&change);
        }
    }

    /// Drops the deferred messages of campaigns that an event with this code cancels.
    fn cancel(&mut self, policies: &Policies, code: &str, customer: CustomerKey, case: &mut Case) {
        let is_cancelled =
            |message: &DeferredRow| policies.campaign(&message.campaign).is_cancelled_by(code);
        for message in self.rows.take_deferred(customer, is_cancelled) {
            self.undefer(case, &message, "", Why::Cancelled.into());
        }
    }
}
