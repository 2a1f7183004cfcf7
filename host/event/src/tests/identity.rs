//! Deduplication keys, event ids, and customers.

use proptest::prelude::*;

use super::super::EventErrorKind;
use super::samples::SAMPLES;
use super::*;

fn key(body: &str, message_id: Option<&str>, position: Option<&str>) -> super::super::DedupKey {
    read(body).unwrap().dedup_key(message_id, position)
}

#[test]
fn a_retry_of_a_message_is_the_same_event() {
    let first = sample!("OnBlockCard");
    let retry = first
        .replace(r#""tryCount": 0"#, r#""tryCount": 3"#)
        .replace(r#""delaySecond": null"#, r#""delaySecond": 60"#);
    let to_error_queue = retry.replace(r#""toErrorQueue": false"#, r#""toErrorQueue": true"#);
    assert_ne!(first, retry);
    assert_eq!(key(first, None, None), key(&retry, None, None));
    assert_eq!(key(first, None, None), key(&to_error_queue, None, None));
    assert_eq!(key(first, None, None), key(&first.replace(",\n\"tryCount\": 0", ""), None, None));
}

#[test]
fn any_other_difference_makes_another_event() {
    let first = r#"{"eventCode":"E","externalId":"x","customerInfo":{"customerId":1},"a":1}"#;
    for other in [
        r#"{"eventCode":"F","externalId":"x","customerInfo":{"customerId":1},"a":1}"#,
        r#"{"eventCode":"E","externalId":"y","customerInfo":{"customerId":1},"a":1}"#,
        r#"{"eventCode":"E","externalId":"x","customerInfo":{"customerId":2},"a":1}"#,
        r#"{"eventCode":"E","externalId":"x","customerInfo":{"customerId":1},"a":2}"#,
        r#"{"eventCode":"E","externalId":"x","customerInfo":{"customerId":1},"a":{"tryCount":1}}"#,
    ] {
        assert_ne!(key(first, None, None), key(other, None, None), "{other}");
        assert_ne!(key(first, Some("m"), None), key(other, Some("m"), None), "{other}");
    }
}

#[test]
fn a_message_with_an_id_is_the_same_event_in_any_spelling() {
    let first = concat!(
        r#"{"eventCode":"E","externalId":"x","customerInfo":{"customerId":1},"#,
        r#""a":150.0,"b":[{"c":"\u0416","d":null},1e2],"tryCount":1}"#
    );
    for same in [
        concat!(
            r#" { "externalId" : "x" , "eventCode":"E","b":[ {"d":null,"c":"Ж"},100 ], "#,
            r#""a":150.00,"customerInfo":{"customerId":1} , } "#
        ),
        concat!(
            r#"{"eventCode":"E","externalId":"x","customerInfo":{"customerId":1},"#,
            r#""a":1.5e2,"b":[{"c":"Ж","d":null},100.000],"TryCount":7}"#
        ),
        concat!(
            r#"{"a":7,"eventCode":"E","externalId":"x","customerInfo":{"customerId":1},"#,
            r#""a":15000e-2,"b":[{"c":"Ж","d":null},1E+2],"TRYCOUNT":7}"#
        ),
    ] {
        assert_eq!(key(first, None, None), key(same, None, None), "{same}");
        assert_eq!(key(first, Some("m"), None), key(same, Some("m"), None), "{same}");
    }
    let without = |body: &str| body.replace(r#""externalId""#, r#""other""#);
    let first = without(first);
    for position in [None, Some("f:1")] {
        let other = first.replace("150.0", "150.00");
        assert_ne!(
            key(&first, None, position),
            key(&other, None, position),
            "without a message id or external id the bytes count"
        );
    }
}

#[test]
fn an_additional_null_member_does_not_change_the_key() {
    for (_, sample) in SAMPLES {
        let (head, tail) = sample.split_once('{').unwrap();
        let further = format!("{head}{{\"further\":null,\"more\":[{{}}],{tail}");
        let other = format!("{head}{{\"more\":[{{\"x\":null,\"y\":null}}],{tail}");
        assert_eq!(key(&further, Some("m"), None), key(&other, Some("m"), None), "{sample}");
    }
    let of = |x: &str| key(&format!(r#"{{"eventCode":"E","x":{x}}}"#), Some("m"), None);
    assert_eq!(of("null"), key(r#"{"eventCode":"E"}"#, Some("m"), None));
    assert_eq!(of(r#"{"a":1,"b":null,"a":null}"#), of("{}"), "the last of several members counts");
    for (one, other) in [
        // The source writes this member as null and never leaves it out.
        (r#"{"mobileDeviceId":null}"#, "{}"),
        ("[null]", "[]"),
        (r#"{"a":""}"#, "{}"),
        (r#"{"a":false}"#, "{}"),
    ] {
        assert_ne!(of(one), of(other), "{one}");
    }
}

#[test]
fn an_id_of_a_customer_is_the_same_as_a_text_and_as_a_number() {
    let of = |event: &str| key(&format!(r#"{{"eventCode":"E",{event}}}"#), Some("m"), None);
    for (one, other) in [
        (r#""customerInfo":{"customerId":7}"#, r#""customerInfo":{"customerId":"7"}"#),
        (r#""customerInfo":{"customerId":7.0}"#, r#""customerInfo":{"customerId":"\u0037"}"#),
        (r#""customerInfo":{"customerId":-7}"#, r#""customerInfo":{"customerId":"-7"}"#),
        (r#""customerInfo":{"accountgroupId":"7"}"#, r#""customerInfo":{"accountgroupId":7}"#),
        (r#""toCustomerInfo":{"identifierId":0}"#, r#""toCustomerInfo":{"identifierId":"0"}"#),
        (
            r#""fromCustomerInfo":{"applicationId":"1"}"#,
            r#""fromCustomerInfo":{"applicationId":1}"#,
        ),
        (r#""externalId":"7""#, r#""externalId":7"#),
    ] {
        assert_eq!(of(one), of(other), "{one} {other}");
    }
    for (one, other) in [
        (r#""customerInfo":{"customerId":"7"}"#, r#""customerInfo":{"customerId":"07"}"#),
        (r#""customerInfo":{"identifierId":7.5}"#, r#""customerInfo":{"identifierId":"7.5"}"#),
        (
            r#""customerInfo":{"mobileDeviceId":true}"#,
            r#""customerInfo":{"mobileDeviceId":"true"}"#,
        ),
        // These are not ids of a customer, and a rule can distinguish a text from a number.
        (r#""customerInfo":{"other":7}"#, r#""customerInfo":{"other":"7"}"#),
        (r#""a":{"customerId":7}"#, r#""a":{"customerId":"7"}"#),
        (r#""purchase":{"amount":7}"#, r#""purchase":{"amount":"7"}"#),
    ] {
        assert_ne!(of(one), of(other), "{one} {other}");
    }
}

proptest! {
    /// The content's hash is not collision resistant, so two contents may have one hash.
    #[test]
    fn one_hash_of_two_contents_never_makes_events_of_two_customers_equal(
        content: [u8; 16], one: u32, other: u32
    ) {
        prop_assume!(one != other);
        let of = |id: u32| {
            let customer = format!(r#"{{"customerId":{id}}}"#);
            let event = read(format!(r#"{{"eventCode":"E","customerInfo":{customer}}}"#));
            let event = event.unwrap();
            let customer = *event.customer_key().unwrap().as_bytes();
            let of = |content| super::super::DedupKey::new(customer, content, false);
            assert_eq!(event.dedup_key(None, None), of(event.content_hash(b'-', "")));
            of(content)
        };
        let (one, other) = (of(one), of(other));
        prop_assert_ne!(one, other);
        prop_assert_ne!(one.event_id(0), other.event_id(0));
    }
}

/// Event ids are hashes of these keys.
#[test]
fn the_keys_of_the_sources_examples_never_change() {
    let keys: Vec<_> = SAMPLES
        .iter()
        .map(|(code, sample)| {
            format!("{code} {:032x}", u128::from_be_bytes(*key(sample, Some("m"), None).as_bytes()))
        })
        .collect();
    insta::assert_snapshot!(keys.join("\n"));
}

#[test]
fn different_values_have_different_keys() {
    let bodies = [
        "1",
        "-1",
        "10",
        "1.01",
        "true",
        "null",
        "[]",
        "{}",
        "[1]",
        "[[1]]",
        r#"["1"]"#,
        r#""1""#,
        "\"\"",
        "[1,1]",
        "[11]",
        "[{}]",
        r#"{"a":1}"#,
        r#"{"b":1}"#,
        r#"{"a":[1]}"#,
        r#"{"a":{"tryCount":1}}"#,
        r#"{"a":{"tryCount":2}}"#,
        "0",
        "0.5",
    ];
    let keys: Vec<_> = bodies
        .iter()
        .map(|x| key(&format!(r#"{{"eventCode":"E","x":{x}}}"#), Some("m"), None))
        .collect();
    for (index, one) in keys.iter().enumerate() {
        assert!(keys[..index].iter().all(|other| one != other), "{}", bodies[index]);
    }
}

#[test]
fn an_unusable_id_is_absent_and_named() {
    let event = read(concat!(
        r#"{"eventCode":"E","externalId":true,"#,
        r#""customerInfo":{"customerId":11,"customerUid":{},"identifierId":1.5}}"#
    ))
    .unwrap();
    assert_eq!(event.unusable_ids(), ["customerUid", "identifierId", "externalId"]);
    assert_eq!(
        (event.external_id(), event.customer().unwrap().customer_uid.as_deref()),
        (None, None)
    );
    for id in ["11", "11.0", "1.1e1", r#""11""#] {
        let event =
            read(format!(r#"{{"eventCode":"E","customerInfo":{{"customerId":{id}}}}}"#)).unwrap();
        assert_eq!(
            (event.customer().unwrap().customer_id.as_deref(), event.unusable_ids()),
            (Some("11"), &[][..]),
            "{id}"
        );
    }
}

/// Falling back to another of its ids could lead to another account.
#[test]
fn an_event_whose_customer_is_not_certain_is_refused() {
    let long = "7".repeat(4097);
    let unusable = ["true", "7.5", "{}", "[]", "[7]", &long, &format!("\"{long}\"")];
    for (infos, path) in [
        (r#""customerInfo":{"customerId":?,"customerUid":"u"}"#, "/customerInfo/customerId"),
        (r#""customerInfo":{"customerId":?}"#, "/customerInfo/customerId"),
        (r#""customerInfo":{"customerId":7,"customerId":?}"#, "/customerInfo/customerId"),
        (r#""customerInfo":{"customerUid":?,"accountgroupId":"g"}"#, "/customerInfo/customerUid"),
        (r#""customerInfo":{"customerCode":?}"#, "/customerInfo/customerCode"),
        (r#""customerInfo":{"accountfroupId":?,"identifierId":1}"#, "/customerInfo/accountfroupId"),
        (
            r#""toCustomerInfo":{"customerId":?},"customerInfo":{"customerId":7}"#,
            "/toCustomerInfo/customerId",
        ),
        (
            r#""fromCustomerInfo":{"customerId":?},"toCustomerInfo":{"customerId":7}"#,
            "/fromCustomerInfo/customerId",
        ),
    ] {
        for id in unusable {
            let error =
                read(format!(r#"{{"eventCode":"E",{}}}"#, infos.replace('?', id))).unwrap_err();
            assert_eq!(
                (error.kind, error.path.as_str()),
                (EventErrorKind::CustomerIdUnusable, path),
                "{infos}"
            );
        }
    }
    for name in ["customerInfo", "toCustomerInfo", "fromCustomerInfo"] {
        for info in ["7", r#""7""#, "true", "[]", r#"[{"customerId":7}]"#] {
            let error = read(format!(r#"{{"eventCode":"E","{name}":{info}}}"#)).unwrap_err();
            assert_eq!(
                (error.kind, error.path),
                (EventErrorKind::CustomerNotAnObject, format!("/{name}")),
                "{info}"
            );
        }
    }
    // With an unusable id of lower rank, or an absent id, the customer is certain.
    for info in [
        r#"{"customerId":7,"customerUid":true,"accountgroupId":{}}"#,
        r#"{"customerId":null,"customerUid":"","customerCode":7,"accountgroupId":true}"#,
        r#"{"customerUid":true,"customerCode":"7"}"#,
    ] {
        assert!(
            read(format!(r#"{{"eventCode":"E","customerInfo":{info}}}"#))
                .unwrap()
                .customer_key()
                .is_some(),
            "{info}"
        );
    }
    for info in ["null", r#""""#, "{}"] {
        assert!(
            read(format!(r#"{{"eventCode":"E","customerInfo":{info}}}"#))
                .unwrap()
                .customer()
                .is_none(),
            "{info}"
        );
    }
}

#[test]
fn the_kind_of_an_id_counts_and_the_message_id_is_first() {
    let without = r#"{"eventCode":"E"}"#;
    let with = r#"{"eventCode":"E","externalId":"x"}"#;
    assert_ne!(key(without, Some("x"), None), key(without, None, Some("x")));
    assert_ne!(key(without, Some("x"), None), key(without, Some("y"), None));
    assert_eq!(key(without, Some("x"), Some("f:1")), key(without, Some("x"), Some("f:2")));
    assert_eq!(key(with, None, Some("f:1")), key(with, None, Some("f:2")));
    assert_ne!(key(with, Some("m"), None), key(with, Some("n"), None));
    assert_eq!(key(without, Some(""), None), key(without, None, None));
    assert_ne!(key(without, None, None), key(without, None, Some("f:1")));
}

#[test]
fn the_occurrence_counts_only_for_an_event_without_an_id() {
    let body = r#"{"eventCode":"E"}"#;
    let nameless = key(body, None, None);
    assert!(!nameless.has_id());
    assert_ne!(nameless.event_id(0), nameless.event_id(1));
    let named = key(body, Some("m"), None);
    assert!(named.has_id());
    assert_eq!(named.event_id(0), named.event_id(1));
    assert_ne!(named.event_id(0), nameless.event_id(0));
}

/// Brokers and stores keep ids, so a change of ids would make every event a new one. It needs a new
/// format of the store.
#[test]
fn ids_are_the_same_in_every_version() {
    let event = read(sample!("OnBlockCard")).unwrap();
    let key = event.dedup_key(None, None);
    assert_eq!(key.event_id(0).to_string(), "ff7a35942fcc86a97813f245c9de4f51");
    assert_eq!(event.customer_key().unwrap().seed(), 0x8a89_2aa1_10fd_096e);
}

#[test]
fn a_customer_is_known_by_the_first_id_of_three() {
    let key = |info: &str| {
        read(format!(r#"{{"eventCode":"E","customerInfo":{info}}}"#)).unwrap().customer_key()
    };
    let by_id = key(r#"{"customerId":7}"#);
    assert!(by_id.is_some());
    assert_eq!(by_id, key(r#"{"customerId":"7","customerUid":"u","accountgroupId":"g"}"#));
    assert_eq!(key(r#"{"customerUid":"7"}"#), key(r#"{"customerCode":"7","accountgroupId":"g"}"#));
    let others = [
        by_id,
        key(r#"{"customerUid":"7"}"#),
        key(r#"{"accountgroupId":7}"#),
        key(r#"{"customerId":8}"#),
    ];
    for (index, first) in others.iter().enumerate() {
        assert!(others[index + 1..].iter().all(|second| first != second), "{index}");
    }
    assert_eq!(key(r#"{"identifierId":7,"applicationId":1,"mobileDeviceId":"d"}"#), None);
}

#[test]
fn customers_spread_over_the_shards() {
    let mut counts = [0; 4];
    for id in 0..4000 {
        let event =
            read(format!(r#"{{"eventCode":"E","customerInfo":{{"customerId":{id}}}}}"#)).unwrap();
        counts[event.customer_key().unwrap().shard(4)] += 1;
    }
    assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
}

#[test]
fn the_debug_output_of_an_event_has_no_personal_data() {
    let event = read(concat!(
        r#"{"eventCode":"E","externalId":"4711","#,
        r#""customerInfo":{"customerId":"4711","customerUid":"4711"}}"#
    ))
    .unwrap();
    let shown = format!("{event:?} {:?} {:?}", event.customer(), event.dedup_key(None, None));
    assert!(!shown.contains("4711"), "{shown}");
}
