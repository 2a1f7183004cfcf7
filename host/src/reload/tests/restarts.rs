//! What survives a restart, and which damaged or foreign state a start refuses.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::reload::{ReloadError, Target};
use crate::store::MemoryStore;

fn refusal(world: &World) -> ReloadError {
    Owner::open(&world.config, world.stage.clone(), world.health.clone(), None).unwrap_err()
}

#[test]
fn a_campaign_whose_file_is_bad_runs_its_last_good_version_after_a_restart() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 7"));
    world.write("welcome.wasm", rule("1.0.0"));
    drop(world.open());
    let params = world.campaign("big").spec.params;
    world.write("big.toml", "mode = ");
    world.write("modules/basket.wasm", "garbage");
    world.write("welcome.wasm", unfit_rule("2.0.0"));
    let (owner, report) = world.open_with_report();
    assert_eq!(world.running(), ["big 1.0.0", "welcome 1.0.0"]);
    assert_eq!((world.campaign("big").spec.params, report.problems.len()), (params, 2));
    assert_eq!(owner.state("welcome"), CampaignState::Running);
    assert!(world.is_ready());
}

#[test]
fn a_campaign_that_another_directory_cannot_run_does_not_run_in_its_old_version() {
    let mut world = World::new();
    world.write("good.wasm", rule("1.0.0"));
    for name in ["typo", "missing", "pinned"] {
        world.write(&format!("{name}.wasm"), rule("1.0.0"));
    }
    drop(world.open());
    world.config.rules = world.root.path().join("other.d");
    fs::create_dir_all(world.path("modules")).unwrap();
    world.write("good.wasm", rule("2.0.0"));
    world.write("typo.toml", "mode = ");
    world.write("missing.toml", campaign("modules/none.wasm", ""));
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("pinned.toml", campaign("modules/basket.wasm", "digest = \"0123456789abcdef\""));
    for _ in 0..2 {
        let (owner, report) = world.open_with_report();
        assert_eq!(world.running(), ["good 2.0.0"], "{report:?}");
        assert_eq!(owner.state("typo"), CampaignState::Failed);
        assert_eq!(owner.state("pinned"), CampaignState::Waiting);
    }
}

#[test]
fn a_tested_version_is_not_tested_again_after_a_restart_under_the_same_terms() {
    let mut world = World::new();
    world.write("one.wasm", rule("1.0.0"));
    world.write("two.wasm", rule("1.0.0"));
    let checked = |world: &World| {
        drop(world.open());
        let mut seen = world.stage.seen.lock().unwrap();
        (std::mem::take(&mut seen.admissions), std::mem::take(&mut seen.untried))
    };
    assert_eq!(checked(&world), (2, 0));
    assert_eq!(checked(&world), (2, 2));
    // Another version is tested. The accepted one, which is restored before the directory is
    // read, is not.
    world.write("two.wasm", rule("2.0.0"));
    assert_eq!(checked(&world), (3, 2));
    assert_eq!(checked(&world), (2, 2));
    world.stage.terms = "another engine";
    assert_eq!(checked(&world), (2, 0));
    assert_eq!(checked(&world), (2, 2));
}

#[test]
fn a_change_during_the_downtime_is_loaded_at_the_restart() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    drop(world.open());
    world.write("welcome.wasm", rule("2.0.0"));
    world.write("other.wasm", rule("1.0.0"));
    let (_owner, report) = world.open_with_report();
    assert_eq!(
        (report.changed, report.added),
        (vec!["welcome".to_owned()], vec!["other".to_owned()])
    );
    assert_eq!(world.running(), ["other 1.0.0", "welcome 2.0.0"]);
}

#[test]
fn rule_set_numbers_continue_after_a_restart() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let (owner, first) = world.open_with_report();
    drop(owner);
    let (_owner, second) = world.open_with_report();
    assert!(second.rule_set > first.rule_set);
    let numbers: Vec<u64> =
        world.stage.seen.lock().unwrap().swaps.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [first.rule_set, second.rule_set]);
}

