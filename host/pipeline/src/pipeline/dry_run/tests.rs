//! Dry runs of a rule that sets a timer at each purchase and sends when the timer fires. The input
//! comes in one piece or in many.

mod policies;
mod policies_hold;

use bytes::Bytes;
use hailer_abi::wire::{ACTION_SCHEDULE, ACTION_SEND, Channel, WHEN_AFTER};

use super::*;
use crate::records::{Cause, Decided};
use hailer_engine::{Campaign, CampaignSpec, Limits, fixture, verify};
use hailer_event::Event;

const MINUTE_MS: Millis = 60_000;
/// The most calls of one crossing.
const CALLS_MAX: usize = 32;
const PURCHASE: &str = "OnPurchaseConfirm";
const MANIFEST: &str = r#"{ "abi": 1, "sdk": "0.1.0", "name": "nudge", "version": "0.1.0",
  "description": "", "stateVersion": 1,
  "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"] },
    { "name": "nudge", "timer": "nudge" }] }"#;

fn text(text: &str) -> Vec<u8> {
    [&[0xa0 | text.len() as u8], text.as_bytes()].concat()
}

/// An action that sets the timer to fire after `ms` milliseconds.
fn schedule(ms: u32) -> Vec<u8> {
    [&[0x93, ACTION_SCHEDULE as u8, 1, 0x92, WHEN_AFTER as u8, 0xce][..], &ms.to_be_bytes()]
        .concat()
}

fn send(template: &str) -> Vec<u8> {
    [&[0x94, ACTION_SEND as u8, Channel::Push as u8][..], &text(template), &[0x80]].concat()
}

/// A rule whose two handlers always answer the same: a state of one byte, and these actions.
struct Rule {
    purchase: Vec<Vec<u8>>,
    nudge: Vec<Vec<u8>>,
    /// The merge version of the manifest: 1 or 2.
    merges: u32,
    /// The code of the events that the rule takes.
    on: &'static str,
}

impl Rule {
    fn rules(&self, sandbox: &Arc<Sandbox>) -> Arc<RuleSet> {
        rules_of(&self.module(), sandbox)
    }

    fn module(&self) -> Arc<[u8]> {
        let answer = |actions: &[Vec<u8>]| {
            let one =
                [&[0x93, 0xc0, 0xc4, 1, 7, 0x90 | actions.len() as u8][..], &actions.concat()]
                    .concat();
            (one.len(), one.repeat(CALLS_MAX))
        };
        let ((purchase, purchases), (nudge, nudges)) =
            (answer(&self.purchase), answer(&self.nudge));
        let data = |at: usize, bytes: &[u8]| {
            format!(r#"(data (i32.const {at}) "{}")"#, fixture::escape(bytes))
        };
        let (first, second) = (16 << 10, 32 << 10);
        let handle = format!(
            r#"(func (export "hailer_handle") (param $handler i32) (param $calls i32) (param i32)
                (result i64)
                (if (result i64) (local.get $handler)
                    (then (i64.or (i64.shl (i64.const {second}) (i64.const 32))
                        (i64.extend_i32_u (i32.mul (local.get $calls) (i32.const {nudge})))))
                    (else (i64.or (i64.shl (i64.const {first}) (i64.const 32))
                        (i64.extend_i32_u (i32.mul (local.get $calls) (i32.const {purchase})))))))"#
        );
        let configured = data(8 << 10, &[0x91, 0xc0]);
        let configure = format!(
            r#"(func (export "hailer_configure") (param i32) (result i64)
                (i64.or (i64.shl (i64.const {}) (i64.const 32)) (i64.const 2)))"#,
            8 << 10
        );
        let parts = [
            fixture::MEMORY,
            fixture::INPUT,
            &configure,
            &handle,
            &configured,
            &data(first, &purchases),
            &data(second, &nudges),
            &fixture::custom(
                &MANIFEST
                    .replacen('{', &format!("{{ \"merges\": {}, ", self.merges), 1)
                    .replace(PURCHASE, self.on),
            ),
        ];
        fixture::module(&parts)
    }

    fn dry_run(&self) -> DryRun {
        let sandbox = Sandbox::metered(Limits::default()).unwrap();
        dry_run(&self.rules(&sandbox), &sandbox, Redirects::in_memory())
    }
}

