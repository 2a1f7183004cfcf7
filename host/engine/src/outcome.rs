//! What a guest returned, read as the hostile bytes they are (`docs/abi.md`, "Output of `hailer_handle`").
//!
//! A communication's data becomes JSON text here, once; nothing downstream parses it again.

use hailer_abi::manifest::{Handler, Manifest};
use hailer_abi::when::When;
use hailer_abi::wire::{
    ACTION_CANCEL, ACTION_NOTE, ACTION_SCHEDULE, ACTION_SEND, ACTIONS_MAX, Channel, DATA_DEPTH_MAX, WHEN_AFTER,
    WHEN_AT, WHEN_EVERY_YEAR_ON, WHEN_IN_DAYS, WHEN_ON,
};
use rmp::Marker;

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
    pub state: StateChange,
    pub actions: Vec<Action>,
}

/// What becomes of the rule's state for the customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StateChange {
    #[default]
    Unchanged,
    /// Written by the version of the state's shape that the manifest says.
    Set(Box<[u8]>),
    Remove,
}

/// What a handler asked for.
#[derive(Clone, Debug)]
pub enum Action {
    Send {
        channel: Channel,
        template: Box<str>,
        /// One JSON object.
        data: Box<str>,
    },
    /// Why the rule did what it did.
    Note(Box<str>),
    /// Call a timer's handler, in place of the pending occurrence if there is one. `timer` is the handler's index.
    Schedule { timer: u32, when: When },
    /// Take back what was scheduled, if anything was. Of several actions on one timer the last counts.
    Cancel { timer: u32 },
}

/// Reads what `hailer_configure` returned: the guest's error, if it has one.
pub(super) fn read_configured(bytes: &[u8]) -> Result<Option<String>, String> {
    Reader::new(bytes).configured().map_err(Wrong::into_text)
}

/// Reads the outcomes of a crossing, one by one and in the order of its calls.
pub struct Outcomes<'a> {
    reader: Reader<'a>,
    caller: Caller<'a>,
}

/// What was called, which says what may be asked for.
#[derive(Clone, Copy)]
struct Caller<'a> {
    manifest: &'a Manifest,
    is_merge: bool,
}

impl<'a> Outcomes<'a> {
    /// Of calls of one handler of a module.
    #[must_use]
    pub fn new(bytes: &'a [u8], manifest: &'a Manifest, handler: u32) -> Self {
        let is_merge = manifest.handlers.get(handler as usize).is_some_and(|handler| handler.merge);
        Self { reader: Reader::new(bytes), caller: Caller { manifest, is_merge } }
    }

