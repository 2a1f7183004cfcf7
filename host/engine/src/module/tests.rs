//! Hostile and invalid modules. Each is refused with its own reason.

use proptest::prelude::*;

use super::*;
use crate::fixture::{CONFIGURE, HANDLE, INPUT, MANIFEST, MEMORY, custom, module, rule};

fn refusal(bytes: impl Into<Arc<[u8]>>) -> ModuleError {
    let error = verify(bytes.into(), &Limits::default()).unwrap_err();
    assert!(!error.hint().is_empty());
    let text = error.to_string();
    assert!(text.len() < 500 && !text.ends_with('.') && !text.contains(char::is_control), "{text}");
    error
}

/// A complete rule module with one more part.
fn with(part: &str) -> Arc<[u8]> {
    module(&[part, MEMORY, INPUT, CONFIGURE, HANDLE, &custom(MANIFEST)])
}

#[test]
fn a_rule_is_admitted_with_its_manifest_and_digest() {
    let bytes = rule(MANIFEST);
    let module = verify(Arc::clone(&bytes), &Limits::default()).unwrap();
    assert_eq!(module.manifest.name, "big-basket");
    assert_eq!(*module.digest, *blake3::hash(&bytes).to_hex());
}

#[test]
fn a_rule_may_import_the_log() {
    let log = r#"(import "hailer" "log" (func (param i32 i32 i32 i32)))"#;
    assert!(verify(with(log), &Limits::default()).is_ok());
}

