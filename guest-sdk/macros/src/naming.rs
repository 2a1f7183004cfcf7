//! Names: from one case to another, and what somebody may have meant.

use std::fmt::Write;

/// `BigBasket` → `big-basket`.
pub(crate) fn kebab_case(camel: &str) -> String {
    let mut kebab = String::new();
    let letters: Vec<char> = camel.chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        // A capital begins a word, unless it stands within an abbreviation (`SMSWelcome`).
        let begins = letter.is_uppercase()
            && at > 0
            && (!letters[at - 1].is_uppercase() || letters.get(at + 1).is_some_and(|next| next.is_lowercase()));
        if begins && !kebab.ends_with('-') {
            kebab.push('-');
        }
        kebab.extend(if *letter == '_' { vec!['-'] } else { letter.to_lowercase().collect() });
    }
    kebab
}

/// `card_linked` → `CardLinked`.
pub(crate) fn camel_case(snake: &str) -> String {
    snake
        .split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
        })
        .collect()
}

/// The known name that is nearest to one that isn't, if it is near at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= name.len().max(candidate.len()) / 3 || candidate.contains(name) && name.len() > 2
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(name, known).map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// Names in lines of a readable width.
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

/// How many letters must be put in, taken out or exchanged (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, other) in to.iter().enumerate() {
            let exchanged = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = exchanged.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_their_case() {
        for (camel, kebab) in
            [("BigBasket", "big-basket"), ("SMSWelcome", "sms-welcome"), ("A", "a"), ("Top3Items", "top3-items")]
        {
            assert_eq!(kebab_case(camel), kebab);
        }
        assert_eq!(camel_case("card_linked"), "CardLinked");
        assert_eq!(camel_case("_on_purchase"), "OnPurchase");
    }

    #[test]
    fn a_typo_finds_what_was_meant() {
        let known = ["amount", "brand_id", "items"];
        for (typo, meant) in
            [("ammount", Some("amount")), ("brand", Some("brand_id")), ("item", Some("items")), ("zzz", None)]
        {
            assert_eq!(nearest(typo, known.into_iter()), meant, "{typo}");
        }
    }
}
