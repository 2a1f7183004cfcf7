//! `#[derive(State)]`: generates the encoding of a struct or an enum as a rule's state, with named
//! members.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DataEnum, DeriveInput, Error, Fields, Ident, LitInt, Result, Variant};

pub(crate) fn expand(input: &DeriveInput) -> TokenStream {
    expanded(input).unwrap_or_else(|error| {
        let (name, error) = (&input.ident, error.into_compile_error());
        if !input.generics.params.is_empty() {
            return error;
        }
        // A stub of the rest, so that the compiler reports no errors about missing code.
        quote! {
            #error
            impl ::hailer_sdk::State for #name {
                fn write(&self, _: &mut ::hailer_sdk::generated::Writer) {}
                fn read(
                    _: &mut ::hailer_sdk::generated::Reader<'_>,
                ) -> ::core::result::Result<Self, ::hailer_sdk::generated::state::Unreadable> {
                    ::core::unimplemented!()
                }
            }
        }
    })
}

fn expanded(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a state can't be generic and can't borrow",
        ));
    }
    let version = version(&input.attrs)?.map(|version| quote!(const VERSION: u32 = #version;));
    let (write, read) = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                let names: Vec<&Ident> =
                    fields.named.iter().filter_map(|field| field.ident.as_ref()).collect();
                (write_members(&names, &quote!(&self.)), read_struct(&names))
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => (
                quote!(::hailer_sdk::State::write(&self.0, writer);),
                quote!(::core::result::Result::Ok(Self(::hailer_sdk::State::read(reader)?))),
            ),
            _ => {
                return Err(Error::new_spanned(
                    &input.ident,
                    "a state needs named fields, so that a later version can add fields: `struct \
                     Visits { count: u32 }`",
                ));
            }
        },
        Data::Enum(data) => enumeration(data)?,
        Data::Union(_) => {
            return Err(Error::new_spanned(&input.ident, "a state must be a struct or an enum"));
        }
    };
    let name = &input.ident;
    Ok(quote! {
        impl ::hailer_sdk::State for #name {
            #version

            fn write(&self, writer: &mut ::hailer_sdk::generated::Writer) {
                #write
            }

            fn read(
                reader: &mut ::hailer_sdk::generated::Reader<'_>,
            ) -> ::core::result::Result<Self, ::hailer_sdk::generated::state::Unreadable> {
                #read
            }
        }
    })
}

/// The version in `#[state(version = 2)]`; `None` if there is none.
fn version(attributes: &[Attribute]) -> Result<Option<u32>> {
    let mut version = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("state")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("version") {
                return Err(meta.error("the only argument is the version: `#[state(version = 2)]`"));
            }
            let literal: LitInt = meta.value()?.parse()?;
            match literal.base10_parse::<u32>() {
                Ok(number) if number > 0 => version = Some(number),
                _ => {
                    return Err(Error::new(
                        literal.span(),
                        "a version must be a whole number of at least 1",
                    ));
                }
            }
            Ok(())
        })?;
    }
    Ok(version)
}

/// Code that writes members as a map; `place` is put before each name.
fn write_members(names: &[&Ident], place: &TokenStream) -> TokenStream {
    let count = names.len();
    let keys = names.iter().map(|name| key(name));
    quote! {
        writer.map(#count);
        #(
            writer.str(#keys);
            ::hailer_sdk::State::write(#place #names, writer);
        )*
    }
}

fn read_struct(names: &[&Ident]) -> TokenStream {
    let keys: Vec<String> = names.iter().map(|name| key(name)).collect();
    quote! {
        let mut state = <Self as ::core::default::Default>::default();
        for _ in 0..::hailer_sdk::generated::state::entries(reader)? {
            match ::hailer_sdk::generated::state::name(reader)? {
                #(#keys => state.#names = ::hailer_sdk::generated::state::member(reader, #keys)?,)*
                _ => reader.skip(1),
            }
        }
        ::core::result::Result::Ok(state)
    }
}

/// Code for an enum: a variant without fields is stored as its name, any other as a map from its
/// name to its value.
fn enumeration(data: &DataEnum) -> Result<(TokenStream, TokenStream)> {
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for Variant { ident, fields, .. } in &data.variants {
        let key = key(ident);
        match fields {
            Fields::Unit => {
                writes.push(quote!(Self::#ident => writer.str(#key),));
                reads.push(quote!((#key, false) => Self::#ident,));
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                writes.push(quote! {
                    Self::#ident(value) => {
                        writer.map(1);
                        writer.str(#key);
                        ::hailer_sdk::State::write(value, writer);
                    }
                });
                reads.push(quote! {
                    (#key, true) => Self::#ident(
                        ::hailer_sdk::generated::state::member(reader, #key)?,
                    ),
                });
            }
            Fields::Named(fields) => {
                let names: Vec<&Ident> =
                    fields.named.iter().filter_map(|field| field.ident.as_ref()).collect();
                let types = fields.named.iter().map(|field| &field.ty);
                let keys: Vec<String> = names.iter().map(|name| self::key(name)).collect();
                let members = write_members(&names, &quote!());
                writes.push(quote! {
                    Self::#ident { #(#names),* } => {
                        writer.map(1);
                        writer.str(#key);
                        #members
                    }
                });
                reads.push(quote! {
                    (#key, true) => {
                        #(let mut #names = <#types as ::core::default::Default>::default();)*
                        for _ in 0..::hailer_sdk::generated::state::entries(reader)? {
                            match ::hailer_sdk::generated::state::name(reader)? {
                                #(
                                    #keys => #names =
                                        ::hailer_sdk::generated::state::member(reader, #keys)?,
                                )*
                                _ => reader.skip(1),
                            }
                        }
                        Self::#ident { #(#names),* }
                    }
                });
            }
            Fields::Unnamed(_) => {
                return Err(Error::new_spanned(
                    ident,
                    "name the fields of this variant, so that a later version can add fields: \
                     `Paid { amount: Decimal }`",
                ));
            }
        }
    }
    let write = quote!(match self { #(#writes)* });
    let read = quote! {
        ::core::result::Result::Ok(match ::hailer_sdk::generated::state::variant(reader)? {
            #(#reads)*
            _ => return ::hailer_sdk::generated::state::unreadable("a variant that this version \
                knows"),
        })
    };
    Ok((write, read))
}

fn key(name: &Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}
