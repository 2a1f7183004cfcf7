//! The host's result of a condition equals the result of the same condition in Rust. The first
//! comes from `hailer-abi`'s evaluator, on a manifest and on bytes. The second is the Rust code
//! that `#[when]` generates for the handler's values, with the SDK's own reader and decimals,
//! compiled by rustc. Both share only the macro's parser.
//!
//! The conditions are generated here and written to `conditions/corpus.rs`, because they must be
//! compiled. `HAILER_WRITE=1` writes them again.

#![allow(clippy::unwrap_used, reason = "a test's own set-up")]

use std::fmt::Write as _;
use std::path::Path;

use hailer_abi::guard::Guard;
use hailer_abi::manifest::Manifest;
use hailer_abi::value::elements;
use hailer_sdk::generated::{Reader, Writer};
use hailer_sdk::{Decimal, Rule, Timestamp};
use proptest::prelude::*;

/// The results of the host and of Rust for the same fields; `None` is unknown.
type Answers = (Option<bool>, Option<bool>);

/// A rule with a condition, and the function that evaluates it for parameters and fields.
pub(crate) struct Guarded {
    pub(crate) condition: &'static str,
    pub(crate) ask: fn(&Writer, &Writer) -> Answers,
}

macro_rules! corpus {
    ($($name:ident { $($condition:tt)+ })+) => {
        $(
            mod $name {
                use hailer_sdk::prelude::*;

                #[rule]
                pub(crate) struct Guarded {
                    least: Decimal,
                    times: u32,
                    brand: String,
                    on: bool,
                }

                #[handlers]
                impl Guarded {
                    #[when($($condition)+)]
                    fn purchase(
                        &self,
                        Purchase {
                            amount,
                            brand_id,
                            operation_type: kind,
                            try_count,
                            is_refund,
                            date_time,
                            ..
                        }: Purchase,
                        ctx: &mut Context,
                    ) {
                        let _ = (amount, brand_id, kind, try_count, is_refund, date_time);
                        let _ = (self.least, self.times, &self.brand, self.on);
                        ctx.note("called");
                    }
                }
            }
        )+

        pub(crate) const CORPUS: &[crate::Guarded] = &[
            $(crate::Guarded {
                condition: stringify!($($condition)+),
                ask: crate::ask::<$name::Guarded>,
            }),+
        ];
    };
}

#[path = "conditions/corpus.rs"]
mod corpus;

/// The number of conditions in the corpus.
const CONDITIONS: u32 = 96;

fn ask<R: Rule>(params: &Writer, fields: &Writer) -> Answers {
    let manifest: Manifest = serde_json::from_str(R::MANIFEST).unwrap();
    let handler = &manifest.handlers[0];
    let condition = handler.when.as_ref().unwrap();
    condition.check(&handler.fields, &manifest.params).unwrap();
    let guard = Guard::new(condition, &handler.fields, &manifest.params, params.bytes()).unwrap();
    let rule = R::from_params(&mut Reader::new(params.bytes()));
    (
        guard.answer(&elements(fields.bytes()).unwrap()),
        rule.condition(0, Reader::new(fields.bytes())),
    )
}

fn decimal() -> impl Strategy<Value = Decimal> {
    let parsed = |text: String| text.parse::<Decimal>().unwrap();
    let any_of_28_digits = (
        -79_228_162_514_264_337_593_543_950_335_i128..=79_228_162_514_264_337_593_543_950_335,
        0_u32..=28,
    )
        .prop_map(move |(digits, scale)| {
            parsed(rust_decimal::Decimal::from_i128_with_scale(digits, scale).to_string())
        });
    let usual = (-30_000_i64..=1_010_000, 4_u32..=4).prop_map(move |(digits, scale)| {
        parsed(rust_decimal::Decimal::new(digits, scale).to_string())
    });
    let near = proptest::sample::select(
        &["100", "100.0000", "99.9999", "1.5", "1.500", "0", "3", "-3.00"][..],
    )
    .prop_map(move |text| parsed(text.to_owned()));
    prop_oneof![1 => any_of_28_digits, 2 => usual, 3 => near]
}

fn text() -> impl Strategy<Value = String> {
    let known = proptest::sample::select(&["", "a", "b", "B", "я"][..]).prop_map(str::to_owned);
    prop_oneof![3 => known, 1 => ".{0,8}"]
}

fn whole() -> impl Strategy<Value = i64> {
    prop_oneof![3 => -4_i64..=4, 1 => Just(100), 1 => any::<i64>()]
}

prop_compose! {
    fn params()(
        least in decimal(),
        times in prop_oneof![3 => 0_u32..=4, 1 => any::<u32>()],
        brand in text(),
        on in any::<bool>(),
    ) -> Writer {
        let mut params = Writer::default();
        params.array(4);
        params.decimal(least);
        params.unsigned(u64::from(times));
        params.str(&brand);
        params.bool(on);
        params
    }
}

