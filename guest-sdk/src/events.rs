//! The events, each with every field that it can have. Generated from the catalogue, which follows the source's table.
//!
//! A handler names the fields it reads in a pattern, and is handed exactly these:
//! `fn bought(&self, Purchase { amount, brand_id, .. }: Purchase, ctx: &mut Context)`. The types below only describe: no
//! value of them is ever made.

hailer_macros::event_types!();
