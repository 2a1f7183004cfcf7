//! Reads the sections that stand once: consent, deferral, control groups, the limit of an event,
//! and allow lists.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::campaigns::Named;
use super::reader::{Form, Key, Reader, Section, Spot};
use super::values::{DAY_MS, MINUTE_MS};
use crate::channels::Channels;
use crate::model::{ConsentPolicy, ControlGroup, Deferral};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_base::wording::shown;

/// The maximum of `discard_after`, and so of the time for which a message is stored.
const DISCARD_AFTER_MS_MAX: Millis = 31 * DAY_MS;
const CONTROL_GROUPS_MAX: usize = 32;
const EVENT_CAMPAIGNS_MAX: i32 = 100;
const ALLOWED_CUSTOMERS_MAX: usize = 10_000;
const SALT_CHARS_MAX: usize = 64;
const ENVIRONMENT_BYTES_MAX: usize = 64;

pub(super) const CONSENT: Key =
    Key { name: "consent", hint: "write `[consent]`, and its keys below it" };
pub(super) const SUBSCRIPTION: Key = Key {
    name: "subscription",
    hint: "write the code of a subscription: `subscription = \"Mailings\"`",
};
const YES: Key =
    Key { name: "yes", hint: "write the values that mean consent: `yes = [\"Enabled\"]`" };
const UNKNOWN: Key = Key {
    name: "unknown",
    hint: "write `[consent.unknown]`, and below it \"allow\" or \"refuse\" for each channel",
};
const CONSENT_FORM: Form = Form { title: "[consent]", keys: &[SUBSCRIPTION, YES, UNKNOWN] };
const UNKNOWN_FORM: Form = Form { title: "`unknown`", keys: &UNKNOWN_KEYS };
const UNKNOWN_KEYS: [Key; Channel::ALL.len()] = {
    let mut keys = [channel(Channel::Mail); Channel::ALL.len()];
    let mut number = 0;
    while number < keys.len() {
        keys[number] = channel(Channel::ALL[number]);
        number += 1;
    }
    keys
};

pub(super) const DEFERRAL: Key = Key {
    name: "deferral",
    hint: "write `[deferral]`, and below it a line such as `discard_after = \"14h\"`",
};
pub(super) const DISCARD_AFTER: Key = Key {
    name: "discard_after",
    hint: "write whole minutes, hours or days: `discard_after = \"14h\"`",
};
const SPREAD: Key =
    Key { name: "spread", hint: "write whole minutes, hours or days: `spread = \"30m\"`" };
const DEFERRAL_FORM: Form = Form { title: "[deferral]", keys: &[DISCARD_AFTER, SPREAD] };

pub(super) const CONTROL: Key =
    Key { name: "control", hint: "write a section with a name: `[control.holdout]`" };
const PERCENT: Key =
    Key { name: "percent", hint: "write the percentage of customers: `percent = 5`" };
const SALT: Key = Key {
    name: "salt",
    hint: "write a text; a new one makes other customers members: `salt = \"2026\"`",
};
pub(super) const CAMPAIGNS: Key = Key {
    name: "campaigns",
    hint: "write names of campaigns: `campaigns = [\"win-back\"]`; without the line, it is for all",
};
const CONTROL_FORM: Form = Form { title: "[control.…]", keys: &[PERCENT, SALT, CAMPAIGNS] };

pub(super) const PER_EVENT: Key =
    Key { name: "per_event", hint: "write `[per_event]`, and `campaigns_max = 1` below it" };
const CAMPAIGNS_MAX: Key =
    Key { name: "campaigns_max", hint: "write how many: `campaigns_max = 1`" };
const PER_EVENT_FORM: Form = Form { title: "[per_event]", keys: &[CAMPAIGNS_MAX] };

pub(super) const ALLOW_LIST: Key = Key {
    name: "allow_list",
    hint: "write a section with the name of an environment: `[allow_list.staging]`",
};
const CUSTOMERS: Key = Key {
    name: "customers",
    hint: "write values of `customerId`: `customers = [\"101\", \"102\"]`",
};
const ALLOW_LIST_FORM: Form = Form { title: "[allow_list.…]", keys: &[CUSTOMERS] };

