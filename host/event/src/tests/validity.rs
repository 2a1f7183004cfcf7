//! Which bodies are events. This does not depend on the loaded rules.

use super::super::EventErrorKind;
use super::*;

fn refusal(body: impl AsRef<[u8]>) -> EventError {
    read(body).expect_err("the body is no event")
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
    for absent in
        ["{}", r#"{"EventCode":"E"}"#, r#"{"a":{"eventCode":"E"}}"#, &coded("null"), &coded("\"\"")]
    {
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
fn invalid_utf8_is_refused_with_its_offset() {
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
fn invalid_json_is_refused_at_any_place() {
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
        for body in [
            format!(r#"{{"eventCode":"E","x":{value}}}"#),
            format!(r#"{{"x":[{{"y":{value}}}],"eventCode":"E"}}"#),
        ] {
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
fn exactly_the_control_characters_are_refused_in_a_string() {
    for character in
        (0..0x3000).filter_map(char::from_u32).filter(|character| !matches!(character, '"' | '\\'))
    {
        for before in 0..if character < '\u{100}' { 17 } else { 1 } {
            let body =
                format!(r#"{{"eventCode":"E","x":"{}{character}after"}}"#, "é".repeat(before));
            match read(&body) {
                Ok(_) => assert!(character >= ' ', "{character:?}"),
                Err(error) => assert_eq!(
                    (character < ' ', error.offset),
                    (true, 22 + 2 * before),
                    "{character:?}"
                ),
            }
        }
    }
}

#[test]
fn a_leading_zero_and_an_early_end_are_named() {
    for (value, reason) in [
        ("01", "leading zero"),
        ("-00", "leading zero"),
        ("1.x", "no digit"),
        ("{", "too early"),
        ("\"", "too early"),
    ] {
        let error = refusal(format!(r#"{{"eventCode":"E","x":{value}"#));
        assert!(error.to_string().contains(reason), "{value}: {error}");
    }
}

#[test]
fn a_byte_order_mark_is_accepted_only_at_the_beginning() {
    for body in ["\u{feff}{\"eventCode\":\"E\"}", "\u{feff} \n{\"eventCode\":\"E\",}"] {
        let event = read(body).unwrap();
        assert_eq!((event.code(), event.was_repaired()), ("E", true), "{body:?}");
    }
    for body in [
        "\u{feff}\u{feff}{\"eventCode\":\"E\"}",
        " \u{feff}{\"eventCode\":\"E\"}",
        "{\u{feff}\"eventCode\":\"E\"}",
        "\u{feff}",
    ] {
        refusal(body);
    }
}

#[test]
fn invalid_escapes_are_refused_at_any_place() {
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
        for body in [
            format!(r#"{{"eventCode":"E","x":"{escape}"}}"#),
            format!(r#"{{"{escape}":1,"eventCode":"E"}}"#),
        ] {
            assert_eq!(refusal(&body).kind, EventErrorKind::Escape, "{body}");
        }
    }
    for escape in [
        r"\ud83d\ude00",
        r"\uD83D\uDE00",
        r#"\"\\\/\b\f\n\r\t"#,
        r"\u0000",
        r"\uffff",
        "\u{7f}",
        "\u{2028}",
    ] {
        assert!(read(format!(r#"{{"eventCode":"E","{escape}":"{escape}"}}"#)).is_ok(), "{escape}");
    }
}

#[test]
fn a_number_of_any_size_is_valid() {
    for number in [
        "1e999999999999999999999",
        "-0",
        "0e-0",
        "1E+00",
        &"9".repeat(10_000),
        &format!("0.{}", "0".repeat(10_000)),
    ] {
        assert!(read(format!(r#"{{"eventCode":"E","x":{number}}}"#)).is_ok(), "{number}");
    }
}

#[test]
fn bodies_of_ten_megabytes_are_read_or_refused() {
    let size = 10 << 20;
    assert!(read(format!(r#"{{"eventCode":"E","x":"{}"}}"#, "x".repeat(size))).is_ok());
    assert!(read(format!(r#"{{"eventCode":"E","x":[{}1]}}"#, "1,".repeat(size / 2))).is_ok());
    assert!(read(format!(r#"{{"eventCode":"E"{}}}"#, r#","":"""#.repeat(size / 6))).is_ok());
    assert_eq!(refusal("[".repeat(size)).kind, EventErrorKind::NotAnObject);
    assert_eq!(refusal(" ".repeat(size)).kind, EventErrorKind::Empty);
    assert!(matches!(
        refusal(format!(r#"{{"x":"{}"#, "x".repeat(size))).kind,
        EventErrorKind::Syntax(_)
    ));
}

#[test]
fn a_body_longer_than_the_limit_is_refused_without_reading_it() {
    let body = Bytes::from_static(br#"{"eventCode":"E"}"#);
    assert!(Event::read_within(body.clone(), 17).is_ok());
    let error = Event::read_within(body, 16).expect_err("the body has 17 bytes");
    assert_eq!((error.kind, error.offset), (EventErrorKind::TooLarge, 16));
}

#[test]
fn a_comma_before_a_closing_bracket_is_accepted_and_reported() {
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
fn an_error_has_a_place_and_only_names_of_the_envelope() {
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
