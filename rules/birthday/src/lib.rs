//! Happy birthday, every year, in the morning of the customer's day.
//!
//! The birthday is the value of an attribute of the customer: the deployment says which. It is personal, so the campaign must be
//! granted it; the rule keeps the month and the day, never the year, as nobody needs to know how old somebody is to congratulate. Who was
//! born on the 29th of February is congratulated on the 28th in other years. A date that can't be read is left alone: better no
//! congratulation than one on the wrong day.

use hailer_sdk::prelude::*;

/// Congratulates customers on their birthday, every year.
#[rule]
pub struct Birthday {
    /// The attribute (`attributeCode`) that holds the birthday, as `1990-02-28` (with a time or without) or `28.02.1990`.
    #[param(default = "Birthday", min = 1)]
    attribute: String,
    /// The hour of the day, in the campaign's time zone.
    #[param(default = 10, max = 23)]
    hour: u8,
    /// The template of the push message.
    #[param(default = "birthday", min = 1)]
    template: String,
}

/// The day; 0 and 0 while it isn't known.
#[derive(Debug, Default, State)]
struct Day {
    month: u8,
    day: u8,
}

#[handlers]
impl Birthday {
    fn updated(
        &self,
        AttributeUpdated { attribute_code, new_value, .. }: AttributeUpdated,
        state: &mut Day,
        ctx: &mut Context,
    ) {
        if attribute_code != self.attribute {
            return ctx.note("another attribute");
        }
        match new_value.and_then(day_of) {
            Some(day) => {
                *state = day;
                self.wait(state, ctx);
                ctx.note("waits for the birthday");
            }
            None => {
                *state = Day::default();
                ctx.cancel(Timer::TODAY);
                ctx.note("the birthday was taken away, or is no date");
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

    /// The account that remains knows best.
    #[merge]
    fn merge(&self, state: &mut Day, other: Day) {
        if state.month == 0 {
            *state = other;
        }
    }
}

impl Birthday {
    fn wait(&self, day: &Day, ctx: &mut Context) {
        let day = every_year_on(u32::from(day.month), u32::from(day.day));
        ctx.schedule(Timer::TODAY, day.at(u32::from(self.hour), 0));
    }
}

/// The day of a date; `None` if no calendar has it.
fn day_of(date: &str) -> Option<Day> {
    let (year, month, day) = match date.as_bytes().get(2) {
        Some(b'.') => (date.get(6..10)?, date.get(3..5)?, date.get(..2)?),
        _ => (date.get(..4)?, date.get(5..7)?, date.get(8..10)?),
    };
    let moment: Timestamp = [year, "-", month, "-", day, "T00:00:00Z"].concat().parse().ok()?;
    let (_, month, day) = moment.date();
    Some(Day { month, day })
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
    fn every_year_there_is_a_congratulation_on_the_day() {
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
    fn a_child_of_a_leap_day_is_congratulated_every_year() {
        let mut scenario = Scenario::new(Birthday::default());
        scenario.event(born("29.02.1992")).expect_timer(Timer::TODAY, on(2026, 2, 28).at(10, 0));
        for day in [on(2027, 2, 28), on(2028, 2, 29), on(2029, 2, 28)] {
            scenario.advance(days(365)).expect_sent(congratulation()).expect_timer(Timer::TODAY, day.at(10, 0));
        }
    }

    #[test]
    fn a_birthday_is_read_as_the_source_may_write_it() {
        for date in ["1990-06-15", "1990-06-15T00:00:00", "1990-06-15T00:00:00Z", "15.06.1990", "15.06.1990 00:00:00"] {
            Scenario::new(Birthday::default())
                .event(born(date))
                .expect_timer(Timer::TODAY, on(2026, 6, 15).at(10, 0))
                .expect_state(|day: &Day| (day.month, day.day) == (6, 15));
        }
    }

    #[test]
    fn what_is_no_date_is_left_alone_and_takes_the_one_before_away() {
        for date in
            ["", "soon", "1990-02-30", "1990-13-01", "32.01.1990", "15.06", "19900615", "15/06/1990", "ые.ыы.ыыыы"]
        {
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
    fn a_birthday_that_is_told_on_the_day_is_not_missed_before_the_hour() {
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
    fn other_attributes_are_nothing_to_celebrate() {
        Scenario::new(Birthday::default())
            .event(born("1990-06-15"))
            .event("AttributeUpdated")
            .expect_note("another attribute");
    }

    #[test]
    fn a_merge_keeps_the_birthday_of_whoever_has_one() {
        let of = |event: Event, customer: i64| event.set("/customerInfo/customerId", customer);
        Scenario::new(Birthday::default())
            .event(of(born("1990-06-15"), 1))
            .event(Event::of("ProfilesMerged").set("from_customer_id", 1).set("to_customer_id", 2))
            .expect_state(|day: &Day| day.month == 6)
            .expect_timer(Timer::TODAY, on(2026, 6, 15).at(10, 0));
    }
}
