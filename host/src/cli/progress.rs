//! The progress of a long command, in one style for all commands: one line on standard error that
//! is redrawn in place. Nothing is shown unless standard error is a terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two updates of the line. Some commands report every row, so most reports must cost
/// next to nothing.
const UPDATE_EVERY: Duration = Duration::from_millis(200);

/// The amount of work that a command has in all.
#[derive(Clone, Copy, Debug)]
pub(super) enum Total {
    Unknown,
    Bytes(u64),
    Items(u64),
}

/// The progress line of one command. Dropping it clears the line.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    updated_at: Option<Instant>,
}

impl Progress {
    pub(super) fn new(total: Total) -> Progress {
        let (bar, template) = match total {
            Total::Unknown | Total::Bytes(0) | Total::Items(0) => {
                (ProgressBar::new_spinner(), "{spinner} {msg}")
            }
            Total::Bytes(bytes) => {
                (ProgressBar::new(bytes), "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left")
            }
            Total::Items(items) => {
                (ProgressBar::new(items), "{bar:30} {pos}/{len}  {msg}  {eta} left")
            }
        };
        let style = ProgressStyle::with_template(template);
        let bar = style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style));
        Progress { bar, updated_at: None }
    }

    /// The progress of a command that writes its data to standard output. If that is a terminal,
    /// no progress is shown, because the line would mix with the data.
    pub(super) fn beside_data(total: Total) -> Progress {
        let progress = Progress::new(total);
        if io::stdout().is_terminal() {
            progress.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        progress
    }

    /// Shows a message instead of the one before.
    pub(super) fn show(&mut self, message: impl FnOnce() -> String) {
        self.update(None, message);
    }

    /// Shows how much of the total is done, with a message beside it.
    pub(super) fn advance(&mut self, done: u64, message: impl FnOnce() -> String) {
        self.update(Some(done), message);
    }

    fn update(&mut self, done: Option<u64>, message: impl FnOnce() -> String) {
        let is_recent = self.updated_at.is_some_and(|at| at.elapsed() < UPDATE_EVERY);
        if is_recent || self.bar.is_hidden() {
            return;
        }
        self.updated_at = Some(Instant::now());
        if let Some(done) = done {
            self.bar.set_position(done);
        }
        // Draws the line.
        self.bar.set_message(message());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that keeps its one line.
    #[derive(Clone, Debug, Default)]
    struct Line(Arc<Mutex<String>>);

    impl Line {
        fn text(&self) -> String {
            self.0.lock().unwrap().trim().to_owned()
        }
    }

    impl TermLike for Line {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn on_a_terminal(total: Total) -> (Line, Progress) {
        let (line, progress) = (Line::default(), Progress::new(total));
        let target = ProgressDrawTarget::term_like(Box::new(line.clone()));
        progress.bar.set_draw_target(target);
        (line, progress)
    }

    #[test]
    fn the_line_shows_the_message_and_is_cleared_at_the_end() {
        let (line, mut progress) = on_a_terminal(Total::Unknown);
        progress.show(|| "7 rows".to_owned());
        assert!(line.text().ends_with(" 7 rows"), "{}", line.text());
        drop(progress);
        assert_eq!(line.text(), "");
    }

    #[test]
    fn a_known_total_is_shown_with_the_part_that_is_done() {
        for (total, done, shown) in [
            (Total::Items(10), 5, " 5/10  events"),
            (Total::Bytes(2048), 1024, " 1.00 KiB/2.00 KiB  events"),
        ] {
            let (line, mut progress) = on_a_terminal(total);
            progress.advance(done, || "events".to_owned());
            assert!(line.text().contains(shown), "{}", line.text());
        }
    }
}
