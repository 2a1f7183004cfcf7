//! Warnings about a file that is valid: names that nothing else in the rules directory has.

use std::collections::BTreeSet;

use super::reader::suggestion;
use super::{MISTAKES_MAX, Mistake};
use crate::model::Policies;
use hailer_abi::catalogue::{EVENTS, EventType, event_of_code};
use hailer_base::wording::shown;

impl Policies {
    /// The names in the file to which no campaign belongs, and the event codes that are probably
    /// misspelt: at most 20. They have no lines. They are no mistakes, because a campaign may come
    /// later or be removed, and the engine also takes events that it does not know.
    #[must_use]
    pub fn warnings<'a>(&self, campaigns: impl IntoIterator<Item = &'a str>) -> Vec<Mistake> {
        let campaigns: BTreeSet<&str> = campaigns.into_iter().collect();
        let absent = self.named().filter(|(name, _)| !campaigns.contains(name));
        let absent = absent.map(|(name, by)| {
            let reason = format!("{by} is for campaign `{}`, which does not exist", shown(name));
            let hint = suggestion(name, campaigns.iter().copied())
                .unwrap_or_else(|| "correct the name, or remove it".into());
            Mistake { line: None, reason, hint }
        });
        absent.chain(self.misspelt_codes()).take(MISTAKES_MAX).collect()
    }

    /// The campaigns that the file names, in any section.
    #[must_use]
    pub fn campaign_names(&self) -> BTreeSet<&str> {
        self.named().map(|(name, _)| name).collect()
    }

    /// The names of campaigns in the file, each with the section that has it.
    fn named(&self) -> impl Iterator<Item = (&str, String)> {
        let own = self.campaigns.keys().map(|name| (&**name, format!("[campaigns.{name}]")));
        let caps = self.caps.iter().flat_map(|cap| {
            let names = cap.campaigns.iter().flatten();
            names.map(|name| (&**name, format!("cap `{}`", cap.name)))
        });
        let control = self.control.iter().flat_map(|group| {
            let names = group.campaigns.iter().flatten();
            names.map(|name| (&**name, format!("control group `{}`", group.name)))
        });
        own.chain(caps).chain(control)
    }

    fn misspelt_codes(&self) -> impl Iterator<Item = Mistake> {
        let codes = self
            .campaigns
            .iter()
            .flat_map(|(name, policy)| policy.cancel_on.iter().map(move |code| (name, code)));
        let unknown = codes.filter(|(_, code)| event_of_code(code).is_none());
        unknown.filter_map(|(name, code)| {
            let hint = suggestion(code, EVENTS.iter().flat_map(EventType::all_codes))?;
            let reason = format!("`cancel_on` of campaign `{name}` has `{}`", shown(code));
            let reason = format!("{reason}, which is not a known event");
            Some(Mistake { line: None, reason, hint })
        })
    }
}
