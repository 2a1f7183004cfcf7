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
    doc: "The account of one customer was merged into that of another. Communications go to the \
          account that remains, `to`.",
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
    doc: "An attribute of the customer changed: the public offer was accepted, a phone number \
          confirmed, the application form completed, and so on.",
    codes: &["OnCustomerAttributeUpdate"],
    guessed_codes: &[],
    routing_key: "customer.attribute.update",
    fields: fields![
        &[
            field(
                "attribute_code",
                Str,
                &["/attributeCode"],
                "The code of the attribute (`attributeCode`): `Phone` in the source's example.",
            )
            .required(),
            field(
                "attribute_id",
                Id,
                &["/attributeId"],
                "Loymax's id of the attribute (`attributeId`): a number in the source, text here.",
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
                "The value before the change (`oldValue`), if it was text or an integer. Absent \
                 if it was null, because the attribute is set for the first time.",
            )
            .personal(),
            field(
                "new_value",
                Id,
                &["/newValue"],
                "The value after the change (`newValue`), if it is text or an integer: for \
                 `Phone`, the number without `+`. Absent if the value was removed.",
            )
            .personal(),
            field(
                "change_date_time",
                Timestamp,
                &["/changeDateTime"],
                "The time of the change (`changeDateTime`).",
            ),
            field(
                "change_date_time_text",
                Id,
                &["/changeDateTime"],
                "The text of `changeDateTime`. If this is present and `change_date_time` is \
                 absent, the text is not a valid time.",
            ),
            field(
                "from_batch_operation",
                Bool,
                &["/fromBatchOperation"],
                "Whether an import made the change, and not the customer (`fromBatchOperation`).",
            ),
            field(
                "activity_uid",
                Id,
                &["/activityUid"],
                "The UUID of the activity that made the change (`activityUid`).",
            ),
        ],
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnCustomerAttributeUpdate.json"),
};

pub(super) const SUBSCRIPTION_CHANGED: EventType = EventType {
    name: "SubscriptionChanged",
    doc: "The customer's consent to one type of mailing changed. The event carries the state of \
          every channel, not only of the one that changed.",
    codes: &["OnCustomerSubscriptionChange"],
    guessed_codes: &[],
    routing_key: "customer.subscription.update",
    fields: fields![
        &[
            field(
                "mailing_subscription_type",
                Str,
                &["/mailingSubscriptionType"],
                "The kind of mailing (`mailingSubscriptionType`): `Cashback` in the source's \
                 example.",
            ),
            field(
                "subscription_type_id",
                Id,
                &["/subscriptionTypeId"],
                "Loymax's id of the subscription type (`subscriptionTypeId`): a number in the \
                 source, text here.",
            ),
            field(
                "subscription_type_code",
                Str,
                &["/subscriptionTypeCode"],
                "The code of the subscription type (`subscriptionTypeCode`): `DiscountOperation` \
                 in the source's example.",
            ),
            field(
                "subscription_type_name",
                Str,
                &["/subscriptionTypeName"],
                "The display name of the subscription type (`subscriptionTypeName`).",
            ),
            field("mail", Str, &["/subscriptionInfo/mail"], MAIL),
            field(
                "push",
                Str,
                &["/subscriptionInfo/push"],
                "Whether the customer wants push messages of this type (`subscriptionInfo.push`)."
            ),
            field(
                "sms",
                Str,
                &["/subscriptionInfo/sms"],
                "Whether the customer wants SMS of this type (`subscriptionInfo.sms`)."
            ),
            field(
                "viber",
                Str,
                &["/subscriptionInfo/viber"],
                "Whether the customer wants Viber messages of this type (`subscriptionInfo.viber`)."
            ),
            field(
                "chat_bot",
                Str,
                &["/subscriptionInfo/chatBot"],
                "Whether the customer wants chat bot messages of this type \
                 (`subscriptionInfo.chatBot`).",
            ),
            field(
                "social_networks",
                Str,
                &["/subscriptionInfo/socialNetworks"],
                "Whether the customer wants messages of this type in social networks \
                 (`subscriptionInfo.socialNetworks`).",
            ),
        ],
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnCustomerSubscriptionChange.json"),
};

const MAIL: &str = "Whether the customer wants e-mails of this type (`subscriptionInfo.mail`): \
                    `Enabled` in the source's example, which shows no other value.";
