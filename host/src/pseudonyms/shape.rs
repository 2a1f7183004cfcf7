//! Pseudonyms of the shape of what they stand for: digits for digits and as many, a UUID for a UUID, an address for an address.
//!
//! Digits are permuted among all numbers of their length, so that no two customers ever become one: eight rounds of a Feistel network with keyed BLAKE3, walked
//! until the number is one of that length. What is longer than 18 digits, and every other text, becomes a part of its keyed hash.

use super::key::Key;

const ROUNDS: u8 = 8;
/// Longer numbers are hashed: two of them are as good as never the same.
const PERMUTED_DIGITS_MAX: usize = 18;
/// Signs that stand among the digits of a phone number, a date or a card.
const BETWEEN_DIGITS: &str = "+-() ./:";

#[derive(Debug)]
pub(super) struct Shapes {
    digits: [u8; 32],
    texts: [u8; 32],
}

impl Shapes {
    pub(super) fn new(key: &Key) -> Shapes {
        Shapes {
            digits: key.of_purpose("hailer pseudonyms 1: digits"),
            texts: key.of_purpose("hailer pseudonyms 1: texts"),
        }
    }

    /// Another text.
    pub(super) fn text(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let all = |may_be: fn(char) -> bool| text.chars().all(may_be);
        if all(|letter| letter.is_ascii_digit() || BETWEEN_DIGITS.contains(letter))
            && text.bytes().any(|byte| byte.is_ascii_digit())
        {
            return self.digits_within(text);
        }
        let hash = blake3::keyed_hash(&self.texts, text.as_bytes()).to_hex();
        let of_32 = &hash[..32];
        if is_uuid(text) {
            // The digit that says which version it is stays.
            let version = &text[14..15];
            return format!(
                "{}-{}-{version}{}-a{}-{}",
                &of_32[..8],
                &of_32[8..12],
                &of_32[13..16],
                &of_32[17..20],
                &of_32[20..]
            );
        }
        if text.len() >= 8 && text.len() <= 64 && all(|letter| matches!(letter, '0'..='9' | 'a'..='f')) {
            return hash[..text.len()].to_owned();
        }
        if text.contains('@') {
            return format!("p-{}@example.invalid", &hash[..16]);
        }
        format!("p-{}", &hash[..16])
    }

    /// Another number, as it is written: of the same length, sign and place of the point. An exponent stays.
    pub(super) fn number(&self, literal: &str) -> String {
        match literal.find(['e', 'E']) {
            Some(exponent) => self.digits_within(&literal[..exponent]) + &literal[exponent..],
            None => self.digits_within(literal),
        }
    }

    /// Replaces the digits of a text, all of them together, and nothing else.
    fn digits_within(&self, text: &str) -> String {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let others = self.digits(&digits);
        let mut others = others.chars();
        text.chars().map(|letter| if letter.is_ascii_digit() { others.next().unwrap_or('0') } else { letter }).collect()
    }

    /// As many other digits. Zeros that lead stay, so that a number with them is one still, and one without is valid JSON.
    fn digits(&self, digits: &str) -> String {
        let rest = digits.trim_start_matches('0');
        let zeros = &digits[..digits.len() - rest.len()];
        match rest.parse::<u64>() {
            Ok(number) if rest.len() <= PERMUTED_DIGITS_MAX => {
                let least = 10_u64.pow(rest.len() as u32 - 1);
                let other = least + self.permute(number - least, 9 * least, rest.len() as u8);
                format!("{zeros}{other}")
            }
            // Nothing but zeros.
            Err(_) if rest.is_empty() => digits.to_owned(),
            _ => {
                let mut hash = blake3::Hasher::new_keyed(&self.digits).update(rest.as_bytes()).finalize_xof();
                let mut bytes = vec![0; rest.len()];
                hash.fill(&mut bytes);
                let digit = |(place, byte): (usize, u8)| match place {
                    0 => char::from(b'1' + byte % 9),
                    _ => char::from(b'0' + byte % 10),
                };
                zeros.chars().chain(bytes.into_iter().enumerate().map(digit)).collect()
            }
        }
    }

    /// One of `size` numbers, another for each: a permutation.
    fn permute(&self, number: u64, size: u64, tweak: u8) -> u64 {
        // Half as many bits as the largest number has, at least one.
        let half = (u64::BITS - (size - 1).leading_zeros()).div_ceil(2).max(1);
        let mask = (1_u64 << half) - 1;
        let mut number = number;
        loop {
            let (mut left, mut right) = (number >> half, number & mask);
            for round in 0..ROUNDS {
                (left, right) = (right, left ^ (self.round(round, tweak, right) & mask));
            }
            number = left << half | right;
            if number < size {
                return number;
            }
        }
    }

    fn round(&self, round: u8, tweak: u8, half: u64) -> u64 {
        let mut input = [0; 10];
        (input[0], input[1]) = (round, tweak);
        input[2..].copy_from_slice(&half.to_le_bytes());
        let hash = blake3::keyed_hash(&self.digits, &input);
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

fn is_uuid(text: &str) -> bool {
    let fits = |(place, letter): (usize, u8)| match place {
        8 | 13 | 18 | 23 => letter == b'-',
        _ => letter.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}
