//! Parses the expected results of a step of a scenario of policies.

use std::ops::Range;
use std::sync::Arc;

use hailer_abi::wire::Channel;
use hailer_policies::Reason;
use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use super::file::{About, Common};
use super::{Expected, MessageResult};
use crate::engine::{closest, no_campaign, shown};
use crate::scenarios::moment::{MOMENT_HINT, moment};
use crate::scenarios::reader::{Reader, kind_of, spot};

const MESSAGE_HINT: &str = "name a message by its channel, such as \"push\", or by campaign and \
                            channel, such as \"welcome push\"";

impl<'text> Reader<'_, 'text> {
    /// The expected results; `None` if the step has none, so that nothing is checked.
    pub(super) fn expected(
        &mut self,
        table: &DeTable<'text>,
        common: &Common<'_>,
    ) -> Option<Vec<Expected>> {
        let mut expected = Vec::new();
        let mut is_given = false;
        if let Some((value, span)) = spot(table, "nothing") {
            is_given = true;
            if value.as_bool() != Some(true) {
                self.problem(Some(span), "`nothing` is not true", "write nothing = true");
            }
        }
        for (key, result) in
            [("passed", MessageResult::Passed), ("released", MessageResult::Released)]
        {
            is_given |= spot(table, key).is_some();
            for (name, span) in self.texts(table, key, MESSAGE_HINT) {
                let message = self.message_named(&name, span, common.about);
                expected.extend(message.map(|(campaign, channel)| Expected {
                    campaign,
                    channel,
                    result: result.clone(),
                }));
            }
        }
        for key in ["suppressed", "deferred"] {
            let Some((value, span)) = spot(table, key) else { continue };
            is_given = true;
            expected.extend(self.messages_with_text(key, value, span, common));
        }
        is_given.then_some(expected)
    }

    /// Reads `suppressed = [{ sms = "consent-off" }]` and `deferred = [{ push = "2026-…" }]`.
    fn messages_with_text(
        &mut self,
        key: &str,
        value: &DeValue<'text>,
        span: Range<usize>,
        common: &Common<'_>,
    ) -> Vec<Expected> {
        let hint = match key {
            "suppressed" => "write messages with reasons: suppressed = [{ sms = \"consent-off\" }]",
            _ => "write messages with times: deferred = [{ push = \"2026-03-02T09:00\" }]",
        };
        let DeValue::Array(values) = value else {
            let reason = format!("`{key}` is {}, not a list", kind_of(value));
            self.problem(Some(span), reason, hint);
            return Vec::new();
        };
        let mut expected = Vec::new();
        for value in values.iter() {
            let what = format!("an item of `{key}`");
            let Some(table) = self.members((value.get_ref(), value.span()), &what, hint) else {
                continue;
            };
            for (name, value) in table {
                let (place, span) = (name.span(), value.span());
                let text = match value.get_ref() {
                    DeValue::String(text) => text.to_string(),
                    DeValue::Datetime(at) => at.to_string(),
                    other => {
                        self.problem(Some(span), format!("this is {}", kind_of(other)), hint);
                        continue;
                    }
                };
                let result = match key {
                    "suppressed" => self.reason(&text, span),
                    _ => self.until(&text, span, common.zone),
                };
                let message = self.message_named(name.get_ref(), place, common.about);
                if let (Some((campaign, channel)), Some(result)) = (message, result) {
                    expected.push(Expected { campaign, channel, result });
                }
            }
        }
        expected
    }

    fn reason(&mut self, text: &str, span: Range<usize>) -> Option<MessageResult> {
        let names = Reason::ALL.map(Reason::name);
        if names.contains(&text) {
            return Some(MessageResult::Suppressed(text.to_owned()));
        }
        let hint = match closest(text, names) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => format!("there are: {}", names.join(", ")),
        };
        self.problem(Some(span), format!("there is no reason `{}`", shown(text)), hint);
        None
    }

    fn until(&mut self, text: &str, span: Range<usize>, zone: &TimeZone) -> Option<MessageResult> {
        let until = moment(text, zone);
        if until.is_none() {
            self.problem(Some(span), format!("`{}` is not a time", shown(text)), MOMENT_HINT);
        }
        until.map(MessageResult::Deferred)
    }

    /// Reads the name of a message: its channel, or its campaign and channel.
    fn message_named(
        &mut self,
        name: &str,
        span: Range<usize>,
        about: &About<'_>,
    ) -> Option<(Option<Arc<str>>, Channel)> {
        let (campaign, channel) = match name.rsplit_once(' ') {
            Some((campaign, channel)) => (Some(campaign), channel),
            None => (None, name),
        };
        if let Some(campaign) = campaign.filter(|campaign| !about.campaigns.contains(*campaign)) {
            let reason = no_campaign(campaign, about.campaigns.iter().map(String::as_str));
            self.problem(Some(span.clone()), reason, MESSAGE_HINT);
        }
        let found = Channel::ALL.into_iter().find(|one| one.name() == channel);
        if found.is_none() {
            let hint = match closest(channel, Channel::NAMES.iter().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => MESSAGE_HINT.to_owned(),
            };
            self.problem(Some(span), format!("there is no channel `{}`", shown(channel)), hint);
        }
        Some((campaign.map(Arc::from), found?))
    }
}
