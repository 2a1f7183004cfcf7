//! The file `policies.toml`: when it applies, when the last good one stays, and when it leaves.

use super::*;
use crate::reload::{PoliciesChange, ReloadError};
use crate::store::MemoryStore;

/// A file of 14 lines, whose last one is the maximum of the cap `day`.
fn policies(max: &str) -> String {
    format!(
        "# The policies of the shop.\ntime_zone = \"Europe/Moscow\"\n\n[[quiet_hours]]\nname = \
         \"night\"\nfrom = \"22:00\"\nto = \"09:00\"\nchannels = [\"sms\"]\nthen = \"drop\"\n\n\
         [[cap]]\nname = \"day\"\nper = \"day\"\n{max}\n"
    )
}

const GOOD: &str = "max = 2";
const TYPO: &str = "maxx = 2";

/// A world with the campaign `old` and good policies.
fn world() -> World {
    let world = World::new();
    world.write("old.wasm", rule("1.0.0"));
    world.write("policies.toml", policies(GOOD));
    world
}

impl World {
    /// The maximum of the first cap of the policies that apply; `None` without policies.
    fn cap_max(&self) -> Option<u32> {
        let seen = self.stage.seen.lock().unwrap();
        seen.policies.as_ref().map(|policies| policies.caps[0].max)
    }

    fn refusal(&self) -> ReloadError {
        let (stage, health) = (self.stage.clone(), self.health.clone());
        Owner::open(&self.config, stage, health, self.store.clone()).unwrap_err()
    }
}

#[test]
fn policies_and_campaigns_land_in_one_rule_set() {
    let world = world();
    let (mut owner, report) = world.open_with_report();
    assert_eq!((report.policies, report.problems), (Some(PoliciesChange::Added), vec![]));
    assert_eq!((world.swaps(), world.cap_max()), (1, Some(2)));
    assert!(owner.statuses().iter().all(|status| status.name == "old"), "policies is no campaign");
    assert_eq!(owner.policies_status().digest, report.policies_digest);

    world.write("old.wasm", rule("2.0.0"));
    world.write("policies.toml", policies("max = 3"));
    let report = owner.changed();
    assert_eq!(
        (report.policies, &*report.changed),
        (Some(PoliciesChange::Changed), &["old".into()][..])
    );
    assert_eq!((world.swaps(), world.cap_max()), (2, Some(3)));
    assert_eq!(world.running(), ["old 2.0.0"]);
}

#[test]
fn a_change_of_the_policies_alone_is_a_new_rule_set() {
    let world = world();
    let (mut owner, first) = world.open_with_report();
    world.write("policies.toml", policies("max = 3"));
    let second = owner.changed();
    assert!(second.has_changes() && second.rule_set > first.rule_set);
    assert_ne!(second.policies_digest, first.policies_digest);
    assert_eq!((world.swaps(), world.cap_max()), (2, Some(3)));
    let third = owner.changed();
    assert_eq!((third.policies, third.rule_set), (None, second.rule_set));
    assert_eq!(third.policies_digest, second.policies_digest);
}

#[test]
fn with_a_broken_file_the_last_policies_stay_old_campaigns_swap_and_new_ones_wait() {
    let world = world();
    let mut owner = world.open();
    world.write("policies.toml", policies(TYPO));
    world.write("old.wasm", rule("2.0.0"));
    world.write("new.wasm", rule("1.0.0"));
    let report = owner.changed();
    assert_eq!((&*report.changed, &*report.added), (&["old".into()][..], &[][..]));
    assert_eq!((world.running(), world.cap_max()), (vec!["old 2.0.0".to_owned()], Some(2)));
    let at = |problem: &crate::reload::Problem| (problem.file.clone(), problem.line);
    let places: Vec<_> = report.problems.iter().map(at).collect();
    assert!(places.contains(&("policies.toml".into(), Some(14))), "{places:?}");
    assert_eq!(owner.state("new"), CampaignState::Waiting);
    let why = owner.status("new").problem.unwrap().reason;
    assert!(why.contains("waits until the policies can be read: policies.toml:"), "{why}");
    assert!(owner.policies_status().problems.iter().any(|problem| problem.line == Some(14)));
    assert!(world.is_ready(), "the last good policies apply");
    assert_eq!(owner.asked().problems, report.problems);

    world.write("policies.toml", policies("max = 3"));
    assert_eq!(owner.changed().added, ["new"]);
    assert_eq!((owner.policies_status().problems, world.cap_max()), (vec![], Some(3)));
}

#[test]
fn a_file_that_is_too_large_not_text_or_no_file_keeps_the_last_policies() {
    let world = world();
    let mut owner = world.open();
    let broken = |owner: &mut Owner<FakeStage>| {
        let report = owner.changed();
        assert_eq!((report.has_changes(), world.cap_max()), (false, Some(2)));
        assert_eq!(report.problems[0].file, "policies.toml");
        report.problems[0].to_string()
    };
    world.write("policies.toml", policies(&"#".repeat(70_000)));
    assert!(broken(&mut owner).contains("the most is 65536 (shorten it"));
    world.write("policies.toml", b"time_zone = \"UTC\"\n# \xff\n");
    assert!(broken(&mut owner).starts_with("policies.toml:2: not UTF-8"));
    world.link("nowhere", "policies.toml");
    assert!(broken(&mut owner).contains("the file that the link names is not there"));
    world.remove("policies.toml");
    fs::create_dir(world.path("policies.toml")).unwrap();
    assert!(broken(&mut owner).contains("it is not a regular file"));
}

