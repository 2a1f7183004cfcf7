//! Tests of the control socket and the HTTP port through their clients.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{
    Client, Context, Control, ControlError, EngineStatus, Http, Observed, StoreQueries, socket_path,
};
use crate::engine::RuleSet;
use crate::explain::fixture::customer;
use crate::explain::{DecisionPage, DecisionQuery, ExplainQuery, Explanation};
use crate::health::{Condition, Health};
use crate::records::{CustomerRow, Key, encode};
use crate::reload::{
    CampaignState, CampaignStatus, LoadReport, PoliciesStatus, ReloadHandle, Request, Requests,
    Target,
};
use crate::store::{Changes, MemoryStore, Store, Table};

/// A running server. The test plays the owner of the rules directory.
struct Engine {
    requests: Requests,
    health: Health,
    store: Arc<dyn Store>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

fn start(data: &Path) -> Engine {
    let (reload, requests) = ReloadHandle::new();
    let health = Health::default();
    let about = EngineStatus {
        version: "0.1.0".into(),
        pid: 7,
        started_ms: 0,
        environment: "test".into(),
        source: "-".into(),
        queue: None,
        sink: "-".into(),
        rules: "rules.d".into(),
        store: None,
        http: None,
        problems: Default::default(),
        standbys: Default::default(),
    };
    let rules = Arc::new(ArcSwap::from_pointee(RuleSet::empty()));
    let store = Arc::new(MemoryStore::new("test")) as Arc<dyn Store>;
    let store_queries = StoreQueries::new(&store, None, rules, 70);
    let pipeline = crate::pipeline::RequestSender::new().0;
    let context = Context {
        reload,
        health: health.clone(),
        store: store_queries,
        pipeline,
        about: Arc::new(about),
    };
    let control = Control::bind(data).unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(control.serve(context, async { stopped.await.unwrap_or(()) }));
    Engine { requests, health, store, stop, served }
}

fn campaign(name: &str) -> CampaignStatus {
    CampaignStatus {
        name: name.into(),
        file: None,
        state: CampaignState::Running,
        mode: None,
        shadow_of: None,
        rollout_percent: None,
        version: None,
        digest: None,
        start_ms: None,
        end_ms: None,
        events: vec![],
        problem: None,
        warning: None,
        suspended: None,
        refused_digest: None,
        rolled_back: None,
    }
}

fn policies() -> PoliciesStatus {
    PoliciesStatus { digest: Some("9f3ac1d2".into()), ..PoliciesStatus::default() }
}

#[tokio::test]
async fn commands_reach_the_owner_of_the_rules_directory_and_return_its_answer() {
    let data = tempfile::tempdir().unwrap();
    let mut engine = start(data.path());
    let client = Client::new(data.path());
    let owner = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(request) = engine.requests.recv().await {
            seen.push(format!("{request:?}"));
            match request {
                Request::Campaigns { reply } => reply.send(vec![campaign("welcome")]).is_ok(),
                Request::Policies { reply } => reply.send(policies()).is_ok(),
                Request::Reload { allow_removals, reply } => {
                    let report = LoadReport {
                        rule_set: 2 + u64::from(allow_removals),
                        ..LoadReport::default()
                    };
                    reply.send(report).is_ok()
                }
                Request::Pause { target, reply, .. } => {
                    reply.send(Ok(vec![format!("{target:?}")])).is_ok()
                }
                Request::Resume { reply, .. } => reply.send(Err("no campaign `x`".into())).is_ok(),
                Request::Rollback { campaign: name, reply }
                | Request::UndoRollback { campaign: name, reply } => {
                    reply.send(Ok(campaign(&name))).is_ok()
                }
                Request::Suspend { .. } => false,
            };
        }
        seen.len()
    });
    assert_eq!(client.campaigns().await.unwrap(), [campaign("welcome")]);
    assert_eq!(client.policies().await.unwrap(), policies());
    assert_eq!(client.reload(true).await.unwrap().rule_set, 3);
    assert_eq!(client.reload(false).await.unwrap().rule_set, 2);
    assert_eq!(client.pause(Target::All).await.unwrap(), ["All"]);
    assert_eq!(client.pause(Target::Campaign("a".into())).await.unwrap(), ["Campaign(\"a\")"]);
    let refused = client.resume(Target::Campaign("x".into())).await.unwrap_err();
    assert_eq!(refused.to_string(), "no campaign `x`");
    assert_eq!(client.rollback("welcome".into(), false).await.unwrap(), campaign("welcome"));
    engine.stop.send(()).unwrap();
    engine.served.await.unwrap();
    assert_eq!(owner.await.unwrap(), 8);
}

