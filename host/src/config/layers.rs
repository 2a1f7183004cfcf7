//! The four layers of settings, and how they become one configuration. Every value keeps its
//! origin: a problem names it, and `config show` prints it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::settings::{check, defaults, flatten, from_text, nearest, nest};
use super::{Config, ConfigError, Problem, checks};
use crate::address::redacted;
use crate::failpoint;

/// The file that is read if it is in the current directory and no file is named.
pub const FILE_DEFAULT: &str = "hailer.toml";
/// The prefix of every environment variable: `HAILER_RABBITMQ__PREFETCH`.
pub const ENVIRONMENT_PREFIX: &str = "HAILER_";

/// The largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        line: Option<usize>,
    },
    /// The environment variable with this name.
    Environment(String),
    /// The flag as the user writes it: `--sink`.
    Flag(String),
}

/// A setting from the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Flag {
    /// The setting's name, such as `rabbitmq.prefetch`.
    pub setting: String,
    pub text: String,
    /// The flag as the user writes it: `--prefetch`.
    pub flag: String,
}

/// All layers above the defaults, the strongest last.
#[derive(Default)]
pub struct Layers {
    pub file: Option<PathBuf>,
    /// Environment variables with their full names. Variables without the prefix are ignored.
    pub environment: Vec<(String, String)>,
    pub flags: Vec<Flag>,
}

/// The purpose of loading a configuration, which decides how much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Checks the values only.
    Ask,
    /// Checks also that the directories and files that it names exist.
    Run,
}

/// A configuration, and the origin of each of its values.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

/// One setting as `config show` prints it: without secrets.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    pub setting: String,
    pub value: Value,
    #[serde(serialize_with = "as_text")]
    pub origin: Origin,
}

impl Layers {
    /// The layers of this process: the named file, or the default file if it exists, and the
    /// environment.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Layers {
        let file = file.or_else(|| Path::new(FILE_DEFAULT).exists().then(|| FILE_DEFAULT.into()));
        let text = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
        let environment =
            std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Layers { file, environment, flags }
    }

    /// Merges the layers into one configuration and checks it.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub fn load(&self, purpose: Purpose) -> Result<Loaded, ConfigError> {
        let mut merge =
            Merge { defaults: defaults(), given: BTreeMap::new(), problems: Vec::new() };
        if let Some(path) = &self.file {
            merge.file(path);
        }
        merge.environment(&self.environment);
        merge.flags(&self.flags);
        let (loaded, mut problems) = merge.finish();
        if let Some(loaded) = loaded {
            checks::values(&loaded, &mut problems);
            if purpose == Purpose::Run {
                checks::files(&loaded, &mut problems);
            }
            if problems.is_empty() {
                return Ok(loaded);
            }
        }
        Err(ConfigError { problems })
    }
}

impl Loaded {
    /// The origin of a setting's value.
    #[must_use]
    pub fn origin(&self, setting: &str) -> Origin {
        self.origins.get(setting).cloned().unwrap_or(Origin::Default)
    }

    /// Every setting with its value and origin, without secrets.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let mut values = BTreeMap::new();
        if let Ok(tree) = serde_json::to_value(&self.config) {
            flatten("", &tree, &mut values);
        }
        let show = |(setting, value): (String, Value)| {
            let value = match value {
                Value::String(text) => redacted(&text).into(),
                other => other,
            };
            Shown { origin: self.origin(&setting), setting, value }
        };
        values.into_iter().map(show).collect()
    }
}

/// The merge of the layers. An invalid value is reported and does not replace the value of the
/// weaker layer, so that all other values are still checked.
struct Merge {
    defaults: BTreeMap<String, Value>,
    given: BTreeMap<String, (Value, Origin)>,
    problems: Vec<Problem>,
}