#[test]
fn removals_during_the_downtime_follow_the_same_rule() {
    let world = World::new();
    for name in ["one", "two", "three"] {
        world.write(&format!("{name}.wasm"), rule("1.0.0"));
    }
    drop(world.open());
    world.remove("one.wasm");
    drop(world.open());
    assert_eq!(world.running(), ["three 1.0.0", "two 1.0.0"]);
    fs::remove_dir_all(&world.config.rules).unwrap();
    let (mut owner, report) = world.open_with_report();
    assert_eq!(report.withheld_removals, ["three", "two"]);
    assert_eq!((world.running().len(), world.is_ready()), (2, false));
    fs::create_dir(&world.config.rules).unwrap();
    assert_eq!(owner.changed().withheld_removals, ["three", "two"]);
}

#[test]
fn the_first_start_needs_a_directory_and_reports_a_missing_campaign() {
    let world = World::new();
    fs::remove_dir_all(&world.config.rules).unwrap();
    assert!(matches!(refusal(&world), ReloadError::NoDirectory { .. }));
    fs::write(&world.config.rules, "a file").unwrap();
    assert!(matches!(refusal(&world), ReloadError::Directory(_)));
    fs::remove_file(&world.config.rules).unwrap();
    fs::create_dir(&world.config.rules).unwrap();
    let mut owner = world.open();
    assert!(world.health.problems()["rules"].contains("no campaign runs"));
    world.write("welcome.wasm", rule("1.0.0"));
    owner.changed();
    assert!(world.is_ready());
}

#[test]
fn a_damaged_ledger_is_refused() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    drop(world.open());
    let whole = fs::read(world.ledger_file("active")).unwrap();
    for spot in [0, 64, 65, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[spot] ^= 1;
        fs::write(world.ledger_file("active"), damaged).unwrap();
        let error = refusal(&world);
        assert!(matches!(error, ReloadError::Damaged { .. }), "{spot}: {error}");
    }
    for length in [0, 10, whole.len() - 5] {
        fs::write(world.ledger_file("active"), &whole[..length]).unwrap();
        assert!(matches!(refusal(&world), ReloadError::Damaged { .. }), "{length}");
    }
    fs::write(world.ledger_file("active"), whole).unwrap();
    world.open();
}

#[test]
fn a_damaged_stored_module_is_never_run() {
    let world = World::new();
    let module = rule("1.0.0");
    world.write("welcome.wasm", &module);
    world.write("other.wasm", rule("1.0.1"));
    drop(world.open());
    fs::write(world.ledger_file(&digest(&module)), rule("6.6.6")).unwrap();

    // The directory still contains the module, so it is read from there.
    let owner = world.open();
    assert_eq!(
        (world.running(), world.is_ready()),
        (vec!["other 1.0.1".to_owned(), "welcome 1.0.0".into()], true)
    );
    assert_eq!(
        fs::read(world.ledger_file(&digest(&module))).unwrap(),
        *module,
        "it is stored again"
    );
    drop(owner);

    // The directory lacks it: the others run, and the engine is not ready.
    fs::write(world.ledger_file(&digest(&module)), rule("6.6.6")).unwrap();
    world.write("welcome.wasm", "garbage");
    let (mut owner, _) = world.open_with_report();
    assert_eq!(
        (world.running(), owner.state("welcome")),
        (vec!["other 1.0.1".to_owned()], CampaignState::Failed)
    );
    assert!(world.health.problems()["rules"].contains("`welcome`"));
    world.write("welcome.wasm", rule("1.1.0"));
    owner.changed();
    assert!(world.is_ready());
}

#[test]
fn two_engines_do_not_share_a_data_directory() {
    let world = World::new();
    let owner = world.open();
    assert!(matches!(refusal(&world), ReloadError::InUse { .. }));
    drop(owner);
    world.open();
}

