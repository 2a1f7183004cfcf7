//! `hailer check`: whether a start would work, without starting.

use clap::Args;

use super::doctor::{is_consumed_by_engine, show};
use super::settings::{Global, SettingFlags};
use super::{EXIT_CODES, logging};
use crate::config::Purpose;
use crate::daemon::{self, Finding};

/// Check configuration, campaigns and broker without running anything
///
/// Does what a start does up to the first event: reads the configuration, loads every campaign of the rules'
/// directory, looks at the recording's, and asks the broker for the queue and the exchange, and whether the user may read from the one and publish to
/// the other. Nothing is consumed, published or changed. Not looked at: bindings, queue bounds, and the store, which `hailer store verify` reads. Run it
/// before a restart and in a pipeline that delivers campaigns.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer check --config /etc/hailer/hailer.toml\n  hailer check --rules rules.d --no-broker --json\n\n{EXIT_CODES}",
))]
pub(super) struct Check {
    #[command(flatten)]
    settings: SettingFlags,
    /// Leave the broker alone: check configuration and campaigns only
    #[arg(long)]
    no_broker: bool,
}

impl Check {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_beside_findings()?;
        let config = global.load(Purpose::Run, &self.settings)?.config;
        let mut findings = vec![Finding::well("configuration", "every setting is valid")];
        findings.extend(daemon::check_rules(&config));
        findings.extend(daemon::check_recording(&config));
        if !self.no_broker {
            findings.extend(daemon::check_broker(&config, is_consumed_by_engine(&config)?));
        }
        show(&findings, global.json)
    }
}
