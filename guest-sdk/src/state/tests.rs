//! Tests of the encoding of states.

use super::*;
use crate::dec;
use crate::prelude::State;

#[derive(Clone, Debug, Default, PartialEq, State)]
enum Stage {
    #[default]
    New,
    Named(String),
    Counted {
        times: u32,
        last: Option<Timestamp>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, State)]
#[state(version = 7)]
struct Everything {
    small: u8,
    negative: i64,
    large: u64,
    share: f64,
    on: bool,
    text: String,
    amount: Decimal,
    at: Option<Timestamp>,
    stages: Vec<Stage>,
    by_name: BTreeMap<String, Decimal>,
    by_day: BTreeMap<i32, (Timestamp, bool)>,
    seen: BTreeSet<String>,
    few: Map<String, u16>,
    nested: Nested,
    id: Id,
}

#[derive(Clone, Debug, PartialEq, State)]
struct Nested {
    size: u16,
}

impl Default for Nested {
    fn default() -> Self {
        Self { size: 42 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, State)]
struct Id(String);

fn bytes(state: &impl State) -> Vec<u8> {
    let mut writer = Writer::default();
    state.write(&mut writer);
    writer.bytes().to_vec()
}

fn read<T: State>(bytes: &[u8]) -> Result<T, Unreadable> {
    let mut reader = Reader::new(bytes);
    let state = T::read(&mut reader)?;
    assert!(reader.is_empty());
    Ok(state)
}

fn everything() -> Everything {
    Everything {
        small: 200,
        negative: i64::MIN,
        large: u64::MAX,
        share: 0.5,
        on: true,
        text: "текст".into(),
        amount: dec!(-12.5000),
        at: Some(Timestamp::from_millis(-1)),
        stages: vec![
            Stage::New,
            Stage::Named("a".into()),
            Stage::Counted { times: 3, last: Some(Timestamp::from_millis(9)) },
        ],
        by_name: [("b".into(), dec!(1)), ("a".into(), dec!(2))].into(),
        by_day: [(-3, (Timestamp::from_millis(5), false))].into(),
        seen: ["x".into()].into(),
        few: Map::from([("k".to_owned(), 1_u16)]),
        nested: Nested { size: 7 },
        id: Id("77".into()),
    }
}

#[test]
fn every_type_of_a_state_is_read_as_it_was_written() {
    for state in [everything(), Everything::default()] {
        assert_eq!(read::<Everything>(&bytes(&state)), Ok(state));
    }
    assert_eq!(Everything::VERSION, 7);
    assert_eq!(Nested::VERSION, 1);
}

#[test]
fn equal_states_have_equal_bytes() {
    let mut other = everything();
    other.by_name = [("a".into(), dec!(2)), ("b".into(), dec!(1))].into();
    assert_eq!(bytes(&everything()), bytes(&other));
}

#[derive(Clone, Debug, Default, PartialEq, State)]
struct First {
    count: u32,
    gone: String,
}

#[derive(Clone, Debug, PartialEq, State)]
struct Second {
    limit: u8,
    count: u64,
}

impl Default for Second {
    fn default() -> Self {
        Self { limit: 9, count: 0 }
    }
}

#[test]
fn a_later_shape_reads_an_earlier_one_and_vice_versa() {
    let first = First { count: 3, gone: "x".into() };
    assert_eq!(read(&bytes(&first)), Ok(Second { limit: 9, count: 3 }));
    assert_eq!(
        read(&bytes(&Second { limit: 1, count: 5 })),
        Ok(First { count: 5, gone: String::new() })
    );
    assert_eq!(
        read::<First>(&bytes(&Second { limit: 1, count: 1 << 32 })),
        Err(Unreadable { member: "count", expected: "a number that fits u32" })
    );
}

#[derive(Default, Debug, PartialEq, State)]
struct Text {
    count: String,
}

#[test]
fn a_value_of_another_type_is_an_error_that_names_the_member() {
    assert_eq!(
        read::<Text>(&bytes(&First::default())),
        Err(Unreadable { member: "count", expected: "a text" })
    );
    assert_eq!(read::<Text>(&bytes(&7_u32)), Err(Unreadable { member: "", expected: "a map" }));
    assert_eq!(read::<Vec<u8>>(&bytes(&7_u32)), Err(Unreadable { member: "", expected: "a list" }));
    assert_eq!(
        read::<Stage>(&bytes(&"Lost".to_owned())),
        Err(Unreadable { member: "", expected: "a variant that this version knows" })
    );
    // A variant with a value that it should not have, and a variant that lacks its value.
    assert!(read::<Stage>(&bytes(&BTreeMap::from([("New".to_owned(), 1_u8)]))).is_err());
    assert!(read::<Stage>(&bytes(&"Named".to_owned())).is_err());
}

#[test]
fn numbers_that_do_not_fit_are_errors() {
    assert!(read::<i64>(&bytes(&u64::MAX)).is_err());
    assert!(read::<u64>(&bytes(&-1_i64)).is_err());
    assert!(read::<u8>(&bytes(&256_u32)).is_err());
    assert_eq!(read::<u64>(&bytes(&(u64::MAX / 2 + 1))), Ok(u64::MAX / 2 + 1));
}
