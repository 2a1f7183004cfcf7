//! Names, links, sizes and kinds of files.

use rustix::fs::{CWD, FileType, Mode as FileMode, mknodat};

use super::*;

#[test]
fn files_with_invalid_names_are_refused_and_hidden_files_are_ignored() {
    let world = World::new();
    world.write("Welcome.wasm", rule("1.0.0"));
    world.write("big basket.toml", "");
    world.write("-x.wasm", rule("1.0.0"));
    for ignored in [".hidden.wasm", ".big.toml.swp", "README.md", "big.toml.bak", "big.toml~"] {
        world.write(ignored, "anything");
    }
    let (owner, report) = world.open_with_report();
    let files: Vec<&str> = report.problems.iter().map(|problem| &*problem.file).collect();
    assert_eq!(files, ["-x.wasm", "Welcome.wasm", "big basket.toml"]);
    assert_eq!(owner.statuses(), []);
}

#[test]
fn a_module_with_any_name_may_be_named_by_a_campaign_file() {
    let world = World::new();
    world.write("Basket V2.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("Basket V2.wasm", ""));
    let (_owner, report) = world.open_with_report();
    assert_eq!((report.problems, world.running()), (vec![], vec!["big 1.0.0".to_owned()]));
}

#[test]
fn a_link_out_of_the_directory_is_refused() {
    let world = World::new();
    let outside = world.root.path().join("outside.wasm");
    fs::write(&outside, rule("1.0.0")).unwrap();
    world.link(outside.to_str().unwrap(), "welcome.wasm");
    world.link("../outside.wasm", "modules.wasm");
    world.write("big.toml", campaign("modules/../../outside.wasm", ""));
    let (mut owner, report) = world.open_with_report();
    let reasons: Vec<&str> = report.problems.iter().map(|problem| &*problem.reason).collect();
    assert_eq!(reasons[0], "the module `modules/../../outside.wasm` leaves the rules directory");
    // Bare modules are not read while a campaign file is unreadable.
    world.remove("big.toml");
    let problems = owner.changed().problems;
    assert_eq!(problems.len(), 2);
    assert!(
        problems
            .iter()
            .all(|problem| problem.reason == "a symbolic link leads out of the rules directory")
    );
    assert_eq!(world.running(), Vec::<String>::new());
}

#[test]
fn a_kubernetes_config_map_is_swapped_by_one_link() {
    let world = World::new();
    let publish = |revision: &str, version: &str| {
        fs::create_dir(world.path(revision)).unwrap();
        world.write(&format!("{revision}/basket.wasm"), rule(version));
        world.write(&format!("{revision}/big.toml"), campaign("basket.wasm", ""));
        world.link(revision, "..data");
    };
    publish("..2026_1", "1.0.0");
    world.link("..data/big.toml", "big.toml");
    world.link("..data/basket.wasm", "basket.wasm");
    let mut owner = world.open();
    assert_eq!(world.running(), ["big 1.0.0"]);
    publish("..2026_2", "2.0.0");
    fs::remove_dir_all(world.path("..2026_1")).unwrap();
    assert_eq!(owner.changed().changed, ["big"]);
    assert_eq!(world.running(), ["big 2.0.0"]);
}

#[test]
fn a_rules_directory_that_is_a_link_may_be_switched() {
    let mut world = World::new();
    let (blue, green) = (world.root.path().join("rules.d"), world.root.path().join("green"));
    world.write("welcome.wasm", rule("1.0.0"));
    fs::create_dir(&green).unwrap();
    fs::write(green.join("welcome.wasm"), rule("2.0.0")).unwrap();
    world.config.rules = world.root.path().join("current");
    symlink(&blue, &world.config.rules).unwrap();
    let mut owner = world.open();
    fs::remove_file(&world.config.rules).unwrap();
    symlink(&green, &world.config.rules).unwrap();
    owner.changed();
    assert_eq!(world.running(), ["welcome 2.0.0"]);
}

#[test]
fn files_that_are_not_regular_are_refused_without_blocking() {
    let world = World::new();
    mknodat(CWD, world.path("pipe.wasm"), FileType::Fifo, FileMode::RWXU, 0).unwrap();
    fs::create_dir(world.path("folder.toml")).unwrap();
    world.link("nowhere", "dangling.toml");
    let (owner, report) = world.open_with_report();
    assert_eq!(report.problems.len(), 3, "{:?}", report.problems);
    assert!(owner.statuses().iter().all(|status| status.state == CampaignState::Failed));
}

#[test]
fn a_file_that_is_too_large_is_not_read_to_its_end() {
    let world = World::new();
    world.write("big.toml", campaign("modules/huge.wasm", ""));
    fs::File::create(world.path("modules/huge.wasm")).unwrap().set_len(50 << 20).unwrap();
    fs::File::create(world.path("huge-file.toml")).unwrap().set_len(50 << 20).unwrap();
    let (_owner, report) = world.open_with_report();
    let reasons: Vec<&str> = report.problems.iter().map(|problem| &*problem.reason).collect();
    assert!(reasons.iter().any(|reason| {
        reason.contains("the module modules/huge.wasm: it has 52428800 bytes, the most is 1048576")
    }));
    assert!(
        reasons.iter().any(|reason| reason.contains("it has 52428800 bytes, the most is 65536"))
    );
}

#[test]
fn a_directory_with_too_many_campaigns_changes_nothing() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let mut owner = world.open();
    for index in 0..10_000 {
        fs::write(world.path(&format!("c{index}.toml")), "").unwrap();
    }
    world.write("welcome.wasm", rule("2.0.0"));
    let report = owner.changed();
    assert_eq!(report.problems[0].reason, "the rules directory has more than 10000 campaigns");
    assert_eq!((world.running(), world.is_ready()), (vec!["welcome 1.0.0".to_owned()], false));
}

#[test]
fn a_campaign_file_that_is_not_utf8_is_refused_at_its_line() {
    let world = World::new();
    world.write("big.toml", b"mode = \"live\"\n# \xff\n");
    let (_owner, report) = world.open_with_report();
    assert_eq!(
        (report.problems[0].line, &*report.problems[0].reason),
        (Some(2), "the file is not UTF-8")
    );
}
