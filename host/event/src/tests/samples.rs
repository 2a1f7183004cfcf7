//! The twelve samples of the source, byte for byte, and their peculiarities.

use hailer_abi::manifest::FieldKind;

use super::*;

pub(super) const SAMPLES: [(&str, &str); 12] = [
    ("OnBeginRegistration", sample!("OnBeginRegistration")),
    ("OnEndRegistration", sample!("OnEndRegistration")),
    ("OnCardReplace", sample!("OnCardReplace")),
    ("MergeCustomersProfiles", sample!("MergeCustomersProfiles")),
    ("OnCardActivation", sample!("OnCardActivation")),
    ("OnBlockCard", sample!("OnBlockCard")),
    ("OnDeleteCard", sample!("OnDeleteCard")),
    ("OnChangeCategoryCard", sample!("OnChangeCategoryCard")),
    ("OnCustomerAttributeUpdate", sample!("OnCustomerAttributeUpdate")),
    ("OnCustomerSubscriptionChange", sample!("OnCustomerSubscriptionChange")),
    ("OnPurchaseConfirm", sample!("OnPurchaseConfirm")),
    ("OnPurchaseRefund", sample!("OnPurchaseRefund")),
];

#[test]
fn every_sample_is_an_event_with_a_code_and_a_customer() {
    for (code, body) in SAMPLES {
        let event = read(body).unwrap();
        assert_eq!(event.code(), code);
        let customer = event.customer().expect(code);
        assert!(customer.customer_id.is_some() && customer.account_group_id.is_some(), "{code}");
        assert!(customer.customer_uid.is_some(), "{code}");
        assert_eq!(customer.mobile_device_id, None, "{code}");
        assert_eq!(customer.key(), event.customer_key());
        assert_eq!(event.was_repaired(), code == "MergeCustomersProfiles");
        assert_eq!(event.merged_from().is_some(), code == "MergeCustomersProfiles");
        assert_eq!(event.raw(), body.as_bytes());
    }
}

#[test]
fn the_customer_has_each_role_under_either_of_its_names() {
    let customer_of = |body: &str| read(body).unwrap().customer().unwrap().clone();
    let registration = customer_of(sample!("OnBeginRegistration"));
    assert_eq!(registration.customer_id.as_deref(), Some("121"));
    assert_eq!(registration.account_group_id.as_deref(), Some("125"));
    assert_eq!(registration.customer_uid.as_deref(), Some("aca52e1b-f08b-44a7-a77b-69ae0442ce7b"));
    assert_eq!(registration.identifier_id.as_deref(), Some("826"));
    assert_eq!(registration.application_id, None);
    let purchase = customer_of(sample!("OnPurchaseConfirm"));
    assert_eq!(purchase.account_group_id.as_deref(), Some("111"), "its name is misspelt there");
    assert_eq!(purchase.customer_uid.as_deref(), Some("6c0b4b64-ebd8-4397-a6f5-d6f3eb32cd2c"));
    let update = customer_of(sample!("OnCustomerAttributeUpdate"));
    assert_eq!(update.mobile_device_id, None, "an empty string is absent");
    assert_eq!(update.application_id.as_deref(), Some("1"));
}

