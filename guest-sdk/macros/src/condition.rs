//! `#[when(...)]`: from the author's expression to the condition in the manifest. What a condition can't say is told at its word, with what
//! to write instead; what the types of parameters are only the compiler knows, and is asked.

use hailer_abi::catalogue::{EventType, FieldDef};
use hailer_abi::condition::{Comparison, Condition, DEPTH_MAX, Kind, Operand, PARTS_MAX, TEXT_BYTES_MAX};
use hailer_abi::manifest::FieldKind;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, BinOp, Error, Expr, ExprBinary, ExprField, ExprLit, ExprMethodCall, ExprUnary, Ident, Lit, Member, Pat,
    Result, UnOp,
};

use crate::naming::{columns, did_you_mean};
use crate::pattern::{Errors, FieldUse};

/// A handler's condition.
pub(crate) struct When {
    pub(crate) condition: Condition,
    /// The parameters that it names, each where it does, with the kind that it has to be of.
    params: Vec<(Ident, Kind)>,
    /// The fields that it names, by their place in the pattern.
    fields: Vec<usize>,
}

/// The expression of `#[when(...)]`, which is taken off.
pub(crate) fn take_when(attributes: &mut Vec<Attribute>) -> Result<Option<Expr>> {
    let mut found = None;
    let mut errors = Errors::default();
    attributes.retain(|attribute| {
        if !attribute.path().is_ident("when") {
            return true;
        }
        match attribute.parse_args::<Expr>() {
            Ok(_) if found.is_some() => {
                errors.add(Error::new(attribute.span(), "a handler has one condition: join them with `&&`"));
            }
            Ok(expression) => found = Some(expression),
            Err(error) => errors.add(Error::new(
                error.span(),
                format!("{error}\na condition stands in parentheses: `#[when(amount >= self.threshold)]`"),
            )),
        }
        false
    });
    errors.or(found)
}

impl When {
    pub(crate) fn parse(expression: &Expr, event: &'static EventType, fields: &[FieldUse]) -> Result<Self> {
        let mut parser = Parser { event, fields, params: Vec::new(), named: Vec::new() };
        let condition = parser.condition(expression)?;
        if depth(&condition) > DEPTH_MAX || parts(&condition) > PARTS_MAX {
            return Err(Error::new(
                expression.span(),
                format!(
                    "a condition has at most {PARTS_MAX} parts, and nests at most {DEPTH_MAX} deep: decide the rest in the handler"
                ),
            ));
        }
        Ok(Self { condition, params: parser.params, fields: parser.named })
    }

    /// Whether it asks about the field at that place of the pattern.
    pub(crate) fn names(&self, field: usize) -> bool {
        self.fields.contains(&field)
    }

    /// A use of each parameter as what it has to be: whether it is one, and of that type, the compiler says at its word. The
    /// parameters are those of `rule`.
    pub(crate) fn params(&self, rule: &str) -> TokenStream {
        self.params
            .iter()
            .map(|(name, kind)| {
                let param = param(rule, name, *kind);
                quote!(let _ = #param;)
            })
            .collect()
    }

    /// The same condition as Rust, on the values that a handler is given, `value_0` and so on: `Option<bool>`.
    pub(crate) fn as_rust(&self, fields: &[FieldUse]) -> TokenStream {
        rust(&self.condition, &AsRust { fields, params: &self.params })
    }
}

/// A parameter as a value of its kind. All of it stands where the author named the parameter, so that it is there that an error is shown.
fn param(rule: &str, name: &Ident, kind: Kind) -> TokenStream {
    let of_kind = match kind {
        Kind::Bool => "bool_of",
        Kind::Number => "number_of",
        Kind::Text => "text_of",
    };
    let place = Span::call_site().located_at(name.span());
    let (of_kind, rule) = (Ident::new(of_kind, place), Ident::new(rule, place));
    quote_spanned!(place=> ::hailer_sdk::generated::condition::#of_kind(&#rule.#name))
}

struct Parser<'a> {
    event: &'static EventType,
    fields: &'a [FieldUse],
    params: Vec<(Ident, Kind)>,
    named: Vec<usize>,
}

/// What is compared, of which kind; of a parameter's the compiler has to be asked.
struct Side<'e> {
    operand: Operand,
    kind: Option<Kind>,
    param: Option<Ident>,
    expression: &'e Expr,
}

