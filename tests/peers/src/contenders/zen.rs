//! zen-engine 2.1 (GoRules), used as its documentation recommends: a decision table, its form of
//! many rules ("Pure decision tables and expression nodes" are the fast ones in "Performance"),
//! with the hit policy `collect`, compiled before (`Decision::compile`; "Pre-compile decisions"),
//! which also indexes its columns. One table holds all rules of a workload, so the engine reads an
//! event once; the table returns the numbers of the rules that fired. Zen's own `Variable` parses
//! the event, without a conversion from `serde_json::Value`.
//!
//! In a variant the engine gets three fields, read by the rule's own struct as by hand, in place of
//! the event. `zen_expression.rs` is its language without the engine.

use std::borrow::Cow;
use std::sync::Arc;

use hailer::communication::Communication;
use hailer::event::Customer;
use hailer_peers_purchase::{CODE, Data};
use serde_json::json;
use tokio::runtime::Runtime;
use zen_engine::Decision;
use zen_engine::model::{DecisionContent, GraphContent};
use zen_expression::Variable;
use zen_expression::variable::VariableMap;

use super::{Contender, ZEN};
use crate::compose::Composer;
use crate::messages::{BRAND, Message};
use crate::typed::TypedEvent;
use crate::workload::{Rule, Workload};

pub(super) struct Zen<'a> {
    way: Way,
    workload: &'a Workload,
    decision: Decision,
    runtime: Runtime,
}

#[derive(Clone, Copy)]
pub(super) enum Way {
    Document,
    Fields,
}

impl<'a> Zen<'a> {
    pub(super) fn new(workload: &'a Workload, way: Way) -> Zen<'a> {
        let mut decision = Decision::from(table(&workload.rules, way));
        decision.compile();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Zen { way, workload, decision, runtime }
    }
}

fn table(rules: &[Rule], way: Way) -> Arc<GraphContent> {
    let row = |(number, rule): (usize, &Rule)| {
        json!({
            "_id": format!("row-{number}"),
            "amount": format!(">= {}", rule.threshold),
            "brand": format!("'{BRAND}'"),
            "refund": "null, false",
            "rule": number.to_string(),
        })
    };
    let [amount, brand, refund] = way.fields();
    let content = json!({
        "hitPolicy": "collect",
        "inputs": [
            { "id": "amount", "name": "Amount", "field": amount },
            { "id": "brand", "name": "Brand", "field": brand },
            { "id": "refund", "name": "Refund", "field": refund },
        ],
        "outputs": [{ "id": "rule", "name": "Rule", "field": "rule" }],
        "rules": rules.iter().enumerate().map(row).collect::<Vec<_>>(),
    });
    let graph = json!({
        "nodes": [
            { "id": "in", "name": "event", "type": "inputNode", "content": {} },
            { "id": "table", "name": "rules", "type": "decisionTableNode", "content": content },
            { "id": "out", "name": "fired", "type": "outputNode", "content": {} },
        ],
        "edges": [
            { "id": "1", "sourceId": "in", "targetId": "table" },
            { "id": "2", "sourceId": "table", "targetId": "out" },
        ],
    });
    match serde_json::from_value(graph).unwrap() {
        DecisionContent::Graph(graph) => graph,
        DecisionContent::Policy(_) => panic!("a graph is not a policy"),
    }
}

impl Way {
    /// The paths of the amount, the brand, and the refund flag.
    pub(super) fn fields(self) -> [&'static str; 3] {
        match self {
            Way::Document => [
                "purchaseOperationInfo.purchaseData.amount",
                "purchaseOperationInfo.brandId",
                "purchaseOperationInfo.purchaseData.isRefund",
            ],
            Way::Fields => ["amount", "brand", "refund"],
        }
    }

    /// `None` if the event has another code: rules are selected by the code that they handle.
    pub(super) fn read(self, message: &Message) -> Option<Event<'_>> {
        match self {
            Way::Document => Event::of_document(message),
            Way::Fields => Event::of_fields(message),
        }
    }
}

/// An event as zen gets it, and the fields that the program itself reads.
pub(super) struct Event<'a> {
    pub(super) variable: Variable,
    composer: Composer,
    amount: f64,
    cheque: Cow<'a, str>,
}

impl Event<'_> {
    fn of_document(message: &Message) -> Option<Event<'_>> {
        let variable: Variable = serde_json::from_slice(&message.body).unwrap();
        if variable.dot("eventCode")?.as_str() != Some(CODE) {
            return None;
        }
        let (info, purchase) =
            (variable.dot("customerInfo")?, variable.dot("purchaseOperationInfo.purchaseData")?);
        let text = |name: &str| info.dot(name).and_then(|id| id.as_str().map(Into::into));
        let customer = Customer {
            customer_id: info
                .dot("customerId")
                .and_then(|id| Some(id.as_number()?.to_string().into())),
            account_group_id: text("accountfroupId"),
            customer_uid: text("customerUid"),
            ..Customer::default()
        };
        let amount = purchase.dot("amount")?.as_number()?.try_into().unwrap();
        let cheque = Cow::Owned(purchase.dot("chequeNumber")?.as_str()?.to_owned());
        Some(Event { variable, composer: Composer::new(message, customer), amount, cheque })
    }

    fn of_fields(message: &Message) -> Option<Event<'_>> {
        let TypedEvent { purchase, composer } = TypedEvent::read(message)?;
        let Data { amount, cheque } = purchase.data();
        let operation = &purchase.purchase_operation_info;
        let mut fields = VariableMap::with_capacity(3);
        fields.insert(Variable::key("amount"), Variable::Number(amount.try_into().unwrap()));
        fields.insert(Variable::key("brand"), Variable::String(operation.brand_id.into()));
        fields.insert(Variable::key("refund"), Variable::Bool(operation.purchase_data.is_refund));
        Some(Event {
            variable: Variable::from_object(fields),
            composer,
            amount,
            cheque: Cow::Borrowed(cheque),
        })
    }

    pub(super) fn send(&self, rule: &Rule) -> Communication {
        self.composer.send_data(rule, &Data { amount: self.amount, cheque: &self.cheque })
    }
}

impl Contender for Zen<'_> {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Document => ZEN,
            Way::Fields => "zen-engine, three fields",
        }
    }

    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>) {
        let Zen { way, workload, decision, runtime } = self;
        runtime.block_on(async {
            for message in messages {
                let Some(event) = way.read(message) else { continue };
                let response = decision.evaluate(event.variable.shallow_clone()).await.unwrap();
                let fired = response.result.as_array().unwrap();
                for row in fired.borrow().iter() {
                    let number: u64 = row
                        .dot("rule")
                        .and_then(|rule| rule.as_number())
                        .unwrap()
                        .try_into()
                        .unwrap();
                    sent.push(event.send(&workload.rules[number as usize]));
                }
            }
        });
    }
}
