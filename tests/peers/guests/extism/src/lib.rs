//! The rule as an Extism plug-in, as in the PDK's README: exported functions of bytes, and serde
//! structs with only the fields that are read. It gets its parameters once and keeps them in its
//! memory, which costs less than `config::get` at each call.

#![allow(unsafe_code, reason = "the exports of the PDK's macro have no mangled names")]

use std::sync::OnceLock;

use extism_pdk::{FnResult, Json, plugin_fn};
use hailer_peers_purchase::Rule;

static RULE: OnceLock<Rule> = OnceLock::new();

#[plugin_fn]
pub fn configure(Json(rule): Json<Rule>) -> FnResult<()> {
    RULE.get_or_init(|| rule);
    Ok(())
}

#[plugin_fn]
pub fn decide(event: Vec<u8>) -> FnResult<Vec<u8>> {
    let mut answer = Vec::new();
    if let Some(rule) = RULE.get() {
        rule.answer(&event, &mut answer)?;
    }
    Ok(answer)
}
