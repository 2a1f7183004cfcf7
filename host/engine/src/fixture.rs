//! Modules for tests: one that is all a rule must be, and what it takes to spoil it.

use std::sync::Arc;

/// A manifest with one handler of `OnPurchaseConfirm`, one personal field and one parameter.
pub const MANIFEST: &str = r#"{
  "abi": 1, "sdk": "0.1.0", "name": "big-basket", "version": "0.1.0", "description": "Thanks for a big basket.",
  "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"], "fields": [
    { "name": "amount", "type": "decimal", "paths": ["/purchaseOperationInfo/purchaseData/amount"], "required": true }
  ]}],
  "params": [{ "name": "threshold", "type": "decimal", "default": "100.00", "min": "0" }]
}"#;

pub const MEMORY: &str = r#"(memory (export "memory") 1)"#;
pub const INPUT: &str = r#"(func (export "hailer_input") (param i32) (result i32) i32.const 1024)"#;
pub const CONFIGURE: &str = r#"(func (export "hailer_configure") (param i32) (result i64) i64.const 0)"#;
pub const HANDLE: &str = r#"(func (export "hailer_handle") (param i32 i32 i32) (result i64) i64.const 0)"#;

/// A rule module with this manifest. Distinct manifests make distinct modules.
pub fn rule(manifest: &str) -> Arc<[u8]> {
    module(&[MEMORY, INPUT, CONFIGURE, HANDLE, &custom(manifest)])
}

/// A module of these parts.
pub fn module(parts: &[&str]) -> Arc<[u8]> {
    wat::parse_str(format!("(module {})", parts.concat())).expect("a module of these parts").into()
}

/// The custom section of a manifest.
pub fn custom(manifest: &str) -> String {
    let escaped: String = manifest.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!(r#"(@custom "hailer.manifest" "{escaped}")"#)
}
