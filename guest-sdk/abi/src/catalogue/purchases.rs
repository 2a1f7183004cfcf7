//! Purchases and refunds. Both are one shape under two names: `purchaseOperationInfo` and `refundOperationInfo`.
//!
//! Amounts are exact decimals, four digits after the point in the source. What the customer paid or got back is
//! positive; bonuses withdrawn are negative. A refund can exceed the purchase it refunds.

use super::fields::{CUSTOMER, DELIVERY, field, fields, list};
use super::{EventType, RecordType};
use crate::manifest::FieldKind::{Bool, Decimal, Id, Map, Raw, Str, Timestamp};

const DESCRIPTION: &str = "Free text (`description`). Null in the examples.";
const POSITIONS: &str =
    "How the amount is spread over the cheque's positions (`positionInfo`): an amount for each `position_id`.";
const CURRENCY: &str = "The UUID of the currency of `amount` (`currencyExternalId`): the programme's bonuses, or money, as the deployment says.";

/// One line of the cheque.
pub static CHEQUE_ITEM: RecordType = RecordType {
    name: "ChequeItem",
    doc: "One line of the cheque (`chequeItems`).",
    fields: &[
        field(
            "position_id",
            Id,
            &["/positionId"],
            "The line's number on the cheque (`positionId`), as text: the key of `position_info`.",
        ),
        field("item_id", Id, &["/itemId"], "The goods' id (`itemId`): text in the source."),
        field(
            "amount",
            Decimal,
            &["/amount"],
            "The line's price after its quantity (`amount`), in the purchase's currency.",
        )
        .required(),
        field("quantity", Decimal, &["/quantity"], "How much of it (`quantity`), in `unit`."),
        field("unit", Str, &["/unit"], "The unit of `quantity` (`unit`). Null in the examples."),
        field("description", Str, &["/description"], "The goods' name (`description`): free text that the till sent.")
            .personal(),
    ],
};

/// What the customer was given for a purchase.
pub static REWARD: RecordType = RecordType {
    name: "Reward",
    doc: "What the customer was given for a purchase (`rewards`); on a refund, what is taken back.",
    fields: &[
        field(
            "amount",
            Decimal,
            &["/amount"],
            "How much (`amount`), in `currency_external_id`. Positive in the examples.",
        )
        .required(),
        field(
            "reward_type",
            Str,
            &["/rewardType"],
            "What kind (`rewardType`): `Discount` and `Bonus` in the examples.",
        ),
        field("currency_external_id", Id, &["/currencyExternalId"], CURRENCY),
        field(
            "offer_external_id",
            Id,
            &["/offerExternalId"],
            "The UUID of the offer that gave it (`offerExternalId`). Null on refunds.",
        ),
        field("position_info", Map, &["/positionInfo"], POSITIONS),
        field("description", Str, &["/description"], DESCRIPTION).personal(),
    ],
};

/// What the customer paid with bonuses.
pub static WITHDRAW: RecordType = RecordType {
    name: "Withdraw",
    doc: "What the customer paid with bonuses (`withdraws`); on a refund, what is given back.",
    fields: &[
        field(
            "amount",
            Decimal,
            &["/amount"],
            "How much (`amount`), in `currency_external_id`. Negative in the examples.",
        )
        .required(),
        field(
            "money_amount",
            Decimal,
            &["/moneyAmount"],
            "What it was worth in money (`moneyAmount`), in the purchase's currency. Positive in the examples.",
        ),
        field("withdraw_type", Str, &["/withdrawType"], "What kind (`withdrawType`): `Bonus` in the examples."),
        field("currency_external_id", Id, &["/currencyExternalId"], CURRENCY),
        field("position_info", Map, &["/positionInfo"], POSITIONS),
        field("description", Str, &["/description"], DESCRIPTION).personal(),
    ],
};

