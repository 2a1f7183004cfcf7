//! Purchases and refunds. Both have the same shape, under `purchaseOperationInfo` and
//! `refundOperationInfo`.
//!
//! Amounts are exact decimals, with four digits after the point in the source. Amounts that the
//! customer paid or got back are positive. Withdrawn bonuses are negative. A refund can exceed the
//! purchase that it refunds.

use super::fields::{CUSTOMER, DELIVERY, field, fields, list};
use super::{EventType, RecordType};
use crate::manifest::FieldKind::{Bool, Decimal, Id, Map, Raw, Str, Timestamp};

const DESCRIPTION: &str = "Free text (`description`). Null in the examples.";
const POSITIONS: &str = "The parts of the amount for the lines of the cheque (`positionInfo`): an \
                         amount for each `position_id`.";
const CURRENCY: &str = "The UUID of the currency of `amount` (`currencyExternalId`): the \
                        programme's bonuses or money, depending on the deployment.";

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
        field("item_id", Id, &["/itemId"], "The id of the goods (`itemId`): text in the source."),
        field(
            "amount",
            Decimal,
            &["/amount"],
            "The price of the line, for its whole quantity (`amount`), in the purchase's currency.",
        )
        .required(),
        field("quantity", Decimal, &["/quantity"], "The quantity (`quantity`), in `unit`."),
        field("unit", Str, &["/unit"], "The unit of `quantity` (`unit`). Null in the examples."),
        field(
            "description",
            Str,
            &["/description"],
            "The name of the goods (`description`): free text from the till.",
        )
        .personal(),
    ],
};

/// A bonus or discount for a purchase.
pub static REWARD: RecordType = RecordType {
    name: "Reward",
    doc: "A bonus or discount that the customer got for a purchase (`rewards`); on a refund, one \
          that is taken back.",
    fields: &[
        field(
            "amount",
            Decimal,
            &["/amount"],
            "The amount (`amount`), in `currency_external_id`. Positive in the examples.",
        )
        .required(),
        field(
            "reward_type",
            Str,
            &["/rewardType"],
            "The kind of reward (`rewardType`): `Discount` and `Bonus` in the examples.",
        ),
        field("currency_external_id", Id, &["/currencyExternalId"], CURRENCY),
        field(
            "offer_external_id",
            Id,
            &["/offerExternalId"],
            "The UUID of the offer that gave the reward (`offerExternalId`). Null on refunds.",
        ),
        field("position_info", Map, &["/positionInfo"], POSITIONS),
        field("description", Str, &["/description"], DESCRIPTION).personal(),
    ],
};