fn rules_of(module: &Arc<[u8]>, sandbox: &Arc<Sandbox>) -> Arc<RuleSet> {
    let module = verify(Arc::clone(module), &Limits::default()).unwrap();
    let spec = CampaignSpec::of("nudge", &module, vec![0x90]);
    let compiled = sandbox.compile_here(&module.bytes).unwrap();
    let campaign = Campaign::started(sandbox, spec, compiled, 1).unwrap();
    Arc::new(RuleSet::build(vec![campaign], 1))
}

fn dry_run(rules: &Arc<RuleSet>, sandbox: &Arc<Sandbox>, redirects: Redirects) -> DryRun {
    let settings = settings(None);
    DryRun::new(rules, sandbox, &settings, redirects).unwrap()
}

fn settings(gives_up: Option<Instant>) -> Settings {
    Settings {
        environment: "test".into(),
        recheck_one_in: 0,
        begins: 0,
        gives_up,
        are_distinct: false,
    }
}

/// A rule that sends one hour after a purchase.
fn nudging() -> Rule {
    let (purchase, nudge) = (vec![schedule(3_600_000)], vec![send("nudge")]);
    Rule { purchase, nudge, merges: 1, on: PURCHASE }
}

fn arrived(number: u64, body: String, now: Millis) -> Arrived {
    Arrived::new(
        Event::read(Bytes::from(body)).unwrap(),
        Some(&format!("m-{number}")),
        None,
        now,
        number,
    )
}

fn purchase(number: u64, customer: u64, now: Millis) -> Arrived {
    let body = format!(
        r#"{{"eventCode":"OnPurchaseConfirm","customerInfo":{{"customerId":{customer}}}}}"#
    );
    arrived(number, body, now)
}

fn merge(number: u64, from: u64, to: u64, now: Millis) -> Arrived {
    let code = hailer_abi::catalogue::event_named("ProfilesMerged").unwrap().codes[0];
    let body = format!(
        r#"{{"eventCode":"{code}","fromCustomerInfo":{{"customerId":{from}}},
            "toCustomerInfo":{{"customerId":{to}}}}}"#
    );
    arrived(number, body, now)
}

fn key(customer: u64) -> CustomerKey {
    purchase(0, customer, 0).customer().unwrap()
}

fn minutes_and_causes(decisions: &[Decision]) -> Vec<(Millis, &str)> {
    let cause = |decision: &Decision| match &decision.cause {
        Cause::Event { .. } => "event",
        Cause::Timer { .. } => "timer",
        Cause::Release { .. } => "release",
    };
    decisions.iter().map(|decision| (decision.now / MINUTE_MS, cause(decision))).collect()
}

/// The parts of decisions that must be equal in each run.
fn told(decisions: &[Decision]) -> Vec<String> {
    let told = |decision: &Decision| {
        let Decision { cause, event_id, customer, now, outcomes, communications, .. } = decision;
        format!("{now} {cause:?} {event_id} {customer:?} {outcomes:?} {communications:?}")
    };
    decisions.iter().map(told).collect()
}

/// Purchases of a few customers, close enough for timers to fire between them.
fn traffic() -> Vec<(u64, u64, Millis)> {
    (0..300_u64)
        .map(|number| (number, number * number * 7 % 13, (number as Millis / 3) * 17 * MINUTE_MS))
        .collect()
}

#[test]
fn a_timer_fires_on_the_way_to_the_next_event_and_what_it_sends_has_its_moment() {
    let mut dry_run = nudging().dry_run();
    let decisions = dry_run.decide([purchase(1, 1, 0), purchase(2, 2, 90 * MINUTE_MS)], 0).unwrap();
    assert_eq!(minutes_and_causes(&decisions), [(0, "event"), (60, "timer"), (90, "event")]);
    assert_eq!(decisions[1].communications.len(), 1);
    assert_eq!(decisions[1].communications[0].created_ms, 60 * MINUTE_MS);
    assert_eq!((dry_run.timers(key(1)).count(), dry_run.timers(key(2)).count()), (0, 1));
    assert!(dry_run.state(key(1), "nudge").is_some());
    assert!(
        decisions.iter().all(|decision| decision.costs[0].1.fuel > 0),
        "each call has its cost"
    );
    let decisions = dry_run.advance(150 * MINUTE_MS).unwrap();
    assert_eq!(minutes_and_causes(&decisions), [(150, "timer")]);
}

