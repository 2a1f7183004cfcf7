//! Properties of any bytes that a guest returns, and of any data that it may send.

use hailer::engine::{Action, Outcome, Outcomes, StateChange, When};
use hailer_abi::wire::{Channel, DECIMAL_LEN};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rmp::encode;

use super::stage::manifest;

/// Data that a rule may send, with the expected JSON.
#[derive(Clone, Debug)]
struct Sample {
    wire: Vec<u8>,
    json: String,
}

fn sample(write: impl FnOnce(&mut Vec<u8>), json: String) -> Sample {
    let mut wire = Vec::new();
    write(&mut wire);
    Sample { wire, json }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn text() -> impl Strategy<Value = Sample> {
    ".{0,40}"
        .prop_map(|text| sample(|out| encode::write_str(out, &text).unwrap(), json_text(&text)))
}

/// A decimal. Its text is made from its digits here, not by the library that the host uses.
fn decimal() -> impl Strategy<Value = Sample> {
    (any::<[u8; 12]>(), 0..=28_usize, any::<bool>(), 0..=12_usize).prop_map(
        |(mut magnitude, scale, negative, kept)| {
            magnitude[kept..].fill(0);
            let mut wide = [0; 16];
            wide[..12].copy_from_slice(&magnitude);
            let number = u128::from_le_bytes(wide);
            let negative = negative && number != 0;
            let digits = format!("{number:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let point = if scale > 0 { "." } else { "" };
            let mut bytes = [0; DECIMAL_LEN];
            bytes[..12].copy_from_slice(&magnitude);
            bytes[12] = scale as u8;
            bytes[13] = u8::from(negative);
            let json = format!("{}{whole}{point}{fraction}", if negative { "-" } else { "" });
            sample(|out| out.extend([&[0xd8, 1][..], &bytes].concat()), json)
        },
    )
}

fn leaf() -> impl Strategy<Value = Sample> {
    prop_oneof![
        Just(sample(|out| out.push(0xc0), "null".into())),
        any::<bool>().prop_map(|value| sample(
            |out| encode::write_bool(out, value).unwrap(),
            value.to_string()
        )),
        any::<i64>().prop_map(|value| sample(
            |out| _ = encode::write_sint(out, value).unwrap(),
            value.to_string()
        )),
        any::<u64>().prop_map(|value| sample(
            |out| _ = encode::write_uint(out, value).unwrap(),
            value.to_string()
        )),
        any::<u64>().prop_map(|value| sample(
            |out| encode::write_u64(out, value).unwrap(),
            value.to_string()
        )),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| {
            let json = serde_json::Value::from(value).to_string();
            sample(|out| encode::write_f64(out, value).unwrap(), json)
        }),
        text(),
        decimal(),
        // From the year -9998 to the year 9999.
        (-377_000_000_000_000..253_000_000_000_000_i64).prop_map(|millis| {
            let json = format!("\"{}\"", jiff::Timestamp::from_millisecond(millis).unwrap());
            sample(|out| out.extend([&[0xd7, 2][..], &millis.to_be_bytes()].concat()), json)
        }),
    ]
}

fn map_of(value: impl Strategy<Value = Sample>) -> impl Strategy<Value = Sample> {
    btree_map(".{0,12}", value, 0..20).prop_map(|entries| {
        let json: Vec<_> = entries
            .iter()
            .map(|(key, value)| format!("{}:{}", json_text(key), value.json))
            .collect();
        let write = |out: &mut Vec<u8>| {
            encode::write_map_len(out, entries.len() as u32).unwrap();
            for (key, value) in &entries {
                encode::write_str(out, key).unwrap();
                out.extend(&value.wire);
            }
        };
        sample(write, format!("{{{}}}", json.join(",")))
    })
}

fn data() -> impl Strategy<Value = Sample> {
    let value = leaf().prop_recursive(6, 60, 6, |inner| {
        let array = vec(inner.clone(), 0..20).prop_map(|elements| {
            let json: Vec<_> = elements.iter().map(|element| element.json.as_str()).collect();
            let write = |out: &mut Vec<u8>| {
                encode::write_array_len(out, elements.len() as u32).unwrap();
                elements.iter().for_each(|element| out.extend(&element.wire));
            };
            sample(write, format!("[{}]", json.join(",")))
        });
        prop_oneof![array, map_of(inner)]
    });
    map_of(value)
}

fn read_all(bytes: &[u8], handler: u32) -> (Vec<Outcome>, Result<(), String>) {
    let mut outcomes = Outcomes::new(bytes, manifest(true), handler);
    let mut read = Vec::new();
    while outcomes.end().is_err() {
        match outcomes.next() {
            Ok((outcome, its_bytes)) => {
                assert!(its_bytes.len() >= 4, "an outcome has at least four bytes");
                read.push(outcome);
            }
            Err(what) => return (read, Err(what)),
        }
    }
    (read, Ok(()))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_data_keeps_its_digits(
        data in data(),
        channel in 0..Channel::ALL.len(),
        template in "[a-z]{1,20}",
    ) {
        let channel = Channel::ALL[channel];
        let mut bytes = b"\x93\xc0\xc0\x91\x94\x01".to_vec();
        bytes.push(channel as u8);
        encode::write_str(&mut bytes, &template).unwrap();
        bytes.extend(&data.wire);
        let (outcomes, end) = read_all(&bytes, 0);
        prop_assert_eq!(end, Ok(()));
        match &outcomes[0].actions[..] {
            [Action::Send { channel: its_channel, template: its_template, data: its_data }] => {
                prop_assert_eq!((*its_channel, &**its_template), (channel, &*template));
                prop_assert_eq!(&**its_data, &data.json);
            }
            other => prop_assert!(false, "{:?}", other),
        }
        // A truncated outcome is refused.
        let cut = bytes.len() / 2;
        prop_assert!(read_all(&bytes[..cut], 0).1.is_err());
    }

    #[test]
    fn any_due_time_is_read_as_it_was_written(
        kind in 0..5_u64,
        parts in vec(any::<u16>(), 4),
        wide in any::<u64>(),
    ) {
        let [first, second, third, fourth] = parts[..] else { unreachable!() };
        let (year, month, day) = (first as i16, second as u8, third as u8);
        let (when, numbers) = match kind {
            0 => (When::After { ms: wide }, vec![i128::from(wide)]),
            1 => (When::At { ms: wide as i64 }, vec![i128::from(wide as i64)]),
            2 => (
                When::InDays { days: wide as u32, minute: fourth },
                vec![(wide as u32).into(), fourth.into()],
            ),
            3 => (
                When::On { year, month, day, minute: fourth },
                vec![year.into(), month.into(), day.into(), fourth.into()],
            ),
            _ => (
                When::EveryYearOn { month, day, minute: fourth },
                vec![month.into(), day.into(), fourth.into()],
            ),
        };
        let mut bytes = b"\x93\xc0\xc0\x92\x93\x03\x01".to_vec();
        bytes.push(0x90 + 1 + numbers.len() as u8);
        bytes.push(kind as u8);
        for number in numbers {
            match u64::try_from(number) {
                Ok(number) => _ = encode::write_uint(&mut bytes, number).unwrap(),
                Err(_) => _ = encode::write_sint(&mut bytes, number as i64).unwrap(),
            }
        }
        bytes.extend(b"\x92\x04\x01");
        let (outcomes, end) = read_all(&bytes, 0);
        prop_assert_eq!(end, Ok(()));
        match &outcomes[0].actions[..] {
            [Action::Schedule { timer: 1, when: read }, Action::Cancel { timer: 1 }] => {
                prop_assert_eq!(*read, when);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        check_any(&bytes);
    }

    /// The reader gets further with nearly correct bytes.
    #[test]
    fn any_change_of_good_bytes_is_read_or_refused(
        data in data(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = b"\x93\xc0\xc0\x91\x94\x01\x02\xa1t".to_vec();
        bytes.extend(&data.wire);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check_any(&bytes);
    }
}

fn check_any(bytes: &[u8]) {
    // The handlers of an event, a timer and a merge.
    for handler in 0..3 {
        check_handler(bytes, handler);
    }
}

fn check_handler(bytes: &[u8], handler: u32) {
    let (outcomes, _) = read_all(bytes, handler);
    for outcome in outcomes {
        assert!(outcome.actions.len() <= 64);
        assert!(outcome.error.is_none() || outcome.actions.is_empty());
        assert!(outcome.error.is_none() || outcome.state == StateChange::Unchanged);
        assert!(
            handler != 2 || outcome.actions.iter().all(|action| matches!(action, Action::Note(_)))
        );
        for action in &outcome.actions {
            match action {
                Action::Send { template, data, .. } => {
                    assert!((1..=256).contains(&template.len()));
                    let parsed: serde_json::Map<_, _> =
                        serde_json::from_str(data).expect("data is an object");
                    // No member is lost in the map, so no key is duplicate.
                    assert_eq!(parsed.len(), top_level_members(data));
                }
                Action::Note(text) => assert!(!text.contains(char::is_control)),
                Action::Schedule { timer, .. } | Action::Cancel { timer } => assert_eq!(*timer, 1),
            }
        }
    }
}

fn top_level_members(json: &str) -> usize {
    struct Count;
    impl<'de> serde::de::Visitor<'de> for Count {
        type Value = usize;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
            let mut count = 0;
            while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {
                count += 1;
            }
            Ok(count)
        }
    }
    serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(json), Count)
        .unwrap()
}
