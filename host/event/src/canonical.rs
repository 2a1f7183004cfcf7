//! What a body says, whatever the way in which it is written: without its spaces, the order of its members, its escapes and the spelling of its
//! numbers. `150.00` and `1.5e2` are one number; of several members with one name the last counts. A member that is null says nothing, unless the source
//! writes that member as null itself; and an id of a customer is the same as a number and as a text, as it is for `CustomerKey`.
//!
//! **The bytes of an event that the source's documentation shows never change**: its id is made of them. Every value begins with a byte that tells its kind, and texts with their length, so that no two bodies that say different things are written alike.

use super::number::Literal;
use super::tape::{Kind, Member, Value};
use super::text::Text;

/// Members that the source's examples have as null. The source writes them so and does not leave them out, and ids of events are made with them.
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

/// Which object members belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Body,
    /// `customerInfo`, or one of the two of a merge.
    CustomerInfo,
    Other,
}

/// How the source writes an id.
#[derive(Clone, Copy)]
enum IdKind {
    Number,
    Text,
}

impl Within {
    /// What the object of a member is.
    fn object_of(self, key: Text<'_>) -> Within {
        let is_info = ["customerInfo", "fromCustomerInfo", "toCustomerInfo"].iter().any(|name| key.is(name));
        if self == Within::Body && is_info { Within::CustomerInfo } else { Within::Other }
    }

    /// How the source writes a member that the engine reads as an id; `None` for others.
    fn id_kind(self, key: Text<'_>) -> Option<IdKind> {
        let is_one_of = |names: &[&str]| names.iter().any(|name| key.is(name));
        match self {
            Within::Body if key.is("externalId") => Some(IdKind::Text),
            Within::CustomerInfo if is_one_of(&["customerId", "identifierId", "applicationId"]) => Some(IdKind::Number),
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

/// Writes the body of an event without the members that `skips` says. The recursion is bounded by the depth that the scanner allows.
pub(super) fn append_body(body: Value<'_>, skips: impl Fn(Text<'_>) -> bool, out: &mut Vec<u8>) {
    let mut members = Vec::new();
    collect(body, skips, &mut members);
    append_members(body, Within::Body, 0, &mut members, out);
}

fn append(value: Value<'_>, within: Within, members: &mut Vec<u32>, out: &mut Vec<u8>) {
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

/// Writes an id as the source does, if it is an id: `7` and `"7"` are one.
fn append_id(id: Value<'_>, kind: IdKind, members: &mut Vec<u32>, out: &mut Vec<u8>) {
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

/// Whether a text is what an id becomes that is a whole number: no zeros in front, no plus.
fn is_plain_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_zero_led = digits.starts_with('0') && text != "0";
    !digits.is_empty() && !is_zero_led && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Puts the places of an object's members on top of `members`, sorted by name, of several with one name the last.
fn collect(object: Value<'_>, skips: impl Fn(Text<'_>) -> bool, members: &mut Vec<u32>) {
    let outer = members.len();
    members.extend(object.members().filter(|member| !skips(member.key)).map(|member| member.value.index()));
    let document = object.document();
    let key_at = |place: u32| Member::of_value(document.value(place)).key;
    let own = &mut members[outer..];
    own.sort_unstable_by(|&a, &b| key_at(a).cmp(key_at(b)).then(b.cmp(&a)));
    let mut kept = 0;
    for index in 0..own.len() {
        if kept == 0 || key_at(own[kept - 1]).cmp(key_at(own[index])).is_ne() {
            own[kept] = own[index];
            kept += 1;
        }
    }
    members.truncate(outer + kept);
}

/// Writes the members from `outer` on, and takes them off.
fn append_members(object: Value<'_>, within: Within, outer: usize, members: &mut Vec<u32>, out: &mut Vec<u8>) {
    out.push(b'{');
    for index in outer..members.len() {
        let Member { key, value } = Member::of_value(object.document().value(members[index]));
        if value.kind() == Kind::Null && !WRITTEN_AS_NULL.iter().any(|name| key.is(name)) {
            continue;
        }
        append_text_head(key.len(), out);
        key.append_to(out);
        match within.id_kind(key) {
            Some(kind) => append_id(value, kind, members, out),
            None => append(value, within.object_of(key), members, out),
        }
    }
    out.push(b'}');
    members.truncate(outer);
}

fn append_text_head(length: usize, out: &mut Vec<u8>) {
    out.push(b's');
    out.extend_from_slice(&(length as u32).to_le_bytes());
}

/// A number by its value: its digits without zeros at either end, and the power of ten of the last.
fn append_number(literal: Literal<'_>, out: &mut Vec<u8>) {
    let digits = literal.significant_digits();
    out.push(b'd');
    if digits.count > 0 {
        out.push(if digits.is_negative { b'-' } else { b'+' });
        out.extend(digits.iter());
        out.extend_from_slice(&digits.exponent.to_le_bytes());
    }
    // No digit.
    out.push(b'.');
}
