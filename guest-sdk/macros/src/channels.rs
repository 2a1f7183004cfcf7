//! The channel types of the SDK, made from the list of channels in the ABI.

use hailer_abi::wire::Channel;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};

/// Generates the content of `hailer_sdk::channels`.
pub(crate) fn channel_types() -> TokenStream {
    let types = Channel::ALL.map(channel_type);
    let (names, numbers) = (Channel::NAMES, Channel::ALL.map(|channel| channel as u8));
    quote! {
        #(#types)*

        pub(crate) fn number_of(channel: &str) -> Option<u8> {
            match channel {
                #(#names => Some(#numbers),)*
                _ => None,
            }
        }
    }
}

fn channel_type(channel: Channel) -> TokenStream {
    let (name, number) = (format_ident!("{}", channel.type_name()), channel as u8);
    let doc = channel.doc();
    quote! {
        #[doc = #doc]
        #[derive(Clone, Copy, Debug)]
        pub struct #name;

        impl #name {
            /// A message for this channel, from the template that has this name in SMC.
            pub fn template(template: &str) -> Message<'_> {
                Message { channel: #number, template, entries: Writer::new(), entry_count: 0 }
            }
        }
    }
}
