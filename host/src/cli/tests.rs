//! Tests of the command line as a whole, and of the output of commands.

use clap::{CommandFactory, Parser};

use super::{Cli, USAGE, campaigns, code_of, reload};
use crate::engine::Mode;
use crate::reload::{
    CampaignState, CampaignStatus, LoadReport, PoliciesChange, PoliciesStatus, Problem,
};

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_a_summary_examples_and_exit_codes() {
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let mut shown: Vec<_> = command.get_subcommands().collect();
        if shown.is_empty() {
            shown.push(command);
        }
        for command in shown {
            let help = command.clone().render_long_help().to_string();
            let name = command.get_name();
            assert!(help.contains("Examples:\n  "), "{name} has no examples");
            assert!(help.contains("Exit codes: 0 "), "{name} has no exit codes");
            assert!(
                command.get_about().is_some_and(|about| !about.to_string().ends_with('.')),
                "{name}"
            );
        }
    }
}

#[test]
fn invalid_arguments_are_a_usage_error() {
    for arguments in [
        &["hailer", "config", "show", "--set", "x"][..],
        &["hailer", "config", "show", "--shards", "many"],
    ] {
        let error = Cli::try_parse_from(arguments).unwrap().dispatch().unwrap_err();
        assert_eq!(code_of(&error), USAGE, "{error:#}");
    }
    for arguments in [
        &["hailer", "pause"][..],
        &["hailer", "pause", "a", "--all"],
        &["hailer", "events", "--seed", "1"],
    ] {
        assert_eq!(
            Cli::try_parse_from(arguments).unwrap_err().exit_code(),
            i32::from(USAGE),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_flag_without_effect_is_a_usage_error() {
    for arguments in [
        &["topology", "--print", "--rules", "r"][..],
        &["topology", "--print", "--create-store"],
        &["dead-letters", "list", "--shards", "2"],
        &["dead-letters", "put-back", "--store", "s"],
        &["failures", "list", "--missed", "--all"],
        &["store", "clock", "--yes"],
        &["events", "--fields"],
    ] {
        let error = Cli::try_parse_from([&["hailer"], arguments].concat()).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(USAGE), "{arguments:?}");
    }
    for (arguments, next_step) in [
        (&["--run-on-minutes", "5"][..], "add --clock events"),
        (&["--create-store"], "add --store DIR"),
        (&["--take-over"], "name the broker with --source"),
    ] {
        let command = [&["hailer", "config", "show"], arguments].concat();
        let error = Cli::try_parse_from(command).unwrap().dispatch().unwrap_err();
        assert!(code_of(&error) == USAGE && format!("{error:#}").contains(next_step), "{error:#}");
    }
}

fn running() -> CampaignStatus {
    CampaignStatus {
        name: "welcome".into(),
        file: Some("welcome.toml".into()),
        state: CampaignState::Running,
        mode: Some(Mode::Live),
        shadow_of: None,
        rollout_percent: None,
        version: Some("1.3.0+9f3ac1d2".into()),
        digest: Some("9f3ac1d2".repeat(8)),
        start_ms: None,
        end_ms: None,
        events: vec!["OnEndRegistration".into()],
        problem: None,
        warning: None,
        suspended: None,
        refused_digest: None,
        rolled_back: None,
    }
}

fn copy() -> Problem {
    Problem {
        file: "welcome-old.toml".into(),
        line: None,
        reason: "it is a second live campaign with the module and the parameters of `welcome`"
            .into(),
        hint: "move it out of the rules directory".into(),
    }
}

fn problem() -> Problem {
    Problem {
        file: "big-basket.toml".into(),
        line: Some(3),
        reason: "there is no parameter `treshold`".into(),
        hint: "did you mean `threshold`?".into(),
    }
}

#[test]
fn campaigns_are_shown_with_their_problems_below() {
    let failed = CampaignStatus {
        name: "big-basket".into(),
        state: CampaignState::Failed,
        mode: None,
        version: None,
        events: vec![],
        problem: Some(problem()),
        ..running()
    };
    let shadow = CampaignStatus {
        name: "refunds".into(),
        state: CampaignState::Paused,
        mode: Some(Mode::Shadow),
        events: vec!["OnPurchaseRefund".into(), "OnPurchaseConfirm".into()],
        refused_digest: Some("0123456789abcdef".into()),
        rolled_back: None,
        ..running()
    };
    let suspended = CampaignStatus {
        name: "big-spender".into(),
        state: CampaignState::Suspended,
        suspended: Some("it gave two answers to one call".into()),
        ..running()
    };
    let canary = CampaignStatus {
        name: "welcome-next".into(),
        shadow_of: Some("welcome".into()),
        rollout_percent: Some(10),
        ..running()
    };
    let twin = CampaignStatus { name: "welcome-old".into(), warning: Some(copy()), ..running() };
    let campaigns = [running(), failed, shadow, suspended, canary, twin];
    let policies = PoliciesStatus {
        digest: Some("9f3ac1d2".repeat(8)),
        problems: vec![Problem {
            file: "policies.toml".into(),
            line: Some(14),
            reason: "unknown key `maxx`".into(),
            hint: "did you mean `max`?".into(),
        }],
        warnings: vec![],
    };
    insta::assert_snapshot!("campaigns_table", campaigns::text(&campaigns, Some(&policies)));
    insta::assert_snapshot!("campaigns_json", serde_json::to_string_pretty(&campaigns).unwrap());
}

#[test]
fn a_reload_reports_what_was_changed_and_what_was_not() {
    let report = LoadReport {
        rule_set: 7,
        added: vec!["a".into(), "b".into()],
        changed: vec!["c".into()],
        removed: vec![],
        unchanged: 3,
        policies: Some(PoliciesChange::Changed),
        policies_digest: Some("9f3ac1d2".repeat(8)),
        withheld_removals: vec!["d".into()],
        problems: vec![problem()],
        warnings: vec![copy()],
    };
    insta::assert_snapshot!(reload::text(&report));
}
