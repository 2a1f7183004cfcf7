//! The recorded events that the arguments of a command name.

use std::path::{Path, PathBuf};

use super::UsageError;
use crate::address::QueueAddress;
use crate::config::Config;
use crate::recording::{Archive, ArchiveError, Origin, StreamError, StreamQueue};
use crate::sources::lines::line_bytes_max;

/// Opens the files, directories, standard input (`-`) and stream queues that `files` names. Stream
/// queues are read from `since` on.
pub(super) fn open(
    files: &[PathBuf],
    config: &Config,
    since: Option<jiff::Timestamp>,
) -> anyhow::Result<Archive> {
    let origin = |file: &PathBuf| -> Result<Origin, UsageError> {
        let Some(text) = address(file) else { return Ok(file.clone().into()) };
        let address = QueueAddress::new(text, &config.rabbitmq)
            .map_err(|error| UsageError(error.to_string()))?;
        Ok(Origin::Stream(Box::new(StreamQueue { address, since })))
    };
    let origins = files.iter().map(origin).collect::<Result<Vec<_>, _>>()?;
    Archive::open(&origins, line_bytes_max(config.event.bytes_max)).map_err(|error| match error {
        // The command line is correct; the broker may answer the next time.
        ArchiveError::Stream(
            StreamError::Broker { .. }
            | StreamError::Stalled { .. }
            | StreamError::Cancelled { .. }
            | StreamError::Runtime(_),
        ) => error.into(),
        error => UsageError(error.to_string()).into(),
    })
}

fn address(file: &Path) -> Option<&str> {
    file.to_str().filter(|text| text.starts_with("amqp://") || text.starts_with("amqps://"))
}
