//! Foreign text in messages: it is bounded and has no control characters. Names from modules and
//! campaign files appear on terminals and in logs, so none of them is printed unchanged. This
//! module also finds the known word nearest to a misspelt one.

use strsim::osa_distance;

/// The most characters of a foreign text that a message shows.
const SHOWN_CHARS_MAX: usize = 120;

/// Returns a foreign text in a form that is safe in a message.
pub fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown = String::new();
    for character in characters.by_ref().take(SHOWN_CHARS_MAX) {
        match character {
            // Bidirectional overrides and similar characters could make a name look like another.
            _ if character.is_control() || is_invisible(character) => {
                shown.extend(character.escape_unicode())
            }
            _ => shown.push(character),
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Returns the text of a guest as one line, cut to `bytes_max` bytes before escaping.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    let text = &text[..text.floor_char_boundary(bytes_max)];
    if !text.contains(|character: char| character.is_control() || is_invisible(character)) {
        return text.to_owned();
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            _ if character.is_control() => line.extend(character.escape_default()),
            _ if is_invisible(character) => line.extend(character.escape_unicode()),
            _ => line.push(character),
        }
    }
    line
}

fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// Returns the known word nearest to `word`; `None` if none is near enough.
pub fn closest<'words>(
    word: &str,
    known: impl IntoIterator<Item = &'words str>,
) -> Option<&'words str> {
    // Names are never longer, and the cost of the distance is the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let near = |candidate: &'words str| {
        let distance = osa_distance(word, candidate);
        let is_near = distance <= 1 + word.chars().count().max(candidate.chars().count()) / 4;
        is_near.then_some((distance, candidate))
    };
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .filter_map(near)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The error about a campaign that does not exist, with the name that may be meant.
pub fn no_campaign<'names>(name: &str, known: impl IntoIterator<Item = &'names str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let hint = match closest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    };
    format!("there is no campaign `{}`; {hint}", shown(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_gets_a_suggestion() {
        let known = ["threshold", "template", "brand"];
        assert_eq!(closest("treshold", known), Some("threshold"));
        assert_eq!(closest("tempalte", known), Some("template"));
        assert_eq!(closest("bran", known), Some("brand"));
    }

    #[test]
    fn a_word_unlike_all_known_ones_gets_no_suggestion() {
        assert_eq!(closest("currency", ["threshold", "template"]), None);
        assert_eq!(closest(&"x".repeat(100_000), ["threshold"]), None);
    }

    #[test]
    fn guest_text_becomes_one_line_without_control_characters() {
        assert_eq!(one_line("plain ~ text", 1024), "plain ~ text");
        assert_eq!(one_line("Спящие", 5), "Сп");
        assert_eq!(one_line("a\nb\u{7f}\u{9b}\u{202e}я", 1024), "a\\nb\\u{7f}\\u{9b}\\u{202e}я");
    }

    #[test]
    fn foreign_text_is_cut_and_stripped_of_control_characters() {
        assert_eq!(shown("a\u{1b}[31mb\u{202e}"), "a\\u{1b}[31mb\\u{202e}");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
