//! Which of a customer's ids somebody gave.

use clap::ValueEnum;

use crate::story::By;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum IdKind {
    Id,
    Uid,
    Group,
}

impl From<IdKind> for By {
    fn from(kind: IdKind) -> By {
        match kind {
            IdKind::Id => By::CustomerId,
            IdKind::Uid => By::CustomerUid,
            IdKind::Group => By::AccountGroupId,
        }
    }
}
