//! Tests of times, lengths of time and numbers.

use super::*;

#[test]
fn times_are_hours_and_minutes() {
    for (from, found) in [
        ("9:00", "`9:00`"),
        ("09:00:00", "`09:00:00`"),
        ("25:00", "`25:00`"),
        ("09:60", "`09:60`"),
        ("+9:00", "`+9:00`"),
        ("0900", "`0900`"),
        ("", "an empty string"),
    ] {
        assert_mistakes([(
            hours(&format!("from = \"{from}\"\nto = \"10:00\"")),
            &*format!(
                "5: `from` is {found}, not hours and minutes from 00:00 to 23:59 (write the first \
                 minute: `from = \"22:00\"`)"
            ),
        )]);
    }
    assert_mistakes([
        (
            hours("from = \"22:00\"\nto = \"24:00\""),
            "6: `to` is `24:00`, not hours and minutes from 00:00 to 23:59 (write `\"00:00\"`; \
             then the hours end at midnight)",
        ),
        (
            hours("from = 22:00\nto = \"09:00\""),
            "5: `from` is the time 22:00, not hours and minutes from 00:00 to 23:59 (write the \
             time in quotes, as `\"22:00\"`)",
        ),
        (
            hours("from = \"22:00\"\nto = \"22:00\""),
            "6: `from` and `to` are both 22:00 (such hours are empty or the whole day; for a \
             whole day, write two windows: one to 12:00, and one from 12:00)",
        ),
    ]);
    let policies = parsed(&hours("from = \"22:59\"\nto = \"00:00\""));
    let [window] = &policies.quiet_hours[..] else { panic!("{:?}", policies.quiet_hours) };
    assert_eq!((window.from, window.to), (time(22, 59, 0, 0), time(0, 0, 0, 0)));
}

#[test]
fn lengths_of_time_are_whole_minutes_hours_or_days() {
    let deferral = |after: &str, spread: &str| {
        format!("[deferral]\ndiscard_after = \"{after}\"\nspread = \"{spread}\"")
    };
    for (after, found) in [
        ("0m", "`0m`"),
        ("32d", "`32d`"),
        ("45s", "`45s`"),
        ("1.5h", "`1.5h`"),
        ("-1h", "`-1h`"),
        ("h", "`h`"),
        ("", "an empty string"),
        ("99999999999999999999d", "`99999999999999999999d`"),
        ("1ч", "`1ч`"),
    ] {
        let expected = format!(
            "3: `discard_after` is {found}, not a time from 1m to 31d (write whole minutes, hours \
             or days: `discard_after = \"14h\"`)"
        );
        assert_mistakes([(deferral(after, "0m"), &*expected)]);
    }
    assert_mistakes([
        (
            deferral("31d", "32d"),
            "4: `spread` is `32d`, not a time from 0m to 31d (write whole minutes, hours or days: \
             `spread = \"30m\"`)",
        ),
        (
            deferral("1h", "60m"),
            "4: `spread` is `60m`, not shorter than `discard_after` (write a shorter `spread`, or \
             a longer `discard_after`)",
        ),
    ]);
    for (after, spread, expected) in [
        ("1m", "0m", (60_000, 0)),
        ("31d", "30d", (31 * 24 * HOUR_MS, 30 * 24 * HOUR_MS)),
        ("1h", "59m", (HOUR_MS, HOUR_MS - 60_000)),
    ] {
        let deferral = parsed(&deferral(after, spread)).deferral.unwrap();
        assert_eq!((deferral.discard_after_ms, deferral.spread_ms), expected);
    }
    let unspread = parsed("[deferral]\ndiscard_after = \"1h\"").deferral.unwrap();
    assert_eq!(unspread.spread_ms, 0);
}

#[test]
fn caps_have_a_number_and_a_span() {
    for max in ["0", "101", "-1", "1.0", "\"1\"", "99999999999"] {
        let found = mistakes_of(&cap(&format!("max = {max}\nper = \"day\"")));
        assert!(found[0].starts_with("4: `max` is ") && found.len() == 1, "{found:?}");
    }
    for per in ["\"0h\"", "\"367d\"", "\"8785h\"", "\"60m\"", "\"year\"", "24", "\"d\""] {
        let found = mistakes_of(&cap(&format!("max = 1\nper = {per}")));
        let expected = format!(
            "5: `per` is {}, not a day, week or month, or a time from 1h to 366d (write `per = \
             \"day\"`, \"week\", \"month\", \"24h\" or \"7d\")",
            per.replace('"', "`")
        );
        assert_eq!(found, [expected]);
    }
    assert_mistakes([(
        cap("max = 1\nper = \"mounth\""),
        "5: `per` is `mounth`, not a day, week or month, or a time from 1h to 366d (did you mean \
         `month`?)",
    )]);
    for (per, expected) in [
        ("week", Span::Week),
        ("month", Span::Month),
        ("1h", Span::Rolling(HOUR_MS)),
        ("366d", Span::Rolling(366 * 24 * HOUR_MS)),
    ] {
        let policies = parsed(&cap(&format!("max = 100\nper = \"{per}\"")));
        assert_eq!((policies.caps[0].max, policies.caps[0].per), (100, expected));
    }
}

#[test]
fn percentages_have_at_most_two_decimal_places() {
    let group = |percent: &str| format!("[control.a]\npercent = {percent}\nsalt = \"a\"");
    for percent in [
        "0",
        "100",
        "0.001",
        "0.0",
        "99.999",
        "5.000",
        "-5",
        "-0.5",
        "1e1",
        "inf",
        "nan",
        "\"5\"",
        "99.995",
        "100.0",
        "42949673.00",
        "999999999999",
    ] {
        let expected = format!(
            "3: `percent` is {}, not a number from 0.01 to 99.99 with at most two decimal places \
             (write the percentage of customers: `percent = 5`)",
            percent.replace('"', "`")
        );
        assert_mistakes([(group(percent), &*expected)]);
    }
    for (percent, basis_points) in
        [("0.01", 1), ("99.99", 9999), ("1", 100), ("99", 9900), ("2.5", 250), ("0.29", 29)]
    {
        assert_eq!(parsed(&group(percent)).control[0].basis_points, basis_points);
    }
}

#[test]
fn the_campaigns_of_an_event_are_limited_from_1_to_100() {
    let per_event = |max: &str| format!("[per_event]\ncampaigns_max = {max}");
    for max in ["0", "101", "\"1\""] {
        let expected = format!(
            "3: `campaigns_max` is {}, not a whole number from 1 to 100 (write how many: \
             `campaigns_max = 1`)",
            max.replace('"', "`")
        );
        assert_mistakes([(per_event(max), &*expected)]);
    }
    assert_eq!(parsed(&per_event("100")).event_campaigns_max, Some(100));
}