impl Parser<'_> {
    fn condition(&mut self, expression: &Expr) -> Result<Condition> {
        match bare(expression) {
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(ExprUnary { op: UnOp::Not(_), expr, .. }) => {
                Ok(Condition::Not(Box::new(self.condition(expr)?)))
            }
            Expr::MethodCall(call) => self.question(call),
            Expr::Lit(literal) => Err(Error::new(
                literal.span(),
                "this is no condition, as it is the same for every event; without `#[when]` a handler is always called",
            )),
            other => {
                let side = self.side(other)?;
                match side.kind {
                    Some(Kind::Bool) => {}
                    Some(kind) => {
                        let (operand, example) = (&side.operand, if kind == Kind::Text { "\"…\"" } else { "100" });
                        return Err(Error::new(
                            other.span(),
                            format!(
                                "`{operand}` is {}, not true or false: compare it, as in `{operand} == {example}`",
                                kind.name()
                            ),
                        ));
                    }
                    None => self.params.extend(side.param.map(|param| (param, Kind::Bool))),
                }
                Ok(Condition::Is(side.operand))
            }
        }
    }

    fn binary(&mut self, binary: &ExprBinary) -> Result<Condition> {
        let comparison = match binary.op {
            BinOp::And(_) | BinOp::Or(_) => {
                let is_and = matches!(binary.op, BinOp::And(_));
                // Both sides, so that all mistakes are shown together.
                let (left, right) = (self.condition(&binary.left), self.condition(&binary.right));
                let (left, right) = match (left, right) {
                    (Err(mut error), Err(other)) => {
                        error.combine(other);
                        return Err(error);
                    }
                    (left, right) => (left?, right?),
                };
                let mut parts = Vec::new();
                for side in [left, right] {
                    match side {
                        Condition::All(inner) if is_and => parts.extend(inner),
                        Condition::Any(inner) if !is_and => parts.extend(inner),
                        one => parts.push(one),
                    }
                }
                return Ok(if is_and { Condition::All(parts) } else { Condition::Any(parts) });
            }
            BinOp::Eq(_) => Comparison::Eq,
            BinOp::Ne(_) => Comparison::Ne,
            BinOp::Lt(_) => Comparison::Lt,
            BinOp::Le(_) => Comparison::Le,
            BinOp::Gt(_) => Comparison::Gt,
            BinOp::Ge(_) => Comparison::Ge,
            _ => return Err(unsupported(&Expr::Binary(binary.clone()))),
        };
        let (left, right) = (self.side(&binary.left)?, self.side(&binary.right)?);
        let kind = agreed(&left, &right, binary)?;
        if kind == Kind::Bool && comparison.needs_order() {
            return Err(Error::new(binary.op.span(), "true and false have no order: there are `==`, `!=` and `!`"));
        }
        for param in [left.param, right.param].into_iter().flatten() {
            self.params.push((param, kind));
        }
        Ok(comparison.of(left.operand, right.operand))
    }

    /// `field.is_some()` or `field.is_none()`.
    fn question(&mut self, call: &ExprMethodCall) -> Result<Condition> {
        let is_some = call.method == "is_some";
        let of_field = match bare(&call.receiver) {
            Expr::Path(path) => path.path.get_ident(),
            _ => None,
        };
        let (Some(name), true) = (of_field, (is_some || call.method == "is_none") && call.args.is_empty()) else {
            return Err(unsupported(&Expr::MethodCall(call.clone())));
        };
        let field = self.field(name)?;
        if field.required {
            let reason = format!("every `{}` has `{}`: there is nothing to ask", self.event.name, field.name);
            return Err(Error::new(call.span(), reason));
        }
        if matches!(field.kind, FieldKind::List | FieldKind::Map) {
            let reason =
                "a list or a map that is absent is empty, which a condition can't ask about: look at it in the handler";
            return Err(Error::new(call.span(), reason));
        }
        let name = field.name.to_owned();
        Ok(if is_some { Condition::Present(name) } else { Condition::Absent(name) })
    }

    fn side<'e>(&mut self, expression: &'e Expr) -> Result<Side<'e>> {
        let side = |operand, kind| Ok(Side { operand, kind: Some(kind), param: None, expression });
        match bare(expression) {
            Expr::Field(ExprField { base, member: Member::Named(name), .. }) if is_self(base) => {
                let operand = Operand::Param(unraw(name));
                Ok(Side { operand, kind: None, param: Some(name.clone()), expression })
            }
            Expr::Path(path) => {
                let Some(name) = path.path.get_ident() else { return Err(unsupported(expression)) };
                if name == "None" {
                    return Err(absent_is_asked(expression));
                }
                let field = self.field(name)?;
                let kind = Kind::of_field(field.kind).ok_or_else(|| incomparable(name, field))?;
                side(Operand::Field(field.name.to_owned()), kind)
            }
            Expr::Lit(ExprLit { lit, .. }) => literal(lit, "").and_then(|(operand, kind)| side(operand, kind)),
            Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => match bare(expr) {
                Expr::Lit(ExprLit { lit: lit @ (Lit::Int(_) | Lit::Float(_)), .. }) => {
                    literal(lit, "-").and_then(|(operand, kind)| side(operand, kind))
                }
                _ => Err(unsupported(expression)),
            },
            other => Err(unsupported(other)),
        }
    }

    /// The field that the handler's pattern gives that name to.
    fn field(&mut self, name: &Ident) -> Result<&'static FieldDef> {
        let bound_as = |use_: &FieldUse| match &use_.binding {
            Pat::Ident(bound) => Some(bound.ident.clone()),
            _ => None,
        };
        if let Some(at) = self.fields.iter().position(|use_| bound_as(use_).is_some_and(|bound| bound == *name)) {
            self.named.push(at);
            return Ok(self.fields[at].field);
        }
        let event = self.event.name;
        let renamed = self.fields.iter().find(|use_| name == use_.field.name).and_then(bound_as);
        let reason = match (renamed, self.event.field(&unraw(name))) {
            (Some(renamed), _) => format!("this handler calls `{name}` `{renamed}`"),
            (None, Some(_)) => format!(
                "the pattern does not name `{name}`, and a condition asks about what it names: write `{event} {{ {name}, .. }}`"
            ),
            (None, None) => {
                let names: Vec<String> =
                    self.fields.iter().filter_map(bound_as).map(|bound| bound.to_string()).collect();
                let all = names.iter().map(String::as_str).chain(self.event.fields.iter().map(|field| field.name));
                let meant = did_you_mean(&name.to_string(), all);
                let named = if names.is_empty() {
                    "\nthe pattern names no field".to_owned()
                } else {
                    format!("\nthe pattern names:{}", columns(names.iter().map(String::as_str)))
                };
                format!("`{event}` has no field `{name}`{meant}\na parameter is written `self.{name}`{named}")
            }
        };
        Err(Error::new(name.span(), reason))
    }
}

