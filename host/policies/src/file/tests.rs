//! Tests of the file: what it says is read exactly, and no bytes make the parser panic.

mod effect;
mod mistakes;
mod numbers;
mod values;
mod warnings;

use jiff::civil::{Weekday, time};
use proptest::prelude::*;

use super::*;
use crate::channels::Channels;
use crate::model::{
    CampaignPolicy, Cap, ConsentPolicy, ControlGroup, Deferral, QuietChoice, QuietHours, Span,
};
use hailer_abi::wire::Channel;

const HOUR_MS: i64 = 3_600_000;

/// A file with every key.
const WHOLE: &str = r#"time_zone = "Europe/Moscow"            # required
time_zone_attribute = "TimeZone"       # optional

[consent]
subscription = "Mailings"
yes = ["Enabled"]
unknown = { mail = "allow", push = "allow", sms = "refuse", viber = "refuse",
            chatBot = "refuse", socialNetworks = "refuse" }

[[quiet_hours]]
name = "night"
from = "22:00"
to = "09:00"
channels = ["push", "sms", "viber"]
then = "defer"

[[quiet_hours]]
name = "friday"
from = "08:00"
to = "08:30"
days = ["fri"]
then = "drop"

[deferral]
discard_after = "14h"
spread = "30m"

[[cap]]
name = "day"
max = 2
per = "day"

[[cap]]
name = "birthday-once"
max = 1
per = "300d"
campaigns = ["birthday"]

[control.holdout]
percent = 5
salt = "2026"
# campaigns = ["win-back"]             # absent: all

[control.again]
percent = 0.25
salt = "x"
campaigns = ["win-back"]

[per_event]
campaigns_max = 1

[allow_list.staging]
customers = ["101", "102", 103]

[campaigns.card-security]
kind = "transactional"

[campaigns.big-basket]
kind = "marketing"
subscription = "DiscountOperation"
priority = 20

[campaigns.abandoned-registration]
quiet_hours = "defer"
discard_after = "3h"
cancel_on = ["OnEndRegistration"]

[campaigns.merge-notice]
without_caps = ["day"]
counts = false
"#;

/// The mistakes of a file, each as `line: reason (hint)`.
fn mistakes(text: &str) -> Vec<String> {
    let mistakes = Policies::parse(text.as_bytes()).map(drop).unwrap_err();
    mistakes.iter().map(shown_mistake).collect()
}

fn shown_mistake(mistake: &Mistake) -> String {
    let line = mistake.line.map_or_else(String::new, |line| format!("{line}: "));
    format!("{line}{} ({})", mistake.reason, mistake.hint)
}

/// Parses lines below the only key that every file must have. They begin in line 2.
fn parsed(lines: &str) -> Policies {
    let text = format!("time_zone = \"UTC\"\n{lines}");
    Policies::parse(text.as_bytes()).unwrap_or_else(|mistakes| panic!("{lines}: {mistakes:?}"))
}

/// The mistakes of lines below the only key that every file must have. They begin in line 2.
fn mistakes_of(lines: &str) -> Vec<String> {
    mistakes(&format!("time_zone = \"UTC\"\n{lines}"))
}

/// A valid file with other quiet hours.
fn hours(lines: &str) -> String {
    format!("[[quiet_hours]]\nname = \"night\"\nthen = \"drop\"\n{lines}")
}

/// A cap with other lines after its name.
fn cap(lines: &str) -> String {
    format!("[[cap]]\nname = \"day\"\n{lines}")
}

/// Asserts the only mistake of each text.
fn assert_mistakes<'a>(cases: impl IntoIterator<Item = (String, &'a str)>) {
    for (lines, expected) in cases {
        assert_eq!(mistakes_of(&lines), [expected], "{lines}");
    }
}

#[test]
fn every_key_is_read() {
    let policies = Policies::parse(WHOLE.as_bytes()).unwrap();
    assert_eq!(*policies.digest, *blake3::hash(WHOLE.as_bytes()).to_hex());
    assert_eq!(policies.zone.iana_name(), Some("Europe/Moscow"));
    assert_eq!(policies.zone_attribute.as_deref(), Some("TimeZone"));
    let consent = ConsentPolicy {
        subscription: "Mailings".into(),
        yes: vec!["Enabled".into()],
        allowed_unknown: Channels::from_iter([Channel::Mail, Channel::Push]),
    };
    assert_eq!(policies.consent, Some(consent));
    assert_eq!(
        policies.deferral,
        Some(Deferral { discard_after_ms: 14 * HOUR_MS, spread_ms: HOUR_MS / 2 })
    );
    assert_eq!(policies.event_campaigns_max, Some(1));
    let listed: Vec<&str> = policies.allow_lists["staging"].iter().map(|id| &**id).collect();
    assert_eq!((policies.allow_lists.len(), listed), (1, vec!["101", "102", "103"]));
}

