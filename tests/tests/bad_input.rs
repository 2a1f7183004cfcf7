//! Messages that can't be read are buried once, with the reason; their neighbours are decided, in order.

use hailer_tests::site::{Site, lines};
use hailer_tests::wiring::Wiring;
use serde_json::{Value, json};

use crate::edges::shared_broker;
use crate::swaps::purchase;

const CUSTOMER: usize = 7;

/// Each with a part of the reason that its dead letter names.
fn bad() -> Vec<(Vec<u8>, &'static str)> {
    let deep = [vec![b'['; 1000], vec![b']'; 1000]].concat();
    let deep = [br#"{"eventCode":"OnPurchaseConfirm","deep":"#, &*deep, b"}"].concat();
    let mut huge = br#"{"eventCode":"OnPurchaseConfirm","padding":""#.to_vec();
    huge.resize(10 << 20, b'x');
    huge.extend_from_slice(b"\"}");
    vec![
        (br#"{"eventCode":"OnPurchaseConfirm","customerInfo":{"customerId":7"#.to_vec(), "byte 63"),
        (
            "{\"eventCode\":\"OnPurchaseConfirm\",\"name\":\"Вода\"}"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
            "byte 1",
        ),
        (b"{\"eventCode\":\"OnPurchaseConfirm\",\"name\":\"\xc2\xee\xe4\xe0\"}".to_vec(), "utf-8"),
        (br#"{"customerInfo":{"customerId":7}}"#.to_vec(), "eventCode"),
        (deep, "128"),
        (b"".to_vec(), "whitespace"),
        (huge, "(event.bytes_max)"),
    ]
}

fn amounts<'a>(communications: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    communications.into_iter().map(|one| one["data"]["amount"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_unreadable_message_is_buried_once_and_its_neighbours_go_on_in_order() {
    let wiring = Wiring::new(shared_broker(), "bad").await;
    let site = Site::with_basket();
    let bad = bad();
    let mut sent = Vec::new();
    for (number, (body, _)) in bad.iter().enumerate() {
        sent.extend([purchase(number, CUSTOMER).into_bytes(), body.clone()]);
    }
    sent.push(purchase(bad.len(), CUSTOMER).into_bytes());
    wiring.send(&sent).await;
    let engine = site.start(&wiring.flags());
    engine.ready().await;

    let communications = wiring.communications(bad.len() + 1).await;
    let expected: Vec<u64> = (0..=bad.len() as u64).collect();
    assert_eq!(amounts(communications.iter().map(|(_, body)| body)), expected);
    let letters = wiring.client.take_many(&wiring.letters, bad.len()).await;
    engine.metric_is("hailer_events_total{outcome=\"deadletter\"}", bad.len() as f64).await;
    engine.stop().await;
    wiring.is_drained().await;
    assert_eq!(wiring.client.counts(&wiring.letters).await.0, 0, "each is buried once");
    for (letter, (body, part)) in letters.iter().zip(&bad) {
        let reason = letter.header("x-hailer-reason").unwrap();
        assert!(letter.body == *body, "buried as it came: {reason}");
        assert!(reason.contains(part), "{reason} has no `{part}`");
        assert_eq!(letter.header("x-hailer-routing-key").as_deref(), Some(&*wiring.events));
        assert_eq!(letter.properties.delivery_mode(), &Some(2), "persistent");
    }
}

#[tokio::test]
async fn every_unreadable_line_of_a_file_is_buried_beside_it() {
    let site = Site::with_basket();
    let mut text = Vec::new();
    // An empty line is no event.
    let bad: Vec<_> = bad().into_iter().filter(|(body, _)| !body.is_empty()).collect();
    for (number, (body, _)) in bad.iter().enumerate() {
        text.extend_from_slice(purchase(number, CUSTOMER).as_bytes());
        text.push(b'\n');
        text.extend_from_slice(body);
        text.push(b'\n');
    }
    let events = site.write("events.jsonl", text);
    let source = format!("file:{}", events.display());
    let outcome = site.run(&["--source", &source, "--sink", "-"]).expect(0);
    let communications: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(amounts(&communications), (0..bad.len() as u64).collect::<Vec<_>>());

    let letters = lines(&site.path("events.jsonl.deadletters.jsonl"));
    assert_eq!(letters.len(), bad.len());
    for (letter, (body, part)) in letters.iter().zip(&bad) {
        let reason = letter["headers"]["x-hailer-reason"].as_str().unwrap();
        assert!(reason.contains(part), "{reason} has no `{part}`");
        if let (Ok(text), true) = (std::str::from_utf8(body), body.len() < 1 << 20) {
            assert_eq!(letter["body"], text);
        }
    }
}

#[tokio::test]
async fn mistyped_and_missing_fields_are_absent_and_counted_and_no_failure() {
    let site = Site::with_basket();
    let mut engine = site.start(&["--source", "-", "--sink", "-"]);
    let event = |data: Value| {
        let operation = json!({ "brandId": 5, "dateTime": "yesterday", "purchaseData": data });
        let event = json!({
            "eventCode": "OnPurchaseConfirm", "customerInfo": { "customerId": 7 }, "purchaseOperationInfo": operation
        });
        format!("{event}\n")
    };
    // A number is an id, so `brandId` is no mistake; the time is one.
    engine.write(event(json!({ "amount": 1, "chequeItems": "none", "rewards": [] })));
    // Without its amount, or with one that is no number, a purchase is not decided.
    engine.write(event(json!({ "amount": "12" })));
    engine.write(event(json!({ "chequeItems": [] })));
    engine.write(event(json!({ "amount": 2 })));
    let printed = engine.prints(2).await;
    assert_eq!(amounts(&printed), [1, 2]);
    assert_eq!(printed[0]["data"]["items"], 0);
    engine.metric_is("hailer_calls_total{campaign=\"basket\",outcome=\"skipped\"}", 2.0).await;
    engine.metric_is("hailer_calls_total{campaign=\"basket\",outcome=\"ok\"}", 2.0).await;
    // The times of all four, the list that is a text, and the amount that is one.
    for (field, values) in [("date_time", 4.0), ("items", 1.0), ("amount", 1.0)] {
        engine.metric_is(&format!("hailer_field_mismatches_total{{field=\"{field}\"}}"), values).await;
    }
    let why = site.command(&["why", "7"]).expect(0).stdout;
    for reason in ["not called: `amount` is there, and of another type", "not called: the event has no `amount`"] {
        assert!(why.contains(reason), "{why}");
    }
    assert_eq!(engine.metric("hailer_events_total{outcome=\"deadletter\"}").await, 0.0);
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
}
