//! The engine is killed under policies: at night, while messages are deferred, and in the morning,
//! while they are released. A night takes no time, because `clock-ms` sets the engine's clock.
//!
//! Every message of a night is decided before the morning, and the messages of a morning are
//! published before the day's events come. So there is one right result, whatever the moment of a
//! kill. `nights/oracle.rs` computes it without any code of the engine.

mod oracle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hailer::failpoint::{Failpoint, VARIABLE};
use hailer_tests::broker::Broker;
use hailer_tests::built::example_module;
use hailer_tests::engine::Engine;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wait;
use hailer_tests::wiring::Wiring;
use jiff::civil::{Date, Time, time};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::check::{Collected, Count};
use super::random::Random;
use super::testbed::{NOTHING_NEW, SHOWN_MAX, USUAL, collect, send_bodies};
use oracle::{Happening, Step, expected};

/// The policies: a night that defers, a cap of two a day, and consent.
const POLICIES: &str = include_str!("../../fixtures/policies.toml");
/// The campaigns; the first speaks before the second, and the third is transactional.
const SECTIONS: &str =
    "[campaigns.alpha]\npriority = 20\n[campaigns.alarm]\nkind = \"transactional\"\n";
const CUSTOMERS: u32 = 12;
/// The ids of customers who are merged start here.
const MERGED_FROM: u32 = 1_000;
/// Purchases in each part of a night, and in each day.
const PURCHASES: usize = 40;
const EVENING: Time = time(23, 10, 0, 0);
const MORNING: Time = time(9, 5, 0, 0);

/// When an engine is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// While the purchases of an evening are decided, and their messages deferred.
    Evening,
    /// While customers with deferred messages are merged.
    Merges,
    /// While deferred messages are released.
    Morning,
    /// While the purchases of a day are decided.
    Day,
}

/// A kill of the engine at a failpoint.
pub(super) type Kill = (Phase, Failpoint);

/// The kills of each night and the day after.
pub(super) const NIGHTS: [&[Kill]; 9] = [
    &[(Phase::Evening, Failpoint::DuringDeferral), (Phase::Morning, Failpoint::DuringRelease)],
    &[(Phase::Merges, Failpoint::DuringMerge), (Phase::Morning, Failpoint::DuringReload)],
    &[(Phase::Evening, Failpoint::DuringCommit), (Phase::Morning, Failpoint::DuringCommit)],
    &[(Phase::Evening, Failpoint::DuringReload), (Phase::Morning, Failpoint::BeforeRemoval)],
    &[(Phase::Evening, Failpoint::BeforeEvaluation), (Phase::Morning, Failpoint::AfterCommit)],
    &[(Phase::Evening, Failpoint::AfterEvaluation), (Phase::Morning, Failpoint::BeforePublish)],
    &[(Phase::Evening, Failpoint::BeforeCommit), (Phase::Morning, Failpoint::BeforeConfirm)],
    &[(Phase::Evening, Failpoint::AfterCommit), (Phase::Day, Failpoint::AfterCommit)],
    &[(Phase::Evening, Failpoint::BeforeAck), (Phase::Day, Failpoint::DuringCommit)],
];

/// An engine under policies, and everything that happened.
pub(super) struct Nights {
    wiring: Wiring,
    site: Site,
    random: Random,
    seed: u64,
    steps: Vec<Step>,
    collected: Collected,
    sent: usize,
    numbers: u32,
    merged: u32,
    date: Date,
    /// How far the engine's clock is ahead of the machine's.
    ahead: SignedDuration,
    changes: usize,
}

