//! The templates of `hailer new`: one small rule with its tests for each way in which rules keep
//! state.

use std::io::{BufRead, Write};

use clap::ValueEnum;

/// The kind of the new rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Template {
    /// Decides each event by itself: thanks for a big purchase
    Stateless,
    /// Counts events: thanks for every third purchase
    Counter,
    /// Waits with a timer: reminds customers who do not finish registering
    Timer,
    /// Sends several messages over days, until something happens: a welcome
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

    /// The scenarios of the rule.
    pub(super) fn scenarios(self) -> &'static str {
        match self {
            Template::Stateless => include_str!("files/stateless.scenarios.txt"),
            Template::Counter => include_str!("files/counter.scenarios.txt"),
            Template::Timer => include_str!("files/timer.scenarios.txt"),
            Template::Sequence => include_str!("files/sequence.scenarios.txt"),
        }
    }

    /// The description of the rule, which is the first line of its source.
    pub(super) fn description(self) -> &'static str {
        self.rule().lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default()
    }

    /// An example of a parameter, as a campaign file sets it.
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
        self.to_possible_value()
            .and_then(|value| Some(value.get_help()?.to_string()))
            .unwrap_or_default()
    }

    /// Asks the user at the terminal which template to use. Returns `None` at the end of the input.
    ///
    /// # Errors
    /// When the terminal cannot be read or written.
    pub(super) fn ask(
        mut input: impl BufRead,
        mut output: impl Write,
    ) -> std::io::Result<Option<Template>> {
        writeln!(output, "Which kind of rule?")?;
        for (number, template) in Template::value_variants().iter().enumerate() {
            writeln!(output, "  {} {:<10} {}", number + 1, template.name(), template.help())?;
        }
        loop {
            write!(output, "Number or name [1]: ")?;
            output.flush()?;
            let mut answer = String::new();
            if input.read_line(&mut answer)? == 0 {
                return Ok(None);
            }
            match Template::answered(answer.trim()) {
                Some(template) => return Ok(Some(template)),
                None => writeln!(output, "There is no template with that number or name.")?,
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
    fn a_template_is_chosen_by_number_by_name_or_by_an_empty_line() {
        for (answer, expected) in
            [("\n", "stateless"), ("3\n", "timer"), ("Counter\n", "counter"), ("4", "sequence")]
        {
            let (chosen, shown) = asked(answer);
            assert_eq!(chosen.unwrap().name(), expected, "{shown}");
            assert!(shown.contains("2 counter    Counts"), "{shown}");
        }
    }

    #[test]
    fn after_a_wrong_answer_it_asks_again_and_no_answer_is_no_template() {
        let (chosen, shown) = asked("0\nfive\n2\n");
        assert_eq!(chosen, Some(Template::Counter));
        assert_eq!(shown.matches("There is no template").count(), 2);
        assert_eq!(asked("5\n").0, None);
    }

    #[test]
    fn every_template_has_a_description_and_an_example_parameter() {
        for template in Template::value_variants() {
            assert!(template.description().ends_with('.'), "{template:?}");
            let name = template.param().split(' ').next().unwrap();
            assert!(
                template.rule().contains(&format!(" {name}: ")),
                "{template:?} has no `{name}`"
            );
        }
    }
}
