//! The function names that a module keeps. When a call exceeds its deadline, the engine reports by
//! them where the call was. The linker's mangled names take a third of a module. Kept are the
//! demangled names of the rule's own functions first, then those of the SDK, up to a bound. Names
//! are not code: they do not affect a call.

use anyhow::Context;
use wasm_encoder::{NameMap, NameSection, RawSection, Section as _};
use wasmparser::{KnownCustom, Name, Parser, Payload};

/// The maximum size of all names of a module, in bytes.
const NAMES_BYTES_MAX: usize = 1024;
/// The maximum length of a name, in bytes. A longer one is left out.
const NAME_BYTES_MAX: usize = 120;
const HEADER_BYTES: usize = 8;

/// Returns the module with only the names that are kept.
///
/// # Errors
/// When the module is damaged.
pub(super) fn shorten(module: &[u8], package: &str) -> anyhow::Result<Vec<u8>> {
    let own = package.replace('-', "_") + "::";
    let damaged = "the module is damaged: build it again";
    let mut shortened = module.get(..HEADER_BYTES).context(damaged)?.to_vec();
    let mut names: Vec<(u32, String)> = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context(damaged)?;
        if let Payload::CustomSection(section) = &payload
            && let KnownCustom::Name(subsections) = section.as_known()
        {
            for subsection in subsections.into_iter().flatten() {
                let Name::Function(functions) = subsection else { continue };
                let named = functions.into_iter().flatten();
                names.extend(named.map(|named| {
                    (named.index, format!("{:#}", rustc_demangle::demangle(named.name)))
                }));
            }
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            let data = module.get(range).context(damaged)?;
            RawSection { id, data }.append_to(&mut shortened);
        }
    }
    let kept = chosen(names, &own);
    if !kept.is_empty() {
        let mut functions = NameMap::new();
        for (index, name) in &kept {
            functions.append(*index, name);
        }
        let mut section = NameSection::new();
        section.functions(&functions);
        section.append_to(&mut shortened);
    }
    Ok(shortened)
}

/// The names of the rule's own crate first, then the SDK's, up to the bound; sorted by function
/// index.
fn chosen(names: Vec<(u32, String)>, own: &str) -> Vec<(u32, String)> {
    let mut kept = Vec::new();
    let mut bytes = 0;
    for prefix in [own, "hailer_sdk::"] {
        for (index, name) in &names {
            // `<my_rule::MyRule as Trait>::method` is the rule's own, too.
            let is_meant = name.trim_start_matches(['<', '&']).starts_with(prefix)
                && name.len() <= NAME_BYTES_MAX;
            if is_meant && bytes + name.len() + 4 <= NAMES_BYTES_MAX {
                bytes += name.len() + 4;
                kept.push((*index, name.clone()));
            }
        }
    }
    kept.sort();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(module: &[u8]) -> Vec<(u32, String)> {
        let mut names = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            if let Payload::CustomSection(section) = payload.unwrap()
                && let KnownCustom::Name(subsections) = section.as_known()
            {
                for subsection in subsections {
                    let Name::Function(functions) = subsection.unwrap() else {
                        panic!("only functions")
                    };
                    names.extend(
                        functions
                            .into_iter()
                            .map(|named| named.unwrap())
                            .map(|one| (one.index, one.name.into())),
                    );
                }
            }
        }
        names
    }

    #[test]
    fn only_the_names_of_the_rule_and_the_sdk_are_kept_and_code_is_unchanged() {
        let text = r#"(module
            (func $_ZN7my_rule6MyRule4slow17h0123456789abcdefE)
            (func $_ZN4core9panicking9panic_fmt17h0123456789abcdefE)
            (func $_ZN10hailer_sdk7context7Context4send17h0123456789abcdefE)
            (@custom "hailer.manifest" "{}"))"#;
        let module = wat::parse_str(text).unwrap();
        let shortened = shorten(&module, "my-rule").unwrap();
        let expected = [
            (0, "my_rule::MyRule::slow".to_owned()),
            (2, "hailer_sdk::context::Context::send".to_owned()),
        ];
        assert_eq!(names_of(&shortened), expected);
        wasmparser::Validator::new().validate_all(&shortened).unwrap();
        // Shortening twice changes nothing.
        assert_eq!(shorten(&shortened, "my-rule").unwrap(), shortened);
        let sections = |module: &[u8]| {
            let payloads = Parser::new(0).parse_all(module).map(|payload| payload.unwrap());
            payloads
                .filter_map(|payload| Some(payload.as_section()?.0))
                .filter(|id| *id != 0)
                .collect::<Vec<_>>()
        };
        assert_eq!(sections(&shortened), sections(&module));
        assert!(shortened.windows(15).any(|bytes| bytes == b"hailer.manifest"));
    }

    #[test]
    fn the_names_of_any_number_of_functions_stay_within_the_bound() {
        let functions: String = (0..500)
            .map(|number| format!("(func $_ZN7my_rule8function{number:04}17h0123456789abcdefE)"))
            .collect();
        let module =
            wat::parse_str(format!("(module {functions})").replace("8function", "12function"))
                .unwrap();
        let shortened = shorten(&module, "my-rule").unwrap();
        let bare = module.len() - wat_names(&module);
        assert!(
            shortened.len() > bare && shortened.len() - bare <= NAMES_BYTES_MAX + 16,
            "{} {bare}",
            shortened.len()
        );
        assert!(!names_of(&shortened).is_empty());
    }

    /// The size of the section of names with its header, in bytes.
    fn wat_names(module: &[u8]) -> usize {
        let payloads = Parser::new(0).parse_all(module).map(|payload| payload.unwrap());
        let range = payloads.filter_map(|payload| match payload {
            Payload::CustomSection(section) if section.name() == "name" => Some(section.range()),
            _ => None,
        });
        // One byte for the id, three for the length.
        range.map(|range| range.len() + 4).sum()
    }
}
