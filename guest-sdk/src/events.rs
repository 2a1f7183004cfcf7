//! The events, each with all its fields. Generated from the catalogue, which follows the source's
//! documentation.
//!
//! A handler names the fields that it reads in a pattern, and gets exactly these:
//! `fn bought(&self, Purchase { amount, brand_id, .. }: Purchase, ctx: &mut
//! Context)`. The types below only describe the events: no value of them is ever made.

hailer_macros::event_types!();
