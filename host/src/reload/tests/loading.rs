//! Which files are campaigns, and the effect of each change.

use super::*;
use crate::config::BareModules;
use crate::engine::Mode;

#[test]
fn a_bare_module_is_a_live_campaign_named_by_its_file() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let (owner, report) = world.open_with_report();
    assert_eq!((report.added, report.rule_set), (vec!["welcome".to_owned()], 1));
    assert_eq!(world.running(), ["welcome 1.0.0"]);
    let status = owner.status("welcome");
    assert_eq!((status.mode, status.state), (Some(Mode::Live), CampaignState::Running));
    assert_eq!(status.version.unwrap(), format!("1.0.0+{}", &digest(&rule("1.0.0"))[..8]));
    assert_eq!(status.events, ["OnPurchaseConfirm"]);
    assert!(world.is_ready());
}

#[test]
fn a_campaign_file_gives_a_module_its_mode_times_and_parameters() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    let more =
        "start = 2026-12-01T00:00:00\ntime_zone = \"Europe/Moscow\"\n[params]\nthreshold = 250";
    world.write("big.toml", campaign("modules/basket.wasm", more).replace("live", "shadow"));
    let (_owner, report) = world.open_with_report();
    assert_eq!(report.problems, []);
    let spec = world.campaign("big").spec;
    assert_eq!((spec.mode, spec.start_ms), (Mode::Shadow, Some(1_796_072_400_000)));
    // One parameter: a decimal that starts with 250.
    assert_eq!(spec.params[..4], *b"\x91\xd8\x01\xfa");
}

#[test]
fn a_module_that_a_file_names_or_in_modules_is_not_a_campaign_by_itself() {
    let world = World::new();
    world.write("basket.wasm", rule("1.0.0"));
    world.write("modules/other.wasm", rule("1.0.1"));
    world.write("big.toml", campaign("./basket.wasm", ""));
    let _owner = world.open();
    assert_eq!(world.running(), ["big 1.0.0"]);
}

#[test]
fn problems_of_a_file_and_of_its_parameters_are_reported_together() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    let file = "module = \"modules/basket.wasm\"\nmode = \"Live\"\nper_hour = \
                5\n[params]\nthreshold = true\ntreshold = 1\n";
    world.write("big.toml", file);
    let (_owner, report) = world.open_with_report();
    let found: Vec<_> =
        report.problems.iter().map(|problem| (problem.line.unwrap(), &*problem.reason)).collect();
    let expected = [
        (2, "`mode` is `Live`"),
        (3, "there is no key `per_hour`"),
        (5, "`threshold` is a bool, not a decimal"),
        (6, "the rule has no parameter `treshold`"),
    ];
    assert_eq!(found, expected);
    assert_eq!(report.problems[1].hint, "did you mean `per_hour_max`?");
}

#[test]
fn two_campaigns_share_a_module() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 500"));
    world.write("small.toml", campaign("modules/basket.wasm", "params.threshold = 50"));
    let mut owner = world.open();
    assert_eq!(world.running(), ["big 1.0.0", "small 1.0.0"]);
    world.write("modules/basket.wasm", rule("1.1.0"));
    assert_eq!(owner.changed().changed, ["big", "small"]);
    assert_eq!(world.running(), ["big 1.1.0", "small 1.1.0"]);
}

#[test]
fn a_new_module_or_parameter_is_a_new_generation_but_a_new_mode_is_not() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", ""));
    let mut owner = world.open();
    let first = world.campaign("big").generation;
    world.write("big.toml", campaign("modules/basket.wasm", "").replace("live", "off"));
    assert_eq!(owner.changed().changed, ["big"]);
    assert_eq!(
        (world.campaign("big").generation, world.campaign("big").spec.mode),
        (first, Mode::Off)
    );
    world.write("big.toml", campaign("modules/basket.wasm", "params.threshold = 5"));
    owner.changed();
    let second = world.campaign("big").generation;
    assert!(second > first);
    world.write("modules/basket.wasm", rule("1.1.0"));
    owner.changed();
    assert!(world.campaign("big").generation > second);
}

#[test]
fn a_reading_without_a_change_swaps_nothing() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let mut owner = world.open();
    let (swaps, admissions) = (world.swaps(), world.admissions());
    for report in [owner.changed(), owner.asked()] {
        assert_eq!((report.unchanged, report.has_changes(), report.rule_set), (1, false, 1));
    }
    // Writing the same bytes again is not a change either.
    world.write("welcome.wasm", rule("1.0.0"));
    assert!(!owner.changed().has_changes());
    assert_eq!((world.swaps(), world.admissions()), (swaps, admissions));
}

