//! The cost of reading an event's bytes with the parsers that Hailer could use. Each reads the
//! event's code, its customer, and the three fields of the rule. Only Hailer keeps an index by
//! which another thread finds any other field later, and refuses a body that is invalid JSON
//! anywhere. A comment at each other parser says what it checks in the parts that it skips.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hailer::event::{Event, Plan, PlanBuilder, Projection, Slot};
use hailer_abi::manifest::{Field, FieldKind};
use hailer_abi::value::Value;
use hailer_peers_purchase::{CODE, Purchase};
use sonic_rs::{JsonValueTrait as _, PointerTree, pointer};

use crate::contenders::HAILER;
use crate::measure::{MESSAGES, Measured, ROUND, ROUNDS, WARM_UP};
use crate::messages::{Message, Stream};
use crate::timing::Spread;

pub(crate) const WORKLOAD: &str = "reading an event";

/// The fields that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Read {
    customer: u64,
    amount: f64,
    brand_bytes: usize,
    cheque: u64,
}

type Reader = Box<dyn FnMut(&Message) -> Read>;

fn all() -> Vec<(&'static str, Reader)> {
    vec![
        (HAILER, hailer()),
        // It checks everything except the encoding of skipped parts.
        (
            "serde_json, into a \
            struct",
            Box::new(|message| of_purchase(&Purchase::read(&message.body).unwrap())),
        ),
        ("serde_json, a tree", Box::new(of_serde_tree)),
        // It checks everything. It writes into the body, which must not happen to a delivery, so it
        // gets a copy.
        ("simd-json, into a struct", simd_json_struct()),
        ("simd-json, a tape", simd_json_tape()),
        // It checks everything, with the instructions of every x86-64: it selects others only at
        // compile time.
        (
            "sonic-rs, into a \
            struct",
            Box::new(|message| of_purchase(&sonic_rs::from_slice(&message.body).unwrap())),
        ),
        // It checks nothing in skipped parts, and allocates what it finds.
        ("sonic-rs, pointers", sonic_pointers()),
    ]
}

fn hailer() -> Reader {
    let (plan, [amount, brand, cheque]) = plan();
    let mut projection = Projection::new();
    Box::new(move |message| {
        let event = Event::read(message.body.clone()).unwrap();
        assert_eq!(event.code(), CODE);
        plan.project(&event, &mut projection);
        let text = |slot| match projection.get(slot).and_then(Value::read) {
            Some(Value::Text(text)) => text,
            other => panic!("a text: {other:?}"),
        };
        let Some(Value::Decimal(amount)) = projection.get(amount).and_then(Value::read) else {
            panic!("an amount")
        };
        let customer =
            event.customer().and_then(|customer| customer.customer_id.as_deref()).unwrap();
        Read {
            customer: customer.parse().unwrap(),
            // A decimal for the rule; converted to a float, so that it can be compared.
            amount: amount.mantissa() as f64 / 10_f64.powi(amount.scale() as i32),
            brand_bytes: text(brand).len(),
            cheque: std::str::from_utf8(text(cheque)).unwrap().parse().unwrap(),
        }
    })
}

fn plan() -> (Plan, [Slot; 3]) {
    let mut builder = PlanBuilder::new();
    let mut slot = |name: &str, kind, path: &str| {
        let (name, paths) = (name.to_owned(), vec![path.to_owned()]);
        builder.add(&Field { name, kind, paths, required: true, personal: false, of: Vec::new() })
    };
    let slots = [
        slot("amount", FieldKind::Decimal, "/purchaseOperationInfo/purchaseData/amount"),
        slot("brand", FieldKind::Str, "/purchaseOperationInfo/brandId"),
        slot("cheque", FieldKind::Str, "/purchaseOperationInfo/purchaseData/chequeNumber"),
    ];
    (builder.build(), slots)
}

fn of_purchase(purchase: &Purchase<'_>) -> Read {
    assert_eq!(purchase.event_code, CODE);
    let operation = &purchase.purchase_operation_info;
    Read {
        customer: purchase.customer_info.customer_id,
        amount: operation.purchase_data.amount,
        brand_bytes: operation.brand_id.len(),
        cheque: operation.purchase_data.cheque_number.parse().unwrap(),
    }
}

fn of_serde_tree(message: &Message) -> Read {
    let event: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(event["eventCode"], CODE);
    let operation = &event["purchaseOperationInfo"];
    let purchase = &operation["purchaseData"];
    Read {
        customer: event["customerInfo"]["customerId"].as_u64().unwrap(),
        amount: purchase["amount"].as_f64().unwrap(),
        brand_bytes: operation["brandId"].as_str().unwrap().len(),
        cheque: purchase["chequeNumber"].as_str().unwrap().parse().unwrap(),
    }
}

