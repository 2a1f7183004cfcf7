//! What a guest returned, read as the hostile bytes they are (`docs/abi.md`, "Output of `hailer_handle`").
//!
//! A communication's data becomes JSON text here, once; nothing downstream parses it again.

use std::collections::HashSet;

use hailer_abi::wire::{self, ACTION_NOTE, ACTION_SEND, ACTIONS_MAX, Channel, DATA_DEPTH_MAX};
use rmp::Marker;
use rmp::decode;
use serde_json::value::RawValue;

/// The longest name of a template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 256;
/// The longest note, in bytes; the rest is cut.
const NOTE_BYTES_MAX: usize = 1024;

/// What one call decided.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The handler's error; nothing else counts then.
    pub error: Option<Box<str>>,
    pub actions: Vec<Action>,
}

/// What a handler asked for.
#[derive(Clone, Debug)]
pub enum Action {
    Send {
        channel: Channel,
        template: Box<str>,
        /// One JSON object.
        data: Box<RawValue>,
    },
    /// Why the rule did what it did.
    Note(Box<str>),
}

/// What is wrong with a guest's bytes.
type Wrong = String;

/// Reads what `hailer_configure` returned: the guest's error, if it has one.
pub(super) fn read_configured(bytes: &[u8]) -> Result<Option<String>, Wrong> {
    let mut reader = Reader { rest: bytes };
    let members = reader.array("the record of `hailer_configure`")?;
    let error = if members == 0 { None } else { reader.text_or_nil("error")? };
    let error = error.map(str::to_owned);
    reader.skip_members(members, 1)?;
    reader.end()?;
    Ok(error)
}

/// Reads the outcomes of a crossing, one by one and in the order of its calls.
pub struct Outcomes<'a> {
    reader: Reader<'a>,
}

