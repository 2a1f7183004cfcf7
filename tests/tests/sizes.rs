//! Rule modules stay small: what a call costs is, for the most part, code that is not in the processor's cache.

use hailer::scenarios::embedded;
use hailer_tests::built::example_module;

/// What a typical rule without state may take, as `hailer build` leaves it.
const TYPICAL_BYTES_MAX: usize = 15_000;

/// Every example but one: `big-basket` reads the most, with two lists, and has the rest of the arithmetic of decimals.
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
fn a_typical_rule_takes_less_than_15_kilobytes() {
    let too_big: Vec<_> = TYPICAL
        .into_iter()
        .map(|name| (name, example_module(name)))
        // Its scenarios cost a call nothing.
        .map(|(name, module)| (name, module.len() - embedded(&module).unwrap().map_or(0, str::len)))
        .filter(|(_, bytes)| *bytes >= TYPICAL_BYTES_MAX)
        .collect();
    assert!(too_big.is_empty(), "over {TYPICAL_BYTES_MAX} bytes: {too_big:?}");
}
