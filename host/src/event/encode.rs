//! JSON values as the MessagePack that `docs/abi.md` gives for each type. Nothing is coerced: a value of another kind or out of range is
//! absent, and counted.

use hailer_abi::manifest::FieldKind;
use hailer_abi::wire;

use super::locate::Located;
use super::msgpack;
use super::number::Literal;
use super::plan::{Query, Shape};
use super::tape::{Document, Kind, Member, Value};
use super::text::Text;
use super::timestamp;

/// Writes the values of one event. Everything that it borrows is reused for the next one.
pub(super) struct Encoder<'a, 'o> {
    pub(super) document: Document<'a>,
    pub(super) out: &'o mut Vec<u8>,
    pub(super) located: &'o mut Located,
    /// The members of the objects that are being written as maps, innermost last: places of their values.
    pub(super) members: &'o mut Vec<u32>,
    /// Values of another kind or out of range so far.
    pub(super) mismatches: u32,
    /// An element of a list lacks a required sub-field.
    pub(super) lacks: bool,
}

impl<'a> Encoder<'a, '_> {
    /// Writes a field of the object that was entered last. If it is absent, writes nothing and returns false.
    pub(super) fn field(&mut self, shape: &Shape, query: &Query) -> bool {
        let Some(value) = self.located.answer(self.document, shape, query) else { return false };
        let start = self.out.len();
        let fits = self.value(query, value).is_some();
        if !fits {
            self.out.truncate(start);
            self.mismatches = self.mismatches.saturating_add(1);
        }
        fits
    }

    /// `None` if the value is of another kind or out of range; what has been written then is to be dropped.
    fn value(&mut self, query: &Query, value: Value<'a>) -> Option<()> {
        match query.kind {
            FieldKind::Bool => match value.kind() {
                Kind::True => msgpack::boolean(self.out, true),
                Kind::False => msgpack::boolean(self.out, false),
                _ => return None,
            },
            FieldKind::Int => {
                let integer = i64::try_from(value.number()?.integer()?).ok()?;
                msgpack::signed(self.out, integer);
            }
            FieldKind::Float => msgpack::float(self.out, value.number()?.float()?),
            FieldKind::Str => self.text(value.text()?),
            FieldKind::Id => match value.kind() {
                Kind::Integer => {
                    let literal = value.number()?.0;
                    msgpack::str_head(self.out, literal.len());
                    self.out.extend_from_slice(literal);
                }
                _ => self.text(value.text()?),
            },
            FieldKind::Decimal => self.decimal(value.number()?)?,
            FieldKind::Timestamp => {
                let millis = value.text()?.read::<{ timestamp::TEXT_BYTES_MAX }, _>(timestamp::read)?;
                msgpack::ext8(self.out, wire::EXT_TIMESTAMP, millis.to_be_bytes());
            }
            FieldKind::Map => self.map(value)?,
            FieldKind::List => self.list(query.record.as_ref()?, value)?,
            FieldKind::Raw => self.raw(value),
        }
        Some(())
    }

    fn text(&mut self, text: Text<'_>) {
        msgpack::str_head(self.out, text.len());
        text.append_to(self.out);
    }

    fn decimal(&mut self, literal: Literal<'_>) -> Option<()> {
        msgpack::ext16(self.out, wire::EXT_DECIMAL, wire::decimal_to_wire(literal.decimal()?));
        Some(())
    }

    /// An object of numbers. A member that is absent (null, "") is left out; one that is anything else spoils the map, as
    /// a sum over what is left of it would be wrong.
    fn map(&mut self, object: Value<'a>) -> Option<()> {
        if object.kind() != Kind::Object {
            return None;
        }
        let document = self.document;
        // A map never stands inside of another one that is being written.
        self.members.clear();
        self.push_members(object);
        self.members.retain(|&place| !document.value(place).is_absent());
        msgpack::map_head(self.out, self.members.len());
        for index in 0..self.members.len() {
            let member = Member::of_value(document.value(self.members[index]));
            self.text(member.key);
            self.decimal(member.value.number()?)?;
        }
        Some(())
    }

    /// An array of objects, each as the record of the sub-fields. An element that is absent is left out; one that is
    /// no object spoils the list.
    fn list(&mut self, record: &Shape, array: Value<'a>) -> Option<()> {
        if array.kind() != Kind::Array {
            return None;
        }
        let present = || array.elements().filter(|element| !element.is_absent());
        msgpack::array_head(self.out, present().count());
        for element in present() {
            if element.kind() != Kind::Object {
                return None;
            }
            msgpack::array_head(self.out, record.queries.len());
            self.located.enter(record, element);
            for query in &record.queries {
                if !self.field(record, query) {
                    msgpack::nil(self.out);
                    self.lacks |= query.required;
                }
            }
            self.located.leave(record);
        }
        Some(())
    }

    /// A subtree as it is. The recursion is bounded by the depth that the scanner allows.
    fn raw(&mut self, value: Value<'a>) {
        match value.kind() {
            Kind::True => msgpack::boolean(self.out, true),
            Kind::False => msgpack::boolean(self.out, false),
            Kind::Null | Kind::End => msgpack::nil(self.out),
            Kind::Integer | Kind::Number => {
                if value.number().and_then(|literal| self.raw_number(value.kind(), literal)).is_none() {
                    self.mismatches = self.mismatches.saturating_add(1);
                    msgpack::nil(self.out);
                }
            }
            Kind::Text | Kind::EscapedText => {
                if let Some(text) = value.text() {
                    self.text(text);
                }
            }
            Kind::Array => {
                msgpack::array_head(self.out, value.elements().count());
                value.elements().for_each(|element| self.raw(element));
            }
            Kind::Object => {
                let outer = self.push_members(value);
                let end = self.members.len();
                msgpack::map_head(self.out, end - outer);
                for index in outer..end {
                    let member = Member::of_value(self.document.value(self.members[index]));
                    self.text(member.key);
                    self.raw(member.value);
                }
                self.members.truncate(outer);
            }
        }
    }

    /// An integer literal as an integer if it fits 64 bits; any other number as a decimal, which keeps its scale; else the nearest float.
    fn raw_number(&mut self, kind: Kind, literal: Literal<'_>) -> Option<()> {
        if let Some(integer) = literal.integer().filter(|_| kind == Kind::Integer) {
            if let Ok(integer) = i64::try_from(integer) {
                msgpack::signed(self.out, integer);
                return Some(());
            }
            if let Ok(integer) = u64::try_from(integer) {
                msgpack::unsigned(self.out, integer);
                return Some(());
            }
        }
        if self.decimal(literal).is_none() {
            msgpack::float(self.out, literal.float()?);
        }
        Some(())
    }

    /// Puts the members of an object on top of `members`, of several with one name the last, in the order of the body. Returns
    /// where they begin. Sorting keeps an object with a great many duplicates from taking a great while.
    fn push_members(&mut self, object: Value<'a>) -> usize {
        let outer = self.members.len();
        self.members.extend(object.members().map(|member| member.value.index()));
        let document = self.document;
        let key_at = |place: u32| Member::of_value(document.value(place)).key;
        let own = &mut self.members[outer..];
        own.sort_unstable_by(|&a, &b| key_at(a).cmp(key_at(b)).then(b.cmp(&a)));
        let mut kept = 0;
        for index in 0..own.len() {
            if kept == 0 || key_at(own[kept - 1]).cmp(key_at(own[index])).is_ne() {
                own[kept] = own[index];
                kept += 1;
            }
        }
        own[..kept].sort_unstable();
        self.members.truncate(outer + kept);
        outer
    }
}
