//! The canonical form of a body. Bodies with the same content have the same canonical bytes:
//! spaces, the order of members, escapes and the spelling of numbers do not matter. `150.00` and
//! `1.5e2` are one number. If several members have one name, the last counts. A null member is left
//! out, unless the source itself writes that member as null. An id of a customer is the same as a
//! number and as a text, as it is for `CustomerKey`.
//!
//! **The canonical bytes of the events in the source's documentation never change**, because event
//! ids are hashes of them. Every value begins with a byte for its kind, and every text with its
//! length. So two bodies with different content never have the same bytes.

use super::number::Literal;
use super::tape::{Kind, Member, Value};
use super::text::Text;

/// Members that are null in the source's examples. The source writes them as null instead of
/// leaving them out, so event ids include them.
const WRITTEN_AS_NULL: [&str; 11] = [
    "activationDate",
    "applicationId",
    "description",
    "identifierId",
    "locationId",
    "merchantCode",
    "mobileDeviceId",
    "offerExternalId",
    "oldCard",
    "oldValue",
    "unit",
];

/// Room for the members of most bodies.
const MEMBERS_FIRST: usize = 64;

/// The object that members belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Body,
    /// `customerInfo`, or `fromCustomerInfo` or `toCustomerInfo` of a merge.
    CustomerInfo,
    Other,
}

/// The JSON type in which the source writes an id.
#[derive(Clone, Copy)]
enum IdKind {
    Number,
    Text,
}

impl Within {
    /// The kind of object that the member `key` has as its value.
    fn object_of(self, key: Text<'_>) -> Within {
        let is_info =
            ["customerInfo", "fromCustomerInfo", "toCustomerInfo"].iter().any(|name| key.is(name));
        if self == Within::Body && is_info { Within::CustomerInfo } else { Within::Other }
    }

    /// The JSON type in which the source writes a member that is an id; `None` for other members.
    fn id_kind(self, key: Text<'_>) -> Option<IdKind> {
        let is_one_of = |names: &[&str]| names.iter().any(|name| key.is(name));
        match self {
            Within::Body if key.is("externalId") => Some(IdKind::Text),
            Within::CustomerInfo if is_one_of(&["customerId", "identifierId", "applicationId"]) => {
                Some(IdKind::Number)
            }
            Within::CustomerInfo
                if is_one_of(&[
                    "accountgroupId",
                    "accountfroupId",
                    "customerUid",
                    "customerCode",
                    "mobileDeviceId",
                ]) =>
            {
                Some(IdKind::Text)
            }
            _ => None,
        }
    }
}

/// A member that is being written.
#[derive(Clone, Copy)]
struct Listed {
    /// The first bytes of the key, which nearly always decide its place.
    prefix: u64,
    /// The tape index of the member's value.
    value: u32,
}

/// Writes the body of an event without the members for which `skips` is true. The scanner's limit
/// on nesting bounds the recursion.
pub(super) fn append_body(body: Value<'_>, skips: impl Fn(Text<'_>) -> bool, out: &mut Vec<u8>) {
    let mut members = Vec::with_capacity(MEMBERS_FIRST);
    collect(body, skips, &mut members);
    append_members(body, Within::Body, 0, &mut members, out);
}

fn append(value: Value<'_>, within: Within, members: &mut Vec<Listed>, out: &mut Vec<u8>) {
    match value.kind() {
        Kind::Null | Kind::End => out.push(b'n'),
        Kind::False => out.push(b'f'),
        Kind::True => out.push(b't'),
        Kind::Integer | Kind::Number => {
            if let Some(literal) = value.number() {
                append_number(literal, out);
            }
        }
        Kind::Text | Kind::EscapedText => {
            if let Some(text) = value.text() {
                append_text_head(text.len(), out);
                text.append_to(out);
            }
        }
        Kind::Array => {
            out.push(b'[');
            value.elements().for_each(|element| append(element, Within::Other, members, out));
            out.push(b']');
        }
        Kind::Object => {
            let outer = members.len();
            collect(value, |_| false, members);
            append_members(value, within, outer, members, out);
        }
    }
}

/// Writes an id in the source's type, so that `7` and `"7"` are the same.
fn append_id(id: Value<'_>, kind: IdKind, members: &mut Vec<Listed>, out: &mut Vec<u8>) {
    match (kind, id.text(), id.number()) {
        (IdKind::Number, Some(text), _) if is_plain_integer(&text.to_boxed_str()) => {
            append_number(Literal(text.to_boxed_str().as_bytes()), out);
        }
        (IdKind::Text, _, Some(literal)) if literal.integer().is_some() => {
            let text = literal.integer().unwrap_or_default().to_string();
            append_text_head(text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        _ => append(id, Within::Other, members, out),
    }
}

/// Whether a text is the decimal form of a whole number, without leading zeros and without a plus.
fn is_plain_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_zero_led = digits.starts_with('0') && text != "0";
    !digits.is_empty() && !is_zero_led && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Pushes an object's members on `members`, sorted by name. If several members have one name, only
/// the last is pushed.
fn collect(object: Value<'_>, skips: impl Fn(Text<'_>) -> bool, members: &mut Vec<Listed>) {
    let outer = members.len();
    let listed =
        |member: Member<'_>| Listed { prefix: member.key.prefix(), value: member.value.index() };
    members.extend(object.members().filter(|member| !skips(member.key)).map(listed));
    let document = object.document();
    let key_of = |listed: Listed| Member::of_value(document.value(listed.value)).key;
    let by_key =
        |a: Listed, b: Listed| a.prefix.cmp(&b.prefix).then_with(|| key_of(a).cmp(key_of(b)));
    let own = &mut members[outer..];
    own.sort_unstable_by(|&a, &b| by_key(a, b).then(b.value.cmp(&a.value)));
    let mut kept = 0;
    for index in 0..own.len() {
        if kept == 0 || by_key(own[kept - 1], own[index]).is_ne() {
            own[kept] = own[index];
            kept += 1;
        }
    }
    members.truncate(outer + kept);
}

/// Writes the members from index `outer` on, and removes them from `members`.
fn append_members(
    object: Value<'_>,
    within: Within,
    outer: usize,
    members: &mut Vec<Listed>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for index in outer..members.len() {
        let Member { key, value } = Member::of_value(object.document().value(members[index].value));
        if value.kind() == Kind::Null && !WRITTEN_AS_NULL.iter().any(|name| key.is(name)) {
            continue;
        }
        append_text_head(key.len(), out);
        key.append_to(out);
        match within.id_kind(key) {
            Some(kind) => append_id(value, kind, members, out),
            None if value.kind() == Kind::Object => {
                append(value, within.object_of(key), members, out);
            }
            None => append(value, Within::Other, members, out),
        }
    }
    out.push(b'}');
    members.truncate(outer);
}

fn append_text_head(length: usize, out: &mut Vec<u8>) {
    out.push(b's');
    out.extend_from_slice(&(length as u32).to_le_bytes());
}

/// Writes a number by its value: its digits without leading and trailing zeros, and the power of
/// ten of the last digit.
fn append_number(literal: Literal<'_>, out: &mut Vec<u8>) {
    let digits = literal.significant_digits();
    out.push(b'd');
    if digits.count > 0 {
        out.push(if digits.is_negative { b'-' } else { b'+' });
        digits.append_to(out);
        out.extend_from_slice(&digits.exponent.to_le_bytes());
    }
    // The end of the number, which no digit is.
    out.push(b'.');
}
