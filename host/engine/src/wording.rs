//! How foreign words appear in messages: bounded, without control characters, and with a guess at what was meant.
//! Names from modules and campaign files end up on terminals and in logs, so none of them is printed as it came.

/// The most characters of a foreign word that a message shows.
const SHOWN_CHARS_MAX: usize = 120;

/// A foreign text as a message may show it.
pub fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown = String::new();
    for character in characters.by_ref().take(SHOWN_CHARS_MAX) {
        match character {
            // Bidirectional overrides and the like would let a name lie about itself.
            _ if character.is_control() || is_invisible(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// What a guest says to people, as one line of at most so many bytes.
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
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The known word that was probably meant, if one is near enough.
pub fn closest<'words>(word: &str, known: impl IntoIterator<Item = &'words str>) -> Option<&'words str> {
    // Longer words are not names, and the distance costs their product.
    if word.len() > 64 {
        return None;
    }
    let near = |candidate: &'words str| {
        let distance = edit_distance(word, candidate);
        let is_near = distance <= 1 + word.chars().count().max(candidate.chars().count()) / 4;
        is_near.then_some((distance, candidate))
    };
    known.into_iter().filter(|candidate| candidate.len() <= 64).filter_map(near).min().map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, replace, or swap with their neighbour.
fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, &letter) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &other) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != other);
            let mut distance = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && letter == to[column - 1] && from[row - 1] == other {
                distance = distance.min(before_last[column - 1] + 1);
            }
            current.push(distance);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["threshold", "template", "brand"];
        assert_eq!(closest("treshold", known), Some("threshold"));
        assert_eq!(closest("tempalte", known), Some("template"));
        assert_eq!(closest("bran", known), Some("brand"));
    }

    #[test]
    fn a_word_that_is_far_from_all_gets_no_suggestion() {
        assert_eq!(closest("currency", ["threshold", "template"]), None);
        assert_eq!(closest(&"x".repeat(100_000), ["threshold"]), None);
    }

    #[test]
    fn what_a_guest_says_is_one_line_of_letters() {
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