/// The kind that both sides are of.
fn agreed(left: &Side<'_>, right: &Side<'_>, binary: &ExprBinary) -> Result<Kind> {
    let is_literal = |side: &Side<'_>| side.param.is_none() && !matches!(side.operand, Operand::Field(_));
    if is_literal(left) && is_literal(right) {
        return Err(Error::new_spanned(binary, "this is the same for every event: compare a field or a parameter"));
    }
    match (left.kind, right.kind) {
        (Some(one), Some(other)) if one != other => {
            let (known, wrong) = if is_literal(left) { (right, left) } else { (left, right) };
            let (kind, found) = if is_literal(left) { (other, one) } else { (one, other) };
            let hint = match (&wrong.operand, kind) {
                (Operand::Int(number), Kind::Text) => {
                    format!(": ids are texts too, so write it in quotes, `\"{number}\"`")
                }
                (Operand::Text(text), Kind::Number) if is_decimal(text) => {
                    format!(": write it without quotes, `{text}`")
                }
                _ => String::new(),
            };
            let reason = format!("`{}` is {}, and this is {}{hint}", known.operand, kind.name(), found.name());
            Err(Error::new(wrong.expression.span(), reason))
        }
        (Some(kind), _) | (None, Some(kind)) => Ok(kind),
        (None, None) => Err(Error::new_spanned(
            binary,
            "two parameters are the same for every event: compare a parameter with a field, or check them in `#[configure]`",
        )),
    }
}

