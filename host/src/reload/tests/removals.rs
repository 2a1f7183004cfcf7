//! When campaigns leave, and when they stay although their files are gone.

use super::*;

fn three(world: &World) {
    for name in ["one", "two", "three"] {
        world.write(&format!("{name}.wasm"), rule("1.0.0"));
    }
}

#[test]
fn up_to_half_of_the_campaigns_leave_with_their_files() {
    let world = World::new();
    three(&world);
    world.write("four.wasm", rule("1.0.0"));
    let mut owner = world.open();
    world.remove("one.wasm");
    world.remove("two.wasm");
    assert_eq!(owner.changed().removed, ["one", "two"]);
    assert_eq!(world.running(), ["four 1.0.0", "three 1.0.0"]);
    assert!(world.is_ready());
}

#[test]
fn losing_more_than_half_of_the_campaigns_changes_nothing_until_confirmed() {
    let world = World::new();
    three(&world);
    let mut owner = world.open();
    world.remove("one.wasm");
    world.remove("two.wasm");
    world.write("three.wasm", rule("2.0.0"));
    world.write("new.wasm", rule("1.0.0"));
    let swaps = world.swaps();
    for report in [owner.changed(), owner.changed(), owner.asked()] {
        assert_eq!(report.withheld_removals, ["one", "two"]);
        assert!(!report.has_changes());
    }
    assert_eq!(world.swaps(), swaps);
    assert_eq!(world.running(), ["one 1.0.0", "three 1.0.0", "two 1.0.0"]);
    assert!(world.health.problems()["rules"].contains("--allow-removals"));
    assert_eq!(owner.status("one").file, None);

    let report = checked(owner.load(CONFIRMED));
    assert_eq!(
        (report.removed, report.added),
        (vec!["one".to_owned(), "two".to_owned()], vec!["new".to_owned()])
    );
    assert_eq!(world.running(), ["new 1.0.0", "three 2.0.0"]);
    assert!(world.is_ready());
}

#[test]
fn campaigns_that_come_back_end_the_withholding() {
    let world = World::new();
    three(&world);
    let mut owner = world.open();
    for name in ["one", "two", "three"] {
        world.remove(&format!("{name}.wasm"));
    }
    assert_eq!(owner.changed().withheld_removals.len(), 3);
    three(&world);
    let report = owner.changed();
    assert_eq!((report.unchanged, report.problems.len(), world.is_ready()), (3, 0, true));
    assert_eq!(owner.status("one").file.as_deref(), Some("one.wasm"));
}

#[test]
fn the_only_campaign_does_not_leave_without_confirmation() {
    let world = World::new();
    world.write("one.wasm", rule("1.0.0"));
    let mut owner = world.open();
    world.remove("one.wasm");
    assert_eq!(owner.changed().withheld_removals, ["one"]);
    assert_eq!(checked(owner.load(CONFIRMED)).removed, ["one"]);
    assert_eq!(world.running(), Vec::<String>::new());
    assert!(!world.is_ready(), "an engine without campaigns decides nothing");
}

#[test]
fn a_directory_that_vanishes_and_comes_back_changes_nothing() {
    let world = World::new();
    three(&world);
    let mut owner = world.open();
    let away = world.root.path().join("away");
    fs::rename(&world.config.rules, &away).unwrap();
    let report = owner.changed();
    assert_eq!(
        (report.withheld_removals.len(), world.running().len(), world.is_ready()),
        (3, 3, false)
    );
    fs::rename(&away, &world.config.rules).unwrap();
    assert_eq!(owner.changed().unchanged, 3);
    assert!(world.is_ready());
    fs::remove_dir_all(&world.config.rules).unwrap();
    assert_eq!(checked(owner.load(CONFIRMED)).removed.len(), 3);
}

#[test]
fn an_unreadable_directory_changes_nothing_even_if_removals_are_allowed() {
    let world = World::new();
    three(&world);
    let mut owner = world.open();
    fs::remove_dir_all(&world.config.rules).unwrap();
    fs::write(&world.config.rules, "a file").unwrap();
    let report = checked(owner.load(CONFIRMED));
    assert_eq!((report.problems.len(), report.removed.len(), world.running().len()), (1, 0, 3));
    assert!(!world.is_ready());
}

#[test]
fn a_campaign_with_a_bad_file_does_not_count_as_removed() {
    let world = World::new();
    three(&world);
    let mut owner = world.open();
    for name in ["one", "two", "three"] {
        world.write(&format!("{name}.wasm"), "garbage");
    }
    let report = owner.changed();
    assert_eq!(
        (report.withheld_removals.len(), report.problems.len(), world.running().len()),
        (0, 3, 3)
    );
}
