//! The rule as a module without an SDK, for an embedder that calls exports and copies bytes. `room`
//! returns the address for the next input, `configure` and `decide` read it from there, and
//! `decide` returns the address and length of its answer (0 for none).

#![allow(unsafe_code, reason = "an export has no mangled name")]

use std::cell::RefCell;

use hailer_peers_purchase::Rule;

#[derive(Default)]
struct Guest {
    rule: Option<Rule>,
    input: Vec<u8>,
    answer: Vec<u8>,
}

thread_local! {
    static GUEST: RefCell<Guest> = RefCell::default();
}

#[unsafe(no_mangle)]
pub extern "C" fn room(bytes: usize) -> *mut u8 {
    GUEST.with_borrow_mut(|guest| {
        guest.input.resize(bytes, 0);
        guest.input.as_mut_ptr()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn configure() -> bool {
    GUEST.with_borrow_mut(|guest| {
        guest.rule = serde_json::from_slice(&guest.input).ok();
        guest.rule.is_some()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn decide() -> u64 {
    GUEST.with_borrow_mut(|Guest { rule, input, answer }| {
        answer.clear();
        match rule.as_ref().map(|rule| rule.answer(input, answer)) {
            Some(Ok(())) if !answer.is_empty() => {
                (answer.as_ptr() as u64) << 32 | answer.len() as u64
            }
            _ => 0,
        }
    })
}
