//! The policies of communications: whether, when and to whom a proposal of a rule may be sent.
//!
//! It owns the file `policies.toml` ([`Policies`]), what a customer's row keeps for policies
//! ([`PolicyRow`]), and the judgement of a proposal ([`Judge`]). Every function is pure: facts in,
//! verdict out. It refuses to know files, stores, brokers and clocks: the caller passes `now`.

mod binding;
mod body;
mod caps;
mod channels;
mod consent;
mod control;
mod facts;
mod file;
mod import;
mod judge;
mod model;
mod quiet_hours;
mod reason;
mod row;
mod zone;

#[cfg(test)]
mod tests;

pub use binding::{Binding, span_text};
pub use caps::Usage;
pub use channels::{Channels, NamedChannel};
pub use consent::{Answer, Room, SUBSCRIPTION_BYTES_MAX, SubscriptionChange, UnusableChange};
pub use file::{FILE_BYTES_MAX, Mistake};
pub use import::{ConsentCounts, ImportedConsent, ZoneCounts};
pub use judge::{At, Candidate, Judge, Step, StepResult, Suppression, Verdict};
pub use model::{
    CampaignPolicy, Cap, ConsentPolicy, ControlGroup, Deferral, Policies, QuietChoice, QuietHours,
    Span,
};
pub use reason::Reason;
pub use row::{Consent, ConsentSource, Counted, PolicyRow};
pub use zone::{ZoneChange, zone_of};
