//! What a new crate begins as: one small rule with its tests for each way in which rules remember.

use std::io::{BufRead, Write};

use clap::ValueEnum;

/// What the new rule is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Template {
    /// Answers an event by itself: thanks for a big purchase
    Stateless,
    /// Counts: thanks for every third purchase
    Counter,
    /// Waits: nudges whoever does not finish registering
    Timer,
    /// Several messages over days, until something happens: a welcome
    Sequence,
}

impl Template {
    pub(super) fn rule(self) -> &'static str {
        match self {
            Template::Stateless => include_str!("files/stateless.rs.txt"),
            Template::Counter => include_str!("files/counter.rs.txt"),
            Template::Timer => include_str!("files/timer.rs.txt"),
            Template::Sequence => include_str!("files/sequence.rs.txt"),
        }
    }

    /// What the rule does, as stories.
    pub(super) fn scenarios(self) -> &'static str {
        match self {
            Template::Stateless => include_str!("files/stateless.scenarios.txt"),
            Template::Counter => include_str!("files/counter.scenarios.txt"),
            Template::Timer => include_str!("files/timer.scenarios.txt"),
            Template::Sequence => include_str!("files/sequence.scenarios.txt"),
        }
    }

    /// The rule's first line, which describes it.
    pub(super) fn description(self) -> &'static str {
        self.rule().lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default()
    }

    /// A parameter as a campaign's file sets it.
    pub(super) fn param(self) -> &'static str {
        match self {
            Template::Stateless => "threshold = \"500.00\"",
            Template::Counter => "purchases = 5",
            Template::Timer => "wait_minutes = 30",
            Template::Sequence => "days = 7",
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn help(self) -> String {
        self.to_possible_value().and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default()
    }

    /// Asks somebody who sits at a terminal which one it is to be.
    ///
    /// # Errors
    /// When the terminal can't be read or written.
    pub(super) fn ask(mut input: impl BufRead, mut output: impl Write) -> std::io::Result<Option<Template>> {
        writeln!(output, "What is the rule like?")?;
        for (number, template) in Template::value_variants().iter().enumerate() {
            writeln!(output, "  {} {:<10} {}", number + 1, template.name(), template.help())?;
        }
        loop {
            write!(output, "Its number or name [1]: ")?;
            output.flush()?;
            let mut answer = String::new();
            if input.read_line(&mut answer)? == 0 {
                return Ok(None);
            }
            match Template::answered(answer.trim()) {
                Some(template) => return Ok(Some(template)),
                None => writeln!(output, "There is none of that number or name.")?,
            }
        }
    }

    fn answered(answer: &str) -> Option<Template> {
        if answer.is_empty() {
            return Some(Template::Stateless);
        }
        let of_number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        match of_number {
            Some(at) => Template::value_variants().get(at).copied(),
            None => Template::from_str(answer, true).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str) -> (Option<Template>, String) {
        let mut shown = Vec::new();
        let chosen = Template::ask(answers.as_bytes(), &mut shown).unwrap();
        (chosen, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn a_template_is_chosen_by_number_by_name_or_by_nothing() {
        for (answer, expected) in [("\n", "stateless"), ("3\n", "timer"), ("Counter\n", "counter"), ("4", "sequence")] {
            let (chosen, shown) = asked(answer);
            assert_eq!(chosen.unwrap().name(), expected, "{shown}");
            assert!(shown.contains("2 counter    Counts"), "{shown}");
        }
    }

    #[test]
    fn a_wrong_answer_is_asked_again_and_none_is_no_template() {
        let (chosen, shown) = asked("0\nfive\n2\n");
        assert_eq!(chosen, Some(Template::Counter));
        assert_eq!(shown.matches("There is none").count(), 2);
        assert_eq!(asked("5\n").0, None);
    }

    #[test]
    fn every_template_describes_itself() {
        for template in Template::value_variants() {
            assert!(template.description().ends_with('.'), "{template:?}");
            let name = template.param().split(' ').next().unwrap();
            assert!(template.rule().contains(&format!(" {name}: ")), "{template:?} has no `{name}`");
        }
    }
}