impl Nights {
    pub(super) async fn new(broker: &Arc<Broker>, name: &str, seed: u64) -> Nights {
        let wiring = Wiring::new(broker, name).await;
        let site = Site::empty();
        site.put("modules/big-basket.wasm", example_module("big-basket"));
        for name in ["alpha", "beta", "alarm"] {
            let text = campaign("big-basket", "[params]\nthreshold = \"0\"");
            site.put(&format!("{name}.toml"), text);
        }
        site.put("policies.toml", format!("{POLICIES}{SECTIONS}"));
        let date = oracle::moscow().to_datetime(Timestamp::now()).date() + 1.day();
        Nights {
            wiring,
            site,
            random: Random::new(seed),
            seed,
            steps: Vec::new(),
            collected: Collected::default(),
            sent: 0,
            numbers: 0,
            merged: 0,
            date,
            ahead: SignedDuration::ZERO,
            changes: 0,
        }
    }

    /// One night and the day after, with these kills. Checks everything at the end.
    ///
    /// # Errors
    /// A description of what is wrong, beside the count.
    pub(super) async fn pass(&mut self, kills: &[Kill]) -> (Count, Result<(), String>) {
        let point = |phase| kills.iter().find(|(when, _)| *when == phase).map(|(_, point)| *point);
        self.set_clock(EVENING);
        self.steps.push(Step::Evening);
        let (goes, stays) = self.pair();
        self.write_purchases();
        (0..2).for_each(|_| self.buys(goes));
        self.killed(point(Phase::Evening)).await;
        // The times of the decisions order the deferred messages of merged customers, so the two
        // parts of a night must not mix.
        self.handled().await;
        self.write_purchases();
        (0..2).for_each(|_| self.buys(stays));
        self.merges(goes, stays);
        self.buys(goes);
        self.killed(point(Phase::Merges)).await;
        self.handled().await;

        // These wait in the queue when the releases fall due.
        for customer in 1..=CUSTOMERS {
            if self.random.percent(50) {
                self.states(customer);
            }
        }
        self.publish().await;
        self.date = self.date.tomorrow().expect("a date");
        self.set_clock(MORNING);
        self.steps.push(Step::Morning);
        self.killed(point(Phase::Morning)).await;
        let engine = self.start(None);
        engine.ready().await;
        self.published().await;
        // Some releases publish nothing.
        wait::until("nothing is deferred", async || engine.metric("hailer_deferred").await == 0.0)
            .await;
        engine.stop().await;

        let (goes, stays) = self.pair();
        [goes, stays].into_iter().for_each(|customer| self.buys(customer));
        self.merges(goes, stays);
        self.buys(goes);
        self.write_purchases();
        self.killed(point(Phase::Day)).await;
        self.handled().await;
        let engine = self.start(None);
        engine.ready().await;
        self.published().await;
        let deferred = engine.metric("hailer_deferred").await;
        let log = engine.stderr();
        engine.stop().await;
        self.check(deferred, &log).await
    }

    async fn check(&mut self, deferred: f64, log: &str) -> (Count, Result<(), String>) {
        collect(&self.wiring, &mut self.collected).await;
        let expected = expected(&self.steps);
        let mut wrong = Vec::new();
        let mut count = self.collected.compare(&expected, &mut wrong);
        count.at_night = self.collected.bodies().filter(oracle::is_wrong_time).count();
        if count.at_night > 0 {
            wrong.push(format!("{} messages at night", count.at_night));
        }
        if deferred > 0.0 {
            wrong.push(format!("{deferred} messages are still deferred"));
        }
        let (events, _) = self.wiring.client.counts(&self.wiring.events).await;
        if events > 0 {
            wrong.push(format!("{events} events wait"));
        }
        if wrong.is_empty() {
            return (count, Ok(()));
        }
        let more = wrong.len().saturating_sub(SHOWN_MAX);
        wrong.truncate(SHOWN_MAX);
        let (seed, wrong) = (self.seed, wrong.join("\n"));
        let text = format!(
            "seed {seed}, {count:?}:\n{wrong}\nand {more} more; standard error of the last \
             engine:\n{log}"
        );
        (count, Err(text))
    }

