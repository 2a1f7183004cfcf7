//! Checks that need more than one value: settings that contradict each other, and files and
//! directories that do not exist.

use std::net::ToSocketAddrs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use super::{DEAD_LETTERS_FILE, Loaded, Origin, Problem};
use crate::address::{Address, redacted};
use crate::pipeline::Clock;
use crate::sinks::lines::dead_letters_beside;

/// The longest name of an environment, in bytes. The name is part of every communication.
const ENVIRONMENT_NAME_MAX: usize = 64;

/// Checks the values against each other.
pub(super) fn values(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let config = &loaded.config;
    let mut report = Report { loaded, problems };

    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let name = &config.environment;
    if name.is_empty() || name.len() > ENVIRONMENT_NAME_MAX || !name.chars().all(plain) {
        report.add(
            "environment",
            "not a valid name",
            "use up to 64 letters, digits, `-`, `_` and `.`, such as `production`",
        );
    }
    for (setting, address) in [("source", &config.source), ("sink", &config.sink)] {
        if let Err(error) = address.parse::<Address>() {
            report.add(setting, error.to_string(), "`hailer run --help` has examples");
        }
    }
    addresses(&mut report);
    own_directories(&mut report);
    if config.record.dir.is_some() && config.record.bytes_max < config.record.file_bytes_max {
        let reason = format!("{} is less than record.file_bytes_max", config.record.bytes_max);
        report.add(
            "record.bytes_max",
            reason,
            "not even one file would fit: raise it, or lower record.file_bytes_max",
        );
    }
    if config.event.batch_max > config.event.in_flight_max {
        let reason = format!(
            "{} is more than event.in_flight_max, {}",
            config.event.batch_max, config.event.in_flight_max
        );
        report.add(
            "event.batch_max",
            reason,
            "a batch cannot be larger than what may be in flight: lower it, or raise \
                event.in_flight_max",
        );
    }
    if config.limits.state_bytes_max >= config.limits.output_bytes_max {
        let reason =
            format!("{} is not less than limits.output_bytes_max", config.limits.state_bytes_max);
        report.add(
            "limits.state_bytes_max",
            reason,
            "a state is a part of a call's output: lower it, or raise limits.output_bytes_max",
        );
    }
    if config.clock.source == Clock::Events && config.source.starts_with("amqp") {
        let reason = "live events cannot drive the clock";
        report.add(
            "clock.source",
            reason,
            "use `wall` with RabbitMQ; `events` is for a file or standard input",
        );
    }
    without_effect(&mut report);
    let listen = &config.http.listen;
    if !listen.is_empty() && listen != "auto" && listen.to_socket_addrs().is_err() {
        let reason = format!("`{listen}` is not an address to listen on");
        report.add(
            "http.listen",
            reason,
            "write HOST:PORT, such as 127.0.0.1:9464, or an empty text to listen nowhere",
        );
    }
    if let Some(word) = misspelt_level(&config.log.level) {
        let reason = format!("`{word}` is not a level");
        report.add(
            "log.level",
            reason,
            "use error, warn, info, debug, trace, or TARGET=LEVEL, such as hailer=debug",
        );
    } else if let Err(error) = EnvFilter::builder().parse(&config.log.level) {
        report.add(
            "log.level",
            error.to_string(),
            "use error, warn, info, debug, trace, or hailer=debug,lapin=warn",
        );
    }
}

/// Reports settings that have no effect with the other settings. A file may hold such settings for
/// use with several sources, so some of them are reported only if they are flags.
fn without_effect(report: &mut Report<'_>) {
    let config = &report.loaded.config;
    let is_flag = |setting| matches!(report.loaded.origin(setting), Origin::Flag(_));
    let runs_on = config.clock.run_on_minutes > 0 || is_flag("clock.run_on_minutes");
    let is_idle_run_on = runs_on && config.clock.source == Clock::Wall;
    let makes_no_store =
        is_flag("store.create") && config.store.create && config.store_dir().is_none();
    let takes_over_nothing = is_flag("rabbitmq.take_over")
        && config.rabbitmq.take_over
        && !config.source.starts_with("amqp");
    if is_idle_run_on {
        let next_step = "add --clock events (clock.source), or leave it out";
        report.add("clock.run_on_minutes", "it has no effect with the machine's clock", next_step);
    }
    if makes_no_store {
        let reason =
            "it has no effect, because the store is in memory with a file or standard input";
        report.add("store.create", reason, "add --store DIR (store.dir), or leave it out");
    }
    if takes_over_nothing {
        let reason = "it has no effect, because events do not come from a queue";
        report.add("rabbitmq.take_over", reason, "name the broker with --source, or leave it out");
    }
}

