//! Modules for tests: a complete rule module, and its parts, to make invalid ones.

use std::sync::Arc;

/// A manifest with one handler of `OnPurchaseConfirm`, one personal field and one parameter.
pub const MANIFEST: &str = r#"{
  "abi": 1, "sdk": "0.1.0", "name": "big-basket", "version": "0.1.0",
  "description": "Thanks for a big basket.",
  "handlers": [{ "name": "purchase", "events": ["OnPurchaseConfirm"], "fields": [
    { "name": "amount", "type": "decimal",
      "paths": ["/purchaseOperationInfo/purchaseData/amount"], "required": true }
  ]}],
  "params": [{ "name": "threshold", "type": "decimal", "default": "100.00", "min": "0" }]
}"#;

pub const MEMORY: &str = r#"(memory (export "memory") 1)"#;
pub const INPUT: &str = r#"(func (export "hailer_input") (param i32) (result i32) i32.const 1024)"#;
pub const CONFIGURE: &str =
    r#"(func (export "hailer_configure") (param i32) (result i64) i64.const 0)"#;
pub const HANDLE: &str =
    r#"(func (export "hailer_handle") (param i32 i32 i32) (result i64) i64.const 0)"#;

/// Makes a rule module with this manifest. Different manifests give different modules.
pub fn rule(manifest: &str) -> Arc<[u8]> {
    module(&[MEMORY, INPUT, CONFIGURE, HANDLE, &custom(manifest)])
}

/// Makes a module from these parts.
pub fn module(parts: &[&str]) -> Arc<[u8]> {
    wat::parse_str(format!("(module {})", parts.concat())).expect("the parts are valid WAT").into()
}

/// The custom section of a manifest, as WAT.
pub fn custom(manifest: &str) -> String {
    format!(r#"(@custom "hailer.manifest" "{}")"#, escape(manifest.as_bytes()))
}

/// The bytes as the text of a WAT string.
pub fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}
