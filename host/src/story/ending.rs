//! How a line of a story ends. These are all the endings that there are, so that people can learn them and programs match them.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The whole story of a customer of whom nothing is known.
pub const NO_EVENT_SEEN: &str = "no event seen";

/// What became of one thing that a campaign asked for, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Ending {
    /// The campaign takes such events, and was not asked.
    NotRunning,
    /// It takes such events where its condition matches, and was not asked. Misses leave no row, so that it did not run then is not ruled out.
    /// Without a condition here nobody knows whether it has one.
    NotMatched {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        condition: Option<String>,
    },
    OutsideRollout,
    /// It was paused or suspended when the event came.
    Missed {
        reason: String,
        is_kept: bool,
        /// It was kept, and was decided later: another entry tells of that.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_decided: bool,
    },
    /// It was kept, and an operator dropped it: the campaign never decides it.
    Dropped {
        /// Why it was kept.
        was: String,
    },
    /// It was asked, and wants nothing sent.
    ChoseNothing {
        note: String,
    },
    /// A policy did not let it pass.
    Suppressed {
        reason: String,
    },
    Deferred {
        until: Until,
    },
    Failed {
        error: String,
    },
    /// The sink has confirmed it.
    Published,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    Time(Timestamp),
    /// It is in the outbox.
    Sink,
    /// An earlier failure of the campaign is in front of it.
    EarlierFailure,
}

impl Ending {
    /// In words, with times as they are in this zone.
    #[must_use]
    pub fn text(&self, zone: &TimeZone) -> String {
        match self {
            Ending::NotRunning => "campaign not loaded, off or not started".to_owned(),
            Ending::NotMatched { condition: Some(condition) } => {
                format!("condition did not match ({condition}), if the campaign ran then")
            }
            Ending::NotMatched { condition: None } => {
                "campaign not loaded, off or not started, or its condition did not match".to_owned()
            }
            Ending::OutsideRollout => "outside rollout".to_owned(),
            Ending::Missed { reason, is_decided: true, .. } => format!("missed ({reason}), and decided later"),
            Ending::Missed { reason, is_kept: true, .. } => format!("missed ({reason}), and kept to be decided later"),
            Ending::Missed { reason, is_kept: false, .. } => format!("missed ({reason}), and not kept"),
            Ending::Dropped { was } => format!("dropped by an operator; it was {was}"),
            Ending::ChoseNothing { note } => format!("rule chose nothing ({note})"),
            Ending::Suppressed { reason } => format!("suppressed ({reason})"),
            Ending::Deferred { until } => match until {
                Until::Time(at) => format!("deferred until {}", Moment(*at, zone)),
                Until::Sink => "deferred until the sink takes it".to_owned(),
                Until::EarlierFailure => "deferred until an earlier failure is settled".to_owned(),
            },
            Ending::Failed { error } => format!("failed ({error})"),
            Ending::Published => "published".to_owned(),
        }
    }
}

/// A time as people read it: with its offset, as an hour of autumn comes twice.
pub(crate) struct Moment<'zone>(pub(crate) Timestamp, pub(crate) &'zone TimeZone);

impl fmt::Display for Moment<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment(at, zone) = self;
        let at = at.to_zoned_datetime((*zone).clone());
        match *zone == &TimeZone::UTC {
            true => write!(formatter, "{}", at.strftime("%Y-%m-%d %H:%M:%S UTC")),
            false => write!(formatter, "{}", at.strftime("%Y-%m-%d %H:%M:%S %:z")),
        }
    }
}