impl<'a> Outcomes<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader { rest: bytes } }
    }

    /// The next outcome, and the bytes that it stood in.
    ///
    /// # Errors
    /// With what is wrong, in words; never with what the bytes say.
    pub fn next(&mut self) -> Result<(Outcome, &'a [u8]), Wrong> {
        let before = self.reader.rest;
        let outcome = self.reader.outcome()?;
        Ok((outcome, &before[..before.len() - self.reader.rest.len()]))
    }

    /// Nothing may be left over.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&self) -> Result<(), Wrong> {
        self.reader.end()
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn outcome(&mut self) -> Result<Outcome, Wrong> {
        let members = self.array("an outcome")?;
        if members < 3 {
            return Err(format!("an outcome of {members} members instead of 3"));
        }
        let error = self.text_or_nil("an outcome's error")?.map(|text| cut(text, NOTE_BYTES_MAX));
        if self.take_nil() {
            // The rule keeps its state as it was.
        } else {
            return Err("state, from a rule whose manifest declares none".into());
        }
        let count = self.array("an outcome's actions")?;
        if count > ACTIONS_MAX {
            return Err(format!("{count} actions in one outcome, over the limit of {ACTIONS_MAX}"));
        }
        let mut actions = Vec::with_capacity(count);
        for _ in 0..count {
            actions.push(self.action()?);
        }
        self.skip_members(members, 3)?;
        if error.is_some() {
            actions.clear();
        }
        Ok(Outcome { error, actions })
    }

    fn action(&mut self) -> Result<Action, Wrong> {
        let members = self.array("an action")?;
        if members == 0 {
            return Err("an action without a kind".into());
        }
        let (action, read) = match self.unsigned("an action's kind")? {
            ACTION_SEND if members >= 4 => (self.send()?, 4),
            ACTION_NOTE if members >= 2 => (Action::Note(cut(self.text("a note")?, NOTE_BYTES_MAX)), 2),
            ACTION_SEND | ACTION_NOTE => return Err(format!("an action of {members} members")),
            kind => return Err(format!("an action of the unknown kind {kind}")),
        };
        self.skip_members(members, read)?;
        Ok(action)
    }

    fn send(&mut self) -> Result<Action, Wrong> {
        let number = self.unsigned("a channel")?;
        let channel = Channel::from_wire(number).ok_or_else(|| format!("the unknown channel {number}"))?;
        let template = self.text("a template")?;
        if template.is_empty() || template.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("a template's name of {} bytes (1 to {TEMPLATE_BYTES_MAX})", template.len()));
        }
        if !self
            .rest
            .first()
            .is_some_and(|byte| matches!(Marker::from_u8(*byte), Marker::FixMap(_) | Marker::Map16 | Marker::Map32))
        {
            return Err("a communication's data that is not a map".into());
        }
        let mut data = Vec::with_capacity(64);
        self.value_as_json(&mut data, DATA_DEPTH_MAX)?;
        let data = String::from_utf8(data).map_err(|_| "data that is not UTF-8")?;
        let data = RawValue::from_string(data).map_err(|_| "data that is not JSON")?;
        Ok(Action::Send { channel, template: template.into(), data })
    }

    fn value_as_json(&mut self, out: &mut Vec<u8>, depth_left: usize) -> Result<(), Wrong> {
        let marker = Marker::from_u8(*self.rest.first().ok_or("an output that ends in the middle")?);
        match marker {
            Marker::Null => {
                self.take_nil();
                out.extend_from_slice(b"null");
            }
            Marker::True | Marker::False => {
                self.rest = &self.rest[1..];
                out.extend_from_slice(if marker == Marker::True { b"true" } else { b"false" });
            }
            Marker::F32 | Marker::F64 => {
                let value = match marker {
                    Marker::F32 => f64::from(decode::read_f32(&mut self.rest).map_err(|_| "a broken float")?),
                    _ => decode::read_f64(&mut self.rest).map_err(|_| "a broken float")?,
                };
                let number = serde_json::Number::from_f64(value).ok_or("a float that is not finite")?;
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Marker::FixPos(_) | Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
                let value = self.unsigned("an integer")?;
                out.extend_from_slice(value.to_string().as_bytes());
            }
            Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => {
                let value: i64 = decode::read_int(&mut self.rest).map_err(|_| "a broken integer")?;
                out.extend_from_slice(value.to_string().as_bytes());
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                write_json_text(out, self.text("a text")?)?;
            }
            Marker::FixExt16 | Marker::FixExt8 => self.extension_as_json(out)?,
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                let depth_left = depth_left.checked_sub(1).ok_or("data nested too deep")?;
                let count = self.array("an array")?;
                out.push(b'[');
                for index in 0..count {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.value_as_json(out, depth_left)?;
                }
                out.push(b']');
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => self.map_as_json(out, depth_left)?,
            _ => return Err("a value of a type that data may not hold".into()),
        }
        Ok(())
    }

    fn map_as_json(&mut self, out: &mut Vec<u8>, depth_left: usize) -> Result<(), Wrong> {
        let depth_left = depth_left.checked_sub(1).ok_or("data nested too deep")?;
        let count = decode::read_map_len(&mut self.rest).map_err(|_| "a broken map")? as usize;
        // Each entry takes two bytes at the least.
        if count > self.rest.len() / 2 {
            return Err("a map that is longer than the output".into());
        }
        let mut keys = HashSet::with_capacity(count);
        out.push(b'{');
        for index in 0..count {
            if index > 0 {
                out.push(b',');
            }
            let key = self.text("a key")?;
            if !keys.insert(key) {
                return Err("a map with a key that stands twice".into());
            }
            write_json_text(out, key)?;
            out.push(b':');
            self.value_as_json(out, depth_left)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn extension_as_json(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let meta = decode::read_ext_meta(&mut self.rest).map_err(|_| "a broken extension")?;
        let bytes = self.take(meta.size as usize)?;
        match meta.typeid {
            wire::EXT_DECIMAL => {
                let bytes = <[u8; wire::DECIMAL_LEN]>::try_from(bytes).map_err(|_| "a decimal of a wrong length")?;
                let value = wire::decimal_from_wire(bytes).ok_or("a decimal with a byte out of range")?;
                // A number, digit for digit: 135.0000 stays 135.0000.
                out.extend_from_slice(value.to_string().as_bytes());
            }
            wire::EXT_TIMESTAMP => {
                let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| "a timestamp of a wrong length")?;
                let time = jiff::Timestamp::from_millisecond(i64::from_be_bytes(bytes));
                let time = time.map_err(|_| "a timestamp out of range")?;
                write_json_text(out, &time.to_string())?;
            }
            _ => return Err("an extension of an unknown type".into()),
        }
        Ok(())
    }

    fn array(&mut self, what: &str) -> Result<usize, Wrong> {
        let count =
            decode::read_array_len(&mut self.rest).map_err(|_| format!("{what} that is not an array"))? as usize;
        // Each element takes a byte at the least.
        if count > self.rest.len() {
            return Err(format!("{what} that is longer than the output"));
        }
        Ok(count)
    }

    fn unsigned(&mut self, what: &str) -> Result<u64, Wrong> {
        decode::read_int(&mut self.rest).map_err(|_| format!("{what} that is not an unsigned integer"))
    }

    fn text(&mut self, what: &str) -> Result<&'a str, Wrong> {
        let length = decode::read_str_len(&mut self.rest).map_err(|_| format!("{what} that is not a str"))?;
        let bytes = self.take(length as usize)?;
        std::str::from_utf8(bytes).map_err(|_| format!("{what} that is not UTF-8"))
    }

    fn text_or_nil(&mut self, what: &str) -> Result<Option<&'a str>, Wrong> {
        if self.take_nil() { Ok(None) } else { self.text(what).map(Some) }
    }

    fn take_nil(&mut self) -> bool {
        let is_nil = self.rest.first() == Some(&Marker::Null.to_u8());
        if is_nil {
            self.rest = &self.rest[1..];
        }
        is_nil
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("an output that ends in the middle")?;
        self.rest = rest;
        Ok(taken)
    }

    /// Skips the members that a newer SDK may have added.
    fn skip_members(&mut self, members: usize, read: usize) -> Result<(), Wrong> {
        let mut ignored = Vec::new();
        for _ in read..members {
            ignored.clear();
            self.value_as_json(&mut ignored, DATA_DEPTH_MAX)?;
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Wrong> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(format!("{left} bytes left over")),
        }
    }
}

fn write_json_text(out: &mut Vec<u8>, text: &str) -> Result<(), Wrong> {
    serde_json::to_writer(out, text).map_err(|error| error.to_string())
}

fn cut(text: &str, bytes_max: usize) -> Box<str> {
    text[..text.floor_char_boundary(bytes_max)].into()
}