#[test]
fn a_timer_that_is_set_anew_fires_once() {
    let mut dry_run = nudging().dry_run();
    let events = [purchase(1, 1, 0), purchase(2, 1, 30 * MINUTE_MS)];
    let decisions = dry_run.decide(events, 200 * MINUTE_MS).unwrap();
    assert_eq!(minutes_and_causes(&decisions), [(0, "event"), (30, "event"), (90, "timer")]);
}

#[test]
fn of_one_moment_the_timers_that_were_waiting_come_first_and_those_it_has_set_itself_last() {
    let decisions =
        nudging().dry_run().decide([purchase(1, 1, 0), purchase(2, 2, 60 * MINUTE_MS)], 0).unwrap();
    assert_eq!(minutes_and_causes(&decisions), [(0, "event"), (60, "timer"), (60, "event")]);
    let at_once = Rule { purchase: vec![schedule(0)], ..nudging() };
    let decisions = at_once.dry_run().decide([purchase(1, 1, 0), purchase(2, 2, 0)], 1).unwrap();
    assert_eq!(
        minutes_and_causes(&decisions),
        [(0, "event"), (0, "event"), (0, "timer"), (0, "timer")]
    );
}

#[test]
fn what_is_decided_does_not_depend_on_how_it_is_cut() {
    let (rule, until) = (nudging(), 5_000 * MINUTE_MS);
    let events =
        || traffic().into_iter().map(|(number, customer, now)| purchase(number, customer, now));
    let whole = rule.dry_run().decide(events(), until).unwrap();
    assert!(
        whole.iter().filter(|decision| decision.number.is_none()).count() > 20,
        "timers fire in between"
    );
    let mut one_by_one = rule.dry_run();
    let mut decisions: Vec<Decision> =
        events().flat_map(|event| one_by_one.decide([event], 0).unwrap()).collect();
    decisions.extend(one_by_one.advance(until).unwrap());
    assert_eq!(told(&decisions), told(&whole));

    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let (rules, redirects) = (rule.rules(&sandbox), Redirects::in_memory());
    let mut parts = [0, 1].map(|_| dry_run(&rules, &sandbox, redirects.clone()));
    let mut decisions = Vec::new();
    for chunk in traffic().chunks(40) {
        let (.., until) = chunk[chunk.len() - 1];
        let mut of_chunk = Vec::new();
        for (number, part) in parts.iter_mut().enumerate() {
            let own = chunk.iter().filter(|(_, customer, _)| key(*customer).shard(2) == number);
            let own = own.map(|(number, customer, now)| purchase(*number, *customer, *now));
            of_chunk.extend(part.decide(own, until).unwrap());
        }
        of_chunk.sort_by(Decision::in_order);
        decisions.extend(of_chunk);
    }
    let mut rest: Vec<Decision> =
        parts.iter_mut().flat_map(|part| part.advance(until).unwrap()).collect();
    rest.sort_by(Decision::in_order);
    decisions.extend(rest);
    assert_eq!(told(&decisions), told(&whole), "nor on where the customers are");
}

#[test]
fn a_merge_takes_the_timer_along_and_the_old_name_means_the_new_customer() {
    let mut dry_run = nudging().dry_run();
    let events = [purchase(1, 1, 0), merge(2, 1, 2, MINUTE_MS), purchase(3, 1, 2 * MINUTE_MS)];
    dry_run.decide(events, 0).unwrap();
    let due: Vec<_> = dry_run.timers(key(2)).map(|(_, timer)| timer.due / MINUTE_MS).collect();
    assert_eq!(due, [62], "the purchase under the old name set it anew");
    assert_eq!(dry_run.timers(key(1)).count(), 0);
}

/// The due times of customer `of`'s timers, in minutes. Customers 1 and 2 purchase ten minutes
/// apart, and then merge.
fn due_after_merge(merges: u32, from: u64, to: u64, of: u64) -> Vec<Millis> {
    let mut dry_run = Rule { merges, ..nudging() }.dry_run();
    let events =
        [purchase(1, 1, 0), purchase(2, 2, 10 * MINUTE_MS), merge(3, from, to, 20 * MINUTE_MS)];
    dry_run.decide(events, 0).unwrap();
    dry_run.timers(key(of)).map(|(_, timer)| timer.due / MINUTE_MS).collect()
}

