//! Modules for tests: one that is all a rule must be, and what it takes to spoil it.

use std::sync::Arc;

/// A manifest with one handler of `OnPurchaseConfirm`, one personal field and one parameter.
pub(crate) const MANIFEST: &str = r#"{
  "abi": 1, "sdk": "0.1.0", "name": "big-basket", "version": "0.1.0", "description": "Thanks for a big basket.",
  "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"], "fields": [
    { "name": "amount", "type": "decimal", "paths": ["/purchaseOperationInfo/purchaseData/amount"], "required": true }
  ]}],
  "params": [{ "name": "threshold", "type": "decimal", "default": "100.00", "min": "0" }]
}"#;

pub(crate) const MEMORY: &str = r#"(memory (export "memory") 1)"#;
pub(crate) const INPUT: &str = r#"(func (export "hailer_input") (param i32) (result i32) i32.const 1024)"#;
pub(crate) const CONFIGURE: &str = r#"(func (export "hailer_configure") (param i32) (result i64) i64.const 0)"#;
pub(crate) const HANDLE: &str = r#"(func (export "hailer_handle") (param i32 i32 i32) (result i64) i64.const 0)"#;

/// A rule module with this manifest. Distinct manifests make distinct modules.
pub(crate) fn rule(manifest: &str) -> Arc<[u8]> {
    module(&[MEMORY, INPUT, CONFIGURE, HANDLE, &custom(manifest)])
}

/// A module of these parts.
pub(crate) fn module(parts: &[&str]) -> Arc<[u8]> {
    wat::parse_str(format!("(module {})", parts.concat())).unwrap().into()
}

/// The custom section of a manifest.
pub(crate) fn custom(manifest: &str) -> String {
    let escaped: String = manifest.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!(r#"(@custom "hailer.manifest" "{escaped}")"#)
}
