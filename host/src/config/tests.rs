//! Tests of the configuration: the order of layers, and that all problems are shown at once.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{ConfigError, Flag, Layers, Loaded, Origin, Purpose};

fn layers(
    directory: &tempfile::TempDir,
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Layers {
    let path = directory.path().join("hailer.toml");
    std::fs::write(&path, file).unwrap();
    // A file that has just been written is read only after a second.
    let written = SystemTime::now() - Duration::from_secs(3600);
    File::options().append(true).open(&path).unwrap().set_modified(written).unwrap();
    Layers {
        file: Some(path),
        environment: environment
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
        flags: flags
            .iter()
            .map(|(setting, text)| Flag {
                setting: (*setting).to_owned(),
                text: (*text).to_owned(),
                flag: format!("--{setting}"),
            })
            .collect(),
    }
}

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    layers(&directory, file, environment, flags).load(Purpose::Ask)
}

#[test]
fn flags_override_the_environment_then_the_file_then_defaults() {
    let file = "shards = 2\ndrain_ms = 2\n[rabbitmq]\nprefetch = 2\nqueue = 'file'\n";
    let environment = [("HAILER_SHARDS", "3"), ("HAILER_RABBITMQ__PREFETCH", "3"), ("OTHER", "x")];
    let loaded = load(file, &environment, &[("shards", "4")]).unwrap();
    let config = &loaded.config;
    assert_eq!(
        (config.shards, config.rabbitmq.prefetch, config.drain_ms, config.event.batch_max),
        (4, 3, 2, 256)
    );
    assert_eq!(loaded.origin("shards"), Origin::Flag("--shards".into()));
    assert_eq!(loaded.origin("rabbitmq.prefetch").to_string(), "HAILER_RABBITMQ__PREFETCH");
    assert!(loaded.origin("rabbitmq.queue").to_string().ends_with("hailer.toml:5"));
    assert_eq!(loaded.origin("event.batch_max"), Origin::Default);
}

#[test]
fn a_text_stays_a_text_even_if_it_looks_like_a_number() {
    let loaded =
        load("", &[("HAILER_ENVIRONMENT", "42"), ("HAILER_RABBITMQ__TAKE_OVER", "true")], &[])
            .unwrap();
    assert_eq!(loaded.config.environment, "42");
    assert!(loaded.config.rabbitmq.take_over);
}

#[test]
fn all_problems_are_shown_together_each_with_its_place_and_next_step() {
    let file = "shards = 'many'\n[rabbitmq]\nprefech = 10\ncert_file = \
                'c.pem'\n[reload]\nbare_modules = 'yes'\n";
    let environment = [
        ("HAILER_DRAIN_MS", "-1"),
        ("HAILER_COLOUR", "red"),
        ("HAILER_SINK", "amqp:/u:topsecret@h"),
        ("HAILER_DATA", "rules.d"),
    ];
    let flags = [("event.batch_max", "0"), ("log.level", "hailer=loud")];
    let error = load(file, &environment, &flags).unwrap_err();
    let text = error.to_string();
    let place = text
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once("hailer.toml"))
        .unwrap()
        .0
        .to_owned();
    insta::assert_snapshot!(text.replace(&place, ""));
    assert!(!text.contains("topsecret"), "{text}");
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    let error = load("shards = 1\nrules = [\n", &[], &[]).unwrap_err();
    assert!(error.problems.iter().all(|problem| problem.setting == "syntax"), "{error}");
    assert!(error.to_string().contains("hailer.toml:"), "{error}");
}

#[test]
fn a_named_file_that_does_not_exist_is_a_problem() {
    let layers = Layers { file: Some("/nowhere/hailer.toml".into()), ..Layers::default() };
    assert!(layers.load(Purpose::Ask).unwrap_err().to_string().contains("/nowhere/hailer.toml"));
}

#[test]
fn variables_of_kubernetes_for_a_service_named_hailer_are_ignored() {
    let environment = [("HAILER_PORT", "tcp://10.0.0.1:9464"), ("HAILER_SERVICE_HOST", "10.0.0.1")];
    assert!(load("", &environment, &[]).is_ok());
}

#[test]
fn a_run_needs_its_rules_and_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing").display().to_string();
    let flags = [
        ("rules", missing.as_str()),
        ("rabbitmq.password_file", &missing),
        ("source", "file:/nowhere"),
    ];
    let layers = layers(&directory, "", &[], &flags);
    assert!(layers.load(Purpose::Ask).is_ok());
    let error = layers.load(Purpose::Run).unwrap_err();
    let settings: Vec<_> = error.problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["rules", "source", "rabbitmq.password_file"]);
}

#[test]
fn passwords_are_never_shown() {
    let loaded = load("", &[("HAILER_SOURCE", "amqp://me:topsecret@host/")], &[]).unwrap();
    let shown = serde_json::to_string(&loaded.shown()).unwrap();
    assert!(shown.contains("amqp://me:***@host/") && !shown.contains("topsecret"), "{shown}");
    assert!(!format!("{:?}", loaded.config).contains("topsecret"));
    assert_eq!(loaded.config.source, "amqp://me:topsecret@host/");
}

