//! Write campaigns for Hailer.

// Generated code speaks of `::hailer_sdk`, in here too.
extern crate self as hailer_sdk;

pub mod collections;
mod context;
mod decimal;
pub mod events;
mod message;
#[doc(hidden)]
pub mod module;
mod raw;
mod rule;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;
#[doc(hidden)]
pub mod wire;

pub use context::{Context, Level};
pub use decimal::{Decimal, InvalidDecimal};
pub use hailer_macros::{handlers, rule};
pub use message::{ChatBot, Mail, Message, Push, Sms, SocialNetworks, Value, Viber};
pub use raw::Raw;
pub use rule::Rule;
pub use time::{Duration, InvalidTimestamp, Timestamp, days, hours, minutes, seconds};

/// What a rule imports: `use hailer_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::events::*;
    pub use crate::{
        ChatBot, Context, Decimal, Duration, Mail, Message, Push, Raw, Rule, Sms, SocialNetworks, Timestamp, Viber,
        days, dec, handlers, hours, minutes, rule, seconds,
    };
}

/// What generated code uses. Nothing here is for authors.
#[doc(hidden)]
pub mod generated {
    pub use crate::context::{Outcome, finish};
    pub use crate::decimal::literal;
    pub use crate::rule::{Declared, concat, length};
    pub use crate::wire::{FromParam, FromWire, Reader};
}
