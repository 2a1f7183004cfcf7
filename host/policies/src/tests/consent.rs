//! Tests of consent: reading events, keeping statements, and merging customers.

use proptest::prelude::*;

use super::imports::imported;
use super::*;
use crate::{Answer, Consent, ConsentSource, Room, SubscriptionChange, UnusableChange};

pub(super) fn policy() -> ConsentPolicy {
    with_consent().consent.unwrap()
}

pub(super) fn change(subscription: &str, values: &[(Channel, &str)]) -> SubscriptionChange {
    let mut change =
        SubscriptionChange { subscription: subscription.into(), ..SubscriptionChange::default() };
    for (channel, value) in values {
        change.channels[*channel as usize] = Some((*value).into());
    }
    change
}

pub(super) fn from_event(row: &mut PolicyRow, change: &SubscriptionChange, at: Millis) {
    let room = row.change(&policy(), change, at, ConsentSource::Event(event(at)));
    assert_eq!(room, Room::Enough);
}

/// `Some(true)` for yes, `None` for unknown.
pub(super) fn answer(row: &PolicyRow, subscription: &str, channel: Channel) -> Option<bool> {
    match policy().asks(row, subscription, channel) {
        Answer::Yes(_) => Some(true),
        Answer::No(_) => Some(false),
        Answer::Unknown => None,
    }
}

pub(super) const MAILINGS: &str = "Mailings";

