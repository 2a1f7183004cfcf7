//! The output of a guest: bytes that the ABI does not allow are a fault, and data that it allows
//! becomes JSON.

use hailer::engine::{Action, GuestFault, Outcomes};

use super::stage::fixtures::GUILTY;
use super::stage::{Stage, fault_of, manifest, results, rule_set};

/// An outcome whose only action sends `data`.
fn sending(data: &[u8]) -> Vec<u8> {
    [&b"\x93\xc0\xc0\x91\x94\x01\x02\xa1t"[..], data].concat()
}

/// The data of one outcome, as JSON.
fn data_of(bytes: &[u8]) -> Result<String, String> {
    let mut outcomes = Outcomes::new(bytes, manifest(true), 0);
    let (outcome, _) = outcomes.next()?;
    outcomes.end()?;
    match &outcome.actions[..] {
        [Action::Send { data, .. }] => Ok(data.clone().into()),
        other => Err(format!("{other:?}")),
    }
}

/// A map whose only value is nested arrays, with `depth` containers in all.
fn nested(depth: usize) -> Vec<u8> {
    let mut data = b"\x81\xa1a".to_vec();
    data.resize(3 + depth - 2, 0x91);
    data.push(0x90);
    data
}

#[test]
fn an_output_outside_the_memory_or_over_the_limit_is_a_fault() {
    let mut stage = Stage::new();
    let mut kind_of = |offset: u32, length: u32| {
        let place = u64::from(offset) << 32 | u64::from(length);
        let rules = rule_set([stage.configured("place", &place.to_le_bytes(), 1).unwrap()]);
        match fault_of(stage.decide(&rules, &[1])) {
            GuestFault::OutputTooLarge { got, .. } => format!("{got} is too large"),
            GuestFault::BadOutput(what) => what.clone(),
            other => panic!("{other:?}"),
        }
    };
    const MEMORY: u32 = 4 << 16;
    let outside = "an output outside of the memory";
    for (offset, length) in
        [(MEMORY, 1), (MEMORY - 1, 2), (u32::MAX, 1), (u32::MAX, 65_536), (MEMORY - 65_535, 65_536)]
    {
        assert_eq!(kind_of(offset, length), outside, "{offset} {length}");
    }
    for length in [65_537, MEMORY, u32::MAX] {
        assert_eq!(kind_of(0, length), format!("{length} is too large"));
        assert_eq!(kind_of(u32::MAX, length), format!("{length} is too large"));
    }
    // These places are within the memory, but have no outcome.
    for (offset, length) in [(0, 0), (MEMORY, 0), (MEMORY - 65_536, 65_536)] {
        assert_ne!(kind_of(offset, length), outside, "{offset} {length}");
    }
}

#[test]
fn a_wrong_number_of_outcomes_is_a_fault_of_every_call() {
    const OK: &[u8] = b"\x93\xc0\xc0\x91\x92\x02\xa2ok";
    for count in [0, 1, 3, 5, 40] {
        let mut stage = Stage::new();
        let rules = rule_set([stage.configured("parrot-once", &OK.repeat(count), 1).unwrap()]);
        let decided = stage.decide(&rules, &[1, 2, 3, 4]);
        // When the calls are made one by one, one outcome is correct.
        let expected = if count == 1 { "ok" } else { "output" };
        assert_eq!(results(decided), [expected; 4], "{count} outcomes");
    }
    let mut stage = Stage::new();
    let rules = rule_set([stage.configured("parrot-once", &OK.repeat(4), 1).unwrap()]);
    assert_eq!(results(stage.decide(&rules, &[1, 2, 3, 4])), ["ok"; 4]);
}