#[test]
fn a_bad_module_never_displaces_a_good_one() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    world.write("other.wasm", rule("1.0.0"));
    let mut owner = world.open();
    for bad in [&b""[..], b"garbage", &rule("2.0.0")[..200], &unfit_rule("2.0.0")] {
        world.write("welcome.wasm", bad);
        world.write("other.wasm", rule(&format!("1.1.{}", bad.len())));
        let report = owner.changed();
        assert_eq!((report.problems.len(), report.changed), (1, vec!["other".to_owned()]));
        assert_eq!(world.running()[1], "welcome 1.0.0");
        let status = owner.status("welcome");
        assert_eq!(status.state, CampaignState::Running);
        assert_eq!(status.problem.unwrap().file, "welcome.wasm");
        assert!(world.is_ready());
    }
    world.write("welcome.wasm", rule("2.0.0"));
    assert_eq!(owner.changed().problems, []);
    assert_eq!(world.running()[1], "welcome 2.0.0");
    assert_eq!(owner.status("welcome").problem, None);
}

#[test]
fn a_bad_campaign_file_never_displaces_a_good_one() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", ""));
    let mut owner = world.open();
    for (bad, line) in [
        ("module =", Some(1)),
        ("module = \"modules/basket.wasm\"", None),
        ("module = \"modules/basket.wasm\"\nmode = \"live\"\nspeed = 1", Some(3)),
        ("module = \"modules/gone.wasm\"\nmode = \"live\"", None),
        ("module = \"modules/basket.wasm\"\nmode = \"live\"\n[params]\nthreshold = -1", Some(4)),
    ] {
        world.write("big.toml", bad);
        let report = owner.changed();
        assert_eq!(report.problems.len(), 1, "{bad}: {:?}", report.problems);
        assert_eq!(
            (&*report.problems[0].file, report.problems[0].line),
            ("big.toml", line),
            "{bad}"
        );
        assert_eq!(world.running(), ["big 1.0.0"]);
    }
}

#[test]
fn a_refused_version_is_tested_again_on_request_but_not_at_every_poll() {
    let world = World::new();
    world.write("welcome.wasm", unfit_rule("1.0.0"));
    let (mut owner, report) = world.open_with_report();
    assert_eq!(report.problems[0].reason, "it traps in hailer_configure; look at its log");
    assert_eq!(owner.state("welcome"), CampaignState::Failed);
    assert!(!world.is_ready());
    let admissions = world.admissions();
    owner.changed();
    world.write("readable.wasm", rule("1.0.0"));
    assert_eq!(owner.changed().problems, report.problems);
    assert_eq!(world.admissions(), admissions + 1, "only the new one is tested");
    owner.asked();
    assert_eq!(world.admissions(), admissions + 2);
}

#[test]
fn a_failed_campaign_that_is_removed_is_forgotten() {
    let world = World::new();
    world.write("good.wasm", rule("1.0.0"));
    world.write("bad.wasm", "garbage");
    let mut owner = world.open();
    assert_eq!(owner.statuses().len(), 2);
    world.remove("bad.wasm");
    let report = owner.changed();
    assert_eq!((report.removed.len(), report.problems.len(), owner.statuses().len()), (0, 0, 1));
}

#[test]
fn a_pinned_pair_swaps_together_in_either_order() {
    let world = World::new();
    let (old, new) = (rule("1.0.0"), rule("2.0.0"));
    let file = |module: &[u8], threshold: u32| {
        campaign(
            "modules/basket.wasm",
            &format!("digest = \"{}\"\nparams.threshold = {threshold}", &digest(module)[..8]),
        )
    };
    world.write("modules/basket.wasm", &old);
    world.write("big.toml", file(&old, 1));
    let mut owner = world.open();
    assert_eq!(world.running(), ["big 1.0.0"]);

    // The file first.
    world.write("big.toml", file(&new, 2));
    let report = owner.changed();
    assert!(report.problems[0].reason.contains("waits for a module"), "{:?}", report.problems);
    assert_eq!(
        (owner.state("big"), world.running()),
        (CampaignState::Waiting, vec!["big 1.0.0".to_owned()])
    );
    world.write("modules/basket.wasm", &new);
    assert_eq!(owner.changed().problems, []);
    assert_eq!(
        (owner.state("big"), world.running()),
        (CampaignState::Running, vec!["big 2.0.0".to_owned()])
    );

    // The module first.
    let params = world.campaign("big").spec.params;
    world.write("modules/basket.wasm", &old);
    owner.changed();
    assert_eq!(
        (owner.state("big"), world.campaign("big").spec.params),
        (CampaignState::Waiting, params)
    );
    world.write("big.toml", file(&old, 3));
    owner.changed();
    assert_eq!(world.running(), ["big 1.0.0"]);
}

