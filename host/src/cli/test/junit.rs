//! Results as JUnit XML, which every CI reads: one suite for each file of scenarios, one case for
//! each scenario.

use std::fmt::Write as _;

use super::Outcome;

pub(super) fn xml(outcomes: &[Outcome]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for outcome in outcomes {
        let reports = &outcome.scenarios;
        let failures = reports.iter().filter(|report| !report.is_passed()).count();
        let (name, tests, errors) = (escaped(&outcome.file), reports.len(), outcome.problems.len());
        // Writing to a string cannot fail.
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" \
             errors=\"{errors}\">",
            tests + errors
        );
        for problem in &outcome.problems {
            let text = escaped(&problem.to_string());
            let _ = writeln!(
                xml,
                "    <testcase classname=\"{name}\" name=\"the file\"><error \
                 message=\"{text}\"/></testcase>"
            );
        }
        for report in reports {
            let (case, seconds) = (escaped(&report.name), report.time.as_secs_f64());
            let _ = write!(
                xml,
                "    <testcase classname=\"{}\" name=\"{case}\" time=\"{seconds:.6}\"",
                escaped(&outcome.rule)
            );
            let lines = report.explain();
            match lines.first() {
                None => xml.push_str("/>\n"),
                Some(first) => {
                    let _ = writeln!(
                        xml,
                        "><failure message=\"{}\">{}</failure></testcase>",
                        escaped(first),
                        escaped(&lines.join("\n"))
                    );
                }
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml + "</testsuites>\n"
}

/// Escapes a text for XML, for attributes too.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            // XML does not allow other control characters, even escaped.
            _ if character.is_control() => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_rule_does_not_break_the_file() {
        assert_eq!(
            escaped("a<b> & \"c\"\n\u{1b}[31m"),
            "a&lt;b&gt; &amp; &quot;c&quot;&#10;\u{fffd}[31m"
        );
    }
}
