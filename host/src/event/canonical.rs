//! What a body says, whatever the way in which it is written: without its spaces, the order of its members, its escapes and the spelling of its
//! numbers. `150.00` and `1.5e2` are one number; of several members with one name the last counts.
//!
//! Every value begins with a byte that tells its kind, and texts with their length, so that no two bodies that say different things are written alike.

use super::number::Literal;
use super::tape::{Kind, Member, Value};
use super::text::Text;

/// Writes an object without the members that `skips` says. The recursion is bounded by the depth that the scanner allows.
pub(super) fn append_object(object: Value<'_>, skips: impl Fn(Text<'_>) -> bool, out: &mut Vec<u8>) {
    let mut members = Vec::new();
    collect(object, skips, &mut members);
    append_members(object, 0, &mut members, out);
}

fn append(value: Value<'_>, members: &mut Vec<u32>, out: &mut Vec<u8>) {
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
                append_text(text, out);
            }
        }
        Kind::Array => {
            out.push(b'[');
            value.elements().for_each(|element| append(element, members, out));
            out.push(b']');
        }
        Kind::Object => {
            let outer = members.len();
            collect(value, |_| false, members);
            append_members(value, outer, members, out);
        }
    }
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
fn append_members(object: Value<'_>, outer: usize, members: &mut Vec<u32>, out: &mut Vec<u8>) {
    out.push(b'{');
    for index in outer..members.len() {
        let member = Member::of_value(object.document().value(members[index]));
        append_text(member.key, out);
        append(member.value, members, out);
    }
    out.push(b'}');
    members.truncate(outer);
}

fn append_text(text: Text<'_>, out: &mut Vec<u8>) {
    out.push(b's');
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    text.append_to(out);
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
