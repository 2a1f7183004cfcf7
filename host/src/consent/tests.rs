//! Tests of files of consents: each kind of mistake is found, with its line, before anything is
//! applied.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::clock::Millis;
use crate::consents::{Statement, key_of, key_text};
use crate::event::{Customer, CustomerKey};

const NOW: Millis = 1_800_000_000_000;
const ID: &str = "70000164";

fn terms() -> Terms {
    Terms { yes: Some(vec!["Enabled".into()]), zones_from_events: false }
}

fn read_under(text: &str, terms: &Terms) -> Result<ConsentFile, FileError> {
    ConsentFile::read_from(text.as_bytes(), Path::new("consents.jsonl"), terms, NOW)
}

fn read(text: &str) -> Result<ConsentFile, FileError> {
    read_under(text, &terms())
}

fn key(id: &str) -> CustomerKey {
    Customer { customer_id: Some(id.into()), ..Customer::default() }.key().unwrap()
}

/// A line about the customer with the id 70000164.
fn line(members: &str) -> String {
    format!("{{\"customerId\":\"{ID}\",{members}}}\n")
}

fn good(id: u32) -> String {
    format!(
        "{{\"customerId\":{id},\"subscription\":\"Mailings\",\"channels\":{{\"sms\":\"Enabled\"}},\
         \"at\":\"2026-03-01T08:00:00Z\"}}\n"
    )
}

fn exported(statements: &[Statement]) -> String {
    let mut text = Vec::new();
    statements.iter().for_each(|statement| append_line(statement, &mut text));
    String::from_utf8(text).unwrap()
}

/// The lines of the mistakes that are shown, and the whole message.
fn refused(text: &str) -> (Vec<u64>, String) {
    let error = read(text).unwrap_err();
    let FileError::Mistakes { mistakes, .. } = &error else { panic!("{error}") };
    (mistakes.iter().map(|mistake| mistake.line).collect(), error.to_string())
}

