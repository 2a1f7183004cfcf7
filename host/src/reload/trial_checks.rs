//! Checks of trials in a plan: a new shadow or canary needs a campaign that is not on trial itself.

use std::collections::BTreeMap;

use super::owner::Owner;
use super::plan::{CampaignPlan, LoadPlan};
use super::{Problem, Stage};
use crate::engine::{CampaignSpec, closest};

impl<S: Stage> Owner<S> {
    /// Refuses new trials of a campaign that does not exist, that is itself on trial, or that has a
    /// canary already.
    pub(super) fn check_trials(&self, load_plan: &mut LoadPlan<S::Campaign>) {
        let mut specs: BTreeMap<&str, &CampaignSpec> = BTreeMap::new();
        for (name, (_, plan)) in &load_plan.campaigns {
            let running = self.campaigns.get(name).and_then(|entry| entry.running.as_ref());
            let spec = match plan {
                CampaignPlan::Load(taken) => Some(&taken.running.spec),
                _ => running.map(|running| &running.spec),
            };
            specs.extend(spec.map(|spec| (&**name, spec)));
        }
        let is_new =
            |name: &str| matches!(load_plan.campaigns.get(name), Some((_, CampaignPlan::Load(_))));
        let canary_of = |of: &str, but: &str| {
            let canaries = specs
                .iter()
                .filter(|(_, spec)| spec.canary_of().is_some_and(|other| **other == *of));
            // A running canary stays; of two new ones the first is accepted.
            canaries
                .map(|(name, _)| *name)
                .find(|name| *name != but && (!is_new(name) || *name < but))
        };
        let mut refused: Vec<(String, String)> = Vec::new();
        for (name, spec) in specs.iter().filter(|(name, _)| is_new(name)) {
            let Some(trial) = &spec.trial else { continue };
            let of = &*trial.of;
            let reason = match specs.get(of) {
                _ if !load_plan.campaigns.contains_key(of) => {
                    let near = closest(
                        of,
                        load_plan.campaigns.keys().map(String::as_str).filter(|near| near != name),
                    );
                    let near =
                        near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    format!("`shadow_of` names `{of}`, and there is no such campaign{near}")
                }
                Some(other) if other.trial.is_some() => {
                    format!("`shadow_of` names `{of}`, which is itself on trial")
                }
                _ => match spec.canary_of().and_then(|of| canary_of(of, name)) {
                    Some(other) => format!("`{of}` has a canary already: `{other}`"),
                    None => continue,
                },
            };
            refused.push(((*name).to_owned(), reason));
        }
        for (name, reason) in refused {
            let Some((file, plan)) = load_plan.campaigns.get_mut(&name) else { continue };
            let hint = "name a campaign that runs, or end the other trial with `hailer promote` \
                        or `hailer abort`";
            let problems = vec![Problem::new(file.clone(), None, reason, hint)];
            // Without the version it is planned again at the next load: its campaign may appear.
            *plan = CampaignPlan::Refused { problems, version: None };
        }
    }
}