#[test]
fn the_first_name_of_a_role_that_is_not_empty_wins() {
    let event = read(concat!(
        r#"{"eventCode":"E","customerInfo":{"customerCode":"code","customerUid":"","#,
        r#""accountfroupId":"1","accountgroupId":2}}"#
    ))
    .unwrap();
    let customer = event.customer().unwrap();
    assert_eq!(customer.customer_uid.as_deref(), Some("code"));
    assert_eq!(customer.account_group_id.as_deref(), Some("2"));
    let both =
        read(r#"{"eventCode":"E","customerInfo":{"customerCode":"code","customerUid":"uid"}}"#)
            .unwrap();
    assert_eq!(both.customer().unwrap().customer_uid.as_deref(), Some("uid"));
}

#[test]
fn a_merge_is_an_event_of_the_customer_who_remains() {
    let event = read(sample!("MergeCustomersProfiles")).unwrap();
    assert_eq!(event.customer().unwrap().customer_id.as_deref(), Some("11"));
    assert_eq!(event.merged_from().unwrap().customer_id.as_deref(), Some("13"));
    let both = read(
        r#"{"eventCode":"E","toCustomerInfo":{"customerId":1},"customerInfo":{"customerId":2}}"#,
    )
    .unwrap();
    assert_eq!(both.customer().unwrap().customer_id.as_deref(), Some("1"));
}

#[test]
fn the_external_id_of_a_retry_envelope_is_read() {
    let event = read(sample!("OnBlockCard")).unwrap();
    assert_eq!(event.external_id(), Some("73d812984ef44a9fb7f1200a41ac7aba"));
    assert_eq!(read(r#"{"eventCode":"E","externalId":""}"#).unwrap().external_id(), None);
    assert_eq!(read(r#"{"eventCode":"E","externalId":12}"#).unwrap().external_id(), Some("12"));
}

#[test]
fn a_body_without_a_customer_is_an_event() {
    for body in [
        r#"{"eventCode":"E"}"#,
        r#"{"eventCode":"E","customerInfo":null}"#,
        r#"{"eventCode":"E","customerInfo":{}}"#,
        concat!(
            r#"{"eventCode":"E","customerInfo":{"customerId":null,"customerUid":"","#,
            r#""applicationId":true,"identifierId":1.5}}"#
        ),
    ] {
        assert_eq!(read(body).unwrap().customer(), None, "{body}");
    }
}

#[test]
fn the_last_of_several_members_with_one_name_wins_in_the_envelope() {
    let event = read(concat!(
        r#"{"eventCode":1,"customerInfo":{"customerId":1,"customerUid":"u"},"#,
        r#""event\u0043ode":"Last","customerInfo":{"customerId":2,"customer\u0049d":"3"}}"#
    ))
    .unwrap();
    assert_eq!(event.code(), "Last");
    let customer = event.customer().unwrap();
    assert_eq!(
        (customer.customer_id.as_deref(), customer.customer_uid.as_deref()),
        (Some("3"), None)
    );
}

#[test]
fn a_purchase_is_projected_as_the_abi_defines() {
    let event = read(sample!("OnPurchaseConfirm")).unwrap();
    let data = |name: &str| format!("/purchaseOperationInfo/purchaseData/{name}");
    let value = |kind, path: &str| {
        let (value, mismatches) = project(&event, &field(kind, &[path]));
        assert_eq!(mismatches, 0);
        value
    };
    assert_eq!(value(FieldKind::Decimal, &data("amount")), Some(decimal("135.0000")));
    assert_eq!(value(FieldKind::Int, &data("amount")), Some(Packed::Int(135)));
    assert_eq!(value(FieldKind::Id, &data("purchaseId")), Some(text("512")));
    assert_eq!(value(FieldKind::Str, "/purchaseOperationInfo/deviceCode"), Some(text("001010")));
    assert_eq!(value(FieldKind::Str, "/purchaseOperationInfo/merchantCode"), None);
    assert_eq!(value(FieldKind::Bool, &data("isRefund")), Some(Packed::Bool(false)));
    let moment = value(FieldKind::Timestamp, "/purchaseOperationInfo/dateTime");
    assert_eq!(moment, Some(Packed::Timestamp(1_597_337_627_000)));

    let item =
        vec![field(FieldKind::Str, &["/description"]), field(FieldKind::Int, &["/quantity"])];
    let (items, _) = project(&event, &list(&[&data("chequeItems")], item));
    let record = |name, quantity| Packed::Array(vec![text(name), Packed::Int(quantity)]);
    assert_eq!(items, Some(Packed::Array(vec![record("Aqva", 10), record("Вода", 1)])));

    let positions = vec![field(FieldKind::Map, &["/positionInfo"])];
    let (withdraws, _) = project(&event, &list(&[&data("withdraws")], positions));
    let map =
        [("1", "-6.6700"), ("2", "-3.3300")].map(|(key, value)| (key.to_owned(), decimal(value)));
    assert_eq!(withdraws, Some(Packed::Array(vec![Packed::Array(vec![Packed::Map(map.into())])])));
}
