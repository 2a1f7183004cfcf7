//! The channels of SMC, one type each. Generated from the list in the ABI
//! (`hailer_abi::wire::Channel`), which the engine uses, too.

use crate::Message;
use crate::wire::Writer;

hailer_macros::channel_types!();
