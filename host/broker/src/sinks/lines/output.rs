//! Appends whole lines to a file or a stream. Writes block, so they run on tokio's blocking
//! threads.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::sinks::SinkError;

#[derive(Debug)]
pub(super) struct Output {
    place: String,
    /// `None` while a batch is being written, and for good after a write was abandoned or failed.
    writer: Option<Writer>,
}

#[derive(Debug)]
enum Writer {
    File(File),
    /// A pipe or a device, which can neither be truncated nor synced.
    Stream(File),
    Standard,
}

impl Output {
    pub(super) async fn file(path: &Path) -> Result<Output, SinkError> {
        let place = path.display().to_string();
        let path = path.to_owned();
        let opened = blocking(move || Writer::open(&path)).await;
        let writer = opened.map_err(|source| SinkError::Write { place: place.clone(), source })?;
        Ok(Output { place, writer: Some(writer) })
    }

    pub(super) fn standard() -> Output {
        Output { place: "standard output".to_owned(), writer: Some(Writer::Standard) }
    }

    /// Appends lines; returns when they are on disk, or accepted by a stream.
    pub(super) async fn append(&mut self, lines: Vec<u8>) -> Result<(), SinkError> {
        if lines.is_empty() {
            return Ok(());
        }
        let interrupted = || io::Error::other("an earlier write was abandoned halfway");
        let writer = self.writer.take().ok_or_else(interrupted);
        let written = match writer {
            Ok(mut writer) => blocking(move || writer.append(&lines).map(|()| writer)).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(writer) => {
                self.writer = Some(writer);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                Err(SinkError::Closed { place: self.place.clone() })
            }
            Err(source) => Err(SinkError::Write { place: self.place.clone(), source }),
        }
    }
}

impl Writer {
    fn open(path: &Path) -> io::Result<Writer> {
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Ok(Writer::Stream(OpenOptions::new().write(true).open(path)?));
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Writer::File(file))
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Writer::Standard => {
                let mut stream = io::stdout().lock();
                stream.write_all(lines)?;
                stream.flush()
            }
            Writer::Stream(stream) => stream.write_all(lines),
            Writer::File(file) => {
                let end = file.seek(SeekFrom::End(0))?;
                let written = file.write_all(lines).and_then(|()| file.sync_data());
                written.inspect_err(|_| {
                    // The first error is returned in any case. If truncating fails too, the next
                    // start ends the incomplete line.
                    let _ = file.set_len(end);
                })
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
