//! Any bytes as a module's manifest. Nothing panics. An accepted manifest is within the bounds of
//! the ABI and has the engine's marks of personal fields. A module with this manifest gives the
//! same result.

#![no_main]

use std::sync::Arc;

use hailer::engine::{Limits, ModuleError, read_manifest, verify};
use hailer_abi::manifest::FieldKind;
use libfuzzer_sys::fuzz_target;
use wasm_encoder::{
    CodeSection, CustomSection, ExportKind, ExportSection, Function, FunctionSection,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

fuzz_target!(|bytes: &[u8]| {
    let read = read_manifest(bytes);
    let verified = verify(module(bytes), &Limits::default());
    match (read, verified) {
        (Ok(manifest), Ok(module)) => {
            assert_eq!(manifest, *module.manifest);
            assert!((1..=64).contains(&manifest.handlers.len()));
            for field in manifest.handlers.iter().flat_map(|handler| &handler.fields) {
                let is_whole =
                    field.kind != FieldKind::List && field.paths.iter().any(String::is_empty);
                assert!(field.personal || !is_whole, "the whole message is personal");
            }
        }
        (Err(error), Err(ModuleError::Manifest(through))) => assert_eq!(error, through),
        (read, verified) => panic!("{read:?}, and through a module {verified:?}"),
    }
});

/// Makes a rule module with a memory, the three functions, and this manifest.
fn module(manifest: &[u8]) -> Arc<[u8]> {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", ExportKind::Memory, 0);
    for (index, (name, parameters, result)) in (0..).zip([
        ("hailer_input", 1, ValType::I32),
        ("hailer_configure", 1, ValType::I64),
        ("hailer_handle", 3, ValType::I64),
    ]) {
        types.ty().function(vec![ValType::I32; parameters], [result]);
        functions.function(index);
        exports.export(name, ExportKind::Func, index);
        let mut body = Function::new([]);
        match result {
            ValType::I32 => body.instructions().i32_const(1024),
            _ => body.instructions().i64_const(0),
        };
        body.instructions().end();
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
    module.section(&CustomSection { name: "hailer.manifest".into(), data: manifest.into() });
    module.finish().into()
}
