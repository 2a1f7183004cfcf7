//! Congratulates customers on their birthday, every year, in the morning.
//!
//! The birthday is the value of a customer attribute; the deployment says which one. It is
//! personal, so the campaign must be granted it. The rule keeps the month and the day, never the
//! year. In years without a 29th of February, that birthday is on the 28th. The rule ignores a date
//! that it cannot read: no congratulation is better than one on the wrong day. It also ignores
//! placeholders for an unknown date, and dates with a time other than midnight. Midnight at the
//! customer's place may be the day before in UTC.

use hailer_sdk::prelude::*;

/// Congratulates customers on their birthday, every year.
#[rule]
pub struct Birthday {
    /// The attribute (`attributeCode`) with the birthday, as `1990-02-28` (with or without a time)
    /// or `28.02.1990`.
    #[param(default = "Birthday", min = 1)]
    attribute: String,
    /// The hour of the message, in the campaign's time zone.
    #[param(default = 10, max = 23)]
    hour: u8,
    /// The template of the push message.
    #[param(default = "birthday", min = 1, max = 128)]
    template: String,
}

/// The birthday; month 0 and day 0 if it is unknown.
#[derive(Debug, Default, State)]
struct Day {
    month: u8,
    day: u8,
}

#[handlers]
impl Birthday {
    /// Lenient, so that a value that is not text also deletes the stored birthday.
    #[lenient]
    fn updated(
        &self,
        AttributeUpdated { attribute_code, new_value, .. }: AttributeUpdated,
        state: &mut Day,
        ctx: &mut Context,
    ) {
        if attribute_code != self.attribute {
            return ctx.note("another attribute");
        }
        match new_value.and_then(|date| day_of(date, ctx.now())) {
            Some(day) => {
                *state = day;
                self.wait(state, ctx);
                ctx.note("waits for the birthday");
            }
            None => {
                *state = Day::default();
                ctx.cancel(Timer::TODAY);
                ctx.note("the birthday was removed, or is not a date");
            }
        }
    }

    #[timer]
    fn today(&self, state: &mut Day, ctx: &mut Context) {
        if state.month == 0 {
            return ctx.note("not sent: the birthday isn't known any more");
        }
        self.wait(state, ctx);
        ctx.send(Push::template(&self.template));
        ctx.note("congratulated");
    }

    /// The birthday of the customer who remains is kept, if it is known. The timer belongs to the
    /// kept day.
    #[merge]
    fn merge(&self, state: &mut Day, other: Day, ctx: &mut MergeContext) {
        let mut due = ctx.due(Timer::TODAY);
        if state.month == 0 {
            *state = other;
            due = ctx.other_due(Timer::TODAY);
        }
        ctx.set_timer(Timer::TODAY, due);
    }
}

impl Birthday {
    fn wait(&self, day: &Day, ctx: &mut Context) {
        let day = every_year_on(u32::from(day.month), u32::from(day.day));
        ctx.schedule(Timer::TODAY, day.at(u32::from(self.hour), 0));
    }
}

/// The largest age of a customer, in years.
const AGE_MAX: i64 = 120;

/// The birthday in a date of birth. `None` if the date does not exist, lies in the future or too
/// far back, is a placeholder for an unknown date, or has a time other than midnight.
fn day_of(date: &str, now: Timestamp) -> Option<Day> {
    let (year, month, day) = match date.as_bytes().get(2) {
        Some(b'.') => (date.get(6..10)?, date.get(3..5)?, date.get(..2)?),
        _ => (date.get(..4)?, date.get(5..7)?, date.get(8..10)?),
    };
    let moment: Timestamp = [year, "-", month, "-", day, "T00:00:00Z"].concat().parse().ok()?;
    let (year, month, day) = moment.date();
    // The first days of two common computer calendars are placeholders for unknown dates. Other
    // placeholders, such as 0001-01-01 and 9999-12-31, are out of range.
    let is_placeholder = matches!((year, month, day), (1900 | 1970, 1, 1));
    let is_possible = moment <= now && now.date().0 - year <= AGE_MAX;
    (is_possible && !is_placeholder && is_midnight(date.get(10..)?)).then_some(Day { month, day })
}