#[test]
fn a_campaign_waits_for_its_pinned_module() {
    let world = World::new();
    world.write(
        "big.toml",
        campaign("modules/basket.wasm", &format!("digest = \"{}\"", digest(&rule("1.0.0")))),
    );
    let mut owner = world.open();
    assert_eq!(owner.state("big"), CampaignState::Waiting);
    world.write("modules/basket.wasm", rule("1.0.0"));
    assert_eq!(owner.changed().added, ["big"]);
}

#[test]
fn bare_modules_can_be_refused() {
    let mut world = World::new();
    world.config.reload.bare_modules = BareModules::Refuse;
    world.write("welcome.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("basket.wasm", ""));
    world.write("basket.wasm", rule("1.0.0"));
    let (_owner, report) = world.open_with_report();
    assert_eq!(world.running(), ["big 1.0.0"]);
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].hint.contains("module = \"welcome.wasm\""));
}

#[test]
fn no_bare_module_starts_while_a_campaign_file_that_may_name_it_is_unreadable() {
    let world = World::new();
    world.write("big.toml", "module = \"basket.wasm\"\nmode = live\"");
    world.write("basket.wasm", rule("1.0.0"));
    let mut owner = world.open();
    assert_eq!(world.running(), Vec::<String>::new());
    world.write("big.toml", campaign("basket.wasm", ""));
    owner.changed();
    assert_eq!(world.running(), ["big 1.0.0"]);
    // A file that breaks later named its module before, so that module is known.
    world.write("big.toml", "module = ");
    world.write("welcome.wasm", rule("1.1.0"));
    owner.changed();
    assert_eq!(world.running(), ["big 1.0.0", "welcome 1.1.0"]);
}

#[test]
fn a_campaign_file_takes_a_bare_module_over_only_when_it_is_accepted() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    world.write("other.wasm", rule("1.0.0"));
    let mut owner = world.open();
    world.write("greeting.toml", campaign("welcome.wasm", "nonsense = 1"));
    owner.changed();
    assert_eq!(world.running(), ["other 1.0.0", "welcome 1.0.0"]);
    world.write("greeting.toml", campaign("welcome.wasm", ""));
    let report = owner.changed();
    assert_eq!(
        (report.added, report.removed),
        (vec!["greeting".to_owned()], vec!["welcome".to_owned()])
    );
    assert_eq!(world.running(), ["greeting 1.0.0", "other 1.0.0"]);
}

#[test]
fn a_campaign_file_beside_its_bare_module_is_one_campaign() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let mut owner = world.open();
    let generation = world.campaign("welcome").generation;
    world.write("welcome.toml", campaign("welcome.wasm", ""));
    assert_eq!(owner.changed().changed, ["welcome"]);
    assert_eq!(world.campaign("welcome").generation, generation);
    // A file that names another module leaves the bare module without a name.
    world.write("modules/basket.wasm", rule("2.0.0"));
    world.write("welcome.toml", campaign("modules/basket.wasm", ""));
    let report = owner.changed();
    assert_eq!(
        (&*report.problems[0].file, world.running()),
        ("welcome.wasm", vec!["welcome 2.0.0".to_owned()])
    );
}

