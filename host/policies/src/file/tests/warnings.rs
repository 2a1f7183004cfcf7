//! Tests of warnings.

use super::*;

/// The campaigns that [`WHOLE`] names.
const ALL: [&str; 6] = [
    "abandoned-registration",
    "big-basket",
    "birthday",
    "card-security",
    "merge-notice",
    "win-back",
];

fn warnings(policies: &Policies, campaigns: &[&str]) -> Vec<String> {
    let warnings = policies.warnings(campaigns.iter().copied());
    assert!(warnings.iter().all(|warning| warning.line.is_none()));
    warnings.iter().map(shown_mistake).collect()
}

#[test]
fn names_without_a_campaign_are_reported_with_the_nearest_one() {
    let policies = Policies::parse(WHOLE.as_bytes()).unwrap();
    assert_eq!(warnings(&policies, &ALL), Vec::<String>::new());
    assert_eq!(
        warnings(&policies, &["abandoned-registration", "big-baskets", "birthdays", "winback"]),
        [
            "[campaigns.big-basket] is for campaign `big-basket`, which does not exist (did you \
             mean `big-baskets`?)",
            "[campaigns.card-security] is for campaign `card-security`, which does not exist \
             (correct the name, or remove it)",
            "[campaigns.merge-notice] is for campaign `merge-notice`, which does not exist \
             (correct the name, or remove it)",
            "cap `birthday-once` is for campaign `birthday`, which does not exist (did you mean \
             `birthdays`?)",
            "control group `again` is for campaign `win-back`, which does not exist (did you mean \
             `winback`?)",
        ]
    );
}

#[test]
fn a_code_that_is_nearly_a_known_one_is_reported() {
    let codes = "[\"OnEndRegistraton\", \"OnPurchase\", \"OurOwnEvent\"]";
    let text = WHOLE.replace("[\"OnEndRegistration\"]", codes);
    let policies = Policies::parse(text.as_bytes()).unwrap();
    assert_eq!(
        warnings(&policies, &ALL),
        ["`cancel_on` of campaign `abandoned-registration` has `OnEndRegistraton`, which is not \
             a known event (did you mean `OnEndRegistration`?)"]
    );
}

#[test]
fn warnings_are_bounded() {
    let campaigns: String = (0..50).map(|index| format!("[campaigns.a{index}]\n")).collect();
    assert_eq!(warnings(&parsed(&campaigns), &[]).len(), MISTAKES_MAX);
}
