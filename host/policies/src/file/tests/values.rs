//! Tests of texts, names, lists and choices: which are taken, and what is said about others.

use super::*;

#[test]
fn time_zones_are_names_and_not_offsets() {
    let hint = "(write the zone of customers whose own is not known: `time_zone = \
                \"Europe/Moscow\"`)";
    for (value, found) in [
        ("\"Europe/Moskau\"", "`Europe/Moskau`"),
        ("\"+03:00\"", "`+03:00`"),
        ("\"\"", "an empty string"),
        ("3", "3"),
        ("\"localtime\"", "`localtime`"),
    ] {
        assert_eq!(
            mistakes(&format!("time_zone = {value}")),
            [format!("1: `time_zone` is {found}, not the name of a time zone {hint}")]
        );
    }
    let text = "time_zone = \"Etc/GMT-3\"";
    assert!(Policies::parse(text.as_bytes()).is_ok());
}

#[test]
fn codes_are_lines_that_are_not_blank() {
    let hint = "(write the code of the attribute: `time_zone_attribute = \"TimeZone\"`)";
    for (value, found) in [
        ("\"\"".to_owned(), "an empty string".to_owned()),
        ("\" \"".to_owned(), "` `".to_owned()),
        ("\"a\\nb\"".to_owned(), "`a\\u{a}b`".to_owned()),
        (format!("\"{}\"", "я".repeat(129)), format!("`{}…`", "я".repeat(120))),
        ("true".to_owned(), "true".to_owned()),
    ] {
        let expected = "not a line of 1 to 128 characters";
        assert_eq!(
            mistakes_of(&format!("time_zone_attribute = {value}")),
            [format!("2: `time_zone_attribute` is {found}, {expected} {hint}")]
        );
    }
    let longest = "я".repeat(128);
    let policies = parsed(&format!("time_zone_attribute = \"{longest}\""));
    assert_eq!(policies.zone_attribute.as_deref(), Some(&*longest));
}

#[test]
fn lists_have_values_each_of_them_once() {
    let yes = |list: &str| mistakes(&WHOLE.replace("[\"Enabled\"]", list));
    let hint = "(write the values that mean consent: `yes = [\"Enabled\"]`)";
    let expected = "not a list with at least one value";
    assert_eq!(yes("[]"), [format!("6: `yes` is an empty list, {expected} {hint}")]);
    assert_eq!(yes("\"Enabled\""), [format!("6: `yes` is `Enabled`, {expected} {hint}")]);
    assert_eq!(
        yes("[\"a\",\n\"\", \"a\"]"),
        [
            format!("7: `yes` is an empty string, not a line of 1 to 128 characters {hint}"),
            "7: `yes` has `a` twice (remove one of them)".into(),
        ]
    );
    let many = |count: usize| {
        let texts: Vec<String> = (0..count).map(|index| format!("\"v{index}\"")).collect();
        format!("[{}]", texts.join(","))
    };
    assert_eq!(yes(&many(65)), ["6: `yes` has 65 values, the most is 64 (remove some of them)"]);
    let policies = Policies::parse(WHOLE.replace("[\"Enabled\"]", &many(64)).as_bytes()).unwrap();
    assert_eq!(policies.consent.unwrap().yes.len(), 64);
}

#[test]
fn unknown_consent_is_allowed_or_refused() {
    let text = WHOLE.replace("viber = \"refuse\"", "viber = \"refused\"");
    assert_eq!(
        mistakes(&text),
        ["7: `viber` is `refused`, not \"allow\" or \"refuse\" (did you mean `refuse`?)"]
    );
    let text = WHOLE.replace("viber = \"refuse\"", "viber = false");
    assert_eq!(
        mistakes(&text),
        ["7: `viber` is false, not \"allow\" or \"refuse\" (say \"allow\" or \"refuse\" for \
             each channel)"]
    );
}

