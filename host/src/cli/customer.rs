//! The flags that say which of a customer's ids was given, and which channel is meant.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hailer_abi::wire::Channel;

use crate::explain::CustomerIdKind;
use crate::policies::NamedChannel;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum IdKind {
    Id,
    Uid,
    Group,
}

impl From<IdKind> for CustomerIdKind {
    fn from(kind: IdKind) -> CustomerIdKind {
        match kind {
            IdKind::Id => CustomerIdKind::CustomerId,
            IdKind::Uid => CustomerIdKind::CustomerUid,
            IdKind::Group => CustomerIdKind::AccountGroupId,
        }
    }
}

/// Parses the name of a channel. Shell completions offer the names.
pub(super) fn channel_parser() -> impl TypedValueParser<Value = NamedChannel> {
    PossibleValuesParser::new(Channel::NAMES).try_map(NamedChannel::try_from)
}
