//! Random bodies with random changes. They are valid exactly if `serde_json` accepts them, and
//! their errors contain no data.

use proptest::prelude::*;

use super::super::EventErrorKind;
use super::super::error::ENVELOPE_NAMES;
use super::oracle::{any_json, any_object_of};
use super::*;

/// Whether `serde_json` accepts the body as an object. `None` where `serde_json` is stricter than
/// the grammar: numbers beyond a float, and nesting from 128 on.
fn serde_accepts(body: &[u8]) -> Option<bool> {
    let text = std::str::from_utf8(body).map_err(|_| ());
    match text.map(serde_json::from_str::<serde_json::Value>) {
        Err(()) => Some(false),
        Ok(Ok(value)) => Some(value.is_object()),
        Ok(Err(error)) => {
            let error = error.to_string();
            (!error.contains("number out of range") && !error.contains("recursion limit"))
                .then_some(false)
        }
    }
}

/// Replaces by spaces a byte order mark at the beginning, and each comma that is after a value and
/// before a closing bracket.
fn without_trailing_commas(body: &[u8]) -> Vec<u8> {
    let mut repaired = body.to_vec();
    if body.starts_with("\u{feff}".as_bytes()) {
        repaired[..3].fill(b' ');
    }
    let body = &repaired.clone();
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
            EventErrorKind::NoEventCode
            | EventErrorKind::EventCodeNotText
            | EventErrorKind::EventCodeTooLong
            | EventErrorKind::CustomerNotAnObject
            | EventErrorKind::CustomerIdUnusable => Some(without_trailing_commas(body) != body),
            _ => None,
        },
    }
}

/// One small change to a body: a place, the number of bytes to remove there, and the bytes to
/// insert.
fn any_change() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let piece = prop_oneof![
        proptest::sample::select(
            &[
                ",", ":", "{", "}", "[", "]", "\"", "\\", "0", "1", "-", ".", "e", "E", "+", " ",
                "\n", "\\u", "\\ud800", "\\udc00", "\0", "\u{1f}", "null", "true", "é", "\u{feff}",
                ",}", ",]", "\"a\":1", "",
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
            let expected = is_valid.then_some(repaired != body);
            prop_assert_eq!(accepts(&body), expected, "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn an_error_never_contains_a_value_or_a_foreign_name(
        body in any_object_of(any_json()),
        changes in proptest::collection::vec(any_change(), 1..4),
    ) {
        let named = body.replace("customerId", "secret").replace("items", "79540286267");
        let named = named.replace("null", "\"secret\"");
        if let Err(error) = read(change(&named, changes)) {
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains("secret") && !shown.contains("7954"), "{}", shown);
            for step in error.path.split('/').skip(1) {
                let is_index = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
                let is_known = ["*", "…"].contains(&step) || ENVELOPE_NAMES.contains(&step);
                prop_assert!(is_index || is_known, "{}", step);
            }
        }
    }
}
