//! Checks that all contenders give the same answer: before the measurements, each contender's
//! communications for all variants are compared with those of the rule by hand.

use hailer::communication::Communication;
use serde_json::{Value, json};

use crate::contenders::Contender;
use crate::messages::{Stream, VARIANTS};
use crate::workload::Workload;

/// The communications of a contender for every variant, without the parts that must differ.
pub(crate) fn sends(contender: &mut dyn Contender, workload: &Workload) -> Vec<Value> {
    let mut sent = Vec::new();
    contender.decide(&Stream::new().next(VARIANTS), &mut sent);
    let name = contender.name();
    let expected = VARIANTS * workload.fires;
    assert_eq!(sent.len(), expected, "{}: the communications of {name}", workload.name);
    sent.iter().map(as_json).collect()
}

/// The recipient, the message and its cause; amounts as numbers, however they are written.
fn as_json(communication: &Communication) -> Value {
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