#[test]
fn output_that_the_abi_does_not_allow_is_a_fault() {
    let mut too_many_notes = b"\x93\xc0\xc0\xdc\x00\x41".to_vec();
    too_many_notes.extend(b"\x92\x02\xa1n".repeat(65));
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("nil", vec![0xc0]),
        ("a map", vec![0x80]),
        ("a reserved byte", vec![0xc1]),
        ("too few members", b"\x92\xc0\xc0".to_vec()),
        ("an array that ends", vec![0x93, 0xc0]),
        ("an array with a false length", vec![0xdd, 0xff, 0xff, 0xff, 0xff]),
        ("an array head that ends", vec![0xdd, 0xff]),
        ("an error that is a number", b"\x93\x01\xc0\x90".to_vec()),
        ("an error that is not text", b"\x93\xa2\xff\xfe\xc0\x90".to_vec()),
        ("an error that ends", b"\x93\xdb\xff\xff\xff\xff".to_vec()),
        ("state", b"\x93\xc0\xc4\x01\x00\x90".to_vec()),
        ("a removed state", b"\x93\xc0\xc2\x90".to_vec()),
        ("an unknown timer", b"\x93\xc0\xc0\x91\x93\x03\x01\x92\x00\x00".to_vec()),
        ("an unknown timer to cancel", b"\x93\xc0\xc0\x91\x92\x04\x01".to_vec()),
        ("actions that are a map", b"\x93\xc0\xc0\x80".to_vec()),
        ("actions with a false length", b"\x93\xc0\xc0\xdc\xff\xff".to_vec()),
        ("65 actions", too_many_notes),
        ("an action without a kind", b"\x93\xc0\xc0\x91\x90".to_vec()),
        ("kind 0", b"\x93\xc0\xc0\x91\x92\x00\xa1n".to_vec()),
        ("kind 5", b"\x93\xc0\xc0\x91\x92\x05\xa1n".to_vec()),
        ("kind -1", b"\x93\xc0\xc0\x91\x92\xff\xa1n".to_vec()),
        (
            "a kind of 64 bits",
            b"\x93\xc0\xc0\x91\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1n".to_vec(),
        ),
        ("a kind that is a text", b"\x93\xc0\xc0\x91\x92\xa1s\xa1n".to_vec()),
        ("a note without a text", b"\x93\xc0\xc0\x91\x91\x02".to_vec()),
        ("a note of nil", b"\x93\xc0\xc0\x91\x92\x02\xc0".to_vec()),
        ("a send without data", b"\x93\xc0\xc0\x91\x93\x01\x02\xa1t".to_vec()),
        ("channel 6", b"\x93\xc0\xc0\x91\x94\x01\x06\xa1t\x80".to_vec()),
        ("channel -1", b"\x93\xc0\xc0\x91\x94\x01\xff\xa1t\x80".to_vec()),
        ("an empty template", b"\x93\xc0\xc0\x91\x94\x01\x02\xa0\x80".to_vec()),
        ("a template of nil", b"\x93\xc0\xc0\x91\x94\x01\x02\xc0\x80".to_vec()),
        (
            "a long template",
            [b"\x93\xc0\xc0\x91\x94\x01\x02\xda\x01\x01", &b"t".repeat(257)[..], b"\x80"].concat(),
        ),
        ("data that is nil", sending(b"\xc0")),
        ("data that is an array", sending(b"\x90")),
        ("data that ends", sending(b"")),
        ("a map with a false length", sending(b"\xdf\xff\xff\xff\xff")),
        ("a map that is one entry short", sending(b"\x82\xa1a\x01")),
        ("a key that is a number", sending(b"\x81\x01\x01")),
        ("a key that is nil", sending(b"\x81\xc0\x01")),
        ("a duplicate key", sending(b"\x83\xa1a\x01\xa1b\x01\xa1a\x01")),
        ("a duplicate key in a nested map", sending(b"\x81\xa1a\x91\x82\xa1b\x01\xa1b\x01")),
        ("a key that is not text", sending(b"\x81\xa1\xff\x01")),
        ("a text that is not text", sending(b"\x81\xa1a\xa1\xff")),
        ("a text that is half a surrogate", sending(b"\x81\xa1a\xa3\xed\xa0\x80")),
        ("bin", sending(b"\x81\xa1a\xc4\x01\x00")),
        ("NaN", sending(b"\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00")),
        ("infinity", sending(b"\x81\xa1a\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00")),
        ("a short NaN", sending(b"\x81\xa1a\xca\x7f\xc0\x00\x00")),
        ("a float that ends", sending(b"\x81\xa1a\xcb\x00")),
        (
            "an extension of an unknown type",
            sending(&[b"\x81\xa1a\xd8\x03", &[0; 16][..]].concat()),
        ),
        ("an extension of one byte", sending(b"\x81\xa1a\xd4\x01\x00")),
        ("a decimal of eight bytes", sending(&[b"\x81\xa1a\xd7\x01", &[0; 8][..]].concat())),
        (
            "a decimal of scale 29",
            sending(b"\x81\xa1a\xd8\x01\x01\0\0\0\0\0\0\0\0\0\0\0\x1d\0\0\0"),
        ),
        ("a negative zero", sending(b"\x81\xa1a\xd8\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0")),
        ("a decimal that ends", sending(b"\x81\xa1a\xd8\x01\x00")),
        ("a timestamp of sixteen bytes", sending(&[b"\x81\xa1a\xd8\x02", &[0; 16][..]].concat())),
        ("a timestamp out of range", sending(b"\x81\xa1a\xd7\x02\x7f\xff\xff\xff\xff\xff\xff\xff")),
        ("nesting of seventeen", sending(&nested(17))),
        ("bytes left over", [sending(b"\x80"), vec![0xc0]].concat()),
        ("an unknown member that ends", b"\x94\xc0\xc0\x90\xa5no".to_vec()),
        (
            "an unknown member nested too deep",
            [b"\x94\xc0\xc0\x90".to_vec(), vec![0x91; 17], vec![0xc0]].concat(),
        ),
        ("an unknown member with a false length", b"\x94\xc0\xc0\x90\xdd\xff\xff\xff\xff".to_vec()),
        ("an unknown member of a reserved byte", b"\x94\xc0\xc0\x90\xc1".to_vec()),
    ];
    let mut stage = Stage::new();
    for (what, bytes) in bad {
        let rules = rule_set([stage.configured("parrot", &bytes, 1).unwrap()]);
        let decided = stage.decide(&rules, &[1]);
        match fault_of(decided) {
            GuestFault::BadOutput(_) => {}
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(
            results(stage.decide(&rules, &[1, GUILTY, 3])),
            ["output"; 3],
            "{what}, in a crossing"
        );
    }
}

