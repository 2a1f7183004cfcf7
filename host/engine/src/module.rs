//! Rule modules: bytes that are checked against the ABI and its bounds before they are compiled or
//! run.
//!
//! The bounds are checked before the validator runs, and both before the compiler runs. The reason
//! is that the time and memory of a compiler grow faster than the size of a function: 87 kB in one
//! function took 0.85 s and 298 MB, and 677 kB ended the process.

use std::sync::Arc;

use hailer_abi::manifest::Manifest;
use hailer_abi::{MANIFEST_SECTION, exports, imports};
use wasmparser::types::Types;
use wasmparser::{
    BinaryReaderError, CustomSectionReader, Export, ExternalKind, FuncType, FunctionBody, Import,
    Parser, Payload, TypeRef, ValType, Validator, WasmFeatures,
};

use super::Limits;
use super::manifest::{ManifestError, read_manifest};
use hailer_base::wording::shown;

const FUNCTIONS_MAX: u64 = 8192;
const FUNCTION_BYTES_MAX: u64 = 64 << 10;
const LOCALS_MAX: u64 = 2048;
const TYPES_MAX: u64 = 1024;
const TYPE_VALUES_MAX: u64 = 64;
const IMPORTS_MAX: u64 = 64;
const EXPORTS_MAX: u64 = 256;
const TABLES_MAX: u64 = 1;
const TABLE_ELEMENTS_MAX: u64 = 8192;
const GLOBALS_MAX: u64 = 1024;
const DATA_SEGMENTS_MAX: u64 = 1024;
const ELEMENT_SEGMENTS_MAX: u64 = 1024;
const CUSTOM_SECTIONS_MAX: u64 = 64;
const PAGE_BYTES: u64 = 64 << 10;

/// A module that conforms to the ABI. It still has to be compiled and tried.
#[derive(Clone, Debug)]
pub struct VerifiedModule {
    pub bytes: Arc<[u8]>,
    /// BLAKE3 of all bytes, in hexadecimal.
    pub digest: Arc<str>,
    pub manifest: Arc<Manifest>,
}

/// The reason why bytes are not a rule module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    #[error("the module is empty")]
    Empty,
    #[error("not a WebAssembly module: it does not start with `\\0asm`")]
    NotWasm,
    #[error("this is a component, and a rule must be a core module")]
    Component,
    #[error("the module has {size} bytes, the most is {max}")]
    TooLarge { size: usize, max: usize },
    #[error("not WebAssembly that a rule may use, at byte {offset}: {reason}")]
    Invalid { offset: u64, reason: String },
    #[error("the module has {count} {what}, the most is {max}")]
    TooMany { what: &'static str, count: u64, max: u64 },
    #[error("function {function} has {size} bytes of code, the most is {FUNCTION_BYTES_MAX}")]
    FunctionTooLarge { function: u64, size: u64 },
    #[error("function {function} has {count} locals, the most is {LOCALS_MAX}")]
    TooManyLocals { function: u64, count: u64 },
    #[error("the memory starts with {bytes} bytes, the most is {max}")]
    MemoryTooLarge { bytes: u64, max: usize },
    #[error("the module imports `{module}.{name}`, and a rule may import nothing but `hailer.log`")]
    ForeignImport { module: String, name: String },
    #[error("the module imports `hailer.log` as {found}, and it must be {LOG_TYPE}")]
    LogType { found: String },
    #[error("the module does not export `{name}`, {expected}")]
    ExportMissing { name: &'static str, expected: &'static str },
    #[error("the module exports `{name}` as {found}, and it must be {expected}")]
    ExportType { name: &'static str, found: String, expected: &'static str },
    #[error("the module has no custom section `{MANIFEST_SECTION}`")]
    ManifestMissing,
    #[error("the module has more than one custom section `{MANIFEST_SECTION}`")]
    ManifestRepeated,
    #[error("the module's manifest: {0}")]
    Manifest(ManifestError),
}

