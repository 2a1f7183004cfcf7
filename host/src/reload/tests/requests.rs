//! Pause, resume, suspension and rollback.

use super::*;
use crate::pipeline::Misbehaviour;
use crate::reload::Target;

fn named(name: &str) -> Target {
    Target::Campaign(name.to_owned())
}

fn two(world: &World) -> Owner<FakeStage> {
    world.write("one.wasm", rule("1.0.0"));
    world.write("two.wasm", rule("1.0.0"));
    world.open()
}

#[test]
fn a_paused_campaign_is_not_called_until_it_is_resumed() {
    let world = World::new();
    let mut owner = two(&world);
    assert_eq!(owner.pause(&named("one")).unwrap(), ["one"]);
    assert_eq!(
        (world.running(), owner.state("one")),
        (vec!["two 1.0.0".to_owned()], CampaignState::Paused)
    );
    assert_eq!(owner.pause(&Target::All).unwrap(), ["two"], "one was paused before");
    assert_eq!(world.running(), Vec::<String>::new());
    assert_eq!(owner.resume(&named("two")).unwrap(), ["two"]);
    assert_eq!(owner.resume(&Target::All).unwrap(), ["one"]);
    assert_eq!(world.running(), ["one 1.0.0", "two 1.0.0"]);
}

#[test]
fn a_pause_outlives_new_versions_restarts_and_the_file_itself() {
    let world = World::new();
    let mut owner = two(&world);
    owner.pause(&named("one")).unwrap();
    world.write("one.wasm", rule("2.0.0"));
    owner.changed();
    assert_eq!(owner.status("one").version.unwrap()[..5], *"2.0.0");
    drop(owner);
    let mut owner = world.open();
    assert_eq!(
        (world.running(), owner.state("one")),
        (vec!["two 1.0.0".to_owned()], CampaignState::Paused)
    );
    world.remove("one.wasm");
    assert_eq!(owner.changed().removed, ["one"]);
    world.write("one.wasm", rule("3.0.0"));
    owner.changed();
    assert_eq!(owner.state("one"), CampaignState::Paused);
}

#[test]
fn resume_all_in_a_stopped_engine_keeps_earlier_pauses_by_name() {
    let world = World::new();
    let mut owner = two(&world);
    owner.pause(&named("one")).unwrap();
    owner.pause(&Target::All).unwrap();
    drop(owner);
    let resume = || crate::reload::resume_offline(&world.config.data, None, &Target::All).unwrap();
    assert_eq!(resume(), ["two"]);
    assert_eq!(world.open().state("one"), CampaignState::Paused);
    assert_eq!(resume(), ["one"]);
    assert_eq!(world.open().state("one"), CampaignState::Running);
}

#[test]
fn an_unknown_campaign_is_answered_with_a_similar_name() {
    let world = World::new();
    let mut owner = two(&world);
    assert_eq!(
        owner.pause(&named("tow")).unwrap_err(),
        "there is no campaign `tow`; did you mean `two`?"
    );
    let error = owner.rollback("something").unwrap_err();
    assert_eq!(error, "there is no campaign `something`; `hailer campaigns` lists them");
}

#[test]
fn a_suspension_lasts_until_it_is_lifted_or_the_rule_changes() {
    let world = World::new();
    let mut owner = two(&world);
    let generation = world.campaign("one").generation;
    owner.suspend("one", generation, "two runs differed");
    assert_eq!(
        (world.running(), owner.state("one")),
        (vec!["two 1.0.0".to_owned()], CampaignState::Suspended)
    );
    assert_eq!(owner.status("one").suspended.as_deref(), Some("two runs differed"));
    drop(owner);
    let mut owner = world.open();
    assert_eq!(owner.state("one"), CampaignState::Suspended, "a restart does not lift it");
    assert_eq!(owner.resume(&named("one")).unwrap(), ["one"]);
    assert_eq!(world.running(), ["one 1.0.0", "two 1.0.0"]);
    owner.suspend("one", world.campaign("one").generation, "again");
    world.write("one.wasm", rule("1.0.1"));
    owner.changed();
    assert_eq!(
        (world.running()[0].as_str(), owner.state("one")),
        ("one 1.0.1", CampaignState::Running)
    );
}

#[test]
fn a_new_mode_does_not_lift_a_suspension() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", ""));
    let mut owner = world.open();
    owner.suspend("big", world.campaign("big").generation, "two runs differed");
    world.write("big.toml", campaign("modules/basket.wasm", "").replace("live", "shadow"));
    assert_eq!(owner.changed().changed, ["big"]);
    assert_eq!(owner.state("big"), CampaignState::Suspended);
}

#[test]
fn a_suspension_of_an_older_generation_is_ignored() {
    let world = World::new();
    let mut owner = two(&world);
    let old = world.campaign("one").generation;
    world.write("one.wasm", rule("2.0.0"));
    owner.changed();
    owner.suspend("one", old, "late");
    owner.suspend("nobody", 1, "unknown");
    assert_eq!(owner.state("one"), CampaignState::Running);
}

