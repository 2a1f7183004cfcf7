//! The word that the engine is to end, handed to whoever has to finish something first. It comes in two steps: drain
//! (take nothing new, finish what is there), and then, when the time for that is up, end at once.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Ended,
}

/// Gives the word. Dropping it means both steps at once: nobody is left to wait for.
#[derive(Debug)]
pub struct ShutdownTrigger {
    phase: watch::Sender<Phase>,
}

/// Hears the word; clones hear the same.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: watch::Receiver<Phase>,
}

impl Shutdown {
    /// The two ends.
    #[must_use]
    pub fn new() -> (ShutdownTrigger, Shutdown) {
        let (sender, phase) = watch::channel(Phase::Running);
        (ShutdownTrigger { phase: sender }, Shutdown { phase })
    }

    /// Waits until nothing new is to be taken.
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
        // An error means that the trigger is gone, which is the word as well.
        let _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }
}

impl ShutdownTrigger {
    /// Take nothing new.
    pub fn drain(&self) {
        self.phase.send_if_modified(|now| Self::advance(now, Phase::Draining));
    }

    /// End at once.
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
    async fn a_trigger_that_is_gone_means_the_end() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        shutdown.draining().await;
        shutdown.ended().await;
        assert!(shutdown.is_draining());
    }
}
