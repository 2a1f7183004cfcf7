//! The cost of reading and projecting the source's purchase, compared with `serde_json`, which
//! decodes the same body into a struct of the same three fields. The two take turns in every round.
//! So anything that slows the machine slows both, and the ratio is stable.
//!
//! `serde_json` has every advantage: it borrows its strings, reads the amount as a float, does not
//! check the encoding of skipped values, and does not read the customer.

use std::hint::black_box;

use crate::marks::{Against, mark};
use crate::timing::{ROUNDS, Spread, time, turns_of};
use bytes::Bytes;
use hailer::event::{Event, PlanBuilder, Projection};
use hailer_abi::manifest::{Field, FieldKind};
use serde::Deserialize;

const PURCHASE: &str = include_str!("../../../guest-sdk/abi/events/OnPurchaseConfirm.json");

pub(crate) fn run() {
    let mut builder = PlanBuilder::new();
    for (name, kind, path) in [
        ("amount", FieldKind::Decimal, "/purchaseOperationInfo/purchaseData/amount"),
        ("cheque_number", FieldKind::Str, "/purchaseOperationInfo/purchaseData/chequeNumber"),
        ("brand_id", FieldKind::Id, "/purchaseOperationInfo/brandId"),
    ] {
        builder.add(&field(name, kind, path));
    }
    let plan = builder.build();
    let body = Bytes::from_static(PURCHASE.as_bytes());
    let event = read(&body);
    let mut projection = Projection::new();

    let mut read_and_project = || {
        let event = read(&body);
        plan.project(&event, &mut projection);
        black_box(&projection);
    };
    let decode = || {
        let purchase: Purchase<'_> = decoded(body.as_ref());
        black_box(&purchase);
    };
    let ratio =
        compare("read and project", &mut read_and_project, "serde_json, three fields", &mut {
            decode
        });
    let beside = format!(
        "of a serde_json decode into a struct of the three; middle half of the rounds {ratio}"
    );
    mark(
        "envelope and projection of three fields",
        ratio.median(),
        Against::AtMost(1.6),
        "",
        &beside,
    );

    let mut other_projection = Projection::new();
    let mut project = || plan.project(black_box(&event), &mut other_projection);
    let mut key = || {
        black_box(event.dedup_key(None, None));
    };
    compare("project alone", &mut project, "deduplication key alone", &mut key);
    let mut key_with_id = || {
        black_box(event.dedup_key(Some("0f0c4b2d7b6e4a51"), None));
    };
    let with_id = "deduplication key of a message with an id (hashes the canonical form)";
    compare(with_id, &mut key_with_id, "deduplication key alone", &mut key);
    let mut read_alone = || {
        black_box(read(&body));
    };
    let mut value = || {
        let value: serde_json::Value = decoded(body.as_ref());
        black_box(value);
    };
    compare("read alone", &mut read_alone, "serde_json::Value", &mut value);
}

#[expect(dead_code, reason = "decoding them is what is measured")]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Purchase<'a> {
    #[serde(borrow)]
    purchase_operation_info: OperationInfo<'a>,
}

#[expect(dead_code, reason = "decoding them is what is measured")]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OperationInfo<'a> {
    brand_id: &'a str,
    #[serde(borrow)]
    purchase_data: PurchaseData<'a>,
}

#[expect(dead_code, reason = "decoding them is what is measured")]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PurchaseData<'a> {
    cheque_number: &'a str,
    amount: f64,
}

fn field(name: &str, kind: FieldKind, path: &str) -> Field {
    let paths = vec![path.to_owned()];
    Field { name: name.to_owned(), kind, paths, required: false, personal: false, of: Vec::new() }
}

fn read(body: &Bytes) -> Event {
    match Event::read(black_box(body).clone()) {
        Ok(event) => event,
        Err(error) => panic!("cannot read the source's purchase: {error}"),
    }
}

fn decoded<'a, T: Deserialize<'a>>(body: &'a [u8]) -> T {
    match serde_json::from_slice(black_box(body)) {
        Ok(value) => value,
        Err(error) => panic!("cannot decode the source's purchase: {error}"),
    }
}

/// Measures two functions in turn, prints both times, and returns the ratio of the first to the
/// second.
fn compare(
    name: &str,
    first: &mut dyn FnMut(),
    other_name: &str,
    second: &mut dyn FnMut(),
) -> Spread {
    let (first_turns, second_turns) = (turns_of(first), turns_of(second));
    let (mut first_ns, mut second_ns, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (time(first, first_turns), time(second, second_turns));
        first_ns.push(a);
        second_ns.push(b);
        ratios.push(a / b);
    }
    println!("{name}: {} ns an event", Spread::of(first_ns));
    println!("{other_name}: {} ns an event", Spread::of(second_ns));
    Spread::of(ratios)
}