#[test]
fn any_other_import_is_refused_by_name() {
    let error =
        refusal(with(r#"(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32)))"#));
    assert!(error.to_string().contains("`wasi_snapshot_preview1.clock_time_get`"), "{error}");
    assert!(error.hint().contains("operating system"));
    let error = refusal(with(r#"(import "hailer" "random" (func))"#));
    assert!(error.to_string().contains("`hailer.random`"), "{error}");
    let error = refusal(with(r#"(import "env" "x" (global i32))"#));
    assert!(error.to_string().contains("`env.x`"), "{error}");
}

#[test]
fn a_log_of_another_type_is_refused() {
    let error = refusal(with(r#"(import "hailer" "log" (func (param i64)))"#));
    assert_eq!(error, ModuleError::LogType { found: "(i64)".into() });
    let error = refusal(with(r#"(import "hailer" "log" (global i32))"#));
    assert!(matches!(error, ModuleError::LogType { .. }), "{error}");
}

#[test]
fn a_missing_export_is_refused_by_name() {
    let manifest = custom(MANIFEST);
    let parts = [
        ("memory", MEMORY),
        ("hailer_input", INPUT),
        ("hailer_configure", CONFIGURE),
        ("hailer_handle", HANDLE),
    ];
    for (name, _) in parts {
        let mut rest: Vec<&str> =
            parts.iter().filter(|(other, _)| *other != name).map(|(_, part)| *part).collect();
        rest.push(&manifest);
        let error = refusal(module(&rest));
        assert!(
            matches!(&error, ModuleError::ExportMissing { name: missing, .. } if *missing == name),
            "{error}"
        );
    }
}

#[test]
fn an_export_of_another_type_is_refused_by_name() {
    let manifest = custom(MANIFEST);
    for (name, part, found) in [
        ("hailer_input", r#"(func (export "hailer_input") (result i32) i32.const 0)"#, "() -> i32"),
        (
            "hailer_configure",
            r#"(func (export "hailer_configure") (param i32) (result i32) i32.const 0)"#,
            "(i32) -> i32",
        ),
        ("hailer_handle", r#"(global (export "hailer_handle") i32 (i32.const 0))"#, "a global"),
        ("memory", r#"(global (export "memory") i32 (i32.const 0)) (memory 1)"#, "a global"),
    ] {
        let whole = [
            ("memory", MEMORY),
            ("hailer_input", INPUT),
            ("hailer_configure", CONFIGURE),
            ("hailer_handle", HANDLE),
        ];
        let mut parts: Vec<&str> =
            whole.iter().map(|(other, whole)| if *other == name { part } else { *whole }).collect();
        parts.push(&manifest);
        match refusal(module(&parts)) {
            ModuleError::ExportType { name: named, found: as_found, .. } => {
                assert_eq!((named, &*as_found), (name, found))
            }
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn a_component_is_refused_with_its_own_error() {
    assert_eq!(refusal(wat::parse_str("(component)").unwrap()), ModuleError::Component);
}

#[test]
fn empty_files_garbage_and_text_have_different_errors() {
    assert_eq!(refusal(*b""), ModuleError::Empty);
    assert_eq!(refusal(*b"(module)"), ModuleError::NotWasm);
    assert_eq!(refusal(vec![0xa5; 4096]), ModuleError::NotWasm);
    assert!(matches!(refusal(*b"\0asm\x01\0\0\0garbage"), ModuleError::Invalid { .. }));
    assert!(matches!(refusal(*b"\0asm"), ModuleError::Invalid { .. }));
}

#[test]
fn a_module_truncated_at_any_byte_is_refused() {
    let bytes = rule(MANIFEST);
    for length in 0..bytes.len() {
        refusal(&bytes[..length]);
    }
}

#[test]
fn a_module_of_fifty_megabytes_is_refused_by_its_size_alone() {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.resize(50 << 20, 0);
    assert_eq!(refusal(bytes), ModuleError::TooLarge { size: 50 << 20, max: 1 << 20 });
}

#[test]
fn a_compile_bomb_is_refused_before_anything_compiles_it() {
    let body = "i32.const 0 drop ".repeat(30_000);
    let error = refusal(with(&format!("(func {body})")));
    assert!(
        matches!(error, ModuleError::FunctionTooLarge { function: 0, size } if size > 64 << 10),
        "{error}"
    );
}

#[test]
fn too_many_locals_are_refused() {
    // Three bytes of code may declare thousands of locals.
    let locals = "i64 ".repeat(5_000);
    let error = refusal(with(&format!("(func (local {locals}))")));
    assert!(matches!(error, ModuleError::TooManyLocals { function: 0, .. }), "{error}");
}

#[test]
fn a_memory_above_the_limit_is_refused() {
    let parts = [r#"(memory (export "memory") 257)"#, INPUT, CONFIGURE, HANDLE, &custom(MANIFEST)];
    let error = refusal(module(&parts));
    assert_eq!(error, ModuleError::MemoryTooLarge { bytes: 257 << 16, max: 16 << 20 });
}

#[test]
fn too_many_parts_of_any_kind_are_refused() {
    for (what, part) in [
        ("functions", "(func)".repeat(9_000)),
        ("globals", "(global i32 (i32.const 0))".repeat(2_000)),
        ("elements in its table", "(table 100000 funcref)".into()),
        ("tables", "(table 1 funcref)".repeat(2)),
        ("data segments", r#"(data (i32.const 0) "")"#.repeat(2_000)),
        ("custom sections", r#"(@custom "x" "")"#.repeat(100)),
        ("values in one function's type", format!("(type (func (param {})))", "i32 ".repeat(100))),
        (
            "exports",
            (0..300)
                .map(|index| format!(r#"(global (export "g{index}") i32 (i32.const 0))"#))
                .collect(),
        ),
    ] {
        match refusal(with(&part)) {
            ModuleError::TooMany { what: refused, .. } => assert_eq!(refused, what),
            other => panic!("{what}: {other}"),
        }
    }
}

#[test]
fn proposals_beyond_the_abi_are_refused() {
    let manifest = custom(MANIFEST);
    for part in [
        "(func (param i32) local.get 0 return_call 0)",
        "(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))",
        "(tag)",
        "(table 1 externref)",
        "(type (struct))",
        "(global i32 (i32.add (i32.const 1) (i32.const 1)))",
        "(func (drop (i32.atomic.load (i32.const 0))))",
    ] {
        let error = refusal(with(part));
        assert!(matches!(error, ModuleError::Invalid { .. }), "{part}: {error}");
    }
    for memory in ["1 1 shared", "i64 1", "1 (pagesize 1)"] {
        let memory = format!(r#"(memory (export "memory") {memory})"#);
        let error = refusal(module(&[&memory, INPUT, CONFIGURE, HANDLE, &manifest]));
        assert!(matches!(error, ModuleError::Invalid { .. }), "{memory}: {error}");
    }
    let error = refusal(with("(memory 1)"));
    assert!(matches!(error, ModuleError::TooMany { what: "memories", .. }), "{error}");
}

#[test]
fn the_default_output_of_the_rule_compiler_is_admitted() {
    let part = "(func (result v128) v128.const i32x4 0 0 0 0)
        (func (param f64) (result i32) local.get 0 i32.trunc_sat_f64_s i32.extend8_s)
        (func (result i32 i32) i32.const 0 i32.const 1)
        (table 1 funcref) (global (mut i32) (i32.const 0))
        (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))";
    verify(with(part), &Limits::default()).unwrap();
}

#[test]
fn a_module_needs_exactly_one_manifest() {
    assert_eq!(refusal(module(&[MEMORY, INPUT, CONFIGURE, HANDLE])), ModuleError::ManifestMissing);
    assert_eq!(refusal(with(&custom(MANIFEST))), ModuleError::ManifestRepeated);
}

#[test]
fn an_invalid_manifest_is_an_error_of_the_module() {
    let error = refusal(rule("{"));
    assert!(error.to_string().starts_with("the module's manifest: it cannot be read"), "{error}");
    let error = refusal(rule(&MANIFEST.replacen("\"abi\": 1", "\"abi\": 2", 1)));
    assert_eq!(error, ModuleError::Manifest(ManifestError::Abi { found: 2, sdk: "0.1.0".into() }));
    assert!(error.hint().contains("(ABI 1)"), "{}", error.hint());
}

proptest! {
    #[test]
    fn no_bytes_make_the_verification_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        let _ = verify([b"\0asm\x01\0\0\0", &bytes[..]].concat().into(), &Limits::default());
        let _ = verify(bytes.into(), &Limits::default());
    }

    #[test]
    fn no_damaged_rule_makes_the_verification_panic(
        spots in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = rule(MANIFEST).to_vec();
        for (spot, byte) in spots {
            let at = spot.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = verify(bytes.into(), &Limits::default());
    }
}
