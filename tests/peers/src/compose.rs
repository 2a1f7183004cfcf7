//! Writes the bytes of the communications for all contenders except Hailer, which does it itself.
//! It uses Hailer's own function, so no contender is faster because it writes less. The parts that
//! the communications of a rule or of an event share are also written only once for all.

use std::cell::OnceCell;

use hailer::communication::{Cause, Communication, Occasion, Proposal};
use hailer::event::{Customer, EventId};
use hailer_abi::wire::Channel;
use hailer_peers_purchase::{CODE, CustomerInfo, Data};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::messages::Message;
use crate::workload::Rule;

/// The version of every rule, as long as Hailer's.
pub(crate) const VERSION: &str = "0.0.0+00000000";
pub(crate) const ENVIRONMENT: &str = "peers";

/// An event and the parts that its communications share.
pub(crate) struct Composer {
    event_id: EventId,
    recipient: Customer,
    now: i64,
    /// Set by the first communication.
    occasion: OnceCell<Occasion>,
}

impl Composer {
    /// The event's id is a hash of the message id; Hailer hashes the whole message.
    pub(crate) fn new(message: &Message, recipient: Customer) -> Composer {
        let event_id = EventId::of_timer(EventId::NONE, &message.id, "", 0);
        Composer { event_id, recipient, now: message.now, occasion: OnceCell::new() }
    }

    /// The communication of a rule that fired, with data that are written already.
    pub(crate) fn send(&self, rule: &Rule, data: &str) -> Communication {
        let cause = Cause::Event { code: CODE };
        let occasion = || Occasion::new(self.event_id, cause, &self.recipient, self.now).unwrap();
        let proposal =
            Proposal { index: 0, channel: Channel::Push, template: &rule.template, data };
        rule.sender.send(self.occasion.get_or_init(occasion), proposal)
    }

    /// The communication of a rule that fired.
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

/// The answer of a guest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    customer_info: CustomerInfo<'a>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The communication of a guest's answer.
pub(crate) fn send_answer(message: &Message, rule: &Rule, answer: &[u8]) -> Communication {
    let Answer { customer_info, data } = serde_json::from_slice(answer).unwrap();
    Composer::new(message, customer(&customer_info)).send(rule, data.get())
}
