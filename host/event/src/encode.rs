//! JSON values as the MessagePack that `docs/abi.md` gives for each type. Nothing is coerced: a value of another kind or out of range is
//! absent, and counted with the reason.

use hailer_abi::manifest::FieldKind;
use hailer_abi::wire;

use super::locate::Located;
use super::msgpack;
use super::number::Literal;
use super::plan::{Query, Shape};
use super::project::Lack;
use super::tape::{Document, Kind, Member, Value};
use super::text::Text;
use super::timestamp;

/// Why a value that is there can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Also of a list with an element of another type, and of a map with a member of one.
    OtherType,
    OutOfRange,
    NotWhole,
    NotAMoment,
    /// What should hold it is there and is no object.
    InNoObject,
}

impl Unusable {
    /// What is said of the field behind its name.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Unusable::OtherType => "is there, and of another type",
            Unusable::OutOfRange => "is there, and out of range",
            Unusable::NotWhole => "is there, and no whole number",
            Unusable::NotAMoment => "is there, and no time that can be read",
            Unusable::InNoObject => "should be in an object, and there is something else",
        }
    }
}

/// Writes the values of one event. Everything that it borrows is reused for the next one.
pub(super) struct Encoder<'a, 'o> {
    pub(super) document: Document<'a>,
    pub(super) out: &'o mut Vec<u8>,
    pub(super) located: &'o mut Located,
    /// The members of the objects that are being written as maps, innermost last: places of their values.
    pub(super) members: &'o mut Vec<u32>,
    /// Values of another kind or out of range so far.
    pub(super) mismatches: u32,
    /// The first required sub-field that an element of a list lacks.
    pub(super) lacks: Option<Lack>,
    /// The first sub-field of an element of a list that is there and can't be used.
    pub(super) spoiled: Option<Lack>,
}

impl<'a> Encoder<'a, '_> {
    /// Writes a field of the object that was entered last.
    ///
    /// # Errors
    /// When it is absent, or can't be used; then nothing is written.
    pub(super) fn field(&mut self, shape: &Shape, query: &Query) -> Result<(), Option<Unusable>> {
        let start = self.out.len();
        let found = self.located.answer(self.document, shape, query);
        let written = found.and_then(|value| self.value(query, value).map_err(Some));
        written.inspect_err(|unusable| {
            self.out.truncate(start);
            self.mismatches = self.mismatches.saturating_add(u32::from(unusable.is_some()));
        })
    }

    /// Writes a value. What has been written before an error is to be dropped.
    fn value(&mut self, query: &Query, value: Value<'a>) -> Result<(), Unusable> {
        let number = || value.number().ok_or(Unusable::OtherType);
        let text = || value.text().ok_or(Unusable::OtherType);
        match query.kind {
            FieldKind::Bool => match value.kind() {
                Kind::True => msgpack::boolean(self.out, true),
                Kind::False => msgpack::boolean(self.out, false),
                _ => return Err(Unusable::OtherType),
            },
            FieldKind::Int => {
                let literal = number()?;
                let integer = literal.integer().and_then(|integer| i64::try_from(integer).ok());
                msgpack::signed(self.out, integer.ok_or_else(|| why_no_integer(literal))?);
            }
            FieldKind::Float => msgpack::float(self.out, number()?.float().ok_or(Unusable::OutOfRange)?),
            FieldKind::Str => self.text(text()?),
            FieldKind::Id => match value.kind() {
                Kind::Integer => {
                    let literal = number()?.0;
                    msgpack::str_head(self.out, literal.len());
                    self.out.extend_from_slice(literal);
                }
                Kind::Number => {
                    let literal = number()?;
                    let whole = literal.integer().ok_or_else(|| why_no_integer(literal))?.to_string();
                    msgpack::str_head(self.out, whole.len());
                    self.out.extend_from_slice(whole.as_bytes());
                }
                _ => self.text(text()?),
            },
            FieldKind::Decimal => self.decimal(number()?)?,
            FieldKind::Timestamp => {
                let millis = text()?.read::<{ timestamp::TEXT_BYTES_MAX }, _>(timestamp::read);
                let millis = millis.ok_or(Unusable::NotAMoment)?;
                msgpack::ext8(self.out, wire::EXT_TIMESTAMP, millis.to_be_bytes());
            }
            FieldKind::Map => self.map(value)?,
            // A list's query has a record.
            FieldKind::List => self.list(query.record.as_ref().ok_or(Unusable::OtherType)?, value)?,
            FieldKind::Raw => self.raw(value),
        }
        Ok(())
    }

    fn text(&mut self, text: Text<'_>) {
        msgpack::str_head(self.out, text.len());
        text.append_to(self.out);
    }

    fn decimal(&mut self, literal: Literal<'_>) -> Result<(), Unusable> {
        let decimal = literal.decimal().ok_or(Unusable::OutOfRange)?;
        msgpack::ext16(self.out, wire::EXT_DECIMAL, wire::decimal_to_wire(decimal));
        Ok(())
    }

    /// An object of numbers. A member that is absent (null, "") is left out; one that is anything else spoils the map, as
    /// a sum over what is left of it would be wrong.
    fn map(&mut self, object: Value<'a>) -> Result<(), Unusable> {
        if object.kind() != Kind::Object {
            return Err(Unusable::OtherType);
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
            self.decimal(member.value.number().ok_or(Unusable::OtherType)?)?;
        }
        Ok(())
    }

    /// An array of objects, each as the record of the sub-fields. An element that is absent is left out; one that is
    /// no object spoils the list.
    fn list(&mut self, record: &Shape, array: Value<'a>) -> Result<(), Unusable> {
        if array.kind() != Kind::Array {
            return Err(Unusable::OtherType);
        }
        let present = || array.elements().filter(|element| !element.is_absent());
        msgpack::array_head(self.out, present().count());
        for element in present() {
            if element.kind() != Kind::Object {
                return Err(Unusable::OtherType);
            }
            msgpack::array_head(self.out, record.queries.len());
            self.located.enter(record, element);
            for (sub_field, query) in record.queries.iter().enumerate() {
                let (lacked_before, spoiled_before) = (self.lacks.is_some(), self.spoiled.is_some());
                if let Err(unusable) = self.field(record, query) {
                    msgpack::nil(self.out);
                    if query.required && !lacked_before {
                        self.lacks = Some(Lack { sub_field, unusable });
                    }
                    if unusable.is_some() && !spoiled_before {
                        self.spoiled = Some(Lack { sub_field, unusable });
                    }
                    continue;
                }
                // What an inner list lacks, this list lacks in the inner list.
                if let Some(lack) = self.lacks.as_mut().filter(|_| !lacked_before) {
                    lack.sub_field = sub_field;
                }
                if let Some(spoiled) = self.spoiled.as_mut().filter(|_| !spoiled_before) {
                    spoiled.sub_field = sub_field;
                }
            }
            self.located.leave(record);
        }
        Ok(())
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
        match literal.exact_decimal() {
            Some(decimal) => msgpack::ext16(self.out, wire::EXT_DECIMAL, wire::decimal_to_wire(decimal)),
            None => msgpack::float(self.out, literal.float()?),
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

fn why_no_integer(literal: Literal<'_>) -> Unusable {
    if literal.significant_digits().exponent < 0 { Unusable::NotWhole } else { Unusable::OutOfRange }
}
