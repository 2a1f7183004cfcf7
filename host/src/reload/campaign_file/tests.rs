//! Tests of the file format, key by key.

use proptest::prelude::*;

use super::*;

const WHOLE: &str = r#"
module = "modules/abandoned-registration.wasm"
digest = "9F3AC1D2"
mode = "live"
start = 2026-12-01T00:00:00
end = 2026-12-31 23:59:59
time_zone = "Europe/Moscow"
personal = ["card_number", "items.description"]
[params]
wait_minutes = 60
"#;

fn problems(text: &str) -> Vec<Problem> {
    let problems = CampaignFile::parse("nudge.toml", text).unwrap_err();
    assert!(
        problems.iter().all(|problem| problem.file == "nudge.toml" && !problem.hint.is_empty())
    );
    problems
}

/// The only problem of a valid file with one more line, its third.
fn problem(line: &str) -> String {
    let problems = problems(&format!("module = \"a.wasm\"\nmode = \"off\"\n{line}"));
    assert_eq!((problems.len(), problems[0].line), (1, Some(3)), "{line}: {problems:?}");
    problems[0].to_string()
}

fn read(line: &str) -> CampaignFile<'_> {
    let text = format!("module = \"a.wasm\"\nmode = \"off\"\n{line}");
    CampaignFile::parse("nudge.toml", Box::leak(text.into_boxed_str())).unwrap()
}

#[test]
fn the_whole_format_is_read() {
    let file = CampaignFile::parse("nudge.toml", WHOLE).unwrap();
    assert_eq!(file.module, "modules/abandoned-registration.wasm");
    assert_eq!((file.digest.as_deref(), file.mode), (Some("9f3ac1d2"), Mode::Live));
    assert_eq!((file.start_ms, file.end_ms), (Some(1_796_072_400_000), Some(1_798_750_799_000)));
    let granted: Vec<(&str, u32)> =
        file.personal.iter().map(|grant| (&*grant.name, grant.line)).collect();
    assert_eq!(granted, [("card_number", 8), ("items.description", 8)]);
    assert_eq!(file.params.len(), 1);
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let text = "modul = \"a.wasm\"\nmode = \"Live\"\ndigest = \"xyz\"\nisolation = \
                \"fresh\"\n\nstart = \"tomorrow\"\npersonal = 5";
    let found: Vec<(Option<u32>, String)> =
        problems(text).into_iter().map(|problem| (problem.line, problem.hint)).collect();
    assert_eq!(found[1], (Some(1), "did you mean `module`?".into()));
    let lines: Vec<Option<u32>> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [None, Some(1), Some(2), Some(3), Some(4), Some(6), Some(7)]);
}

#[test]
fn module_and_mode_are_mandatory() {
    let found: Vec<String> = problems("").into_iter().map(|problem| problem.reason).collect();
    assert_eq!(found, ["`module` is missing", "`mode` is missing"]);
}

#[test]
fn keys_of_later_versions_are_refused_and_not_ignored() {
    let line = "isolation = \"fresh\"";
    assert!(problem(line).contains("has no effect in this version of hailer (remove the line"));
}

#[test]
fn retention_fault_and_rate_keys_are_read() {
    let file = read(
        "state_ttl_days = 400\non_fault = \"skip\"\nper_hour_max = 5_000\ntime_zone = \
         \"Europe/Moscow\"",
    );
    assert_eq!(
        (file.state_ttl_days, file.on_fault, file.per_hour_max),
        (Some(400), Some(OnFault::Skip), Some(5000))
    );
    assert_eq!(file.time_zone.iana_name(), Some("Europe/Moscow"));
    assert_eq!(read("on_fault = \"hold\"").on_fault, Some(OnFault::Hold));
    let file = read("");
    assert_eq!((file.state_ttl_days, file.on_fault, file.per_hour_max), (None, None, None));
    for line in [
        "state_ttl_days = 0",
        "state_ttl_days = 3651",
        "state_ttl_days = -1",
        "state_ttl_days = \"1\"",
    ] {
        assert!(
            problem(line).contains("`state_ttl_days` is not a whole number from 1 to 3650"),
            "{line}"
        );
    }
    for line in ["per_hour_max = 0", "per_hour_max = 4294967296", "per_hour_max = 1.5"] {
        assert!(problem(line).contains("`per_hour_max` is not a whole number from 1 to"), "{line}");
    }
    for line in ["on_fault = \"OrderGuard\"", "on_fault = true"] {
        assert!(problem(line).contains("`on_fault` is "), "{line}");
    }
}

#[test]
fn a_module_stays_inside_the_directory() {
    for (path, normal) in [
        ("./a.wasm", "a.wasm"),
        ("modules//a.wasm", "modules/a.wasm"),
        ("..data/a.wasm", "..data/a.wasm"),
    ] {
        assert_eq!(module_path(path), Ok(normal.to_owned()));
    }
    for path in [
        "../a.wasm",
        "/etc/a.wasm",
        "modules/../../a.wasm",
        "a/../b.wasm",
        "..",
        "",
        "a",
        "a.toml",
        "a\0.wasm",
        "a\n.wasm",
        "a\\..\\b.wasm",
    ] {
        assert!(module_path(path).is_err(), "{path}");
    }
}

