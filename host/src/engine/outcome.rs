//! What a guest returned, read as the hostile bytes they are (`docs/abi.md`, "Output of `hailer_handle`").
//!
//! A communication's data becomes JSON text here, once; nothing downstream parses it again.

use hailer_abi::wire::{ACTION_NOTE, ACTION_SEND, ACTIONS_MAX, Channel, DATA_DEPTH_MAX};
use rmp::Marker;
use serde_json::value::RawValue;

use super::reader::{Reader, Wrong};
use super::wording::one_line;

/// The longest name of a template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 256;
/// The longest note or error, in bytes; the rest is cut.
const TEXT_BYTES_MAX: usize = 1024;
/// An outcome and its actions are arrays, too; within them, members that this host does not know may nest as deep as data may.
const UNKNOWN_DEPTH_MAX: usize = DATA_DEPTH_MAX;

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

/// Reads what `hailer_configure` returned: the guest's error, if it has one.
pub(super) fn read_configured(bytes: &[u8]) -> Result<Option<String>, String> {
    Reader::new(bytes).configured().map_err(Wrong::into_text)
}

/// Reads the outcomes of a crossing, one by one and in the order of its calls.
pub struct Outcomes<'a> {
    reader: Reader<'a>,
}

impl<'a> Outcomes<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader::new(bytes) }
    }

    /// The next outcome, and the bytes that it stood in.
    ///
    /// # Errors
    /// With what is wrong, in words; never with what the bytes say.
    #[expect(clippy::should_implement_trait, reason = "an error ends the reading, so it is no iterator")]
    pub fn next(&mut self) -> Result<(Outcome, &'a [u8]), String> {
        let before = self.reader.rest;
        let outcome = self.reader.outcome().map_err(Wrong::into_text)?;
        Ok((outcome, &before[..before.len() - self.reader.rest.len()]))
    }

    /// Nothing may be left over.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&self) -> Result<(), String> {
        self.reader.end().map_err(Wrong::into_text)
    }
}

impl Reader<'_> {
    fn configured(&mut self) -> Result<Option<String>, Wrong> {
        let members = self.array("the record of `hailer_configure`")?;
        if members == 0 {
            return Err("a record of `hailer_configure` without a member".into());
        }
        let error = self.text_or_nil("an error")?.map(|text| one_line(text, TEXT_BYTES_MAX));
        self.skip_members(members, 1)?;
        self.end()?;
        Ok(error)
    }

    fn outcome(&mut self) -> Result<Outcome, Wrong> {
        let members = self.array("an outcome")?;
        if members < 3 {
            return Err(Wrong::from(format!("an outcome of {members} members instead of 3")));
        }
        let error = self.text_or_nil("an outcome's error")?.map(said);
        if !self.take_nil() {
            return Err("state, from a rule whose manifest declares none".into());
        }
        let count = self.array("an outcome's actions")?;
        if count > ACTIONS_MAX {
            return Err(Wrong::from(format!("{count} actions in one outcome, over the limit of {ACTIONS_MAX}")));
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
            ACTION_NOTE if members >= 2 => (Action::Note(said(self.text("a note")?)), 2),
            ACTION_SEND | ACTION_NOTE => return Err(Wrong::from(format!("an action of {members} members"))),
            kind => return Err(Wrong::from(format!("an action of the unknown kind {kind}"))),
        };
        self.skip_members(members, read)?;
        Ok(action)
    }

    fn send(&mut self) -> Result<Action, Wrong> {
        let number = self.unsigned("a channel")?;
        let channel = Channel::from_wire(number).ok_or_else(|| Wrong::from(format!("the unknown channel {number}")))?;
        let template = self.text("a template")?;
        if template.is_empty() || template.len() > TEMPLATE_BYTES_MAX {
            return Err(Wrong::from(format!(
                "a template's name of {} bytes (1 to {TEMPLATE_BYTES_MAX})",
                template.len()
            )));
        }
        if !matches!(self.marker()?, Marker::FixMap(_) | Marker::Map16 | Marker::Map32) {
            return Err("a communication's data that is not a map".into());
        }
        let mut json = std::mem::take(&mut self.json);
        json.clear();
        self.value_as_json(&mut json, DATA_DEPTH_MAX)?;
        let text = std::str::from_utf8(&json).map_err(|_| "data that is not UTF-8")?;
        let data = RawValue::from_string(text.to_owned()).map_err(|_| "data that is not JSON")?;
        self.json = json;
        Ok(Action::Send { channel, template: template.into(), data })
    }

    /// Skips the members that a newer SDK may have added.
    fn skip_members(&mut self, members: usize, read: usize) -> Result<(), Wrong> {
        (read..members).try_for_each(|_| self.skip(UNKNOWN_DEPTH_MAX))
    }
}

fn said(text: &str) -> Box<str> {
    one_line(text, TEXT_BYTES_MAX).into()
}