#[test]
fn channels_and_days_are_known_names() {
    let from_to = "from = \"22:00\"\nto = \"09:00\"";
    assert_mistakes([
        (
            hours(&format!("{from_to}\nchannels = [\"sms\", \"pusch\"]")),
            "7: `pusch` is not a channel (did you mean `push`?)",
        ),
        (
            hours(&format!("{from_to}\nchannels = [\"telegram\"]")),
            "7: `telegram` is not a channel (use mail, push, sms, viber, chatBot, \
             socialNetworks)",
        ),
        (
            hours(&format!("{from_to}\nchannels = [\"sms\", \"sms\"]")),
            "7: `channels` has `sms` twice (remove one of them)",
        ),
        (
            hours(&format!("{from_to}\nchannels = []")),
            "7: `channels` is an empty list, not a list with at least one value (write names of \
             channels: `channels = [\"sms\"]`; without the line, all are quiet)",
        ),
        (
            cap("max = 1\nper = \"day\"\nchannels = [\"Mail\"]"),
            "6: `Mail` is not a channel (did you mean `mail`?)",
        ),
        (
            hours(&format!("{from_to}\ndays = [\"friday\"]")),
            "7: `friday` is not a day (use mon, tue, wed, thu, fri, sat, sun)",
        ),
        (
            hours(&format!("{from_to}\ndays = [\"fri\", \"fri\"]")),
            "7: `days` has `fri` twice (remove one of them)",
        ),
        (
            hours(&format!("{from_to}\ndays = []")),
            "7: `days` is an empty list, not a list with at least one value (write the days on \
             which the hours begin: `days = [\"fri\", \"sat\"]`)",
        ),
    ]);
    let policies = parsed(&cap("max = 1\nper = \"day\"\nchannels = [\"socialNetworks\"]"));
    assert_eq!(policies.caps[0].channels, Channels::from_iter([Channel::SocialNetworks]));
}

#[test]
fn quiet_hours_defer_or_drop() {
    let lines = "[[quiet_hours]]\nname = \"a\"\nfrom = \"22:00\"\nto = \"09:00\"\nthen = ";
    assert_mistakes([
        (
            format!("{lines}\"ignore\""),
            "6: `then` is `ignore`, not \"defer\" or \"drop\" (write `then = \"defer\"` (send \
             when the hours are over) or \"drop\")",
        ),
        (
            format!("{lines}\"dorp\""),
            "6: `then` is `dorp`, not \"defer\" or \"drop\" (did you mean `drop`?)",
        ),
    ]);
}

#[test]
fn a_salt_is_a_text_that_messages_never_show() {
    for salt in ["\"\"".into(), format!("\"{}\"", "s".repeat(65)), "2026".to_owned()] {
        assert_mistakes([(
            format!("[control.a]\npercent = 5\nsalt = {salt}"),
            "4: `salt` is not a text of 1 to 64 characters (write a text; a new one makes other \
             customers members: `salt = \"2026\"`)",
        )]);
    }
    let longest = "я".repeat(64);
    let policies = parsed(&format!("[control.a]\npercent = 5\nsalt = \"{longest}\""));
    assert_eq!(*policies.control[0].salt, *longest);
}

#[test]
fn names_are_like_those_of_campaigns() {
    let hint = "(use up to 64 lower-case letters, digits, `-` and `_`, and begin with a letter or \
                digit)";
    for name in ["Night", "-a", "_a", "a b", "ä", "", &"a".repeat(65), "a.b"] {
        let quoted = format!("\"{name}\"");
        for (lines, line, what) in [
            (format!("[[cap]]\nname = {quoted}\nmax = 1\nper = \"day\""), 3, "a cap"),
            (
                format!(
                    "[[quiet_hours]]\nname = {quoted}\nfrom = \"01:00\"\nto = \"02:00\"\n\
                     then = \"drop\""
                ),
                3,
                "quiet hours",
            ),
            (format!("[control.{quoted}]\npercent = 5\nsalt = \"a\""), 2, "a control group"),
            (format!("[campaigns.{quoted}]"), 2, "a campaign"),
            (cap(&format!("max = 1\nper = \"day\"\ncampaigns = [{quoted}]")), 6, "a campaign"),
        ] {
            let expected = format!("{line}: `{name}` cannot be the name of {what} {hint}");
            assert_mistakes([(lines, &*expected)]);
        }
    }
    let longest = "a".repeat(64);
    assert!(parsed(&format!("[campaigns.{longest}]")).campaigns.contains_key(&*longest));
    assert!(parsed("[campaigns.0-_]").campaigns.contains_key("0-_"));
}

