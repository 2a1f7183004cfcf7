//! Scenarios of policies: what they check, and what is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use hailer_policies::Policies;

use super::{PolicyReport, PolicyScenarios};
use crate::engine::{Limits, Sandbox};

const POLICIES: &str = r#"
time_zone = "Europe/Moscow"
time_zone_attribute = "TimeZone"

[consent]
subscription = "Mailings"
yes = ["Enabled"]

[consent.unknown]
mail = "allow"
push = "allow"
sms = "refuse"
viber = "refuse"
chatBot = "refuse"
socialNetworks = "refuse"

[[quiet_hours]]
name = "night"
from = "22:00"
to = "09:00"
channels = ["push", "sms"]
then = "defer"

[deferral]
discard_after = "14h"

[[cap]]
name = "day"
max = 1
per = "day"

[per_event]
campaigns_max = 1

[allow_list.staging]
customers = ["101"]

[campaigns.big-basket]
priority = 20

[campaigns.nudge]
cancel_on = ["OnEndRegistration"]
"#;

fn campaigns() -> BTreeSet<String> {
    ["big-basket", "nudge", "welcome"].map(str::to_owned).into()
}

fn parsed(text: &str) -> Result<PolicyScenarios, Vec<String>> {
    let policies = Policies::parse(POLICIES.as_bytes()).unwrap();
    let parsed = PolicyScenarios::parse("scenarios.toml", text, &policies, &campaigns());
    parsed.map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn run(text: &str, environment: &str) -> Vec<PolicyReport> {
    let policies = Arc::new(Policies::parse(POLICIES.as_bytes()).unwrap());
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let scenarios = parsed(text).unwrap();
    scenarios.run(&policies, &campaigns(), environment, &sandbox).unwrap()
}

/// One scenario with these steps, at noon of 1 March.
fn steps(steps: &str) -> String {
    format!("[[scenario]]\nname = \"one\"\nstarts = \"2026-03-01T12:00\"\nsteps = [\n{steps}\n]\n")
}

fn passes(text: &str) {
    let reports = run(&steps(text), "prod");
    assert!(reports.iter().all(PolicyReport::is_passed), "{reports:#?}");
}

#[test]
fn a_message_of_the_night_is_deferred_and_released() {
    passes(
        r#"
        { at = "2026-03-01T23:30" },
        { propose = { campaign = "welcome", push = "hello", mail = "hello" },
          deferred = [{ push = "2026-03-02T09:00" }], passed = ["mail"] },
        { at = "2026-03-02T08:59:59", nothing = true },
        { advance = "1s", released = ["welcome push"] },
        "#,
    );
}

#[test]
fn statements_of_the_customer_decide() {
    passes(
        r#"
        { propose = { campaign = "welcome", sms = "hello" },
          suppressed = [{ sms = "consent-unknown" }] },
        { consent = { sms = "Enabled" } },
        { propose = { campaign = "welcome", sms = "hello" }, passed = ["sms"] },
        { consent = { sms = "Disabled" } },
        { advance = "24h" },
        { propose = { campaign = "welcome", sms = "hello" },
          suppressed = [{ sms = "consent-off" }] },
        { zone = "Asia/Kamchatka" },
        { propose = { campaign = "welcome", push = "hello" }, passed = ["push"] },
        { advance = "3h" },
        { propose = { campaign = "welcome", push = "hello" },
          deferred = [{ push = "2026-03-03T00:00" }] },
        "#,
    );
}

#[test]
fn several_campaigns_on_one_event_are_judged_by_priority() {
    passes(
        r#"
        { event = "OnPurchaseConfirm",
          propose = [{ campaign = "welcome", mail = "a" }, { campaign = "big-basket", mail = "b" }],
          passed = ["big-basket mail"], suppressed = [{ "welcome mail" = "event-max" }] },
        { propose = { campaign = "welcome", mail = "a" }, suppressed = [{ mail = "cap" }] },
        { propose = { campaign = "welcome", mail = "a" }, customer = "7", passed = ["mail"] },
        "#,
    );
}

#[test]
fn an_event_cancels_what_is_deferred() {
    passes(
        r#"
        { at = "2026-03-01T23:30" },
        { propose = { campaign = "nudge", push = "come back" },
          deferred = [{ push = "2026-03-02T09:00" }] },
        { event = "OnEndRegistration", suppressed = [{ push = "cancelled" }] },
        { at = "2026-03-02T09:00", nothing = true },
        "#,
    );
}

#[test]
fn the_environments_allow_list_holds() {
    let text = steps(
        "{ propose = { campaign = \"welcome\", push = \"a\" }, suppressed = [{ push = \
         \"not-listed\" }] },\n{ propose = { campaign = \"welcome\", push = \"a\" }, customer = \
         \"101\", passed = [\"push\"] }",
    );
    assert!(run(&text, "staging")[0].is_passed());
    assert!(!run(&text, "prod")[0].is_passed());
}

#[test]
fn a_result_that_is_not_expected_fails_with_the_difference() {
    let text = steps(
        "{ propose = { campaign = \"welcome\", push = \"a\", sms = \"b\" }, passed = [\"push\", \
         \"sms\"] },\n{ advance = \"1h\", nothing = true }",
    );
    let [report] = &run(&text, "prod")[..] else { panic!("one scenario") };
    assert!(!report.is_passed());
    let [step] = &report.steps[..] else { panic!("the next step is not run") };
    assert_eq!((step.line, &*step.what), (5, "propose welcome push, welcome sms"));
    assert_eq!(
        step.mismatches,
        ["- sms: passed", "+ welcome sms: suppressed (consent-unknown sms of Mailings)",]
    );
    assert_eq!(step.messages[0], "welcome push: passed");
    // A step without expectations checks nothing.
    passes("{ propose = { campaign = \"welcome\", push = \"a\", sms = \"b\" } }");
    let unexpected =
        steps("{ propose = { campaign = \"welcome\", push = \"a\" }, nothing = true }");
    assert!(!run(&unexpected, "prod")[0].is_passed());
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let text = r#"
starts = "noon"

[[scenario]]
name = "one"
stepps = []
steps = [
    { propose = { campaign = "big-baskett", push = "a" }, passed = ["pushh"] },
    { propose = { campaign = "welcome" } },
    { propose = { push = "a" } },
    { event = "OnPurchaseConfirmm", nothing = true },
    { propose = { campaign = "welcome", push = "a" }, suppressed = [{ push = "capp" }] },
    { propose = { campaign = "welcome", push = "a" }, deferred = [{ push = "soon" }] },
    { consent = { smss = "Enabled" } },
    { zone = "Asia/Nowhere" },
    { at = "2025-12-31T00:00" },
    { at = "2026-03-01T00:00", advance = "1h" },
    { passed = ["push"] },
]

[[scenario]]
steps = "none"
"#;
    let mistakes = parsed(text).unwrap_err();
    insta::assert_snapshot!(mistakes.join("\n"));
}

/// Staging writes to customer 101 alone, so the results tell whom an event is about.
#[test]
fn a_step_keeps_the_customer_whom_it_names_itself() {
    let listed = "passed = [\"mail\"]";
    let not_listed = "suppressed = [{ mail = \"not-listed\" }]";
    let body = r#"body = '{"eventCode":"Other","customerInfo":{"customerId":"101"}}'"#;
    let of_sample = r#"event = "OnPurchaseConfirm""#;
    for (named, step, expected) in [
        ("", body.to_owned(), listed),
        ("", format!("{body}, customer = \"7\""), not_listed),
        ("customer = \"7\"", body.to_owned(), not_listed),
        ("", of_sample.to_owned(), not_listed),
        ("", format!("{of_sample}, set = {{ customer_id = \"101\" }}"), listed),
        ("customer = \"101\"", format!("{of_sample}, set = {{ amount = 99 }}"), listed),
        ("customer = \"101\"", format!("{of_sample}, without = [\"customer_id\"]"), not_listed),
    ] {
        let propose = "propose = { campaign = \"welcome\", mail = \"a\" }";
        let text = format!(
            "[[scenario]]\nname = \"one\"\n{named}\nsteps = [{{ {step}, {propose}, {expected} }}]"
        );
        let reports = run(&text, "staging");
        assert!(reports[0].is_passed(), "{text}\n{reports:#?}");
    }
}

#[test]
fn keys_without_effect_are_refused() {
    let text = steps(
        r#"
        { propose = { campaign = "welcome", push = "a" }, set = { amount = 5 } },
        { propose = { campaign = "welcome", push = "a" }, without = ["amount"] },
        { propose = { campaign = "welcome", push = "a" }, subscription = "News" },
        { advance = "1h", customer = "7" },
        { consent = { sms = "Enabled" }, subscription = "News", customer = "7" },
        "#,
    );
    insta::assert_snapshot!(parsed(&text).unwrap_err().join("\n"));
}

#[test]
fn steps_that_the_policies_do_not_read_are_refused() {
    let policies = Policies::parse(b"time_zone = \"Europe/Moscow\"\n").unwrap();
    let text = steps("{ consent = { sms = \"Enabled\" } },\n{ zone = \"Asia/Omsk\" }");
    let problems = PolicyScenarios::parse("s.toml", &text, &policies, &campaigns()).unwrap_err();
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(5), Some(6)]);
    assert!(parsed(&"x".repeat(70_000)).unwrap_err()[0].contains("the most is 65536"));
}