/// A payment with bonuses.
pub static WITHDRAW: RecordType = RecordType {
    name: "Withdraw",
    doc: "A payment with bonuses (`withdraws`); on a refund, bonuses that are given back.",
    fields: &[
        field(
            "amount",
            Decimal,
            &["/amount"],
            "The amount (`amount`), in `currency_external_id`. Negative in the examples.",
        )
        .required(),
        field(
            "money_amount",
            Decimal,
            &["/moneyAmount"],
            "The value in money (`moneyAmount`), in the purchase's currency. Positive in the \
             examples.",
        ),
        field(
            "withdraw_type",
            Str,
            &["/withdrawType"],
            "The kind of withdrawal (`withdrawType`): `Bonus` in the examples.",
        ),
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
                "amount",
                Decimal,
                &[concat!($base, "/purchaseData/amount")],
                concat!(
                    "The total of the ",
                    $what,
                    " (`purchaseData.amount`), in `currency_external_id`, with four decimals."
                ),
            )
            .required(),
            field(
                "currency_external_id",
                Id,
                &[
                    concat!($base, "/purchaseData/currencyExternalId"),
                    concat!($base, "/purchaseData/currencyDeviceExternalId"),
                ],
                "The UUID of the currency of `amount` (`currencyExternalId`; refunds name it \
                 `currencyDeviceExternalId`).",
            ),
            field(
                "date_time",
                Timestamp,
                &[concat!($base, "/dateTime")],
                concat!("The time of the ", $what, " (`dateTime`), in UTC."),
            ),
            field(
                "date_time_text",
                Id,
                &[concat!($base, "/dateTime")],
                "The text of `dateTime`. If this is present and `date_time` is absent, the text \
                 is not a valid time.",
            ),
            list(
                "items",
                &[concat!($base, "/purchaseData/chequeItems")],
                &CHEQUE_ITEM,
                "The lines of the cheque (`purchaseData.chequeItems`). A pattern names the fields \
                 that it reads of each line: `items: [ChequeItem { item_id, amount, .. }]`.",
            ),
            list(
                "rewards",
                &[concat!($base, "/purchaseData/rewards")],
                &REWARD,
                concat!("The bonuses and discounts of the ", $what, " (`purchaseData.rewards`)."),
            ),
            list(
                "withdraws",
                &[concat!($base, "/purchaseData/withdraws")],
                &WITHDRAW,
                concat!("The withdrawn bonuses of the ", $what, " (`purchaseData.withdraws`)."),
            ),
            field(
                "purchase_id",
                Id,
                &[concat!($base, "/purchaseData/purchaseId")],
                concat!(
                    "Loymax's id of the ",
                    $what,
                    " (`purchaseData.purchaseId`): a number in the source, text here."
                ),
            ),
            field(
                "external_purchase_id",
                Id,
                &[concat!($base, "/purchaseData/externalPurchaseId")],
                concat!("The till's id of the ", $what, " (`purchaseData.externalPurchaseId`)."),
            ),
            field(
                "cheque_number",
                Id,
                &[concat!($base, "/purchaseData/chequeNumber")],
                "The cheque's number (`purchaseData.chequeNumber`).",
            ),
            field(
                "is_refund",
                Bool,
                &[concat!($base, "/purchaseData/isRefund")],
                "Whether it is a refund (`purchaseData.isRefund`).",
            ),
            field(
                "purchase_attributes",
                Raw,
                &[concat!($base, "/purchaseData/purchaseAttributes")],
                "Attributes of the cheque (`purchaseData.purchaseAttributes`). Their shape is not \
                 documented: every example has an empty list.",
            )
            .personal(),
            field(
                "merchant_id",
                Id,
                &[concat!($base, "/merchantId")],
                "Loymax's id of the shop (`merchantId`): a number in the source, text here.",
            ),
            field(
                "merchant_uid",
                Id,
                &[concat!($base, "/merchantUid")],
                "The UUID of the shop (`merchantUid`).",
            ),
            field(
                "merchant_code",
                Id,
                &[concat!($base, "/merchantCode")],
                "The shop's code (`merchantCode`). Null in the examples.",
            ),
            field(
                "device_code",
                Str,
                &[concat!($base, "/deviceCode")],
                "The till's code (`deviceCode`). Text: it may begin with zeros.",
            ),
            field(
                "location_id",
                Id,
                &[concat!($base, "/locationId")],
                "The id of the shop's location (`locationId`). Null in the examples.",
            ),
            field(
                "partner_id",
                Id,
                &[concat!($base, "/partnerId")],
                "The UUID of the partner that owns the shop (`partnerId`).",
            ),
            field(
                "brand_id",
                Id,
                &[concat!($base, "/brandId")],
                "The UUID of the shop's brand (`brandId`).",
            ),
            field(
                "operation_type",
                Str,
                &[concat!($base, "/type")],
                "The kind of operation (`type`): `PurchaseData` in both examples, also the refund.",
            ),
            field(
                "identity",
                Str,
                &[concat!($base, "/identity")],
                "The identification that the customer used at the till (`identity`): a card \
                 number in the examples.",
            )
            .personal(),
            field(
                "cashier_identifier",
                Id,
                &[concat!($base, "/cashierIdentifier")],
                "The id of the cashier (`cashierIdentifier`).",
            )
            .personal(),
            field(
                "description",
                Str,
                &[concat!($base, "/description")],
                "Free text from the till (`description`).",
            )
            .personal(),
        ]
    };
}

pub(super) const PURCHASE: EventType = EventType {
    name: "Purchase",
    doc: "The customer made a purchase, and it is confirmed.",
    codes: &["OnPurchaseConfirm"],
    guessed_codes: &[],
    routing_key: "purchases.confirm.modelUpdate",
    fields: fields![operation_fields!("/purchaseOperationInfo", "purchase"), CUSTOMER, DELIVERY],
    sample: include_str!("../../events/OnPurchaseConfirm.json"),
};

pub(super) const PURCHASE_REFUND: EventType = EventType {
    name: "PurchaseRefund",
    doc: "The customer returned goods. A refund can exceed the purchase that it names, and several \
          refunds may name the same purchase.",
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
                "Loymax's id of the purchase that is refunded \
                 (`refundedPurchaseViewModel.refundedPurchaseId`).",
            ),
            field(
                "refunded_purchase_external_id",
                Id,
                &["/refundedPurchaseViewModel/refundedPurchaseExternalId"],
                "The till's id of the purchase that is refunded \
                 (`refundedPurchaseViewModel.refundedPurchaseExternalId`).",
            ),
        ],
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnPurchaseRefund.json"),
};
