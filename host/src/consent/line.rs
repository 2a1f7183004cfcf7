//! Parses one line of a file of consents. It is stricter than the reader of events, because a
//! person can correct the file: an unknown member or a member that is there twice is a mistake.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::clock::Millis;
use crate::consents::key_of;
use crate::engine::{closest, shown};
use crate::event::{Customer, CustomerKey, ID_BYTES_MAX};
use crate::policies::{SUBSCRIPTION_BYTES_MAX, zone_of};
use hailer_abi::wire::Channel;

/// The members of a line that name its customer.
const IDS: [&str; 4] = ["customerId", "customerUid", "accountGroupId", "key"];
/// All members of a line.
const MEMBERS: [&str; 8] = [
    "customerId",
    "customerUid",
    "accountGroupId",
    "key",
    "subscription",
    "channels",
    "timeZone",
    "at",
];

/// A text with more digits is not shown in a mistake. An offset such as +06:00 has four.
const DIGITS_SHOWN_MAX: usize = 4;

/// What a line says.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) customer: CustomerKey,
    pub(super) consent: Option<LineConsent>,
    pub(super) zone: Option<String>,
}

#[derive(Debug)]
pub(super) struct LineConsent {
    pub(super) subscription: String,
    /// By the channel's number on the wire; `None` if the line does not name the channel.
    pub(super) channels: [Option<Said>; Channel::ALL.len()],
    pub(super) at: Millis,
}

/// What a line says about one channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Answer(bool),
    /// A value of the source, which the policies read.
    Value(String),
}

/// The members of an object, each with the text of its value.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Parses a line. `now` is the machine's time in ms since 1970.
///
/// # Errors
/// What is wrong and what to do. It never contains an id of a customer.
pub(super) fn parse(text: &[u8], now: Millis) -> Result<Line, String> {
    let object = Object::parse(text, ("the line", "member"), &MEMBERS)?;
    let customer = customer_of(&object)?;
    let zone = object.get("timeZone").map(zone_in).transpose()?;
    let channels = object.get("channels").map(channels_in).transpose()?;
    let channels = channels.filter(|channels| channels.iter().any(Option::is_some));
    let at = object.get("at").map(|value| moment_in(value, now)).transpose()?;
    let subscription = object.get("subscription").map(subscription_in).transpose()?;
    let consent = match (channels, subscription, at) {
        (Some(channels), Some(subscription), Some(at)) => {
            Some(LineConsent { subscription, channels, at })
        }
        (Some(_), None, _) => return Err("`subscription` is missing; name its code".to_owned()),
        (Some(_), _, None) => {
            return Err("`at` is missing; say when the customer agreed or refused".to_owned());
        }
        (None, ..) if zone.is_none() => {
            return Err("the line says nothing; add `channels` or `timeZone`".to_owned());
        }
        (None, Some(_), _) => {
            return Err("`channels` is missing; add it, or leave `subscription` out".to_owned());
        }
        (None, None, _) => None,
    };
    Ok(Line { customer, consent, zone })
}

fn customer_of(object: &Object<'_>) -> Result<CustomerKey, String> {
    let mut named = IDS.iter().filter_map(|name| Some((*name, object.get(name)?)));
    let Some((name, value)) = named.next() else {
        return Err(
            "no customer is named; add `customerId`, as events have it, or `key`".to_owned()
        );
    };
    if let Some((other, _)) = named.next() {
        return Err(format!("the customer is named by `{name}` and by `{other}`; leave one out"));
    }
    if name == "key" {
        let key = text_of(value).and_then(|text| key_of(&text));
        return key.ok_or_else(|| {
            "`key` is not 32 hexadecimal digits; copy it from `hailer consent export`".to_owned()
        });
    }
    let id = id_in(name, value)?;
    let customer = match name {
        "customerId" => Customer { customer_id: Some(id), ..Customer::default() },
        "customerUid" => Customer { customer_uid: Some(id), ..Customer::default() },
        _ => Customer { account_group_id: Some(id), ..Customer::default() },
    };
    customer.key().ok_or_else(|| format!("`{name}` names no customer"))
}

/// The text of an id, as the reader of events reads it.
fn id_in(name: &str, value: &RawValue) -> Result<Box<str>, String> {
    let number = value.get();
    let is_whole = number.strip_prefix('-').unwrap_or(number).bytes().all(|b| b.is_ascii_digit());
    let id = if is_whole { Some(number.to_owned()) } else { text_of(value) };
    match id {
        Some(id) if id.is_empty() => Err(format!("`{name}` is empty; name the customer")),
        Some(id) if id.len() > ID_BYTES_MAX => {
            Err(format!("`{name}` has more than {ID_BYTES_MAX} bytes; no event has such an id"))
        }
        Some(id) => Ok(id.into()),
        None => Err(format!("`{name}` is neither text nor a whole number; write it as text")),
    }
}