/// In the first version of merges, the earlier of two timers stays.
#[test]
fn without_a_merge_handler_one_customers_state_and_timers_stay() {
    assert_eq!(due_after_merge(1, 1, 2, 2), [60]);
    assert_eq!(due_after_merge(1, 2, 1, 1), [60]);
    assert_eq!(due_after_merge(2, 1, 2, 2), [70], "who remains has a timer of their own");
    assert_eq!(due_after_merge(2, 2, 1, 1), [60]);
    for merges in [1, 2] {
        assert_eq!(due_after_merge(merges, 1, 3, 3), [60], "who remains has nothing: it moves");
        assert_eq!(due_after_merge(merges, 3, 1, 1), [60], "nothing moves");
        assert_eq!(due_after_merge(merges, 1, 2, 1), [] as [Millis; 0]);
    }
}

#[test]
fn what_comes_under_an_old_id_is_addressed_to_the_last_of_a_chain_of_merges() {
    for merges in [1, 2] {
        let mut dry_run = Rule { merges, ..nudging() }.dry_run();
        let to = |decision: &Decision| {
            decision.recipient.as_ref().unwrap().customer_id.as_deref().unwrap().to_owned()
        };
        let events = [
            purchase(1, 1, 0),
            merge(2, 1, 2, MINUTE_MS),
            merge(3, 2, 3, 2 * MINUTE_MS),
            purchase(4, 1, 3 * MINUTE_MS),
            // Customer 1 is a customer again.
            merge(5, 3, 1, 4 * MINUTE_MS),
            purchase(6, 2, 5 * MINUTE_MS),
        ];
        let decisions = dry_run.decide(events, 100 * MINUTE_MS).unwrap();
        let told: Vec<_> = decisions
            .iter()
            .map(|decision| (decision.number.unwrap_or_default(), to(decision)))
            .collect();
        let expected = [(1, "1"), (2, "2"), (3, "3"), (4, "3"), (5, "1"), (6, "1"), (0, "1")];
        assert_eq!(told, expected.map(|(number, to)| (number, to.to_owned())));
    }
}

#[test]
fn a_merge_that_comes_late_or_again_brings_nobody_back_who_is_gone() {
    let to = |decision: &Decision| {
        decision.recipient.as_ref().unwrap().customer_id.as_deref().unwrap().to_owned()
    };
    for (merges, expected) in [
        (&[(1, 2), (2, 3), (1, 2)][..], ["2", "3", "3"].as_slice()),
        (&[(2, 3), (1, 2)], &["3", "3"]),
    ] {
        for form in [1, 2] {
            let mut dry_run = Rule { merges: form, ..nudging() }.dry_run();
            let merges = merges
                .iter()
                .zip(2..)
                .map(|((from, to), number)| merge(number, *from, *to, MINUTE_MS));
            let behind = [purchase(8, 1, 4 * MINUTE_MS), purchase(9, 2, 5 * MINUTE_MS)];
            let events = [purchase(1, 1, 0)].into_iter().chain(merges).chain(behind);
            let decisions = dry_run.decide(events, 200 * MINUTE_MS).unwrap();
            let all: Vec<_> = decisions.iter().map(to).collect();
            // The purchase, the merges, two purchases under old ids, and one timer for all three
            // purchases.
            let expected: Vec<_> = [&["1"][..], expected, &["3", "3", "3"]].concat();
            assert_eq!(all, expected, "form {form}");
        }
    }
}

#[test]
fn a_customer_can_be_handed_over_to_be_merged_with_one_of_another_part() {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let (rules, redirects) = (nudging().rules(&sandbox), Redirects::in_memory());
    let [mut one, mut other] = [0, 1].map(|_| dry_run(&rules, &sandbox, redirects.clone()));
    one.decide([purchase(1, 1, 0)], 0).unwrap();
    for part in [&mut one, &mut other] {
        part.advance(MINUTE_MS).unwrap();
    }
    other.take_in(one.hand_over(key(1)).unwrap());
    other.decide([merge(2, 1, 2, MINUTE_MS)], 0).unwrap();
    assert_eq!(redirects.resolve(key(1)).unwrap(), key(2));
    assert_eq!(one.advance(100 * MINUTE_MS).unwrap().len(), 0, "it is not here any more");
    assert_eq!(minutes_and_causes(&other.advance(100 * MINUTE_MS).unwrap()), [(60, "timer")]);
}

