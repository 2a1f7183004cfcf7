//! Merges: what the customer who stays has of both.

use super::*;

#[test]
fn a_merge_unites_what_counts_towards_caps() {
    let day = "[[cap]]\nname = \"day\"\nmax = 2\nper = \"day\"";
    let mut dry_run = under(policies(day), &["a"], vec![send("x")]);
    let noon = at("2026-03-02T12:00:00+03:00");
    let events = [
        purchase(1, 1, noon),
        purchase(2, 1, noon + 1),
        purchase(3, 2, noon + 2),
        merge(4, 1, 2, noon + 3),
        purchase(5, 2, noon + 4),
    ];
    let decided = dry_run.decide(events, 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: passed", "a: passed", "a: passed", "a: cap day"]);
    let detail = first_proposals(&decided[4])[0].detail.as_deref().unwrap();
    assert!(detail.starts_with("3 of 2 since 2026-03-02 00:00"), "{detail}");
}

#[test]
fn a_deferred_message_goes_to_the_customer_who_stays_under_its_id() {
    let evening = at("2026-03-03T23:00:00+03:00");
    let events = || [purchase(6, 3, evening), merge(7, 3, 4, evening + 1)];
    let free = under(policies(""), &["a"], vec![send("x")]).decide(events(), 0).unwrap();
    let mut dry_run = under(policies(NIGHT), &["a"], vec![send("x")]);
    let decided = dry_run.decide(events(), evening + 1).unwrap();
    assert_eq!(verdicts(&decided), ["a: until 2026-03-04T06:00:00Z night"]);
    let released = dry_run.advance(at("2026-03-04T09:00:00+03:00")).unwrap();
    assert_eq!(verdicts(&released), ["released a: passed"]);
    assert_eq!(ids(&released), ids(&free));
    assert_eq!(released[0].customer, Some(key(4)));
    let body = String::from_utf8(released[0].communications[0].body.to_vec()).unwrap();
    assert!(body.contains(r#""recipient":{"customerId":"4""#), "{body}");
}

#[test]
fn a_refusal_of_the_customer_who_goes_holds_until_the_one_who_stays_agrees() {
    let actions = vec![send_on(Channel::Sms, "x")];
    let mut dry_run = under(policies(&consent_section(&[])), &["a"], actions);
    let noon = at("2026-03-02T12:00:00+03:00");
    let events = [
        consent(1, 1, "sms", "Disabled", noon),
        merge(2, 1, 2, noon + 1),
        purchase(3, 2, noon + 2),
        consent(4, 2, "sms", "Enabled", noon + 3),
        purchase(5, 2, noon + 4),
    ];
    let decided = dry_run.decide(events, 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: consent-off", "a: passed"]);
}