#[test]
fn a_personal_field_must_be_granted_by_name() {
    let world = World::new();
    let field = r#"{ "name": "card_number", "type": "str", "paths": ["/c"], "personal": true },
        { "name": "items", "type": "list", "paths": ["/i"],
          "of": [{ "name": "text", "type": "str", "paths": ["/t"], "personal": true }] },"#;
    let manifest = fixture::MANIFEST.replace("\"fields\": [", &format!("\"fields\": [{field}"));
    world.write("modules/basket.wasm", fixture::rule(&manifest));
    world.write("big.toml", campaign("modules/basket.wasm", "personal = [\"items.text\"]"));
    let (mut owner, report) = world.open_with_report();
    assert_eq!(report.problems.len(), 1);
    assert!(
        report.problems[0].reason.ends_with("is not granted: `card_number`"),
        "{}",
        report.problems[0]
    );
    assert!(report.problems[0].hint.ends_with("`personal = [\"card_number\", \"items.text\"]`"));

    world.write(
        "big.toml",
        campaign("modules/basket.wasm", "personal = [\"card_numer\", \"items.text\"]"),
    );
    let problems = owner.changed().problems;
    assert_eq!(problems.len(), 2);
    assert_eq!((problems[1].line, &*problems[1].hint), (Some(3), "did you mean \"card_number\"?"));

    world.write(
        "big.toml",
        campaign("modules/basket.wasm", "personal = [\"card_number\", \"items.text\"]"),
    );
    assert_eq!(owner.changed().added, ["big"]);

    world.write("bare.wasm", fixture::rule(&manifest.replace("0.1.0", "0.2.0")));
    let report = owner.changed();
    assert!(report.problems[0].hint.contains("write bare.toml with"), "{}", report.problems[0]);
    assert_eq!(world.running(), ["big 0.1.0"]);
}

#[test]
fn a_campaign_without_room_is_refused_and_the_others_run() {
    let world = World::new();
    world.stage.seen.lock().unwrap().campaigns_max = 2;
    for name in ["one", "three", "two"] {
        world.write(&format!("{name}.wasm"), rule("1.0.0"));
    }
    let (mut owner, report) = world.open_with_report();
    assert_eq!(world.running(), ["one 1.0.0", "three 1.0.0"]);
    let [problem] = &report.problems[..] else { panic!("{report:?}") };
    assert_eq!(
        problem.to_string().matches("no room for one more campaign: 3 of at most 2").count(),
        1,
        "{problem}"
    );
    // A new version of a running campaign needs no more room.
    world.write("one.wasm", rule("2.0.0"));
    owner.changed();
    assert_eq!(world.running(), ["one 2.0.0", "three 1.0.0"]);
    // After a restart with less room, campaigns without room stay accepted.
    drop(owner);
    world.stage.seen.lock().unwrap().campaigns_max = 1;
    let owner = world.open();
    assert_eq!(world.running(), ["one 2.0.0"]);
    assert_eq!(owner.state("three"), CampaignState::Failed);
    assert!(!world.is_ready());
}

#[test]
fn a_back_up_copy_of_a_live_campaign_is_a_warning() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    let text = campaign("modules/basket.wasm", "[params]\nthreshold = 250\n");
    world.write("cc.toml", &text);
    let (mut owner, report) = world.open_with_report();
    assert_eq!(report.warnings, []);
    world.write("cc-2026-11-29.toml", &text);
    let report = owner.load(Trigger::Changed);
    assert_eq!(report.problems, []);
    let [warning] = &report.warnings[..] else { panic!("{report:?}") };
    assert_eq!(warning.file, "cc-2026-11-29.toml");
    assert!(warning.reason.contains("the module and the parameters of `cc`"), "{warning}");
    assert_eq!(owner.status("cc-2026-11-29").warning.as_ref(), Some(warning));
    assert_eq!(owner.status("cc").warning, None);

    // The usual next step: someone edits the original.
    world.write("cc.toml", text.replace("250", "300"));
    let report = owner.load(Trigger::Changed);
    assert!(
        report.warnings[0].reason.contains("its name says that it is a copy of `cc`"),
        "{report:?}"
    );

    for (file, other) in [
        ("cc-2026-11-29.toml", text.replace("live", "off")),
        ("cc-2026-11-29.toml", format!("end = 2026-01-01T00:00:00\n{text}")),
    ] {
        world.write("cc.toml", format!("start = 2026-02-01T00:00:00\n{text}"));
        world.write(file, other);
        assert_eq!(owner.load(Trigger::Changed).warnings, []);
    }
    world.write("cc-2026-11-29.toml", &text);
    assert_eq!(owner.load(Trigger::Changed).warnings.len(), 1);
}

#[test]
fn two_campaigns_of_one_module_with_different_parameters_are_no_copies() {
    let world = World::new();
    world.write("modules/basket.wasm", rule("1.0.0"));
    for (name, threshold) in [("cc", 250), ("cc-2", 300), ("cc-2027", 400)] {
        world.write(
            &format!("{name}.toml"),
            campaign("modules/basket.wasm", &format!("[params]\nthreshold = {threshold}\n")),
        );
    }
    let (_owner, report) = world.open_with_report();
    assert_eq!((report.added.len(), report.warnings), (3, vec![]));
}
