//! What came of scenarios, for people: what was decided, what it cost against the limits, and where it differs from what was expected.

use std::io::IsTerminal;
use std::time::Duration;

use super::super::output;
use super::{Bounded, Outcome};
use crate::scenarios::{Decided, Report};

/// Whether there are colours: on a terminal, unless somebody said no (<https://no-color.org>).
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Look {
    has_colours: bool,
}

impl Look {
    /// For what is written to this.
    pub(in crate::cli) fn of(output: &impl IsTerminal) -> Look {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Look { has_colours: output.is_terminal() && !refused }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// How much is shown of a scenario that passed; of one that failed it is everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Passed {
    Whole,
    Named,
    Hidden,
}

/// One file of scenarios. Nothing if there is none to show.
pub(in crate::cli) fn outcome(outcome: &Outcome, look: Look, passed: Passed) -> String {
    let mut text = String::new();
    let shown = outcome.scenarios.iter().filter(|report| passed != Passed::Hidden || !report.is_passed());
    for report in shown {
        if text.is_empty() {
            text += &format!("{} {}  {}\n", outcome.rule, outcome.version, look.faint(&outcome.file));
        }
        text += &match passed {
            Passed::Named if report.is_passed() => name(report, look),
            _ => scenario(report, &outcome.limits, look),
        };
    }
    if !text.is_empty() && passed != Passed::Named {
        text.push('\n');
    }
    text
}

fn name(report: &Report, look: Look) -> String {
    let mark = if report.is_passed() { look.green("ok    ") } else { look.red("FAILED") };
    format!("  {mark} {}\n", report.name)
}

fn scenario(report: &Report, limits: &Bounded, look: Look) -> String {
    let mut text = name(report, look);
    for step in &report.steps {
        let mut lines: Vec<String> = step.decided.iter().flat_map(|decided| said(decided, look)).collect();
        if lines.is_empty() {
            lines.push(look.faint("nothing"));
        }
        for (number, line) in lines.iter().enumerate() {
            let what = if number == 0 { &step.what } else { "" };
            text += &format!("           {what:<24} {line}\n");
        }
    }
    let cost = &report.cost;
    let of = |used: u64, limit: u64, unit: &dyn Fn(u64) -> String| {
        let line = format!("{} of {}", unit(used), unit(limit));
        if used >= limit { look.red(&line) } else { line }
    };
    if cost.memory_bytes > 0 {
        text += &format!(
            "           {} fuel {}, memory {}, output {}; {:.1} ms\n",
            look.faint("most a call:"),
            of(cost.fuel, limits.fuel, &grouped),
            of(cost.memory_bytes as u64, limits.memory_bytes as u64, &output::size),
            of(cost.output_bytes as u64, limits.output_bytes as u64, &output::size),
            report.time.as_secs_f64() * 1000.0,
        );
    }
    for line in report.explain() {
        let line = match line.trim_start().chars().next() {
            Some('-') => look.green(&line),
            Some('+') => look.red(&line),
            _ => line,
        };
        text += &format!("           {line}\n");
    }
    text
}

/// What a rule made of one event or timer.
fn said(decided: &Decided, look: Look) -> Vec<String> {
    let sent = decided.sent.iter().cloned();
    let suppressed = decided.suppressed.iter().map(|message| format!("not sent: {message}"));
    let notes = decided.notes.iter().map(|note| look.faint(&format!("note: {note}")));
    let logs = decided.logs.iter().map(|line| look.faint(&format!("log: {line}")));
    let error = decided.error.iter().map(|error| look.red(&format!("failed: it {error}")));
    let mut lines: Vec<String> = sent.chain(suppressed).chain(notes).chain(logs).chain(error).collect();
    if decided.cause.starts_with("timer ") {
        let cause = format!("{} {}", decided.at, decided.cause);
        match lines.first_mut() {
            Some(first) => *first = format!("{cause}: {first}"),
            None => lines.push(cause),
        }
    }
    lines
}

/// How many there were, for people.
pub(super) fn sum(outcomes: &[Outcome], look: Look) -> anyhow::Result<()> {
    let reports = || outcomes.iter().flat_map(|outcome| &outcome.scenarios);
    let (count, failed) = (reports().count(), reports().filter(|report| !report.is_passed()).count());
    let time: Duration = reports().map(|report| report.time).sum();
    let broken = outcomes.iter().filter(|outcome| !outcome.problems.is_empty()).count();
    let ran = match (count, failed) {
        (0, _) => None,
        (_, 0) => Some(look.green(&format!("{count} scenarios passed"))),
        _ => Some(look.red(&format!("{failed} of {count} scenarios failed"))),
    };
    let ran = ran.map(|ran| format!("{ran} ({:.1} ms)", time.as_secs_f64() * 1000.0));
    let refused = (broken > 0).then(|| format!("{broken} files can't be meant so: correct what is named above"));
    output::data(&ran.into_iter().chain(refused).collect::<Vec<_>>().join("; "))
}

/// A number with its digits in threes.
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
    fn large_numbers_are_shown_in_threes() {
        assert_eq!([0, 999, 1000, 10_000_000].map(grouped), ["0", "999", "1 000", "10 000 000"]);
    }
}
