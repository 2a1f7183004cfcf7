//! Faults before the first call: the guest is refused, and the host goes on.

use std::time::{Duration, Instant};

use hailer::engine::{AdmissionError, GuestFault};

use super::stage::{Stage, results, rule_set};

#[test]
fn a_guest_that_does_not_start_is_refused_with_its_fault() {
    let stage = Stage::new();
    let start = Instant::now();
    for (fixture, kind) in [
        ("trap-in-start", "trap"),
        ("loop-in-start", "deadline"),
        ("trap-in-input", "trap"),
        ("input-outside", "output"),
        ("input-at-the-edge", "output"),
        ("trap-in-configure", "trap"),
        ("loop-in-configure", "deadline"),
        ("bomb-in-configure", "memory"),
    ] {
        match stage.configured(fixture, &[0x81, 0xa1, b'a', 1], 1) {
            Err(AdmissionError::Start(fault)) => {
                assert_eq!(fault.kind(), kind, "{fixture}: {fault}")
            }
            other => panic!("{fixture}: {other:?}"),
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn the_input_buffer_of_a_guest_is_requested_once() {
    let mut stage = Stage::new();
    let rules = rule_set([stage.campaign("trap-in-later-input").unwrap()]);
    assert_eq!(results(stage.decide(&rules, &[1; 300])), vec!["ok"; 300]);
}

#[test]
fn the_output_of_hailer_configure_is_checked() {
    let stage = Stage::new();
    let refused = |returned: &[u8]| stage.configured("echo-configure", returned, 1).unwrap_err();
    assert!(stage.configured("echo-configure", &[0x91, 0xc0], 1).is_ok());
    // Members that a newer SDK may have added, of any type.
    assert!(
        stage.configured("echo-configure", &[0x93, 0xc0, 0xc4, 1, 0xff, 0xd4, 5, 0], 1).is_ok()
    );
    match refused(b"\x91\xa9no\x1b[0m sh") {
        AdmissionError::Params(error) => assert_eq!(error, r"no\u{1b}[0m sh"),
        other => panic!("{other:?}"),
    }
    let long = [&[0x91, 0xdb, 0, 0, 0x40, 0][..], &[b'x'; 0x4000]].concat();
    match refused(&long) {
        AdmissionError::Params(error) => assert_eq!(error.len(), 1024),
        other => panic!("{other:?}"),
    }
    for returned in [
        &b""[..],
        b"\x90",
        b"\xc0",
        b"\x91",
        b"\x91\xa5no",
        b"\x91\x01",
        b"\x91\xa2\xff\xff",
        b"\x91\xc0\x00",
    ] {
        match refused(returned) {
            AdmissionError::Start(GuestFault::BadOutput(_)) => {}
            other => panic!("{returned:?}: {other:?}"),
        }
    }
}
