//! `hailer record export`: writes recorded events as lines, all or some of them, with or without
//! personal data.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::Args;

use crate::cli::moment::{moment, zone};
use crate::cli::progress::{Progress, Total};
use crate::cli::settings::{Global, SettingFlags};
use crate::cli::{DONE, EXIT_CODES, FAILED, UsageError, logging, origins, output};
use crate::config::Purpose;
use crate::parallel::{parallel_map, split_into_parts};
use crate::pseudonyms::{Key, Pseudonyms};
use crate::recording::{Archive, Chunks, Entry, Recorded, UnreadableEntries, UnreadableEntry};
use crate::timeline::is_time;

const CHUNK_LINES: usize = 16 << 10;
const CHUNK_BYTES: usize = 32 << 20;
const PART_LINES: usize = 512;

/// Write recorded events as lines of JSON, with personal data replaced if wanted
///
/// Reads the events that an engine recorded (`[record]`), or FILEs and streams as `hailer replay`
/// does. Writes envelopes, one a line, which can be replayed elsewhere.
///
/// --pseudonymise replaces everything that may identify a person by a value of the same form: ids
/// of customers and cards, card numbers, attribute values, free texts, message ids, and every text
/// that the catalogue does not know, unless --keep names it. Amounts, times, states, codes and the
/// ids of purchases and shops stay.
///
/// With one key, the same value always becomes the same pseudonym. So files fit together, and rules
/// decide as they did unless they read personal fields. A person who has the key can find out
/// whether a pseudonym belongs to a given customer: keep the key apart from the files.
/// Pseudonymised data is still personal data.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer record export --since 7d --pseudonymise --new-key replay.key --out \
        week.jsonl.zst\n  \
     hailer record export recording/ --pseudonymise --key replay.key --keep /segment --codes \
     OnPurchaseConfirm,OnPurchaseRefund\n  \
     hailer record export --since 2026-03-01 --until 2026-03-02 | jq -c .body\n  \
     hailer record export amqp://me@broker/smc.customerEvents.recorded --since 24h --pseudonymise \
     --key replay.key --out day.jsonl.zst\n\n{EXIT_CODES}",
))]
pub(super) struct Export {
    /// Files, directories or streams of events [default: record.dir of the configuration]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Replace personal data by pseudonyms
    #[arg(long)]
    pseudonymise: bool,
    /// The file of the key for pseudonyms
    #[arg(long, value_name = "FILE", requires = "pseudonymise")]
    key: Option<PathBuf>,
    /// Create a key in this file, and use it
    #[arg(long, value_name = "FILE", requires = "pseudonymise", conflicts_with = "key")]
    new_key: Option<PathBuf>,
    /// Keep a member that the catalogue does not know unchanged: a JSON Pointer, with * for every
    /// element; may be repeated
    #[arg(long, value_name = "PATH", requires = "pseudonymise")]
    keep: Vec<String>,
    /// Only events since this time: a span back from now such as 7d, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only events with these codes
    #[arg(long, value_name = "CODE,…", value_delimiter = ',')]
    codes: Vec<String>,
    /// The file to write; compressed if its name ends with .zst or .gz [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Read dates in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    /// End at the first line that cannot be read
    #[arg(long)]
    strict: bool,
}

/// The selection of the events to export, and the form of the export.
struct Selection {
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    codes: Vec<String>,
    pseudonyms: Option<Pseudonyms>,
    bytes_max: usize,
}

/// The result of exporting some lines.
#[derive(Default)]
struct Exported {
    rows: Vec<u8>,
    events: u64,
    without_time: u64,
    out_of_range: Vec<String>,
    broken: Vec<UnreadableEntry>,
}

impl Export {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let config = global.load(Purpose::Ask, &SettingFlags::default())?.config;
        let zone = zone(self.utc);
        let time = |flag: &str, text: &Option<String>| -> Result<Option<i64>, UsageError> {
            text.as_deref().map(|text| Ok(moment(flag, text, &zone)?.as_millisecond())).transpose()
        };
        let (since_ms, until_ms) = (time("--since", &self.since)?, time("--until", &self.until)?);
        if let Some(path) = self.keep.iter().find(|path| !path.starts_with('/')) {
            return Err(UsageError(format!(
                "`--keep {path}` is not a JSON Pointer: write one such as /segment or /list/*/code"
            ))
            .into());
        }
        let files = match (&self.files[..], &config.record.dir) {
            ([], Some(directory)) => vec![directory.clone()],
            ([], None) => {
                let reason = "no file is named, and the configuration has no recording: name \
                    files, or set record.dir";
                return Err(UsageError(reason.to_owned()).into());
            }
            (files, _) => files.to_vec(),
        };
        let bytes_max = config.event.bytes_max;
        let since = since_ms.and_then(|since| jiff::Timestamp::from_millisecond(since).ok());
        let archive = origins::open(&files, &config, since)?;
        let pseudonyms = self.pseudonyms()?;
        let selection = Selection { since_ms, until_ms, codes: self.codes, pseudonyms, bytes_max };
        let total = Total::Bytes(archive.bytes_total());
        let progress = match self.out {
            Some(_) => Progress::new(total),
            None => Progress::beside_data(total),
        };
        let out = writer(self.out.as_deref())?;
        selection.export(archive, out, progress, UnreadableEntries::new(self.strict))
    }

    fn pseudonyms(&self) -> anyhow::Result<Option<Pseudonyms>> {
        let usage = |error: crate::pseudonyms::KeyError| UsageError(error.to_string());
        let key = match (&self.key, &self.new_key) {
            (Some(path), _) => Key::read(path).map_err(usage)?,
            (None, Some(path)) => Key::make(path).map_err(usage)?,
            (None, None) if self.pseudonymise => {
                let reason = "--pseudonymise needs a key: --new-key FILE creates one, --key FILE \
                    uses it again; files with one key fit together";
                return Err(UsageError(reason.to_owned()).into());
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Pseudonyms::new(&key, &self.keep)))
    }
}