#[test]
fn quiet_hours_are_read_in_the_order_of_the_file() {
    let policies = Policies::parse(WHOLE.as_bytes()).unwrap();
    let night = QuietHours {
        name: "night".into(),
        from: time(22, 0, 0, 0),
        to: time(9, 0, 0, 0),
        channels: Channels::from_iter([Channel::Push, Channel::Sms, Channel::Viber]),
        days: vec![
            Weekday::Monday,
            Weekday::Tuesday,
            Weekday::Wednesday,
            Weekday::Thursday,
            Weekday::Friday,
            Weekday::Saturday,
            Weekday::Sunday,
        ],
        defers: true,
    };
    let friday = QuietHours {
        name: "friday".into(),
        from: time(8, 0, 0, 0),
        to: time(8, 30, 0, 0),
        channels: Channels::all(),
        days: vec![Weekday::Friday],
        defers: false,
    };
    assert_eq!(policies.quiet_hours, [night, friday]);
}

#[test]
fn caps_keep_their_order_and_control_groups_are_sorted() {
    let policies = Policies::parse(WHOLE.as_bytes()).unwrap();
    let day = Cap {
        name: "day".into(),
        max: 2,
        per: Span::Day,
        campaigns: None,
        channels: Channels::all(),
    };
    let birthday = Cap {
        name: "birthday-once".into(),
        max: 1,
        per: Span::Rolling(300 * 24 * HOUR_MS),
        campaigns: Some(["birthday".into()].into()),
        channels: Channels::all(),
    };
    assert_eq!(policies.caps, [day, birthday]);
    let again = ControlGroup {
        name: "again".into(),
        basis_points: 25,
        salt: "x".into(),
        campaigns: Some(["win-back".into()].into()),
    };
    let holdout = ControlGroup {
        name: "holdout".into(),
        basis_points: 500,
        salt: "2026".into(),
        campaigns: None,
    };
    assert_eq!(policies.control, [again, holdout]);
}

#[test]
fn the_policies_of_campaigns_are_read() {
    let policies = Policies::parse(WHOLE.as_bytes()).unwrap();
    let default = CampaignPolicy::DEFAULT;
    assert_eq!(policies.campaigns.len(), 4);
    assert_eq!(
        policies.campaigns["card-security"],
        CampaignPolicy { is_transactional: true, counts: false, ..default.clone() }
    );
    assert_eq!(
        policies.campaigns["big-basket"],
        CampaignPolicy {
            subscription: Some("DiscountOperation".into()),
            priority: 20,
            ..default.clone()
        }
    );
    assert_eq!(
        policies.campaigns["abandoned-registration"],
        CampaignPolicy {
            quiet_hours: Some(QuietChoice::Defer),
            discard_after_ms: Some(3 * HOUR_MS),
            cancel_on: vec!["OnEndRegistration".into()],
            ..default.clone()
        }
    );
    assert_eq!(
        policies.campaigns["merge-notice"],
        CampaignPolicy { without_caps: vec!["day".into()], counts: false, ..default.clone() }
    );
    assert_eq!(*policies.campaign("welcome"), default);
}

#[test]
fn a_file_needs_only_a_time_zone() {
    let policies = parsed("");
    assert!(!policies.remembers() && policies.deferral.is_none());
    assert!(policies.control.is_empty() && policies.allow_lists.is_empty());
    assert_eq!((policies.event_campaigns_max, policies.campaigns.len()), (None, 0));
}

/// One key or value of the file in another form: the most probable kind of a mistake.
fn spoiled(text: &str, at: usize, length: usize, with: &str) -> String {
    let mut spoiled = text.to_owned();
    spoiled.replace_range(at..(at + length).min(text.len()), with);
    spoiled
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes)?;
    }

    #[test]
    fn no_altered_file_makes_the_parser_panic(
        at in 0..WHOLE.len(),
        length in 0..8_usize,
        with in "[-=\\[\\]{}\"'#.,:T0-9a-z \n]{0,8}",
    ) {
        check(spoiled(WHOLE, at, length, &with).as_bytes())?;
    }

    #[test]
    fn no_value_of_another_type_makes_the_parser_panic(
        line in 0..WHOLE.lines().count(),
        value in prop::sample::select(vec![
            "1", "-1", "0x7f", "99999999999999999999", "1e400", "nan", "-0.0", "true", "\"\"",
            "\"\\u0000\"", "\"ä\"", "[]", "[[]]", "{}", "22:00", "1979-05-27", "\"99999999999d\"",
        ]),
    ) {
        let altered = |(number, text): (usize, &str)| match text.split_once(" = ") {
            Some((key, _)) if number == line => format!("{key} = {value}"),
            _ => text.to_owned(),
        };
        let lines: Vec<String> = WHOLE.lines().enumerate().map(altered).collect();
        check(lines.join("\n").as_bytes())?;
    }
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
    match Policies::parse(bytes) {
        Ok(policies) => {
            prop_assert!(policies.warnings(["welcome"]).len() <= MISTAKES_MAX);
        }
        Err(mistakes) => {
            prop_assert!(!mistakes.is_empty() && mistakes.len() <= MISTAKES_MAX);
            prop_assert!(mistakes.is_sorted_by_key(|mistake| mistake.line));
            for mistake in mistakes {
                prop_assert!(!mistake.reason.is_empty() && !mistake.hint.is_empty());
                prop_assert!(!mistake.reason.contains(char::is_control), "{:?}", mistake);
                prop_assert!(!mistake.hint.contains(char::is_control), "{:?}", mistake);
                prop_assert!(mistake.line.is_none_or(|line| (1..=lines).contains(&line)));
            }
        }
    }
    Ok(())
}