    /// Reads the next outcome into an empty one, where it is to stay, and returns the bytes that it stood in.
    ///
    /// # Errors
    /// With what is wrong, in words; never with what the bytes say.
    pub fn next_into(&mut self, outcome: &mut Outcome) -> Result<&'a [u8], String> {
        let before = self.reader.rest;
        self.reader.outcome(self.caller, outcome).map_err(Wrong::into_text)?;
        Ok(&before[..before.len() - self.reader.rest.len()])
    }

    /// The next outcome.
    ///
    /// # Errors
    /// As for [`Self::next_into`].
    #[expect(clippy::should_implement_trait, reason = "an error ends the reading, so it is no iterator")]
    pub fn next(&mut self) -> Result<(Outcome, &'a [u8]), String> {
        let mut outcome = Outcome::default();
        let bytes = self.next_into(&mut outcome)?;
        Ok((outcome, bytes))
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

    fn outcome(&mut self, caller: Caller<'_>, outcome: &mut Outcome) -> Result<(), Wrong> {
        let members = self.array("an outcome")?;
        if members < 3 {
            return Err(Wrong::from(format!("an outcome of {members} members instead of 3")));
        }
        outcome.error = self.text_or_nil("an outcome's error")?.map(said);
        outcome.state = self.state(caller)?;
        let count = self.array("an outcome's actions")?;
        if count > ACTIONS_MAX {
            return Err(Wrong::from(format!("{count} actions in one outcome, over the limit of {ACTIONS_MAX}")));
        }
        outcome.actions.reserve_exact(count);
        for _ in 0..count {
            outcome.actions.push(self.action(caller)?);
        }
        self.skip_members(members, 3)?;
        if outcome.error.is_some() {
            outcome.actions.clear();
            outcome.state = StateChange::Unchanged;
        }
        Ok(())
    }

    /// How large a state may be is for the whole output's bound and for whoever keeps it to say.
    fn state(&mut self, caller: Caller<'_>) -> Result<StateChange, Wrong> {
        if self.take_nil() {
            return Ok(StateChange::Unchanged);
        }
        if caller.manifest.state_version.is_none() {
            return Err("state, from a rule whose manifest declares none".into());
        }
        if self.take_if(Marker::False) {
            return Ok(StateChange::Remove);
        }
        Ok(StateChange::Set(self.bin("a state")?.into()))
    }

    fn action(&mut self, caller: Caller<'_>) -> Result<Action, Wrong> {
        let members = self.array("an action")?;
        if members == 0 {
            return Err("an action without a kind".into());
        }
        let kind = self.unsigned("an action's kind")?;
        let may_set_timers = caller.manifest.merges_timers() && matches!(kind, ACTION_SCHEDULE | ACTION_CANCEL);
        if caller.is_merge && kind != ACTION_NOTE && !may_set_timers {
            return Err(match caller.manifest.merges_timers() {
                false => "something other than a note from a merge",
                true => "something other than a note, a schedule or a cancel from a merge",
            }
            .into());
        }
        let (action, read) = match kind {
            ACTION_SEND if members >= 4 => (self.send()?, 4),
            ACTION_NOTE if members >= 2 => (Action::Note(said(self.text("a note")?)), 2),
            ACTION_SCHEDULE if members >= 3 => (Action::Schedule { timer: self.timer(caller)?, when: self.when()? }, 3),
            ACTION_CANCEL if members >= 2 => (Action::Cancel { timer: self.timer(caller)? }, 2),
            ACTION_SEND | ACTION_NOTE | ACTION_SCHEDULE | ACTION_CANCEL => {
                return Err(Wrong::from(format!("an action of {members} members")));
            }
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
        debug_assert!(serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok(), "{text}");
        let data = text.into();
        self.json = json;
        Ok(Action::Send { channel, template: template.into(), data })
    }

    /// The index of a handler that a timer calls.
    fn timer(&mut self, caller: Caller<'_>) -> Result<u32, Wrong> {
        let index = self.unsigned("a timer")?;
        let called: Option<&Handler> =
            usize::try_from(index).ok().and_then(|index| caller.manifest.handlers.get(index));
        match called {
            Some(handler) if handler.timer.is_some() => Ok(index as u32),
            _ => Err(Wrong::from(format!("the timer {index}, and no timer calls such a handler"))),
        }
    }

    /// When a timer is due. That there is such a date is seen when it is resolved.
    fn when(&mut self) -> Result<When, Wrong> {
        let members = self.array("a moment")?;
        if members == 0 {
            return Err("a moment without a kind".into());
        }
        let kind = self.unsigned("a moment's kind")?;
        let needed = match kind {
            WHEN_AFTER | WHEN_AT => 2,
            WHEN_IN_DAYS => 3,
            WHEN_EVERY_YEAR_ON => 4,
            WHEN_ON => 5,
            _ => return Err(Wrong::from(format!("a moment of the unknown kind {kind}"))),
        };
        if members < needed {
            return Err(Wrong::from(format!("a moment of {members} members")));
        }
        let when = match kind {
            WHEN_AFTER => When::After { ms: self.unsigned("a span")? },
            WHEN_AT => When::At { ms: self.signed("a moment")? },
            WHEN_IN_DAYS => When::InDays { days: self.part()?, minute: self.part()? },
            WHEN_ON => When::On { year: self.part()?, month: self.part()?, day: self.part()?, minute: self.part()? },
            _ => When::EveryYearOn { month: self.part()?, day: self.part()?, minute: self.part()? },
        };
        self.skip_members(members, needed)?;
        Ok(when)
    }

    /// A part of a date or a time.
    fn part<Part: TryFrom<i64>>(&mut self) -> Result<Part, Wrong> {
        let number = self.signed("a part of a date")?;
        Part::try_from(number).map_err(|_| Wrong::from(format!("the part {number} of a date")))
    }

    /// Skips the members that a newer SDK may have added.
    fn skip_members(&mut self, members: usize, read: usize) -> Result<(), Wrong> {
        (read..members).try_for_each(|_| self.skip(UNKNOWN_DEPTH_MAX))
    }
}

fn said(text: &str) -> Box<str> {
    // Nearly every text is short and plain, and to see so takes no look at each character.
    let is_plain = text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain { text.into() } else { one_line(text, TEXT_BYTES_MAX).into() }
}