#[test]
fn a_message_that_comes_twice_is_decided_once() {
    let mut dry_run = nudging().dry_run();
    let decisions =
        dry_run.decide([purchase(1, 1, 0), purchase(1, 1, 0), purchase(2, 1, 0)], 0).unwrap();
    assert_eq!((decisions.len(), dry_run.repeats()), (2, 1));
}

#[test]
fn a_timer_that_sets_itself_at_once_ends_the_dry_run_and_is_named() {
    let rule = Rule { purchase: vec![schedule(1)], nudge: vec![schedule(0)], ..nudging() };
    let error = rule.dry_run().decide([purchase(1, 1, 0)], MINUTE_MS).unwrap_err();
    assert!(matches!(&error, DryRunError::Endless { timer, .. } if timer == "nudge"), "{error}");
}

#[test]
fn a_customers_later_events_wait_behind_a_fault_and_others_do_not() {
    // The handler index of this timer does not exist, so the answer is invalid under the ABI.
    let broken = [&[0x93, ACTION_SCHEDULE as u8, 9, 0x92, WHEN_AFTER as u8, 1][..]].concat();
    let rule = Rule { purchase: vec![broken], nudge: Vec::new(), ..nudging() };
    let mut dry_run = rule.dry_run();
    let decisions =
        dry_run.decide([purchase(1, 1, 0), purchase(2, 1, 1), purchase(3, 2, 2)], 0).unwrap();
    let failed = |decision: &Decision| match &decision.outcomes[0].decided {
        Decided::Failed { .. } => "failed",
        Decided::Held => "held",
        Decided::Missed { .. } => "missed",
        Decided::OutsideRollout => "outside rollout",
        _ => "decided",
    };
    assert_eq!(decisions.iter().map(failed).collect::<Vec<_>>(), ["failed", "held", "failed"]);
}

#[test]
fn a_rule_that_loops_runs_out_of_fuel_and_what_it_burnt_is_the_same_each_time() {
    let configured = r#"(data (i32.const 8192) "\91\c0")"#;
    let configure =
        r#"(func (export "hailer_configure") (param i32) (result i64) (i64.const 0x200000000002))"#;
    let handle = r#"(func (export "hailer_handle") (param i32 i32 i32) (result i64)
        (loop (br 0)) (i64.const 0))"#;
    let parts = [
        fixture::MEMORY,
        fixture::INPUT,
        configure,
        handle,
        configured,
        &fixture::custom(MANIFEST),
    ];
    let burnt = || {
        let sandbox = Sandbox::metered(Limits::default()).unwrap();
        let mut dry_run = dry_run(
            &rules_of(&fixture::module(&parts), &sandbox),
            &sandbox,
            Redirects::in_memory(),
        );
        let decision = dry_run.decide([purchase(1, 1, 0)], 0).unwrap().remove(0);
        let Decided::Failed { error } = &decision.outcomes[0].decided else {
            panic!("{decision:?}")
        };
        assert!(error.contains("fuel a call, which equals 10 ms"), "{error}");
        decision.costs[0].1.fuel
    };
    assert!(burnt() > 1_000_000);
    assert_eq!(burnt(), burnt());
}

#[test]
fn what_comes_from_strangers_ends_at_its_moment_and_before_it_is_too_much_to_hold() {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let strangers = |rule: &Rule, gives_up| {
        let (rules, settings) = (rule.rules(&sandbox), settings(Some(gives_up)));
        DryRun::new(&rules, &sandbox, &settings, Redirects::in_memory()).unwrap()
    };
    let now = Instant::now();
    let late = strangers(&nudging(), now).decide([purchase(1, 1, 0)], 0);
    assert!(matches!(late, Err(DryRunError::GaveUp)), "{late:?}");
    // The rule sends 14 messages per second for more than a day.
    let template = "x".repeat(30);
    let chatty = Rule {
        purchase: vec![schedule(1)],
        nudge: [vec![send(&template); 14], vec![schedule(1000)]].concat(),
        ..nudging()
    };
    let ever = now + std::time::Duration::from_secs(600);
    let much = strangers(&chatty, ever).decide([purchase(1, 1, 0)], 2000 * MINUTE_MS);
    assert!(matches!(much, Err(DryRunError::TooMuch { .. })));
}
