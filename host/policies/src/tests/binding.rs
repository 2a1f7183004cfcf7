//! The policies that bind one campaign.

use super::*;
use crate::QuietChoice;

fn everything() -> Policies {
    let mut policies = Policies {
        consent: with_consent().consent,
        caps: vec![cap("day", 2, Span::Day), cap("own", 1, Span::Rolling(300 * DAY))],
        control: vec![group("holdout", "2026", 500), group("few", "x", 50)],
        event_campaigns_max: Some(1),
        ..with_night()
    };
    policies.caps[1].campaigns = Some(names(&["birthday"]));
    policies.control[1].campaigns = Some(names(&["birthday"]));
    policies
}

fn names_of<'a>(caps: &[&'a Cap]) -> Vec<&'a str> {
    caps.iter().map(|cap| &*cap.name).collect()
}

#[test]
fn a_campaign_that_the_file_does_not_name_is_bound_by_everything_general() {
    let policies = everything();
    let binding = policies.binding("other");
    assert_eq!((binding.subscription, binding.event_campaigns_max), (Some("Mailings"), Some(1)));
    assert_eq!(binding.discard_after_ms, Some(14 * HOUR));
    assert_eq!((names_of(&binding.caps), binding.counts), (vec!["day"], true));
    assert_eq!(binding.control.len(), 1);
    let birthday = policies.binding("birthday");
    assert_eq!((names_of(&birthday.caps), birthday.control.len()), (vec!["day", "own"], 2));
}

#[test]
fn a_campaigns_own_policies_replace_the_general_ones() {
    let mut policies = everything();
    set(&mut policies, "own", |policy| {
        policy.subscription = Some("Discounts".into());
        policy.discard_after_ms = Some(3 * HOUR);
        policy.without_caps = vec!["day".into()];
        policy.counts = false;
    });
    let binding = policies.binding("own");
    assert_eq!(binding.subscription, Some("Discounts"));
    assert_eq!(binding.discard_after_ms, Some(3 * HOUR));
    assert_eq!((names_of(&binding.caps), binding.counts), (vec![], false));
    set(&mut policies, "own", |policy| policy.quiet_hours = Some(QuietChoice::Drop));
    let binding = policies.binding("own");
    let defers: Vec<_> = binding.quiet_hours.iter().map(|(_, defers)| *defers).collect();
    assert_eq!((defers, binding.discard_after_ms), (vec![false], None));
    set(&mut policies, "own", |policy| policy.quiet_hours = Some(QuietChoice::Ignore));
    assert!(policies.binding("own").quiet_hours.is_empty());
}

#[test]
fn a_transactional_campaign_is_bound_by_nothing_of_these() {
    let mut policies = everything();
    set(&mut policies, "receipt", |policy| {
        policy.is_transactional = true;
        policy.counts = true;
    });
    let binding = policies.binding("receipt");
    assert_eq!((binding.subscription, binding.event_campaigns_max), (None, None));
    assert!(binding.quiet_hours.is_empty() && binding.caps.is_empty());
    assert!(binding.control.is_empty() && binding.discard_after_ms.is_none());
    assert!(binding.counts, "it is not capped, and its messages count");
}

#[test]
fn spans_are_written_as_in_the_file() {
    let rolling = [DAY, 7 * DAY, 90 * MINUTE].map(|span_ms| Span::Rolling(span_ms).text());
    assert_eq!(rolling, ["24h", "7d", "90m"]);
    assert_eq!([Span::Day, Span::Week, Span::Month].map(Span::text), ["day", "week", "month"]);
}
