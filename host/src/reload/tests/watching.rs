//! The running owner: notices, requests and shutdown.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::pipeline::{CampaignOwner as _, Misbehaviour};
use crate::reload::{ReloadError, ReloadHandle, Request, Target};

/// A running owner, and how to stop it.
struct Living {
    handle: ReloadHandle,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ReloadError>>,
}

impl Living {
    fn start(world: &World) -> Living {
        let owner = world.open();
        let (handle, requests) = ReloadHandle::new();
        let (shutdown, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(owner.run(requests, async move { drop(ended.await) }));
        Living { handle, shutdown, task }
    }

    async fn end(self) {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_copied_module_runs_without_a_request() {
    let mut world = World::new();
    world.config.reload.debounce_ms = 20;
    // Only a change notice can load the change within the test's time limit.
    world.config.reload.poll_ms = 600_000;
    world.write("welcome.wasm", rule("1.0.0"));
    let living = Living::start(&world);
    fs::write(world.path("welcome.wasm"), rule("2.0.0")).unwrap();
    until("the second version runs", || world.running() == ["welcome 2.0.0"]).await;
    world.write("modules/basket.wasm", rule("1.0.0"));
    world.write("big.toml", campaign("modules/basket.wasm", ""));
    until("the campaign runs", || world.running() == ["big 1.0.0", "welcome 2.0.0"]).await;
    world.write("modules/basket.wasm", rule("1.1.0"));
    until("its module changes", || world.running() == ["big 1.1.0", "welcome 2.0.0"]).await;
    // Reading a directory must not count as a change of it.
    let report =
        living.handle.ask(|reply| Request::Reload { allow_removals: false, reply }).await.unwrap();
    assert_eq!((report.unchanged, report.has_changes()), (2, false));
    living.end().await;
}

#[tokio::test]
async fn a_directory_that_was_created_again_is_watched_again() {
    let mut world = World::new();
    world.config.reload.debounce_ms = 20;
    world.config.reload.poll_ms = 100;
    world.write("welcome.wasm", rule("1.0.0"));
    let living = Living::start(&world);
    fs::remove_dir_all(&world.config.rules).unwrap();
    until("it is missed", || !world.is_ready()).await;
    assert_eq!(world.running(), ["welcome 1.0.0"]);
    fs::create_dir(&world.config.rules).unwrap();
    world.write("welcome.wasm", rule("2.0.0"));
    until("the new one is read", || world.running() == ["welcome 2.0.0"]).await;
    living.end().await;
}

#[tokio::test]
async fn a_run_waits_until_a_suspension_is_written() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let (handle, requests) = ReloadHandle::new();
    let owner = world.open();
    let generation = world.campaign("welcome").generation;
    handle.orders_are_written().await;
    let unfit = Misbehaviour::Unfit("it faults".into());
    assert!(handle.suspend("welcome", generation, unfit));
    let mut written = std::pin::pin!(handle.orders_are_written());
    assert!(written.as_mut().now_or_never().is_none(), "the owner has not begun");
    let living = tokio::spawn(owner.run(requests, std::future::pending()));
    written.await;
    let statuses = handle.ask(|reply| Request::Campaigns { reply }).await.unwrap();
    assert_eq!(statuses[0].suspended.as_deref(), Some("it faults"));
    living.abort();
}

#[tokio::test]
async fn requests_are_answered_in_order_and_refused_after_the_end() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let living = Living::start(&world);
    let target = Target::All;
    let paused = living.handle.pause(target).await.unwrap();
    assert_eq!(paused.unwrap(), ["welcome"]);
    let campaigns = living.handle.ask(|reply| Request::Campaigns { reply }).await.unwrap();
    assert_eq!(campaigns[0].state, CampaignState::Paused);
    let handle = living.handle.clone();
    living.end().await;
    assert!(handle.ask(|reply| Request::Campaigns { reply }).await.is_err());
}

#[tokio::test]
async fn a_pause_holds_and_is_answered_during_a_compilation() {
    let mut world = World::new();
    world.config.reload.poll_ms = 600_000;
    world.write("welcome.wasm", rule("1.0.0"));
    let living = Living::start(&world);
    let campaigns = living.handle.ask(|reply| Request::Campaigns { reply }).await.unwrap();
    let generation = world.campaign("welcome").generation;
    assert_eq!(
        (campaigns[0].state, living.handle.is_stopped("welcome", generation)),
        (CampaignState::Running, false)
    );

    // A compilation that ends when the test allows it.
    let (finish, wait) = std::sync::mpsc::channel();
    *world.stage.busy.lock().unwrap() = Some(wait);
    world.write("slow.wasm", rule("1.0.0"));
    let admissions = world.admissions();
    let compiling = living.handle.clone();
    let compiling = tokio::spawn(async move {
        compiling.ask(|reply| Request::Reload { allow_removals: false, reply }).await
    });
    until("it compiles", || world.admissions() > admissions).await;
    let paused = living.handle.pause(Target::Campaign("welcome".into())).await.unwrap();
    assert_eq!(paused.unwrap(), ["welcome"]);
    assert!(living.handle.is_stopped("welcome", generation), "it is loaded, and not called");
    assert!(!living.handle.is_stopped("other", 99));
    assert!(living.handle.suspend("other", 99, Misbehaviour::Unfit("two runs differed".into())));
    assert!(living.handle.is_stopped("other", 99));
    assert_eq!(world.running(), ["welcome 1.0.0"]);

    finish.send(()).unwrap();
    assert_eq!(compiling.await.unwrap().unwrap().added, ["slow"]);
    let campaigns = living.handle.ask(|reply| Request::Campaigns { reply }).await.unwrap();
    assert_eq!(campaigns[1].state, CampaignState::Paused, "the owner has handled it");
    assert_eq!(
        (world.running(), living.handle.is_stopped("welcome", generation)),
        (vec!["slow 1.0.0".to_owned()], false)
    );
    living.end().await;
}
