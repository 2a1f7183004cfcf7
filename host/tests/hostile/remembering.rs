//! States, timers and merges: the input is as the ABI defines, and output that it does not allow is
//! a fault of its own event.

use std::sync::Arc;

use bytes::Bytes;
use hailer::engine::{
    Action, BatchResult, GuestFault, MergeTimer, NotCalled, Outcomes, RuleSet, StateChange, When,
};
use hailer::event::{Event, Projection};

use super::calls::only_the_guilty_event_faults;
use super::stage::fixtures::{EVENT_CODE, GUILTY, STATE_VERSION};
use super::stage::{Stage, fault_of, manifest, results, rule_set};

/// The encoded head of a call with `now` 5 and the seed 7.
const HEAD: &[u8] = b"\x94\xd3\0\0\0\0\0\0\0\x05\xcf\0\0\0\0\0\0\0\x07";
/// A state of version 1 with two bytes. `STATE_BYTES` is its encoded form.
const STATE: Option<(u32, &[u8])> = Some((1, b"ab"));
const STATE_BYTES: &[u8] = b"\x92\xce\0\0\0\x01\xc6\0\0\0\x02ab";

fn state_of(decided: &BatchResult) -> &[u8] {
    match &decided.results[0].result {
        Ok(outcome) => match &outcome.state {
            StateChange::Set(state) => state,
            other => panic!("{other:?}"),
        },
        Err(fault) => panic!("{fault}"),
    }
}

/// Adds the call of an event, with a state.
fn with_event<T>(
    rules: &RuleSet,
    run: impl FnOnce(&hailer::engine::Subscription, &Projection) -> T,
) -> T {
    let event = Event::read(Bytes::from(format!(r#"{{"eventCode":"{EVENT_CODE}"}}"#))).unwrap();
    let reading = rules.reading(event.code());
    let mut projection = Projection::new();
    reading.plan.project(&event, &mut projection);
    run(&reading.subscriptions[0], &projection)
}

#[test]
fn events_timers_and_merges_get_the_state_as_the_abi_defines() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("what-came").unwrap()]);
    for (state, bytes) in [(None, &b"\xc0"[..]), (STATE, STATE_BYTES)] {
        let decided = stage.decide_one(&rules, |batch| {
            with_event(&rules, |subscription, projection| {
                batch.add(subscription, 0, 5, 7, state, projection).unwrap()
            });
        });
        assert_eq!(state_of(decided), [HEAD, bytes, b"\x90"].concat());
        let timer = rules.timer(0, "t").unwrap();
        let decided =
            stage.decide_one(&rules, |batch| batch.add_timer(&timer, 0, 5, 7, state).unwrap());
        assert_eq!(state_of(decided), [HEAD, bytes, b"\x90"].concat());
        let merge = rules.merge(0).unwrap();
        for (other, other_bytes) in [(None, &b"\xc0"[..]), (STATE, STATE_BYTES)] {
            let decided = stage.decide_one(&rules, |batch| {
                batch.add_merge(&merge, 0, 5, 7, [state, other], None).unwrap()
            });
            assert_eq!(state_of(decided), [HEAD, bytes, b"\x91", other_bytes].concat());
            let timers = [MergeTimer { handler: 1, is_other: true, due: 6 }];
            let decided = stage.decide_one(&rules, |batch| {
                batch.add_merge(&merge, 0, 5, 7, [state, other], Some(&timers)).unwrap()
            });
            let timer = b"\x91\x93\xce\0\0\0\x01\xc3\xd3\0\0\0\0\0\0\0\x06";
            assert_eq!(state_of(decided), [HEAD, bytes, b"\x92", other_bytes, timer].concat());
        }
    }
}

#[test]
fn a_rule_has_the_timers_and_the_merge_of_its_manifest() {
    let stage = Stage::new();
    let rules = rule_set([stage.campaign("honest").unwrap(), stage.campaign("what-came").unwrap()]);
    assert!(rules.timer(0, "t").is_none() && rules.merge(0).is_none());
    assert!(rules.timer(1, "u").is_none() && rules.timer(2, "t").is_none());
    let (timer, merge) = (rules.timer(1, "t").unwrap(), rules.merge(1).unwrap());
    assert_eq!((timer.campaign, timer.handler, timer.lane), (1, 1, 2));
    assert_eq!((merge.campaign, merge.handler, merge.lane), (1, 2, 3));
}