    /// Sets the clock of the next engines, and lets the store of the stopped engine accept it.
    fn set_clock(&mut self, at: Time) {
        let then = oracle::moscow().to_timestamp(self.date.to_datetime(at)).expect("a moment");
        self.ahead = then.duration_since(Timestamp::now());
        self.arm(None);
        let store = self.site.data().join("store");
        if store.exists() {
            let store = store.display().to_string();
            let accept = ["store", "clock", "--accept", "--yes", "--store", &store];
            let _ = self.site.command(&accept).expect(0);
        }
    }

    fn arm(&self, failpoint: Option<String>) {
        let clock = format!("clock-ms={}", self.ahead.as_millis());
        let armed = failpoint.into_iter().chain([clock]).collect::<Vec<_>>().join(",");
        self.site.environment(&[(VARIABLE, &armed)]);
    }

    fn start(&self, failpoint: Option<String>) -> Engine {
        self.arm(failpoint);
        let usual = USUAL.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
        let flags: Vec<String> = self.wiring.flags().into_iter().chain(usual).collect();
        self.site.start(&flags)
    }

    /// Publishes what was written, to an engine that is killed meanwhile if there is a failpoint.
    async fn killed(&mut self, point: Option<Failpoint>) {
        let Some(point) = point else { return self.publish().await };
        let times = match point {
            // The first pass is at the start, the second at the change.
            Failpoint::DuringReload => 2,
            Failpoint::DuringCommit => 1 + self.random.below(9),
            Failpoint::DuringDeferral => 1 + self.random.below(4),
            _ => 1,
        };
        let mut engine = self.start(Some(format!("{}={times}", point.name())));
        if point == Failpoint::DuringReload {
            assert!(engine.ready_or_ended().await, "{}", engine.stderr());
            self.publish().await;
            // Other bytes that say the same.
            self.changes += 1;
            let text = format!("{POLICIES}{SECTIONS}# change {}\n", self.changes);
            self.site.put("policies.toml", text);
        } else {
            self.publish().await;
        }
        let ended = engine.ended().await;
        assert_eq!(ended, None, "{}={times}: {}", point.name(), engine.stderr());
    }

    async fn handled(&self) {
        self.wiring.run_until_handled(|| self.start(None)).await;
    }

    /// Waits until as many communications are published as the steps so far must lead to.
    async fn published(&mut self) {
        let count = expected(&self.steps).communications.values().sum::<usize>();
        let mut since = (Instant::now(), self.collected.len());
        while self.collected.len() < count && since.0.elapsed() < NOTHING_NEW {
            collect(&self.wiring, &mut self.collected).await;
            if self.collected.len() > since.1 {
                since = (Instant::now(), self.collected.len());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn publish(&mut self) {
        let events: Vec<&Happening> = self.steps.iter().filter_map(Step::event).collect();
        let bodies: Vec<(usize, String)> =
            (self.sent..).zip(events[self.sent..].iter().map(|event| event.body())).collect();
        self.sent += bodies.len();
        let bodies = bodies.into_iter().map(|(id, body)| (Some(format!("night-{id}")), body));
        send_bodies(&self.wiring, bodies).await;
    }

    fn write_purchases(&mut self) {
        for _ in 0..PURCHASES {
            let customer = 1 + self.random.below(CUSTOMERS as usize) as u32;
            if self.random.percent(10) {
                self.states(customer);
            } else {
                self.buys(customer);
            }
        }
    }

    /// Two new customers, to be merged.
    fn pair(&mut self) -> (u32, u32) {
        self.merged += 2;
        (MERGED_FROM + self.merged, MERGED_FROM + self.merged + 1)
    }

    fn buys(&mut self, customer: u32) {
        self.numbers += 1;
        self.steps.push(Step::Event(Happening::Bought { customer, number: self.numbers }));
    }

    fn states(&mut self, customer: u32) {
        let is_yes = self.random.percent(60);
        self.steps.push(Step::Event(Happening::Stated { customer, is_yes }));
    }

    fn merges(&mut self, from: u32, to: u32) {
        self.steps.push(Step::Event(Happening::Merged { from, to }));
    }
}
