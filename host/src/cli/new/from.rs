//! `hailer new --from MODULE NAME`: writes a campaign file for a module that exists. Its mode is
//! shadow: a running engine loads a new campaign file at once, before anyone has checked its
//! parameters.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::params::campaign_text;
use crate::cli::{DONE, UsageError, module, output};
use crate::config::nearest;
use crate::engine::Limits;

pub(super) fn write_campaign(
    name: &str,
    module: &Path,
    rules: &Path,
    limits: &Limits,
) -> anyhow::Result<u8> {
    let path = module_in(rules, module)?;
    let facts = module::read(&rules.join(&path), limits)?;
    let file = rules.join(name).with_extension("toml");
    if file.exists() {
        bail!("{} already exists: choose another name", file.display());
    }
    let text = campaign_text(&path.display().to_string(), &facts.manifest);
    // The file gets its name only when it is complete, because an engine may be watching.
    let failed = || format!("cannot write {}", file.display());
    let mut temporary = tempfile::Builder::new()
        .prefix(".")
        .suffix(".partial")
        .tempfile_in(rules)
        .with_context(failed)?;
    std::io::Write::write_all(&mut temporary, text.as_bytes()).with_context(failed)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    temporary.as_file().set_permissions(readable).with_context(failed)?;
    temporary.persist_noclobber(&file).with_context(failed)?;
    output::data(&file.display().to_string())?;
    output::message(&format!(
        "next: set its parameters in {}, check it with hailer check --rules {} --no-broker, then \
         write mode = \"live\"",
        file.display(),
        rules.display()
    ));
    Ok(DONE)
}

/// The module's path relative to the rules directory. `module` may be that path, the name of the
/// module, or a path from the working directory.
fn module_in(rules: &Path, module: &Path) -> Result<PathBuf, UsageError> {
    let known = modules_of(rules);
    let with_ending = if module.extension().is_some_and(|ending| ending == "wasm") {
        module.to_owned()
    } else {
        PathBuf::from(format!("{}.wasm", module.display()))
    };
    let inside = with_ending.strip_prefix(rules).unwrap_or(&with_ending);
    for path in [inside.to_owned(), Path::new("modules").join(inside)] {
        if known.contains(&path) {
            return Ok(path);
        }
    }
    let stems = known.iter().filter_map(|path| path.file_stem()?.to_str());
    let hint = match nearest(&module.display().to_string(), stems) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => {
            "it holds no module: build one into it, or name another directory with --rules".into()
        }
        None => {
            let names: Vec<_> = known.iter().map(|path| path.display().to_string()).collect();
            format!("it has {}", names.join(", "))
        }
    };
    Err(UsageError(format!(
        "there is no module `{}` in {}: {hint}",
        module.display(),
        rules.display()
    )))
}

/// The modules in a rules directory, as paths relative to it.
fn modules_of(rules: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "modules"] {
        let entries = std::fs::read_dir(rules.join(folder)).into_iter().flatten().flatten();
        let paths = entries.map(|entry| Path::new(folder).join(entry.file_name()));
        found.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "wasm")));
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_by_its_name_or_its_path_and_a_near_miss_is_suggested() {
        let rules = tempfile::tempdir().unwrap();
        std::fs::create_dir(rules.path().join("modules")).unwrap();
        for file in ["welcome.wasm", "modules/big-basket.wasm", "modules/notes.txt"] {
            std::fs::write(rules.path().join(file), "").unwrap();
        }
        let found = |module: &str| module_in(rules.path(), Path::new(module));
        for name in
            ["big-basket", "big-basket.wasm", "modules/big-basket", "modules/big-basket.wasm"]
        {
            assert_eq!(found(name).unwrap(), Path::new("modules/big-basket.wasm"), "{name}");
        }
        assert_eq!(found("welcome").unwrap(), Path::new("welcome.wasm"));
        let whole = rules.path().join("modules/big-basket.wasm");
        assert_eq!(
            found(&whole.display().to_string()).unwrap(),
            Path::new("modules/big-basket.wasm")
        );
        assert!(found("big-baskt").unwrap_err().0.contains("did you mean `big-basket`?"));
        assert!(
            found("/etc/passwd")
                .unwrap_err()
                .0
                .contains("it has modules/big-basket.wasm, welcome.wasm")
        );
        let empty = tempfile::tempdir().unwrap();
        assert!(module_in(empty.path(), Path::new("x")).unwrap_err().0.contains("holds no module"));
    }
}
