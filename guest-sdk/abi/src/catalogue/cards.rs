//! Events about cards. A card is a whole object, two fields under `cardInfo`, or flattened into the
//! event. The fields here read all three forms, and only the fields that the source sends are
//! present.

use super::EventType;
use super::fields::{CUSTOMER, DELIVERY, field, fields};
use crate::manifest::FieldKind::{Bool, Id, Str, Timestamp};

/// The twelve fields of a card, read from one or more JSON objects (`""` is the event). The prefix
/// is put before the field names.
macro_rules! card_fields {
    ($prefix:literal, $which:literal, $($base:literal),+) => {
        &[
            field(
                concat!($prefix, "_id"),
                Id,
                &[$(concat!($base, "/cardId")),+],
                concat!(
                    "Loymax's id of ",
                    $which,
                    " (`cardId`): a number in the source, text here.",
                ),
            ),
            field(
                concat!($prefix, "_number"),
                Str,
                &[$(concat!($base, "/cardNumber")),+],
                concat!(
                    "The number of ",
                    $which,
                    " (`cardNumber`). It is text, as it may begin with zeros.",
                ),
            ).personal(),
            field(
                concat!($prefix, "_state"),
                Str,
                &[$(concat!($base, "/cardState")),+],
                concat!(
                    "The state of ",
                    $which,
                    " (`cardState`): `Activated` and `Replaced` in the examples. Only if the \
                     event carries the whole card.",
                ),
            ),
            field(
                concat!($prefix, "_activation_date"),
                Timestamp,
                &[$(concat!($base, "/activationDate")),+],
                concat!(
                    "The time at which ",
                    $which,
                    " was activated (`activationDate`). Only if the event carries the whole card. \
                     Null until known.",
                ),
            ),
            field(
                concat!($prefix, "_type"),
                Str,
                &[$(concat!($base, "/cardType")),+],
                concat!(
                    "The type of ",
                    $which,
                    " (`cardType`): `General` in the examples. Only if the event carries the \
                     whole card.",
                ),
            ),
            field(
                concat!($prefix, "_category"),
                Str,
                &[$(concat!($base, "/cardCategory")),+],
                concat!(
                    "The category of ",
                    $which,
                    " (`cardCategory`): `VIP` in the examples. Only if the event carries the \
                     whole card.",
                ),
            ),
            field(
                concat!($prefix, "_bar_code"),
                Str,
                &[$(concat!($base, "/barCode")),+],
                concat!(
                    "The bar code of ",
                    $which,
                    " (`barCode`). Only if the event carries the whole card.",
                ),
            ).personal(),
            field(
                concat!($prefix, "_strip1"),
                Str,
                &[$(concat!($base, "/strip1")),+],
                concat!(
                    "The first magnetic strip of ",
                    $which,
                    " (`strip1`). Only if the event carries the whole card.",
                ),
            ).personal(),
            field(
                concat!($prefix, "_strip2"),
                Str,
                &[$(concat!($base, "/strip2")),+],
                concat!(
                    "The second magnetic strip of ",
                    $which,
                    " (`strip2`). Only if the event carries the whole card.",
                ),
            ).personal(),
            field(
                concat!($prefix, "_strip3"),
                Str,
                &[$(concat!($base, "/strip3")),+],
                concat!(
                    "The third magnetic strip of ",
                    $which,
                    " (`strip3`). Only if the event carries the whole card.",
                ),
            ).personal(),
            field(
                concat!($prefix, "_is_blocked"),
                Bool,
                &[$(concat!($base, "/isBlocked")),+],
                concat!(
                    "Whether ",
                    $which,
                    " is blocked (`isBlocked`). Only if the event carries the whole card.",
                ),
            ),
            field(
                concat!($prefix, "_is_deleted"),
                Bool,
                &[$(concat!($base, "/isDeleted")),+],
                concat!(
                    "Whether ",
                    $which,
                    " is deleted (`isDeleted`). Only if the event carries the whole card.",
                ),
            ),
        ]
    };
}