#[test]
fn a_file_that_may_be_half_written_keeps_the_last_policies() {
    let mut world = world();
    world.config.reload.settle_ms = 600_000;
    let mut owner = world.open();
    let whole = policies(GOOD) + "\n[[cap]]\nname = \"week\"\nmax = 5\nper = \"week\"\n";
    world.write("policies.toml", &whole);
    assert_eq!(owner.changed().policies, Some(PoliciesChange::Changed));
    // It is not the beginning of the accepted file, but it lacks the second cap.
    world.write("policies.toml", policies("max = 3"));
    let report = owner.changed();
    assert_eq!((report.policies, world.cap_max()), (None, Some(2)));
    assert!(report.problems[0].reason.contains("waits until the file is whole"));
}

#[test]
fn a_removed_file_changes_nothing_until_the_removal_is_confirmed() {
    let world = world();
    let mut owner = world.open();
    world.remove("policies.toml");
    world.write("old.wasm", rule("2.0.0"));
    for report in [owner.changed(), owner.changed(), owner.asked()] {
        assert_eq!(
            (report.has_changes(), &*report.withheld_removals),
            (false, &["policies.toml".into()][..])
        );
        assert_eq!((world.swaps(), world.cap_max()), (1, Some(2)));
    }
    assert_eq!(owner.policies_status().problems.len(), 1);
    let unready = world.health.problems()["rules"].clone();
    assert!(unready.starts_with("policies.toml is gone from the rules directory; put it back"));
    assert!(unready.contains("--allow-removals"));
    let report = checked(owner.load(CONFIRMED));
    assert_eq!((report.policies, report.policies_digest), (Some(PoliciesChange::Removed), None));
    assert_eq!((world.running(), world.cap_max()), (vec!["old 2.0.0".to_owned()], None));
    assert!(world.is_ready());
    drop(owner);
    let (_owner, report) = world.open_with_report();
    assert_eq!((report.policies, report.problems, world.cap_max()), (None, vec![], None));
}

#[test]
fn a_file_that_comes_back_ends_the_withholding() {
    let world = world();
    let mut owner = world.open();
    world.remove("policies.toml");
    world.remove("old.wasm");
    let report = owner.changed();
    assert_eq!(report.withheld_removals, ["old", "policies.toml"]);
    let reason = &report.problems[0].reason;
    assert_eq!(reason, "policies.toml and 1 of 1 campaigns are gone from the rules directory");
    world.write("old.wasm", rule("1.0.0"));
    world.write("policies.toml", policies(GOOD));
    let report = owner.changed();
    assert_eq!((report.has_changes(), report.problems), (false, vec![]));
    assert!(world.is_ready() && owner.policies_status().problems.is_empty());
}

#[test]
fn a_restart_with_a_broken_or_missing_file_runs_under_the_accepted_policies() {
    let world = world();
    drop(world.open());
    world.write("policies.toml", policies(TYPO));
    let (owner, report) = world.open_with_report();
    assert!(report.problems.iter().any(|problem| problem.line == Some(14)), "{report:?}");
    assert_eq!((world.cap_max(), world.is_ready()), (Some(2), true));
    drop(owner);
    world.remove("policies.toml");
    let (mut owner, report) = world.open_with_report();
    assert_eq!(report.withheld_removals, ["policies.toml"]);
    assert_eq!((world.cap_max(), world.is_ready()), (Some(2), false));
    assert_eq!(owner.pause(&crate::reload::Target::All).unwrap(), ["old"]);
    assert_eq!(world.cap_max(), Some(2), "a pause keeps the policies");
}

#[test]
fn a_start_that_allows_removals_removes_the_policies() {
    let mut world = world();
    drop(world.open());
    world.remove("policies.toml");
    world.config.allow_removals = true;
    let (_owner, report) = world.open_with_report();
    assert_eq!(report.policies, Some(PoliciesChange::Removed));
    assert_eq!((world.cap_max(), world.is_ready()), (None, true));
}

#[test]
fn a_run_over_a_file_refuses_to_start_without_the_accepted_policies() {
    let mut world = world();
    drop(world.open());
    world.config.source = "file:events.jsonl".into();
    world.remove("policies.toml");
    let refusal = world.refusal().to_string();
    assert!(refusal.contains("policies.toml") && refusal.contains("--allow-removals"), "{refusal}");
}