fn is_decimal(text: &str) -> bool {
    rust_decimal::Decimal::from_str_exact(text).is_ok()
}

fn literal(lit: &Lit, sign: &str) -> Result<(Operand, Kind)> {
    let typed = |suffix: &str| {
        let reason =
            format!("write the number without its type, `{suffix}`: a condition compares numbers by their value");
        Err(Error::new(lit.span(), reason))
    };
    let number = |digits: &str| {
        let text = format!("{sign}{digits}");
        if let Ok(whole) = text.parse() {
            return Ok((Operand::Int(whole), Kind::Number));
        }
        match rust_decimal::Decimal::from_str_exact(&text) {
            Ok(exact) => Ok((Operand::Decimal(exact.to_string()), Kind::Number)),
            Err(_) => Err(Error::new(lit.span(), "this is no decimal: up to 28 digits, and no exponent")),
        }
    };
    match lit {
        Lit::Int(whole) if whole.suffix().is_empty() => number(whole.base10_digits()),
        Lit::Float(float) if float.suffix().is_empty() => number(float.base10_digits()),
        Lit::Int(whole) => typed(whole.suffix()),
        Lit::Float(float) => typed(float.suffix()),
        Lit::Bool(value) => Ok((Operand::Bool(value.value), Kind::Bool)),
        Lit::Str(text) if text.value().len() <= TEXT_BYTES_MAX => Ok((Operand::Text(text.value()), Kind::Text)),
        Lit::Str(text) => {
            Err(Error::new(text.span(), format!("a text in a condition has at most {TEXT_BYTES_MAX} bytes")))
        }
        other => Err(Error::new(
            other.span(),
            "a condition knows whole numbers, decimals, texts in `\"`, `true` and `false`",
        )),
    }
}

/// Without the parentheses around it.
fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(inner) => bare(&inner.expr),
        Expr::Group(inner) => bare(&inner.expr),
        other => other,
    }
}

fn is_self(expression: &Expr) -> bool {
    matches!(bare(expression), Expr::Path(path) if path.path.is_ident("self"))
}

fn unraw(name: &Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

fn incomparable(name: &Ident, field: &FieldDef) -> Error {
    let what = match field.kind {
        FieldKind::Timestamp => "a moment",
        FieldKind::Float => "a float",
        FieldKind::Map => "a map",
        FieldKind::List => "a list",
        _ => "a part of the message",
    };
    Error::new(
        name.span(),
        format!(
            "`{name}` is {what}, and a condition compares numbers, texts and what is true or false: look at it in the handler"
        ),
    )
}

fn absent_is_asked(expression: &Expr) -> Error {
    Error::new(
        expression.span(),
        "a condition is false as soon as it compares what is absent; whether something is, ask with `field.is_some()` or `field.is_none()`",
    )
}

/// What to write in place of Rust that a condition does not know.
fn unsupported(expression: &Expr) -> Error {
    let instead = match expression {
        Expr::Call(call) if matches!(&*call.func, Expr::Path(path) if path.path.is_ident("Some")) => {
            "compare the field itself: `brand_id == self.brand`, which is false when it is absent"
        }
        Expr::MethodCall(_) => "a field or a parameter is compared as it stands, and asked `is_some()` or `is_none()`",
        Expr::Reference(_) | Expr::Unary(ExprUnary { op: UnOp::Deref(_), .. }) => "no `&` and no `*` is needed",
        Expr::Binary(ExprBinary {
            op: BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Div(_) | BinOp::Rem(_),
            ..
        }) => "it compares, and does not calculate",
        Expr::Binary(ExprBinary { op: BinOp::BitAnd(_) | BinOp::BitOr(_), .. }) => "write `&&` or `||`",
        Expr::Assign(_) => "write `==`",
        Expr::Macro(one) if one.mac.path.is_ident("dec") => "a decimal is written alone: `amount >= 100.00`",
        Expr::Field(_) => {
            "of the rule it knows the parameters, `self.threshold`, and of an event what the pattern names"
        }
        _ => "decide the rest in the handler",
    };
    Error::new(
        expression.span(),
        format!(
            "a condition can't say this: {instead}\nit has fields that the pattern names, `self.parameter`, numbers, texts, `true`, `false`, \
             `==` `!=` `<` `<=` `>` `>=`, `&&` `||` `!`, `field.is_some()` and `field.is_none()`"
        ),
    )
}

fn depth(condition: &Condition) -> usize {
    1 + match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().map(depth).max().unwrap_or_default(),
        Condition::Not(part) => depth(part),
        _ => 0,
    }
}