#[test]
fn a_name_is_there_once() {
    let one = cap("max = 1\nper = \"day\"\n");
    assert_mistakes([
        (
            format!("{one}{one}"),
            "7: another section already has the name `day` (rename one of them)",
        ),
        (
            cap("max = 1\nper = \"day\"\ncampaigns = [\"a\", \"a\"]"),
            "6: `campaigns` has `a` twice (remove one of them)",
        ),
        (
            cap("max = 1\nper = \"day\"\ncampaigns = []"),
            "6: `campaigns` is an empty list, not a list with at least one value (write names of \
             campaigns: `campaigns = [\"win-back\"]`; without the line, it is for all)",
        ),
    ]);
    let both =
        format!("{one}{}to = \"09:00\"\nfrom = \"08:00\"", hours("").replace("night", "day"));
    assert_eq!(parsed(&both).caps.len(), 1, "caps and quiet hours have names of their own");
}

#[test]
fn an_allow_list_has_ids_and_may_be_empty() {
    let list = |customers: &str| format!("[allow_list.\"Test.1\"]\ncustomers = {customers}");
    let ids = |customers: &str| -> Vec<String> {
        let policies = parsed(&list(customers));
        policies.allow_lists["Test.1"].iter().map(ToString::to_string).collect()
    };
    assert_eq!(ids("[]"), Vec::<String>::new());
    assert_eq!(ids("[7, \"7\", -1, \"x y\", 1_000]"), ["-1", "1000", "7", "x y"]);
    let hint = "(write values of `customerId`: `customers = [\"101\", \"102\"]`)";
    let expected = "not a whole number, or a line of 1 to 128 characters";
    for (customers, found) in [("[1.5]", "1.5"), ("[\"\"]", "an empty string"), ("[[1]]", "a list")]
    {
        let expected = format!("3: `customers` is {found}, {expected} {hint}");
        assert_mistakes([(list(customers), &*expected)]);
    }
    let expected = format!("3: `customers` is `7`, not a list {hint}");
    assert_mistakes([(list("\"7\""), &*expected)]);
    let many = |count: usize| format!("[{}]", (0..count).map(|_| "1,").collect::<String>());
    assert_eq!(ids(&many(10_000)), ["1"]);
    assert_mistakes([(
        list(&many(10_001)),
        "3: `customers` has 10001 ids, the most is 10000 (remove some of them)",
    )]);
    assert_mistakes([(
        "[allow_list.\"a b\"]\ncustomers = []".into(),
        "2: `a b` cannot be the name of an environment (use the value of `environment` in the \
         engine's configuration)",
    )]);
}

#[test]
fn the_keys_of_campaigns_are_checked() {
    let campaign = |line: &str| format!("[campaigns.a]\n{line}");
    assert_mistakes([
        (
            campaign("kind = \"transactionl\""),
            "3: `kind` is `transactionl`, not \"marketing\" or \"transactional\" (did you mean \
             `transactional`?)",
        ),
        (
            campaign("priority = 101"),
            "3: `priority` is 101, not a whole number from -100 to 100 (write a number, higher \
             for more important: `priority = 20`)",
        ),
        (
            campaign("counts = 0"),
            "3: `counts` is 0, not true or false (write `counts = true` or `counts = false`)",
        ),
        (
            campaign("without_caps = \"day\""),
            "3: `without_caps` is `day`, not a list with at least one value (write names of caps: \
             `without_caps = [\"day\"]`)",
        ),
    ]);
    let text = WHOLE.replace("quiet_hours = \"defer\"", "quiet_hours = \"deferred\"");
    assert_eq!(
        mistakes(&text),
        ["64: `quiet_hours` is `deferred`, not \"defer\", \"drop\" or \"ignore\" (did you \
             mean `defer`?)"]
    );
    let text = WHOLE.replace("\"3h\"", "3");
    assert_eq!(
        mistakes(&text),
        ["65: `discard_after` is 3, not a time from 1m to 31d (write whole minutes, hours or \
             days: `discard_after = \"14h\"`)"]
    );
    let text = WHOLE.replace("[\"OnEndRegistration\"]", "[]");
    assert_eq!(
        mistakes(&text),
        ["66: `cancel_on` is an empty list, not a list with at least one value (write codes of \
             events: `cancel_on = [\"OnPurchase\"]`)"]
    );
    for priority in [-100, 100] {
        let policies = parsed(&campaign(&format!("priority = {priority}")));
        assert_eq!(policies.campaigns["a"].priority, priority);
    }
}
