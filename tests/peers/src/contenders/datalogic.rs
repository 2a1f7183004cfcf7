//! datalogic-rs 5.4 (JSONLogic), used as its README recommends for many rules and one payload.
//! Rules are compiled once (`Engine::compile`). Its own parser reads the event into an arena that
//! is reset after each event. Each rule is evaluated against that tree by reference ("Tier 3", the
//! input `&'a DataValue<'a>`: "zero, pass-through"). Nothing is copied: texts borrow from the body.
//! The rule is a condition, and the program reads the data of the message from the same tree.
//!
//! There are two variants: a rule that also makes the data (the README's templating), and a
//! condition that gets three fields, read by the rule's own struct as by hand, in place of the
//! event.

use datalogic_rs::bumpalo::Bump;
use datalogic_rs::{DataValue, Engine, Logic};
use hailer::communication::Communication;
use hailer::event::Customer;
use hailer_peers_purchase::{CODE, Data};
use serde_json::{Value, json};

use super::{Contender, DATALOGIC};
use crate::compose::Composer;
use crate::messages::{BRAND, Message};
use crate::typed::TypedEvent;
use crate::workload::{Rule, Workload};

pub(super) struct Datalogic<'a> {
    way: Way,
    workload: &'a Workload,
    engine: Engine,
    rules: Vec<Logic>,
    arena: Bump,
}

#[derive(Clone, Copy)]
pub(super) enum Way {
    Document,
    Templates,
    Fields,
}

const AMOUNT: &str = "purchaseOperationInfo.purchaseData.amount";
const BRAND_ID: &str = "purchaseOperationInfo.brandId";
const CHEQUE: &str = "purchaseOperationInfo.purchaseData.chequeNumber";
const IS_REFUND: &str = "purchaseOperationInfo.purchaseData.isRefund";

impl<'a> Datalogic<'a> {
    pub(super) fn new(workload: &'a Workload, way: Way) -> Datalogic<'a> {
        let engine = Engine::builder().with_templating(matches!(way, Way::Templates)).build();
        let compiled = |rule: &Rule| engine.compile(&way.logic(rule).to_string()).unwrap();
        let rules = workload.rules.iter().map(compiled).collect();
        Datalogic { way, workload, engine, rules, arena: Bump::new() }
    }

    fn decide_on_document(&self, message: &Message, sent: &mut Vec<Communication>) {
        let text = std::str::from_utf8(&message.body).unwrap();
        let event = &*self.arena.alloc(DataValue::from_str(text, &self.arena).unwrap());
        // Rules are selected by the code that they handle.
        if event["eventCode"].as_str() != Some(CODE) {
            return;
        }
        let composer = Composer::new(message, customer(&event["customerInfo"]));
        for (rule, told) in self.rules.iter().zip(&self.workload.rules) {
            let result = self.engine.evaluate(rule, event, &self.arena).unwrap();
            match result {
                DataValue::Bool(true) => sent.push(composer.send_data(told, &data(event))),
                DataValue::Object(_) => {
                    sent.push(composer.send(told, &result.to_string()));
                }
                _ => {}
            }
        }
    }

    fn decide_on_fields(&self, message: &Message, sent: &mut Vec<Communication>) {
        let Some(event) = TypedEvent::read(message) else { return };
        let fields = [
            ("amount", DataValue::from_f64(event.amount())),
            ("brand", DataValue::String(event.brand())),
            ("refund", DataValue::Bool(event.is_refund())),
        ];
        let fields = &*self.arena.alloc(DataValue::Object(self.arena.alloc_slice_copy(&fields)));
        for (rule, told) in self.rules.iter().zip(&self.workload.rules) {
            if self.engine.evaluate(rule, fields, &self.arena).unwrap().as_bool() == Some(true) {
                sent.push(event.send(told));
            }
        }
    }
}

impl Way {
    fn logic(self, rule: &Rule) -> Value {
        let condition = |amount, brand, refund| {
            json!({ "and": [
                { ">=": [{ "var": amount }, rule.threshold] },
                { "==": [{ "var": brand }, BRAND] },
                { "!": [{ "var": refund }] },
            ] })
        };
        match self {
            Way::Document => condition(AMOUNT, BRAND_ID, IS_REFUND),
            Way::Templates => {
                let data = json!({ "amount": { "var": AMOUNT }, "cheque": { "var": CHEQUE } });
                json!({ "if": [condition(AMOUNT, BRAND_ID, IS_REFUND), data, null] })
            }
            Way::Fields => condition("amount", "brand", "refund"),
        }
    }
}

fn customer(info: &DataValue<'_>) -> Customer {
    let text = |name: &str| info[name].as_str().map(Into::into);
    Customer {
        customer_id: info["customerId"].as_i64().map(|id| id.to_string().into()),
        account_group_id: text("accountfroupId"),
        customer_uid: text("customerUid"),
        ..Customer::default()
    }
}

fn data<'a>(event: &DataValue<'a>) -> Data<'a> {
    let purchase = &event["purchaseOperationInfo"]["purchaseData"];
    Data {
        amount: purchase["amount"].as_f64().unwrap(),
        cheque: purchase["chequeNumber"].as_str().unwrap(),
    }
}

impl Contender for Datalogic<'_> {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Document => DATALOGIC,
            Way::Templates => "datalogic-rs, with templates",
            Way::Fields => "datalogic-rs, three fields",
        }
    }

    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>) {
        for message in messages {
            self.arena.reset();
            match self.way {
                Way::Document | Way::Templates => self.decide_on_document(message, sent),
                Way::Fields => self.decide_on_fields(message, sent),
            }
        }
    }
}
