//! Tests of mistakes that concern the file or a section as a whole.

use super::*;

#[test]
fn a_file_that_is_no_text_is_one_mistake() {
    let found = |bytes: &[u8]| {
        let mistakes = Policies::parse(bytes).map(drop).unwrap_err();
        mistakes.iter().map(shown_mistake).collect::<Vec<_>>()
    };
    assert_eq!(
        found(b"time_zone = \"UTC\"\n# \xff\n[["),
        ["2: not UTF-8 (save the file as UTF-8 text)"]
    );
    assert_eq!(
        found(b"time_zone = \"UTC\"\n\n# \0\n[["),
        ["3: the file has a NUL character (save the file as UTF-8 text)"]
    );
    assert_eq!(
        found(&[b'x'; FILE_BYTES_MAX + 1]),
        ["the file has 65537 bytes, the most is 65536 (shorten it; comments count, too)"]
    );
    let largest = format!("time_zone = \"UTC\"\n#{}", "x".repeat(FILE_BYTES_MAX - 19));
    assert_eq!(largest.len(), FILE_BYTES_MAX);
    assert!(Policies::parse(largest.as_bytes()).is_ok());
}

#[test]
fn a_syntax_error_hides_all_other_mistakes() {
    let found = mistakes("time_zon = \"UTC\"\nx y\n");
    assert_eq!(
        found,
        ["2: not TOML: key with no value, expected `=` \
             (correct the line; if the file is still being written, wait)"]
    );
    assert!(mistakes("a = 1\na = 2")[0].starts_with("2: not TOML: duplicate key"));
    assert_eq!(mistakes("a = [[1\n").len(), 1, "the TOML parser reports it twice");
}

#[test]
fn no_depth_overflows_the_stack() {
    let deep = |open: &str, close: &str, levels: usize| {
        mistakes(&format!("a = {}1{}", open.repeat(levels), close.repeat(levels)))
    };
    assert!(deep("[", "]", 30_000)[0].starts_with("1: not TOML: "));
    assert!(deep("{a=", "}", 15_000)[0].starts_with("1: not TOML: "));
    assert!(!mistakes(&format!("{}a = 1", "a.".repeat(32_000))).is_empty());
    assert!(!mistakes(&format!("[{}a]", "a.".repeat(32_000))).is_empty());
    assert!(!mistakes(&"[".repeat(60_000)).is_empty());
}

#[test]
fn all_mistakes_are_reported_at_once_and_sorted_by_line() {
    let text = "[campaigns.a]\nprioriti = 1\n[[cap]]\nmax = 0\nper = \"day\"\n";
    assert_eq!(
        mistakes(text),
        [
            "`time_zone` is missing (write the zone of customers whose own is not known: \
             `time_zone = \"Europe/Moscow\"`)",
            "2: there is no key `prioriti` (did you mean `priority`?)",
            "3: `name` is missing (give the cap a name: `name = \"day\"`)",
            "4: `max` is 0, not a whole number from 1 to 100 (write how often: `max = 2`)",
        ]
    );
    let many: String = (0..5_000).map(|index| format!("x{index} = 1\n")).collect();
    let found = mistakes(&many);
    assert_eq!(found.len(), MISTAKES_MAX);
    assert!(found[0].starts_with("`time_zone`") && found[19].starts_with("19: "), "{found:?}");
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    for (lines, expected) in [
        ("capp = 1", "2: there is no key `capp` (did you mean `cap`?)"),
        (
            "policies = 1",
            "2: there is no key `policies` (the keys of the file are time_zone, \
             time_zone_attribute, consent, quiet_hours, deferral, cap, control, per_event, \
             allow_list, campaigns)",
        ),
        (
            "[deferral]\ndiscard_after = \"1h\"\nspred = \"1m\"",
            "4: there is no key `spred` (did you mean `spread`?)",
        ),
        (
            "[[cap]]\nname = \"a\"\nmax = 1\nper = \"day\"\ncampagns = [\"a\"]",
            "6: there is no key `campagns` (did you mean `campaigns`?)",
        ),
        (
            "[control.a]\npercent = 5\nsalt = \"a\"\nseed = 5",
            "5: there is no key `seed` (the keys of [control.…] are percent, salt, campaigns)",
        ),
        (
            "[per_event]\ncampaigns_max = 1\nmax = 1",
            "4: there is no key `max` (the keys of [per_event] are campaigns_max)",
        ),
        (
            "[allow_list.a]\ncustomers = []\ncustomer = 1",
            "4: there is no key `customer` (did you mean `customers`?)",
        ),
        (
            "[campaigns.a]\n\"\\u001b\" = 1",
            "3: there is no key `\\u{1b}` (the keys of \
          [campaigns.…] are kind, subscription, priority, quiet_hours, discard_after, cancel_on, \
          without_caps, counts)",
        ),
    ] {
        assert_eq!(mistakes_of(lines), [expected], "{lines}");
    }
    let sms = WHOLE.replace("sms = \"refuse\"", "sms = \"refuse\", smss = \"allow\"");
    assert_eq!(mistakes(&sms), ["7: there is no key `smss` (did you mean `sms`?)"]);
    let hour = WHOLE.replace("then = \"drop\"", "then = \"drop\"\nday = [\"fri\"]");
    assert_eq!(mistakes(&hour), ["23: there is no key `day` (did you mean `days`?)"]);
    let yes = WHOLE.replace("yes = ", "no = [\"Disabled\"]\nyes = ");
    let expected = "6: there is no key `no` (the keys of [consent] are subscription, yes, unknown)";
    assert_eq!(mistakes(&yes), [expected]);
}

