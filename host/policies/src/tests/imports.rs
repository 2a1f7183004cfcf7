//! Tests of imports: a row never loses a later statement to one.

use super::consent::{MAILINGS, answer, change, from_event, full_row};
use super::*;
use crate::{ConsentCounts, ConsentSource, ImportedConsent, ZoneCounts};

/// An import of these answers: true for yes.
pub(super) fn imported(
    subscription: &str,
    answers: &[(Channel, bool)],
    at: Millis,
) -> ImportedConsent {
    let agreed = answers.iter().filter(|(_, is_yes)| *is_yes);
    ImportedConsent {
        subscription: subscription.into(),
        channels: answers.iter().map(|(channel, _)| *channel).collect(),
        agreed: agreed.map(|(channel, _)| *channel).collect(),
        at,
    }
}

fn import(row: &mut PolicyRow, answers: &[(Channel, bool)], at: Millis) -> ConsentCounts {
    row.import(&imported(MAILINGS, answers, at))
}

const CHANGED: ConsentCounts =
    ConsentCounts { changed: 1, unchanged: 0, refused: 0, older: 0, no_room: 0 };
const UNCHANGED: ConsentCounts = ConsentCounts { changed: 0, unchanged: 1, ..CHANGED };
const REFUSED: ConsentCounts = ConsentCounts { changed: 0, refused: 1, ..CHANGED };
const OLDER: ConsentCounts = ConsentCounts { changed: 0, older: 1, ..CHANGED };

#[test]
fn an_import_never_replaces_a_later_statement() {
    let mut row = PolicyRow::default();
    let (yes, no) = ([(Channel::Sms, true)], [(Channel::Sms, false)]);
    from_event(&mut row, &change(MAILINGS, &[(Channel::Sms, "Disabled")]), 10);
    assert_eq!(import(&mut row, &yes, 9), OLDER);
    assert_eq!(import(&mut row, &yes, 10), REFUSED, "as old");
    assert_eq!(answer(&row, MAILINGS, Channel::Sms), Some(false));
    assert_eq!(import(&mut row, &yes, 11), CHANGED, "newer");
    assert_eq!(answer(&row, MAILINGS, Channel::Sms), Some(true));
    let before = row.clone();
    assert_eq!(import(&mut row, &yes, 11), UNCHANGED, "the same again");
    assert_eq!(import(&mut row, &no, 5), OLDER, "older than an import");
    assert_eq!(row, before);
    let both = [(Channel::Sms, false), (Channel::Mail, true)];
    let mail_was_not_known = ConsentCounts { older: 1, ..CHANGED };
    assert_eq!(import(&mut row, &both, 7), mail_was_not_known);
    assert_eq!(answer(&row, MAILINGS, Channel::Sms), Some(true));
    assert_eq!(answer(&row, MAILINGS, Channel::Mail), Some(true));
    assert!(row.consents.iter().all(|consent| consent.source == ConsentSource::Import));
}

#[test]
fn of_two_statements_of_one_moment_a_refusal_stays_in_any_order() {
    let (yes, no) = ([(Channel::Sms, true)], [(Channel::Sms, false)]);
    let mut row = PolicyRow::default();
    assert_eq!([import(&mut row, &yes, 5), import(&mut row, &no, 5)], [CHANGED, CHANGED]);
    assert_eq!(answer(&row, MAILINGS, Channel::Sms), Some(false));
    let mut other = PolicyRow::default();
    assert_eq!([import(&mut other, &no, 5), import(&mut other, &yes, 5)], [CHANGED, REFUSED]);
    assert_eq!(row, other);
    assert_eq!([import(&mut row, &yes, 5), import(&mut row, &no, 5)], [REFUSED, UNCHANGED]);
}

#[test]
fn an_event_replaces_what_a_later_import_said() {
    let mut row = PolicyRow::default();
    assert_eq!(import(&mut row, &[(Channel::Sms, true)], 11), CHANGED);
    from_event(&mut row, &change(MAILINGS, &[(Channel::Sms, "Disabled")]), 10);
    assert_eq!(answer(&row, MAILINGS, Channel::Sms), Some(false));
}

#[test]
fn an_import_into_a_full_row_adds_only_a_refusal() {
    let mut row = full_row();
    let full = row.clone();
    let yes = imported("one more", &[(Channel::Sms, true), (Channel::Mail, true)], 70);
    let no_room = ConsentCounts { changed: 0, no_room: 2, ..CHANGED };
    assert_eq!((row.import(&yes), &row), (no_room, &full));
    assert_eq!(row.import(&imported("s9", &[(Channel::Mail, true)], 70)), CHANGED);
    let no = imported("one more", &[(Channel::Sms, false)], 70);
    assert_eq!(row.import(&no), ConsentCounts { no_room: 1, ..CHANGED });
    assert_eq!(answer(&row, "one more", Channel::Sms), Some(false));
    assert_eq!(answer(&row, "s0", Channel::Sms), None, "the oldest yes is forgotten");
    let before = row.clone();
    assert_eq!(row.import(&no), UNCHANGED, "repeated");
    assert_eq!(row.import(&imported("s0", &[(Channel::Sms, true)], 0)).no_room, 1);
    assert_eq!(row, before);
}

#[test]
fn an_imported_time_zone_replaces_another_only_where_no_event_tells_zones() {
    let none = ZoneCounts::default();
    let mut row = PolicyRow::default();
    assert_eq!(row.import_zone("Asia/Omsk", false), ZoneCounts { changed: 1, ..none });
    assert_eq!(row.import_zone("Asia/Omsk", false), ZoneCounts { unchanged: 1, ..none });
    assert_eq!(row.import_zone("UTC", false), ZoneCounts { kept: 1, ..none });
    assert_eq!(row.zone.as_deref(), Some("Asia/Omsk"));
    assert_eq!(row.import_zone("UTC", true), ZoneCounts { changed: 1, ..none });
    assert_eq!(row.zone.as_deref(), Some("UTC"));
}
