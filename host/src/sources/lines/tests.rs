//! The whole source over inputs made up in memory.

use std::io::Cursor;
use std::sync::Mutex;

use super::*;
use crate::sources::IntakeClosed;

/// Place, body, and whether there is a defect.
type Seen = (String, Vec<u8>, bool);

/// Keeps what it is given, and settles at once.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Seen>>>);

impl Intake for Kept {
    async fn accept(&self, delivery: Delivery) -> Result<(), IntakeClosed> {
        let position = delivery.position.unwrap_or_default().into_string();
        let mut kept = self.0.lock().unwrap();
        kept.push((position, delivery.body.to_vec(), delivery.defect.is_some()));
        delivery.receipt.settle();
        Ok(())
    }
}

async fn read(input: impl Into<Vec<u8>>, line_bytes_max: usize) -> Vec<Seen> {
    let source = LinesSource::standard("run", line_bytes_max, Health::default());
    let (_trigger, shutdown) = Shutdown::new();
    let kept = Kept::default();
    let splitter = LineSplitter::new(Cursor::new(input.into()), line_bytes_max);
    source.hand_over(splitter, "f", &kept, &shutdown).await.unwrap();
    kept.0.lock().unwrap().clone()
}

fn line(place: &str, text: &str) -> Seen {
    (place.to_owned(), text.as_bytes().to_vec(), false)
}

#[tokio::test]
async fn empty_lines_count_as_places_and_the_last_needs_no_end() {
    assert_eq!(read("a\n\n  \r\nb\r\nc", 10).await, [line("f:1", "a"), line("f:4", "b"), line("f:5", "c")]);
    assert_eq!(read("", 10).await, []);
    assert_eq!(read("\n", 10).await, []);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_cut_and_the_next_is_whole() {
    for long in [11, 12, 13, 200_000] {
        let input = format!("{}\nnext\n{}", "x".repeat(long), "y".repeat(long));
        let lines = read(input, 10).await;
        let cut = |place: &str, text: &str| (place.to_owned(), text.repeat(10).into_bytes(), true);
        assert_eq!(lines, [cut("f:1", "x"), line("f:2", "next"), cut("f:3", "y")], "{long}");
    }
    assert_eq!(read("0123456789\n0123456789\r\n", 10).await, [line("f:1", "0123456789"), line("f:2", "0123456789")]);
}

#[tokio::test]
async fn lines_that_cross_blocks_are_whole() {
    let long = "z".repeat(150_000);
    assert_eq!(read(format!("{long}\n{long}"), 200_000).await, [line("f:1", &long), line("f:2", &long)]);
}

#[tokio::test]
async fn an_input_that_breaks_off_is_an_error_that_names_it() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("torn"))
        }
    }
    let source = LinesSource::standard("run", 10, Health::default());
    let (_trigger, shutdown) = Shutdown::new();
    let splitter = LineSplitter::new(Broken, 10);
    let error = source.hand_over(splitter, "f", &Kept::default(), &shutdown).await.unwrap_err();
    assert_eq!(error.to_string(), "can't read events from f");
}

#[tokio::test]
async fn a_file_that_is_missing_is_told() {
    let source = LinesSource::file(Path::new("/nowhere/events.jsonl"), 10, Health::default());
    let (_trigger, shutdown) = Shutdown::new();
    let error = source.run(Kept::default(), shutdown).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/events.jsonl"));
}

/// Holds every receipt until told to let go.
#[derive(Clone, Default)]
struct Holding(Arc<Mutex<Vec<crate::delivery::Receipt>>>);

impl Intake for Holding {
    async fn accept(&self, delivery: Delivery) -> Result<(), IntakeClosed> {
        self.0.lock().unwrap().push(delivery.receipt);
        Ok(())
    }
}

#[tokio::test]
async fn the_source_ends_when_every_line_is_settled() {
    let source = LinesSource::standard("run", 10, Health::default());
    let (_trigger, shutdown) = Shutdown::new();
    let holding = Holding::default();
    let splitter = LineSplitter::new(Cursor::new("a\nb\n"), 10);
    let mut run = std::pin::pin!(source.hand_over(splitter, "f", &holding, &shutdown));
    loop {
        tokio::select! {
            biased;
            _ = &mut run => panic!("ended before its lines were settled"),
            () = tokio::task::yield_now() => if holding.0.lock().unwrap().len() == 2 { break },
        }
    }
    holding.0.lock().unwrap().drain(..).for_each(crate::delivery::Receipt::settle);
    run.await.unwrap();
}

#[test]
fn a_pipe_that_nobody_writes_to_does_not_hold_up_the_end() {
    let place = tempfile::tempdir().unwrap();
    let pipe = place.path().join("events");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let (ended, end) = std::sync::mpsc::channel();
    let source = LinesSource::file(&pipe, 10, Health::default());
    // On a thread, as what is tested may block for ever.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        ended.send(runtime.block_on(source.run(Kept::default(), shutdown))).unwrap();
    });
    trigger.drain();
    end.recv_timeout(std::time::Duration::from_secs(20)).expect("it ends").unwrap();
}
