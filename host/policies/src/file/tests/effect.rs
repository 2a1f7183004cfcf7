//! Tests of sections that need one another: what can have no effect is refused.

use super::*;

const NIGHT: &str = "[[quiet_hours]]\nname = \"night\"\nfrom = \"22:00\"\nto = \"09:00\"\nthen = ";

fn consent() -> &'static str {
    &WHOLE[WHOLE.find("[consent]").unwrap()..WHOLE.find("[[quiet_hours]]").unwrap()]
}

/// Two windows that leave 11:59 open, or nothing.
fn day(to: &str, channels: &str) -> String {
    format!(
        "[[quiet_hours]]\nname = \"morning\"\nfrom = \"12:00\"\nto = \"{to}\"\nthen = \"drop\"\n\
         [[quiet_hours]]\nname = \"evening\"\nfrom = \"00:00\"\nto = \"12:00\"\nthen = \"drop\"\n\
         channels = [{channels}]\n"
    )
}

#[test]
fn quiet_hours_leave_every_channel_a_minute_of_the_week() {
    assert_eq!(
        mistakes_of(&day("00:00", "\"push\", \"sms\"")),
        ["7: quiet hours leave no minute of the week in which to send push, sms (shorten \
             `evening`, or others on the same channels)"]
    );
    parsed(&day("23:59", "\"push\", \"sms\""));
    // The open minute is 12:00 to 12:01 of the Sunday.
    let days = |days: &str| {
        let window = |name: &str, from: &str, to: &str, days: &str| {
            format!(
                "[[quiet_hours]]\nname = \"{name}\"\nfrom = \"{from}\"\nto = \"{to}\"\n\
                 then = \"drop\"\ndays = [{days}]\n"
            )
        };
        let week = "\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\"";
        [
            window("one", "12:00", "12:01", &format!("{week}{days}")),
            window("two", "12:01", "12:00", &format!("{week}, \"sun\"")),
        ]
        .concat()
    };
    parsed(&days(""));
    assert_eq!(
        mistakes_of(&days(", \"sun\"")),
        ["8: quiet hours leave no minute of the week in which to send mail, push, sms, viber, \
             chatBot, socialNetworks (shorten `two`, or others on the same channels)"]
    );
}

#[test]
fn a_minute_that_is_quiet_twice_counts_once() {
    let night = format!("{NIGHT}\"drop\"\n").replace("22:00", "20:00");
    parsed(&format!("{night}{}", night.replace("night", "again")));
}

#[test]
fn hours_after_sunday_night_reach_into_monday() {
    // Monday 00:00 to 09:00 is quiet only because of the hours that begin on Sunday.
    let lines = "[[quiet_hours]]\nname = \"one\"\nfrom = \"09:00\"\nto = \"08:59\"\nthen = \
                 \"drop\"\n[[quiet_hours]]\nname = \"two\"\nfrom = \"08:59\"\nto = \"09:00\"\n\
                 then = \"drop\"\n";
    assert!(mistakes_of(lines)[0].starts_with("7: quiet hours leave no minute of the week"));
    let saturday = lines.replacen(
        "then = \"drop\"",
        "then = \"drop\"\ndays = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\"]",
        1,
    );
    parsed(&saturday);
}

#[test]
fn deferring_needs_to_know_for_how_long() {
    let hint = "(write `[deferral]`, and below it a line such as `discard_after = \"14h\"`)";
    assert_eq!(
        mistakes_of(&format!("{NIGHT}\"defer\"\n")),
        [format!("6: \"defer\" needs a section [deferral] {hint}")]
    );
    let campaign = "[campaigns.a]\nquiet_hours = \"defer\"\n";
    assert_eq!(
        mistakes_of(&format!("{NIGHT}\"drop\"\n{campaign}")),
        [format!("8: \"defer\" needs a section [deferral] {hint}")]
    );
    parsed(&format!("{NIGHT}\"drop\"\n"));
    parsed(&format!("{NIGHT}\"defer\"\n{campaign}[deferral]\ndiscard_after = \"1m\""));
    // A section with a mistake is there.
    let found = mistakes_of(&format!("{NIGHT}\"defer\"\n[deferral]\ndiscard_after = 1"));
    assert!(found.len() == 1 && found[0].starts_with("8: `discard_after`"), "{found:?}");
}

#[test]
fn a_transactional_campaign_has_no_keys_without_effect() {
    let found = mistakes_of(&format!(
        "[campaigns.a]\nkind = \"transactional\"\nsubscription = \"Mailings\"\npriority = 1\n\
         quiet_hours = \"defer\"\ndiscard_after = \"1h\"\ncancel_on = [\"OnPurchase\"]\n\
         without_caps = [\"day\"]\n[[cap]]\nname = \"day\"\nmax = 1\nper = \"day\"\n{}",
        consent()
    ));
    let hint = "(remove the line, or the line `kind = \"transactional\"`)";
    let expected = [
        "4: `subscription` has no effect: a transactional campaign needs no consent",
        "6: `quiet_hours` has no effect: a transactional campaign is sent in quiet hours",
        "7: `discard_after` has no effect: a transactional campaign is never deferred",
        "8: `cancel_on` has no effect: a transactional campaign is never deferred",
        "9: `without_caps` has no effect: a transactional campaign has no caps",
    ];
    assert_eq!(found, expected.map(|expected| format!("{expected} {hint}")));
    let policies = parsed(
        "[campaigns.a]\nkind = \"transactional\"\ncounts = true\nwithout_caps = [\"day\"]\n\
         [[cap]]\nname = \"day\"\nmax = 1\nper = \"day\"\n",
    );
    let campaign = &policies.campaigns["a"];
    assert!(campaign.is_transactional && campaign.counts && campaign.without_caps.len() == 1);
}

