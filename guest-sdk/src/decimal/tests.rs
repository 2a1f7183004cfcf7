//! Tests of the decimals against `rust_decimal`, which the engine uses.

use std::hash::BuildHasher;

use rust_decimal::Decimal as Oracle;

use super::*;

/// Pseudo-random numbers of every size and scale, the same in each run.
fn numbers(count: usize) -> impl Iterator<Item = (Decimal, Oracle)> {
    let mut state: u64 = 7;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    (0..count).map(move |_| {
        let bits = random() % 97;
        let wide = (u128::from(random()) << 64 | u128::from(random()) << 32 | u128::from(random()))
            & ((1 << bits) - 1);
        let (scale, negative) = (random() % 29, random() % 2 == 0 && wide != 0);
        let oracle = Oracle::from_parts(
            wide as u32,
            (wide >> 32) as u32,
            (wide >> 64) as u32,
            negative,
            scale,
        );
        (Decimal::from_wire(wide, scale as u8, negative), oracle)
    })
}

fn same(ours: Decimal, oracle: Oracle) -> bool {
    ours.to_string() == oracle.to_string() || ours == oracle.to_string().parse().unwrap()
}

#[test]
fn a_literal_has_the_value_of_its_text() {
    for text in [
        "0",
        "7",
        "-7",
        "100.00",
        "-0.0001",
        "79228162514264337593543950335",
        "0.0000000000000000000000000001",
    ] {
        assert_eq!(literal(text).to_string(), text);
        assert_eq!(
            text.parse::<Decimal>().unwrap().scale(),
            text.parse::<Oracle>().unwrap().scale()
        );
    }
    assert_eq!(dec!(-1_000.50).to_string(), "-1000.50");
    assert_eq!(dec!(-0).to_string(), "0");
}

#[test]
fn text_that_is_not_a_decimal_is_refused() {
    for text in [
        "",
        "-",
        ".5",
        "5.",
        "1.2.3",
        "1e5",
        "five",
        "1-",
        "--1",
        " 1",
        "79228162514264337593543950336",
    ] {
        assert_eq!(text.parse::<Decimal>(), Err(InvalidDecimal), "{text}");
    }
}

#[test]
fn sums_equal_those_of_the_engine() {
    for ((left, left_oracle), (right, right_oracle)) in
        numbers(20_000).zip(numbers(20_011).skip(11))
    {
        let Some(sum) = left_oracle.checked_add(right_oracle) else { continue };
        // If digits are dropped, both round. The last digit may differ, as one rounds once and the
        // other twice.
        let ours = std::panic::catch_unwind(|| left + right);
        let close =
            ours.as_ref().is_ok_and(|ours| same(*ours, sum) || last_digit_apart(*ours, sum));
        assert!(close, "{left} + {right} = {sum}, not {ours:?}");
    }
}

#[test]
fn products_equal_those_of_the_engine() {
    for ((left, left_oracle), (right, right_oracle)) in
        numbers(20_000).zip(numbers(20_011).skip(11))
    {
        let Some(product) = left_oracle.checked_mul(right_oracle) else { continue };
        let ours = left * right;
        assert!(
            same(ours, product) || last_digit_apart(ours, product),
            "{left} * {right} = {product}, not {ours}"
        );
    }
}

#[test]
fn quotients_equal_those_of_the_engine() {
    for ((left, left_oracle), (right, right_oracle)) in
        numbers(20_000).zip(numbers(20_011).skip(11))
    {
        let Some(quotient) = left_oracle.checked_div(right_oracle) else { continue };
        let ours = std::panic::catch_unwind(|| left / right);
        let close = ours
            .as_ref()
            .is_ok_and(|ours| same(*ours, quotient) || last_digit_apart(*ours, quotient));
        assert!(close, "{left} / {right} = {quotient}, not {ours:?}");
    }
}

#[test]
fn the_order_equals_that_of_the_engine() {
    for ((left, left_oracle), (right, right_oracle)) in
        numbers(20_000).zip(numbers(20_011).skip(11))
    {
        assert_eq!(left.cmp(&right), left_oracle.cmp(&right_oracle), "{left} and {right}");
        assert_eq!(left.cmp(&left), Ordering::Equal);
    }
    assert!(dec!(1.50) == dec!(1.5) && dec!(-1) < dec!(0) && dec!(0.1) > dec!(0.09));
}

#[test]
fn rounding_equals_that_of_the_engine() {
    for (number, oracle) in numbers(20_000) {
        for digits in [0, 2, 27] {
            assert!(
                same(number.round(digits), oracle.round_dp(digits)),
                "{number} to {digits} digits"
            );
            let cut = oracle.trunc_with_scale(digits);
            assert!(same(number.truncate(digits), cut), "{number} cut to {digits} digits");
        }
    }
    assert_eq!(
        (dec!(-0.5).floor(), dec!(-1).floor(), dec!(7.99).floor()),
        (Some(-1), Some(-1), Some(7))
    );
    assert_eq!(literal("79228162514264337593543950335").floor(), None);
}

#[test]
fn a_precision_adds_and_removes_digits() {
    let shown = [
        format!("{:.2}", dec!(7)),
        format!("{:.2}", dec!(-0.125)),
        format!("{:.0}", dec!(2.5)),
        format!("{:.1}", dec!(0)),
    ];
    assert_eq!(shown, ["7.00", "-0.12", "2", "0.0"]);
    for (number, oracle) in numbers(2_000) {
        assert_eq!(number.to_string(), oracle.to_string());
    }
}

#[test]
fn equal_decimals_have_equal_hashes() {
    let hasher = std::hash::RandomState::new();
    assert_eq!(hasher.hash_one(dec!(1.500)), hasher.hash_one(dec!(1.5)));
    assert_eq!(hasher.hash_one(dec!(100)), hasher.hash_one(dec!(100.00)));
}

#[test]
fn a_result_that_is_too_large_panics() {
    let max = literal("79228162514264337593543950335");
    assert!(std::panic::catch_unwind(|| max + Decimal::ONE).is_err());
    assert!(std::panic::catch_unwind(|| max * dec!(2)).is_err());
    assert!(std::panic::catch_unwind(|| max / dec!(0.1)).is_err());
    assert!(std::panic::catch_unwind(|| max / dec!(0)).is_err());
}

/// Whether two numbers differ by at most one in the last digit that both have.
fn last_digit_apart(ours: Decimal, oracle: Oracle) -> bool {
    let oracle: Decimal = oracle.to_string().parse().unwrap();
    let digits = ours.scale().min(oracle.scale());
    let (ours, oracle) = (ours.round(digits), oracle.round(digits));
    (ours - oracle).abs() <= Decimal::from_wire(1, digits as u8, false)
}
