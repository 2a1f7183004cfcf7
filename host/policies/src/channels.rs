//! A set of channels, and one channel in requests and answers.

use hailer_abi::wire::Channel;
use hailer_base::wording::shown;
use serde::{Deserialize, Serialize};

/// A set of channels. Bit `n` is the channel with number `n` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels(u8);

impl Channels {
    /// All channels.
    #[must_use]
    pub fn all() -> Channels {
        Channel::ALL.into_iter().collect()
    }

    #[must_use]
    pub fn contains(self, channel: Channel) -> bool {
        self.0 & Self::bit(channel) != 0
    }

    /// Whether both sets have a channel in common.
    #[must_use]
    pub fn meets(self, other: Channels) -> bool {
        self.0 & other.0 != 0
    }

    pub fn insert(&mut self, channel: Channel) {
        self.0 |= Self::bit(channel);
    }

    /// The channels of the set, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Channel> {
        Channel::ALL.into_iter().filter(move |channel| self.contains(*channel))
    }

    fn bit(channel: Channel) -> u8 {
        1 << channel as u8
    }
}

impl FromIterator<Channel> for Channels {
    fn from_iter<I: IntoIterator<Item = Channel>>(channels: I) -> Self {
        let mut set = Channels::default();
        channels.into_iter().for_each(|channel| set.insert(channel));
        set
    }
}

/// A channel that is written with its name, such as `chatBot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct NamedChannel(pub Channel);

impl TryFrom<String> for NamedChannel {
    type Error = String;

    fn try_from(name: String) -> Result<NamedChannel, String> {
        let channel = Channel::ALL.into_iter().find(|channel| channel.name() == name);
        channel.map(NamedChannel).ok_or_else(|| {
            format!("`{}` is no channel; there are: {}", shown(&name), Channel::NAMES.join(", "))
        })
    }
}

impl From<NamedChannel> for &'static str {
    fn from(NamedChannel(channel): NamedChannel) -> &'static str {
        channel.name()
    }
}
