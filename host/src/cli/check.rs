//! `hailer check`: checks whether the engine would start, without starting it.

use clap::Args;

use super::doctor::{is_consumed_by_engine, show};
use super::settings::{Global, SettingFlags};
use super::{EXIT_CODES, logging};
use crate::config::Purpose;
use crate::daemon::{self, Finding};

/// Check configuration, campaigns and broker without running the engine
///
/// Does everything that a start does before the first event: reads the configuration, loads every
/// campaign of the rules directory, and looks at the directory of the recording. It asks the broker
/// for the queue and the exchange, and whether the user may read from the queue and publish to the
/// exchange. Nothing is consumed, published or changed. It does not check bindings, queue limits,
/// or the store (see `hailer store verify`). Run it before a restart, and in the pipeline that
/// delivers campaigns.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer check --config /etc/hailer/hailer.toml\n  hailer check --rules rules.d \
        --no-broker --json\n\n{EXIT_CODES}",
))]
pub(super) struct Check {
    #[command(flatten)]
    settings: SettingFlags,
    /// Check configuration and campaigns only; do not connect to the broker
    #[arg(long)]
    no_broker: bool,
}

impl Check {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_beside_findings()?;
        let config = global.load(Purpose::Run, &self.settings)?.config;
        let mut findings = vec![Finding::ok("configuration", "every setting is valid")];
        findings.extend(daemon::check_rules(&config));
        findings.extend(daemon::check_recording(&config));
        if !self.no_broker {
            findings.extend(daemon::check_broker(&config, is_consumed_by_engine(&config)?));
        }
        show(&findings, global.json)
    }
}
