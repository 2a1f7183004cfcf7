//! The common part of a campaign's communications. It is encoded when the campaign first
//! sends something under a rule set.

use std::sync::Arc;

use hailer_broker::communication::Sender;
use hailer_engine::{CampaignSpec, RuleSet};

/// The senders of one shard.
pub(super) struct Senders {
    rules: Arc<RuleSet>,
    of: Vec<Option<Box<Sender>>>,
}

impl Senders {
    pub(super) fn new() -> Senders {
        Senders { rules: Arc::new(RuleSet::empty()), of: Vec::new() }
    }

    /// Switches to the campaigns of this rule set.
    pub(super) fn adopt(&mut self, rules: &Arc<RuleSet>) {
        if Arc::ptr_eq(&self.rules, rules) {
            return;
        }
        self.rules = Arc::clone(rules);
        self.of.clear();
        self.of.resize_with(rules.campaigns().len(), || None);
    }

    pub(super) fn of(
        &mut self,
        campaign: usize,
        spec: &CampaignSpec,
        environment: &str,
    ) -> &Sender {
        let sender = || Box::new(Sender::new(spec.acts_for(), &spec.version, environment));
        self.of[campaign].get_or_insert_with(sender)
    }
}
