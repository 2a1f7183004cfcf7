//! What the compiler says about mistakes in a rule: each file in `tests/ui` holds one, and what is said stands beside it.

#[test]
fn mistakes_are_explained_where_they_are() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
}
