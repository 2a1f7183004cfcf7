//! What the communications of each campaign have in common, written when it first sends something under a rule set.

use std::sync::Arc;

use crate::communication::Sender;
use crate::engine::{CampaignSpec, RuleSet};

/// Of one shard.
pub(super) struct Senders {
    rules: Arc<RuleSet>,
    of: Vec<Option<Box<Sender>>>,
}

impl Senders {
    pub(super) fn new() -> Senders {
        Senders { rules: Arc::new(RuleSet::empty()), of: Vec::new() }
    }

    /// For the campaigns of this rule set from now on.
    pub(super) fn adopt(&mut self, rules: &Arc<RuleSet>) {
        if Arc::ptr_eq(&self.rules, rules) {
            return;
        }
        self.rules = Arc::clone(rules);
        self.of.clear();
        self.of.resize_with(rules.campaigns().len(), || None);
    }

    pub(super) fn of(&mut self, campaign: usize, spec: &CampaignSpec, environment: &str) -> &Sender {
        let sender = || Box::new(Sender::new(spec.acts_for(), &spec.version, environment));
        self.of[campaign].get_or_insert_with(sender)
    }
}
