//! What is an event and what is not, whatever rules are loaded.

use proptest::prelude::*;

use super::super::EventErrorKind;
use super::super::error::ENVELOPE_NAMES;
use super::oracle::{any_json, any_object_of};
use super::*;

fn refusal(body: impl AsRef<[u8]>) -> EventError {
    read(body).expect_err("it is no event")
}

fn nested(depth: usize) -> String {
    // The event itself is the first level.
    format!(r#"{{"eventCode":"E","a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
}

#[test]
fn nesting_is_read_to_128_levels_and_no_deeper() {
    assert!(read(nested(128)).is_ok());
    for depth in [129, 1000, 100_000] {
        assert_eq!(refusal(nested(depth)).kind, EventErrorKind::TooDeep);
        let objects = format!(r#"{{"eventCode":"E","a":{}"#, r#"{"a":"#.repeat(depth));
        assert_eq!(refusal(objects).kind, EventErrorKind::TooDeep);
    }
}

#[test]
fn an_empty_body_is_refused() {
    for body in ["", " ", "\r\n\t "] {
        assert_eq!(refusal(body).kind, EventErrorKind::Empty);
    }
}

#[test]
fn only_an_object_is_an_event() {
    for body in ["[]", "1", "null", "\"eventCode\"", "<xml/>", "eventCode", "\0"] {
        assert_eq!(refusal(body).kind, EventErrorKind::NotAnObject, "{body}");
    }
}

#[test]
fn the_event_code_must_be_a_text_of_1_to_128_bytes() {
    let coded = |code: &str| format!(r#"{{"a":1,"eventCode":{code},"b":2}}"#);
    for absent in ["{}", r#"{"EventCode":"E"}"#, r#"{"a":{"eventCode":"E"}}"#, &coded("null"), &coded("\"\"")] {
        assert_eq!(refusal(absent).kind, EventErrorKind::NoEventCode, "{absent}");
    }
    for other in ["1", "true", "{}", "[\"E\"]"] {
        assert_eq!(refusal(coded(other)).kind, EventErrorKind::EventCodeNotText, "{other}");
    }
    let long = |length: usize| coded(&format!("\"{}\"", "é".repeat(length / 2)));
    assert_eq!(read(long(128)).unwrap().code().len(), 128);
    assert_eq!(refusal(long(130)).kind, EventErrorKind::EventCodeTooLong);
}

#[test]
fn what_is_not_utf8_is_refused_where_it_begins_wherever_that_is() {
    for bytes in [
        &b"\xff"[..],
        b"\xc3",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
    ] {
        let body = [br#"{"eventCode":"E","unasked":""#, bytes, br#""}"#].concat();
        let error = refusal(&body);
        assert_eq!((error.kind, error.offset), (EventErrorKind::NotUtf8, 28));
    }
}

#[test]
fn syntax_that_json_does_not_have_is_refused_wherever_it_stands() {
    for value in [
        "01",
        "-01",
        "00",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "0x10",
        "1_000",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "True",
        "nulll",
        "truefalse",
        "'a'",
        "\"",
        "\"\t\"",
        "\"\n\"",
        "\"\0\"",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "[,]",
        "{,}",
        "[1,,]",
        "[1,,2]",
        "{\"a\":1,,}",
        "[,1]",
        "// c\n1",
        "/* c */ 1",
        "undefined",
        "1,,",
        "\u{a0}1",
        "\u{feff}1",
        "#",
        "[1}",
        "{\"a\":1]",
    ] {
        for body in
            [format!(r#"{{"eventCode":"E","x":{value}}}"#), format!(r#"{{"x":[{{"y":{value}}}],"eventCode":"E"}}"#)]
        {
            assert!(matches!(refusal(&body).kind, EventErrorKind::Syntax(_)), "{body}");
        }
    }
    for after in ["x", "{}", ",", "}", "\0", "\u{a0}"] {
        let body = format!(r#"{{"eventCode":"E"}}{after}"#);
        let error = refusal(&body);
        assert!(matches!(error.kind, EventErrorKind::Syntax(_)), "{body}");
        assert_eq!(error.offset, 17);
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    let error = refusal("\u{feff}{\"eventCode\":\"E\"}");
    assert!(error.to_string().contains("byte order mark"), "{error}");
}

#[test]
fn escapes_that_json_does_not_have_are_refused_wherever_they_stand() {
    for escape in [
        r"\x41",
        r"\'",
        r"\U0041",
        r"\u",
        r"\u12",
        r"\u12G4",
        r"\u+123",
        r"\ud800",
        r"\ud800x",
        r"\ud800\n",
        r"\ud800\u0041",
        r"\udc00",
        r"\udc00\ud800",
        r"\ud800\ud800",
        r"\ud83d\ude",
        r"\0",
    ] {
        for body in [format!(r#"{{"eventCode":"E","x":"{escape}"}}"#), format!(r#"{{"{escape}":1,"eventCode":"E"}}"#)] {
            assert_eq!(refusal(&body).kind, EventErrorKind::Escape, "{body}");
        }
    }
    for escape in [r"\ud83d\ude00", r"\uD83D\uDE00", r#"\"\\\/\b\f\n\r\t"#, r"\u0000", r"\uffff", "\u{7f}", "\u{2028}"]
    {
        assert!(read(format!(r#"{{"eventCode":"E","{escape}":"{escape}"}}"#)).is_ok(), "{escape}");
    }
}

#[test]
fn a_number_of_any_size_is_valid() {
    for number in
        ["1e999999999999999999999", "-0", "0e-0", "1E+00", &"9".repeat(10_000), &format!("0.{}", "0".repeat(10_000))]
    {
        assert!(read(format!(r#"{{"eventCode":"E","x":{number}}}"#)).is_ok(), "{number}");
    }
}

#[test]
fn ten_megabytes_are_read_or_refused_without_a_fuss() {
    let size = 10 << 20;
    assert!(read(format!(r#"{{"eventCode":"E","x":"{}"}}"#, "x".repeat(size))).is_ok());
    assert!(read(format!(r#"{{"eventCode":"E","x":[{}1]}}"#, "1,".repeat(size / 2))).is_ok());
    assert!(read(format!(r#"{{"eventCode":"E"{}}}"#, r#","":"""#.repeat(size / 6))).is_ok());
    assert_eq!(refusal("[".repeat(size)).kind, EventErrorKind::NotAnObject);
    assert_eq!(refusal(" ".repeat(size)).kind, EventErrorKind::Empty);
    assert!(matches!(refusal(format!(r#"{{"x":"{}"#, "x".repeat(size))).kind, EventErrorKind::Syntax(_)));
}

#[test]
fn a_comma_before_a_closing_bracket_is_forgiven_and_told() {
    for (body, repaired) in [
        (r#"{"eventCode":"E"}"#, false),
        (r#"{"eventCode":"E",}"#, true),
        (r#"{"eventCode":"E","a":[1 , ] , }"#, true),
        (r#"{"eventCode":"E","a":{"b":[{"c":"d",},],},}"#, true),
        (r#"{"eventCode":"E","a":",}"}"#, false),
    ] {
        assert_eq!(read(body).unwrap().was_repaired(), repaired, "{body}");
    }
}

#[test]
fn an_error_says_where_and_names_only_what_the_envelope_knows() {
    for (body, path, offset) in [
        (r#"{"customerInfo":{"customerId":01}}"#, "/customerInfo/customerId", 31),
        (r#"{"phone79540286267":[1,{"x":nope}]}"#, "/*/1/*", 28),
        (r#"{"a":1,"eventCode":"E" "b":2}"#, "/eventCode", 23),
        (r#"{"a":[[1],[2,3,[],!]]}"#, "/*/1/2", 18),
        (r#"{"a":1,"b""#, "/*", 10),
        ("{", "", 1),
        ("{\"eventCode\":\"\"}", "/eventCode", 15),
    ] {
        let error = refusal(body);
        assert_eq!((error.path.as_str(), error.offset), (path, offset), "{body}");
    }
    let deep = refusal(nested(200));
    assert_eq!(deep.path, "/*/0/0/0/0/0/0/0/…");
    assert_eq!(deep.to_string(), "nesting deeper than 128 at /*/0/0/0/0/0/0/0/…, byte 148");
    assert_eq!(refusal("{").to_string(), "the body ends too early at the top of the body, byte 1");
}

/// Whether `serde_json` takes it for an object. `None` where it is stricter than the grammar (numbers beyond a float, nesting
/// from 128 on), so that it can't be asked.
fn serde_accepts(body: &[u8]) -> Option<bool> {
    let text = std::str::from_utf8(body).map_err(|_| ());
    match text.map(serde_json::from_str::<serde_json::Value>) {
        Err(()) => Some(false),
        Ok(Ok(value)) => Some(value.is_object()),
        Ok(Err(error)) => {
            let error = error.to_string();
            (!error.contains("number out of range") && !error.contains("recursion limit")).then_some(false)
        }
    }
}

/// Turns each comma before a closing bracket into a space, unless nothing stands before the comma.
fn without_trailing_commas(body: &[u8]) -> Vec<u8> {
    let mut repaired = body.to_vec();
    let (mut in_text, mut escaped, mut before) = (false, false, b' ');
    for index in 0..body.len() {
        let byte = body[index];
        if in_text {
            in_text = byte != b'"' || escaped;
            escaped = byte == b'\\' && !escaped;
            before = b'"';
            continue;
        }
        if byte.is_ascii_whitespace() && byte != 0x0c {
            continue;
        }
        if byte == b',' && !matches!(before, b',' | b'{' | b'[' | b':') {
            let rest = &body[index + 1..];
            let next = rest.iter().find(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
            if matches!(next, Some(b'}' | b']')) {
                repaired[index] = b' ';
            }
        }
        in_text = byte == b'"';
        before = byte;
    }
    repaired
}

fn accepts(body: &[u8]) -> Option<bool> {
    match read(body) {
        Ok(event) => Some(event.was_repaired()),
        Err(error) => match error.kind {
            EventErrorKind::NoEventCode | EventErrorKind::EventCodeNotText | EventErrorKind::EventCodeTooLong => {
                Some(without_trailing_commas(body) != body)
            }
            _ => None,
        },
    }
}

/// One small change to a body: at a place, something inserted in place of so many bytes.
fn any_change() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let piece = prop_oneof![
        proptest::sample::select(
            &[
                ",", ":", "{", "}", "[", "]", "\"", "\\", "0", "1", "-", ".", "e", "E", "+", " ", "\n", "\\u",
                "\\ud800", "\\udc00", "\0", "\u{1f}", "null", "true", "é", "\u{feff}", ",}", ",]", "\"a\":1", "",
            ][..]
        )
        .prop_map(|piece| piece.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 1..3),
    ];
    (any::<prop::sample::Index>(), 0..3_usize, piece)
}

fn change(body: &str, changes: Vec<(prop::sample::Index, usize, Vec<u8>)>) -> Vec<u8> {
    let mut body = body.as_bytes().to_vec();
    for (place, cut, piece) in changes {
        let begin = place.index(body.len() + 1);
        let end = (begin + cut).min(body.len());
        body.splice(begin..end, piece);
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_body_is_valid_if_and_only_if_serde_json_says_so(
        body in any_object_of(any_json()),
        changes in proptest::collection::vec(any_change(), 0..4),
    ) {
        let body = change(&body, changes);
        let repaired = without_trailing_commas(&body);
        if let Some(is_valid) = serde_accepts(&repaired) {
            prop_assert_eq!(accepts(&body), is_valid.then_some(repaired != body), "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn an_error_never_contains_a_value_or_a_foreign_name(
        body in any_object_of(any_json()),
        changes in proptest::collection::vec(any_change(), 1..4),
    ) {
        let named = body.replace("customerId", "secret").replace("items", "79540286267").replace("null", "\"secret\"");
        if let Err(error) = read(change(&named, changes)) {
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains("secret") && !shown.contains("7954"), "{}", shown);
            for step in error.path.split('/').skip(1) {
                let is_index = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
                prop_assert!(is_index || step == "*" || step == "…" || ENVELOPE_NAMES.contains(&step), "{}", step);
            }
        }
    }
}