#[test]
fn a_line_names_its_customer_by_an_id_of_events_or_by_a_key() {
    let uid = Customer { customer_uid: Some("u-1".into()), ..Customer::default() }.key().unwrap();
    let group =
        Customer { account_group_id: Some("7".into()), ..Customer::default() }.key().unwrap();
    for (member, expected) in [
        (r#""customerId":"164""#.to_owned(), key("164")),
        (r#""customerId":164"#.to_owned(), key("164")),
        (r#""customerUid":"u-1","customerId":null"#.to_owned(), uid),
        (r#""accountGroupId":7"#.to_owned(), group),
        (format!(r#""key":"{}""#, key_text(uid)), uid),
    ] {
        let file = read(&format!(r#"{{{member},"timeZone":"Asia/Omsk"}}"#)).unwrap();
        let zone = file.statements[0].time_zone.as_deref();
        assert_eq!((file.statements[0].customer, zone), (expected, Some("Asia/Omsk")), "{member}");
    }
}

#[test]
fn values_are_read_by_the_policies_and_counted() {
    let at = r#""subscription":"Mailings","at":"2026-03-01T08:00:00+03:00""#;
    let channels = r#""channels":{"sms":"Enabled","viber":"enabled","mail":true,"push":null}"#;
    let text = "\u{feff}".to_owned()
        + &line(&format!("{channels},{at}"))
        + "\r\n\n"
        + &line(r#""timeZone":"+06:00""#);
    let file = read(&text).unwrap();
    assert_eq!(
        exported(&file.statements),
        format!(
            "{{\"key\":\"{0}\",\"timeZone\":\"+06:00\"}}\n{{\"key\":\"{0}\",\"subscription\":\
             \"Mailings\",\"channels\":{{\"mail\":true,\"sms\":true,\"viber\":false}},\"at\":\
             \"2026-03-01T05:00:00Z\"}}\n",
            key_text(key(ID))
        )
    );
    let value = |value: &str, is_yes| SaidValue { value: value.into(), is_yes, count: 1 };
    assert_eq!(file.values, [value("Enabled", true), value("enabled", false)]);
    let again = read_under(&exported(&file.statements), &Terms::default()).unwrap();
    assert_eq!(again.statements, file.statements, "an export means the same without policies");
    let error = read_under(&good(1), &Terms::default()).unwrap_err().to_string();
    assert!(error.contains("`consents.jsonl`:1: the value of `sms`"), "{error}");
}

#[test]
fn each_kind_of_bad_line_is_a_mistake_that_says_what_to_do() {
    let consent = |channels: &str| {
        format!(r#""subscription":"Mailings","channels":{channels},"at":"2026-03-01T08:00:00Z""#)
    };
    let at =
        |at: &str| format!(r#""subscription":"Mailings","channels":{{"sms":"Enabled"}},"at":{at}"#);
    let long = "x".repeat(129);
    for (bad, expected) in [
        ("[]\n".to_owned(), "is not a JSON object"),
        (format!("\"{ID}\"\n"), "is not a JSON object"),
        ("{\"customerId\":\n".to_owned(), "is not JSON"),
        (line("\"timeZone\":\"UTC\"").replace('\n', "x\n"), "is not JSON"),
        ("{\"customerId\":\"\u{0}\"}\n".to_owned(), "is not JSON"),
        ("{\"timeZone\":\"UTC\"}\n".to_owned(), "add `customerId`"),
        ("{\"customerId\":\"\",\"timeZone\":\"UTC\"}\n".to_owned(), "`customerId` is empty"),
        ("{\"customerId\":1.5,\"timeZone\":\"UTC\"}\n".to_owned(), "write it as text"),
        ("{\"customerId\":{},\"timeZone\":\"UTC\"}\n".to_owned(), "write it as text"),
        (
            format!("{{\"customerId\":\"{}\",\"timeZone\":\"UTC\"}}\n", "1".repeat(4097)),
            "no event has such an id",
        ),
        (line("\"customerUid\":\"u\",\"timeZone\":\"UTC\""), "leave one out"),
        ("{\"key\":\"12\",\"timeZone\":\"UTC\"}\n".to_owned(), "`key` is not 32 hexadecimal"),
        (line("\"customerId\":\"2\""), "`customerId` is there twice"),
        (line("\"chanels\":{}"), "did you mean `channels`?"),
        (line("\"surname\":\"x\""), "the names are customerId, "),
        (line("\"79161234567\":{}"), "unknown member `(a text of 11 characters)`"),
        (line("\"timeZone\":\"a@b.ru\""), "`timeZone`: `(a text of 6 characters)` is not"),
        (line(&consent(r#"{"smss":"Enabled"}"#)), "did you mean `sms`?"),
        (line(&consent(r#"{"fax":"Enabled"}"#)), "unknown channel `fax`; the names are mail"),
        (line(&consent(r#"{"sms":"Enabled","sms":"Disabled"}"#)), "`sms` is there twice"),
        (line(&consent(r#"{"sms":1}"#)), "`sms` is neither text"),
        (line(&consent(r#"{"sms":""}"#)), "`sms` is empty"),
        (line(&consent(r#""all""#)), "`channels` is not a JSON object"),
        (line(&consent("{}")), "says nothing"),
        (line("\"channels\":null"), "says nothing"),
        (line("\"channels\":{\"sms\":\"Enabled\"}"), "`subscription` is missing"),
        (line("\"subscription\":\"M\",\"channels\":{\"sms\":true}"), "`at` is missing"),
        (line("\"subscription\":\"M\",\"timeZone\":\"UTC\""), "`channels` is missing"),
        (line(&consent(r#"{"sms":"Enabled"}"#).replace("Mailings", "")), "`subscription` is empty"),
        (line(&consent(r#"{"sms":"Enabled"}"#).replace("Mailings", &long)), "more than 128 bytes"),
        (line(&consent(r#"{"sms":true}"#).replace("\"Mailings\"", "7")), "`subscription` is not"),
        (line(&at("\"yesterday\"")), "`yesterday` is not a time"),
        (line(&at("\"2026-03-01T08:00:00\"")), "with its offset"),
        (line(&at("1772352000000")), "`at` is not text"),
        (line(&at("\"2027-01-15T08:00:00.001Z\"")), "is in the future"),
        (line("\"timeZone\":\"Asia/Omks\""), "`Asia/Omks` is not a time zone"),
        (line("\"timeZone\":\"+15:00\""), "is not a time zone"),
        (line("\"timeZone\":6"), "`timeZone` is not text"),
        (line(&format!("\"timeZone\":\"{}\"", "x".repeat(17_000))), "more than 16384 bytes"),
    ] {
        let (lines, message) = refused(&(good(1) + &bad + &good(2)));
        assert_eq!(lines, [2], "{bad}: {message}");
        assert!(message.contains("consents.jsonl:2: ") && message.contains(expected), "{message}");
        assert!(message.contains("nothing was imported"), "{message}");
        assert!(!message.contains(ID), "the id is in the message: {message}");
    }
    for good in ["2027-01-15T08:00:00Z", "2026-03-01T08:00Z", "2026-03-01 08:00:00.5+03:00"] {
        assert!(read(&line(&at(&format!("\"{good}\"")))).is_ok(), "{good}");
    }
}

#[test]
fn one_bad_line_of_a_hundred_thousand_is_found() {
    let mut text = String::new();
    for id in 1..=100_000 {
        text += &if id == 73_412 { good(id).replace("Z\"", "\"") } else { good(id) };
    }
    let (lines, message) = refused(&text);
    assert_eq!(lines, [73_412]);
    assert!(message.contains("consents.jsonl:73412: "), "{message}");
    assert_eq!(read(&text.replace("00\"", "00Z\"")).unwrap().statements.len(), 100_000);
}

#[test]
fn the_first_twenty_mistakes_are_shown_and_the_others_counted() {
    let mut text = String::new();
    for id in 0..60 {
        text += &if id % 2 == 0 { good(id) } else { good(id).replace("sms", "sns") };
    }
    let (lines, message) = refused(&text);
    assert_eq!(lines, (1..=20).map(|number| number * 2).collect::<Vec<u64>>());
    assert!(message.contains("30 lines cannot be used") && message.ends_with("and 10 more"));
}

#[test]
fn two_lines_that_contradict_each_other_are_a_mistake() {
    let no = good(1).replace("Enabled", "Disabled");
    let (lines, message) = refused(&(good(1) + &good(2) + &no));
    assert_eq!(lines, [3]);
    assert!(message.contains("`sms` has another value in line 1"), "{message}");
    let zone = |id: u32, zone| format!("{{\"customerId\":{id},\"timeZone\":\"{zone}\"}}\n");
    let (lines, message) = refused(&(zone(1, "UTC") + &zone(2, "UTC") + &zone(1, "Asia/Omsk")));
    assert_eq!(lines, [3]);
    assert!(message.contains("another time zone in line 1"), "{message}");
    for text in [
        good(1) + &good(1),
        good(1) + &no.replace("T08", "T09"),
        good(1) + &no.replace("Mailings", "Other"),
        good(1) + &no.replace("sms", "push"),
        zone(1, "UTC") + &zone(1, "UTC"),
    ] {
        assert!(read(&text).is_ok(), "{text}");
    }
}

#[test]
fn the_statements_of_a_customer_follow_each_other_the_oldest_first() {
    let mut text = String::new();
    for hour in [9, 7, 8] {
        for id in [1, 2] {
            write!(text, "{}", good(id).replace("T08", &format!("T{hour:02}"))).unwrap();
        }
    }
    let statements = read(&text).unwrap().statements;
    let moments = |statements: &[Statement]| -> Vec<Millis> {
        statements.iter().map(|one| one.consent.as_ref().unwrap().at).collect()
    };
    for half in statements.chunks(3) {
        assert!(half.iter().all(|one| one.customer == half[0].customer));
        assert!(moments(half).is_sorted());
    }
}

#[test]
fn no_line_panics() {
    use proptest::prelude::*;
    let bytes = prop::collection::vec(any::<u8>(), 0..64);
    proptest!(|(text in "[\\PC\"{}:,0-9]{0,64}", bytes in bytes)| {
        let _ = read(&text);
        let _ = ConsentFile::read_from(&bytes[..], Path::new("-"), &terms(), NOW);
        let _ = key_of(&text);
        let _ = read(&line(&text));
        let _ = read(&line(&format!("\"channels\":{{{text}}}")));
    });
}