impl Selection {
    fn export(
        &self,
        archive: Archive,
        mut out: Out,
        mut progress: Progress,
        mut unreadable: UnreadableEntries,
    ) -> anyhow::Result<u8> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (mut events, mut without_time, mut out_of_range) = (0, 0, 0);
        let mut first_out_of_range = None;
        let mut chunks = Chunks::of(archive, CHUNK_LINES, CHUNK_BYTES);
        while let Some(chunk) = chunks.next() {
            let chunk = chunk?;
            for broken in chunk.broken {
                unreadable.add(broken)?;
            }
            for exported in
                parallel_map(cores, split_into_parts(chunk.entries, PART_LINES), |entries| {
                    self.entries(entries)
                })
            {
                events += exported.events;
                without_time += exported.without_time;
                out_of_range += exported.out_of_range.len();
                first_out_of_range =
                    first_out_of_range.or(exported.out_of_range.into_iter().next());
                out.write_all(&exported.rows)?;
                for broken in exported.broken {
                    unreadable.add(broken)?;
                }
            }
            let bytes_read = chunks.bytes_read().load(Ordering::Relaxed);
            progress.advance(bytes_read, || format!("{events} events"));
        }
        out.end()?;
        drop(progress);
        output::message(&format!("{events} events written"));
        if without_time > 0 {
            output::message(&format!(
                "{without_time} events have no time, and are left out because of --since or --until"
            ));
        }
        if let Some(first) = first_out_of_range {
            output::message(&format!(
                "{out_of_range} events have a time out of range, and are written without it; the \
                    first is {first}"
            ));
        }
        if unreadable.count > 0 {
            output::message(unreadable.to_string().trim_end());
        }
        Ok(if unreadable.count == 0 { DONE } else { FAILED })
    }

    fn entries(&self, entries: Vec<(std::sync::Arc<str>, Entry)>) -> Exported {
        let mut exported = Exported::default();
        for (file, entry) in entries {
            let broken = |reason| UnreadableEntry {
                place: format!("{file}:{}", entry.number()),
                reason,
                next_step: match &entry {
                    Entry::Line(_) => "it is left out; correct the line if it matters".to_owned(),
                    Entry::Message { .. } => {
                        "it is left out; an engine would dead-letter it".to_owned()
                    }
                },
            };
            match Recorded::read(&entry, self.bytes_max) {
                Ok(recorded) if self.takes(&entry, &recorded, &mut exported) => {
                    let mut recorded = recorded;
                    if recorded.timestamp_ms.take_if(|at| !is_time(*at)).is_some() {
                        exported.out_of_range.push(format!("{file}:{}", entry.number()));
                    }
                    let before = exported.rows.len();
                    match recorded.append_to(self.pseudonyms.as_ref(), &mut exported.rows) {
                        Ok(()) => exported.events += 1,
                        Err(error) => {
                            exported.rows.truncate(before);
                            exported.broken.push(broken(error.to_string()));
                        }
                    }
                }
                Ok(_) => {}
                Err(reason) => exported.broken.push(broken(reason)),
            }
        }
        exported
    }

    fn takes(&self, entry: &Entry, recorded: &Recorded, exported: &mut Exported) -> bool {
        if !self.codes.is_empty() && !self.codes.iter().any(|code| code == recorded.event.code()) {
            return false;
        }
        match (recorded.timestamp_ms, self.since_ms.is_none() && self.until_ms.is_none()) {
            (_, true) => true,
            // A stream is read from that time on, by the broker's clock.
            (None, false) if matches!(entry, Entry::Message { .. }) && self.until_ms.is_none() => {
                true
            }
            (None, false) => {
                exported.without_time += 1;
                false
            }
            (Some(at), false) => {
                self.since_ms.is_none_or(|since| at >= since)
                    && self.until_ms.is_none_or(|until| at < until)
            }
        }
    }
}

/// The output. The end of a compressed file must be written, too.
enum Out {
    Plain(Box<dyn Write>),
    Zstd(zstd::stream::write::Encoder<'static, std::fs::File>),
    Gzip(flate2::write::GzEncoder<std::fs::File>),
}

impl Out {
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Out::Plain(out) => out.write_all(bytes),
            Out::Zstd(out) => out.write_all(bytes),
            Out::Gzip(out) => out.write_all(bytes),
        }
    }

    fn end(self) -> std::io::Result<()> {
        match self {
            Out::Plain(mut out) => out.flush(),
            Out::Zstd(out) => out.finish().map(drop),
            Out::Gzip(out) => out.finish().map(drop),
        }
    }
}

fn writer(path: Option<&Path>) -> anyhow::Result<Out> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else {
        return Ok(Out::Plain(Box::new(std::io::stdout().lock())));
    };
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(match path.extension().and_then(|ending| ending.to_str()) {
        Some("zst") => {
            let mut encoder = zstd::stream::write::Encoder::new(file, 3)?;
            encoder.include_checksum(true)?;
            Out::Zstd(encoder)
        }
        Some("gz") => {
            Out::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default()))
        }
        _ => Out::Plain(Box::new(BufWriter::new(file))),
    })
}