#[test]
fn a_digest_is_eight_to_sixty_four_hexadecimal_digits() {
    for digest in ["1234567", "12345678g", &"a".repeat(65), ""] {
        assert!(
            problem(&format!("digest = \"{digest}\"")).contains("`digest` is not 8 to 64"),
            "{digest}"
        );
    }
    assert!(problem("digest = 12345678").contains("`digest` is not 8 to 64"));
    assert_eq!(read(&format!("digest = \"{}\"", "a".repeat(64))).digest.unwrap().len(), 64);
}

#[test]
fn times_are_in_the_campaigns_zone_or_in_utc() {
    assert_eq!(read("start = 1970-01-01T00:00:01").start_ms, Some(1000));
    assert_eq!(
        read("start = 1970-01-01T03:00:01\ntime_zone = \"Europe/Moscow\"").start_ms,
        Some(1000)
    );
}

#[test]
fn a_skipped_time_falls_after_the_gap_and_a_repeated_time_is_the_first() {
    // In Berlin, 2026-03-29 has no 02:30, and 2026-10-25 has two.
    let skipped = read("start = 2026-03-29T02:30:00\ntime_zone = \"Europe/Berlin\"").start_ms;
    assert_eq!(
        skipped,
        read("start = 2026-03-29T03:30:00\ntime_zone = \"Europe/Berlin\"").start_ms
    );
    assert_eq!(skipped, read("start = 2026-03-29T01:30:00").start_ms);
    let twice = read("start = 2026-10-25T02:30:00\ntime_zone = \"Europe/Berlin\"").start_ms;
    assert_eq!(twice, read("start = 2026-10-25T00:30:00").start_ms);
}

#[test]
fn invalid_times_are_refused() {
    assert!(problem("start = 2026-12-01T00:00:00Z").contains("has an offset"));
    assert!(problem("end = 2026-12-01").contains("is not a date and time that exists"));
    assert!(problem("end = 12:00:00").contains("is not a date and time that exists"));
    assert!(problem("start = 10").contains("is not a date and time"));
    assert!(problem("time_zone = \"Mars/Olympus\"").contains("not a time zone"));
    assert!(problem("time_zone = 3").contains("not a time zone"));
    assert!(
        problem("end = 2026-01-01T00:00:00\nstart = 2026-01-01T00:00:00")
            .contains("`end` is not after `start`")
    );
}

#[test]
fn syntax_errors_come_with_their_line() {
    let found = problems("module = \"a.wasm\"\nmode = \n\nx y z\n");
    assert_eq!(found[0].line, Some(2), "{found:?}");
    assert!(problems("mode = \"live\"\nmode = \"off\"")[0].reason.contains("duplicate"));
    assert!(problems(&"[".repeat(10_000)).len() <= PROBLEMS_MAX);
    assert!(problems(&"x = 1\n".repeat(10_000)).len() <= PROBLEMS_MAX);
    let unknown: String = (0..5_000).map(|index| format!("x{index} = 1\n")).collect();
    assert_eq!(problems(&unknown).len(), PROBLEMS_MAX);
}

#[test]
fn a_campaign_name_has_only_lower_case_letters_digits_and_dashes() {
    for name in ["welcome", "0", "big-basket_2", &"a".repeat(64)] {
        assert!(is_campaign_name(name), "{name}");
    }
    for name in ["", "-a", "_a", "Welcome", "a.b", "policies", "a b", "ä", &"a".repeat(65)] {
        assert!(!is_campaign_name(name), "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic_and_every_problem_has_a_hint(text in "\\PC{0,200}") {
        check(&text)?;
    }

    #[test]
    fn no_altered_file_makes_the_parser_panic(
        spot in any::<prop::sample::Index>(),
        length in 0..8_usize,
        text in "[-=\\[\\]{}\"'#.,:T0-9a-z \n]{0,8}",
    ) {
        let mut spoiled = WHOLE.to_owned();
        let at = spot.index(spoiled.len());
        spoiled.replace_range(at..(at + length).min(WHOLE.len()), &text);
        check(&spoiled)?;
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let _ = module_named_in(text);
    if let Err(problems) = CampaignFile::parse("nudge.toml", text) {
        prop_assert!(!problems.is_empty() && problems.len() <= PROBLEMS_MAX);
        let lines = text.lines().count() as u32 + 1;
        for problem in problems {
            prop_assert!(
                !problem.reason.is_empty()
                    && !problem.hint.is_empty()
                    && problem.file == "nudge.toml"
            );
            prop_assert!(
                problem.line.is_none_or(|line| (1..=lines).contains(&line)),
                "{}",
                problem
            );
        }
    }
    Ok(())
}