#[test]
fn a_data_directory_that_others_can_write_is_refused() {
    let world = World::new();
    drop(world.open());
    let directory = world.config.data.join("rules");
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        fs::metadata(world.ledger_file("active")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o770)).unwrap();
    let error = refusal(&world);
    assert!(error.to_string().contains("other users can write it"), "{error}");
    fs::remove_dir_all(&directory).unwrap();
    symlink("/tmp", &directory).unwrap();
    assert!(refusal(&world).to_string().contains("not a directory"));
}

#[test]
fn unused_versions_are_deleted() {
    let world = World::new();
    let versions: Vec<_> = ["1.0.0", "2.0.0", "3.0.0", "4.0.0"].map(rule).into();
    world.write("welcome.wasm", &versions[0]);
    let mut owner = world.open();
    for version in &versions[1..] {
        world.write("welcome.wasm", version);
        owner.changed();
    }
    let is_stored = |version: &Arc<[u8]>| world.ledger_file(&digest(version)).exists();
    assert_eq!(
        versions.iter().map(is_stored).collect::<Vec<_>>(),
        [true, false, true, true],
        "the first is the target of an automatic rollback"
    );
    drop(owner);
    fs::write(world.ledger_file(".unfinished-x"), "left by a crash").unwrap();
    world.open();
    assert!(!world.ledger_file(".unfinished-x").exists());
}

#[test]
fn a_load_that_cannot_write_the_ledger_changes_nothing() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let mut owner = world.open();
    // Renaming a file over a directory fails for every user.
    fs::remove_file(world.ledger_file("active")).unwrap();
    fs::create_dir(world.ledger_file("active")).unwrap();
    world.write("welcome.wasm", rule("2.0.0"));
    let report = owner.changed();
    assert!(report.problems[0].reason.contains("cannot write the ledger"), "{:?}", report.problems);
    assert_eq!((world.running(), world.is_ready()), (vec!["welcome 1.0.0".to_owned()], false));
    fs::remove_dir(world.ledger_file("active")).unwrap();
    assert_eq!(owner.changed().changed, ["welcome"]);
    assert!(world.is_ready());
}

#[test]
fn a_pause_that_cannot_be_written_holds_until_the_restart() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let mut owner = world.open();
    fs::remove_file(world.ledger_file("active")).unwrap();
    fs::create_dir(world.ledger_file("active")).unwrap();
    let answer = owner.pause(&Target::All).unwrap_err();
    assert!(answer.contains("until the next restart"), "{answer}");
    assert_eq!((world.running().len(), owner.state("welcome")), (0, CampaignState::Paused));
}

/// An empty data directory beside a store: another host, after a restore.
#[test]
fn a_restored_store_contains_pauses_suspensions_and_rollbacks() {
    let mut world = World::new();
    world.store = Some(Arc::new(MemoryStore::new("test")));
    world.write("one.wasm", rule("1.0.0"));
    world.write("two.wasm", rule("1.0.0"));
    world.write("three.wasm", rule("1.0.0"));
    let mut owner = world.open();
    world.write("two.wasm", rule("2.0.0"));
    owner.changed();
    owner.rollback("two").unwrap();
    owner.pause(&Target::Campaign("one".into())).unwrap();
    owner.suspend("three", world.campaign("three").generation, "two runs differed");
    drop(owner);
    fs::remove_dir_all(&world.config.data).unwrap();
    let owner = world.open();
    assert_eq!(world.running(), ["two 1.0.0"]);
    assert_eq!(
        (owner.state("one"), owner.state("three")),
        (CampaignState::Paused, CampaignState::Suspended)
    );
    assert_eq!(owner.status("two").refused_digest, Some(digest(&rule("2.0.0"))));
    // A file that the ledger no longer names is deleted from the copy, too.
    assert!(world.ledger_file(&digest(&rule("1.0.0"))).exists());
}