/// Checks that no two of the directories that need a directory of their own are the same.
fn own_directories(report: &mut Report<'_>) {
    let config = &report.loaded.config;
    let place = |path: &Path| {
        std::fs::canonicalize(path)
            .or_else(|_| std::path::absolute(path))
            .unwrap_or_else(|_| path.into())
    };
    let mut directories = vec![
        ("rules", "`rules`", place(&config.rules)),
        ("data", "`data`", place(&config.data)),
        (
            "rules",
            "the engine's copies of accepted campaigns (`rules` in `data`)",
            place(&config.data).join("rules"),
        ),
        (
            "rules",
            "the engine's compiled modules (`artifacts` in `data`)",
            place(&config.data).join("artifacts"),
        ),
    ];
    directories.extend(config.store_dir().map(|dir| ("store.dir", "the store", place(&dir))));
    directories.extend(
        config.record.dir.as_deref().map(|dir| ("record.dir", "the recording", place(dir))),
    );
    for (at, (setting, _, path)) in directories.iter().enumerate() {
        if let Some((_, other, _)) =
            directories[..at].iter().find(|(_, _, earlier)| earlier == path)
        {
            let reason = format!("the same directory as {other}");
            report.add(setting, reason, "give each a directory of its own");
        }
    }
}

/// The first part of a log filter that is neither a level nor `TARGET=LEVEL`; `None` if there is
/// none. The filter itself would take a misspelt level for a target, and log next to nothing.
fn misspelt_level(filter: &str) -> Option<&str> {
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let parts = filter.split(',').map(str::trim);
    let mut plain =
        parts.filter(|part| !part.is_empty() && !part.contains(['=', '[', ']', '{', '}']));
    plain.find(|part| !is_level(part))
}

/// Checks both addresses together with the settings of RabbitMQ.
fn addresses(report: &mut Report<'_>) {
    let config = &report.loaded.config;
    let rabbitmq = &config.rabbitmq;
    let ends = [&config.source, &config.sink].map(|address| address.parse::<Address>().ok());

    if let [Some(source), Some(sink)] = &ends {
        one_file(report, source, sink);
    }
    if rabbitmq.password_file.is_some() {
        for (setting, address) in [("source", &config.source), ("sink", &config.sink)] {
            if redacted(address) != *address {
                let next_step = "keep one of them: remove the password from the address, or leave \
                    rabbitmq.password_file out";
                report.add(
                    setting,
                    "there is a password in the address and rabbitmq.password_file is set",
                    next_step,
                );
            }
        }
    }
    let (cert, key, ca) = (&rabbitmq.cert_file, &rabbitmq.key_file, &rabbitmq.ca_file);
    if cert.is_some() && key.is_none() {
        report.add(
            "rabbitmq.cert_file",
            "a certificate without its key",
            "set rabbitmq.key_file too",
        );
    }
    if key.is_some() && cert.is_none() {
        report.add(
            "rabbitmq.key_file",
            "a key without its certificate",
            "set rabbitmq.cert_file too",
        );
    }
    let brokers = || {
        ends.iter()
            .flatten()
            .filter_map(|end| if let Address::RabbitMq(at) = end { Some(at) } else { None })
    };
    let (broker, encrypted) = (brokers().next().is_some(), brokers().any(|at| at.is_encrypted()));
    for (setting, file) in [("rabbitmq.ca_file", ca), ("rabbitmq.cert_file", cert)] {
        if file.is_some() && broker && !encrypted {
            report.add(
                setting,
                "it has no effect, because no address is encrypted",
                "use amqps:// instead of amqp://",
            );
        }
    }
    for (setting, name) in [
        ("rabbitmq.queue", &rabbitmq.queue),
        ("rabbitmq.exchange", &rabbitmq.exchange),
        ("rabbitmq.deadletter_queue", &rabbitmq.deadletter_queue),
    ] {
        // AMQP's short strings hold at most 255 bytes.
        if name.is_empty() || name.len() > 255 {
            report.add(setting, "not a valid name", "names in RabbitMQ have 1 to 255 bytes");
        }
    }
    if rabbitmq.queue == rabbitmq.deadletter_queue {
        let reason = "the queue that events come from";
        report.add(
            "rabbitmq.deadletter_queue",
            reason,
            "dead letters would come back as events: name another queue",
        );
    }
}

