//! A customer switches off the last channel of a mailing, often by mistake. The rule tells them
//! through a channel that is still on for another mailing, so that they can switch one on again. If
//! no channel is on, a campaign cannot reach the customer any more; a note records it.
//!
//! The event has the state of every channel, but not the state before, so the rule keeps it. **It
//! never uses a channel that is on for no mailing.** The first event about a mailing is never a
//! loss.

use hailer_sdk::prelude::*;

/// Notices when a customer has switched off the last channel of a mailing.
#[rule]
pub struct LastChannelLost {
    /// The channels for the message, the preferred one first: `mail`, `push`, `sms`, `viber`,
    /// `chatBot`, `socialNetworks`. The message uses the first one that is on for another mailing.
    #[param(default = ["mail", "push", "sms", "viber", "chatBot", "socialNetworks"], min = 1)]
    channels: Vec<String>,
    /// The template, with the same name in each channel. Its data is `subscription`, the name of
    /// the mailing that has lost its last channel.
    #[param(default = "last-channel-lost", min = 1, max = 128)]
    template: String,
}

/// The state of a channel that the customer allows.
const ENABLED: &str = "Enabled";
/// The largest number of mailings in the state. Deployments have only a few; more are not kept.
const MAILINGS_MAX: usize = 64;

/// The channels that are on, for each mailing by its code.
#[derive(Debug, Default, State)]
struct Consents {
    mailings: Map<String, Vec<String>>,
}

#[handlers]
impl LastChannelLost {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        match self.channels.iter().all(|channel| Message::by(channel, &self.template).is_some()) {
            true => Ok(()),
            false => Err("`channels` may hold mail, push, sms, viber, chatBot and socialNetworks"),
        }
    }

    fn changed(
        &self,
        SubscriptionChanged {
            subscription_type_code,
            subscription_type_name,
            mail,
            push,
            sms,
            viber,
            chat_bot,
            social_networks,
            ..
        }: SubscriptionChanged,
        state: &mut Consents,
        ctx: &mut Context,
    ) {
        let Some(code) = subscription_type_code else {
            return ctx.note("the event does not say which mailing it is");
        };
        let states = [
            ("mail", mail),
            ("push", push),
            ("sms", sms),
            ("viber", viber),
            ("chatBot", chat_bot),
            ("socialNetworks", social_networks),
        ];
        let is_on = |(channel, state): &(&str, Option<&str>)| {
            (*state == Some(ENABLED)).then(|| (*channel).to_owned())
        };
        let on: Vec<String> = states.iter().filter_map(is_on).collect();
        let is_lost =
            on.is_empty() && state.mailings.get(code).is_some_and(|before| !before.is_empty());
        if state.mailings.len() < MAILINGS_MAX || state.mailings.contains_key(code) {
            state.mailings.insert(code.to_owned(), on);
        }
        if !is_lost {
            return ctx.note("no last channel was lost");
        }
        match self.channels.iter().find(|channel| state.is_on_somewhere(channel)) {
            Some(channel) => {
                // `check` has made sure that every channel has a message.
                let Some(message) = Message::by(channel, &self.template) else { return };
                ctx.send(message.data("subscription", subscription_type_name));
                ctx.note("sent: the last channel of a mailing is off, another one is used");
            }
            None => ctx.note("not sent: the last channel is off, and no other one is on"),
        }
    }

    /// For mailings of both customers, the state of the customer who remains is kept.
    #[merge]
    fn merge(&self, state: &mut Consents, other: Consents) {
        for (code, on) in other.mailings.iter() {
            if !state.mailings.contains_key(code) && state.mailings.len() < MAILINGS_MAX {
                state.mailings.insert(code.clone(), on.clone());
            }
        }
    }
}

