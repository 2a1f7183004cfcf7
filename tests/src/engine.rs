//! The engine as a process: start, requests, shutdown, kill. A failing test prints the engine's
//! standard error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use hailer::control::Client;
use hailer::reload::{CampaignStatus, LoadReport};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait;

/// The end of standard error that a failing test prints.
const SHOWN_BYTES_MAX: usize = 20_000;

/// A running engine. Dropping the value kills it.
#[derive(Debug)]
pub struct Engine {
    process: Child,
    pub client: Client,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Engine {
    pub(crate) fn spawn(
        command: &mut Command,
        data: &Path,
        stdout: PathBuf,
        stderr: PathBuf,
    ) -> Engine {
        let process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Engine { process, client: Client::new(data), stdout, stderr }
    }

    /// Waits until `/readyz` reports ready.
    ///
    /// # Panics
    /// Like all functions below, if that does not happen in time.
    pub async fn ready(&self) {
        self.ready_with("\"ready\":true").await;
    }

    /// Waits until the engine is ready or has ended, whichever comes first; returns whether it is
    /// ready.
    pub async fn ready_or_ended(&mut self) -> bool {
        let mut is_ready = false;
        wait::until("the engine is ready or ends", async || {
            let address = self.client.status().await.ok().and_then(|status| status.http);
            if let Some(address) = address {
                is_ready = get(&address, "/readyz")
                    .await
                    .is_ok_and(|(_, text)| text.contains("\"ready\":true"));
            }
            is_ready || self.has_ended()
        })
        .await;
        is_ready
    }

    /// Waits until the answer of `/readyz` contains this text.
    pub async fn ready_with(&self, text: &str) {
        wait::until(&format!("/readyz says {text}"), async || self.readyz().await.1.contains(text))
            .await;
    }

    /// The status code and the text of `/readyz`.
    pub async fn readyz(&self) -> (u16, String) {
        self.get("/readyz").await
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.1
    }

    /// The value of a series of `/metrics`, such as `hailer_events_total{outcome="decided"}`; 0 if
    /// the series is not there yet.
    pub async fn metric(&self, series: &str) -> f64 {
        value_of(&self.metrics().await, series)
    }

    /// Waits until a series has reached a value, and checks that it is exactly that value.
    pub async fn metric_is(&self, series: &str, value: f64) {
        wait::until(&format!("{series} is {value}"), async || self.metric(series).await >= value)
            .await;
        assert_eq!(self.metric(series).await.to_bits(), value.to_bits(), "{series}");
    }

    /// Makes the engine read the rules directory now.
    pub async fn reload(&self) -> LoadReport {
        self.client.reload(false).await.expect("a report")
    }

    /// The status of a campaign; `None` if there is none of this name.
    pub async fn campaign(&self, name: &str) -> Option<CampaignStatus> {
        self.client
            .campaigns()
            .await
            .expect("campaigns")
            .into_iter()
            .find(|campaign| campaign.name == name)
    }

    /// Writes to the engine's standard input.
    pub fn write(&mut self, text: impl AsRef<[u8]>) {
        let input = self.process.stdin.as_mut().expect("a pipe");
        input.write_all(text.as_ref()).expect("the engine reads");
        input.flush().expect("the engine reads");
    }

    /// Ends the engine's standard input.
    pub fn close_input(&mut self) {
        self.process.stdin = None;
    }

    /// The engine's standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).expect("standard output")
    }

    /// The engine's standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).expect("standard error")
    }

    /// The communications on standard output. A last line without its end is left out.
    #[must_use]
    pub fn printed(&self) -> Vec<serde_json::Value> {
        let text = self.stdout();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("a communication")).collect()
    }

    /// Waits until at least this many communications are on standard output.
    pub async fn prints(&self, count: usize) -> Vec<serde_json::Value> {
        wait::until_some(&format!("{count} communications on standard output"), async || {
            Some(self.printed()).filter(|printed| printed.len() >= count)
        })
        .await
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the engine lives");
    }

    /// Waits until the process ends, and returns its exit code; `None` if a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        let status = wait::until_some("the engine ends", async || {
            self.process.try_wait().expect("a process")
        })
        .await;
        status.code()
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("a process").is_some()
    }

    /// Like [`Self::metric`], but 0 if the engine does not answer.
    pub async fn metric_if_alive(&self, series: &str) -> f64 {
        let Some(address) = self.client.status().await.ok().and_then(|status| status.http) else {
            return 0.0;
        };
        let text = get(&address, "/metrics").await.map(|(_, text)| text).unwrap_or_default();
        value_of(&text, series)
    }

    /// Sends SIGTERM, and checks that the engine drains and exits with 0.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await, Some(0));
    }

    /// Kills the engine with SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.process.kill().expect("the engine lives");
        self.process.wait().expect("the engine has ended");
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let address = wait::until_some("the engine answers on its socket", async || {
            self.client.status().await.ok().map(|status| status.http.expect("an address"))
        })
        .await;
        get(&address, path).await.expect("HTTP")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let text = fs::read_to_string(&self.stderr).unwrap_or_default();
            let from = text.len().saturating_sub(SHOWN_BYTES_MAX);
            eprintln!("standard error of the engine:\n{}", text.get(from..).unwrap_or(&text));
        }
    }
}

fn value_of(metrics: &str, series: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a metric is a number"))
}

/// The status code and the body of a GET request.
async fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Ok((code, body.to_owned()))
}
