//! Encodes JSON values as the MessagePack that `docs/abi.md` defines for each type. Nothing is
//! coerced: a value of another type or out of range counts as absent, and is counted with the
//! reason.

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

/// The reason why a value that is present cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The value, an element of its list or a member of its map has another type.
    OtherType,
    OutOfRange,
    NotWhole,
    NotAMoment,
    /// A parent of the value is present and is not an object.
    InNoObject,
}

impl Unusable {
    /// The reason as text that follows the name of the field.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Unusable::OtherType => "has the wrong type",
            Unusable::OutOfRange => "is out of range",
            Unusable::NotWhole => "is not a whole number",
            Unusable::NotAMoment => "is not a valid time",
            Unusable::InNoObject => "has a parent that is not an object",
        }
    }
}

/// Encodes the values of one event. The buffers that it borrows are reused for the next event.
pub(super) struct Encoder<'a, 'o> {
    pub(super) document: Document<'a>,
    pub(super) out: &'o mut Vec<u8>,
    pub(super) located: &'o mut Located,
    /// The tape indices of the values of the objects that are being written as maps, the innermost
    /// object last.
    pub(super) members: &'o mut Vec<u32>,
    /// The number of values so far that were present and could not be used.
    pub(super) mismatches: u32,
    /// The first required sub-field that an element of a list lacks.
    pub(super) lacks: Option<Lack>,
    /// The first sub-field of an element of a list that is present and cannot be used.
    pub(super) unusable_sub_field: Option<Lack>,
}

impl<'a> Encoder<'a, '_> {
    /// Writes a field of the object that was entered last.
    ///
    /// # Errors
    /// When the field is absent (`None`) or cannot be used. Then nothing is written.
    pub(super) fn field(&mut self, shape: &Shape, query: &Query) -> Result<(), Option<Unusable>> {
        let start = self.out.len();
        let found = self.located.find(self.document, shape, query);
        let written = found.and_then(|value| self.value(query, value).map_err(Some));
        written.inspect_err(|unusable| {
            self.out.truncate(start);
            self.mismatches = self.mismatches.saturating_add(u32::from(unusable.is_some()));
        })
    }

    /// Writes a value. After an error the caller has to drop the bytes written so far.
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
            FieldKind::Float => {
                msgpack::float(self.out, number()?.float().ok_or(Unusable::OutOfRange)?)
            }
            FieldKind::Str => self.text(text()?),
            FieldKind::Id => match value.kind() {
                Kind::Integer => {
                    let literal = number()?.0;
                    msgpack::str_head(self.out, literal.len());
                    self.out.extend_from_slice(literal);
                }
                Kind::Number => {
                    let literal = number()?;
                    let whole =
                        literal.integer().ok_or_else(|| why_no_integer(literal))?.to_string();
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
            // The query of a list always has a record.
            FieldKind::List => {
                self.list(query.record.as_ref().ok_or(Unusable::OtherType)?, value)?
            }
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

    /// Writes an object of numbers. An absent member (null or "") is left out. Any other member
    /// that is not a number makes the whole map unusable, because a sum over the rest would be
    /// wrong.
    fn map(&mut self, object: Value<'a>) -> Result<(), Unusable> {
        if object.kind() != Kind::Object {
            return Err(Unusable::OtherType);
        }
        let document = self.document;
        // A map is never written inside another map.
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

    /// Writes an array of objects, each as the record of its sub-fields. An absent element is left
    /// out. Any other element that is not an object makes the whole list unusable.
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
                let (lacked_before, unusable_before) =
                    (self.lacks.is_some(), self.unusable_sub_field.is_some());
                if let Err(unusable) = self.field(record, query) {
                    msgpack::nil(self.out);
                    if query.required && !lacked_before {
                        self.lacks = Some(Lack { sub_field, unusable });
                    }
                    if unusable.is_some() && !unusable_before {
                        self.unusable_sub_field = Some(Lack { sub_field, unusable });
                    }
                    continue;
                }
                // If an inner list lacks something, this list lacks it in the sub-field of the
                // inner list.
                if let Some(lack) = self.lacks.as_mut().filter(|_| !lacked_before) {
                    lack.sub_field = sub_field;
                }
                if let Some(lack) = self.unusable_sub_field.as_mut().filter(|_| !unusable_before) {
                    lack.sub_field = sub_field;
                }
            }
            self.located.leave(record);
        }
        Ok(())
    }

    /// Writes a whole subtree. The scanner's limit on nesting bounds the recursion.
    fn raw(&mut self, value: Value<'a>) {
        match value.kind() {
            Kind::True => msgpack::boolean(self.out, true),
            Kind::False => msgpack::boolean(self.out, false),
            Kind::Null | Kind::End => msgpack::nil(self.out),
            Kind::Integer | Kind::Number => {
                if value
                    .number()
                    .and_then(|literal| self.raw_number(value.kind(), literal))
                    .is_none()
                {
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

    /// Writes an integer literal as an integer if it fits 64 bits. Any other number becomes a
    /// decimal with its scale, or the nearest float if no decimal holds it exactly.
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
            Some(decimal) => {
                msgpack::ext16(self.out, wire::EXT_DECIMAL, wire::decimal_to_wire(decimal))
            }
            None => msgpack::float(self.out, literal.float()?),
        }
        Some(())
    }

    /// Pushes the members of an object on `members`, in the order of the body, and returns the
    /// index of the first. If several members have one name, only the last is pushed. Sorting finds
    /// them fast even in an object with very many duplicates.
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
    if literal.significant_digits().exponent < 0 {
        Unusable::NotWhole
    } else {
        Unusable::OutOfRange
    }
}
