//! Reads the output of a guest, which is hostile (`docs/abi.md`, "Output of `hailer_handle`").
//!
//! The data of a communication becomes JSON text here, once. No later step parses it again.

use hailer_abi::manifest::{Handler, Manifest};
use hailer_abi::when::When;
use hailer_abi::wire::{
    ACTION_CANCEL, ACTION_NOTE, ACTION_SCHEDULE, ACTION_SEND, ACTIONS_MAX, Channel, DATA_DEPTH_MAX,
    WHEN_AFTER, WHEN_AT, WHEN_EVERY_YEAR_ON, WHEN_IN_DAYS, WHEN_ON,
};
use rmp::Marker;

use super::reader::{Malformed, Reader};
use hailer_base::wording::one_line;

/// The longest name of a template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 256;
/// The longest note or error, in bytes. The rest is cut.
const TEXT_BYTES_MAX: usize = 1024;
/// The deepest nesting of members that this host does not know, in outcomes and actions. It is that
/// of data.
const UNKNOWN_DEPTH_MAX: usize = DATA_DEPTH_MAX;

/// The outcome of one call.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The error that the handler returned. Then state and actions are ignored.
    pub error: Option<Box<str>>,
    pub state: StateChange,
    pub actions: Vec<Action>,
}

/// The change of the rule's state for the customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StateChange {
    #[default]
    Unchanged,
    /// The new state, in the version of the shape that the manifest declares.
    Set(Box<[u8]>),
    Remove,
}

/// An action that a handler requests.
#[derive(Clone, Debug)]
pub enum Action {
    Send {
        channel: Channel,
        template: Box<str>,
        /// One JSON object.
        data: Box<str>,
    },
    /// A note of the rule about its decision.
    Note(Box<str>),
    /// Set a timer, replacing it if it is pending. `timer` is the index of its handler.
    Schedule { timer: u32, when: When },
    /// Cancel a timer, if it is pending. If several actions concern one timer, the last counts.
    Cancel { timer: u32 },
}

/// Reads the output of `hailer_configure`: the guest's error; `None` if it has none.
pub(super) fn read_configured(bytes: &[u8]) -> Result<Option<String>, String> {
    Reader::new(bytes).configured().map_err(Malformed::into_text)
}

/// Reads the outcomes of a crossing, in the order of its calls.
pub struct Outcomes<'a> {
    reader: Reader<'a>,
    caller: Caller<'a>,
}

/// The called handler, which determines the allowed actions.
#[derive(Clone, Copy)]
struct Caller<'a> {
    manifest: &'a Manifest,
    is_merge: bool,
}

impl<'a> Outcomes<'a> {
    /// Reads outcomes of calls of one handler of a module.
    #[must_use]
    pub fn new(bytes: &'a [u8], manifest: &'a Manifest, handler: u32) -> Self {
        let is_merge = manifest.handlers.get(handler as usize).is_some_and(|handler| handler.merge);
        Self { reader: Reader::new(bytes), caller: Caller { manifest, is_merge } }
    }

    /// Reads the next outcome into an empty one, and returns its bytes.
    ///
    /// # Errors
    /// A text that names the problem. It never contains text from the guest.
    pub fn next_into(&mut self, outcome: &mut Outcome) -> Result<&'a [u8], String> {
        let before = self.reader.rest;
        self.reader.outcome(self.caller, outcome).map_err(Malformed::into_text)?;
        Ok(&before[..before.len() - self.reader.rest.len()])
    }

    /// Reads the next outcome, and returns it with its bytes.
    ///
    /// # Errors
    /// As for [`Self::next_into`].
    #[expect(
        clippy::should_implement_trait,
        reason = "reading ends after an error, so this is no iterator"
    )]
    pub fn next(&mut self) -> Result<(Outcome, &'a [u8]), String> {
        let mut outcome = Outcome::default();
        let bytes = self.next_into(&mut outcome)?;
        Ok((outcome, bytes))
    }

    /// Checks that no bytes are left over.
    ///
    /// # Errors
    /// When bytes are left over.
    pub fn end(&self) -> Result<(), String> {
        self.reader.end().map_err(Malformed::into_text)
    }
}

