//! What it costs to take an event in: reading and projecting the source's purchase, next to `serde_json` decoding the same body into a struct of
//! the same three fields. The two take turns in every round, so that whatever slows the machine slows both, and the ratio holds.
//!
//! `serde_json` is given every advantage: it borrows its strings, takes the amount as a float, and neither checks the encoding of
//! what it skips nor looks for the customer.

#![expect(clippy::print_stdout, reason = "a benchmark's output is for whoever runs it")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hailer::event::{Event, PlanBuilder, Projection};
use hailer_abi::manifest::{Field, FieldKind};
use serde::Deserialize;

const PURCHASE: &str = include_str!("../../guest-sdk/abi/events/OnPurchaseConfirm.json");

const ROUNDS: usize = 61;
const ROUND: Duration = Duration::from_millis(10);

fn main() {
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
    let ratio = compare("read and project", &mut read_and_project, "serde_json, three fields", &mut { decode });
    println!("ratio: {ratio}");

    let mut other_projection = Projection::new();
    let mut project = || plan.project(black_box(&event), &mut other_projection);
    let mut key = || {
        black_box(event.dedup_key(None, None));
    };
    compare("project alone", &mut project, "deduplication key alone", &mut key);
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
        Err(error) => panic!("the source's purchase is an event: {error}"),
    }
}

fn decoded<'a, T: Deserialize<'a>>(body: &'a [u8]) -> T {
    match serde_json::from_slice(black_box(body)) {
        Ok(value) => value,
        Err(error) => panic!("the source's purchase is json: {error}"),
    }
}

/// Measures two things in turn, prints both, and returns the first as a multiple of the second.
fn compare(name: &str, first: &mut dyn FnMut(), other_name: &str, second: &mut dyn FnMut()) -> Spread {
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

/// How often something runs in a round; warms it up as well.
fn turns_of(work: &mut dyn FnMut()) -> u32 {
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < ROUND * 10 {
        work();
        turns += 1;
    }
    turns / 10 + 1
}

/// Nanoseconds a turn.
fn time(work: &mut dyn FnMut(), turns: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..turns {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(turns)
}

/// The median of all rounds, and what the middle half of them lies between.
struct Spread {
    quarter: f64,
    median: f64,
    three_quarters: f64,
}

impl Spread {
    fn of(mut rounds: Vec<f64>) -> Spread {
        rounds.sort_by(f64::total_cmp);
        let at = |share: f64| rounds[(rounds.len() as f64 * share) as usize];
        Spread { quarter: at(0.25), median: at(0.5), three_quarters: at(0.75) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.median < 10.0 { 3 } else { 0 };
        let Self { quarter, median, three_quarters } = self;
        write!(formatter, "{median:.digits$} ({quarter:.digits$} … {three_quarters:.digits$})")
    }
}