/// The control groups, and the campaigns that they name.
#[derive(Default)]
pub(super) struct Control<'file> {
    pub(super) groups: Vec<ControlGroup>,
    pub(super) named: Vec<Named<'file>>,
}

const fn channel(channel: Channel) -> Key {
    Key { name: channel.name(), hint: "say \"allow\" or \"refuse\" for each channel" }
}

pub(super) fn consent(reader: &mut Reader, file: Section<'_>) -> Option<ConsentPolicy> {
    let spot = reader.optional(file, CONSENT)?;
    let section = reader.section(spot, &CONSENT_FORM)?;
    let subscription = subscription(reader, section, true);
    let yes = reader.required(section, YES).and_then(|spot| reader.texts(spot));
    let unknown = reader.required(section, UNKNOWN).and_then(|spot| unknown(reader, spot));
    Some(ConsentPolicy {
        subscription: subscription?,
        yes: yes?.into_iter().map(|(_, text)| text.into()).collect(),
        allowed_unknown: unknown?,
    })
}

/// The subscription that a section names.
pub(super) fn subscription(
    reader: &mut Reader,
    section: Section<'_>,
    is_required: bool,
) -> Option<Box<str>> {
    let spot = match is_required {
        true => reader.required(section, SUBSCRIPTION)?,
        false => reader.optional(section, SUBSCRIPTION)?,
    };
    reader.text(spot).map(Into::into)
}

/// The channels that are allowed without a known consent. Each channel must be there, because a
/// default would decide about consent without anybody's intention.
fn unknown(reader: &mut Reader, spot: Spot<'_>) -> Option<Channels> {
    let section = reader.section(spot, &UNKNOWN_FORM)?;
    let mut allowed = Channels::default();
    for channel in Channel::ALL {
        let Some(spot) = reader.required(section, self::channel(channel)) else { continue };
        if reader.choice(spot, &[("allow", true), ("refuse", false)]) == Some(true) {
            allowed.insert(channel);
        }
    }
    Some(allowed)
}

pub(super) fn deferral(reader: &mut Reader, file: Section<'_>) -> Option<Deferral> {
    let spot = reader.optional(file, DEFERRAL)?;
    let section = reader.section(spot, &DEFERRAL_FORM)?;
    let discard_after_ms =
        reader.required(section, DISCARD_AFTER).and_then(|spot| discard_after(reader, spot));
    let spread_ms = match reader.optional(section, SPREAD) {
        None => Some(0),
        Some(spot) => {
            let range = 0..=DISCARD_AFTER_MS_MAX;
            let spread_ms = reader.length(spot, range, "a time from 0m to 31d");
            if let (Some(spread_ms), Some(discard_after_ms)) = (spread_ms, discard_after_ms)
                && spread_ms >= discard_after_ms
            {
                let hint = "write a shorter `spread`, or a longer `discard_after`";
                reader.refuse(spot, "shorter than `discard_after`", hint);
            }
            spread_ms
        }
    };
    Some(Deferral { discard_after_ms: discard_after_ms?, spread_ms: spread_ms? })
}

pub(super) fn discard_after(reader: &mut Reader, spot: Spot<'_>) -> Option<Millis> {
    reader.length(spot, MINUTE_MS..=DISCARD_AFTER_MS_MAX, "a time from 1m to 31d")
}

pub(super) fn control<'file>(reader: &mut Reader, file: Section<'file>) -> Control<'file> {
    let mut control = Control::default();
    let Some(spot) = reader.optional(file, CONTROL) else { return control };
    let Some(table) = reader.table(spot) else { return control };
    for (number, (at, spot)) in table.spots(CONTROL.hint).enumerate() {
        if number == CONTROL_GROUPS_MAX {
            let reason = format!("the file has more than {CONTROL_GROUPS_MAX} control groups");
            reader.mistake(Some(at), reason, "remove some of them");
            break;
        }
        let is_name = reader.is_name(spot.key, "a control group", at);
        let Some(section) = reader.section(spot, &CONTROL_FORM) else { continue };
        let group = control_group(reader, section, spot.key, &mut control.named);
        control.groups.extend(group.filter(|_| is_name));
    }
    control.groups.sort_by(|one, other| one.name.cmp(&other.name));
    control
}

