//! Any text as a campaign's file. Nothing panics, a refusal has reasons and existing lines, and an
//! accepted module path stays within the rules directory.

#![no_main]

use hailer::reload::CampaignFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match CampaignFile::parse("campaign.toml", text) {
        Ok(file) => {
            assert!(!file.module.starts_with('/'));
            assert!(file.module.split('/').all(|part| !part.is_empty() && part != ".."));
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal has a reason");
            let lines = text.split('\n').count() as u32;
            for problem in problems {
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)));
                assert!(!problem.reason.is_empty() && !problem.hint.is_empty());
            }
        }
    }
});
