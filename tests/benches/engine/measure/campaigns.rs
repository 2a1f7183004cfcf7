//! The sets of campaigns that engines are measured with.

use hailer_tests::built;
use hailer_tests::site::{Site, campaign};

/// Sends a communication for every purchase, without state.
pub(crate) const ANSWERS_ALL: &str = "[params]\nthreshold = \"0\"";

/// The campaign of [`ten`] that sends a communication for each purchase.
pub(crate) const ANSWERS: &str = "answer.toml";

/// Ten campaigns for every purchase. One counts a customer's purchases and sends the count; one
/// keeps the last purchases and sends at each tenth; eight read the whole cheque and send nothing.
pub(crate) fn ten() -> Site {
    let site = Site::empty();
    for name in ["big-basket", "nth-purchase", "tally"] {
        module(&site, name);
    }
    for number in 0..8 {
        site.put(
            &format!("rule-{number}.toml"),
            campaign("big-basket", "[params]\nthreshold = \"1000000.00\""),
        );
    }
    site.put(ANSWERS, campaign("tally", ""));
    site.put("tenth.toml", campaign("nth-purchase", "[params]\npurchases = 10\ndays = 3650"));
    site
}

/// Five campaigns with state for every purchase: two count, two keep its rewards, one sets two
/// timers again. A sixth sends a communication for each purchase, so that there is something to
/// publish.
pub(crate) fn stateful() -> Site {
    let site = Site::empty();
    for name in ["big-basket", "nth-purchase", "refund-after-reward", "win-back"] {
        module(&site, name);
    }
    let third = "[params]\npurchases = 3\ndays = 30";
    let tenth = "[params]\npurchases = 10\ndays = 365";
    let campaigns = [
        ("answer", "big-basket", ANSWERS_ALL),
        ("third", "nth-purchase", third),
        ("tenth", "nth-purchase", tenth),
        ("bonuses", "refund-after-reward", "[params]\nreward_type = \"Bonus\"\nminimum = \"0.01\""),
        (
            "discounts",
            "refund-after-reward",
            "[params]\nreward_type = \"Discount\"\nminimum = \"0.01\"",
        ),
        ("win-back", "win-back", "time_zone = \"Europe/Moscow\""),
    ];
    for (name, of, rest) in campaigns {
        site.put(&format!("{name}.toml"), campaign(of, rest));
    }
    site
}

/// Puts the module of an example rule into the site.
pub(crate) fn module(site: &Site, name: &str) {
    site.put(&format!("modules/{name}.wasm"), built::example_module(name));
}