impl Merge {
    fn file(&mut self, path: &Path) {
        let origin = |line| Origin::File { path: path.to_owned(), line };
        let text = match read(path) {
            Ok(text) => text,
            Err(reason) => {
                let next_step =
                    "name a readable TOML file with --config, or leave the flag out".to_owned();
                let setting = "--config".to_owned();
                self.problems.push(Problem { setting, origin: origin(None), reason, next_step });
                return;
            }
        };
        let line_of = |offset: usize| {
            Some(1 + text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count())
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            self.problems.push(Problem {
                setting: "syntax".to_owned(),
                origin: origin(error.span().and_then(|span| line_of(span.start))),
                reason: error.message().to_owned(),
                next_step: "correct the TOML; no setting of this file is used until it can be read"
                    .to_owned(),
            });
        }
        if !errors.is_empty() {
            return;
        }
        let mut leaves = Vec::new();
        collect("", table.get_ref(), &mut leaves);
        for (setting, value, offset) in leaves {
            self.set(&setting, origin(line_of(offset)), |_| value);
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (name, text) in variables {
            let Some(setting) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            // The variable of failpoints is for tests, and deliberately not a setting: a file
            // cannot hold it, and `config show` does not print it.
            if name == failpoint::VARIABLE {
                continue;
            }
            // Kubernetes sets HAILER_SERVICE_HOST, HAILER_PORT and the like in every pod for a
            // service named `hailer`.
            if setting.starts_with("SERVICE_") || setting == "PORT" || setting.starts_with("PORT_")
            {
                continue;
            }
            let setting = setting.to_lowercase().replace("__", ".");
            self.set(&setting, Origin::Environment(name.clone()), |default| {
                from_text(default, text)
            });
        }
    }

    fn flags(&mut self, flags: &[Flag]) {
        for Flag { setting, text, flag } in flags {
            self.set(setting, Origin::Flag(flag.clone()), |default| from_text(default, text));
        }
    }

    fn set(&mut self, setting: &str, origin: Origin, value: impl FnOnce(&Value) -> Value) {
        let mut problem = |reason: String, next_step: String, origin: Origin| {
            self.problems.push(Problem { setting: setting.to_owned(), origin, reason, next_step });
        };
        let Some(default) = self.defaults.get(setting) else {
            let next_step = match nearest(setting, self.defaults.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`hailer config show` lists all settings".to_owned(),
            };
            return problem("there is no such setting".to_owned(), next_step, origin);
        };
        let value = value(default);
        match check(setting, default, &value) {
            Ok(()) => {
                self.given.insert(setting.to_owned(), (value, origin));
            }
            Err(reason) => {
                let next_step = match default {
                    Value::Null => "write a path in quotation marks, or leave it out".to_owned(),
                    default => format!(
                        "the default is `{}`",
                        default.as_str().unwrap_or(&default.to_string())
                    ),
                };
                problem(reason, next_step, origin);
            }
        }
    }

    fn finish(mut self) -> (Option<Loaded>, Vec<Problem>) {
        let mut origins = BTreeMap::new();
        let mut values = self.defaults;
        for (setting, (value, origin)) in self.given {
            values.insert(setting.clone(), value);
            origins.insert(setting, origin);
        }
        match serde_json::from_value(nest(values)) {
            Ok(config) => (Some(Loaded { config, origins }), self.problems),
            Err(error) => {
                self.problems.push(Problem {
                    setting: "configuration".to_owned(),
                    origin: Origin::Default,
                    reason: error.to_string(),
                    next_step: "`hailer config show` lists all settings".to_owned(),
                });
                (None, self.problems)
            }
        }
    }
}

/// Collects every value of a table with its dotted name and its offset in the text.
fn collect(prefix: &str, table: &DeTable<'_>, leaves: &mut Vec<(String, Value, usize)>) {
    for (name, value) in table {
        let path = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) => collect(&path, inner, leaves),
            leaf => leaves.push((path, to_json(leaf), name.span().start)),
        }
    }
}

fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::from(number.to_string()), Value::from),
        DeValue::Array(_) => Value::Array(Vec::new()),
        DeValue::Float(number) => Value::from(number.to_string()),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Table(_) => Value::Object(serde_json::Map::new()),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!(
            "{length} bytes are too many for a configuration; the maximum is {FILE_BYTES_MAX}"
        ));
    }
    super::settled::read(path).map_err(|error| error.to_string())
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::File { path, line: Some(line) } => {
                write!(formatter, "{}:{line}", path.display())
            }
            Origin::File { path, line: None } => write!(formatter, "{}", path.display()),
            Origin::Environment(name) | Origin::Flag(name) => formatter.write_str(name),
        }
    }
}

/// Serializes an origin as text.
pub(super) fn as_text<S: serde::Serializer>(
    origin: &Origin,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(origin)
}