/// Refuses a sink that writes to the file of the source or of its dead letters, because
/// communications would be read as events.
fn one_file(report: &mut Report<'_>, source: &Address, sink: &Address) {
    let config = &report.loaded.config;
    let file_of = |end: &Address, standard: &str| match end {
        Address::File(path) => Some(FileName::of(path)),
        Address::Standard => Some(FileName::of(Path::new(standard))),
        Address::RabbitMq(_) => None,
    };
    let (from, to) = (file_of(source, "/dev/stdin"), file_of(sink, "/dev/stdout"));
    let letters = match source {
        Address::File(path) => Some(FileName::of(&dead_letters_beside(path))),
        Address::Standard => Some(FileName::of(&config.data.join(DEAD_LETTERS_FILE))),
        Address::RabbitMq(_) => None,
    };
    let is_to = |other: &Option<FileName>| {
        to.as_ref().zip(other.as_ref()).is_some_and(|(to, other)| to.is(other))
    };
    if is_to(&from) {
        report.add(
            "sink",
            "the file that events are read from",
            "write communications to another file",
        );
    } else if is_to(&letters) {
        report.add(
            "sink",
            "the file that dead letters are written to",
            "write communications to another file",
        );
    }
}

/// The file that a path names, however the path is spelt.
struct FileName {
    /// The path without links and dots, as far as it exists.
    path: PathBuf,
    /// The device and inode of an existing regular file. `None` for a device or a pipe, because its
    /// reader does not get what is written to it.
    file: Option<(u64, u64)>,
}

impl FileName {
    fn of(path: &Path) -> FileName {
        let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // A link to a missing file names the file that will be created.
        let target = std::fs::read_link(&absolute).ok().filter(|_| metadata.is_none());
        let named = match target.zip(absolute.parent()) {
            Some((target, parent)) => parent.join(target),
            None => absolute,
        };
        let parent = named.parent().and_then(|parent| parent.canonicalize().ok());
        let path =
            parent.zip(named.file_name()).map(|(parent, name)| parent.join(name)).unwrap_or(named);
        FileName { path, file: metadata.map(|metadata| (metadata.dev(), metadata.ino())) }
    }

    fn is(&self, other: &FileName) -> bool {
        match (self.file, other.file) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.path == other.path && !self.path.exists(),
            _ => false,
        }
    }
}

/// Checks that the files and directories that the configuration names exist.
pub(super) fn files(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let config = &loaded.config;
    let mut report = Report { loaded, problems };
    if let Err(error) = std::fs::read_dir(&config.rules) {
        let reason = format!("cannot read the directory `{}`: {error}", config.rules.display());
        report.add(
            "rules",
            reason,
            format!("create it (`mkdir {}`), or name another with --rules", config.rules.display()),
        );
    }
    if let Ok(Address::File(path)) = config.source.parse() {
        report.readable("source", &path);
    }
    for (setting, file) in [
        ("rabbitmq.password_file", &config.rabbitmq.password_file),
        ("rabbitmq.ca_file", &config.rabbitmq.ca_file),
        ("rabbitmq.cert_file", &config.rabbitmq.cert_file),
        ("rabbitmq.key_file", &config.rabbitmq.key_file),
    ] {
        if let Some(path) = file {
            report.readable(setting, path);
        }
    }
}

struct Report<'a> {
    loaded: &'a Loaded,
    problems: &'a mut Vec<Problem>,
}

impl Report<'_> {
    fn add(&mut self, setting: &str, reason: impl Into<String>, next_step: impl Into<String>) {
        self.problems.push(Problem {
            setting: setting.to_owned(),
            origin: self.loaded.origin(setting),
            reason: reason.into(),
            next_step: next_step.into(),
        });
    }

    /// Opens the file without reading it, because it may hold a secret. A pipe is not opened:
    /// opening would wait for its writer, and closing would leave the writer without a reader.
    fn readable(&mut self, setting: &str, path: &Path) {
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        let looked_at = match is_file {
            true => std::fs::File::open(path).map(drop),
            false => rustix::fs::access(path, rustix::fs::Access::READ_OK).map_err(Into::into),
        };
        if let Err(error) = looked_at {
            let reason = format!("cannot open `{}`: {error}", path.display());
            self.add(
                setting,
                reason,
                "correct the path, or give the engine's user read access to the file",
            );
        }
    }
}