#[test]
fn a_section_of_another_type_is_refused() {
    let (control, campaign) = (
        "(write a section with a name: `[control.holdout]`)",
        "(write a section with the name of a campaign: `[campaigns.welcome]`)",
    );
    for (lines, reason, hint) in [
        (
            "consent = 5",
            "`consent` is 5, not a table",
            "(write `[consent]`, and its keys below it)",
        ),
        (
            "[quiet_hours]",
            "`quiet_hours` is a table, not a list of tables",
            "(write `[[quiet_hours]]` above the keys of each of them)",
        ),
        ("cap = [1]", "`cap` is 1, not a table", "(write `[[cap]]` above the keys of each cap)"),
        (
            "[[deferral]]",
            "`deferral` is a list, not a table",
            "(write `[deferral]`, and below it a line such as `discard_after = \"14h\"`)",
        ),
        ("control.percent = 5", "`percent` is 5, not a table", control),
        ("control = true", "`control` is true, not a table", control),
        (
            "per_event = \"1\"",
            "`per_event` is `1`, not a table",
            "(write `[per_event]`, and `campaigns_max = 1` below it)",
        ),
        (
            "allow_list.customers = []",
            "`customers` is an empty list, not a table",
            "(write a section with the name of an environment: `[allow_list.staging]`)",
        ),
        ("campaigns.priority = 1.5", "`priority` is 1.5, not a table", campaign),
        ("campaigns = 1979-05-27", "`campaigns` is the date 1979-05-27, not a table", campaign),
    ] {
        assert_eq!(mistakes_of(lines), [format!("2: {reason} {hint}")], "{lines}");
    }
    let escaped = format!("2: `\\u{{1b}}` is 1, not a table {control}");
    assert_eq!(mistakes_of("control.\"\\u001b\" = 1").last(), Some(&escaped));
}

#[test]
fn required_keys_are_reported_where_their_section_begins() {
    let found = mistakes_of(
        "[consent]\n[[quiet_hours]]\n[deferral]\n[[cap]]\n[control.a]\n[per_event]\n\
         [allow_list.a]\n",
    );
    let found: Vec<&str> = found.iter().map(|found| found.split(" (").next().unwrap()).collect();
    assert_eq!(
        found,
        [
            "2: `subscription` is missing",
            "2: `yes` is missing",
            "2: `unknown` is missing",
            "3: `name` is missing",
            "3: `from` is missing",
            "3: `to` is missing",
            "3: `then` is missing",
            "4: `discard_after` is missing",
            "5: `name` is missing",
            "5: `max` is missing",
            "5: `per` is missing",
            "6: `percent` is missing",
            "6: `salt` is missing",
            "7: `campaigns_max` is missing",
            "8: `customers` is missing",
        ]
    );
}

#[test]
fn unknown_consent_has_no_default_for_any_channel() {
    for channel in Channel::ALL {
        let written = |answer| format!("{} = \"{answer}\"", channel.name());
        let text =
            [written("allow"), written("refuse")].iter().fold(WHOLE.to_owned(), |text, written| {
                text.replace(&format!("{written}, "), "").replace(&format!(", {written}"), "")
            });
        let expected = format!(
            "7: `{}` is missing (say \"allow\" or \"refuse\" for each channel)",
            channel.name()
        );
        assert_eq!(mistakes(&text), [expected]);
    }
}

#[test]
fn the_number_of_sections_is_bounded() {
    let caps = |count: usize| -> String {
        let cap = |index| format!("[[cap]]\nname = \"c{index}\"\nmax = 1\nper = \"day\"\n");
        (0..count).map(cap).collect()
    };
    assert_eq!(parsed(&caps(32)).caps.len(), 32);
    assert_eq!(
        mistakes_of(&caps(33)),
        ["130: the file has 33 sections [[cap]], the most is 32 (remove some of them)"]
    );
    let windows = |count: usize| -> String {
        let window = |index| {
            format!(
                "[[quiet_hours]]\nname = \"q{index}\"\nfrom = \"01:00\"\nto = \"02:00\"\n\
                 then = \"drop\"\n"
            )
        };
        (0..count).map(window).collect()
    };
    assert_eq!(parsed(&windows(16)).quiet_hours.len(), 16);
    assert_eq!(
        mistakes_of(&windows(17)),
        ["82: the file has 17 sections [[quiet_hours]], the most is 16 (remove some of them)"]
    );
    let groups = |count: usize| -> String {
        let group = |index| format!("[control.g{index}]\npercent = 1\nsalt = \"a\"\n");
        (0..count).map(group).collect()
    };
    assert_eq!(parsed(&groups(32)).control.len(), 32);
    assert_eq!(
        mistakes_of(&groups(33)),
        ["98: the file has more than 32 control groups (remove some of them)"]
    );
}
