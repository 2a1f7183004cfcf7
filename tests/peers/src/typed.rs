//! An event as the rule's own struct reads it: used by the rule by hand, and by contenders that get
//! only a few fields.

use hailer::communication::Communication;
use hailer_peers_purchase::{CODE, Purchase};

use crate::compose::{Composer, customer};
use crate::messages::Message;
use crate::workload::Rule;

pub(crate) struct TypedEvent<'a> {
    pub(crate) purchase: Purchase<'a>,
    pub(crate) composer: Composer,
}

impl<'a> TypedEvent<'a> {
    /// `None` if the event has another code: rules are selected by the code that they handle.
    pub(crate) fn read(message: &'a Message) -> Option<TypedEvent<'a>> {
        let purchase = Purchase::read(&message.body).unwrap();
        if purchase.event_code != CODE {
            return None;
        }
        let composer = Composer::new(message, customer(&purchase.customer_info));
        Some(TypedEvent { purchase, composer })
    }

    pub(crate) fn amount(&self) -> f64 {
        self.purchase.purchase_operation_info.purchase_data.amount
    }

    pub(crate) fn brand(&self) -> &'a str {
        self.purchase.purchase_operation_info.brand_id
    }

    pub(crate) fn is_refund(&self) -> bool {
        self.purchase.purchase_operation_info.purchase_data.is_refund
    }

    pub(crate) fn send(&self, rule: &Rule) -> Communication {
        self.composer.send_data(rule, &self.purchase.data())
    }
}
