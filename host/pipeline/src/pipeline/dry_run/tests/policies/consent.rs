//! Consent: statements of events and imports come before what is proposed with them.

use super::*;
use hailer_policies::{Channels, ImportedConsent};

#[test]
fn an_event_changes_the_consent_before_what_is_proposed_on_it_is_judged() {
    let actions = vec![send_on(Channel::Sms, "x"), send_on(Channel::Mail, "y")];
    let rule = Rule { on: "OnCustomerSubscriptionChange", purchase: actions, ..nudging() };
    let campaign = campaign_of(&rule, "consent-change", |_| {});
    let mut dry_run = under_rules(policies(&consent_section(&[])), vec![campaign]);
    let noon = moscow("02T12:00:00");
    let events =
        [consent(1, 1, "sms", "Disabled", noon), consent(2, 1, "sms", "Enabled", noon + 1)];
    let decided = verdicts(&dry_run.decide(events, 0).unwrap());
    let name = "consent-change";
    let expected = ["consent-off", "passed", "passed", "passed"];
    assert_eq!(decided, expected.map(|verdict| format!("{name}: {verdict}")));
}

#[test]
fn an_opt_out_before_the_release_wins() {
    let text = format!("{NIGHT}{}", consent_section(&[]));
    let mut dry_run = under(policies(&text), &["a"], vec![send("x")]);
    let (night, morning) = (moscow("02T23:30:00"), moscow("03T09:00:00"));
    let events = [purchase(1, 1, night), consent(2, 1, "push", "Disabled", morning - 1)];
    let decided = dry_run.decide(events, morning).unwrap();
    assert_eq!(
        verdicts(&decided),
        ["a: until 2026-03-03T06:00:00Z night", "released a: consent-off"]
    );
    assert!(dry_run.advance(morning + 86_400_000).unwrap().is_empty(), "it is never sent");
}

#[test]
fn an_unknown_consent_is_refused_until_an_import_that_is_newer_than_every_event() {
    let actions = vec![send_on(Channel::Sms, "x")];
    let mut dry_run = under(policies(&consent_section(&["sms"])), &["a"], actions);
    let noon = moscow("02T12:00:00");
    let import = |dry_run: &mut DryRun, customer, at| {
        let sms = Channels::from_iter([Channel::Sms]);
        let subscription = "Mailings".into();
        let import = ImportedConsent { subscription, channels: sms, agreed: sms, at };
        dry_run.runner.load(key(customer)).unwrap();
        let row = dry_run.runner.core().rows.policy_mut(key(customer)).unwrap();
        row.import(&import).changed
    };
    let decided = dry_run.decide([purchase(1, 1, noon)], 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: consent-unknown"]);
    assert_eq!(import(&mut dry_run, 1, noon - 1), 1);
    let decided = dry_run.decide([purchase(2, 1, noon + 1)], 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: passed"]);
    dry_run.decide([consent(3, 2, "sms", "Disabled", noon + 2)], 0).unwrap();
    assert_eq!(import(&mut dry_run, 2, noon), 0);
    let decided = dry_run.decide([purchase(4, 2, noon + 3)], 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: consent-off"]);
}

#[test]
fn a_channel_that_an_event_does_not_name_keeps_its_consent_and_another_value_is_a_refusal() {
    let actions = vec![send_on(Channel::Viber, "x"), send_on(Channel::Push, "y")];
    let text = consent_section(&["viber", "push"]);
    let mut dry_run = under(policies(&text), &["a"], actions);
    let noon = moscow("02T12:00:00");
    let events = [
        consent(1, 1, "viber", "Enabled", noon),
        consent(2, 1, "push", "Enabled", noon + 1),
        purchase(3, 1, noon + 2),
        consent(4, 1, "push", "Paused", noon + 3),
        purchase(5, 1, noon + 4),
    ];
    let decided = verdicts(&dry_run.decide(events, 0).unwrap());
    assert_eq!(decided, ["a: passed", "a: passed", "a: passed", "a: consent-off"]);
}

#[test]
fn a_value_that_is_no_text_is_a_refusal() {
    let mut dry_run = under(policies(&consent_section(&[])), &["a"], vec![send("x")]);
    let noon = moscow("02T12:00:00");
    for (number, value) in (1..).zip(["1", "true", "[\"Enabled\"]", "{}"]) {
        let mut body = r#"{"eventCode":"OnCustomerSubscriptionChange","subscriptionTypeCode":
            "Mailings","subscriptionInfo":{"push":VALUE},"customerInfo":{"customerId":N}}"#
            .replace("VALUE", value);
        body = body.replace('N', &number.to_string());
        let events = [arrived(number * 2, body, noon), purchase(number * 2 + 1, number, noon)];
        let decided = verdicts(&dry_run.decide(events, 0).unwrap());
        assert_eq!(decided, ["a: consent-off"], "{value}");
    }
}

#[test]
fn a_refusal_holds_although_the_customer_has_as_many_subscriptions_as_may_be_kept() {
    let mut dry_run = under(policies(&consent_section(&[])), &["a"], vec![send("x")]);
    let noon = moscow("02T12:00:00");
    let others = (0..64).map(|number| {
        let body = format!(
            r#"{{"eventCode":"OnCustomerSubscriptionChange","subscriptionTypeCode":"s{number}",
                "subscriptionInfo":{{"push":"Enabled"}},"customerInfo":{{"customerId":1}}}}"#
        );
        arrived(number, body, noon)
    });
    dry_run.decide(others, 0).unwrap();
    let events = [consent(100, 1, "push", "Disabled", noon), purchase(101, 1, noon)];
    assert_eq!(verdicts(&dry_run.decide(events, 0).unwrap()), ["a: consent-off"]);
}
