//! Unreadable messages become dead letters once, with the reason; the events around them are
//! decided in order.

use hailer_tests::site::{Site, lines};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::support::shared_broker;
use crate::swaps::purchase;

const CUSTOMER: usize = 7;

/// Unreadable bodies, each with a part of the reason that its dead letter must name.
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
        (
            b"{\"eventCode\":\"OnPurchaseConfirm\",\"customerInfo\":{\"customerId\":[7],\
             \"customerUid\":\"u\"}}"
                .to_vec(),
            "a whole number, of at most 4096 bytes at /customerInfo/customerId",
        ),
        (
            br#"{"eventCode":"OnPurchaseConfirm","customerInfo":"7"}"#.to_vec(),
            "the customer must be an object at /customerInfo",
        ),
        (
            b"{\"eventCode\":\"MergeCustomersProfiles\",\"fromCustomerInfo\":{\"customerId\":{}},\
             \"toCustomerInfo\":{\"customerId\":7}}"
                .to_vec(),
            "a whole number, of at most 4096 bytes at /fromCustomerInfo/customerId",
        ),
        (deep, "128"),
        (b"".to_vec(), "whitespace"),
        (huge, "(event.bytes_max)"),
    ]
}

fn amounts<'a>(communications: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    communications.into_iter().map(|one| one["data"]["amount"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unreadable_message_is_dead_lettered_once_and_others_keep_their_order() {
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
    assert_eq!(wiring.client.counts(&wiring.letters).await.0, 0, "each is dead-lettered once");
    for (letter, (body, part)) in letters.iter().zip(&bad) {
        let reason = letter.header("x-hailer-reason").unwrap();
        assert!(letter.body == *body, "the body is unchanged: {reason}");
        assert!(reason.contains(part), "{reason} has no `{part}`");
        assert_eq!(letter.header("x-hailer-routing-key").as_deref(), Some(&*wiring.events));
        assert_eq!(letter.properties.delivery_mode(), &Some(2), "persistent");
    }
}