impl ModuleError {
    /// The next step for the author of the rule.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            ModuleError::Empty => {
                "copy the module again, under another name first and then renamed".into()
            }
            ModuleError::NotWasm => {
                "build the rule with `hailer build` and copy the .wasm file that it names".into()
            }
            ModuleError::Component => "build for the target wasm32-unknown-unknown, as `hailer \
                                       build` does, without component tooling"
                .into(),
            ModuleError::TooLarge { .. } => "build with `hailer build`, which optimises and \
                                             strips, or raise limits.module_bytes_max"
                .into(),
            ModuleError::Invalid { .. } => "if the file is still being copied, wait; else rebuild \
                                            it with `hailer build`"
                .into(),
            ModuleError::FunctionTooLarge { .. } | ModuleError::TooManyLocals { .. } => {
                "split the function (large tables belong in a `static`), or mark its parts \
                 #[inline(never)]"
                    .into()
            }
            ModuleError::TooMany { .. } => "make the rule smaller, or split it in two".into(),
            ModuleError::MemoryTooLarge { .. } => {
                "make statics smaller, or raise limits.memory_bytes_max".into()
            }
            ModuleError::ForeignImport { module, .. } if module.starts_with("wasi") => {
                "a rule has no operating system: build for wasm32-unknown-unknown and drop clocks, \
                 files and printing"
                    .into()
            }
            ModuleError::ForeignImport { .. } => {
                "drop the dependency that needs it; `cargo tree` shows who brings it in".into()
            }
            ModuleError::Manifest(error) => error.hint(),
            ModuleError::ManifestMissing => "write the rule with #[rule] and #[handlers] of the \
                                             hailer-sdk, and don't strip custom sections"
                .into(),
            ModuleError::LogType { .. }
            | ModuleError::ExportMissing { .. }
            | ModuleError::ExportType { .. }
            | ModuleError::ManifestRepeated => {
                "rebuild the rule with `hailer build`, one #[rule] in a module".into()
            }
        }
    }
}

/// Checks bytes against the ABI: structure, bounds, imports, exports and manifest. It compiles and
/// runs nothing.
///
/// # Errors
/// The first problem with the module.
pub fn verify(bytes: Arc<[u8]>, limits: &Limits) -> Result<VerifiedModule, ModuleError> {
    if bytes.is_empty() {
        return Err(ModuleError::Empty);
    }
    if bytes.len() > limits.module_bytes_max {
        return Err(ModuleError::TooLarge { size: bytes.len(), max: limits.module_bytes_max });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ModuleError::NotWasm);
    }
    if Parser::is_component(&bytes) {
        return Err(ModuleError::Component);
    }
    let outline = Outline::read(&bytes, limits)?;
    let types = Validator::new_with_features(features()).validate_all(&bytes)?;
    outline.check_imports(&types)?;
    outline.check_exports(&types)?;
    let manifest = match outline.manifests[..] {
        [] => return Err(ModuleError::ManifestMissing),
        [manifest] => read_manifest(manifest).map_err(ModuleError::Manifest)?,
        _ => return Err(ModuleError::ManifestRepeated),
    };
    let digest = digest_of(&bytes);
    Ok(VerifiedModule { digest, manifest: Arc::new(manifest), bytes })
}

/// The digest of a module: BLAKE3 of all of its bytes, in hexadecimal.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Arc<str> {
    blake3::hash(bytes).to_hex().as_str().into()
}

/// The WebAssembly proposals of `docs/abi.md` and no others. Reference types are without
/// `externref`, which needs `GC_TYPES`.
fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::SIMD
        | WasmFeatures::FLOATS
}

/// The result of one pass over the sections of a module, before it is validated.
#[derive(Default)]
struct Outline<'module> {
    imports: Vec<Import<'module>>,
    exports: Vec<Export<'module>>,
    manifests: Vec<&'module [u8]>,
    custom_sections: u64,
    functions: u64,
}

impl<'module> Outline<'module> {
    fn read(bytes: &'module [u8], limits: &Limits) -> Result<Self, ModuleError> {
        let mut outline = Outline::default();
        for payload in Parser::new(0).parse_all(bytes) {
            outline.section(payload?, limits)?;
        }
        Ok(outline)
    }

