//! The conditions of the engine's components, for `/readyz`, `hailer campaigns` and the log. Every
//! component reports its own condition, and none reads another's to decide anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The conditions of one engine; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health {
    conditions: Arc<Mutex<BTreeMap<&'static str, Condition>>>,
}

/// The condition of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Ready,
    /// The component is not ready. The text has the reason and what the engine does next. It holds
    /// no personal data, because it is shown on TCP.
    NotReady(String),
    /// The component works, but another engine does the work. This counts as ready.
    Standby(String),
    /// The component works, except for something that events do not depend on.
    Impaired(String),
}

impl Health {
    /// Marks a component as not ready until its first report. Every engine starts that way, so it
    /// is not logged.
    pub fn expect(&self, room: &'static str) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.insert(room, Condition::NotReady("starting".into()));
    }

    /// Reports a component's condition, and logs it when it changes.
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

    /// The reason why a component is not ready, by component; empty when the engine is ready.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<&'static str, String> {
        self.reasons(|condition| match condition {
            Condition::NotReady(why) => Some(why),
            Condition::Ready | Condition::Standby(_) | Condition::Impaired(_) => None,
        })
    }

    /// The reason why a component is a standby, by component; empty when none is.
    #[must_use]
    pub fn standbys(&self) -> BTreeMap<&'static str, String> {
        self.reasons(|condition| match condition {
            Condition::Standby(why) => Some(why),
            Condition::Ready | Condition::NotReady(_) | Condition::Impaired(_) => None,
        })
    }

    /// The components that an operator should look at, with the reason: those that are not ready
    /// and those that are impaired. Empty when every component works.
    #[must_use]
    pub fn complaints(&self) -> BTreeMap<&'static str, String> {
        self.reasons(|condition| match condition {
            Condition::NotReady(why) | Condition::Impaired(why) => Some(why),
            Condition::Ready | Condition::Standby(_) => None,
        })
    }

    fn reasons(
        &self,
        reason: impl Fn(&Condition) -> Option<&String>,
    ) -> BTreeMap<&'static str, String> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions
            .iter()
            .filter_map(|(room, condition)| Some((*room, reason(condition)?.clone())))
            .collect()
    }
}