fn simd_json_struct() -> Reader {
    let (mut buffers, mut body) = (simd_json::Buffers::new(4096), Vec::new());
    Box::new(move |message| {
        body.clear();
        body.extend_from_slice(&message.body);
        of_purchase(&simd_json::serde::from_slice_with_buffers(&mut body, &mut buffers).unwrap())
    })
}

fn simd_json_tape() -> Reader {
    use simd_json::prelude::ValueAsScalar as _;
    let mut body = Vec::new();
    Box::new(move |message| {
        body.clear();
        body.extend_from_slice(&message.body);
        let tape = simd_json::to_tape(&mut body).unwrap();
        let event = tape.as_value();
        assert_eq!(event.get("eventCode").unwrap().as_str(), Some(CODE));
        let operation = event.get("purchaseOperationInfo").unwrap();
        let purchase = operation.get("purchaseData").unwrap();
        Read {
            customer: event
                .get("customerInfo")
                .unwrap()
                .get("customerId")
                .unwrap()
                .as_u64()
                .unwrap(),
            amount: purchase.get("amount").unwrap().as_f64().unwrap(),
            brand_bytes: operation.get("brandId").unwrap().as_str().unwrap().len(),
            cheque: purchase.get("chequeNumber").unwrap().as_str().unwrap().parse().unwrap(),
        }
    })
}

fn sonic_pointers() -> Reader {
    let mut tree = PointerTree::new();
    tree.add_path(pointer!["eventCode"].iter());
    tree.add_path(pointer!["customerInfo", "customerId"].iter());
    tree.add_path(pointer!["purchaseOperationInfo", "purchaseData", "amount"].iter());
    tree.add_path(pointer!["purchaseOperationInfo", "brandId"].iter());
    tree.add_path(pointer!["purchaseOperationInfo", "purchaseData", "chequeNumber"].iter());
    Box::new(move |message| {
        let found = sonic_rs::get_many(&*message.body, &tree).unwrap();
        let [code, customer, amount, brand, cheque] = &found[..] else { panic!("five values") };
        assert_eq!(code.as_ref().and_then(|code| code.as_str()), Some(CODE));
        Read {
            customer: customer.as_ref().and_then(|customer| customer.as_u64()).unwrap(),
            amount: amount.as_ref().and_then(|amount| amount.as_f64()).unwrap(),
            brand_bytes: brand.as_ref().and_then(|brand| brand.as_str()).unwrap().len(),
            cheque: cheque.as_ref().and_then(|cheque| cheque.as_str()).unwrap().parse().unwrap(),
        }
    })
}

/// Runs all readers in turns.
pub(crate) fn measure() -> Vec<Measured> {
    let mut lanes: Vec<_> =
        all().into_iter().map(|(name, reader)| (name, reader, Stream::new(), Vec::new())).collect();
    let mut expected = None;
    for (name, reader, stream, _) in &mut lanes {
        let read: Vec<Read> = stream.next(MESSAGES).iter().map(&mut *reader).collect();
        let expected = expected.get_or_insert_with(|| read.clone());
        assert_eq!(&read, expected, "{name} reads other values than {HAILER}");
        run(reader, stream, WARM_UP);
    }
    for _ in 0..ROUNDS {
        for (_, reader, stream, rounds_ns) in &mut lanes {
            rounds_ns.push(run(reader, stream, ROUND));
        }
    }
    let hailer_ns = lanes[0].3.clone();
    let measured = |(contender, _, _, rounds_ns): (&str, Reader, Stream, Vec<f64>)| {
        let ratios = rounds_ns.iter().zip(&hailer_ns).map(|(ns, hailer_ns)| ns / hailer_ns);
        Measured {
            workload: WORKLOAD.to_owned(),
            contender: contender.to_owned(),
            of_hailer: Spread::of(ratios.collect()).median(),
            ns: Spread::of(rounds_ns).median(),
        }
    };
    lanes.into_iter().map(measured).collect()
}

/// Nanoseconds for one event.
fn run(reader: &mut Reader, stream: &mut Stream, at_least: Duration) -> f64 {
    let (mut took, mut events) = (Duration::ZERO, 0);
    while took < at_least {
        let messages = stream.next(MESSAGES);
        let start = Instant::now();
        for message in &messages {
            black_box(reader(message));
        }
        took += start.elapsed();
        events += messages.len();
    }
    took.as_nanos() as f64 / events as f64
}