#[test]
fn a_suspension_holds_even_if_it_cannot_be_written() {
    let world = World::new();
    let mut owner = two(&world);
    fs::remove_file(world.ledger_file("active")).unwrap();
    fs::create_dir(world.ledger_file("active")).unwrap();
    owner.suspend("one", world.campaign("one").generation, "two runs differed");
    assert_eq!(
        (world.running(), owner.state("one")),
        (vec!["two 1.0.0".to_owned()], CampaignState::Suspended)
    );
}

#[test]
fn a_rollback_refuses_the_module_until_a_third_one_appears() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 1"));
    let mut owner = world.open();
    let params = world.campaign("big").spec.params;
    world.write("modules/basket.wasm", rule("2.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 2"));
    owner.changed();

    let status = owner.rollback("big").unwrap();
    assert_eq!(status.refused_digest, Some(digest(&rule("2.0.0"))));
    assert_eq!(
        (world.running(), world.campaign("big").spec.params),
        (vec!["big 1.0.0".to_owned()], params)
    );
    for report in [owner.changed(), owner.asked()] {
        assert!(!report.has_changes() && report.problems.is_empty());
    }
    // New parameters alone do not end the rollback.
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 3"));
    owner.changed();
    assert_eq!(world.running(), ["big 1.0.0"]);
    assert!(owner.rollback("big").unwrap_err().contains("rolled back already"));
    drop(owner);
    let untried = world.stage.seen.lock().unwrap().untried;
    let mut owner = world.open();
    assert_eq!(world.running(), ["big 1.0.0"]);
    // It was tested in the rollback.
    assert_eq!(world.stage.seen.lock().unwrap().untried, untried + 1);

    // A third module that is bad does not end the rollback either.
    world.write("modules/basket.wasm", unfit_rule("3.0.0"));
    owner.changed();
    assert!(owner.status("big").refused_digest.is_some());
    world.write("modules/basket.wasm", rule("3.0.0"));
    owner.changed();
    assert_eq!(
        (world.running(), owner.status("big").refused_digest),
        (vec!["big 3.0.0".to_owned()], None)
    );
    world.write("modules/basket.wasm", rule("2.0.0"));
    owner.changed();
    assert_eq!(world.running(), ["big 2.0.0"]);
}

#[test]
fn the_rollback_target_may_get_new_parameters() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 1"));
    let mut owner = world.open();
    world.write("modules/basket.wasm", rule("2.0.0"));
    owner.changed();
    owner.rollback("big").unwrap();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 9"));
    assert_eq!(owner.changed().changed, ["big"]);
    world.write("modules/basket.wasm", rule("2.0.0"));
    assert!(!owner.changed().has_changes(), "the module is still refused");
}

#[test]
fn a_campaign_with_one_module_has_no_rollback_target() {
    let world = World::new();
    let mut owner = two(&world);
    assert!(owner.rollback("one").unwrap_err().contains("no earlier module of `one` is stored"));
    world.write("one.wasm", "garbage");
    owner.changed();
    assert!(owner.rollback("one").is_err());
}

#[test]
fn a_rollback_lifts_a_suspension_but_not_a_pause() {
    let world = World::new();
    let mut owner = two(&world);
    world.write("one.wasm", rule("2.0.0"));
    owner.changed();
    owner.suspend("one", world.campaign("one").generation, "two runs differed");
    owner.pause(&named("one")).unwrap();
    assert_eq!(owner.rollback("one").unwrap().state, CampaignState::Paused);
    owner.resume(&named("one")).unwrap();
    assert_eq!((world.running()[0].as_str(), owner.status("one").suspended), ("one 1.0.0", None));
}

fn unfit() -> Misbehaviour {
    Misbehaviour::Unfit("it faulted 20 times in a row".into())
}

/// A campaign whose first version has passed its probation, and whose second has just been swapped
/// in.
fn swapped(world: &World) -> Owner<FakeStage> {
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 1\n"));
    let mut owner = world.open();
    owner.note_swapped("big", -2 * owner.rollback_ms);
    world.write("modules/basket.wasm", rule("2.0.0"));
    assert_eq!(owner.changed().changed, ["big"]);
    owner
}

