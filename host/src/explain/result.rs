//! The result at the end of a line. This list is complete, so people can learn the results and
//! programs can match them.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::engine::shown;

/// The whole answer for a customer without rows in the store.
pub const NO_EVENT_SEEN: &str = "no event seen";

/// The result of one thing that a campaign asked for, or the reason why it asked for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum LineResult {
    /// The campaign takes such events, but was not called.
    NotRunning,
    /// The campaign takes such events if its condition matches, and was not called. A condition
    /// that does not match leaves no row, so the campaign may also not have run then. `condition`
    /// is `None` if the set of running campaigns is not known.
    NotMatched {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        condition: Option<String>,
    },
    OutsideRollout,
    /// The campaign was paused or suspended when the event came.
    Missed {
        reason: String,
        is_kept: bool,
        /// True if the event was kept and then decided; another entry has that decision.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_decided: bool,
    },
    /// The event was kept, and an operator dropped it; the campaign never decides it.
    Dropped {
        /// Why the event was kept.
        was: String,
    },
    /// The rule was called, or lacked a field, and asked for nothing.
    ChoseNothing {
        note: String,
    },
    /// A policy suppressed the communication.
    Suppressed {
        reason: String,
        /// The name of the cap, the quiet hours or the control group; `None` for other reasons.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<String>,
        /// The circumstances in plain words; `None` if there is nothing to add.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    Deferred {
        until: Until,
        /// The reason of a policy, `quiet-hours`; `None` for anything that no policy defers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The name of the quiet hours; `None` for anything that no policy defers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<String>,
    },
    Failed {
        error: String,
    },
    /// The sink has confirmed the communication.
    Published,
}

/// The condition for which a deferred communication, timer or event waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    Time(Timestamp),
    /// The communication is in the outbox.
    Sink,
    /// An earlier failure of the campaign is ahead of the event in its queue.
    EarlierFailure,
}

impl LineResult {
    /// The result of something that waits, but not because of a policy.
    pub(super) fn waits(until: Until) -> LineResult {
        LineResult::Deferred { until, reason: None, policy: None }
    }

    /// The result as text, with times in this zone.
    #[must_use]
    pub fn text(&self, zone: &TimeZone) -> String {
        match self {
            LineResult::NotRunning => "campaign not loaded, off or not started".to_owned(),
            LineResult::NotMatched { condition: Some(condition) } => {
                format!("condition did not match ({condition}), if the campaign ran then")
            }
            LineResult::NotMatched { condition: None } => {
                "campaign not loaded, off or not started, or its condition did not match".to_owned()
            }
            LineResult::OutsideRollout => "outside rollout".to_owned(),
            LineResult::Missed { reason, is_decided: true, .. } => {
                format!("missed ({reason}), and decided later")
            }
            LineResult::Missed { reason, is_kept: true, .. } => {
                format!("missed ({reason}), and kept to be decided later")
            }
            LineResult::Missed { reason, is_kept: false, .. } => {
                format!("missed ({reason}), and not kept")
            }
            LineResult::Dropped { was } => format!("dropped by an operator; it was {was}"),
            LineResult::ChoseNothing { note } => format!("rule chose nothing ({note})"),
            LineResult::Suppressed { reason, policy, detail } => {
                format!(
                    "suppressed ({})",
                    reason_text(reason, policy.as_deref(), detail.as_deref())
                )
            }
            LineResult::Deferred { until, reason, policy } => {
                let until = match until {
                    Until::Time(at) => format!("deferred until {}", ZonedTime(*at, zone)),
                    Until::Sink => "deferred until the sink takes it".to_owned(),
                    Until::EarlierFailure => {
                        "deferred until an earlier failure is settled".to_owned()
                    }
                };
                match reason {
                    Some(reason) => {
                        format!("{until} ({})", reason_text(reason, policy.as_deref(), None))
                    }
                    None => until,
                }
            }
            LineResult::Failed { error } => format!("failed ({error})"),
            LineResult::Published => "published".to_owned(),
        }
    }
}

/// The reason of a policy with its name and the circumstances:
/// `cap day: 2 of 2 since 2026-03-01 00:00 +03:00`.
pub(crate) fn reason_text(reason: &str, policy: Option<&str>, detail: Option<&str>) -> String {
    let mut text = reason.to_owned();
    if let Some(policy) = policy {
        text += &format!(" {}", shown(policy));
    }
    if let Some(detail) = detail {
        // The detail of a reason without a policy goes on with the reason's own sentence.
        text += if policy.is_some() { ": " } else { " " };
        text += detail;
    }
    text
}

/// Formats a time with its UTC offset, because an hour repeats when summer time ends.
pub(crate) struct ZonedTime<'zone>(pub(crate) Timestamp, pub(crate) &'zone TimeZone);

impl fmt::Display for ZonedTime<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ZonedTime(at, zone) = self;
        let at = at.to_zoned_datetime((*zone).clone());
        match *zone == &TimeZone::UTC {
            true => write!(formatter, "{}", at.strftime("%Y-%m-%d %H:%M:%S UTC")),
            false => write!(formatter, "{}", at.strftime("%Y-%m-%d %H:%M:%S %:z")),
        }
    }
}
