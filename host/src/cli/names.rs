//! The names of a module's functions, as far as they help: by them an engine says where a call was when its time was up. The linker's own are
//! mangled and take a third of a module; what is kept is the rule's own, as people write them, then the SDK's, within a bound. They are no code: a
//! call does not touch them.

use anyhow::Context;
use wasmparser::{KnownCustom, Name, Parser, Payload};

use crate::engine::{append_custom_section, write_leb, write_text};

/// The most that the names of a module take, in bytes.
const NAMES_BYTES_MAX: usize = 1024;
/// A longer name says no more.
const NAME_BYTES_MAX: usize = 120;
const NAME_SECTION: &str = "name";
/// Of the names of functions within that section.
const FUNCTIONS: u8 = 1;
const HEADER_BYTES: usize = 8;

/// The module with only those names.
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
                names.extend(named.map(|named| (named.index, format!("{:#}", rustc_demangle::demangle(named.name)))));
            }
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            shortened.push(id);
            write_leb(range.len(), &mut shortened);
            shortened.extend_from_slice(module.get(range).context(damaged)?);
        }
    }
    let kept = chosen(names, &own);
    if !kept.is_empty() {
        write_names(&kept, &mut shortened);
    }
    Ok(shortened)
}

/// Those of the rule's own crate first, then the SDK's, as far as there is room; in the order of their numbers.
fn chosen(names: Vec<(u32, String)>, own: &str) -> Vec<(u32, String)> {
    let mut kept = Vec::new();
    let mut bytes = 0;
    for prefix in [own, "hailer_sdk::"] {
        for (index, name) in &names {
            // `<my_rule::MyRule as Trait>::method` is the rule's own, too.
            let is_meant = name.trim_start_matches(['<', '&']).starts_with(prefix) && name.len() <= NAME_BYTES_MAX;
            if is_meant && bytes + name.len() + 4 <= NAMES_BYTES_MAX {
                bytes += name.len() + 4;
                kept.push((*index, name.clone()));
            }
        }
    }
    kept.sort();
    kept
}

fn write_names(names: &[(u32, String)], out: &mut Vec<u8>) {
    let mut map = Vec::new();
    write_leb(names.len(), &mut map);
    for (index, name) in names {
        write_leb(*index as usize, &mut map);
        write_text(name, &mut map);
    }
    let mut data = vec![FUNCTIONS];
    write_leb(map.len(), &mut data);
    data.append(&mut map);
    append_custom_section(NAME_SECTION, &data, out);
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
                    let Name::Function(functions) = subsection.unwrap() else { panic!("only functions") };
                    names.extend(
                        functions.into_iter().map(|named| named.unwrap()).map(|one| (one.index, one.name.into())),
                    );
                }
            }
        }
        names
    }

    #[test]
    fn the_rules_own_functions_keep_their_names_and_nothing_else_changes() {
        let text = r#"(module
            (func $_ZN7my_rule6MyRule4slow17h0123456789abcdefE)
            (func $_ZN4core9panicking9panic_fmt17h0123456789abcdefE)
            (func $_ZN10hailer_sdk7context7Context4send17h0123456789abcdefE)
            (@custom "hailer.manifest" "{}"))"#;
        let module = wat::parse_str(text).unwrap();
        let shortened = shorten(&module, "my-rule").unwrap();
        let expected = [(0, "my_rule::MyRule::slow".to_owned()), (2, "hailer_sdk::context::Context::send".to_owned())];
        assert_eq!(names_of(&shortened), expected);
        wasmparser::Validator::new().validate_all(&shortened).unwrap();
        // Once is enough.
        assert_eq!(shorten(&shortened, "my-rule").unwrap(), shortened);
        let sections = |module: &[u8]| {
            let payloads = Parser::new(0).parse_all(module).map(|payload| payload.unwrap());
            payloads.filter_map(|payload| Some(payload.as_section()?.0)).filter(|id| *id != 0).collect::<Vec<_>>()
        };
        assert_eq!(sections(&shortened), sections(&module));
        assert!(shortened.windows(15).any(|bytes| bytes == b"hailer.manifest"));
    }

    #[test]
    fn however_many_functions_there_are_their_names_stay_within_a_bound() {
        let functions: String =
            (0..500).map(|number| format!("(func $_ZN7my_rule8function{number:04}17h0123456789abcdefE)")).collect();
        let module = wat::parse_str(format!("(module {functions})").replace("8function", "12function")).unwrap();
        let shortened = shorten(&module, "my-rule").unwrap();
        let bare = module.len() - wat_names(&module);
        assert!(shortened.len() > bare && shortened.len() - bare <= NAMES_BYTES_MAX + 16, "{} {bare}", shortened.len());
        assert!(!names_of(&shortened).is_empty());
    }

    /// The bytes of the section of names, header and all.
    fn wat_names(module: &[u8]) -> usize {
        let payloads = Parser::new(0).parse_all(module).map(|payload| payload.unwrap());
        let range = payloads.filter_map(|payload| match payload {
            Payload::CustomSection(section) if section.name() == NAME_SECTION => Some(section.range()),
            _ => None,
        });
        // One byte for the id, three for the length.
        range.map(|range| range.len() + 4).sum()
    }
}