/// Whether the rest of a date is empty or midnight: `T00:00:00`, with or without an offset.
fn is_midnight(time: &str) -> bool {
    let mut bytes = time.bytes();
    let is_clock = |byte| matches!(byte, b'0' | b':' | b'.');
    match bytes.next() {
        None => true,
        Some(b'T' | b't' | b' ') => {
            bytes.take_while(|byte| !matches!(byte, b'Z' | b'z' | b'+' | b'-')).all(is_clock)
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn born(date: &str) -> Event {
        Event::of("AttributeUpdated").set("attribute_code", "Birthday").set("new_value", date)
    }

    fn congratulation() -> hailer_sdk::Message<'static> {
        Push::template("birthday")
    }

    #[test]
    fn a_congratulation_is_sent_every_year_on_the_day() {
        let mut scenario = Scenario::new(Birthday::default());
        scenario.time_zone("Europe/Moscow").event(born("1990-06-15"));
        for year in 2026..2036 {
            scenario
                .at(&format!("{year}-06-15T06:59:59Z"))
                .expect_nothing()
                .advance(seconds(1))
                .expect_sent(congratulation())
                .expect_nothing();
        }
    }

    #[test]
    fn a_birthday_on_a_leap_day_is_congratulated_every_year() {
        let mut scenario = Scenario::new(Birthday::default());
        scenario.event(born("29.02.1992")).expect_timer(Timer::TODAY, on(2026, 2, 28).at(10, 0));
        for day in [on(2027, 2, 28), on(2028, 2, 29), on(2029, 2, 28)] {
            scenario
                .advance(days(365))
                .expect_sent(congratulation())
                .expect_timer(Timer::TODAY, day.at(10, 0));
        }
    }

    #[test]
    fn a_birthday_is_read_in_every_format_of_the_source() {
        for date in [
            "1990-06-15",
            "1990-06-15T00:00:00",
            "1990-06-15T00:00:00Z",
            "15.06.1990",
            "15.06.1990 00:00:00",
        ] {
            Scenario::new(Birthday::default())
                .event(born(date))
                .expect_timer(Timer::TODAY, on(2026, 6, 15).at(10, 0))
                .expect_state(|day: &Day| (day.month, day.day) == (6, 15));
        }
    }

    #[test]
    fn an_unreadable_date_deletes_the_stored_birthday() {
        for date in [
            "",
            "soon",
            "1990-02-30",
            "1990-13-01",
            "32.01.1990",
            "15.06",
            "19900615",
            "15/06/1990",
            "ые.ыы.ыыыы",
            "1990-06-15x",
        ] {
            Scenario::new(Birthday::default())
                .event(born("1990-06-15"))
                .event(born(date))
                .expect_nothing()
                .expect_no_timer(Timer::TODAY)
                .expect_state(|day: &Day| day.month == 0)
                .advance(days(400))
                .expect_nothing();
        }
    }

    #[test]
    fn a_birthday_set_on_the_day_before_the_hour_is_congratulated() {
        Scenario::new(Birthday::default())
            .at("2026-06-15T09:59:00Z")
            .event(born("1990-06-15"))
            .advance(minutes(1))
            .expect_sent(congratulation());
        Scenario::new(Birthday::default())
            .at("2026-06-15T10:00:00Z")
            .event(born("1990-06-15"))
            .expect_timer(Timer::TODAY, on(2027, 6, 15).at(10, 0));
    }

    #[test]
    fn other_attributes_change_nothing() {
        Scenario::new(Birthday::default())
            .event(born("1990-06-15"))
            .event("AttributeUpdated")
            .expect_note("another attribute");
    }

    #[test]
    fn a_merge_keeps_the_only_known_birthday() {
        let of = |event: Event, customer: i64| event.set("/customerInfo/customerId", customer);
        Scenario::new(Birthday::default())
            .event(of(born("1990-06-15"), 1))
            .event(Event::of("ProfilesMerged").set("from_customer_id", 1).set("to_customer_id", 2))
            .expect_state(|day: &Day| day.month == 6)
            .expect_timer(Timer::TODAY, on(2026, 6, 15).at(10, 0));
    }

    #[test]
    fn a_placeholder_for_an_unknown_date_is_not_a_birthday() {
        let placeholders = [
            "0001-01-01",
            "0001-01-01T00:00:00",
            "01.01.0001 00:00:00",
            "1753-01-01",
            "1899-12-30",
            "1900-01-01",
            "01.01.1900",
            "1970-01-01T00:00:00Z",
            "2026-06-15",
            "9999-12-31",
            "9999-12-31T23:59:59.9999999",
        ];
        for date in placeholders {
            Scenario::new(Birthday::default())
                .event(born("1990-06-15"))
                .event(born(date))
                .expect_note("is not a date")
                .expect_no_timer(Timer::TODAY)
                .advance(days(400))
                .expect_nothing();
        }
        // In events of earlier years, 1900 is a possible year of birth.
        for (date, note) in
            [("1900-01-01", "is not a date"), ("1900-01-02", "waits for the birthday")]
        {
            Scenario::new(Birthday::default())
                .at("2019-06-15T12:00:00Z")
                .event(born(date))
                .expect_note(note);
        }
        // The years next to the placeholders are valid.
        for date in ["1907-06-15", "1970-01-02", "2025-06-15"] {
            Scenario::new(Birthday::default())
                .event(born(date))
                .expect_note("waits for the birthday");
        }
    }

    #[test]
    fn a_date_with_a_time_other_than_midnight_is_ignored() {
        for date in [
            "1990-06-14T21:00:00Z",
            "1990-06-14T20:00:00.000Z",
            "1990-06-14 22:00",
            "14.06.1990 21:00:00",
            "1990-06-15T12:00:00Z",
        ] {
            Scenario::new(Birthday::default())
                .event(born(date))
                .expect_note("is not a date")
                .expect_no_timer(Timer::TODAY);
        }
        for date in [
            "1990-06-15T00:00:00.0000000",
            "1990-06-15T00:00:00+03:00",
            "1990-06-15T00:00:00-05:00",
            "1990-06-15 00:00",
        ] {
            Scenario::new(Birthday::default())
                .event(born(date))
                .expect_timer(Timer::TODAY, on(2026, 6, 15).at(10, 0));
        }
    }

    #[test]
    fn a_merge_keeps_the_birthday_and_the_timer_of_the_customer_who_remains() {
        let of = |event: Event, customer: i64| event.set("/customerInfo/customerId", customer);
        let merged = |from: i64, to: i64| {
            Event::of("ProfilesMerged").set("from_customer_id", from).set("to_customer_id", to)
        };
        for (from, to, month) in [(1, 2, 12), (2, 1, 6)] {
            Scenario::new(Birthday::default())
                .event(of(born("1990-06-15"), 1))
                .event(of(born("1985-12-15"), 2))
                .at("2026-02-01T00:00:00Z")
                .event(merged(from, to))
                .expect_state(|day: &Day| day.month == month)
                .expect_timer(Timer::TODAY, on(2026, u32::from(month), 15).at(10, 0))
                .at("2027-01-01T00:00:00Z")
                .expect_sent(congratulation())
                .expect_nothing();
        }
    }
}