#[test]
fn a_state_with_a_newer_shape_is_a_fault_without_a_call() {
    let stage = Stage::new();
    let rules: Arc<RuleSet> = rule_set([stage.campaign("what-came").unwrap()]);
    let mut batch = hailer::engine::Batch::default();
    batch.open(&rules);
    let fault = GuestFault::NewerState { written: STATE_VERSION + 1, reads: STATE_VERSION };
    let newer: Option<(u32, &[u8])> = Some((STATE_VERSION + 1, b"ab"));
    with_event(&rules, |subscription, projection| {
        assert_eq!(
            batch.add(subscription, 0, 5, 7, newer, projection),
            Err(NotCalled::Fault(fault.clone()))
        );
        assert!(batch.add(subscription, 0, 5, 7, Some((STATE_VERSION, b"ab")), projection).is_ok());
    });
    let (timer, merge) = (rules.timer(0, "t").unwrap(), rules.merge(0).unwrap());
    assert_eq!(batch.add_timer(&timer, 1, 5, 7, newer), Err(fault.clone()));
    assert_eq!(batch.add_merge(&merge, 1, 5, 7, [STATE, newer], None), Err(fault.clone()));
    assert_eq!(batch.add_merge(&merge, 1, 5, 7, [newer, STATE], None), Err(fault.clone()));
    let said = "was not called: its state was written by version 3 of its shape; this module \
                reads up to 2";
    assert_eq!(fault.to_string(), said);
}

#[test]
fn a_rule_without_state_gets_none() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("no-state-expected").unwrap()]);
    let decided = stage.decide_one(&rules, |batch| {
        with_event(&rules, |subscription, projection| {
            batch.add(subscription, 0, 5, 7, STATE, projection).unwrap()
        });
    });
    assert_eq!(results(decided), ["ok"]);
}

#[test]
fn output_that_is_not_allowed_is_a_fault_of_the_guilty_event() {
    for fixture in
        ["state-too-big", "state-undeclared", "unknown-timer", "bad-moment", "far-moment"]
    {
        only_the_guilty_event_faults(fixture, "output");
    }
}

#[test]
fn a_state_over_the_limit_is_refused_and_one_at_the_limit_accepted() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("state-too-big").unwrap()]);
    let fault = fault_of(stage.decide(&rules, &[GUILTY])).clone();
    assert_eq!(fault, GuestFault::StateTooLarge { got: 16_385, limit_bytes: 16_384 });
    let largest = [&b"\x93\xc0\xc5\x40\x00"[..], &[7; 16_384], b"\x90"].concat();
    let rules = rule_set([stage.configured("parrot-with-state", &largest, 1).unwrap()]);
    assert_eq!(state_of(stage.decide(&rules, &[1])).len(), 16_384);
}

#[test]
fn a_merge_may_leave_notes_and_take_no_other_action() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("send-in-merge").unwrap()]);
    assert_eq!(results(stage.decide(&rules, &[1])), ["ok"]);
    let merge = rules.merge(0).unwrap();
    let decided = stage.decide_one(&rules, |batch| {
        batch.add_merge(&merge, 0, 5, 7, [STATE, STATE], None).unwrap()
    });
    match fault_of(decided) {
        GuestFault::BadOutput(what) => assert_eq!(what, "something other than a note from a merge"),
        other => panic!("{other:?}"),
    }
    let rules = rule_set([stage
        .configured("parrot-with-state", b"\x93\xc0\xc2\x91\x92\x02\xa2ok", 1)
        .unwrap()]);
    let merge = rules.merge(0).unwrap();
    let decided = stage.decide_one(&rules, |batch| {
        batch.add_merge(&merge, 0, 5, 7, [STATE, STATE], None).unwrap()
    });
    assert_eq!(results(decided), ["ok"]);
}

#[test]
fn a_merge_of_the_second_form_may_set_timers_and_send_nothing() {
    let text = r#"{"abi":1,"name":"x","version":"1.0.0","merges":2,
        "handlers":[{"name":"t","timer":"t"},{"name":"m","merge":true}]}"#;
    let second = hailer::engine::read_manifest(text.as_bytes()).unwrap();
    let read = |bytes: &[u8]| {
        let mut outcomes = Outcomes::new(bytes, &second, 1);
        outcomes.next().map(|(outcome, _)| outcome.actions.len())
    };
    assert_eq!(read(b"\x93\xc0\xc0\x93\x92\x02\xa1n\x93\x03\0\x92\0\x05\x92\x04\0"), Ok(3));
    let sends = read(b"\x93\xc0\xc0\x91\x94\x01\0\xa1t\x80").unwrap_err();
    assert_eq!(sends, "something other than a note, a schedule or a cancel from a merge");
    assert!(read(b"\x93\xc0\xc0\x91\x92\x04\x01").is_err(), "no timer calls the merge");
    let unknown =
        hailer::engine::read_manifest(text.replace("\"merges\":2", "\"merges\":3").as_bytes())
            .unwrap_err();
    assert!(unknown.to_string().contains("version 3 of merges"), "{unknown}");
    let first =
        hailer::engine::read_manifest(text.replace("\"merges\":2", "\"merges\":1").as_bytes())
            .unwrap_err();
    assert!(first.to_string().contains("without `stateVersion`"), "{first}");
}

