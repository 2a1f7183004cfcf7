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
}

impl Health {
    /// Reports a room's condition; logs it when it changes.
    pub fn report(&self, room: &'static str, condition: Condition) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        if conditions.get(room) == Some(&condition) {
            return;
        }
        match &condition {
            Condition::Ready => tracing::info!(room, "ready"),
            Condition::NotReady(why) => tracing::warn!(room, why, "not ready"),
        }
        conditions.insert(room, condition);
    }

    /// What is not ready, by room; empty when all is well.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<&'static str, String> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let not_ready = |(room, condition): (&&'static str, &Condition)| match condition {
            Condition::Ready => None,
            Condition::NotReady(why) => Some((*room, why.clone())),
        };
        conditions.iter().filter_map(not_ready).collect()
    }
}
