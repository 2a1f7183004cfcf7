//! The explanation of a judgement: its steps, their facts, and that it agrees with the verdict.

use super::*;
use crate::{Consent, ConsentSource, Step, StepResult};

fn explained(policies: &Policies, row: &PolicyRow, campaign: &str, now: Millis) -> Vec<Step> {
    let ids = ids(164);
    let judge = Judge::new(Some(policies), "prod", now, Some(row));
    judge.explain(Some(row), &candidate(&ids, campaign, SMS, 1))
}

/// The steps as lines: `cap day passes: 1 of 2 …`.
fn lines(steps: &[Step]) -> Vec<String> {
    let line = |step: &Step| {
        let policy = step.policy.as_ref().map(|policy| format!(" {policy}")).unwrap_or_default();
        format!("{}{policy} {:?}: {}", step.name, step.result, step.facts)
    };
    steps.iter().map(line).collect()
}

fn everything() -> Policies {
    let mut policies = Policies {
        consent: with_consent().consent,
        caps: vec![cap("day", 2, Span::Day), cap("own", 1, Span::Rolling(300 * DAY))],
        control: vec![group("holdout", "2026", 500)],
        event_campaigns_max: Some(1),
        ..with_night()
    };
    policies.caps[1].campaigns = Some(names(&["birthday"]));
    policies.allow_lists.insert("test".into(), names(&["101"]));
    set(&mut policies, "receipt", |policy| policy.is_transactional = true);
    set(&mut policies, "loud", |policy| policy.quiet_hours = Some(crate::QuietChoice::Ignore));
    set(&mut policies, "free", |policy| policy.without_caps = vec!["day".into()]);
    policies
}

fn said(is_yes: bool, at: Millis) -> Consent {
    let (subscription, source) = ("Mailings".into(), ConsentSource::Import);
    Consent { subscription, channel: SMS as u8, is_yes, at, source }
}

#[test]
fn every_step_has_its_facts() {
    let noon = moscow("2026-03-01 12:00");
    let row = PolicyRow {
        consents: vec![said(true, moscow("2026-02-01 10:00"))],
        ..row_with([counted(noon - HOUR, "big-basket", 7, Channel::Push)])
    };
    assert_eq!(
        lines(&explained(&everything(), &row, "birthday", noon)),
        [
            "shadow Passes: the campaign is live",
            "no-recipient Passes: the customer is known by an id",
            "not-listed Passes: the environment has no allow list",
            "consent Passes: yes for sms of Mailings, since 2026-02-01 10:00 +03:00, import",
            "control holdout Passes: no member; 5 % are",
            "event-max Passes: 1 may speak on one event; this one has the priority 0",
            "quiet-hours Passes: none for sms at 2026-03-01 12:00 +03:00",
            "cap day Passes: 1 of 2 since 2026-03-01 00:00 +03:00; last: big-basket push",
            "cap own Passes: 0 of 1 since 2025-05-05 12:00 +03:00",
        ]
    );
    let night = moscow("2026-03-01 23:30");
    let steps = explained(&everything(), &no_row(), "loud", night);
    assert_eq!(
        lines(&steps)[3..],
        [
            "consent Suppresses: unknown for sms of Mailings, and `unknown` says \"refuse\"",
            "control holdout Passes: no member; 5 % are",
            "event-max Passes: 1 may speak on one event; this one has the priority 0",
            "quiet-hours night Passes: at 2026-03-01 23:30 +03:00 they hold, and the campaign \
             ignores them",
            "cap day Passes: 0 of 2 since 2026-03-01 00:00 +03:00",
        ]
    );
    let steps = lines(&explained(&everything(), &no_row(), "free", night));
    assert_eq!(
        steps[6..],
        [
            "quiet-hours night Defers: deferred until 2026-03-02 09:00 +03:00",
            "cap day Passes: not for this campaign (`without_caps`)"
        ]
    );
}

#[test]
fn a_transactional_campaign_is_exempt_from_the_steps_about_marketing() {
    let steps = explained(&everything(), &no_row(), "receipt", moscow("2026-03-01 23:30"));
    let exempt = steps.iter().filter(|step| step.result == StepResult::Exempt);
    let exempt: Vec<_> = exempt.map(|step| step.name).collect();
    assert_eq!(exempt, ["consent", "control", "event-max", "quiet-hours", "cap"]);
}

#[test]
fn without_policies_only_the_mode_and_the_recipient_are_steps() {
    let judge = Judge::new(None, "prod", 0, None);
    let steps =
        judge.explain(None, &Candidate { recipient: None, ..candidate(&ids(1), "a", SMS, 1) });
    let results: Vec<_> = steps.iter().map(|step| (step.name, step.result)).collect();
    let expected = [("shadow", StepResult::Passes), ("no-recipient", StepResult::Suppresses)];
    assert_eq!(results, expected);
}

/// The explanation is for people, the verdict for the engine: the first step that decides has to
/// be the verdict's.
#[test]
fn the_first_step_that_decides_is_that_of_the_verdict() {
    let (noon, night) = (moscow("2026-03-01 12:00"), moscow("2026-03-01 23:30"));
    let sent = |count: i64| (0..count).map(|one| counted(noon - one, "a", one, SMS));
    let mut with_members = everything();
    with_members.control[0].basis_points = 9999;
    let mut dropping = everything();
    dropping.quiet_hours[0].defers = false;
    let mut late = everything();
    late.deferral = Some(crate::Deferral { discard_after_ms: HOUR, spread_ms: 0 });
    let mut seen = BTreeSet::new();
    for policies in [everything(), with_members, dropping, late] {
        for consents in [vec![], vec![said(true, noon)], vec![said(false, noon)]] {
            for count in [0, 2] {
                let row = PolicyRow { consents: consents.clone(), ..row_with(sent(count)) };
                for (campaign, now, environment, is_live) in ["a", "birthday", "receipt", "loud"]
                    .into_iter()
                    .flat_map(|name| [(name, noon), (name, night)])
                    .flat_map(|(name, now)| {
                        [("prod", true), ("test", true), ("prod", false)]
                            .map(|(environment, is_live)| (name, now, environment, is_live))
                    })
                {
                    let ids = ids(164);
                    let candidate = Candidate { is_live, ..candidate(&ids, campaign, SMS, 100) };
                    let judge = Judge::new(Some(&policies), environment, now, Some(&row));
                    let verdict = judge.judge(Some(&row), &candidate, At::Decision, now);
                    let steps = judge.explain(Some(&row), &candidate);
                    let first = steps.iter().find(|step| {
                        matches!(step.result, StepResult::Suppresses | StepResult::Defers)
                    });
                    let (expected, policy) = match &verdict {
                        Verdict::Pass => (None, None),
                        Verdict::Defer { policy, .. } => {
                            (Some("quiet-hours"), Some(policy.clone()))
                        }
                        Verdict::Suppress(why) => (Some(why.reason.name()), why.policy.clone()),
                    };
                    let expected = match expected {
                        Some("consent-off" | "consent-unknown") => Some("consent"),
                        other => other,
                    };
                    assert_eq!(first.map(|step| step.name), expected, "{verdict:?} {steps:#?}");
                    assert_eq!(first.and_then(|step| step.policy.clone()), policy);
                    seen.insert(expected);
                }
            }
        }
    }
    let decisive = ["cap", "consent", "control", "not-listed", "quiet-hours", "shadow"];
    let all: BTreeSet<_> = decisive.into_iter().map(Some).chain([None]).collect();
    assert_eq!(seen, all, "each of them decides at least once");
}
