//! Events about cards. A card comes whole, as two fields under `cardInfo`, or flattened into the event; the fields
//! here read all three, and only those that the source sends are present.

use super::EventType;
use super::fields::{CUSTOMER, DELIVERY, field, fields};
use crate::manifest::FieldKind::{Bool, Id, Str, Timestamp};

/// The twelve fields of a card, the names with a prefix, read from one or more JSON objects (`""` is the event).
macro_rules! card_fields {
    ($prefix:literal, $which:literal, $($base:literal),+) => {
        &[
            field(
                concat!($prefix, "_id"), Id, &[$(concat!($base, "/cardId")),+],
                concat!("Loymax's id of ", $which, " (`cardId`): a number in the source, text here."),
            ),
            field(
                concat!($prefix, "_number"), Str, &[$(concat!($base, "/cardNumber")),+],
                concat!("The number of ", $which, " (`cardNumber`). Text: it may begin with zeros."),
            ).personal(),
            field(
                concat!($prefix, "_state"), Str, &[$(concat!($base, "/cardState")),+],
                concat!("The state of ", $which, " (`cardState`): `Activated` and `Replaced` in the examples. Only on a card that comes whole."),
            ),
            field(
                concat!($prefix, "_activation_date"), Timestamp, &[$(concat!($base, "/activationDate")),+],
                concat!("When ", $which, " was activated (`activationDate`). Only on a card that comes whole, and null there until known."),
            ),
            field(
                concat!($prefix, "_type"), Str, &[$(concat!($base, "/cardType")),+],
                concat!("The type of ", $which, " (`cardType`): `General` in the examples. Only on a card that comes whole."),
            ),
            field(
                concat!($prefix, "_category"), Str, &[$(concat!($base, "/cardCategory")),+],
                concat!("The category of ", $which, " (`cardCategory`): `VIP` in the examples. Only on a card that comes whole."),
            ),
            field(
                concat!($prefix, "_bar_code"), Str, &[$(concat!($base, "/barCode")),+],
                concat!("The bar code of ", $which, " (`barCode`). Only on a card that comes whole."),
            ).personal(),
            field(
                concat!($prefix, "_strip1"), Str, &[$(concat!($base, "/strip1")),+],
                concat!("The first magnetic strip of ", $which, " (`strip1`). Only on a card that comes whole."),
            ).personal(),
            field(
                concat!($prefix, "_strip2"), Str, &[$(concat!($base, "/strip2")),+],
                concat!("The second magnetic strip of ", $which, " (`strip2`). Only on a card that comes whole."),
            ).personal(),
            field(
                concat!($prefix, "_strip3"), Str, &[$(concat!($base, "/strip3")),+],
                concat!("The third magnetic strip of ", $which, " (`strip3`). Only on a card that comes whole."),
            ).personal(),
            field(
                concat!($prefix, "_is_blocked"), Bool, &[$(concat!($base, "/isBlocked")),+],
                concat!("Whether ", $which, " is blocked (`isBlocked`). Only on a card that comes whole."),
            ),
            field(
                concat!($prefix, "_is_deleted"), Bool, &[$(concat!($base, "/isDeleted")),+],
                concat!("Whether ", $which, " is deleted (`isDeleted`). Only on a card that comes whole."),
            ),
        ]
    };
}

/// A card that may come in any of the three ways.
const CARD: &[super::FieldDef] = card_fields!("card", "the card", "/cardInfo", "");

pub(super) const CARD_LINKED: EventType = EventType {
    name: "CardLinked",
    doc: "A card was linked to the customer. `link_card_type` says how: a card replaced an old one, cards came together \
          under one account, or a new card was set. Decide by it and not by the code: the source shows one code only.",
    codes: &["OnCardReplace"],
    guessed_codes: &["OnCardAttach", "OnCardSet"],
    routing_key: "customer.card.link",
    fields: fields![
        &[
            field(
                "link_card_type",
                Str,
                &["/linkCardType"],
                "How it was linked (`linkCardType`): `ReplaceCard`, `AttachCard` or `SetCard`.",
            )
            .required(),
            field(
                "link_source",
                Str,
                &["/linkSource"],
                "Where it was linked (`linkSource`): `UserPortal` in the source's example.",
            ),
        ],
        card_fields!("new_card", "the card that was linked", "/newCard"),
        card_fields!("old_card", "the card that was replaced (on `ReplaceCard` only)", "/oldCard"),
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnCardReplace.json"),
};

pub(super) const CARD_ACTIVATED: EventType = EventType {
    name: "CardActivated",
    doc: "A card went from Issued or Activating to Activated.",
    codes: &["OnCardActivation"],
    guessed_codes: &[],
    routing_key: "customer.card.changeState",
    fields: fields![
        &[field(
            "target_state",
            Str,
            &["/targetState"],
            "The state that the card went to (`targetState`): `Activated` in the source's example.",
        )],
        CARD,
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnCardActivation.json"),
};

pub(super) const CARD_BLOCK_CHANGED: EventType = EventType {
    name: "CardBlockChanged",
    doc: "A card was blocked or unblocked. Decide by `target_block_state`: the source shows one code for both.",
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
    doc: "A card was deleted or restored. Decide by `target_delete_state`: the source shows one code for both.",
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
    doc: "The category of a card changed, for example because the customer rose a level. The source sends the new \
          category only: whether it is a rise is the rule's to know.",
    codes: &["OnChangeCategoryCard"],
    guessed_codes: &["OnCardCategoryChange"],
    // The first letter is a Cyrillic es (U+0441), as in the source.
    routing_key: "\u{0441}ustomer.card.changeCategory",
    fields: fields![
        &[field(
            "new_card_category",
            Str,
            &["/newcardCategory", "/newCardCategory"],
            "The category that the card has now (`newcardCategory`, in this spelling; `newCardCategory` is read too).",
        )
        .required()],
        CARD,
        CUSTOMER,
        DELIVERY,
    ],
    sample: include_str!("../../events/OnChangeCategoryCard.json"),
};