#[test]
fn a_password_may_be_given_in_one_place_only() {
    let flags = [("source", "amqp://me:pw@host"), ("rabbitmq.password_file", "p")];
    let error = load("", &[], &flags).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    assert_eq!(
        PathBuf::from("p"),
        load("", &[], &flags[1..]).unwrap().config.rabbitmq.password_file.unwrap()
    );
}

#[test]
fn a_sink_is_never_the_file_of_the_source_however_its_path_is_spelt() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("e.jsonl"), "").unwrap();
    std::fs::create_dir(at("below")).unwrap();
    std::os::unix::fs::symlink(at("e.jsonl"), at("link.jsonl")).unwrap();
    std::os::unix::fs::symlink("e.jsonl.deadletters.jsonl", at("dangling.jsonl")).unwrap();
    std::os::unix::fs::symlink("../e.jsonl.deadletters.jsonl", at("below/dangling.jsonl")).unwrap();
    std::fs::hard_link(at("e.jsonl"), at("hard.jsonl")).unwrap();
    let file = |name: &str| format!("file:{}", at(name).display());
    let source = file("e.jsonl");
    let refused = |sink: &str| {
        load("", &[], &[("source", &source), ("sink", sink)]).err().map(|error| error.to_string())
    };
    for sink in ["e.jsonl", "./e.jsonl", "below/../e.jsonl", "link.jsonl", "hard.jsonl"] {
        let error = refused(&file(sink)).unwrap_or_else(|| panic!("{sink} is taken"));
        assert!(error.contains("the file that events are read from"), "{error}");
    }
    for sink in [
        "e.jsonl.deadletters.jsonl",
        "below/../e.jsonl.deadletters.jsonl",
        "dangling.jsonl",
        "below/dangling.jsonl",
    ] {
        let error = refused(&file(sink)).unwrap_or_else(|| panic!("{sink} is taken"));
        assert!(error.contains("dead letters"), "{error}");
    }
    let data = at("").display().to_string();
    let letters = file("deadletters.jsonl");
    assert!(load("", &[], &[("source", "-"), ("data", &data), ("sink", &letters)]).is_err());
    for sink in ["out.jsonl", "below/e.jsonl"] {
        assert_eq!(refused(&file(sink)), None);
    }
    assert_eq!(refused("file:/dev/null"), None);
    assert!(load("", &[], &[("source", "file:/dev/null"), ("sink", "file:/dev/null")]).is_ok());
}

#[test]
fn a_misspelt_level_is_refused_and_not_taken_for_a_target() {
    for level in ["inof", "hailer", "info,inof", "hailer=debug,warm"] {
        let error = load("", &[], &[("log.level", level)]).unwrap_err();
        assert!(error.problems[0].reason.contains("is not a level"), "{level}: {error}");
    }
    for level in ["info", "WARN", "off", "3", "info,lapin=warn", "hailer[event]=debug"] {
        load("", &[], &[("log.level", level)]).unwrap_or_else(|error| panic!("{level}: {error}"));
    }
}

#[test]
fn two_directories_that_must_differ_are_never_the_same() {
    let two = [
        [("data", "one"), ("rules", "one")],
        // The directory of the engine's copies of accepted campaigns.
        [("data", "one"), ("rules", "one/rules")],
        [("data", "one"), ("rules", "./one/artifacts/.")],
        [("record.dir", "one"), ("store.dir", "one")],
        [("record.dir", "one"), ("data", "one")],
        [("store.dir", "one"), ("rules", "one")],
    ];
    for flags in two {
        match load("", &[], &flags) {
            Err(error) => {
                assert!(error.to_string().contains("the same directory as"), "{flags:?}: {error}")
            }
            Ok(_) => panic!("{flags:?}"),
        }
    }
    load("", &[], &[("data", "one"), ("rules", "two"), ("store.dir", "one/store")]).unwrap();
}

#[test]
fn a_setting_without_effect_is_refused_with_a_next_step() {
    let settings = |flags: &[(&str, &str)]| -> Vec<String> {
        let problems = load("", &[], flags).map_or_else(|error| error.problems, |_| Vec::new());
        assert!(
            problems.iter().all(|problem| problem.next_step.contains("leave it out")),
            "{problems:?}"
        );
        problems.into_iter().map(|problem| problem.setting).collect()
    };
    for (setting, value, sense) in [
        ("clock.run_on_minutes", "60", ("clock.source", "events")),
        ("clock.run_on_minutes", "0", ("clock.source", "events")),
        ("store.create", "true", ("store.dir", "s")),
        ("store.create", "true", ("source", "amqp://host")),
        ("rabbitmq.take_over", "true", ("source", "amqp://host")),
    ] {
        assert_eq!(settings(&[(setting, value)]), [setting], "{setting} alone");
        assert_eq!(
            settings(&[(setting, value), sense]),
            [] as [&str; 0],
            "{setting} with {sense:?}"
        );
    }
    // A file may be used with several sources.
    assert!(load("store.create = true\nrabbitmq.take_over = true", &[], &[]).is_ok());
    assert!(load("clock.run_on_minutes = 60", &[], &[]).is_err());
}
