//! Reads the quiet hours, and checks that they leave time to send.

use std::collections::BTreeSet;

use jiff::civil::{Time, Weekday};

use super::reader::{Form, Key, Reader, Section};
use crate::model::QuietHours;
use hailer_abi::wire::Channel;

const WINDOWS_MAX: usize = 16;
const DAY_MINUTES: usize = 24 * 60;
const WEEK_MINUTES: usize = 7 * DAY_MINUTES;

pub(super) const QUIET_HOURS: Key =
    Key { name: "quiet_hours", hint: "write `[[quiet_hours]]` above the keys of each of them" };
const NAME: Key = Key { name: "name", hint: "give the hours a name: `name = \"night\"`" };
const FROM: Key = Key { name: "from", hint: "write the first minute: `from = \"22:00\"`" };
const TO: Key = Key { name: "to", hint: "write the minute after the last: `to = \"09:00\"`" };
const CHANNELS: Key = Key {
    name: "channels",
    hint: "write names of channels: `channels = [\"sms\"]`; without the line, all are quiet",
};
const DAYS: Key = Key {
    name: "days",
    hint: "write the days on which the hours begin: `days = [\"fri\", \"sat\"]`",
};
const THEN: Key = Key {
    name: "then",
    hint: "write `then = \"defer\"` (send when the hours are over) or \"drop\"",
};
const FORM: Form = Form { title: "[[quiet_hours]]", keys: &[NAME, FROM, TO, CHANNELS, DAYS, THEN] };

/// The quiet hours of the file.
pub(super) struct Quiet {
    pub(super) hours: Vec<QuietHours>,
    /// Whether all quiet hours of the file are in the list.
    pub(super) is_whole: bool,
    /// The byte offset of the first `then = "defer"`.
    pub(super) defers_at: Option<usize>,
}

pub(super) fn quiet_hours(reader: &mut Reader, file: Section<'_>) -> Quiet {
    let before = reader.mistakes_so_far();
    let mut quiet = Quiet { hours: Vec::new(), is_whole: true, defers_at: None };
    let mut names = BTreeSet::new();
    let mut places = Vec::new();
    for section in reader.sections(file, QUIET_HOURS, &FORM, WINDOWS_MAX) {
        let Some(hours) = window(reader, section, &mut names) else { continue };
        if hours.defers && quiet.defers_at.is_none() {
            quiet.defers_at = section.at_key(THEN);
        }
        quiet.hours.push(hours);
        places.push(section.at);
    }
    quiet.is_whole = reader.mistakes_so_far() == before;
    for (index, channels) in closed(&quiet.hours) {
        let names: Vec<&str> = channels.into_iter().map(Channel::name).collect();
        let reason = format!(
            "quiet hours leave no minute of the week in which to send {}",
            names.join(", ")
        );
        let hint = format!("shorten `{}`, or others on the same channels", quiet.hours[index].name);
        reader.mistake(places[index], reason, hint);
    }
    quiet
}

fn window<'file>(
    reader: &mut Reader,
    section: Section<'file>,
    names: &mut BTreeSet<&'file str>,
) -> Option<QuietHours> {
    let name = reader.name(section, NAME, "quiet hours", names);
    let from = reader.required(section, FROM).and_then(|spot| reader.time(spot));
    let to = reader.required(section, TO).and_then(|spot| reader.time(spot));
    let channels = reader.channels(section, CHANNELS);
    let days = reader.days(section, DAYS);
    let defers = reader
        .required(section, THEN)
        .and_then(|spot| reader.choice(spot, &[("defer", true), ("drop", false)]));
    if let (Some(from), Some(to)) = (from, to)
        && from == to
    {
        let reason = format!("`from` and `to` are both {}", from.strftime("%H:%M"));
        let hint = "such hours are empty or the whole day; for a whole day, write two windows: \
                    one to 12:00, and one from 12:00";
        reader.mistake(section.at_key(TO), reason, hint);
        return None;
    }
    Some(QuietHours {
        name: name?.into(),
        from: from?,
        to: to?,
        channels: channels?,
        days: days?,
        defers: defers?,
    })
}

/// The channels that are quiet in each minute of a week, with the index of the hours that close
/// the last open minute.
fn closed(hours: &[QuietHours]) -> Vec<(usize, Vec<Channel>)> {
    let closing = Channel::ALL.map(|channel| (closing(hours, channel), channel));
    let channels_of = |index| {
        let of = |&(closing, channel)| (closing == Some(index)).then_some(channel);
        (index, closing.iter().filter_map(of).collect())
    };
    let all = (0..hours.len()).map(channels_of);
    all.filter(|(_, channels): &(usize, Vec<Channel>)| !channels.is_empty()).collect()
}

fn closing(hours: &[QuietHours], channel: Channel) -> Option<usize> {
    let mut is_quiet = vec![false; WEEK_MINUTES];
    let mut open = WEEK_MINUTES;
    for (index, window) in hours.iter().enumerate() {
        if !window.channels.contains(channel) {
            continue;
        }
        for minute in window.days.iter().flat_map(|day| minutes(window, *day)) {
            open -= usize::from(!is_quiet[minute]);
            is_quiet[minute] = true;
        }
        if open == 0 {
            return Some(index);
        }
    }
    None
}

/// The minutes of the week in which the hours hold that begin on a day.
fn minutes(window: &QuietHours, day: Weekday) -> impl Iterator<Item = usize> {
    let minute = |time: Time| {
        usize::from(time.hour().unsigned_abs()) * 60 + usize::from(time.minute().unsigned_abs())
    };
    let length = (minute(window.to) + DAY_MINUTES - minute(window.from)) % DAY_MINUTES;
    let start =
        usize::from(day.to_monday_zero_offset().unsigned_abs()) * DAY_MINUTES + minute(window.from);
    (start..start + length).map(|minute| minute % WEEK_MINUTES)
}
