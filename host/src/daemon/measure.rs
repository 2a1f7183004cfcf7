//! Measures what the calls of a module cost, without an engine: the module is compiled and loaded
//! as in an engine, and called on samples.

use std::sync::Arc;

use super::stage::Loader;
use crate::engine::{
    Campaign, CampaignSpec, Limits, SampleCost, Sandbox, VerifiedModule, sample_costs, time_samples,
};

/// Measures the calls of a module with these parameters on the catalogue's samples: in fuel, and
/// with `timed` in nanoseconds.
///
/// # Errors
/// When the module does not compile, or an engine would not admit a campaign with it.
pub fn measure(
    module: &VerifiedModule,
    params: &[u8],
    limits: &Limits,
    timed: bool,
) -> anyhow::Result<Vec<SampleCost>> {
    let metered = Sandbox::metered(limits.clone())?;
    let campaign = admitted(&metered, module, params)?;
    let mut costs = sample_costs(&metered, &campaign);
    if timed {
        let sandbox = Sandbox::new(limits.clone())?;
        let campaign = admitted(&sandbox, module, params)?;
        time_samples(&sandbox, &campaign, &mut costs);
    }
    Ok(costs)
}

fn admitted(
    sandbox: &Arc<Sandbox>,
    module: &VerifiedModule,
    params: &[u8],
) -> anyhow::Result<Arc<Campaign>> {
    let compiled =
        Loader::temporary(Arc::clone(sandbox))?.load(module).map_err(anyhow::Error::msg)?;
    let spec = CampaignSpec::of("measured", module, params.to_vec());
    Ok(Campaign::admit(sandbox, spec, compiled, 1)?)
}