fn control_group<'file>(
    reader: &mut Reader,
    section: Section<'file>,
    name: &'file str,
    named: &mut Vec<Named<'file>>,
) -> Option<ControlGroup> {
    let basis_points = reader.required(section, PERCENT).and_then(|spot| reader.percent(spot));
    let salt = reader.required(section, SALT).and_then(|spot| salt(reader, spot));
    let campaigns = campaigns(reader, section, &format!("control group `{}`", shown(name)), named);
    Some(ControlGroup {
        name: name.into(),
        basis_points: basis_points?,
        salt: salt?,
        campaigns: campaigns?,
    })
}

/// The salt. It is not shown, because with it anybody can compute who is a member.
fn salt(reader: &mut Reader, spot: Spot<'_>) -> Option<Box<str>> {
    let salt = spot.value.as_str();
    let salt = salt.filter(|salt| (1..=SALT_CHARS_MAX).contains(&salt.chars().count()));
    if salt.is_none() {
        let reason = format!("`salt` is not a text of 1 to {SALT_CHARS_MAX} characters");
        reader.mistake(Some(spot.at), reason, spot.hint);
    }
    salt.map(Into::into)
}

/// The campaigns that a section is for: `Some(None)` for all, `None` after a mistake.
pub(super) fn campaigns<'file>(
    reader: &mut Reader,
    section: Section<'file>,
    by: &str,
    named: &mut Vec<Named<'file>>,
) -> Option<Option<BTreeSet<Box<str>>>> {
    let Some(spot) = reader.optional(section, CAMPAIGNS) else { return Some(None) };
    let campaigns = reader.campaigns(spot)?;
    named.extend(campaigns.iter().map(|&(item, campaign)| Named {
        campaign,
        at: item.at,
        by: by.into(),
    }));
    Some(Some(campaigns.into_iter().map(|(_, campaign)| campaign.into()).collect()))
}

pub(super) fn per_event(reader: &mut Reader, file: Section<'_>) -> Option<u32> {
    let spot = reader.optional(file, PER_EVENT)?;
    let section = reader.section(spot, &PER_EVENT_FORM)?;
    let spot = reader.required(section, CAMPAIGNS_MAX)?;
    reader.whole(spot, 1..=EVENT_CAMPAIGNS_MAX).map(i32::unsigned_abs)
}

pub(super) fn allow_lists(
    reader: &mut Reader,
    file: Section<'_>,
) -> BTreeMap<Box<str>, BTreeSet<Box<str>>> {
    let mut lists = BTreeMap::new();
    let Some(spot) = reader.optional(file, ALLOW_LIST) else { return lists };
    let Some(table) = reader.table(spot) else { return lists };
    for (at, spot) in table.spots(ALLOW_LIST.hint) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let environment = spot.key;
        if !(1..=ENVIRONMENT_BYTES_MAX).contains(&environment.len())
            || !environment.bytes().all(plain)
        {
            let reason = format!("`{}` cannot be the name of an environment", shown(environment));
            let hint = "use the value of `environment` in the engine's configuration";
            reader.mistake(Some(at), reason, hint);
        }
        let Some(section) = reader.section(spot, &ALLOW_LIST_FORM) else { continue };
        let Some(spot) = reader.required(section, CUSTOMERS) else { continue };
        lists.insert(environment.into(), customers(reader, spot));
    }
    lists
}

/// The customers of an allow list. Without any, nobody is written to, and the list may say so.
fn customers(reader: &mut Reader, list: Spot<'_>) -> BTreeSet<Box<str>> {
    let DeValue::Array(items) = list.value else {
        reader.refuse(list, "a list", list.hint);
        return BTreeSet::new();
    };
    if let Some(item) = items.get(ALLOWED_CUSTOMERS_MAX) {
        let reason =
            format!("`customers` has {} ids, the most is {ALLOWED_CUSTOMERS_MAX}", items.len());
        reader.mistake(Some(item.span().start), reason, "remove some of them");
    }
    let items = items.iter().take(ALLOWED_CUSTOMERS_MAX).map(|item| list.item(item));
    items.filter_map(|item| reader.id(item)).collect()
}