/// The fields of a purchase or a refund under one JSON object.
macro_rules! operation_fields {
    ($base:literal, $what:literal) => {
        &[
            field(
                "amount", Decimal, &[concat!($base, "/purchaseData/amount")],
                concat!("The total of the ", $what, " (`purchaseData.amount`), in `currency_external_id`, with its four decimals."),
            ).required(),
            field(
                "currency_external_id", Id,
                &[concat!($base, "/purchaseData/currencyExternalId"), concat!($base, "/purchaseData/currencyDeviceExternalId")],
                "The UUID of the currency of `amount` (`currencyExternalId`; refunds say `currencyDeviceExternalId`).",
            ),
            field(
                "date_time", Timestamp, &[concat!($base, "/dateTime")],
                concat!("When the ", $what, " was made (`dateTime`), in UTC."),
            ),
            field(
                "date_time_text", Id, &[concat!($base, "/dateTime")],
                "`dateTime` as it is written. If `date_time` is absent and this is not, the time cannot be read.",
            ),
            list(
                "items", &[concat!($base, "/purchaseData/chequeItems")], &CHEQUE_ITEM,
                "The lines of the cheque (`purchaseData.chequeItems`). A pattern names what it reads of each: \
                 `items: [ChequeItem { item_id, amount, .. }]`.",
            ),
            list(
                "rewards", &[concat!($base, "/purchaseData/rewards")], &REWARD,
                concat!("Bonuses and discounts that belong to the ", $what, " (`purchaseData.rewards`)."),
            ),
            list(
                "withdraws", &[concat!($base, "/purchaseData/withdraws")], &WITHDRAW,
                concat!("Bonuses withdrawn that belong to the ", $what, " (`purchaseData.withdraws`)."),
            ),
            field(
                "purchase_id", Id, &[concat!($base, "/purchaseData/purchaseId")],
                concat!("Loymax's id of the ", $what, " (`purchaseData.purchaseId`): a number in the source, text here."),
            ),
            field(
                "external_purchase_id", Id, &[concat!($base, "/purchaseData/externalPurchaseId")],
                concat!("The till's id of the ", $what, " (`purchaseData.externalPurchaseId`)."),
            ),
            field(
                "cheque_number", Id, &[concat!($base, "/purchaseData/chequeNumber")],
                "The cheque's number (`purchaseData.chequeNumber`).",
            ),
            field(
                "is_refund", Bool, &[concat!($base, "/purchaseData/isRefund")],
                "Whether it is a refund (`purchaseData.isRefund`).",
            ),
            field(
                "purchase_attributes", Raw, &[concat!($base, "/purchaseData/purchaseAttributes")],
                "Attributes of the cheque (`purchaseData.purchaseAttributes`). Their shape is not documented: every example \
                 has an empty list.",
            ).personal(),
            field(
                "merchant_id", Id, &[concat!($base, "/merchantId")],
                "Loymax's id of the shop (`merchantId`): a number in the source, text here.",
            ),
            field("merchant_uid", Id, &[concat!($base, "/merchantUid")], "The UUID of the shop (`merchantUid`)."),
            field("merchant_code", Id, &[concat!($base, "/merchantCode")], "The shop's code (`merchantCode`). Null in the examples."),
            field(
                "device_code", Str, &[concat!($base, "/deviceCode")],
                "The till's code (`deviceCode`). Text: it may begin with zeros.",
            ),
            field("location_id", Id, &[concat!($base, "/locationId")], "The place of the shop (`locationId`). Null in the examples."),
            field("partner_id", Id, &[concat!($base, "/partnerId")], "The UUID of the partner that owns the shop (`partnerId`)."),
            field("brand_id", Id, &[concat!($base, "/brandId")], "The UUID of the shop's brand (`brandId`)."),
            field(
                "operation_type", Str, &[concat!($base, "/type")],
                "The kind of operation (`type`): `PurchaseData` in both examples, the refund too.",
            ),
            field(
                "identity", Str, &[concat!($base, "/identity")],
                "What the customer showed at the till (`identity`): a card number in the examples.",
            ).personal(),
            field(
                "cashier_identifier", Id, &[concat!($base, "/cashierIdentifier")],
                "Who sat at the till (`cashierIdentifier`).",
            ).personal(),
            field("description", Str, &[concat!($base, "/description")], "Free text of the till (`description`).").personal(),
        ]
    };
}

pub(super) const PURCHASE: EventType = EventType {
    name: "Purchase",
    doc: "The customer bought something, and the purchase is confirmed.",
    codes: &["OnPurchaseConfirm"],
    guessed_codes: &[],
    routing_key: "purchases.confirm.modelUpdate",
    fields: fields![operation_fields!("/purchaseOperationInfo", "purchase"), CUSTOMER, DELIVERY],
    sample: include_str!("../../events/OnPurchaseConfirm.json"),
};

pub(super) const PURCHASE_REFUND: EventType = EventType {
    name: "PurchaseRefund",
    doc: "The customer brought something back. A refund can exceed the purchase it names, and several may name one.",
    codes: &["OnPurchaseRefund"],
    guessed_codes: &[],
    routing_key: "purchases.refundModelUpdate",
    fields: fields![
        operation_fields!("/refundOperationInfo", "refund"),
        &[
            field(
                "refunded_purchase_id",
                Id,
                &["/refundedPurchaseViewModel/refundedPurchaseId"],
                "Loymax's id of the purchase that is refunded (`refundedPurchaseViewModel.refundedPurchaseId`).",
            ),
            field(
                "refunded_purchase_external_id",
                Id,
                &["/refundedPurchaseViewModel/refundedPurchaseExternalId"],
                "The till's id of the purchase that is refunded (`refundedPurchaseViewModel.refundedPurchaseExternalId`).",
            ),
        ],
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnPurchaseRefund.json"),
};