#[tokio::test]
async fn status_shows_what_is_not_ready() {
    let data = tempfile::tempdir().unwrap();
    let engine = start(data.path());
    engine.health.report("source", Condition::NotReady("no broker".into()));
    let status = Client::new(data.path()).status().await.unwrap();
    assert_eq!(status.problems["source"], "no broker");
    assert_eq!(status.environment, "test");
}

#[tokio::test]
async fn the_store_is_read_and_copied_and_not_kept_open() {
    let data = tempfile::tempdir().unwrap();
    let engine = start(data.path());
    let client = Client::new(data.path());
    let question = ExplainQuery { customer: "7".into(), ..ExplainQuery::default() };
    assert_eq!(client.why(&question).await.unwrap(), Explanation::default());
    assert_eq!(client.decisions(&DecisionQuery::default()).await.unwrap(), DecisionPage::default());
    assert_eq!(client.store().await.unwrap().identity, *engine.store.identity());
    assert_eq!(client.backup().await.unwrap(), None);
    let refused = client.begin_backup("copy".into()).await.unwrap_err().to_string();
    assert!(refused.contains("`copy` is not an absolute path"), "{refused}");
    let directory = data.path().join("copy");
    for is_free in [true, false] {
        client.begin_backup(directory.clone()).await.unwrap();
        let status = loop {
            let status = client.backup().await.unwrap().unwrap();
            if status.is_done {
                break status;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((&status.directory, status.error.is_none()), (&directory, is_free));
        assert!(directory.exists());
    }
    drop(engine.store);
    assert_eq!(client.why(&question).await.unwrap_err().to_string(), "the engine is shutting down");
}

/// A store whose export is larger than what waits for a client.
fn large_store() -> Arc<dyn Store> {
    let store = MemoryStore::new("test");
    let mut changes = Changes::new();
    for number in 0..4000 {
        let mut row = CustomerRow::default();
        row.policy.zone = Some(format!("Asia/Omsk{}", "-".repeat(200)).into());
        changes.put(Table::Customers, Key::customer(customer(&number.to_string())), encode(&row));
    }
    store.commit(changes).unwrap();
    Arc::new(store)
}

#[tokio::test]
async fn an_export_whose_client_does_not_read_delays_no_query_and_refuses_a_second_one() {
    let store = large_store();
    let rules = Arc::new(ArcSwap::from_pointee(RuleSet::empty()));
    let queries = StoreQueries::new(&store, None, rules, 70);
    let first = queries.export_consents().unwrap();
    let refused = queries.export_consents().unwrap_err().to_string();
    assert!(refused.contains("another export is running; repeat the command"), "{refused}");
    let query = DecisionQuery::default();
    let two = async { tokio::join!(queries.decisions(query.clone()), queries.overview()) };
    let (decisions, overview) = tokio::time::timeout(Duration::from_secs(60), two).await.unwrap();
    assert_eq!(decisions.unwrap(), DecisionPage::default());
    assert_eq!(overview.unwrap().identity, *store.identity());
    drop(first);
    let mut lines = 0;
    let mut next = loop {
        match queries.export_consents() {
            Ok(next) => break next,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    while let Some(part) = next.recv().await {
        lines += part.unwrap().iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines, 4000);
}

#[tokio::test]
async fn without_an_engine_the_error_says_how_to_start_one() {
    let data = tempfile::tempdir().unwrap();
    let error = Client::new(data.path()).campaigns().await.unwrap_err().to_string();
    assert!(error.contains("no engine answers on") && error.contains("`hailer run`"), "{error}");
}

#[tokio::test]
async fn without_an_owner_the_engine_is_reported_as_shutting_down() {
    let data = tempfile::tempdir().unwrap();
    let engine = start(data.path());
    drop(engine.requests);
    let error = Client::new(data.path()).campaigns().await.unwrap_err();
    assert_eq!(error.to_string(), "the engine is shutting down");
}

#[tokio::test]
async fn a_second_engine_is_refused_and_the_socket_of_a_crashed_one_is_replaced() {
    let data = tempfile::tempdir().unwrap();
    let engine = start(data.path());
    assert!(matches!(Control::bind(data.path()), Err(ControlError::AnotherEngine { .. })));
    engine.stop.send(()).unwrap();
    engine.served.await.unwrap();
    assert!(!socket_path(data.path()).exists(), "a regular end removes the socket");

    // A crash leaves a socket without a listener, and no lock.
    drop(std::os::unix::net::UnixListener::bind(socket_path(data.path())).unwrap());
    assert!(Control::bind(data.path()).is_ok());
}

#[tokio::test]
async fn a_listener_without_a_lock_still_counts_as_another_engine() {
    let data = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(socket_path(data.path())).unwrap();
    assert!(matches!(Control::bind(data.path()), Err(ControlError::AnotherEngine { .. })));
}

#[tokio::test]
async fn a_file_that_is_not_a_socket_is_not_removed() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(socket_path(data.path()), "mine").unwrap();
    assert!(matches!(Control::bind(data.path()), Err(ControlError::NotASocket { .. })));
    assert_eq!(std::fs::read(socket_path(data.path())).unwrap(), b"mine");
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let _control = Control::bind(&data).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket_path(&data)), 0o660);
    assert_eq!(mode(&data) & 0o007, 0);
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_a_reason() {
    let data = tempfile::tempdir().unwrap();
    let _engine = start(data.path());
    for (body, part) in
        [("{\"target\":1}", "target"), ("{", "JSON"), ("{\"all\":true}", "unknown field")]
    {
        let mut stream = tokio::net::UnixStream::connect(socket_path(data.path())).await.unwrap();
        let length = body.len();
        let head = "POST /pause HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: \
                    application/json";
        stream
            .write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 4")
                && answer.contains("{\"error\":")
                && answer.contains(part),
            "{answer}"
        );
    }
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn tcp_shows_metrics_and_health_and_nothing_else() {
    let health = Health::default();
    let observed = Observed { health: health.clone(), metrics: crate::metrics::install().unwrap() };
    metrics::gauge!(crate::metrics::RULE_SET).set(3);
    let http = Http::bind("127.0.0.1:0").await.unwrap().unwrap();
    let address = http.address();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(http.serve(observed, async { stopped.await.unwrap_or(()) }));

    assert!(get(address, "/metrics").await.contains("\nhailer_rule_set "));
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    health.report("sink", Condition::NotReady("the broker is away".into()));
    let unready = get(address, "/readyz").await;
    assert!(
        unready.starts_with("HTTP/1.1 503") && unready.contains("the broker is away"),
        "{unready}"
    );
    for path in ["/campaigns", "/status", "/"] {
        assert!(get(address, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    // A silent client does not delay the end.
    let _silent = tokio::net::TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    served.await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    assert!(Http::bind("").await.unwrap().is_none());
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let error = Http::bind(&listen).await.unwrap_err().to_string();
    assert!(error.contains(&listen) && error.contains("--listen"), "{error}");
}