    fn section(&mut self, payload: Payload<'module>, limits: &Limits) -> Result<(), ModuleError> {
        match payload {
            Payload::TypeSection(types) => {
                bounded("types", u64::from(types.count()), TYPES_MAX)?;
                for function in types.into_iter_err_on_gc_types() {
                    let function = function?;
                    let values = function.params().len() + function.results().len();
                    bounded("values in one function's type", values as u64, TYPE_VALUES_MAX)?;
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    self.imports.push(import?);
                    bounded("imports", self.imports.len() as u64, IMPORTS_MAX)?;
                }
            }
            Payload::FunctionSection(functions) => {
                bounded("functions", u64::from(functions.count()), FUNCTIONS_MAX)?;
            }
            Payload::TableSection(tables) => {
                bounded("tables", u64::from(tables.count()), TABLES_MAX)?;
                for table in tables {
                    bounded("elements in its table", table?.ty.initial, TABLE_ELEMENTS_MAX)?;
                }
            }
            Payload::MemorySection(memories) => {
                bounded("memories", u64::from(memories.count()), 1)?;
                for memory in memories {
                    let bytes = memory?.initial.saturating_mul(PAGE_BYTES);
                    let max = limits.memory_bytes_max;
                    if bytes > max as u64 {
                        return Err(ModuleError::MemoryTooLarge { bytes, max });
                    }
                }
            }
            Payload::GlobalSection(globals) => {
                bounded("globals", u64::from(globals.count()), GLOBALS_MAX)?
            }
            Payload::ExportSection(exports) => {
                bounded("exports", u64::from(exports.count()), EXPORTS_MAX)?;
                self.exports = exports.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::ElementSection(elements) => {
                bounded("element segments", u64::from(elements.count()), ELEMENT_SEGMENTS_MAX)?;
            }
            Payload::DataSection(data) => {
                bounded("data segments", u64::from(data.count()), DATA_SEGMENTS_MAX)?
            }
            Payload::CodeSectionEntry(body) => self.function(&body)?,
            Payload::CustomSection(section) => self.custom(&section)?,
            _ => {}
        }
        Ok(())
    }

    fn function(&mut self, body: &FunctionBody<'module>) -> Result<(), ModuleError> {
        let function = self.functions;
        self.functions += 1;
        let size = body.range().len() as u64;
        if size > FUNCTION_BYTES_MAX {
            return Err(ModuleError::FunctionTooLarge { function, size });
        }
        let mut count: u64 = 0;
        for group in body.get_locals_reader()? {
            let (locals, _) = group?;
            count += u64::from(locals);
            if count > LOCALS_MAX {
                return Err(ModuleError::TooManyLocals { function, count });
            }
        }
        Ok(())
    }

    fn custom(&mut self, section: &CustomSectionReader<'module>) -> Result<(), ModuleError> {
        self.custom_sections += 1;
        bounded("custom sections", self.custom_sections, CUSTOM_SECTIONS_MAX)?;
        if section.name() == MANIFEST_SECTION {
            self.manifests.push(section.data());
        }
        Ok(())
    }

    fn check_imports(&self, types: &Types) -> Result<(), ModuleError> {
        for import in &self.imports {
            if (import.module, import.name) != (imports::MODULE, imports::LOG) {
                let (module, name) = (shown(import.module), shown(import.name));
                return Err(ModuleError::ForeignImport { module, name });
            }
            let found = match import.ty {
                TypeRef::Func(index) => {
                    let function = types.as_ref()[types.as_ref().core_type_at_in_module(index)]
                        .unwrap_func()
                        .clone();
                    if is(&function, &[ValType::I32; 4], &[]) {
                        continue;
                    }
                    signature(&function)
                }
                _ => "something other than a function".into(),
            };
            return Err(ModuleError::LogType { found });
        }
        Ok(())
    }

    fn check_exports(&self, types: &Types) -> Result<(), ModuleError> {
        let export = |name: &'static str, expected: &'static str| {
            let found = self.exports.iter().find(|export| export.name == name);
            found.ok_or(ModuleError::ExportMissing { name, expected })
        };
        let (name, expected) = (exports::MEMORY, "a memory");
        let memory = export(name, expected)?;
        if memory.kind != ExternalKind::Memory {
            return Err(ModuleError::ExportType {
                name,
                found: kind_of(memory.kind).into(),
                expected,
            });
        }
        for (name, expected, params) in [
            (exports::INPUT, "(i32) -> i32", 1),
            (exports::CONFIGURE, "(i32) -> i64", 1),
            (exports::HANDLE, "(i32, i32, i32) -> i64", 3),
        ] {
            let result = if name == exports::INPUT { ValType::I32 } else { ValType::I64 };
            let function = export(name, expected)?;
            if function.kind != ExternalKind::Func {
                return Err(ModuleError::ExportType {
                    name,
                    found: kind_of(function.kind).into(),
                    expected,
                });
            }
            let types = types.as_ref();
            let found = types[types.core_function_at(function.index)].unwrap_func();
            if !is(found, &[ValType::I32; 3][..params], &[result]) {
                return Err(ModuleError::ExportType { name, found: signature(found), expected });
            }
        }
        Ok(())
    }
}

const LOG_TYPE: &str = "(i32, i32, i32, i32)";

fn is(function: &FuncType, params: &[ValType], results: &[ValType]) -> bool {
    function.params() == params && function.results() == results
}

fn signature(function: &FuncType) -> String {
    let list =
        |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match function.results() {
        [] => format!("({})", list(function.params())),
        [one] => format!("({}) -> {one}", list(function.params())),
        results => format!("({}) -> ({})", list(function.params()), list(results)),
    }
}

fn kind_of(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "a function",
        ExternalKind::Table => "a table",
        ExternalKind::Memory => "a memory",
        ExternalKind::Global => "a global",
        ExternalKind::Tag => "a tag",
    }
}

fn bounded(what: &'static str, count: u64, max: u64) -> Result<(), ModuleError> {
    if count > max { Err(ModuleError::TooMany { what, count, max }) } else { Ok(()) }
}

impl From<BinaryReaderError> for ModuleError {
    fn from(error: BinaryReaderError) -> Self {
        ModuleError::Invalid { offset: error.offset() as u64, reason: shown(error.message()) }
    }
}

#[cfg(test)]
mod tests;
