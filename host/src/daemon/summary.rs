//! The summary of a run, as text.

use std::collections::BTreeMap;
use std::fmt;

use crate::pipeline::Tally;
use crate::reload::LoadReport;

/// The results of one run of the engine.
#[derive(Clone, Debug)]
pub struct Summary {
    pub tally: Tally,
    /// Number of events that are missing in the recording.
    pub not_recorded: u64,
    pub elapsed_ms: i64,
    pub first_load: LoadReport,
    /// The reason why a component was not ready at the end, by component.
    pub problems: BTreeMap<&'static str, String>,
    /// Why the input is not one event a line; `None` if that was not noticed.
    pub other_form: Option<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        let seconds = self.elapsed_ms as f64 / 1000.0;
        writeln!(
            formatter,
            "{} events, {} communications, {} dead letters in {seconds:.1} s",
            tally.events,
            tally.communications(),
            tally.dead_letters
        )?;
        let counted = [
            (tally.repaired, "repaired (a trailing comma, or a byte order mark)"),
            (tally.repeats, "copies of events that had been decided"),
            (tally.unclaimed, "taken by no campaign"),
            (
                tally.communications().saturating_sub(tally.confirmed),
                "communications were not written",
            ),
            (self.not_recorded, "missing in the recording"),
            (tally.field_mismatches, "fields of another type than documented"),
        ];
        for (count, what) in counted.iter().filter(|(count, _)| *count > 0) {
            writeln!(formatter, "  {count} {what}")?;
        }
        if tally.times_not_believed.count > 0 {
            writeln!(formatter, "  {}", tally.times_not_believed)?;
        }
        let width = tally.campaigns.keys().map(|name| name.len()).max().unwrap_or(0);
        for (name, campaign) in &tally.campaigns {
            write!(formatter, "  {name:width$}  {} decided", campaign.decided)?;
            for (channel, count) in &campaign.published {
                write!(formatter, ", {count} {channel}")?;
            }
            for (reason, count) in &campaign.suppressed {
                write!(formatter, ", {count} suppressed ({reason})")?;
            }
            for (reason, count) in &campaign.missed_while {
                write!(formatter, ", {count} missed while {reason}")?;
            }
            let uncalled = [
                (campaign.missed, "did not match its condition"),
                (campaign.skipped, "skipped"),
                (campaign.faults, "faulted"),
                (campaign.held, "wait behind a failure"),
            ];
            for (count, what) in uncalled {
                if count > 0 {
                    write!(formatter, ", {count} {what}")?;
                }
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}
