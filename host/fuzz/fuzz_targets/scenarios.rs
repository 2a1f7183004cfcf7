//! Any text as the scenarios of a module. Nothing panics, and a refusal has reasons and existing
//! lines.

#![no_main]

use hailer::engine::read_manifest;
use hailer::scenarios::Scenarios;
use libfuzzer_sys::fuzz_target;

const MANIFEST: &str = r#"{ "abi": 1, "sdk": "0.1.0", "name": "win-back", "version": "0.1.0",
  "description": "", "stateVersion": 1,
  "handlers": [{ "name": "bought", "events": ["OnPurchaseConfirm"] },
               { "name": "missed", "timer": "missed" }],
  "params": [{ "name": "days", "type": "int", "default": 60, "min": "1" }] }"#;

fuzz_target!(|text: &str| {
    let manifest = read_manifest(MANIFEST.as_bytes()).expect("a manifest");
    if let Err(problems) = Scenarios::parse("scenarios.toml", text, &manifest) {
        assert!(!problems.is_empty(), "a refusal has a reason");
        let lines = text.split('\n').count() as u32;
        for problem in problems {
            assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)));
            assert!(!problem.reason.is_empty() && !problem.hint.is_empty());
        }
    }
});