#[test]
fn caps_and_control_groups_name_no_campaign_that_they_do_not_reach() {
    let lines = "[[cap]]\nname = \"day\"\nmax = 1\nper = \"day\"\ncampaigns = [\"b\",\n\"a\"]\n\
                 [control.holdout]\npercent = 5\nsalt = \"s\"\ncampaigns = [\"a\", \"b\"]\n\
                 [campaigns.a]\nkind = \"transactional\"\n";
    let hint = "(remove the name from the list)";
    let holdout = format!(
        "11: control group `holdout` has no effect on campaign `a`, which is transactional {hint}"
    );
    assert_eq!(
        mistakes_of(lines),
        [
            format!("7: cap `day` has no effect on campaign `a`, which is transactional {hint}"),
            holdout.clone(),
        ]
    );
    assert_eq!(mistakes_of(&format!("{lines}counts = true\n")), [holdout]);
    parsed(&lines.replace("kind = \"transactional\"", "kind = \"marketing\""));
}

#[test]
fn a_subscription_needs_consent() {
    let campaign = "[campaigns.a]\nsubscription = \"Mailings\"\n";
    assert_eq!(
        mistakes_of(campaign),
        ["3: `subscription` has no effect: the file has no section [consent] (write \
             `[consent]`, or remove the line)"]
    );
    parsed(&format!("{campaign}{}", consent()));
    let found = mistakes_of(&format!("{campaign}[consent]\nyes = [\"Enabled\"]"));
    assert!(found.iter().all(|found| found.starts_with("4: ")), "{found:?}");
}

#[test]
fn a_campaigns_quiet_hours_need_quiet_hours() {
    for choice in ["defer", "drop", "ignore"] {
        assert_eq!(
            mistakes_of(&format!("[campaigns.a]\nquiet_hours = \"{choice}\"")),
            ["3: `quiet_hours` has no effect: the file has no section [[quiet_hours]] (write \
                 `[[quiet_hours]]`, or remove the line)"]
        );
    }
    let ignoring = format!("{NIGHT}\"drop\"\n[campaigns.a]\nquiet_hours = \"ignore\"");
    let campaign = parsed(&ignoring).campaigns["a"].clone();
    assert_eq!(campaign.quiet_hours, Some(QuietChoice::Ignore));
}

#[test]
fn only_campaigns_that_are_deferred_are_discarded_or_cancelled() {
    let deferral = "[deferral]\ndiscard_after = \"14h\"\nspread = \"30m\"\n";
    let never = "has no effect: the campaign's messages are never deferred";
    for key in ["discard_after = \"3h\"", "cancel_on = [\"OnPurchase\"]"] {
        let name = key.split(' ').next().unwrap();
        assert_eq!(
            mistakes_of(&format!("{deferral}[campaigns.a]\n{key}")),
            [format!(
                "6: `{name}` {never} (write `[[quiet_hours]]` with `then = \"defer\"`, or remove \
                 the line)"
            )]
        );
        for (then, choice, may_defer) in [
            ("drop", "", false),
            ("drop", "quiet_hours = \"defer\"", true),
            ("defer", "", true),
            ("defer", "quiet_hours = \"drop\"", false),
            ("defer", "quiet_hours = \"ignore\"", false),
        ] {
            let lines = format!("{NIGHT}\"{then}\"\n{deferral}[campaigns.a]\n{key}\n{choice}");
            if may_defer {
                parsed(&lines);
                continue;
            }
            assert_eq!(
                mistakes_of(&lines),
                [format!(
                    "11: `{name}` {never} (write `quiet_hours = \"defer\"`, or remove the line)"
                )],
                "{then} {choice}"
            );
        }
    }
    // Whether hours with a mistake defer is not known.
    let found = mistakes_of(&format!("{NIGHT}\"later\"\n[campaigns.a]\ncancel_on = [\"E\"]"));
    assert!(found.len() == 1 && found[0].starts_with("6: `then`"), "{found:?}");
}

#[test]
fn a_campaign_is_not_discarded_within_the_spread() {
    for (length, is_refused) in [("29m", true), ("30m", true), ("31m", false)] {
        let text = WHOLE.replace("\"3h\"", &format!("\"{length}\""));
        if is_refused {
            assert_eq!(
                mistakes(&text),
                [format!(
                    "65: `discard_after` is `{length}`, not longer than `spread` (write a longer \
                     `discard_after`, or a shorter `spread` in [deferral])"
                )]
            );
        } else {
            assert!(Policies::parse(text.as_bytes()).is_ok());
        }
    }
}

#[test]
fn caps_that_are_left_out_exist() {
    let without =
        |name: &str| WHOLE.replace("without_caps = [\"day\"]", &format!("without_caps = [{name}]"));
    assert_eq!(
        mistakes(&without("\"day\", \"birthday-onse\"")),
        ["69: there is no cap `birthday-onse` (did you mean `birthday-once`?)"]
    );
    assert_eq!(
        mistakes(&without("\"week\"")),
        ["69: there is no cap `week` (write the `name` of a [[cap]], or remove it)"]
    );
    assert_eq!(
        mistakes(&without("\"birthday-once\"")),
        ["69: cap `birthday-once` is not for this campaign anyway (remove the name)"]
    );
    // A cap with a mistake may be the one that is meant.
    let found = mistakes(&without("\"week\"").replace("per = \"300d\"", "per = 300"));
    assert!(found.len() == 1 && found[0].starts_with("36: `per`"), "{found:?}");
}