#[tokio::test]
async fn unreadable_lines_of_a_file_are_dead_lettered_into_a_file_beside_it() {
    let site = Site::with_basket();
    let mut text = Vec::new();
    // An empty line is not an event.
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
    let communications: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
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
async fn mistyped_and_missing_fields_are_counted_and_named_without_a_failure() {
    let site = Site::with_basket();
    let mut engine = site.start(&["--source", "-", "--sink", "-"]);
    let event = |data: Value| {
        let operation = json!({ "brandId": 5, "dateTime": "yesterday", "purchaseData": data });
        let event = json!({
            "eventCode": "OnPurchaseConfirm", "customerInfo": { "customerId": 7 },
            "purchaseOperationInfo": operation
        });
        format!("{event}\n")
    };
    // A number is a valid id, so `brandId` is correct. The time is invalid, and the rule reads it
    // as text.
    engine.write(event(json!({ "amount": 1, "chequeItems": null, "rewards": [] })));
    // A purchase without its amount, or with an unusable field, is not decided.
    engine.write(event(json!({ "amount": 3, "chequeItems": "none" })));
    engine.write(event(json!({ "amount": "12" })));
    engine.write(event(json!({ "chequeItems": [] })));
    engine.write(event(json!({ "amount": 2 })));
    let printed = engine.prints(2).await;
    assert_eq!(amounts(&printed), [1, 2]);
    assert_eq!(printed[0]["data"]["items"], 0);
    engine.metric_is("hailer_calls_total{campaign=\"basket\",outcome=\"skipped\"}", 3.0).await;
    engine.metric_is("hailer_calls_total{campaign=\"basket\",outcome=\"ok\"}", 2.0).await;
    // The mismatches: the time of all five events, one list that is a text, and one amount that is
    // a text.
    for (field, values) in [("date_time", 5.0), ("items", 1.0), ("amount", 1.0)] {
        engine
            .metric_is(&format!("hailer_field_mismatches_total{{field=\"{field}\"}}"), values)
            .await;
    }
    let why = site.command(&["why", "7"]).expect(0).stdout;
    for reason in [
        "not called: `amount` has the wrong type",
        "not called: the event has no `amount`",
        "not called: `items` has the wrong type",
    ] {
        assert!(why.contains(reason), "{why}");
    }
    assert_eq!(engine.metric("hailer_events_total{outcome=\"deadletter\"}").await, 0.0);
    engine.close_input();
    assert_eq!(engine.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn undeliverable_dead_letters_delay_no_event_and_survive_the_engine() {
    const BAD: usize = 30;
    const GOOD: usize = 300;
    let wiring = Wiring::named(shared_broker(), "undelivered").await;
    wiring.client.queue(&wiring.events).await;
    wiring.client.exchange(&wiring.exchange, &[]).await;
    wiring.bind_out().await;
    let site = Site::with_basket();
    // The drain time is longer than a test waits, so the test fails if a stop waits for the dead
    // letters.
    let settings = ["--set", "rabbitmq.prefetch=10", "--set", "drain_ms=3600000"].map(String::from);
    let flags = [wiring.flags(), settings.to_vec()].concat();
    let engine = site.start(&flags);
    engine.ready_with(&format!("queue `{}` does not exist", wiring.letters)).await;
    wiring.send((0..BAD).map(|number| format!("not an event {number}"))).await;
    wiring.send((0..GOOD).map(|number| purchase(number, number % 10))).await;
    assert_eq!(wiring.communications(GOOD).await.len(), GOOD);
    engine.metric_is("hailer_dead_letters", BAD as f64).await;
    engine.metric_is("hailer_source_acknowledged_total", (BAD + GOOD) as f64).await;
    assert!(engine.readyz().await.1.contains("deadletters"), "readiness names the dead letters");
    assert_eq!(
        site.command(&["store", "show", "--json"]).expect(0).json()["deadLettersWaiting"],
        BAD
    );
    // A stop does not wait: the waiting dead letters are durable.
    engine.stop().await;
    let engine = site.start(&flags);
    engine.metric_is("hailer_dead_letters", BAD as f64).await;
    // A new letter is stored behind the letters of the earlier run, and overwrites none.
    wiring.send([format!("not an event {BAD}")]).await;
    engine.metric_is("hailer_source_acknowledged_total", 1.0).await;
    engine.kill();
    wiring.client.queue(&wiring.letters).await;
    let engine = site.start(&flags);
    engine.ready().await;
    let letters = wiring.client.take_many(&wiring.letters, BAD + 1).await;
    for (number, letter) in letters.iter().enumerate() {
        assert_eq!(letter.body, format!("not an event {number}").as_bytes());
    }
    wait::until("no dead letter waits", async || engine.metric("hailer_dead_letters").await == 0.0)
        .await;
    assert_eq!(wiring.client.counts(&wiring.letters).await.0, 0, "each is delivered once");
    wait::until("the store has no dead letter", async || {
        site.command(&["store", "show", "--json"]).expect(0).json()["deadLettersWaiting"] == 0
    })
    .await;
    engine.stop().await;
    wiring.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn intake_pauses_when_too_many_dead_letters_wait() {
    let wiring = Wiring::named(shared_broker(), "lettersfull").await;
    wiring.client.queue(&wiring.events).await;
    wiring.client.exchange(&wiring.exchange, &[]).await;
    wiring.bind_out().await;
    let site = Site::with_basket();
    let bounds = ["store.deadletters_max=20", "rabbitmq.prefetch=5", "rabbitmq.paused_ms_max=300"];
    let bounds = bounds.map(|bound| ["--set".to_owned(), bound.to_owned()]).concat();
    let engine = site.start(&[wiring.flags(), bounds].concat());
    wiring.send((0..200).map(|number| format!("not an event {number}"))).await;
    engine.ready_with("too many dead letters wait").await;
    assert!(engine.metric("hailer_dead_letters").await <= 20.0 + 5.0);
    wiring.client.queue(&wiring.letters).await;
    assert_eq!(wiring.client.take_many(&wiring.letters, 200).await.len(), 200);
    engine.ready().await;
    engine.stop().await;
    wiring.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dead_letter_keeps_its_producers_properties_and_routing_key() {
    let wiring = Wiring::new(shared_broker(), "origins").await;
    let site = Site::with_basket();
    let engine = site.start(&wiring.flags());
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("north".into()));
    headers
        .insert("x-hailer-routing-key".into(), AMQPValue::LongString("customer.card.link".into()));
    let properties = BasicProperties::default()
        .with_timestamp(1_764_000_000)
        .with_type("CardLink".into())
        .with_content_type("text/plain".into())
        .with_content_encoding("identity".into())
        .with_correlation_id("c-1".into())
        .with_expiration("600000".into())
        .with_headers(headers);
    // The message looks like a dead letter that a shovel has put back.
    wiring.client.send("", &wiring.events, b"not an event", properties).await.await.unwrap();
    let letter = wiring.client.take_many(&wiring.letters, 1).await.remove(0);
    assert_eq!(letter.header("tenant").as_deref(), Some("north"));
    assert_eq!(letter.header("x-hailer-routing-key").as_deref(), Some("customer.card.link"));
    assert!(letter.header("x-hailer-reason").is_some());
    assert_eq!(*letter.properties.timestamp(), Some(1_764_000_000));
    let properties = &letter.properties;
    let texts = [
        (properties.kind(), "CardLink"),
        (properties.content_type(), "text/plain"),
        (properties.content_encoding(), "identity"),
        (properties.correlation_id(), "c-1"),
    ];
    for (kept, sent) in texts {
        assert_eq!(kept.as_ref().map(|text| text.as_str()), Some(sent));
    }
    assert!(letter.properties.expiration().is_none(), "with an expiration the letter would vanish");
    engine.stop().await;
}
