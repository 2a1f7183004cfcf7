//! One parameter: its type, default and bounds, checked at compile time.

use hailer_abi::manifest::{Param, ParamKind, ParamValue};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use rust_decimal::Decimal;
use syn::spanned::Spanned;
use syn::{
    Error, Expr, ExprLit, ExprUnary, Field, GenericArgument, Ident, Lit, PathArguments, Result,
    Type, UnOp,
};

use crate::rule::doc;

pub(crate) struct Parameter {
    pub(crate) name: Ident,
    pub(crate) type_: Type,
    pub(crate) declared: Param,
}

/// The arguments of `#[param(...)]`, as written.
#[derive(Default)]
struct Written {
    default: Option<Expr>,
    min: Option<Expr>,
    max: Option<Expr>,
}

impl Parameter {
    pub(crate) fn parse(field: &Field) -> Result<Self> {
        let name = field
            .ident
            .clone()
            .ok_or_else(|| Error::new(field.span(), "a parameter needs a name"))?;
        let written = written(field)?;
        let (kind, range) = kind_of(&field.ty).ok_or_else(|| unsupported(&field.ty))?;
        let bound = |expression: &Option<Expr>| {
            expression.as_ref().map(|bound| bound_value(kind, bound)).transpose()
        };
        let (min, max) = (bound(&written.min)?, bound(&written.max)?);
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            return Err(Error::new(
                written.max.span(),
                format!("`max` is below `min`, which is {min}"),
            ));
        }
        // The bounds of the type apply unless the author's are tighter.
        let min = range.map(|(least, _)| Decimal::from(least)).into_iter().chain(min).max();
        let max = range.map(|(_, most)| Decimal::from(most)).into_iter().chain(max).min();
        let default =
            written.default.as_ref().map(|default| default_of(kind, default)).transpose()?;
        if let (Some(value), Some(expression)) = (&default, &written.default) {
            check_bounds(kind, value, min, max)
                .map_err(|problem| Error::new(expression.span(), problem))?;
        }
        let declared = Param {
            name: name.to_string(),
            kind,
            default,
            min: min.map(|bound| bound.to_string()),
            max: max.map(|bound| bound.to_string()),
            doc: doc(&field.attrs),
        };
        Ok(Self { name, type_: field.ty.clone(), declared })
    }

    /// The default as an expression of the field's type.
    pub(crate) fn default_value(&self) -> Option<TokenStream> {
        let decimal = |text: &str| quote!(const { ::hailer_sdk::generated::literal(#text) });
        let string = |text: &str| quote!(::std::string::String::from(#text));
        let type_ = &self.type_;
        Some(match (self.declared.kind, self.declared.default.as_ref()?) {
            (ParamKind::Decimal, ParamValue::Str(text)) => decimal(text),
            (_, ParamValue::Str(text)) => string(text),
            (_, ParamValue::Bool(value)) => quote!(#value),
            (_, ParamValue::Int(value)) => quote!((#value) as #type_),
            (kind, ParamValue::Strs(texts)) => {
                let values = texts.iter().map(|text| {
                    if kind == ParamKind::Decimals { decimal(text) } else { string(text) }
                });
                quote!(::std::vec![#(#values),*])
            }
            (kind, ParamValue::Map(entries)) => {
                let entries = entries.iter().map(|(key, value)| {
                    let value =
                        if kind == ParamKind::DecimalMap { decimal(value) } else { string(value) };
                    let key = string(key);
                    quote!((#key, #value))
                });
                quote!(::core::iter::FromIterator::from_iter([#(#entries),*]))
            }
        })
    }
}

fn written(field: &Field) -> Result<Written> {
    let mut written = Written::default();
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("param")) {
        attribute.parse_nested_meta(|meta| {
            let place = match meta.path.get_ident().map(Ident::to_string).as_deref() {
                Some("default") => &mut written.default,
                Some("min") => &mut written.min,
                Some("max") => &mut written.max,
                _ => {
                    return Err(
                        meta.error("unknown argument: `#[param]` takes `default`, `min` and `max`")
                    );
                }
            };
            if place.is_some() {
                return Err(meta.error("this argument is given twice"));
            }
            *place = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(written)
}

fn kind_of(type_: &Type) -> Option<(ParamKind, Option<(i64, i64)>)> {
    let Type::Path(path) = type_ else { return None };
    let last = path.path.segments.last()?;
    let arguments: Vec<String> = match &last.arguments {
        PathArguments::None => Vec::new(),
        PathArguments::AngleBracketed(arguments) => arguments
            .args
            .iter()
            .map(|argument| match argument {
                GenericArgument::Type(Type::Path(path)) => {
                    path.path.segments.last().map(|last| last.to_token_stream().to_string())
                }
                _ => None,
            })
            .collect::<Option<_>>()?,
        PathArguments::Parenthesized(_) => return None,
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Some(match (last.ident.to_string().as_str(), arguments.as_slice()) {
        ("u8", []) => (ParamKind::Int, Some((0, i64::from(u8::MAX)))),
        ("u16", []) => (ParamKind::Int, Some((0, i64::from(u16::MAX)))),
        ("u32", []) => (ParamKind::Int, Some((0, i64::from(u32::MAX)))),
        ("i32", []) => (ParamKind::Int, Some((i64::from(i32::MIN), i64::from(i32::MAX)))),
        ("i64", []) => (ParamKind::Int, None),
        ("bool", []) => (ParamKind::Bool, None),
        ("String", []) => (ParamKind::Str, None),
        ("Decimal", []) => (ParamKind::Decimal, None),
        ("Vec", ["String"]) => (ParamKind::Strs, None),
        ("Vec", ["Decimal"]) => (ParamKind::Decimals, None),
        ("Map", ["String", "String"]) => (ParamKind::StrMap, None),
        ("Map", ["String", "Decimal"]) => (ParamKind::DecimalMap, None),
        _ => return None,
    })
}

fn unsupported(type_: &Type) -> Error {
    // The tokens of the type, without the spaces between them.
    let written =
        type_.to_token_stream().to_string().replace(' ', "").replace("'static", "'static ");
    let hint = match written.as_str() {
        "f32" | "f64" => "; money is never a float: use `Decimal`",
        "u64" | "usize" => "; use `u32` or `i64`",
        "&str" | "&'static str" => "; use `String`",
        other if other.contains("HashMap") => "; use `Map`, whose order is the same in every run",
        other if other.contains("BTreeMap") => "; use `Map`, which takes a tenth of the code",
        other if other.starts_with("Option<") => {
            "; give it a default instead, or leave the default out to make it mandatory"
        }
        _ => "",
    };
    Error::new_spanned(
        type_,
        format!(
            "a parameter can't have the type `{written}`{hint}\nthe types are: u8, u16, u32, \
             i32, i64, bool, String, Decimal, Vec<String>, Vec<Decimal>, Map<String, String>, \
             Map<String, Decimal>"
        ),
    )
}

fn bound_value(kind: ParamKind, bound: &Expr) -> Result<Decimal> {
    match kind {
        ParamKind::Int | ParamKind::Decimal => decimal(bound),
        ParamKind::Str | ParamKind::Strs | ParamKind::Decimals => decimal(bound)
            .ok()
            .filter(|length| length.is_integer() && !length.is_sign_negative())
            .ok_or_else(|| {
                Error::new(
                    bound.span(),
                    "the bound of a string or a list is a length, a whole number",
                )
            }),
        ParamKind::Bool | ParamKind::StrMap | ParamKind::DecimalMap => {
            Err(Error::new(bound.span(), "only numbers, strings and lists have bounds"))
        }
    }
}

fn default_of(kind: ParamKind, default: &Expr) -> Result<ParamValue> {
    let list = |expected: &str| match default {
        Expr::Array(array) => Ok(array.elems.iter().collect::<Vec<_>>()),
        other => {
            Err(Error::new(other.span(), format!("this default must be a list, like {expected}")))
        }
    };
    let pairs = |expected: &str| {
        list(expected)?
            .into_iter()
            .map(|pair| match pair {
                Expr::Tuple(pair) if pair.elems.len() == 2 => {
                    Ok((text(&pair.elems[0])?, &pair.elems[1]))
                }
                other => Err(Error::new(
                    other.span(),
                    format!("this default must be a list of pairs, like {expected}"),
                )),
            })
            .collect::<Result<Vec<_>>>()
    };
    let decimal_text = |expression: &Expr| decimal(expression).map(|value| value.to_string());
    Ok(match kind {
        ParamKind::Str => ParamValue::Str(text(default)?),
        ParamKind::Bool => match default {
            Expr::Lit(ExprLit { lit: Lit::Bool(value), .. }) => ParamValue::Bool(value.value),
            other => {
                return Err(Error::new(other.span(), "this default must be `true` or `false`"));
            }
        },
        ParamKind::Int => {
            match decimal(default)
                .ok()
                .filter(Decimal::is_integer)
                .and_then(|value| i64::try_from(value).ok())
            {
                Some(value) => ParamValue::Int(value),
                None => {
                    return Err(Error::new(
                        default.span(),
                        "this default must be a whole number that fits the type",
                    ));
                }
            }
        }
        ParamKind::Decimal => ParamValue::Str(decimal_text(default)?),
        ParamKind::Strs => {
            ParamValue::Strs(list("[\"a\", \"b\"]")?.into_iter().map(text).collect::<Result<_>>()?)
        }
        ParamKind::Decimals => ParamValue::Strs(
            list("[\"1.50\", \"2\"]")?.into_iter().map(decimal_text).collect::<Result<_>>()?,
        ),
        ParamKind::StrMap => ParamValue::Map(
            pairs("[(\"a\", \"b\")]")?
                .into_iter()
                .map(|(key, value)| Ok((key, text(value)?)))
                .collect::<Result<_>>()?,
        ),
        ParamKind::DecimalMap => ParamValue::Map(
            pairs("[(\"a\", \"1.50\")]")?
                .into_iter()
                .map(|(key, value)| Ok((key, decimal_text(value)?)))
                .collect::<Result<_>>()?,
        ),
    })
}

fn check_bounds(
    kind: ParamKind,
    value: &ParamValue,
    min: Option<Decimal>,
    max: Option<Decimal>,
) -> std::result::Result<(), String> {
    let (measured, what) = match value {
        ParamValue::Int(value) => (Decimal::from(*value), "the default"),
        ParamValue::Str(text) if kind == ParamKind::Decimal => {
            (text.parse().unwrap_or_default(), "the default")
        }
        ParamValue::Str(text) => (Decimal::from(text.chars().count()), "the default's length"),
        ParamValue::Strs(list) => (Decimal::from(list.len()), "the default's length"),
        ParamValue::Bool(_) | ParamValue::Map(_) => return Ok(()),
    };
    match (min, max) {
        (Some(min), _) if measured < min => Err(format!("{what} is below `min`, which is {min}")),
        (_, Some(max)) if measured > max => Err(format!("{what} is above `max`, which is {max}")),
        _ => Ok(()),
    }
}

fn text(expression: &Expr) -> Result<String> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.value()),
        other => Err(Error::new(other.span(), "this must be a string in quotes")),
    }
}

/// Reads a number from a literal's text, without going through a float.
fn decimal(expression: &Expr) -> Result<Decimal> {
    let error =
        || Error::new(expression.span(), "this must be a number, like 100.00 or \"100.00\"");
    let parse = |digits: &str| Decimal::from_str_exact(digits).map_err(|_| error());
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => parse(&text.value()),
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => parse(number.base10_digits()),
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => parse(number.base10_digits()),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => Ok(-decimal(expr)?),
        _ => Err(error()),
    }
}
