//! `#[rule]`: generates the first half of the manifest and the reading of the parameters from the
//! struct.

use hailer_abi::ABI_VERSION;
use hailer_abi::manifest::Param;
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Error, Expr, ExprLit, Fields, Ident, ItemStruct, Lit, LitStr, Meta, Result, Token,
    spanned::Spanned,
};

use crate::naming::kebab_case;
use crate::param::Parameter;
use crate::pattern::Errors;

/// The arguments of `#[rule]` or `#[rule(name = "big-basket")]`.
pub(crate) struct Arguments {
    name: Option<LitStr>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self { name: None });
        }
        let key: Ident = input.parse()?;
        if key != "name" {
            return Err(Error::new(
                key.span(),
                "the only argument is the name: `#[rule(name = \"big-basket\")]`",
            ));
        }
        input.parse::<Token![=]>()?;
        let name: LitStr = input.parse()?;
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if name.value().is_empty() || name.value().len() > 64 || !name.value().bytes().all(fits) {
            return Err(Error::new(
                name.span(),
                "a rule's name has 1 to 64 characters of a-z, 0-9, `-` and `_`",
            ));
        }
        Ok(Self { name: Some(name) })
    }
}

pub(crate) fn expand(arguments: &Arguments, item: TokenStream) -> TokenStream {
    let mut rule: ItemStruct = match syn::parse2(item.clone()) {
        Ok(rule) => rule,
        Err(_) => {
            let error = Error::new_spanned(
                &item,
                "`#[rule]` needs a struct, whose fields are the parameters",
            );
            return error.into_compile_error();
        }
    };
    let parameters = parameters(&mut rule);
    let name = &rule.ident;
    let parameters = match parameters {
        Ok(parameters) => parameters,
        Err(error) => {
            // A stub of the rest, so that the compiler reports no errors about missing code.
            let nothing = quote!(::core::unimplemented!());
            let (error, stub) =
                (error.into_compile_error(), declared(name, &quote!(""), &nothing, &nothing));
            return quote!(#rule #error #stub);
        }
    };
    let declaration = declaration(arguments, &rule, &parameters);
    let names: Vec<&Ident> = parameters.iter().map(|parameter| &parameter.name).collect();
    let count = names.len() as u32;
    let read = quote! {{
        let unknown = params.record(#count);
        let rule = Self { #(#names: ::hailer_sdk::generated::FromParam::read(params),)* };
        params.skip(unknown);
        rule
    }};
    let write = quote! {
        params.array(#count as usize);
        #(::hailer_sdk::generated::ToParam::write(&self.#names, params);)*
    };
    let default = default(name, &parameters);
    let declared = declared(name, &declaration, &read, &write);
    quote!(#rule #declared #default)
}

fn declared(
    name: &Ident,
    declaration: &TokenStream,
    read: &TokenStream,
    write: &TokenStream,
) -> TokenStream {
    quote! {
        impl ::hailer_sdk::generated::Declared for #name {
            const DECLARATION: &'static str = #declaration;

            fn from_params(params: &mut ::hailer_sdk::generated::Reader<'_>) -> Self {
                #read
            }

            #[cfg(not(target_arch = "wasm32"))]
            fn write_params(&self, params: &mut ::hailer_sdk::generated::Writer) {
                #write
            }
        }
    }
}

/// The implementation of `Default`; `None` unless every parameter has a default.
fn default(name: &Ident, parameters: &[Parameter]) -> Option<TokenStream> {
    let values: Vec<_> = parameters.iter().map(Parameter::default_value).collect::<Option<_>>()?;
    let names = parameters.iter().map(|parameter| &parameter.name);
    Some(quote! {
        impl ::core::default::Default for #name {
            fn default() -> Self {
                Self { #(#names: #values,)* }
            }
        }
    })
}

/// The first half of the manifest, as an expression, because only the crate's compilation knows the
/// crate's version.
fn declaration(arguments: &Arguments, rule: &ItemStruct, parameters: &[Parameter]) -> TokenStream {
    let name =
        arguments.name.as_ref().map_or_else(|| kebab_case(&rule.ident.to_string()), LitStr::value);
    let json = |value: &str| serde_json::to_string(value).unwrap_or_default();
    let head = format!(
        "{{\"abi\":{ABI_VERSION},\"sdk\":{},\"name\":{},\"version\":\"",
        json(env!("CARGO_PKG_VERSION")),
        json(&name)
    );
    let params: Vec<&Param> = parameters.iter().map(|parameter| &parameter.declared).collect();
    let params = serde_json::to_string(&params).unwrap_or_default();
    let tail = format!("\",\"description\":{},\"params\":{params}", json(&doc(&rule.attrs)));
    quote!(::core::concat!(#head, ::core::env!("CARGO_PKG_VERSION"), #tail))
}

fn parameters(rule: &mut ItemStruct) -> Result<Vec<Parameter>> {
    let mut errors = Errors::default();
    if !rule.generics.params.is_empty() {
        errors.add(Error::new_spanned(&rule.generics, "a rule can't be generic"));
    }
    let fields = match &mut rule.fields {
        Fields::Named(fields) => std::mem::take(&mut fields.named),
        Fields::Unit => Default::default(),
        Fields::Unnamed(fields) => {
            errors.add(Error::new(
                fields.span(),
                "parameters need names: write `struct Rule { name: Type }`",
            ));
            Default::default()
        }
    };
    let mut parameters = Vec::new();
    let mut kept = fields.clone();
    for (field, kept) in fields.iter().zip(&mut kept) {
        kept.attrs.retain(|attribute| !attribute.path().is_ident("param"));
        match Parameter::parse(field) {
            Ok(parameter) => parameters.push(parameter),
            Err(error) => errors.add(error),
        }
    }
    if let Fields::Named(fields) = &mut rule.fields {
        fields.named = kept;
    }
    errors.or(parameters)
}

/// The text of an item's doc comments.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}
