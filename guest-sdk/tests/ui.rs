//! Tests of the compiler's messages for mistakes in a rule. Each `.rs` file in `tests/ui` has
//! mistakes, and its `.stderr` file has the messages. `TRYBUILD=overwrite` writes the messages
//! again.

#[test]
fn mistakes_in_a_rule_are_explained_where_they_are() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
}
