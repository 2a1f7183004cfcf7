//! Writes JSON by hand: numbers with four decimals, texts, times, identifiers. Exact, without
//! floats, and fast.

/// Writes a JSON object or array into a line.
pub(super) struct Writer<'a> {
    line: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(line: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { line }
    }

    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.line.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.line.extend_from_slice(bytes);
        self
    }

    /// Writes `"name":`, after a comma unless it is the first member.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        self.comma();
        self.raw("\"").raw(name).raw("\":")
    }

    /// Writes a comma, unless the object or array has just begun.
    pub(super) fn comma(&mut self) -> &mut Self {
        if !matches!(self.line.last(), Some(b'{' | b'[') | None) {
            self.line.push(b',');
        }
        self
    }

    /// Writes a member with a raw JSON value: a number, `null`, `true`.
    pub(super) fn plain(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name).raw(value)
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.plain(name, if value { "true" } else { "false" })
    }

    /// Writes a member with a text that is escaped already or needs no escapes.
    pub(super) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name).raw("\"").raw(value).raw("\"")
    }

    pub(super) fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name).digits(value, 1)
    }

    /// Writes a member with a number as a text of at least `width` digits.
    pub(super) fn number_text(&mut self, name: &str, value: u64, width: usize) -> &mut Self {
        self.name(name).raw("\"").digits(value, width).raw("\"")
    }

    /// Writes a member with an amount and four decimals; `amount` is in ten-thousandths.
    pub(super) fn amount(&mut self, name: &str, amount: i64) -> &mut Self {
        self.name(name).decimals(amount, 4)
    }

    /// Writes an amount with `decimals` of its four decimals.
    pub(super) fn decimals(&mut self, amount: i64, decimals: u32) -> &mut Self {
        if amount < 0 {
            self.line.push(b'-');
        }
        let magnitude = amount.unsigned_abs();
        self.digits(magnitude / 10_000, 1).raw(".");
        self.digits(magnitude % 10_000 / 10_u64.pow(4 - decimals), decimals as usize)
    }

    /// Writes a number with at least `width` digits.
    pub(super) fn digits(&mut self, mut value: u64, width: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        while value > 0 {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
        }
        let at = at.min(digits.len() - width.clamp(1, digits.len()));
        self.bytes(&digits[at..])
    }

    /// Writes a member with a time: `2026-01-01T00:00:00Z`.
    pub(super) fn time(&mut self, name: &str, at_ms: i64) -> &mut Self {
        let seconds = at_ms.div_euclid(1000);
        let (year, month, day) = date_of(seconds.div_euclid(86_400));
        let second = seconds.rem_euclid(86_400) as u64;
        self.name(name)
            .raw("\"")
            .digits(year as u64, 4)
            .raw("-")
            .digits(month, 2)
            .raw("-")
            .digits(day, 2)
            .raw("T");
        self.digits(second / 3600, 2)
            .raw(":")
            .digits(second / 60 % 60, 2)
            .raw(":")
            .digits(second % 60, 2)
            .raw("Z\"")
    }

    /// Writes a member with a UUID: `d4119aee-c0b1-48ea-902f-82beed917270`.
    pub(super) fn uuid(&mut self, name: &str, value: u128) -> &mut Self {
        // Sets the version bits to 4 ("random"), and the variant bits.
        let value = value & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        self.name(name).raw("\"").hex(value, 32, &[8, 12, 16, 20]).raw("\"")
    }

    /// Writes the lowest `digits` hexadecimal digits, with a dash before each place in `dashes`.
    pub(super) fn hex(&mut self, value: u128, digits: u32, dashes: &[u32]) -> &mut Self {
        for place in 0..digits {
            if dashes.contains(&place) {
                self.line.push(b'-');
            }
            let digit = (value >> (4 * (digits - 1 - place)) & 0xf) as usize;
            self.line.push(b"0123456789abcdef"[digit]);
        }
        self
    }
}

/// Year, month and day of a day number since 1970-01-01, computed in eras of 400 years that begin
/// in March.
fn date_of(days: i64) -> (i64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u64, day as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut line = vec![b'{'];
        write(&mut Writer::new(&mut line));
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn amounts_are_written_exactly() {
        for (amount, text) in
            [(1_350_000, "135.0000"), (-66_700, "-6.6700"), (0, "0.0000"), (-1, "-0.0001")]
        {
            assert_eq!(
                written(|writer| {
                    writer.amount("a", amount);
                }),
                format!("{{\"a\":{text}")
            );
        }
        assert_eq!(
            written(|writer| {
                writer.decimals(66_700, 2);
            }),
            "{6.67"
        );
    }

    #[test]
    fn times_agree_with_a_calendar() {
        for day in (0..3_000_000).step_by(997) {
            let at = jiff::Timestamp::from_second(day * 86_400 % 220_000_000_000 + 86_399).unwrap();
            let text = written(|writer| {
                writer.time("t", at.as_millisecond());
            });
            assert_eq!(text, format!("{{\"t\":\"{at}\""));
        }
    }

    #[test]
    fn identifiers_have_the_right_shape() {
        let text = written(|writer| {
            writer.uuid("u", u128::MAX);
        });
        assert_eq!(text, "{\"u\":\"ffffffff-ffff-4fff-bfff-ffffffffffff\"");
        assert_eq!(
            written(|writer| {
                writer.number_text("n", 20_000_008, 9);
            }),
            "{\"n\":\"020000008\""
        );
    }
}
