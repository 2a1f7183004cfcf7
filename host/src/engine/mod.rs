//! The sandbox: what a rule module is, which of them run, and the calls into them.
//!
//! Everything that comes out of a guest is hostile until it has been checked here. This room knows nothing of files,
//! brokers or time; whoever calls says what `now` is.

mod campaign;
mod limits;

pub use campaign::{Campaign, CampaignSpec, Mode};
pub use limits::Limits;
