//! Names: conversions between cases, and suggestions for misspelled names.

use std::fmt::Write;

use strsim::levenshtein;

/// Converts to kebab case: `BigBasket` → `big-basket`.
pub(crate) fn kebab_case(camel: &str) -> String {
    let mut kebab = String::new();
    let letters: Vec<char> = camel.chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        // A capital begins a word, unless it is inside an abbreviation (`SMSWelcome`).
        let begins = letter.is_uppercase()
            && at > 0
            && (!letters[at - 1].is_uppercase()
                || letters.get(at + 1).is_some_and(|next| next.is_lowercase()));
        if begins && !kebab.ends_with('-') {
            kebab.push('-');
        }
        kebab.extend(if *letter == '_' { vec!['-'] } else { letter.to_lowercase().collect() });
    }
    kebab
}

/// Converts to camel case: `card_linked` → `CardLinked`.
pub(crate) fn camel_case(snake: &str) -> String {
    snake
        .split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
        })
        .collect()
}

/// The known name most similar to `name`; `None` if none is similar enough.
pub(crate) fn most_similar<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .map(|candidate| (levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= name.len().max(candidate.len()) / 3
                || candidate.contains(name) && name.len() > 2
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The text ``; did you mean `…`?``, or an empty string if no known name is similar.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    most_similar(name, known)
        .map(|similar| format!("; did you mean `{similar}`?"))
        .unwrap_or_default()
}

/// A list of names in lines of at most about 90 characters.
pub(crate) fn columns<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut width = 0;
    for name in names {
        if width == 0 || width + name.len() > 90 {
            text.push_str(if width == 0 { "\n  " } else { ",\n  " });
            width = 0;
        } else {
            text.push_str(", ");
        }
        let _ = write!(text, "{name}");
        width += name.len() + 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_converted_between_cases() {
        for (camel, kebab) in [
            ("BigBasket", "big-basket"),
            ("SMSWelcome", "sms-welcome"),
            ("A", "a"),
            ("Top3Items", "top3-items"),
        ] {
            assert_eq!(kebab_case(camel), kebab);
        }
        assert_eq!(camel_case("card_linked"), "CardLinked");
        assert_eq!(camel_case("_on_purchase"), "OnPurchase");
    }

    #[test]
    fn a_misspelled_name_finds_the_similar_one() {
        let known = ["amount", "brand_id", "items"];
        for (typo, similar) in [
            ("ammount", Some("amount")),
            ("brand", Some("brand_id")),
            ("item", Some("items")),
            ("zzz", None),
        ] {
            assert_eq!(most_similar(typo, known.into_iter()), similar, "{typo}");
        }
    }
}