fn or_nil<T>(value: Option<T>, fields: &mut Writer, write: impl FnOnce(&mut Writer, T)) {
    match value {
        Some(value) => write(fields, value),
        None => fields.nil(),
    }
}

prop_compose! {
    fn fields()(
        amount in proptest::option::weighted(0.8, decimal()),
        brand_id in proptest::option::weighted(0.7, text()),
        kind in proptest::option::weighted(0.7, text()),
        try_count in proptest::option::weighted(0.7, whole()),
        is_refund in proptest::option::weighted(0.7, any::<bool>()),
        date_time in proptest::option::of(any::<i64>()),
    ) -> Writer {
        let mut fields = Writer::default();
        fields.array(6);
        or_nil(amount, &mut fields, |fields, amount| fields.decimal(amount));
        or_nil(brand_id, &mut fields, |fields, brand| fields.str(&brand));
        or_nil(kind, &mut fields, |fields, kind| fields.str(&kind));
        or_nil(try_count, &mut fields, |fields, count| fields.int(count));
        or_nil(is_refund, &mut fields, |fields, is| fields.bool(is));
        or_nil(date_time, &mut fields, |fields, at| fields.timestamp(Timestamp::from_millis(at)));
        fields
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_host_and_rust_give_the_same_result_for_every_condition(
        params in params(), fields in fields(),
    ) {
        for guarded in corpus::CORPUS {
            let (host, rust) = (guarded.ask)(&params, &fields);
            prop_assert_eq!(host, rust, "{}", guarded.condition);
        }
    }
}

#[test]
fn the_corpus_is_large_and_gives_every_result() {
    assert_eq!(corpus::CORPUS.len(), CONDITIONS as usize);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut answers = Vec::new();
    for _ in 0..64 {
        let (params, fields) = (params(), fields())
            .new_tree(&mut runner)
            .map(|tree| proptest::strategy::ValueTree::current(&tree))
            .unwrap();
        answers.extend(corpus::CORPUS.iter().map(|guarded| (guarded.ask)(&params, &fields).0));
    }
    for answer in [None, Some(false), Some(true)] {
        let share = answers.iter().filter(|given| **given == answer).count() * 100 / answers.len();
        assert!(share >= 10, "{answer:?} is the answer of {share} %");
    }
}

#[test]
fn the_corpus_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conditions/corpus.rs");
    let written = corpus_text();
    if std::env::var_os("HAILER_WRITE").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == written,
        "tests/conditions/corpus.rs is out of date; run this test with HAILER_WRITE=1"
    );
}

fn corpus_text() -> String {
    let mut text = String::from(
        "//! Generated by `../conditions.rs`, which explains it: conditions to be compiled.\n\n\
         corpus! {\n",
    );
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for number in 0..CONDITIONS {
        let depth = number % 4;
        writeln!(text, "    c{number:03} {{ {} }}", condition(depth, &mut dice)).unwrap();
    }
    text + "}\n"
}

/// A pseudo-random generator that gives the same numbers in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound) as usize
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len() as u64)]
    }
}

fn condition(depth: u32, dice: &mut Dice) -> String {
    if depth == 0 {
        return leaf(dice);
    }
    let sign = ["&&", "||", "!"][dice.below(3)];
    let part = |dice: &mut Dice| {
        let depth = depth - 1 - dice.below(u64::from(depth)) as u32;
        format!("({})", condition(depth, dice))
    };
    match sign {
        "!" => format!("!({})", condition(depth - 1, dice)),
        sign => {
            let parts: Vec<_> = (0..2 + dice.below(2)).map(|_| part(dice)).collect();
            parts.join(&format!(" {sign} "))
        }
    }
}

fn leaf(dice: &mut Dice) -> String {
    let order = &["==", "!=", "<", "<=", ">", ">="];
    let numbers = &[
        "amount",
        "try_count",
        "self.least",
        "self.times",
        "100",
        "1.5",
        "-3",
        "0.0001",
        "1.50000",
    ];
    let texts = &["brand_id", "kind", "self.brand", r#""""#, r#""b""#, r#""я""#];
    match dice.below(10) {
        0..4 => compared(&["amount", "amount", "try_count"], numbers, order, dice),
        4..6 => compared(&["brand_id", "kind"], texts, order, dice),
        6 => compared(
            &["is_refund"],
            &["is_refund", "self.on", "true", "false"],
            &["==", "!="],
            dice,
        ),
        7 => dice.pick(&["is_refund", "!is_refund", "self.on", "!self.on"]).to_owned(),
        _ => {
            let field = dice.pick(&["brand_id", "kind", "try_count", "is_refund", "date_time"]);
            format!("{field}.{}()", dice.pick(&["is_some", "is_none"]))
        }
    }
}

fn compared(fields: &[&str], others: &[&str], signs: &[&str], dice: &mut Dice) -> String {
    let (field, sign, other) = (dice.pick(fields), dice.pick(signs), dice.pick(others));
    if dice.below(2) == 0 {
        format!("{field} {sign} {other}")
    } else {
        format!("{other} {sign} {field}")
    }
}