#[test]
fn a_broken_file_refuses_the_first_start_with_all_mistakes() {
    let world = world();
    world.write("policies.toml", policies(TYPO).replace("22:00", "2200"));
    world.write("bad.wasm", "garbage");
    let ReloadError::Policies { problems, .. } = world.refusal() else { panic!("not refused") };
    let lines: Vec<_> = problems.iter().filter(|problem| problem.file == "policies.toml").collect();
    assert!(lines.iter().any(|problem| problem.line == Some(6)), "{problems:?}");
    assert!(lines.iter().any(|problem| problem.line == Some(14)), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.file == "bad.wasm"), "{problems:?}");
    assert!(!problems.iter().any(|problem| problem.file == "old.wasm"), "{problems:?}");
    assert_eq!(world.swaps(), 0);
    world.write("policies.toml", policies(GOOD));
    assert_eq!(world.open_with_report().1.policies, Some(PoliciesChange::Added));
}

#[test]
fn another_directory_runs_under_its_own_policies() {
    let mut world = world();
    drop(world.open());
    world.config.rules = world.root.path().join("other.d");
    fs::create_dir_all(&world.config.rules).unwrap();
    world.write("old.wasm", rule("1.0.0"));
    world.write("policies.toml", policies(TYPO));
    assert!(matches!(world.refusal(), ReloadError::Policies { .. }));
    world.remove("policies.toml");
    let (_owner, report) = world.open_with_report();
    assert_eq!((report.policies, world.cap_max()), (Some(PoliciesChange::Removed), None));
}

#[test]
fn damaged_accepted_policies_need_a_good_file() {
    let world = world();
    let digest = world.open_with_report().1.policies_digest.unwrap();
    fs::write(world.ledger_file(&digest), "damaged").unwrap();
    world.remove("policies.toml");
    let refusal = world.refusal().to_string();
    assert!(refusal.contains("cannot use the stored policies"), "{refusal}");
    world.write("policies.toml", policies(GOOD));
    let (_owner, report) = world.open_with_report();
    assert_eq!((report.problems, world.cap_max()), (vec![], Some(2)));
    assert!(fs::read(world.ledger_file(&digest)).unwrap().starts_with(b"# The"), "repaired");
}

#[test]
fn a_restored_store_has_the_accepted_policies() {
    let mut world = world();
    world.store = Some(Arc::new(MemoryStore::new("test")));
    drop(world.open());
    fs::remove_dir_all(world.config.data.join("rules")).unwrap();
    world.write("policies.toml", policies(TYPO));
    let _owner = world.open();
    assert_eq!(world.cap_max(), Some(2));
}

#[test]
fn only_a_ledger_with_policies_has_the_format_that_older_engines_refuse() {
    let world = World::new();
    world.write("old.wasm", rule("1.0.0"));
    let format = || {
        let text = fs::read_to_string(world.ledger_file("active")).unwrap();
        let ledger: serde_json::Value =
            serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        ledger["format"].as_u64().unwrap()
    };
    let mut owner = world.open();
    assert_eq!(format(), 1);
    world.write("policies.toml", policies(GOOD));
    owner.changed();
    assert_eq!(format(), 2);
    world.remove("policies.toml");
    owner.load(CONFIRMED);
    assert_eq!(format(), 1);
}

#[test]
fn the_name_policies_is_reserved() {
    let world = World::new();
    world.write("policies.wasm", rule("1.0.0"));
    world.write("trial.toml", campaign("modules/a.wasm", "shadow_of = \"policies\""));
    let (_owner, report) = world.open_with_report();
    let reasons: Vec<&str> = report.problems.iter().map(|problem| &*problem.reason).collect();
    assert!(reasons.contains(&"the name `policies` is reserved for policies.toml"), "{reasons:?}");
    let no_campaign = "`shadow_of` is not the name of a campaign: `policies`";
    assert!(reasons.contains(&no_campaign), "{reasons:?}");
    assert_eq!(world.running(), Vec::<String>::new());
}

#[test]
fn a_campaign_that_an_older_engine_accepted_under_the_reserved_name_runs_on() {
    let world = World::new();
    world.write("old.wasm", rule("1.0.0"));
    let mut owner = world.open();
    let entry = owner.campaigns.remove("old").unwrap();
    owner.campaigns.insert("policies".into(), entry);
    world.remove("old.wasm");
    world.write("policies.wasm", rule("1.0.0"));
    let report = owner.asked();
    assert_eq!((report.has_changes(), &*report.withheld_removals), (false, &[][..]));
    assert_eq!(owner.state("policies"), CampaignState::Running);
    assert!(owner.status("policies").problem.unwrap().reason.contains("is reserved"));
}

#[test]
fn a_name_without_a_campaign_is_a_warning() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    world.write("policies.toml", policies(GOOD) + "[campaigns.welcom]\npriority = 1\n");
    let (mut owner, report) = world.open_with_report();
    assert_eq!((report.problems, report.warnings.len()), (vec![], 1));
    let warning = report.warnings[0].to_string();
    assert!(warning.starts_with("policies.toml: [campaigns.welcom]"), "{warning}");
    assert!(warning.contains("`welcome`"), "{warning}");
    assert_eq!(owner.policies_status().warnings, report.warnings);
    world.write("welcom.wasm", rule("1.1.0"));
    assert_eq!(owner.changed().warnings, []);
}