impl Consents {
    fn is_on_somewhere(&self, channel: &str) -> bool {
        self.mailings.values().any(|on| on.iter().any(|one| one == channel))
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    const ALL: [&str; 6] = ["mail", "push", "sms", "viber", "chat_bot", "social_networks"];

    /// An event after which only these channels of a mailing are on.
    fn mailing(code: &str, on: &[&str]) -> Event {
        let event = Event::of("SubscriptionChanged").set("subscription_type_code", code);
        let event = event.set("subscription_type_name", format!("Mailing {code}"));
        let off = ALL.into_iter().filter(|channel| !on.contains(channel));
        off.fold(event, |event, channel| event.set(channel, "Disabled"))
    }

    #[test]
    fn a_customer_who_loses_the_last_channel_is_told_through_another() {
        Scenario::new(LastChannelLost::default())
            .event(mailing("A", &["push", "sms"]))
            .event(mailing("B", &["sms"]))
            .expect_nothing()
            .event(mailing("A", &["push"]))
            .expect_nothing()
            .event(mailing("A", &[]))
            .expect_sent(Sms::template("last-channel-lost").data("subscription", "Mailing A"))
            .expect_nothing()
            // Only one message is sent.
            .event(mailing("A", &[]))
            .expect_nothing();
    }

    #[test]
    fn who_has_switched_everything_off_is_left_in_peace_and_noted() {
        Scenario::new(LastChannelLost::default())
            .event(mailing("A", &["push"]))
            .event(mailing("A", &[]))
            .expect_nothing()
            .expect_note("no other one is on");
    }

    #[test]
    fn the_first_event_about_a_mailing_is_not_a_loss() {
        Scenario::new(LastChannelLost::default())
            .event(mailing("B", &["mail"]))
            .event(mailing("A", &[]))
            .expect_nothing()
            .expect_note("no last channel");
    }

    #[test]
    fn a_mailing_that_is_switched_on_again_can_be_lost_again() {
        Scenario::new(LastChannelLost::default())
            .event(mailing("B", &["mail"]))
            .event(mailing("A", &["push"]))
            .event(mailing("A", &[]))
            .expect_sent(Mail::template("last-channel-lost").data("subscription", "Mailing A"))
            .event(mailing("A", &["push"]))
            .event(mailing("A", &[]))
            .expect_sent(Mail::template("last-channel-lost").data("subscription", "Mailing A"));
    }

    #[test]
    fn unknown_states_count_as_off_and_unlisted_channels_are_not_used() {
        let rule =
            || LastChannelLost { channels: vec!["viber".into()], ..LastChannelLost::default() };
        Scenario::new(rule())
            .event(mailing("B", &["mail"]))
            .event(mailing("A", &["push"]))
            .event(mailing("A", &["push"]).set("push", "PendingConfirmation"))
            .expect_nothing()
            .expect_note("no other one is on");
        assert!(Scenario::<LastChannelLost>::with_params(r#"{"channels": ["fax"]}"#).is_err());
    }

    #[test]
    fn an_event_without_a_mailing_changes_nothing() {
        Scenario::new(LastChannelLost::default())
            .event(Event::of("SubscriptionChanged").without("subscription_type_code"))
            .expect_note("which mailing")
            .expect_state(|consents: &Consents| consents.mailings.is_empty());
    }

    #[test]
    fn mailings_are_bounded() {
        let mut scenario = Scenario::new(LastChannelLost::default());
        for number in 0..70 {
            scenario.event(mailing(&number.to_string(), &["mail"]));
        }
        scenario.expect_state(|consents: &Consents| consents.mailings.len() == 64);
    }

    #[test]
    fn a_merge_adds_the_mailings_of_the_other_account() {
        let of = |event: Event, customer: i64| event.set("/customerInfo/customerId", customer);
        Scenario::new(LastChannelLost::default())
            .event(of(mailing("A", &["push"]), 1))
            .event(of(mailing("B", &["sms"]), 1))
            .event(of(mailing("B", &["mail"]), 2))
            .event(Event::of("ProfilesMerged").set("from_customer_id", 1).set("to_customer_id", 2))
            .event(of(mailing("A", &[]), 2))
            .expect_sent(Mail::template("last-channel-lost").data("subscription", "Mailing A"));
    }
}