/// The fields of a card in any of the three forms.
const CARD: &[super::FieldDef] = card_fields!("card", "the card", "/cardInfo", "");

pub(super) const CARD_LINKED: EventType = EventType {
    name: "CardLinked",
    doc: "A card was linked to the customer. `link_card_type` says how: a card replaced an old \
          one, cards were joined under one account, or a new card was set. Decide by this field \
          and not by the code: the source shows only one code.",
    codes: &["OnCardReplace"],
    guessed_codes: &["OnCardAttach", "OnCardSet"],
    routing_key: "customer.card.link",
    fields: fields![
        &[
            field(
                "link_card_type",
                Str,
                &["/linkCardType"],
                "The kind of link (`linkCardType`): `ReplaceCard`, `AttachCard` or `SetCard`.",
            )
            .required(),
            field(
                "link_source",
                Str,
                &["/linkSource"],
                "The origin of the link (`linkSource`): `UserPortal` in the source's example.",
            ),
        ],
        card_fields!("new_card", "the card that was linked", "/newCard"),
        card_fields!("old_card", "the card that was replaced (only on `ReplaceCard`)", "/oldCard"),
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnCardReplace.json"),
};

pub(super) const CARD_ACTIVATED: EventType = EventType {
    name: "CardActivated",
    doc: "The state of a card changed from Issued or Activating to Activated.",
    codes: &["OnCardActivation"],
    guessed_codes: &[],
    routing_key: "customer.card.changeState",
    fields: fields![
        &[field(
            "target_state",
            Str,
            &["/targetState"],
            "The new state of the card (`targetState`): `Activated` in the source's example.",
        )],
        CARD,
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnCardActivation.json"),
};

pub(super) const CARD_BLOCK_CHANGED: EventType = EventType {
    name: "CardBlockChanged",
    doc: "A card was blocked or unblocked. Decide by `target_block_state`: the source shows one \
          code for both.",
    codes: &["OnBlockCard"],
    guessed_codes: &["OnUnblockCard"],
    routing_key: "customer.card.changeBlockState",
    fields: fields![
        &[field(
            "target_block_state",
            Bool,
            &["/targetBlockState"],
            "`true`: the card was blocked; `false`: it was unblocked (`targetBlockState`).",
        )
        .required()],
        CARD,
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnBlockCard.json"),
};

pub(super) const CARD_DELETE_CHANGED: EventType = EventType {
    name: "CardDeleteChanged",
    doc: "A card was deleted or restored. Decide by `target_delete_state`: the source shows one \
          code for both.",
    codes: &["OnDeleteCard"],
    guessed_codes: &["OnRecoverCard"],
    routing_key: "customer.card.changeDeleteState",
    fields: fields![
        &[field(
            "target_delete_state",
            Bool,
            &["/targetDeleteState"],
            "`true`: the card was deleted; `false`: it was restored (`targetDeleteState`).",
        )
        .required()],
        CARD,
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnDeleteCard.json"),
};

pub(super) const CARD_CATEGORY_CHANGED: EventType = EventType {
    name: "CardCategoryChanged",
    doc: "The category of a card changed, for example because the customer reached a higher level. \
          The source sends only the new category, so the rule itself must know whether it is \
          higher.",
    codes: &["OnChangeCategoryCard"],
    guessed_codes: &["OnCardCategoryChange"],
    // The first letter is a Cyrillic es (U+0441), as in the source.
    routing_key: "\u{0441}ustomer.card.changeCategory",
    fields: fields![
        &[field(
            "new_card_category",
            Str,
            &["/newcardCategory", "/newCardCategory"],
            "The new category of the card (`newcardCategory`, in this spelling; \
             `newCardCategory` is read, too).",
        )
        .required()],
        CARD,
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnChangeCategoryCard.json"),
};