#[test]
fn data_that_the_abi_allows_becomes_json() {
    let good: [(&[u8], &str); 16] = [
        (b"\x80", "{}"),
        (b"\x81\xa0\xc0", r#"{"":null}"#),
        (b"\x82\xa1a\xc3\xa1b\xc2", r#"{"a":true,"b":false}"#),
        (b"\x81\xa1a\xcf\xff\xff\xff\xff\xff\xff\xff\xff", r#"{"a":18446744073709551615}"#),
        (b"\x81\xa1a\xd3\x80\x00\x00\x00\x00\x00\x00\x00", r#"{"a":-9223372036854775808}"#),
        (b"\x82\xa1a\xd0\x05\xa1b\xe0", r#"{"a":5,"b":-32}"#),
        (b"\x81\xa1a\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", r#"{"a":0.1}"#),
        (b"\x81\xa1a\xcb\x80\x00\x00\x00\x00\x00\x00\x00", r#"{"a":-0.0}"#),
        (b"\x81\xa1a\xd8\x01\x70\x99\x14\0\0\0\0\0\0\0\0\0\x04\0\0\0", r#"{"a":135.0000}"#),
        (b"\x81\xa1a\xd8\x01\x0b\x01\0\0\0\0\0\0\0\0\0\0\x02\x01\0\0", r#"{"a":-2.67}"#),
        (
            b"\x81\xa1a\xd7\x02\x00\x00\x00\x00\x00\x00\x00\x01",
            r#"{"a":"1970-01-01T00:00:00.001Z"}"#,
        ),
        (b"\x81\xa1a\xd9\x04\"\\\n\x01", r#"{"a":"\"\\\n\u0001"}"#),
        (b"\x81\xa1a\x93\x01\x90\x80", r#"{"a":[1,[],{}]}"#),
        (b"\x82\xa1b\x81\xa1a\x01\xa1a\x81\xa1b\x02", r#"{"b":{"a":1},"a":{"b":2}}"#),
        (b"\xdf\x00\x00\x00\x01\xdb\x00\x00\x00\x01a\xdd\x00\x00\x00\x01\xc0", r#"{"a":[null]}"#),
        (b"\xde\x00\x01\xda\x00\x01a\xdc\x00\x01\xce\x00\x00\x00\x07", r#"{"a":[7]}"#),
    ];
    for (data, json) in good {
        assert_eq!(data_of(&sending(data)).as_deref(), Ok(json));
    }
    let deepest = data_of(&sending(&nested(16))).unwrap();
    assert_eq!(deepest.matches('[').count(), 15);
}

#[test]
fn members_that_a_newer_sdk_adds_are_skipped() {
    let unknown = b"\xc4\x02\xff\xff\xd4\x07\x00\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\
        \x82\xa1a\x01\xa1a\xa1\xff";
    let action = [b"\x98\x01\x02\xa1t\x80", &unknown[..]].concat();
    let outcome = [b"\x97\xc0\xc0\x91", &action[..], &unknown[..]].concat();
    assert_eq!(data_of(&outcome).as_deref(), Ok("{}"));
}

#[test]
fn sixty_four_actions_are_allowed_and_keep_their_order() {
    let mut bytes = b"\x93\xc0\xc0\xdc\x00\x40".to_vec();
    for number in 0..64 {
        bytes.extend([0x92, 0x02, 0xa1, b' ' + number]);
    }
    let (outcome, _) = Outcomes::new(&bytes, manifest(true), 0).next().unwrap();
    let notes = outcome.actions.iter().map(|action| match action {
        Action::Note(text) => text.to_string(),
        other => panic!("{other:?}"),
    });
    let expected: String = (b' '..b' ' + 64).map(char::from).collect();
    assert_eq!(notes.collect::<String>(), expected);
}

#[test]
fn a_note_is_cut_between_characters_and_stays_on_one_line() {
    let note_of = |text: &str| {
        let mut bytes = b"\x93\xc0\xc0\x91\x92\x02\xda".to_vec();
        bytes.extend((text.len() as u16).to_be_bytes());
        bytes.extend(text.as_bytes());
        match &Outcomes::new(&bytes, manifest(true), 0).next().unwrap().0.actions[..] {
            [Action::Note(note)] => note.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(note_of(&"я".repeat(2000)), "я".repeat(512));
    assert_eq!(note_of(&format!("x{}", "я".repeat(2000))).len(), 1023);
    assert_eq!(note_of("one\r\ntwo\u{202e}three"), r"one\r\ntwo\u{202e}three");
}
