//! Tests of zones of customers.

use proptest::prelude::*;

use super::*;
use crate::ZoneChange;
use crate::zone::{first_moment, shown_moment};

#[test]
fn a_zone_is_a_place_or_an_offset_of_at_most_fourteen_hours() {
    for text in ["Asia/Omsk", "UTC", "+03:00", "-03:30", "+14:00", "-14:00", "+00:00", "-00:00"] {
        assert!(zone_of(text).is_some(), "{text}");
    }
    let nonsense = [
        "",
        "+",
        "03:00",
        "+3:00",
        "+0300",
        "+03",
        "+03:60",
        "+14:01",
        "-14:01",
        "+99:00",
        "+03:00 ",
        " +03:00",
        "+03:0٣",
        "+-3:00",
        "+03.00",
        "−03:00",
        "Moscow",
        "localtime",
        "MSK+3",
    ];
    for text in nonsense {
        assert!(zone_of(text).is_none(), "{text}");
    }
}

#[test]
fn an_offset_counts_east_of_utc() {
    assert_eq!(shown_moment(&zone("+03:00"), 0), "1970-01-01 03:00 +03:00");
    assert_eq!(shown_moment(&zone("-03:30"), 0), "1969-12-31 20:30 -03:30");
}

#[test]
fn the_zone_of_the_row_goes_before_the_one_of_the_file() {
    let policies = no_policies();
    let with = |zone: Option<&str>| {
        let row = PolicyRow { zone: zone.map(Box::from), ..PolicyRow::default() };
        policies.zone_of(&row)
    };
    assert_eq!(with(Some("Asia/Omsk")), zone("Asia/Omsk"));
    assert_eq!(with(None), zone("Europe/Moscow"));
    assert_eq!(with(Some("Mars/Olympus")), zone("Europe/Moscow"), "unreadable");
}

#[test]
fn a_time_that_the_clock_skips_begins_after_the_gap() {
    let first = |name: &str, wall: &str| first_moment(&zone(name), wall.parse().unwrap());
    assert_eq!(first("Europe/Berlin", "2026-03-29T02:30"), utc("2026-03-29T01:00:00Z"));
    assert_eq!(first("Europe/Berlin", "2026-10-25T02:30"), utc("2026-10-25T00:30:00Z"), "twice");
    // In Cairo, this Friday begins at 01:00.
    assert_eq!(first("Africa/Cairo", "2026-04-24T00:00"), utc("2026-04-23T22:00:00Z"));
    // Samoa skipped the whole of this day.
    assert_eq!(first("Pacific/Apia", "2011-12-30T12:00"), utc("2011-12-30T10:00:00Z"));
}

#[test]
fn an_event_states_a_zone_or_that_there_is_none() {
    let read = |code: &str, value: &str| {
        let body = format!(
            r#"{{"attributeCode":"{code}","newValue":{value},
            "eventCode":"OnCustomerAttributeUpdate"}}"#
        );
        ZoneChange::read(body.as_bytes(), "TimeZone")
    };
    let change = |zone: Option<&str>, is_unusable| {
        Some(ZoneChange { zone: zone.map(Box::from), is_unusable })
    };
    assert_eq!(read("TimeZone", r#""Asia/Omsk""#), change(Some("Asia/Omsk"), false));
    assert_eq!(read("TimeZone", r#""+06:00""#), change(Some("+06:00"), false));
    assert_eq!(read("TimeZone", "null"), change(None, false));
    assert_eq!(read("TimeZone", r#""""#), change(None, false));
    assert_eq!(read("TimeZone", r#""Omsk""#), change(None, true));
    assert_eq!(read("TimeZone", "6"), change(None, true));
    assert_eq!(read("TimeZone", "[]"), change(None, true));
    assert_eq!(read("Phone", r#""Asia/Omsk""#), None);
    let other = br#"{"attributeCode":"TimeZone","newValue":"Asia/Omsk","eventCode":"OnOther"}"#;
    assert_eq!(ZoneChange::read(other, "TimeZone"), None);
}

#[test]
fn a_zone_that_is_not_known_any_more_is_removed_from_the_row() {
    let mut row = PolicyRow::default();
    let omsk = ZoneChange { zone: Some("Asia/Omsk".into()), is_unusable: false };
    assert!(row.set_zone(&omsk));
    assert!(!row.set_zone(&omsk));
    assert!(row.set_zone(&ZoneChange { zone: None, is_unusable: true }));
    assert_eq!(row.zone, None);
}

proptest! {
    #[test]
    fn no_text_and_no_moment_panics(text in ".{0,12}", at: i64) {
        let zone = zone_of(&text).unwrap_or(zone("Pacific/Apia"));
        shown_moment(&zone, at);
        let _ = ZoneChange::read(text.as_bytes(), "TimeZone");
        let policies = with_night();
        let _ = policies.open_from(&zone, at, Channel::Sms);
        let all = [Span::Day, Span::Week, Span::Month, Span::Rolling(DAY)];
        for per in all {
            let _ = cap("c", 1, per).usage(&PolicyRow::default(), None, &zone, at);
        }
    }
}
