//! That nobody measures another answer: before anything is measured, each contender's communications for all variants are compared with those
//! of the rule by hand.

use hailer::communication::Communication;
use serde_json::{Value, json};

use crate::contenders::Contender;
use crate::messages::{Stream, VARIANTS};
use crate::workload::Workload;

/// What a contender sends for every variant, without what has to differ.
pub(crate) fn sends(contender: &mut dyn Contender, workload: &Workload) -> Vec<Value> {
    let mut sent = Vec::new();
    contender.decide(&Stream::new().next(VARIANTS), &mut sent);
    let name = contender.name();
    assert_eq!(sent.len(), VARIANTS * workload.fires, "{}: what {name} sends", workload.name);
    sent.iter().map(told).collect()
}

/// Whom, what and why; amounts as numbers, however they are written.
fn told(communication: &Communication) -> Value {
    let body: Value = serde_json::from_slice(&communication.body).unwrap();
    let data = body["data"].as_object().unwrap();
    assert_eq!(data.len(), 2, "{data:?}");
    json!({
        "channel": body["channel"],
        "campaign": body["campaign"],
        "template": body["template"],
        "recipient": body["recipient"],
        "eventCode": body["cause"]["eventCode"],
        "createdAt": body["createdAt"],
        "amount": data["amount"].as_f64().unwrap(),
        "cheque": data["cheque"],
    })
}
