//! The requests of a rule, decoded from the bytes of its outcome.

use std::collections::BTreeMap;
use std::fmt;

use hailer_abi::when::When;
use hailer_abi::wire::{self, Channel};

use crate::wire::Reader;
use crate::{Decimal, Message, Timestamp};

/// A communication that a rule requested.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// SMC's name of the channel, such as `chatBot` for [`ChatBot`](crate::ChatBot).
    pub channel: &'static str,
    pub template: String,
    pub data: BTreeMap<String, Data>,
}

/// A value of a template's data.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Decimal(Decimal),
    Timestamp(Timestamp),
    List(Vec<Data>),
    Map(BTreeMap<String, Data>),
}

/// The outcome of one call, or of several together.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) error: Option<String>,
    pub(super) state: StateChange,
    pub(super) sent: Vec<Sent>,
    pub(super) notes: Vec<String>,
    /// The requests for timers, in order.
    pub(super) timers: Vec<TimerRequest>,
}

/// The change of the state.
#[derive(Clone, Debug, Default)]
pub(super) enum StateChange {
    #[default]
    Unchanged,
    Set(Vec<u8>),
    Remove,
}

/// A request for a timer, with the number of the timer's handler.
#[derive(Clone, Copy, Debug)]
pub(super) enum TimerRequest {
    Schedule(u32, When),
    Cancel(u32),
}

impl Outcome {
    pub(super) fn read(output: &[u8]) -> Self {
        let mut reader = Reader::new(output);
        let mut outcome = Self::default();
        reader.record(3);
        outcome.error = if reader.nil() { None } else { Some(reader.str().to_owned()) };
        outcome.state = match reader.peek() {
            0xc0 => {
                reader.nil();
                StateChange::Unchanged
            }
            0xc2 => {
                reader.bool();
                StateChange::Remove
            }
            _ => StateChange::Set(reader.bytes().to_vec()),
        };
        for _ in 0..reader.array() {
            reader.array();
            match reader.unsigned() {
                wire::ACTION_SCHEDULE => {
                    let handler = reader.unsigned() as u32;
                    outcome.timers.push(TimerRequest::Schedule(handler, when(&mut reader)));
                }
                wire::ACTION_CANCEL => {
                    outcome.timers.push(TimerRequest::Cancel(reader.unsigned() as u32))
                }
                wire::ACTION_SEND => outcome.sent.push(Sent {
                    channel: Channel::from_wire(reader.unsigned()).map_or("?", Channel::name),
                    template: reader.str().to_owned(),
                    data: entries(&mut reader),
                }),
                _ => outcome.notes.push(reader.str().to_owned()),
            }
        }
        assert!(reader.is_empty(), "the rule wrote bytes after its outcome");
        outcome
    }

    /// Adds the outcome of another call.
    pub(super) fn add(&mut self, other: Outcome) {
        self.error = self.error.take().or(other.error);
        self.sent.extend(other.sent);
        self.notes.extend(other.notes);
    }
}

/// Reads a due time as the SDK writes it.
pub(super) fn when(reader: &mut Reader<'_>) -> When {
    reader.array();
    let kind = reader.unsigned();
    let mut number = || reader.int();
    // The SDK's types limit each of these numbers to its range.
    match kind {
        wire::WHEN_AFTER => When::After { ms: number() as u64 },
        wire::WHEN_AT => When::At { ms: number() },
        wire::WHEN_IN_DAYS => When::InDays { days: number() as u32, minute: number() as u16 },
        wire::WHEN_ON => When::On {
            year: number() as i16,
            month: number() as u8,
            day: number() as u8,
            minute: number() as u16,
        },
        _ => When::EveryYearOn {
            month: number() as u8,
            day: number() as u8,
            minute: number() as u16,
        },
    }
}

impl From<Message<'_>> for Sent {
    fn from(message: Message<'_>) -> Self {
        let mut reader = Reader::new(message.entries.bytes());
        let data = (0..message.entry_count)
            .map(|_| (reader.str().to_owned(), data(&mut reader)))
            .collect();
        let channel = Channel::from_wire(u64::from(message.channel)).map_or("?", Channel::name);
        Self { channel, template: message.template.to_owned(), data }
    }
}

fn entries(reader: &mut Reader<'_>) -> BTreeMap<String, Data> {
    (0..reader.map()).map(|_| (reader.str().to_owned(), data(reader))).collect()
}

fn data(reader: &mut Reader<'_>) -> Data {
    match reader.peek() {
        0xc0 => {
            reader.nil();
            Data::Null
        }
        0xc2 | 0xc3 => Data::Bool(reader.bool()),
        0xca | 0xcb => Data::Float(reader.float()),
        0xa0..=0xbf | 0xd9..=0xdb => Data::Text(reader.str().to_owned()),
        0xd7 => Data::Timestamp(reader.timestamp()),
        0xd8 => Data::Decimal(reader.decimal()),
        0x90..=0x9f | 0xdc | 0xdd => {
            Data::List((0..reader.array()).map(|_| data(reader)).collect())
        }
        0x80..=0x8f | 0xde | 0xdf => Data::Map(entries(reader)),
        _ => Data::Int(reader.int()),
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} `{}`", self.channel, self.template)?;
        self.data.iter().try_for_each(|(key, value)| write!(formatter, ", {key}: {value}"))
    }
}

impl fmt::Display for Data {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Bool(value) => value.fmt(formatter),
            Self::Int(value) => value.fmt(formatter),
            Self::Float(value) => value.fmt(formatter),
            Self::Text(value) => write!(formatter, "{value:?}"),
            Self::Decimal(value) => value.fmt(formatter),
            Self::Timestamp(value) => value.fmt(formatter),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::to_string).collect();
                write!(formatter, "[{}]", values.join(", "))
            }
            Self::Map(values) => {
                let values: Vec<_> =
                    values.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                write!(formatter, "{{{}}}", values.join(", "))
            }
        }
    }
}
