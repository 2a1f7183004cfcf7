//! Tests of the whole lines source, over inputs in memory and pipes.

use std::io::{Cursor, Write};
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::sources::IntakeClosed;
use hailer_base::clock::Millis;

/// Place, body, and whether there is a defect.
type ReadLine = (String, Vec<u8>, bool);

/// Stores every delivery and settles it at once.
#[derive(Clone, Default)]
struct RecordingIntake(Arc<Mutex<Vec<ReadLine>>>);

impl Intake for RecordingIntake {
    async fn accept(&self, delivery: Delivery) -> Result<(), IntakeClosed> {
        let position = delivery.position.unwrap_or_default().into_string();
        let mut intake = self.0.lock().unwrap();
        intake.push((position, delivery.body.to_vec(), delivery.defect.is_some()));
        delivery.receipt.settle();
        Ok(())
    }

    fn handled_until(&self, _moment: Millis) {}
}

async fn read(input: impl Into<Vec<u8>>, line_bytes_max: usize) -> Vec<ReadLine> {
    let source = LinesSource::standard("run", line_bytes_max, Health::default());
    let (_trigger, shutdown) = Shutdown::new();
    let intake = RecordingIntake::default();
    source.hand_over(Cursor::new(input.into()), false, "f", &intake, &shutdown).await.unwrap();
    intake.0.lock().unwrap().clone()
}

fn line(place: &str, text: &str) -> ReadLine {
    (place.to_owned(), text.as_bytes().to_vec(), false)
}

#[tokio::test]
async fn empty_lines_are_counted_and_the_last_line_needs_no_line_break() {
    assert_eq!(
        read("a\n\n  \r\nb\r\nc", 10).await,
        [line("f:1", "a"), line("f:4", "b"), line("f:5", "c")]
    );
    assert_eq!(read("", 10).await, []);
    assert_eq!(read("\n", 10).await, []);
}

#[tokio::test]
async fn a_line_over_the_limit_is_cut_and_the_next_is_complete() {
    for long in [11, 12, 13, 200_000] {
        let input = format!("{}\nnext\n{}", "x".repeat(long), "y".repeat(long));
        let lines = read(input, 10).await;
        let cut = |place: &str, text: &str| (place.to_owned(), text.repeat(10).into_bytes(), true);
        assert_eq!(lines, [cut("f:1", "x"), line("f:2", "next"), cut("f:3", "y")], "{long}");
    }
    assert_eq!(
        read("0123456789\n0123456789\r\n", 10).await,
        [line("f:1", "0123456789"), line("f:2", "0123456789")]
    );
}

#[tokio::test]
async fn lines_across_blocks_are_complete() {
    let long = "z".repeat(150_000);
    assert_eq!(
        read(format!("{long}\n{long}"), 200_000).await,
        [line("f:1", &long), line("f:2", &long)]
    );
}

#[tokio::test]
async fn a_read_error_names_the_input() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("torn"))
        }
    }
    let source = LinesSource::standard("run", 10, Health::default());
    let (_trigger, shutdown) = Shutdown::new();
    let error = source
        .hand_over(Broken, false, "f", &RecordingIntake::default(), &shutdown)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot read events from f");
}

#[tokio::test]
async fn a_missing_file_is_an_error_that_names_it() {
    let source = LinesSource::file(Path::new("/nowhere/events.jsonl"), 10, Health::default());
    let (_trigger, shutdown) = Shutdown::new();
    let error = source.run(RecordingIntake::default(), shutdown).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/events.jsonl"));
}

/// Keeps every receipt until `settle_all`, and stores the latest handled moment.
#[derive(Clone)]
struct HoldingIntake {
    receipts: Arc<Mutex<Vec<crate::delivery::Receipt>>>,
    handled: watch::Sender<Millis>,
}

impl Default for HoldingIntake {
    fn default() -> HoldingIntake {
        HoldingIntake { receipts: Arc::default(), handled: watch::Sender::new(Millis::MIN) }
    }
}

impl Intake for HoldingIntake {
    async fn accept(&self, delivery: Delivery) -> Result<(), IntakeClosed> {
        self.receipts.lock().unwrap().push(delivery.receipt);
        Ok(())
    }

    fn handled_until(&self, moment: Millis) {
        self.handled.send_modify(|handled| *handled = moment.max(*handled));
    }
}

impl HoldingIntake {
    fn held(&self) -> usize {
        self.receipts.lock().unwrap().len()
    }

    fn settle_all(&self) {
        self.receipts.lock().unwrap().drain(..).for_each(crate::delivery::Receipt::settle);
    }

    fn handled(&self) -> Millis {
        *self.handled.borrow()
    }

    async fn handled_after(&self, moment: Millis) {
        let mut handled = self.handled.subscribe();
        let later = handled.wait_for(|handled| *handled > moment);
        tokio::time::timeout(TIMEOUT, later).await.expect("the moment is handled").unwrap();
    }
}

