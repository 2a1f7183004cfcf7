//! Marks: figures that the design promises, with the measured values. Each mark is printed when it
//! is measured, and appended to the file that `BENCH_MARKS` names. `make bench` makes its table
//! from this file.

#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::fs::OpenOptions;
use std::io::Write;

/// The limit of a figure.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every benchmark has a mark of each kind")]
pub(crate) enum Against {
    AtLeast(f64),
    AtMost(f64),
}

/// Reports a mark. `unit` follows both figures. `beside` is a text about other results of the run.
pub(crate) fn mark(name: &str, measured: f64, against: Against, unit: &str, beside: &str) {
    let (reached, words, limit) = match against {
        Against::AtLeast(limit) => (measured >= limit, "at least", limit),
        Against::AtMost(limit) => (measured <= limit, "at most", limit),
    };
    let digits = |figure: f64| if figure < 10.0 { 2 } else { 0 };
    let (of_measured, of_limit) = (digits(measured), digits(limit));
    let reached = if reached { "reached" } else { "MISSED" };
    let line = format!(
        "{name}\t{measured:.of_measured$}{unit} ({beside})\t{words} \
         {limit:.of_limit$}{unit}\t{reached}\n"
    );
    print!("mark: {}", line.replace('\t', " | "));
    let Some(path) = std::env::var_os("BENCH_MARKS") else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        println!("{}: {error}", path.display());
    }
}
