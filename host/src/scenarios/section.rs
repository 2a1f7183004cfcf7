//! Scenarios inside a module, in a custom section: `hailer build` writes it, and the engine reads
//! it as untrusted bytes.

use hailer_abi::SCENARIOS_SECTION;
use wasm_encoder::{CustomSection, Section as _};
use wasmparser::{Parser, Payload};

use super::file::SCENARIO_FILE_BYTES_MAX;

/// Why a module's scenarios cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    #[error(
        "the module has more than one custom section `{SCENARIOS_SECTION}`; build it again with \
         `hailer build`"
    )]
    Repeated,
    #[error(
        "the module's scenarios have {size} bytes, the most is {SCENARIO_FILE_BYTES_MAX}; build \
         it again with fewer"
    )]
    TooLarge { size: usize },
    #[error("the module's scenarios are not UTF-8; build it again with `hailer build`")]
    NotText,
    #[error("the module is damaged: build it again with `hailer build`")]
    Damaged,
}

/// The text of a module's scenarios; `None` if it has none.
///
/// # Errors
/// The section cannot contain scenarios.
pub fn embedded(module: &[u8]) -> Result<Option<&str>, SectionError> {
    let mut found = None;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload.map_err(|_| SectionError::Damaged)?
            && section.name() == SCENARIOS_SECTION
            && found.replace(section.data()).is_some()
        {
            return Err(SectionError::Repeated);
        }
    }
    let Some(bytes) = found else { return Ok(None) };
    if bytes.len() > SCENARIO_FILE_BYTES_MAX {
        return Err(SectionError::TooLarge { size: bytes.len() });
    }
    std::str::from_utf8(bytes).map(Some).map_err(|_| SectionError::NotText)
}

/// Appends scenarios to a module.
///
/// # Errors
/// The scenarios are too large, or the module has scenarios already.
pub fn embed(mut module: Vec<u8>, scenarios: &str) -> Result<Vec<u8>, SectionError> {
    if scenarios.len() > SCENARIO_FILE_BYTES_MAX {
        return Err(SectionError::TooLarge { size: scenarios.len() });
    }
    if embedded(&module)?.is_some() {
        return Err(SectionError::Repeated);
    }
    let data = scenarios.as_bytes().into();
    CustomSection { name: SCENARIOS_SECTION.into(), data }.append_to(&mut module);
    Ok(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn embedded_scenarios_are_read_back_and_cannot_be_added_twice() {
        let text = "# длинный текст\n".repeat(300);
        let module = embed(EMPTY.to_vec(), &text).unwrap();
        assert_eq!(embedded(&module), Ok(Some(&*text)));
        assert_eq!(embed(module, "more"), Err(SectionError::Repeated));
        assert_eq!(embedded(EMPTY), Ok(None));
    }

    #[test]
    fn an_invalid_section_is_refused() {
        let large = "#".repeat(SCENARIO_FILE_BYTES_MAX + 1);
        assert_eq!(
            embed(EMPTY.to_vec(), &large),
            Err(SectionError::TooLarge { size: large.len() })
        );
        let mut module = embed(EMPTY.to_vec(), "abc").unwrap();
        let last = module.len() - 1;
        module[last] = 0xff;
        assert_eq!(embedded(&module), Err(SectionError::NotText));
        assert_eq!(embedded(&module[..last]), Err(SectionError::Damaged));
        let twice = [
            embed(EMPTY.to_vec(), "a").unwrap(),
            embed(EMPTY.to_vec(), "b").unwrap()[EMPTY.len()..].to_vec(),
        ]
        .concat();
        assert_eq!(embedded(&twice), Err(SectionError::Repeated));
    }
}
