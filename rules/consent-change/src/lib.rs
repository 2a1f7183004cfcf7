//! Confirms a change of consent: the message says which channels of a mailing are on and which are
//! off.
//!
//! **The message never uses a channel that is off.** The event has the state of every channel and
//! does not say which one changed, so the rule uses a channel that is on. If all channels are off,
//! it sends nothing. An unknown state counts as off: the source shows only `Enabled`, and a wrong
//! guess about consent can break the law.

use hailer_sdk::Message;
use hailer_sdk::prelude::*;

/// Confirms to customers which channels of a mailing they have switched on and off.
#[rule]
pub struct ConsentChange {
    /// The channels for the message, the preferred one first: `mail`, `push`, `sms`, `viber`,
    /// `chatBot`, `socialNetworks`. The message uses the first one that is on.
    #[param(default = ["mail", "push", "sms", "viber", "chatBot", "socialNetworks"], min = 1)]
    channels: Vec<String>,
    /// Only changes of these mailings count (`subscriptionTypeCode`); empty for all mailings.
    #[param(default = [])]
    subscription_types: Vec<String>,
    /// The template, with the same name in each channel. Its data is `subscription` (the name of
    /// the mailing) and the lists `on` and `off` of channels. A channel that the event does not
    /// mention is in neither list.
    #[param(default = "consent-change", min = 1, max = 128)]
    template: String,
}

/// The state of a channel that the customer allows.
const ENABLED: &str = "Enabled";

#[handlers]
impl ConsentChange {
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
        ctx: &mut Context,
    ) {
        let types = &self.subscription_types;
        if !types.is_empty()
            && !subscription_type_code.is_some_and(|found| types.iter().any(|one| one == found))
        {
            return ctx.note("not sent: a mailing that is not listed");
        }
        let states = [
            ("mail", mail),
            ("push", push),
            ("sms", sms),
            ("viber", viber),
            ("chatBot", chat_bot),
            ("socialNetworks", social_networks),
        ];
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for (channel, state) in states {
            match state {
                Some(ENABLED) => on.push(channel),
                Some(_) => off.push(channel),
                None => {}
            }
        }
        let Some(channel) = self.channels.iter().find(|channel| on.contains(&channel.as_str()))
        else {
            return ctx.note("not sent: no channel is on");
        };
        // `check` has made sure that every channel has a message.
        let Some(receipt) = Message::by(channel, &self.template) else { return };
        ctx.send(
            receipt.data("subscription", subscription_type_name).data("on", on).data("off", off),
        );
        ctx.note("confirmed by a channel that is on");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    const NAME: &str = "Discount accrual notifications";
    const ALL: [&str; 6] = ["mail", "push", "sms", "viber", "chat_bot", "social_networks"];

    /// The source's example, with these channels switched off.
    fn without(channels: &[&str]) -> Event {
        channels
            .iter()
            .fold(Event::of("SubscriptionChanged"), |event, channel| event.set(channel, "Disabled"))
    }

    fn filled<'a>(message: Message<'a>, on: &[&str], off: &[&str]) -> Message<'a> {
        message.data("subscription", NAME).data("on", on).data("off", off)
    }

    #[test]
    fn a_change_is_confirmed_through_the_preferred_channel() {
        let on = ["mail", "push", "sms", "viber", "chatBot", "socialNetworks"];
        Scenario::new(ConsentChange::default())
            .event("SubscriptionChanged")
            .expect_sent(filled(Mail::template("consent-change"), &on, &[]))
            .expect_nothing();
    }

    #[test]
    fn a_channel_that_is_off_is_never_used() {
        Scenario::new(ConsentChange::default())
            .event(without(&["mail"]))
            .expect_sent(filled(
                Push::template("consent-change"),
                &["push", "sms", "viber", "chatBot", "socialNetworks"],
                &["mail"],
            ))
            .expect_nothing();
        for used in ALL {
            let off: Vec<_> = ALL.into_iter().filter(|name| *name != used).collect();
            let mut scenario = Scenario::new(ConsentChange::default());
            scenario.event(without(&off));
            let by: Vec<_> =
                scenario.sent().iter().map(|sent| sent.channel.to_lowercase()).collect();
            assert_eq!(by, [used.replace('_', "")]);
        }
    }

    #[test]
    fn a_customer_with_all_channels_off_gets_no_message() {
        Scenario::new(ConsentChange::default())
            .event(without(&ALL))
            .expect_nothing()
            .expect_note("no channel is on");
    }

    #[test]
    fn a_channel_that_the_campaign_does_not_list_is_not_used() {
        let rule = ConsentChange { channels: vec!["push".into()], ..ConsentChange::default() };
        Scenario::new(rule).event(without(&["push"])).expect_nothing();
    }

    #[test]
    fn an_unknown_state_counts_as_off() {
        for state in ["enabled", "Включено", "PendingConfirmation"] {
            Scenario::new(ConsentChange {
                channels: vec!["sms".into()],
                ..ConsentChange::default()
            })
            .event(Event::of("SubscriptionChanged").set("sms", state))
            .expect_nothing();
        }
    }

    #[test]
    fn a_channel_that_the_event_does_not_mention_is_neither_on_nor_off() {
        let event = Event::of("SubscriptionChanged")
            .set_json("/subscriptionInfo", r#"{"mail": null, "sms": "Enabled"}"#);
        Scenario::new(ConsentChange::default())
            .event(event)
            .expect_sent(filled(Sms::template("consent-change"), &["sms"], &[]))
            .event(Event::of("SubscriptionChanged").without("/subscriptionInfo"))
            .expect_nothing();
    }

    #[test]
    fn a_campaign_may_be_limited_to_some_mailings() {
        let rule = ConsentChange {
            subscription_types: vec!["Birthday".into()],
            ..ConsentChange::default()
        };
        Scenario::new(rule)
            .event("SubscriptionChanged")
            .expect_nothing()
            .expect_note("not listed")
            .event(Event::of("SubscriptionChanged").without("subscription_type_code"))
            .expect_nothing();
    }

    #[test]
    fn a_channel_that_does_not_exist_is_refused() {
        for channels in [r#"["mail", "fax"]"#, r#"["SMS"]"#, "[]"] {
            let params = format!(r#"{{"channels": {channels}}}"#);
            assert!(Scenario::<ConsentChange>::with_params(&params).is_err(), "{channels}");
        }
    }
}
