//! Events about the customer: registration, merge, attributes and subscriptions.

use super::EventType;
use super::fields::{CUSTOMER, DELIVERY, customer_fields, field, fields};
use crate::manifest::FieldKind::{Bool, Id, Str, Timestamp};

pub(super) const REGISTRATION_STARTED: EventType = EventType {
    name: "RegistrationStarted",
    doc: "A customer began to register in the loyalty programme.",
    codes: &["OnBeginRegistration"],
    guessed_codes: &[],
    routing_key: "customer.registration.begin",
    fields: fields![CUSTOMER, DELIVERY],
    sample: include_str!("../../events/OnBeginRegistration.json"),
};

pub(super) const REGISTRATION_COMPLETED: EventType = EventType {
    name: "RegistrationCompleted",
    doc: "A customer completed the registration in the loyalty programme.",
    codes: &["OnEndRegistration"],
    guessed_codes: &["OnEndPersonRegistration"],
    routing_key: "customer.registration.finish",
    fields: fields![CUSTOMER, DELIVERY],
    sample: include_str!("../../events/OnEndRegistration.json"),
};

pub(super) const PROFILES_MERGED: EventType = EventType {
    name: "ProfilesMerged",
    doc: "One customer's account was merged into another's. There is no plain customer on this event: communications go \
          to the account that remains, `to`.",
    codes: &["MergeCustomersProfiles"],
    guessed_codes: &[],
    routing_key: "customer.profile.merge",
    fields: fields![
        customer_fields!("from_", "the account that was merged", "/fromCustomerInfo"),
        customer_fields!("to_", "the account that remains", "/toCustomerInfo"),
        DELIVERY,
    ],
    sample: include_str!("../../events/MergeCustomersProfiles.json"),
};

pub(super) const ATTRIBUTE_UPDATED: EventType = EventType {
    name: "AttributeUpdated",
    doc: "An attribute of the customer changed: the public offer was accepted, a phone number confirmed, the \
          application form completed, and so on.",
    codes: &["OnCustomerAttributeUpdate"],
    guessed_codes: &[],
    routing_key: "customer.attribute.update",
    fields: fields![
        &[
            field(
                "attribute_code",
                Str,
                &["/attributeCode"],
                "Which attribute, by code (`attributeCode`): `Phone` in the source's example.",
            )
            .required(),
            field(
                "attribute_id",
                Id,
                &["/attributeId"],
                "Which attribute, by Loymax's id (`attributeId`): a number in the source, text here.",
            ),
            field(
                "user_attribute_type",
                Str,
                &["/userAttributeType"],
                "The kind of attribute (`userAttributeType`): `Notifier` in the source's example.",
            ),
            field(
                "old_value",
                Id,
                &["/oldValue"],
                "The value before (`oldValue`), when it was a text or an integer. Absent when it was null: set for \
                 the first time.",
            )
            .personal(),
            field(
                "new_value",
                Id,
                &["/newValue"],
                "The value now (`newValue`), when it is a text or an integer: for `Phone`, the number without `+`. \
                 Absent when it was taken away.",
            )
            .personal(),
            field("change_date_time", Timestamp, &["/changeDateTime"], "When it changed (`changeDateTime`).",),
            field(
                "change_date_time_text",
                Id,
                &["/changeDateTime"],
                "`changeDateTime` as it is written. If `change_date_time` is absent and this is not, the time cannot be read.",
            ),
            field(
                "from_batch_operation",
                Bool,
                &["/fromBatchOperation"],
                "Whether an import changed it, and not the customer (`fromBatchOperation`).",
            ),
            field("activity_uid", Id, &["/activityUid"], "The UUID of the activity that changed it (`activityUid`).",),
        ],
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnCustomerAttributeUpdate.json"),
};

pub(super) const SUBSCRIPTION_CHANGED: EventType = EventType {
    name: "SubscriptionChanged",
    doc: "The customer's consent to one type of mailing changed. The event carries the state of every channel, not \
          only of the one that changed.",
    codes: &["OnCustomerSubscriptionChange"],
    guessed_codes: &[],
    routing_key: "customer.subscription.update",
    fields: fields![
        &[
            field(
                "mailing_subscription_type",
                Str,
                &["/mailingSubscriptionType"],
                "The kind of mailing (`mailingSubscriptionType`): `Cashback` in the source's example.",
            ),
            field(
                "subscription_type_id",
                Id,
                &["/subscriptionTypeId"],
                "Loymax's id of the subscription type (`subscriptionTypeId`): a number in the source, text here.",
            ),
            field(
                "subscription_type_code",
                Str,
                &["/subscriptionTypeCode"],
                "The code of the subscription type (`subscriptionTypeCode`): `DiscountOperation` in the source's example.",
            ),
            field(
                "subscription_type_name",
                Str,
                &["/subscriptionTypeName"],
                "The subscription type for people to read (`subscriptionTypeName`).",
            ),
            field("mail", Str, &["/subscriptionInfo/mail"], MAIL),
            field("push", Str, &["/subscriptionInfo/push"], "The same for push messages (`subscriptionInfo.push`)."),
            field("sms", Str, &["/subscriptionInfo/sms"], "The same for SMS (`subscriptionInfo.sms`)."),
            field("viber", Str, &["/subscriptionInfo/viber"], "The same for Viber (`subscriptionInfo.viber`)."),
            field(
                "chat_bot",
                Str,
                &["/subscriptionInfo/chatBot"],
                "The same for the chat bot (`subscriptionInfo.chatBot`).",
            ),
            field(
                "social_networks",
                Str,
                &["/subscriptionInfo/socialNetworks"],
                "The same for social networks (`subscriptionInfo.socialNetworks`).",
            ),
        ],
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnCustomerSubscriptionChange.json"),
};

const MAIL: &str = "Whether e-mails of this type are wanted (`subscriptionInfo.mail`): `Enabled` in the source's example, \
                    which shows no other value.";