/// Far longer than any wait here; a test that reaches it has failed.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Long enough for a source that reports too much to have done so.
const SEVERAL_CHECKS: Duration = idle::CHECK_INTERVAL.saturating_mul(4);

async fn until(mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waited).await.expect("the condition is met");
}

/// Starts a source in the background that reads from a pipe.
fn piped(
    stays_open: bool,
) -> (std::io::PipeWriter, HoldingIntake, hailer_base::shutdown::ShutdownTrigger, RunningSource) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let holding = HoldingIntake::default();
    let intake = holding.clone();
    let source = LinesSource::standard("run", 10, Health::default());
    let running =
        tokio::spawn(
            async move { source.hand_over(reader, stays_open, "f", &intake, &shutdown).await },
        );
    (writer, holding, trigger, running)
}

type RunningSource = tokio::task::JoinHandle<Result<(), SourceError>>;

#[tokio::test]
async fn the_source_ends_when_every_line_is_settled_and_handled() {
    let source = LinesSource::standard("run", 10, Health::default());
    let (_trigger, shutdown) = Shutdown::new();
    let holding = HoldingIntake::default();
    let mut run =
        std::pin::pin!(source.hand_over(Cursor::new("a\nb\n"), false, "f", &holding, &shutdown));
    loop {
        tokio::select! {
            biased;
            _ = &mut run => panic!("ended before its lines were settled"),
            () = tokio::task::yield_now() => if holding.held() == 2 { break },
        }
    }
    assert_eq!(holding.handled(), Millis::MIN);
    let before = clock::now_ms();
    holding.settle_all();
    run.await.unwrap();
    assert!(holding.handled() >= before);
}

#[tokio::test]
async fn an_open_input_is_handled_when_it_is_idle_and_its_lines_are_settled() {
    let (mut writer, holding, _trigger, running) = piped(true);
    // An input in which no line has ever come is handled.
    holding.handled_after(Millis::MIN).await;
    writer.write_all(b"a\n").unwrap();
    let written = clock::now_ms();
    until(|| holding.held() == 1).await;
    tokio::time::sleep(SEVERAL_CHECKS).await;
    assert!(holding.handled() <= written, "a line that is not settled was waiting");
    holding.settle_all();
    holding.handled_after(written).await;
    // A line without its end does not count as waiting.
    writer.write_all(b"b").unwrap();
    holding.handled_after(clock::now_ms()).await;
    drop(writer);
    until(|| holding.held() == 1).await;
    let before = clock::now_ms();
    assert!(holding.handled() <= before);
    holding.settle_all();
    running.await.unwrap().unwrap();
    assert!(holding.handled() >= before);
}

#[tokio::test]
async fn a_regular_file_is_handled_only_at_its_end() {
    let (mut writer, holding, _trigger, running) = piped(false);
    writer.write_all(b"a\n").unwrap();
    until(|| holding.held() == 1).await;
    holding.settle_all();
    // Simulates a slow disk.
    tokio::time::sleep(SEVERAL_CHECKS).await;
    assert_eq!(holding.handled(), Millis::MIN);
    drop(writer);
    running.await.unwrap().unwrap();
    assert!(holding.handled() > Millis::MIN);
}

#[tokio::test]
async fn a_file_that_was_not_read_to_its_end_is_not_handled() {
    let (mut writer, holding, trigger, running) = piped(false);
    writer.write_all(b"a\n").unwrap();
    until(|| holding.held() == 1).await;
    trigger.drain();
    holding.settle_all();
    running.await.unwrap().unwrap();
    assert_eq!(holding.handled(), Millis::MIN);
}

#[tokio::test]
async fn a_line_whose_receipt_was_dropped_is_not_handled() {
    let (mut writer, holding, _trigger, running) = piped(true);
    writer.write_all(b"a\n").unwrap();
    until(|| holding.held() == 1).await;
    let written = clock::now_ms();
    holding.receipts.lock().unwrap().clear();
    tokio::time::sleep(SEVERAL_CHECKS).await;
    drop(writer);
    running.await.unwrap().unwrap();
    assert!(holding.handled() <= written);
}

#[test]
fn a_pipe_without_a_writer_does_not_delay_the_shutdown() {
    let place = tempfile::tempdir().unwrap();
    let pipe = place.path().join("events");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let (ended, end) = std::sync::mpsc::channel();
    let source = LinesSource::file(&pipe, 10, Health::default());
    // Runs on a thread, because a failure of the tested code may block for ever.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        ended.send(runtime.block_on(source.run(RecordingIntake::default(), shutdown))).unwrap();
    });
    trigger.drain();
    end.recv_timeout(std::time::Duration::from_secs(20)).expect("the source ends").unwrap();
}
