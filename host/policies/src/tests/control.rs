//! Tests of control groups.

use super::*;

fn members(group: &ControlGroup) -> Vec<u32> {
    (0..20_000).filter(|number| group.has(customer(*number))).collect()
}

#[test]
fn a_group_has_its_share_of_the_customers() {
    let count = members(&group("holdout", "2026", 500)).len();
    assert!((900..1100).contains(&count), "{count} of 20,000 is far from 5%");
    assert_eq!(members(&group("holdout", "2026", 0)).len(), 0);
    assert_eq!(members(&group("holdout", "2026", 10_000)).len(), 20_000);
}

#[test]
fn a_group_that_grows_or_gets_another_name_keeps_all_members() {
    let before = members(&group("holdout", "2026", 500));
    let mut after = group("another", "2026", 1000);
    after.campaigns = Some(names(&["win-back"]));
    let after = members(&after);
    assert!(before.iter().all(|member| after.binary_search(member).is_ok()));
    assert!(before.len() < after.len());
}

#[test]
fn another_salt_chooses_other_members() {
    let (one, other) =
        (members(&group("holdout", "2026", 500)), members(&group("holdout", "2027", 500)));
    let both = one.iter().filter(|member| other.binary_search(member).is_ok()).count();
    assert!(both < 120, "{both} of {} are in both, where about 50 are expected", one.len());
}

/// These members must never change: customers would move between groups with an update.
#[test]
fn the_members_of_a_salt_are_the_same_in_every_version() {
    let first: Vec<_> = members(&group("holdout", "2026", 500)).into_iter().take(8).collect();
    assert_eq!(first, [3, 7, 32, 72, 108, 111, 138, 145]);
}
