//! The results of scenarios as text: what was decided, what it cost against the limits, and the
//! differences from the expectations.

use std::io::IsTerminal;
use std::time::Duration;

use super::super::output;
use super::{CallLimits, Outcome};
use crate::scenarios::{Decided, Report};

/// Whether the text has colours: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Colours {
    has_colours: bool,
}

impl Colours {
    /// The colours for text that is written to `output`: none unless it is a terminal.
    pub(in crate::cli) fn of(output: &impl IsTerminal) -> Colours {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Colours { has_colours: output.is_terminal() && !refused }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(in crate::cli) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(in crate::cli) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// The part of a passed scenario that is shown. A failed scenario is shown completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum ShowPassed {
    Full,
    Named,
    Hidden,
}

/// The results of one file of scenarios; empty if no scenario is shown.
pub(in crate::cli) fn outcome(outcome: &Outcome, colours: Colours, passed: ShowPassed) -> String {
    let mut text = String::new();
    let shown = outcome
        .scenarios
        .iter()
        .filter(|report| passed != ShowPassed::Hidden || !report.is_passed());
    for report in shown {
        if text.is_empty() {
            text += &format!(
                "{} {}  {}\n",
                outcome.rule,
                outcome.version,
                colours.faint(&outcome.file)
            );
        }
        text += &match passed {
            ShowPassed::Named if report.is_passed() => name(report, colours),
            _ => scenario(report, &outcome.limits, colours),
        };
    }
    if !text.is_empty() && passed != ShowPassed::Named {
        text.push('\n');
    }
    text
}

fn name(report: &Report, colours: Colours) -> String {
    let mark = if report.is_passed() { colours.green("ok    ") } else { colours.red("FAILED") };
    format!("  {mark} {}\n", report.name)
}

fn scenario(report: &Report, limits: &CallLimits, colours: Colours) -> String {
    let mut text = name(report, colours);
    for step in &report.steps {
        let mut lines: Vec<String> =
            step.decided.iter().flat_map(|decided| decision_lines(decided, colours)).collect();
        if lines.is_empty() {
            lines.push(colours.faint("nothing"));
        }
        for (number, line) in lines.iter().enumerate() {
            let what = if number == 0 { &step.what } else { "" };
            text += &format!("           {what:<24} {line}\n");
        }
    }
    let cost = &report.cost;
    let of = |used: u64, limit: u64, unit: &dyn Fn(u64) -> String| {
        let line = format!("{} of {}", unit(used), unit(limit));
        if used >= limit { colours.red(&line) } else { line }
    };
    if cost.memory_bytes > 0 {
        text += &format!(
            "           {} fuel {}, memory {}, output {}; {:.1} ms\n",
            colours.faint("highest per call:"),
            of(cost.fuel, limits.fuel, &grouped),
            of(cost.memory_bytes as u64, limits.memory_bytes as u64, &output::size),
            of(cost.output_bytes as u64, limits.output_bytes as u64, &output::size),
            report.time.as_secs_f64() * 1000.0,
        );
    }
    for line in report.explain() {
        let line = match line.trim_start().chars().next() {
            Some('-') => colours.green(&line),
            Some('+') => colours.red(&line),
            _ => line,
        };
        text += &format!("           {line}\n");
    }
    text
}

/// The decision on one event or timer, as lines.
fn decision_lines(decided: &Decided, colours: Colours) -> Vec<String> {
    let sent = decided.sent.iter().cloned();
    let suppressed = decided.suppressed.iter().map(|message| format!("not sent: {message}"));
    let notes = decided.notes.iter().map(|note| colours.faint(&format!("note: {note}")));
    let logs = decided.logs.iter().map(|line| colours.faint(&format!("log: {line}")));
    let error = decided.error.iter().map(|error| colours.red(&format!("failed: it {error}")));
    let mut lines: Vec<String> =
        sent.chain(suppressed).chain(notes).chain(logs).chain(error).collect();
    if decided.cause.starts_with("timer ") {
        let cause = format!("{} {}", decided.at, decided.cause);
        match lines.first_mut() {
            Some(first) => *first = format!("{cause}: {first}"),
            None => lines.push(cause),
        }
    }
    lines
}

/// Prints how many scenarios passed and failed.
pub(super) fn print_summary(outcomes: &[Outcome], colours: Colours) -> anyhow::Result<()> {
    let reports = || outcomes.iter().flat_map(|outcome| &outcome.scenarios);
    let (count, failed) =
        (reports().count(), reports().filter(|report| !report.is_passed()).count());
    let time: Duration = reports().map(|report| report.time).sum();
    let broken = outcomes.iter().filter(|outcome| !outcome.problems.is_empty()).count();
    let ran = match (count, failed) {
        (0, _) => None,
        (_, 0) => Some(colours.green(&format!("{count} scenarios passed"))),
        _ => Some(colours.red(&format!("{failed} of {count} scenarios failed"))),
    };
    let ran = ran.map(|ran| format!("{ran} ({:.1} ms)", time.as_secs_f64() * 1000.0));
    let refused =
        (broken > 0).then(|| format!("{broken} files are invalid: correct the errors above"));
    output::data(&ran.into_iter().chain(refused).collect::<Vec<_>>().join("; "))
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_shown_with_digits_in_groups_of_three() {
        assert_eq!([0, 999, 1000, 10_000_000].map(grouped), ["0", "999", "1 000", "10 000 000"]);
    }
}