fn parts(condition: &Condition) -> usize {
    1 + match condition {
        Condition::All(all) | Condition::Any(all) => all.iter().map(parts).sum(),
        Condition::Not(part) => parts(part),
        _ => 0,
    }
}

/// What the Rust of a condition needs to know of names.
struct AsRust<'a> {
    fields: &'a [FieldUse],
    params: &'a [(Ident, Kind)],
}

fn rust(condition: &Condition, names: &AsRust<'_>) -> TokenStream {
    let all = |parts: &[Condition]| -> Vec<TokenStream> { parts.iter().map(|part| rust(part, names)).collect() };
    if let Some((comparison, left, right)) = condition.comparison() {
        let (left, right) = (names.operand(left), names.operand(right));
        let sign: BinOp = syn::parse_str(comparison.sign()).expect("a sign of Rust");
        return quote!(::core::option::Option::zip(#left, #right).map(|(left, right)| left #sign right));
    }
    match condition {
        Condition::All(parts) => {
            let parts = all(parts);
            quote!(::hailer_sdk::generated::condition::all(&[#(#parts),*]))
        }
        Condition::Any(parts) => {
            let parts = all(parts);
            quote!(::hailer_sdk::generated::condition::any(&[#(#parts),*]))
        }
        Condition::Not(part) => {
            let part = rust(part, names);
            quote!(#part.map(|is: bool| !is))
        }
        Condition::Is(operand) => names.operand(operand),
        Condition::Present(name) => {
            let value = names.value(name);
            quote!(::core::option::Option::Some(#value.is_some()))
        }
        Condition::Absent(name) => {
            let value = names.value(name);
            quote!(::core::option::Option::Some(#value.is_none()))
        }
        _ => TokenStream::new(),
    }
}

impl AsRust<'_> {
    fn place(&self, name: &str) -> usize {
        self.fields.iter().position(|use_| use_.field.name == name).unwrap_or_default()
    }

    fn value(&self, name: &str) -> Ident {
        format_ident!("value_{}", self.place(name))
    }

    /// As an option of a type that Rust compares as conditions do.
    fn operand(&self, operand: &Operand) -> TokenStream {
        let some = |value: TokenStream| quote!(::core::option::Option::Some(#value));
        match operand {
            Operand::Field(name) => {
                let value = self.value(name);
                match Kind::of_field(self.fields[self.place(name)].field.kind) {
                    Some(Kind::Number) => quote!(#value.map(::hailer_sdk::Decimal::from)),
                    _ => quote!(#value),
                }
            }
            Operand::Param(name) => match self.params.iter().find(|(param, _)| unraw(param) == *name) {
                Some((param_name, kind)) => some(param("self", param_name, *kind)),
                None => TokenStream::new(),
            },
            Operand::Int(value) => some(quote!(::hailer_sdk::Decimal::from(#value))),
            Operand::Decimal(text) => some(quote!(const { ::hailer_sdk::generated::literal(#text) })),
            Operand::Text(text) => some(quote!(#text)),
            Operand::Bool(value) => some(quote!(#value)),
        }
    }
}

/// The type of a field as the Rust of a condition reads it: whatever it is, it may be absent.
pub(crate) fn read_as(field: &FieldDef) -> TokenStream {
    match field.kind {
        FieldKind::Bool => quote!(::core::option::Option<bool>),
        FieldKind::Int => quote!(::core::option::Option<i64>),
        FieldKind::Decimal => quote!(::core::option::Option<::hailer_sdk::Decimal>),
        FieldKind::Str | FieldKind::Id => quote!(::core::option::Option<&str>),
        _ => quote!(::core::option::Option<::hailer_sdk::Raw<'_>>),
    }
}

/// Where a condition can't stand.
pub(crate) fn misplaced(expression: &Expr) -> Error {
    let reason = "only a handler of an event has a condition: a timer or a merge brings no fields to ask about";
    Error::new(expression.span(), reason)
}