#[test]
fn a_version_that_faults_right_after_its_swap_is_rolled_back_and_can_be_restored() {
    let world = World::new();
    let mut owner = swapped(&world);
    owner.handle_misbehaviour("big", world.campaign("big").generation, &unfit());
    assert_eq!(
        (world.running(), owner.state("big")),
        (vec!["big 1.0.0".to_owned()], CampaignState::Running)
    );
    assert!(owner.status("big").rolled_back.unwrap().contains("20 times in a row"));
    assert!(!owner.asked().has_changes(), "the bad version is refused");
    drop(owner);
    let mut owner = world.open();
    assert_eq!(world.running(), ["big 1.0.0"], "a restart does not end the rollback");
    let status = owner.undo_rollback("big").unwrap();
    assert_eq!((status.rolled_back, status.refused_digest), (None, None));
    assert_eq!(world.running(), ["big 2.0.0"]);
    assert!(owner.undo_rollback("big").unwrap_err().contains("not rolled back"));
    // The restored version is on probation again.
    owner.handle_misbehaviour("big", world.campaign("big").generation, &unfit());
    assert_eq!(world.running(), ["big 1.0.0"]);
    // A third version ends the rollback.
    world.write("modules/basket.wasm", rule("3.0.0"));
    owner.changed();
    assert_eq!(
        (world.running(), owner.status("big").rolled_back),
        (vec!["big 3.0.0".to_owned()], None)
    );
}

#[test]
fn parameters_that_make_a_rule_fault_are_rolled_back_with_their_file() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 1\n"));
    let mut owner = world.open();
    let params = world.campaign("big").spec.params;
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 2\n"));
    owner.changed();
    owner.handle_misbehaviour("big", world.campaign("big").generation, &unfit());
    assert_eq!(world.campaign("big").spec.params, params);
    assert!(!owner.asked().has_changes());
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 3\n"));
    assert_eq!(owner.changed().changed, ["big"]);
    assert_eq!(owner.status("big").rolled_back, None);
}

#[test]
fn a_version_after_its_probation_is_suspended_and_so_is_one_that_sends_too_much() {
    let world = World::new();
    let mut owner = swapped(&world);
    let generation = world.campaign("big").generation;
    owner.handle_misbehaviour(
        "big",
        generation,
        &Misbehaviour::Excessive("it sends more than 3 an hour".into()),
    );
    assert_eq!(owner.state("big"), CampaignState::Suspended);
    owner.resume(&named("big")).unwrap();
    owner.note_swapped("big", -2 * owner.rollback_ms);
    owner.handle_misbehaviour("big", generation, &unfit());
    assert_eq!(
        (owner.state("big"), owner.status("big").rolled_back),
        (CampaignState::Suspended, None)
    );
}

#[test]
fn automatic_rollback_skips_versions_that_did_not_run_well() {
    let world = World::new();
    let mut owner = swapped(&world);
    // The second version was suspended during its probation.
    owner.suspend("big", world.campaign("big").generation, "two runs differed");
    world.write("modules/basket.wasm", rule("3.0.0"));
    owner.changed();
    owner.handle_misbehaviour("big", world.campaign("big").generation, &unfit());
    assert_eq!(world.running(), ["big 1.0.0"]);
    // There is no version to roll back to before the first.
    owner.handle_misbehaviour("big", world.campaign("big").generation, &unfit());
    assert_eq!(owner.state("big"), CampaignState::Suspended);
}

#[test]
fn a_version_that_may_have_written_a_newer_state_is_suspended() {
    let world = World::new();
    let newer = |version: &str| {
        let manifest = fixture::MANIFEST.replace(
            "\"version\": \"0.1.0\"",
            &format!("\"version\": \"{version}\", \"stateVersion\": 2"),
        );
        fixture::rule(&manifest)
    };
    world.write("one.wasm", rule("1.0.0"));
    let mut owner = world.open();
    world.write("one.wasm", newer("2.0.0"));
    assert_eq!(owner.changed().changed, ["one"]);
    owner.handle_misbehaviour("one", world.campaign("one").generation, &unfit());
    assert_eq!(owner.state("one"), CampaignState::Suspended);
}

#[test]
fn resume_all_keeps_stops_from_before_pause_all() {
    let world = World::new();
    world.write("three.wasm", rule("1.0.0"));
    let mut owner = two(&world);
    owner.pause(&named("one")).unwrap();
    owner.suspend("three", world.campaign("three").generation, "two runs differed");
    assert_eq!(owner.pause(&Target::All).unwrap(), ["three", "two"]);
    drop(owner);
    let mut owner = world.open();
    assert_eq!(world.running(), Vec::<String>::new());
    assert_eq!(owner.resume(&Target::All).unwrap(), ["three", "two"]);
    assert_eq!(world.running(), ["two 1.0.0"]);
    assert_eq!(
        (owner.state("one"), owner.state("three")),
        (CampaignState::Paused, CampaignState::Suspended)
    );
    // A pause by name after `pause --all` stays, too.
    owner.pause(&Target::All).unwrap();
    assert_eq!(owner.pause(&named("two")).unwrap(), ["two"]);
    owner.resume(&Target::All).unwrap();
    assert_eq!(world.running(), Vec::<String>::new());
    assert_eq!(owner.resume(&Target::All).unwrap(), ["one", "three", "two"]);
    assert_eq!(world.running().len(), 3);
}