fn zone_in(value: &RawValue) -> Result<String, String> {
    let help = "write a name such as Asia/Omsk, or an offset such as +06:00";
    let text = text_of(value).ok_or_else(|| format!("`timeZone` is not text; {help}"))?;
    match zone_of(&text) {
        Some(_) => Ok(text),
        None => Err(format!("`timeZone`: `{}` is not a time zone; {help}", discreet(&text))),
    }
}

fn moment_in(value: &RawValue, now: Millis) -> Result<Millis, String> {
    let help = "write a time with its offset, such as 2026-03-01T08:00:00Z";
    let text = text_of(value).ok_or_else(|| format!("`at` is not text; {help}"))?;
    let at = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond);
    match at {
        Ok(at) if at <= now => Ok(at),
        Ok(_) => Err(format!(
            "`at`: {} is in the future; correct it, or the machine's clock",
            shown(&text)
        )),
        Err(_) => Err(format!("`at`: `{}` is not a time; {help}", discreet(&text))),
    }
}

fn subscription_in(value: &RawValue) -> Result<String, String> {
    let help = "write the subscriptionTypeCode that events have";
    match text_of(value) {
        Some(code) if code.is_empty() => Err(format!("`subscription` is empty; {help}")),
        Some(code) if code.len() > SUBSCRIPTION_BYTES_MAX => {
            Err(format!("`subscription` has more than {SUBSCRIPTION_BYTES_MAX} bytes; {help}"))
        }
        Some(code) => Ok(code),
        None => Err(format!("`subscription` is not text; {help}")),
    }
}

fn channels_in(value: &RawValue) -> Result<[Option<Said>; Channel::ALL.len()], String> {
    let object = Object::parse(value.get().as_bytes(), ("`channels`", "channel"), Channel::NAMES)?;
    let mut channels = [const { None }; Channel::ALL.len()];
    for channel in Channel::ALL {
        let Some(value) = object.get(channel.name()) else { continue };
        let name = channel.name();
        channels[channel as usize] = Some(match value.get() {
            "true" => Said::Answer(true),
            "false" => Said::Answer(false),
            _ => match text_of(value) {
                Some(text) if text.is_empty() => {
                    return Err(format!("`{name}` is empty; give its value, or leave it out"));
                }
                Some(text) => Said::Value(text),
                None => {
                    return Err(format!(
                        "`{name}` is neither text nor true or false; write the value that events \
                         have"
                    ));
                }
            },
        });
    }
    Ok(channels)
}

/// A text of a file as a mistake shows it: without what may be an id, a phone number or an address.
pub(super) fn discreet(text: &str) -> String {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits > DIGITS_SHOWN_MAX || text.contains('@') {
        format!("(a text of {} characters)", text.chars().count())
    } else {
        shown(text)
    }
}

/// The text of a JSON string; `None` for any other value.
fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

impl<'a> Object<'a> {
    /// Parses an object whose members have these names, each at most once. `what` names it, and
    /// `member` is the word for its members.
    fn parse(
        text: &'a [u8],
        (what, member): (&str, &str),
        names: &[&str],
    ) -> Result<Object<'a>, String> {
        let object: Object<'a> = serde_json::from_slice(text).map_err(|error| {
            if error.is_data() {
                return format!("{what} is not a JSON object; write one object a line");
            }
            // The reason of a syntax error names no value.
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            format!("{what} is not JSON: {reason} (column {}); correct it", error.column())
        })?;
        for (number, (name, _)) in object.0.iter().enumerate() {
            if !names.contains(&&**name) {
                let known = names.iter().copied();
                let hint = match closest(name, known) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("the names are {}", names.join(", ")),
                };
                return Err(format!("unknown {member} `{}`; {hint}", discreet(name)));
            }
            if object.0[..number].iter().any(|(other, _)| other == name) {
                return Err(format!("`{}` is there twice; leave one out", shown(name)));
            }
        }
        Ok(object)
    }

    /// A member's value; `None` if it is missing or null, which means the same.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        (value.get() != "null").then_some(*value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'a>, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            members.push((name, value));
        }
        Ok(Object(members))
    }
}
