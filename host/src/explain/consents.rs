//! Finds out for which channels the store knows consents.

use std::ops::ControlFlow;

use hailer_abi::wire::Channel;
use hailer_policies::NamedChannel;
use serde::{Deserialize, Serialize};

use crate::records::{CustomerRow, Partition, decode};
use crate::store::{Snapshot, StoreError, Table};

/// Maximum of customers' rows that are read.
const ROWS_MAX: usize = 200_000;
/// Maximum of bytes of rows that are read.
const READ_BYTES_MAX: usize = 256 << 20;

/// The channels for which the store knows consents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownConsents {
    /// The channels for which at least one customer agreed or refused.
    pub channels: Vec<NamedChannel>,
    /// Whether all customers were looked at; otherwise other channels may have consents, too.
    pub is_whole: bool,
}

/// Reads customers' rows until each channel has a consent, or a limit is reached.
///
/// # Errors
/// When a row cannot be read.
pub fn known_consents(snapshot: &dyn Snapshot) -> Result<KnownConsents, StoreError> {
    let mut known = [false; Channel::ALL.len()];
    let (mut rows, mut bytes) = (0, 0);
    let (mut is_whole, mut broken) = (true, None);
    snapshot.range(Table::Customers, &[], &[Partition::COUNT], &mut |_, row| {
        (rows, bytes) = (rows + 1, bytes + row.len());
        match decode::<CustomerRow>(Table::Customers, row) {
            Ok(row) => row.policy.consents.iter().for_each(|consent| {
                if let Some(known) = known.get_mut(usize::from(consent.channel)) {
                    *known = true;
                }
            }),
            Err(error) => broken = Some(error),
        }
        let has_all = known.iter().all(|known| *known);
        if broken.is_some() || has_all {
            return ControlFlow::Break(());
        }
        if rows >= ROWS_MAX || bytes >= READ_BYTES_MAX {
            is_whole = false;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    let channels = Channel::ALL.into_iter().zip(known).filter(|(_, known)| *known);
    let channels = channels.map(|(channel, _)| NamedChannel(channel)).collect();
    broken.map_or(Ok(KnownConsents { channels, is_whole }), Err)
}

#[cfg(test)]
mod tests {
    use hailer_policies::{Consent, ConsentSource};

    use super::*;
    use crate::explain::fixture::{EIGHT, History};
    use crate::store::Store;

    #[test]
    fn the_channels_of_yes_and_no_are_known() {
        let mut history = History::new();
        history.timer("6", "welcome", "remind", EIGHT);
        let known = |history: &History| {
            let known = known_consents(&*history.store.snapshot().unwrap()).unwrap();
            assert!(known.is_whole);
            known.channels.iter().map(|channel| channel.0.name()).collect::<Vec<_>>()
        };
        assert_eq!(known(&history), [""; 0]);
        for (id, channel, is_yes) in [("7", Channel::Sms, true), ("8", Channel::Mail, false)] {
            history.change_row(id, |row| {
                let (subscription, source) = ("Mailings".into(), ConsentSource::Import);
                let channel = channel as u8;
                row.policy.consents.push(Consent { subscription, channel, is_yes, at: 1, source });
            });
        }
        assert_eq!(known(&history), ["mail", "sms"]);
    }
}
