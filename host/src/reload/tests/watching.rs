//! The owner as it lives: notices, requests and shutdown.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::reload::{Misbehaviour, ReloadError, ReloadHandle, Request, Target};

/// An owner at work, and how to end it.
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
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_module_copied_in_runs_without_anybody_asking() {
    let mut world = World::new();
    world.config.reload.debounce_ms = 20;
    // Only a notice of the system can bring the change within the test's time.
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
    // A quiet directory is left alone: reading it must not count as a change of it.
    let report = living.handle.ask(|reply| Request::Reload { allow_removals: false, reply }).await.unwrap();
    assert_eq!((report.unchanged, report.has_changes()), (2, false));
    living.end().await;
}

#[tokio::test]
async fn a_directory_that_was_made_again_is_watched_again() {
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
async fn a_suspension_is_waited_for_until_it_is_written_down() {
    let world = World::new();
    world.write("welcome.wasm", rule("1.0.0"));
    let (handle, requests) = ReloadHandle::new();
    let owner = world.open();
    let generation = world.campaign("welcome").generation;
    handle.orders_are_written().await;
    let unfit = Misbehaviour::Unfit("it faults".into());
    assert!(handle.suspend("welcome".into(), generation, unfit));
    let mut written = std::pin::pin!(handle.orders_are_written());
    assert!(written.as_mut().now_or_never().is_none(), "the owner has not begun");
    let living = tokio::spawn(owner.run(requests, std::future::pending()));
    written.await;
    let statuses = handle.ask(|reply| Request::Campaigns { reply }).await.unwrap();
    assert_eq!(statuses[0].suspended.as_deref(), Some("it faults"));
    living.abort();
}

#[tokio::test]
async fn requests_are_answered_in_order_and_not_after_the_end() {
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
async fn a_pause_holds_and_is_answered_while_the_owner_compiles() {
    let mut world = World::new();
    world.config.reload.poll_ms = 600_000;
    world.write("welcome.wasm", rule("1.0.0"));
    let living = Living::start(&world);
    let campaigns = living.handle.ask(|reply| Request::Campaigns { reply }).await.unwrap();
    let generation = world.campaign("welcome").generation;
    assert_eq!((campaigns[0].state, living.handle.is_stopped("welcome", generation)), (CampaignState::Running, false));

    // A compilation that ends when the test says so.
    let (finish, wait) = std::sync::mpsc::channel();
    *world.stage.busy.lock().unwrap() = Some(wait);
    world.write("slow.wasm", rule("1.0.0"));
    let admissions = world.admissions();
    let compiling = living.handle.clone();
    let compiling =
        tokio::spawn(async move { compiling.ask(|reply| Request::Reload { allow_removals: false, reply }).await });
    until("it compiles", || world.admissions() > admissions).await;
    let paused = living.handle.pause(Target::Campaign("welcome".into())).await.unwrap();
    assert_eq!(paused.unwrap(), ["welcome"]);
    assert!(living.handle.is_stopped("welcome", generation), "it is on the stage, and not called");
    assert!(!living.handle.is_stopped("other", 99));
    assert!(living.handle.suspend("other".into(), 99, Misbehaviour::Unfit("two runs differed".into())));
    assert!(living.handle.is_stopped("other", 99));
    assert_eq!(world.running(), ["welcome 1.0.0"]);

    finish.send(()).unwrap();
    assert_eq!(compiling.await.unwrap().unwrap().added, ["slow"]);
    let campaigns = living.handle.ask(|reply| Request::Campaigns { reply }).await.unwrap();
    assert_eq!(campaigns[1].state, CampaignState::Paused, "the owner got to it");
    assert_eq!(
        (world.running(), living.handle.is_stopped("welcome", generation)),
        (vec!["slow 1.0.0".to_owned()], false)
    );
    living.end().await;
}
