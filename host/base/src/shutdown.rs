//! The signal that the engine must end, for all tasks that have to finish something first. It has
//! two steps: drain (take in nothing new, finish what is in flight), and then, when the time for
//! that is up, end at once.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Ended,
}

/// The sending side. Dropping it means both steps at once, because no task is left that could end
/// the engine.
#[derive(Debug)]
pub struct ShutdownTrigger {
    phase: watch::Sender<Phase>,
}

/// The receiving side; clones receive the same steps.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: watch::Receiver<Phase>,
}

impl Shutdown {
    /// Creates the sending and the receiving side.
    #[must_use]
    pub fn new() -> (ShutdownTrigger, Shutdown) {
        let (sender, phase) = watch::channel(Phase::Running);
        (ShutdownTrigger { phase: sender }, Shutdown { phase })
    }

    /// Waits until draining begins.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the time for draining is up.
    pub async fn ended(&self) {
        self.reached(Phase::Ended).await;
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining || self.phase.has_changed().is_err()
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.phase.borrow() >= Phase::Ended || self.phase.has_changed().is_err()
    }

    async fn reached(&self, phase: Phase) {
        // An error means that the trigger was dropped, which means both steps.
        let _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }
}

impl ShutdownTrigger {
    /// Begins draining.
    pub fn drain(&self) {
        self.phase.send_if_modified(|now| Self::advance(now, Phase::Draining));
    }

    /// Ends the engine at once.
    pub fn end(&self) {
        self.phase.send_if_modified(|now| Self::advance(now, Phase::Ended));
    }

    fn advance(now: &mut Phase, to: Phase) -> bool {
        let further = *now < to;
        *now = to.max(*now);
        further
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_comes_before_the_end() {
        let (trigger, shutdown) = Shutdown::new();
        assert!(!shutdown.is_draining());
        trigger.drain();
        shutdown.draining().await;
        trigger.end();
        shutdown.ended().await;
        trigger.drain();
        shutdown.ended().await;
    }

    #[tokio::test]
    async fn a_dropped_trigger_means_the_end() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        shutdown.draining().await;
        shutdown.ended().await;
        assert!(shutdown.is_draining());
    }
}
