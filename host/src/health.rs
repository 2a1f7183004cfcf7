//! What stands between the engine and its work, for `/readyz`, `hailer campaigns` and the log. Plain data: every
//! room reports its own condition, nobody reads another's to decide anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The conditions of one engine; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health {
    conditions: Arc<Mutex<BTreeMap<&'static str, Condition>>>,
}

/// What one room says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Ready,
    /// Why not, and what happens next. No personal data: this is shown on TCP.
    NotReady(String),
    /// All is well, and another engine does the work. As good as ready.
    Standby(String),
    /// It works, but for something that events do not depend on.
    Impaired(String),
}

impl Health {
    /// A room that is going to report is not ready until it does. That is how every engine starts, and nothing to log.
    pub fn expect(&self, room: &'static str) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.insert(room, Condition::NotReady("starting".into()));
    }

    /// Reports a room's condition; logs it when it changes.
    pub fn report(&self, room: &'static str, condition: Condition) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        if conditions.get(room) == Some(&condition) {
            return;
        }
        match &condition {
            Condition::Ready => tracing::info!(room, "ready"),
            Condition::Standby(why) => tracing::info!(room, why, "standby"),
            Condition::NotReady(why) => tracing::warn!(room, why, "not ready"),
            Condition::Impaired(why) => tracing::warn!(room, why, "impaired"),
        }
        conditions.insert(room, condition);
    }

    /// What is not ready, by room; empty when the engine is.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<&'static str, String> {
        self.reasons(|condition| match condition {
            Condition::NotReady(why) => Some(why),
            Condition::Ready | Condition::Standby(_) | Condition::Impaired(_) => None,
        })
    }

    /// Why a room stands by, by room; empty when none does.
    #[must_use]
    pub fn standbys(&self) -> BTreeMap<&'static str, String> {
        self.reasons(|condition| match condition {
            Condition::Standby(why) => Some(why),
            Condition::Ready | Condition::NotReady(_) | Condition::Impaired(_) => None,
        })
    }

    /// What somebody should look at, by room: what is not ready, and what is impaired; empty when all is well.
    #[must_use]
    pub fn complaints(&self) -> BTreeMap<&'static str, String> {
        self.reasons(|condition| match condition {
            Condition::NotReady(why) | Condition::Impaired(why) => Some(why),
            Condition::Ready | Condition::Standby(_) => None,
        })
    }

    fn reasons(&self, reason: impl Fn(&Condition) -> Option<&String>) -> BTreeMap<&'static str, String> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().filter_map(|(room, condition)| Some((*room, reason(condition)?.clone()))).collect()
    }
}
