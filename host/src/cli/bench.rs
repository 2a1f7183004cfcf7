//! `hailer bench`: measures what the calls of a module cost, in fuel and in time.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use toml::de::DeTable;

use super::progress::{Progress, Total};
use super::settings::Global;
use super::{DONE, EXIT_CODES, UsageError, costs, module, output};
use crate::daemon;
use crate::engine::{Sandbox, VerifiedModule, encode_params};
use crate::reload::CampaignFile;

/// Measure what the calls of a rule module cost, in fuel and time, against the limits
///
/// The module is called on the catalogue's sample events. Fuel counts the instructions that the
/// module executes. It is the same on every machine and in every run, so you can compare versions
/// by it. The time is that of a warm call among 32 calls, on this machine, and includes the
/// engine's part of a call. Timers are called with the state that the events before them left.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer bench rules.d/welcome.wasm\n  hailer bench \
        rules.d/modules/big-basket.wasm --campaign rules.d/vip.toml\n\n{EXIT_CODES}",
))]
pub(super) struct Bench {
    /// The file of the module
    module: PathBuf,
    /// Use the parameters of this campaign file instead of the defaults
    #[arg(long, value_name = "FILE")]
    campaign: Option<PathBuf>,
}

impl Bench {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let limits = global.limits()?;
        let (_, module) = module::open(&self.module, &limits)?;
        let params = self.params(&module)?;
        let mut progress = Progress::new(Total::Unknown);
        progress.show(|| "measuring what the calls cost".to_owned());
        let costs = daemon::measure(&module, &params, &limits, true)?;
        drop(progress);
        if global.json {
            output::json(&json!({ "fuelPerCallMax": Sandbox::fuel_of(&limits), "cost": costs }))?;
        } else {
            output::data(&costs::table(&costs, &limits))?;
        }
        Ok(DONE)
    }

    fn params(&self, module: &VerifiedModule) -> anyhow::Result<Vec<u8>> {
        let schema = &module.manifest.params;
        let Some(file) = &self.campaign else {
            return encode_params(schema, &DeTable::new()).map_err(|errors| {
                let reasons: Vec<_> = errors.iter().map(|error| error.reason.as_str()).collect();
                UsageError(format!("{}: name a campaign file with --campaign", reasons.join("; ")))
                    .into()
            });
        };
        let text = read_text(file)?;
        let name = file.display().to_string();
        let read =
            CampaignFile::parse(&name, &text).map_err(|problems| UsageError(listed(&problems)))?;
        encode_params(schema, &read.params).map_err(|errors| {
            let line =
                |at: usize| text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
            let problem = |error: &crate::engine::ParamError| match &error.span {
                Some(span) => {
                    format!("{name}:{}: {} ({})", line(span.start), error.reason, error.hint)
                }
                None => format!("{name}: {} ({})", error.reason, error.hint),
            };
            UsageError(listed(&errors.iter().map(problem).collect::<Vec<_>>())).into()
        })
    }
}

fn read_text(file: &Path) -> anyhow::Result<String> {
    let failed = || format!("cannot read {}", file.display());
    let length = std::fs::metadata(file).with_context(failed)?.len();
    if length > crate::reload::CAMPAIGN_FILE_BYTES_MAX as u64 {
        bail!("{} is not a campaign file: it has {length} bytes", file.display());
    }
    std::fs::read_to_string(file).with_context(failed)
}

fn listed(problems: &[impl ToString]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}
