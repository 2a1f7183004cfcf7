//! Rule modules stay small: most of the cost of a call is code that is not in the processor's
//! cache.

use hailer::scenarios::embedded;
use hailer_tests::built::example_module;

/// The largest size of a typical rule without state, as built by `hailer build`.
const TYPICAL_BYTES_MAX: usize = 15_000;

/// The example rules without state, except `big-basket`, which reads the most, with two lists, and
/// contains the rest of the decimal arithmetic.
const TYPICAL: [&str; 12] = [
    "audience-offer",
    "card-activated",
    "card-linked",
    "card-security",
    "category-upgrade",
    "confirm-phone",
    "consent-change",
    "event-watch",
    "merge-notice",
    "refund-follow-up",
    "registration-help",
    "welcome",
];

#[test]
fn a_typical_rule_is_smaller_than_15_kilobytes() {
    let too_big: Vec<_> = TYPICAL
        .into_iter()
        .map(|name| (name, example_module(name)))
        // The scenarios in a module do not affect a call.
        .map(|(name, module)| (name, module.len() - embedded(&module).unwrap().map_or(0, str::len)))
        .filter(|(_, bytes)| *bytes >= TYPICAL_BYTES_MAX)
        .collect();
    assert!(too_big.is_empty(), "over {TYPICAL_BYTES_MAX} bytes: {too_big:?}");
}