/// Reads an outcome of a rule with state.
fn read(bytes: &[u8]) -> Result<(StateChange, Vec<Action>), String> {
    let mut outcomes = Outcomes::new(bytes, manifest(true), 0);
    let (outcome, _) = outcomes.next()?;
    outcomes.end()?;
    Ok((outcome.state, outcome.actions))
}

#[test]
fn a_state_is_nil_or_false_or_a_bin_of_any_width() {
    let state =
        |bytes: &[u8]| read(&[b"\x93\xc0", bytes, b"\x90"].concat()).map(|(state, _)| state);
    assert_eq!(state(b"\xc0"), Ok(StateChange::Unchanged));
    assert_eq!(state(b"\xc2"), Ok(StateChange::Remove));
    for bin in [&b"\xc4\x02ab"[..], b"\xc5\0\x02ab", b"\xc6\0\0\0\x02ab"] {
        assert_eq!(state(bin), Ok(StateChange::Set(b"ab"[..].into())));
    }
    assert_eq!(state(b"\xc4\0"), Ok(StateChange::Set([].into())));
    for bad in [
        &b"\xc3"[..],
        b"\xa2ab",
        b"\x00",
        b"\x92\x01\xc4\0",
        b"\xc4",
        b"\xc4\x05ab",
        b"\xc6\xff\xff\xff\xff",
    ] {
        assert!(state(bad).is_err(), "{bad:x?}");
    }
    // With an error the state is ignored.
    assert_eq!(
        read(b"\x93\xa1e\xc4\x01\0\x90").map(|(state, _)| state),
        Ok(StateChange::Unchanged)
    );
}

#[test]
fn timers_are_scheduled_and_cancelled_in_order() {
    let actions = |bytes: &[u8], count: u8| {
        read(&[&[0x93, 0xc0, 0xc0, 0x90 + count], bytes].concat()).map(|(_, actions)| actions)
    };
    let results = |actions: Vec<Action>| {
        actions.iter().map(|action| format!("{action:?}")).collect::<Vec<_>>()
    };
    let when = |bytes: &[u8]| {
        let actions = actions(&[b"\x93\x03\x01", bytes].concat(), 1)?;
        match actions[..] {
            [Action::Schedule { timer: 1, when }] => Ok(when),
            _ => Err(format!("{actions:?}")),
        }
    };
    assert_eq!(when(b"\x92\0\x05"), Ok(When::After { ms: 5 }));
    assert_eq!(when(b"\x92\x01\xff"), Ok(When::At { ms: -1 }));
    assert_eq!(when(b"\x93\x02\x01\x3c"), Ok(When::InDays { days: 1, minute: 60 }));
    let on = When::On { year: 2026, month: 12, day: 31, minute: 0 };
    assert_eq!(when(b"\x95\x03\xcd\x07\xea\x0c\x1f\0"), Ok(on));
    assert_eq!(
        when(b"\x94\x04\x02\x1d\x01"),
        Ok(When::EveryYearOn { month: 2, day: 29, minute: 1 })
    );
    // Members that a newer SDK may add are skipped.
    assert_eq!(when(b"\x93\0\x05\x91\xc0"), Ok(When::After { ms: 5 }));
    for bad in [
        &b"\x90"[..],
        b"\xc0",
        b"\x91\0",
        b"\x92\x05\0",
        b"\x92\0\xff",
        b"\x92\0\xa1x",
        b"\x92\0\xcb\0\0\0\0\0\0\0\0",
        b"\x92\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x92\x02\x01",
        b"\x93\x02\xff\0",
        b"\x93\x02\0\xce\0\x01\0\0",
        b"\x94\x03\x01\x01\x01",
        b"\x94\x04\xff\x01\0",
        b"\x94\x04\x01\xcd\x01\0\0",
    ] {
        assert!(when(bad).is_err(), "{bad:x?}");
    }
    for timer in [&b"\0"[..], b"\x02", b"\x03", b"\xff", b"\xce\xff\xff\xff\xff", b"\xa1t", b"\xc0"]
    {
        assert!(actions(&[b"\x92\x04", timer].concat(), 1).is_err(), "cancel {timer:x?}");
        assert!(
            actions(&[b"\x93\x03", timer, b"\x92\0\0"].concat(), 1).is_err(),
            "schedule {timer:x?}"
        );
    }
    assert!(actions(b"\x91\x04", 1).is_err() && actions(b"\x92\x03\x01", 1).is_err());
    let order = actions(b"\x92\x04\x01\x93\x03\x01\x92\0\x01\x92\x04\x01", 3).map(results).unwrap();
    assert_eq!(order.len(), 3);
    assert!(
        order[0].starts_with("Cancel")
            && order[1].starts_with("Schedule")
            && order[2].starts_with("Cancel")
    );
}
