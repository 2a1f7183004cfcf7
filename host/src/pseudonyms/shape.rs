//! Pseudonyms with the shape of the original: digits for digits and as many, a UUID for a UUID, an
//! address for an address.
//!
//! Digits are permuted among all numbers of their length, so two customers never get the same
//! pseudonym. The permutation is a Feistel network of eight rounds with keyed BLAKE3, repeated
//! until the number has that length. Numbers of more than 18 digits, and all other texts, become a
//! part of their keyed hash.

use super::key::Key;

const ROUNDS: u8 = 8;
/// Longer numbers are hashed; collisions are practically impossible.
const PERMUTED_DIGITS_MAX: usize = 18;
/// Characters that occur between the digits of a phone number, a date or a card.
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

    /// The pseudonym of a text.
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
            // The digit with the UUID's version stays.
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
        if text.len() >= 8
            && text.len() <= 64
            && all(|letter| matches!(letter, '0'..='9' | 'a'..='f'))
        {
            return hash[..text.len()].to_owned();
        }
        if text.contains('@') {
            return format!("p-{}@example.invalid", &hash[..16]);
        }
        format!("p-{}", &hash[..16])
    }

    /// The pseudonym of a number literal, with the same length, sign and decimal point. An exponent
    /// stays.
    pub(super) fn number(&self, literal: &str) -> String {
        match literal.find(['e', 'E']) {
            Some(exponent) => self.digits_within(&literal[..exponent]) + &literal[exponent..],
            None => self.digits_within(literal),
        }
    }

    /// Replaces the digits of a text as one number, and nothing else.
    fn digits_within(&self, text: &str) -> String {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let others = self.digits(&digits);
        let mut others = others.chars();
        text.chars()
            .map(
                |letter| {
                    if letter.is_ascii_digit() { others.next().unwrap_or('0') } else { letter }
                },
            )
            .collect()
    }

    /// The same number of other digits. Leading zeros stay, and no others are added, so a number
    /// literal stays valid JSON.
    fn digits(&self, digits: &str) -> String {
        let rest = digits.trim_start_matches('0');
        let zeros = &digits[..digits.len() - rest.len()];
        match rest.parse::<u64>() {
            Ok(number) if rest.len() <= PERMUTED_DIGITS_MAX => {
                let least = 10_u64.pow(rest.len() as u32 - 1);
                let other = least + self.permute(number - least, 9 * least, rest.len() as u8);
                format!("{zeros}{other}")
            }
            // The number consists of zeros.
            Err(_) if rest.is_empty() => digits.to_owned(),
            _ => {
                let mut hash =
                    blake3::Hasher::new_keyed(&self.digits).update(rest.as_bytes()).finalize_xof();
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

    /// Maps a number below `size` to another one; a permutation.
    fn permute(&self, number: u64, size: u64, tweak: u8) -> u64 {
        // Half of the bits of the largest number, at least one.
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
