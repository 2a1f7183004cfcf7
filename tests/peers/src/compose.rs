//! From a decision to a communication's bytes, for all but Hailer, which does it itself: by Hailer's own function, so that nobody is faster
//! because they write less. What the communications of a rule, or of an event, have in common is written once for everybody, too.

use std::cell::OnceCell;

use hailer::communication::{Cause, Communication, Occasion, Proposal};
use hailer::event::{Customer, EventId};
use hailer_abi::wire::Channel;
use hailer_peers_purchase::{CODE, CustomerInfo, Data};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::messages::Message;
use crate::workload::Rule;

/// As long as those that Hailer gives.
pub(crate) const VERSION: &str = "0.0.0+00000000";
pub(crate) const ENVIRONMENT: &str = "peers";

/// An event whose communications are to be written.
pub(crate) struct Composer {
    event_id: EventId,
    recipient: Customer,
    now: i64,
    /// From the first communication on.
    occasion: OnceCell<Occasion>,
}

impl Composer {
    /// The event's id is one hash of the message's, where Hailer hashes the whole message.
    pub(crate) fn new(message: &Message, recipient: Customer) -> Composer {
        let event_id = EventId::of_timer(EventId::NONE, &message.id, "", 0);
        Composer { event_id, recipient, now: message.now, occasion: OnceCell::new() }
    }

    /// What a rule that fired sends, with data that are written already.
    pub(crate) fn send(&self, rule: &Rule, data: &str) -> Communication {
        let cause = Cause::Event { code: CODE };
        let occasion = || Occasion::new(self.event_id, cause, &self.recipient, self.now).unwrap();
        let proposal = Proposal { index: 0, channel: Channel::Push, template: &rule.template, data };
        rule.sender.send(self.occasion.get_or_init(occasion), proposal)
    }

    /// What a rule that fired sends.
    pub(crate) fn send_data(&self, rule: &Rule, data: &Data<'_>) -> Communication {
        self.send(rule, &serde_json::to_string(data).unwrap())
    }
}

pub(crate) fn customer(info: &CustomerInfo<'_>) -> Customer {
    Customer {
        customer_id: Some(info.customer_id.to_string().into()),
        account_group_id: Some(info.account_group_id.into()),
        customer_uid: Some(info.customer_uid.into()),
        ..Customer::default()
    }
}

/// What a guest answers with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    customer_info: CustomerInfo<'a>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What a guest's answer sends.
pub(crate) fn send_answer(message: &Message, rule: &Rule, answer: &[u8]) -> Communication {
    let Answer { customer_info, data } = serde_json::from_slice(answer).unwrap();
    Composer::new(message, customer(&customer_info)).send(rule, data.get())
}