fn read(members: &str) -> Option<Result<SubscriptionChange, UnusableChange>> {
    let body = format!(r#"{{{members}"eventCode":"OnCustomerSubscriptionChange"}}"#);
    SubscriptionChange::read(body.as_bytes())
}

fn read_well(members: &str) -> SubscriptionChange {
    read(members).unwrap().unwrap()
}

#[test]
fn an_event_states_a_subscription_and_its_channels() {
    let read = read_well(
        r#""subscriptionTypeId":1,"subscriptionTypeCode":"DiscountOperation","subscriptionInfo":
        {"mail":"Enabled","push":"Disabled","sms":"Paused","chatBot":null,"socialNetworks":""},"#,
    );
    let values =
        [(Channel::Mail, "Enabled"), (Channel::Push, "Disabled"), (Channel::Sms, "Paused")];
    assert_eq!(read, change("DiscountOperation", &values));
}

#[test]
fn an_event_of_another_code_is_not_read() {
    let other = br#"{"subscriptionTypeCode":"Mailings","eventCode":"OnOther"}"#;
    assert_eq!(SubscriptionChange::read(other), None);
    assert_eq!(SubscriptionChange::read(b"no json"), None);
}

#[test]
fn a_subscription_without_a_code_has_its_id() {
    for id in ["1", "1.0", "1e0", r#""1""#] {
        let read = read_well(&format!(r#""subscriptionTypeId":{id},"subscriptionTypeCode":null,"#));
        assert_eq!(read, change("id:1", &[]), "{id}");
    }
    let long = "x".repeat(129);
    let read = read_well(&format!(r#""subscriptionTypeId":7,"subscriptionTypeCode":"{long}","#));
    assert_eq!((&*read.subscription, &*read.unusable), ("id:7", &["subscriptionTypeCode"][..]));
}

#[test]
fn an_event_without_code_and_id_is_unusable() {
    for members in ["", r#""subscriptionTypeId":1.5,"#, r#""subscriptionTypeCode":"","#] {
        assert_eq!(read(members), Some(Err(UnusableChange::NoSubscription)), "{members}");
    }
}

#[test]
fn a_value_that_is_no_text_is_no_yes_and_is_reported() {
    let read = read_well(
        r#""subscriptionTypeCode":"Mailings",
        "subscriptionInfo":{"mail":true,"sms":1,"push":"No"},"#,
    );
    let expected = [(Channel::Mail, ""), (Channel::Sms, ""), (Channel::Push, "No")];
    assert_eq!(read.channels, change(MAILINGS, &expected).channels);
    assert_eq!(read.unusable, ["mail", "sms"]);
    let read = read_well(r#""subscriptionTypeCode":"Mailings","subscriptionInfo":"all","#);
    assert_eq!(read.unusable, ["subscriptionInfo"]);
    assert_eq!(
        read_well(r#""subscriptionTypeCode":"Mailings","subscriptionInfo":null,"#).unusable.len(),
        0
    );
}

#[test]
fn an_event_is_read_with_the_tolerance_of_the_event_reader() {
    let body =
        "\u{feff}{\"subscriptionTypeCode\":\"Other\",\"subscriptionTypeCode\":\"Mail\\u0069ngs\",
        \"subscriptionInfo\":{\"sms\":\"Enabled\",\"sms\":\"Disabled\",},
        \"customerInfo\":{\"customerId\":164,},\"eventCode\":\"OnCustomerSubscriptionChange\",}";
    let read = SubscriptionChange::read(body.as_bytes()).unwrap().unwrap();
    assert_eq!(read, change(MAILINGS, &[(Channel::Sms, "Disabled")]));
    let strict = body.replace(",}", "}").replace('\u{feff}', "");
    assert_eq!(SubscriptionChange::read(strict.as_bytes()), Some(Ok(read)));
}

#[test]
fn channels_that_an_event_names_are_replaced_and_others_stay() {
    let mut row = PolicyRow::default();
    let first = change(MAILINGS, &[(Channel::Sms, "Enabled"), (Channel::Viber, "Enabled")]);
    from_event(&mut row, &first, 20);
    // The time of an event does not matter: the queue brings it later.
    from_event(&mut row, &change(MAILINGS, &[(Channel::Sms, "Paused")]), 10);
    assert_eq!(answer(&row, MAILINGS, Channel::Sms), Some(false), "any other value means no");
    assert_eq!(answer(&row, MAILINGS, Channel::Viber), Some(true));
    assert_eq!(answer(&row, MAILINGS, Channel::Mail), None);
    assert_eq!(answer(&row, "Other", Channel::Sms), None);
    let Answer::No(consent) = policy().asks(&row, MAILINGS, Channel::Sms) else { panic!() };
    assert_eq!((consent.at, consent.source), (10, ConsentSource::Event(event(10))));
}

/// A row that has room for no other subscription: yes to each, `s0` first.
pub(super) fn full_row() -> PolicyRow {
    let mut row = PolicyRow::default();
    for number in 0..64 {
        let change = change(&format!("s{number}"), &[(Channel::Sms, "Enabled")]);
        from_event(&mut row, &change, number);
    }
    row
}

#[test]
fn a_row_has_room_for_64_subscriptions() {
    let mut row = full_row();
    let full = row.clone();
    let one_more = change("one more", &[(Channel::Sms, "Enabled")]);
    assert_eq!(row.change(&policy(), &one_more, 70, ConsentSource::Import), Room::Missing);
    from_event(&mut row, &change("one more", &[]), 70);
    assert_eq!(row, full);
    from_event(&mut row, &change("s9", &[(Channel::Mail, "Disabled")]), 70);
    assert_eq!(answer(&row, "s9", Channel::Mail), Some(false));
}

#[test]
fn a_refusal_finds_room_in_a_full_row_in_place_of_the_oldest_yes() {
    let mut row = full_row();
    // Refusals are never forgotten, and `s1` has a newer yes.
    from_event(&mut row, &change("s0", &[(Channel::Mail, "Disabled")]), 70);
    from_event(&mut row, &change("s1", &[(Channel::Mail, "Enabled")]), 71);
    let refusal = change("more", &[(Channel::Mail, "Enabled"), (Channel::Sms, "Disabled")]);
    assert_eq!(row.change(&policy(), &refusal, 72, ConsentSource::Import), Room::Made);
    assert_eq!(answer(&row, "more", Channel::Sms), Some(false));
    assert_eq!(answer(&row, "s2", Channel::Sms), None);
    let kept = ["s0", "s1", "s3"].map(|code| answer(&row, code, Channel::Sms));
    assert_eq!(kept, [Some(true); 3]);
    assert_eq!(answer(&row, "s0", Channel::Mail), Some(false));
    let mut gone = PolicyRow::default();
    from_event(&mut gone, &change("of the other", &[(Channel::Sms, "Disabled")]), 74);
    row.unite(gone);
    assert_eq!(answer(&row, "of the other", Channel::Sms), Some(false));
    assert_eq!(answer(&row, "s3", Channel::Sms), None);
}

#[test]
fn a_row_full_of_refusals_forgets_none() {
    let mut row = PolicyRow::default();
    for number in 0..64 {
        let change = change(&format!("s{number}"), &[(Channel::Sms, "Disabled")]);
        from_event(&mut row, &change, number);
    }
    let full = row.clone();
    let one_more = change("one more", &[(Channel::Sms, "Disabled")]);
    assert_eq!(row.change(&policy(), &one_more, 70, ConsentSource::Import), Room::Missing);
    assert_eq!(row, full);
}

#[test]
fn in_a_merge_no_beats_yes_and_yes_beats_unknown() {
    let texts = [None, Some("Enabled"), Some("Disabled")];
    for (own, other) in texts.into_iter().flat_map(|own| texts.map(|other| (own, other))) {
        let row = |value: Option<&str>, at| {
            let mut row = PolicyRow::default();
            if let Some(value) = value {
                from_event(&mut row, &change(MAILINGS, &[(Channel::Sms, value)]), at);
            }
            row
        };
        let mut united = row(own, 2);
        united.unite(row(other, 1));
        let expected = match (own, other) {
            (Some("Disabled"), _) | (_, Some("Disabled")) => Some(false),
            (None, None) => None,
            _ => Some(true),
        };
        assert_eq!(answer(&united, MAILINGS, Channel::Sms), expected, "{own:?} {other:?}");
    }
}

#[test]
fn a_refusal_of_a_merged_customer_holds_until_the_next_event() {
    let (mut stays, mut gone) = (PolicyRow::default(), PolicyRow::default());
    from_event(&mut gone, &change(MAILINGS, &[(Channel::Sms, "Disabled")]), 1);
    stays.unite(gone);
    assert_eq!(answer(&stays, MAILINGS, Channel::Sms), Some(false));
    from_event(&mut stays, &change(MAILINGS, &[(Channel::Sms, "Enabled")]), 2);
    assert_eq!(answer(&stays, MAILINGS, Channel::Sms), Some(true));
}

#[test]
fn a_merge_without_room_takes_refusals_first() {
    let (mut stays, mut gone) = (PolicyRow::default(), PolicyRow::default());
    for number in 0..63 {
        from_event(&mut stays, &change(&format!("s{number}"), &[(Channel::Sms, "Enabled")]), 1);
    }
    from_event(&mut gone, &change("a", &[(Channel::Sms, "Enabled")]), 1);
    from_event(&mut gone, &change("b", &[(Channel::Sms, "Disabled")]), 1);
    stays.unite(gone);
    assert_eq!(answer(&stays, "b", Channel::Sms), Some(false));
    assert_eq!(answer(&stays, "a", Channel::Sms), None);
}

#[test]
fn a_merge_keeps_the_zone_of_who_stays() {
    let row = |zone: Option<&str>| PolicyRow { zone: zone.map(Box::from), ..PolicyRow::default() };
    let united = |own, other| {
        let mut united = row(own);
        united.unite(row(other));
        united.zone
    };
    assert_eq!(united(Some("UTC"), Some("Asia/Omsk")).as_deref(), Some("UTC"));
    assert_eq!(united(None, Some("Asia/Omsk")).as_deref(), Some("Asia/Omsk"));
}

proptest! {
    #[test]
    fn consents_stay_sorted_and_unique(
        statements in
            prop::collection::vec((0..6_usize, 0..6_usize, any::<bool>(), 0..9_i64), 0..40),
    ) {
        let mut rows = [PolicyRow::default(), PolicyRow::default()];
        for (subscription, channel, is_event, at) in statements {
            let (is_yes, channel) = (at % 2 == 0, Channel::ALL[channel]);
            let value = if is_yes { "Enabled" } else { "Disabled" };
            let subscription = format!("s{subscription}");
            let change = change(&subscription, &[(channel, value)]);
            if is_event {
                from_event(&mut rows[0], &change, at);
                prop_assert_eq!(answer(&rows[0], &subscription, channel), Some(is_yes));
            } else {
                let counts = rows[1].import(&imported(&subscription, &[(channel, is_yes)], at));
                prop_assert_eq!(counts.no_room, 0);
            }
        }
        let [mut row, gone] = rows;
        row.unite(gone);
        let key = |consent: &Consent| (consent.subscription.clone(), consent.channel);
        prop_assert!(row.consents.is_sorted_by(|a, b| key(a) < key(b)));
    }

    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..64), text in ".{0,32}") {
        let _ = SubscriptionChange::read(&body);
        let _ = SubscriptionChange::read(text.as_bytes());
        let info = format!(r#""subscriptionTypeCode":"a","subscriptionInfo":{text},"#);
        let _ = read(&info);
    }
}
