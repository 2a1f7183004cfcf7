//! The fault suite: every fault that one machine can produce. After each fault the suite checks
//! that everything that the events must lead to is there, once.
//!
//! The engines and brokers are real; a seed determines the events and the moments. `ledger.rs`
//! records what is published, and `oracle.rs` computes what must follow. `testbed.rs` is the system
//! that the faults hit, `check.rs` compares, and `matrix.rs` runs the faults in order. The faults
//! themselves are in the other modules. `make test` runs the short form, `make faults` the long
//! one. `HAILER_FAULTS_SEED` sets the seed of both.

mod matrix;

mod ledger;
mod oracle;
mod random;
mod testbed;

mod check;

mod brokers;
mod damage;
mod kills;
mod machine;
mod network;
mod nights;

use std::sync::{Arc, LazyLock};

use hailer_tests::broker::Broker;

use matrix::Total;
use nights::NIGHTS;

/// The part of a report that says that nothing is wrong.
const NOTHING_WRONG: &str = "lost 0, twice 0, over a cap 0, at night 0, without consent 0";
/// The seed when none is set.
const SEED: u64 = 7;

/// A broker for the faults that hit only the engine.
fn shared_broker() -> Arc<Broker> {
    static BROKER: LazyLock<Arc<Broker>> = LazyLock::new(|| Arc::new(Broker::start()));
    Arc::clone(&BROKER)
}

fn seed() -> u64 {
    match std::env::var("HAILER_FAULTS_SEED") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("HAILER_FAULTS_SEED is `{text}`: it must be a number")),
        Err(_) => SEED,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_each_failpoint_changes_no_result() {
    Total::default().failpoints(&shared_broker(), "faults-points", true, seed(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_messages_are_deferred_or_released_breaks_no_policy() {
    let mut total = Total::default();
    total.nights(&shared_broker(), "faults-nights", seed(), NIGHTS).await;
    let line = total.report();
    assert!(line.contains(NOTHING_WRONG), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_lose_nothing_and_repeat_only_the_same_bytes() {
    let mut total = Total::default();
    total.random_kills(&shared_broker(), "faults-ids", true, seed(), 6).await;
    total.random_kills(&shared_broker(), "faults-no-ids", false, seed(), 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_messages_keep_ids_of_their_own_across_restarts() {
    Total::default().equal_messages(&shared_broker(), "faults-equal", seed(), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes some twenty minutes: `make faults`"]
async fn the_long_form() {
    let (seed, mut total, broker) = (seed(), Total::default(), shared_broker());
    eprintln!("seed {seed}: HAILER_FAULTS_SEED={seed} repeats this run");
    for with_ids in [true, false] {
        let name = |what: &str| format!("{what}-{}", if with_ids { "ids" } else { "no-ids" });
        total.failpoints(&broker, &name("points"), with_ids, seed, 2).await;
        total.random_kills(&broker, &name("random"), with_ids, seed + 1, 100).await;
        let own = Arc::new(Broker::start());
        total.surroundings(&own, &name("surroundings"), with_ids, seed + 2).await;
    }
    total.equal_messages(&broker, "equal", seed + 3, 40).await;
    for round in 0..5 {
        total.nights(&broker, &format!("nights-{round}"), seed + round, NIGHTS).await;
    }
    let line = total.report();
    assert!(line.contains(NOTHING_WRONG) && line.ends_with("altered 0"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the long form, for changes to sources and sinks"]
async fn the_surroundings_alone() {
    for (name, with_ids) in [("faults-alone-ids", true), ("faults-alone-no-ids", false)] {
        let own = Arc::new(Broker::start());
        Total::default().surroundings(&own, name, with_ids, seed()).await;
    }
}
