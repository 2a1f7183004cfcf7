//! Invalid files: each mistake is reported with its line and a correction.

use hailer_abi::manifest::Manifest;

use super::*;
use crate::reload::Problem;

/// A rule that takes purchases and has a timer, a state and a parameter.
const MANIFEST: &str = r#"{ "abi": 1, "sdk": "0.1.0", "name": "win-back", "version": "0.1.0",
  "stateVersion": 1,
  "handlers": [{ "name": "bought", "events": ["OnPurchaseConfirm"] },
    { "name": "missed", "timer": "missed" }],
  "params": [{ "name": "days", "type": "int", "default": 60, "min": "1" }] }"#;

fn parse(text: &str) -> Result<Scenarios, Vec<Problem>> {
    parse_for(MANIFEST, text)
}

fn parse_for(manifest: &str, text: &str) -> Result<Scenarios, Vec<Problem>> {
    let manifest: Manifest = serde_json::from_str(manifest).unwrap();
    Scenarios::parse("scenarios.toml", text, &manifest)
}

/// A file whose only scenario has this step, on its fourth line.
fn of_step(step: &str) -> String {
    format!("[[scenario]]\nname = \"one\"\nsteps = [\n{step}\n]\n")
}

#[test]
fn a_file_with_everything_is_read() {
    let text = r#"
        time_zone = "Europe/Moscow"
        starts = 2026-01-10T23:30:00
        params = { days = 30 }
        [[scenario]]
        name = "one"
        params = { days = 90 }
        steps = [
            { event = "Purchase",
              set = { amount = 99.99, customer_id = 7, "/customerInfo/applicationId" = 3,
                purchaseOperationInfo = { brandId = "x" } },
              without = ["date_time"], times = 3, nothing = true,
              timers = { missed = "30d at 10:00" }, state = { count = 3 } },
            { body = '{"eventCode": "OnPurchaseConfirm"}',
              sent = [{ push = "x", data = { amount = 1.50 } }], note = ["a", "b"] },
            { advance = "60d", suppressed = [{ push = "x", why = "no-recipient" }] },
            { at = "2027-01-01T00:00:00Z", error = "too late", state = "none" },
        ]
        [[scenario]]
        name = "two"
        refused = "no"
    "#;
    let scenarios = parse(text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let names: Vec<_> =
        scenarios.list.iter().map(|scenario| (&*scenario.name, scenario.steps.len())).collect();
    assert_eq!(names, [("one", 4), ("two", 0)]);
    let step::Action::Event(given, 3) = &scenarios.list[0].steps[0].action else {
        panic!("no event")
    };
    let body: serde_json::Value = serde_json::from_slice(&given.body).unwrap();
    assert_eq!(body["purchaseOperationInfo"]["purchaseData"]["amount"], 99.99);
    assert_eq!(
        (&body["customerInfo"]["customerId"], &body["customerInfo"]["applicationId"]),
        (&7.into(), &3.into())
    );
    assert_eq!(body["purchaseOperationInfo"]["brandId"], "x");
}

#[test]
fn every_mistake_of_a_step_is_reported_with_its_line_and_a_correction() {
    for (step, reason, hint) in [
        (r#"{ evnt = "Purchase" }"#, "a step has no key `evnt`", "did you mean `event`?"),
        (r#"{ event = "Purchse" }"#, "there is no event `Purchse`", "did you mean \"Purchase\"?"),
        (
            r#"{ event = "OnPurchaseConfrm" }"#,
            "there is no event",
            "did you mean \"OnPurchaseConfirm\"?",
        ),
        (
            r#"{ event = "Purchase", set = { amout = 1 } }"#,
            "Purchase has no field `amout`",
            "did you mean `amount`?",
        ),
        (
            r#"{ event = "Purchase", set = { amount = "1" } }"#,
            "`amount` must be a number, and this is a text",
            "correct it",
        ),
        (
            r#"{ event = "Purchase", set = { "/customerInfo/custmerId" = 1 } }"#,
            "has no field",
            "/customerInfo/customerId",
        ),
        (
            r#"{ event = "Purchase", set = { amount = 0.1234567890123456789 } }"#,
            "more than 15 digits",
            "`body`",
        ),
        (r#"{ event = "Purchase", without = ["amout"] }"#, "has no field `amout`", "`amount`"),
        (r#"{ event = "Purchase", times = 0 }"#, "from 1 to 1000", "correct it"),
        (r#"{ event = "Purchase", advance = "1d" }"#, "a step does one thing", "a step of its own"),
        (r#"{ nothing = true }"#, "a step does one thing", "event = "),
        (r#"{ body = "{" }"#, "the body is not JSON, at its line 1", "jq"),
        (r#"{ body = "[]" }"#, "not a JSON object", "as SMC sends it"),
        (r#"{ body = "{}" }"#, "cannot read the event", "eventCode"),
        (r#"{ advance = "60" }"#, "`60` is not a duration", "60d"),
        (r#"{ advance = 60 }"#, "a whole number, not a text", "60d"),
        (r#"{ at = "tomorrow" }"#, "`tomorrow` is not a time", "2026-03-01T10:00"),
        (r#"{ at = "1969-01-01T00:00" }"#, "is not a time", "2026-03-01T10:00"),
        (r#"{ at = "9999-01-01T00:00" }"#, "is not a time", "2026-03-01T10:00"),
        (
            r#"{ at = "2099-12-31T00:00" }, { advance = "2d" }"#,
            "no further than 2100-01-01",
            "advance by less",
        ),
        (r#"{ at = "2020-01-01T00:00" }"#, "before 2026-01-01 00:00, the clock's time", "starts"),
        (
            r#"{ advance = "1d", set = { amount = 1 } }"#,
            "`set` belongs to an event",
            "name the event",
        ),
        (
            r#"{ event = "Purchase", sent = [{ psh = "x" }] }"#,
            "there is no channel `psh`",
            "did you mean `push`?",
        ),
        (
            r#"{ event = "Purchase", sent = [{ push = "x", dta = {} }] }"#,
            "there is no channel `dta`",
            "did you mean `data`?",
        ),
        (r#"{ event = "Purchase", sent = [{}] }"#, "names a channel and its template", "push"),
        (r#"{ event = "Purchase", sent = "x" }"#, "this is not a list", "sent = ["),
        (
            r#"{ event = "Purchase", nothing = true, sent = [{ push = "x" }] }"#,
            "can't expect `nothing` and something",
            "remove one",
        ),
        (r#"{ event = "Purchase", nothing = false }"#, "`nothing` is not true", "nothing = true"),
        (
            r#"{ event = "Purchase", timers = { mised = "1d" } }"#,
            "has no timer `mised`",
            "did you mean `missed`?",
        ),
        (r#"{ event = "Purchase", timers = { missed = "soon" } }"#, "no valid due time", "60m"),
        (r#"{ event = "Purchase", state = "empty" }"#, "`state` is not a table", "\"none\""),
        (
            r#"{ event = "CardLinked", sent = [{ push = "x" }] }"#,
            "nothing is sent: no handler of `win-back` takes `OnCardReplace`",
            "takes OnPurchaseConfirm",
        ),
        (r#"{ event = "CardLinked", note = "x" }"#, "nothing is noted", "OnPurchaseConfirm"),
    ] {
        let problems = parse(&of_step(step)).expect_err(step);
        let told = format!("{problems:?}");
        assert_eq!(problems[0].line, Some(4), "{step}: {told}");
        assert!(
            problems[0].reason.contains(reason) && problems[0].hint.contains(hint),
            "{step}: {told}"
        );
    }
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once() {
    for (text, line, reason, hint) in [
        ("x = 1", Some(1), "a file of scenarios has no key `x`", "time_zone"),
        ("", None, "there are no scenarios", "[[scenario]]"),
        ("[[scenario]\n", Some(1), "not TOML", "correct"),
        (
            "[[scenario]]\nnaem = \"a\"\nsteps = []",
            Some(2),
            "a scenario has no key `naem`",
            "did you mean `name`?",
        ),
        ("[[scenario]]\nsteps = []", Some(1), "a scenario has a name", "name ="),
        ("[[scenario]]\nname = \"a\"", Some(1), "without steps", "steps ="),
        (
            "[[scenario]]\nname = \"a\"\nsteps = []\n[[scenario]]\nname = \"a\"\nsteps = []",
            Some(5),
            "a second scenario `a`",
            "different",
        ),
        (
            "time_zone = \"Mars\"\n[[scenario]]\nname = \"a\"\nsteps = []",
            Some(1),
            "no time zone `Mars`",
            "Europe/Moscow",
        ),
        (
            "[params]\ndys = 1\n[[scenario]]\nname = \"a\"\nsteps = []",
            Some(2),
            "no parameter `dys`",
            "did you mean `days`?",
        ),
        ("[[scenario]]\nname = \"a\"\nparams = { days = 0 }\nsteps = []", Some(3), "`days`", "1"),
        (
            "[[scenario]]\nname = \"a\"\nrefused = \"x\"\nsteps = [{ advance = \"1d\" }]",
            Some(3),
            "has no steps",
            "remove",
        ),
    ] {
        let problems = parse(text).expect_err(text);
        let is_such = |problem: &Problem| {
            problem.line == line && problem.reason.contains(reason) && problem.hint.contains(hint)
        };
        assert!(problems.iter().any(is_such), "{text}: {problems:?}");
    }
    let twice = of_step(r#"{ evnt = "Purchase", advance = "x" }"#);
    assert_eq!(parse(&twice).unwrap_err().len(), 2, "both mistakes are reported at once");
}

#[test]
fn an_expectation_that_no_rule_could_meet_is_refused() {
    let stateless = r#"{ "abi": 1, "name": "plain", "version": "0.1.0",
        "handlers": [{ "name": "all", "events": ["*"] }] }"#;
    for (step, reason) in [
        (r#"{ event = "Purchase", state = { count = 1 } }"#, "`plain` has no state"),
        (r#"{ event = "Purchase", timers = { nudge = "1d" } }"#, "has no timer `nudge`"),
        (
            r#"{ advance = "1d", sent = [{ push = "x" }] }"#,
            "while only time passes: `plain` has no timers",
        ),
    ] {
        let problems = parse_for(stateless, &of_step(step)).expect_err(step);
        assert!(problems[0].reason.contains(reason), "{problems:?}");
    }
    assert!(
        parse_for(
            stateless,
            &of_step(r#"{ event = "CardLinked", sent = [{ push = "x" }], timers = {} }"#)
        )
        .is_ok()
    );
}

proptest::proptest! {
    /// Files with a part removed or replaced: the rest is read or refused, with lines that exist.
    #[test]
    fn no_altered_file_makes_the_parser_panic(
        from in 0..2000_usize,
        length in 0..60_usize,
        piece in ".{0,12}",
    ) {
        let whole = include_str!("../../../rules/win-back/scenarios.toml");
        let from = whole.floor_char_boundary(from.min(whole.len()));
        let to = whole.floor_char_boundary((from + length).min(whole.len()));
        let text = [&whole[..from], &piece, &whole[to..]].concat();
        let lines = text.split('\n').count() as u32;
        for problem in parse(&text).err().into_iter().flatten() {
            assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?}");
            assert!(!problem.reason.is_empty() && !problem.hint.is_empty());
        }
    }
}

#[test]
fn a_file_is_bounded_and_foreign_text_is_escaped() {
    let large = format!("# {}", "x".repeat(SCENARIO_FILE_BYTES_MAX));
    assert!(parse(&large).unwrap_err()[0].reason.contains("the most is"));
    let many = "[[scenario]]\nname = \"a\"\nsteps = []\n".repeat(201);
    assert!(parse(&many).unwrap_err()[0].reason.contains("201 scenarios"));
    let steps = of_step(&"{ advance = \"1d\" },\n".repeat(201));
    assert!(parse(&steps).unwrap_err()[0].reason.contains("201 steps"));
    let problems = parse(&of_step("{ event = \"\\u001b[31mPurchase\" }")).unwrap_err();
    assert!(!problems[0].reason.contains('\u{1b}'), "{problems:?}");
}