impl Reader<'_> {
    fn configured(&mut self) -> Result<Option<String>, Malformed> {
        let members = self.array("the record of `hailer_configure`")?;
        if members == 0 {
            return Err("a record of `hailer_configure` without a member".into());
        }
        let error = self.text_or_nil("an error")?.map(|text| one_line(text, TEXT_BYTES_MAX));
        self.skip_members(members, 1)?;
        self.end()?;
        Ok(error)
    }

    fn outcome(&mut self, caller: Caller<'_>, outcome: &mut Outcome) -> Result<(), Malformed> {
        let members = self.array("an outcome")?;
        if members < 3 {
            return Err(Malformed::from(format!("an outcome of {members} members instead of 3")));
        }
        outcome.error = self.text_or_nil("an outcome's error")?.map(bounded_line);
        outcome.state = self.state(caller)?;
        let count = self.array("an outcome's actions")?;
        if count > ACTIONS_MAX {
            return Err(Malformed::from(format!(
                "{count} actions in one outcome, over the limit of {ACTIONS_MAX}"
            )));
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

    /// Reads the change of the state. The bound of the output and the caller limit its size.
    fn state(&mut self, caller: Caller<'_>) -> Result<StateChange, Malformed> {
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

    fn action(&mut self, caller: Caller<'_>) -> Result<Action, Malformed> {
        let members = self.array("an action")?;
        if members == 0 {
            return Err("an action without a kind".into());
        }
        let kind = self.unsigned("an action's kind")?;
        let may_set_timers =
            caller.manifest.merges_timers() && matches!(kind, ACTION_SCHEDULE | ACTION_CANCEL);
        if caller.is_merge && kind != ACTION_NOTE && !may_set_timers {
            return Err(match caller.manifest.merges_timers() {
                false => "something other than a note from a merge",
                true => "something other than a note, a schedule or a cancel from a merge",
            }
            .into());
        }
        let (action, read) = match kind {
            ACTION_SEND if members >= 4 => (self.send()?, 4),
            ACTION_NOTE if members >= 2 => (Action::Note(bounded_line(self.text("a note")?)), 2),
            ACTION_SCHEDULE if members >= 3 => {
                (Action::Schedule { timer: self.timer(caller)?, when: self.when()? }, 3)
            }
            ACTION_CANCEL if members >= 2 => (Action::Cancel { timer: self.timer(caller)? }, 2),
            ACTION_SEND | ACTION_NOTE | ACTION_SCHEDULE | ACTION_CANCEL => {
                return Err(Malformed::from(format!("an action of {members} members")));
            }
            kind => return Err(Malformed::from(format!("an action of the unknown kind {kind}"))),
        };
        self.skip_members(members, read)?;
        Ok(action)
    }

    fn send(&mut self) -> Result<Action, Malformed> {
        let number = self.unsigned("a channel")?;
        let channel = Channel::from_wire(number)
            .ok_or_else(|| Malformed::from(format!("the unknown channel {number}")))?;
        let template = self.text("a template")?;
        if template.is_empty() || template.len() > TEMPLATE_BYTES_MAX {
            return Err(Malformed::from(format!(
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

    /// Reads the index of a handler that a timer calls.
    fn timer(&mut self, caller: Caller<'_>) -> Result<u32, Malformed> {
        let index = self.unsigned("a timer")?;
        let called: Option<&Handler> =
            usize::try_from(index).ok().and_then(|index| caller.manifest.handlers.get(index));
        match called {
            Some(handler) if handler.timer.is_some() => Ok(index as u32),
            _ => Err(Malformed::from(format!("the unknown timer {index}"))),
        }
    }

    /// Reads the due time of a timer. Resolving it later checks that the date exists.
    fn when(&mut self) -> Result<When, Malformed> {
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
            _ => return Err(Malformed::from(format!("a moment of the unknown kind {kind}"))),
        };
        if members < needed {
            return Err(Malformed::from(format!("a moment of {members} members")));
        }
        let when = match kind {
            WHEN_AFTER => When::After { ms: self.unsigned("a span")? },
            WHEN_AT => When::At { ms: self.signed("a moment")? },
            WHEN_IN_DAYS => When::InDays { days: self.part()?, minute: self.part()? },
            WHEN_ON => When::On {
                year: self.part()?,
                month: self.part()?,
                day: self.part()?,
                minute: self.part()?,
            },
            _ => When::EveryYearOn { month: self.part()?, day: self.part()?, minute: self.part()? },
        };
        self.skip_members(members, needed)?;
        Ok(when)
    }

    /// Reads a part of a date or a time.
    fn part<Part: TryFrom<i64>>(&mut self) -> Result<Part, Malformed> {
        let number = self.signed("a part of a date")?;
        Part::try_from(number).map_err(|_| Malformed::from(format!("the part {number} of a date")))
    }

    /// Skips the members that a newer SDK may have added.
    fn skip_members(&mut self, members: usize, read: usize) -> Result<(), Malformed> {
        (read..members).try_for_each(|_| self.skip(UNKNOWN_DEPTH_MAX))
    }
}

fn bounded_line(text: &str) -> Box<str> {
    // Nearly every text is short and plain ASCII, and this check is cheap.
    let is_plain =
        text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain { text.into() } else { one_line(text, TEXT_BYTES_MAX).into() }
}
