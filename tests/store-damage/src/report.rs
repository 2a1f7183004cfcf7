//! Collects the cases, and prints the tables at the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::children::{Outcome, Verdict};

/// Marks a refusal after which the store is not intact even with the undamaged file.
pub(crate) const DESTRUCTIVE: &str = "DESTRUCTIVE";

/// A damage and its outcome.
pub(crate) struct Case {
    pub(crate) contender: String,
    /// The kind of damage.
    pub(crate) damage: &'static str,
    pub(crate) file_kind: &'static str,
    /// The file and the place in it, or the moment.
    pub(crate) place: String,
    pub(crate) outcome: Outcome,
}

#[derive(Default)]
pub(crate) struct Report {
    cases: Mutex<Vec<Case>>,
}

impl Report {
    pub(crate) fn add(&self, case: Case) {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner).push(case);
    }

    /// Prints the cases that are neither intact nor refused, then the tables.
    pub(crate) fn print(&self) {
        let mut cases = self.cases.lock().unwrap_or_else(PoisonError::into_inner);
        cases.sort_by(|a, b| {
            (&a.contender, a.damage, a.file_kind, &a.place).cmp(&(
                &b.contender,
                b.damage,
                b.file_kind,
                &b.place,
            ))
        });
        println!("\n== cases that are neither intact nor refused");
        for case in cases.iter() {
            if !matches!(case.outcome.verdict, Verdict::Intact | Verdict::Refused) {
                let Case { contender, damage, file_kind, place, outcome } = case;
                let text: String = outcome.text.chars().take(260).collect();
                println!(
                    "{} | {contender} | {damage} | {file_kind} | {place} | {text}",
                    outcome.verdict.name()
                );
            }
        }
        println!("\n== a refusal of each kind");
        let mut shown = BTreeMap::new();
        for case in cases.iter().filter(|case| case.outcome.verdict == Verdict::Refused) {
            shown
                .entry((&case.contender, case.damage, case.file_kind))
                .or_insert(&case.outcome.text);
        }
        for ((contender, damage, file_kind), text) in shown {
            let text: String = text.chars().take(200).collect();
            println!("{contender} | {damage} | {file_kind} | {text}");
        }
        println!("\n== by damage");
        table(&cases, "damage", |case| case.damage.to_owned());
        println!("\n== by damaged file");
        table(&cases, "file", |case| case.file_kind.to_owned());
        println!("\n== all");
        table(&cases, "all", |_| "all".to_owned());
    }

    pub(crate) fn count(&self, contender: &str, verdict: Verdict) -> usize {
        let cases = self.cases.lock().unwrap_or_else(PoisonError::into_inner);
        cases
            .iter()
            .filter(|case| case.contender == contender && case.outcome.verdict == verdict)
            .count()
    }
}

#[derive(Default)]
struct Counts {
    verdicts: [usize; Verdict::ALL.len()],
    /// Refusals that name a file.
    named: usize,
    destructive: usize,
}

fn table(cases: &[Case], title: &str, row: impl Fn(&Case) -> String) {
    let mut rows: BTreeMap<(&str, String), Counts> = BTreeMap::new();
    for case in cases {
        let counts = rows.entry((&case.contender, row(case))).or_default();
        counts.verdicts[case.outcome.verdict as usize] += 1;
        if case.outcome.verdict == Verdict::Refused {
            // The error has a path, or the name of a file of ours.
            let text = &case.outcome.text;
            counts.named += usize::from(text.contains('/') || text.contains("hailer."));
            counts.destructive += usize::from(text.contains(DESTRUCTIVE));
        }
    }
    print!("| contender | {title} |");
    for verdict in Verdict::ALL {
        print!(" {} |", verdict.name());
        if verdict == Verdict::Refused {
            print!(" of them with a file's name | of them not mended by the undamaged file |");
        }
    }
    println!("\n|---|---|{}", "--:|".repeat(Verdict::ALL.len() + 2));
    for ((contender, row), counts) in rows {
        print!("| {contender} | {row} |");
        for verdict in Verdict::ALL {
            print!(" {} |", counts.verdicts[verdict as usize]);
            if verdict == Verdict::Refused {
                print!(" {} | {} |", counts.named, counts.destructive);
            }
        }
        println!();
    }
}