/// Another path of the rules directory after a restore does not confirm removals.
#[test]
fn a_restored_store_keeps_campaigns_that_the_directory_lacks_under_any_path() {
    let mut world = World::new();
    world.store = Some(Arc::new(MemoryStore::new("test")));
    for name in ["one", "two", "three"] {
        world.write(&format!("{name}.wasm"), rule("1.0.0"));
    }
    drop(world.open());
    fs::remove_dir_all(&world.config.data).unwrap();
    world.config.rules = world.root.path().join("elsewhere.d");
    fs::create_dir(&world.config.rules).unwrap();
    world.write("one.wasm", rule("1.0.0"));
    let (_owner, report) = world.open_with_report();
    assert_eq!(report.withheld_removals, ["three", "two"]);
    assert_eq!((world.running().len(), world.is_ready()), (3, false));
}

#[test]
fn a_start_with_another_directory_uses_it_and_keeps_the_pauses() {
    let mut world = World::new();
    for name in ["one", "two", "three"] {
        world.write(&format!("{name}.wasm"), rule("1.0.0"));
    }
    let mut owner = world.open();
    owner.pause(&Target::Campaign("one".into())).unwrap();
    drop(owner);
    let other = world.root.path().join("other.d");
    fs::create_dir(&other).unwrap();
    world.config.rules = other;
    world.write("one.wasm", rule("1.0.0"));
    world.write("four.wasm", rule("1.0.0"));
    world.config.source = "-".into();
    let (owner, report) = world.open_with_report();
    assert_eq!(
        (report.removed, world.running()),
        (vec!["three".to_owned(), "two".into()], vec!["four 1.0.0".to_owned()])
    );
    assert_eq!(owner.state("one"), CampaignState::Paused);
    drop(owner);
    world.config.rules = world.root.path().join("nowhere.d");
    assert!(matches!(
        Owner::open(&world.config, world.stage.clone(), world.health.clone(), None).unwrap_err(),
        ReloadError::NoDirectory { .. }
    ));
}

#[test]
fn a_directory_is_recognised_under_another_name_and_behind_a_link() {
    let is_guarded = |world: &World| match refusal(world) {
        ReloadError::Removed { gone, .. } => gone == ["old"],
        _ => false,
    };
    let with_link = || {
        let mut world = World::new();
        world.config.source = "-".into();
        world.write("old.wasm", rule("1.0.0"));
        let link = world.root.path().join("current.d");
        symlink(&world.config.rules, &link).unwrap();
        (world, link)
    };
    let (mut world, link) = with_link();
    drop(world.open());
    world.remove("old.wasm");
    world.write("new.wasm", rule("1.0.0"));
    world.config.rules = link;
    assert!(is_guarded(&world), "one directory under two names");

    // A link to the newest release resolves to another directory each time.
    let (mut world, link) = with_link();
    world.config.rules = link.clone();
    drop(world.open());
    let release = world.root.path().join("release.d");
    fs::create_dir(&release).unwrap();
    fs::remove_file(&link).unwrap();
    symlink(&release, &link).unwrap();
    world.write("new.wasm", rule("1.0.0"));
    assert!(is_guarded(&world), "one name of two directories");
}

#[test]
fn a_run_over_a_file_stops_if_campaigns_are_gone() {
    let mut world = World::new();
    world.config.source = "-".into();
    world.write("old.wasm", rule("1.0.0"));
    drop(world.open());
    world.remove("old.wasm");
    world.write("new.wasm", rule("1.0.0"));
    let refused = refusal(&world);
    assert!(matches!(&refused, ReloadError::Removed { gone, .. } if gone == &["old"]), "{refused}");
    assert!(refused.to_string().contains("--allow-removals"), "{refused}");
    world.config.allow_removals = true;
    drop(world.open());
    assert_eq!(world.running(), ["new 1.0.0"]);
}
