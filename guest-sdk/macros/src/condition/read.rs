//! Converts the author's Rust expression to a condition, and checks the kinds of what it compares.

use hailer_abi::catalogue::{EventType, FieldDef};
use hailer_abi::condition::{Comparison, Condition, Kind, Operand, TEXT_BYTES_MAX};
use hailer_abi::manifest::FieldKind;
use syn::spanned::Spanned;
use syn::{
    BinOp, Error, Expr, ExprBinary, ExprField, ExprLit, ExprMethodCall, ExprUnary, Ident, Lit,
    Member, Pat, Result, UnOp,
};

use super::errors::{comparison_with_none, incomparable, unsupported};
use super::unraw;
use crate::naming::{columns, did_you_mean};
use crate::pattern::FieldUse;

pub(super) struct Parser<'a> {
    event: &'static EventType,
    fields: &'a [FieldUse],
    /// The parameters that the condition names, each with its span and the kind that it must have.
    pub(super) params: Vec<(Ident, Kind)>,
    /// The fields that the condition names, as indices into the pattern's fields.
    pub(super) named: Vec<usize>,
}

/// One side of a comparison. `kind` is `None` for a parameter, whose type only the compiler knows.
struct Side<'e> {
    operand: Operand,
    kind: Option<Kind>,
    param: Option<Ident>,
    expression: &'e Expr,
}

impl<'a> Parser<'a> {
    pub(super) fn new(event: &'static EventType, fields: &'a [FieldUse]) -> Parser<'a> {
        Parser { event, fields, params: Vec::new(), named: Vec::new() }
    }

    pub(super) fn condition(&mut self, expression: &Expr) -> Result<Condition> {
        match without_parentheses(expression) {
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(ExprUnary { op: UnOp::Not(_), expr, .. }) => {
                Ok(Condition::Not(Box::new(self.condition(expr)?)))
            }
            Expr::MethodCall(call) => self.presence(call),
            Expr::Lit(literal) => Err(Error::new(
                literal.span(),
                "this is the same for every event; without `#[when]` a handler is always called",
            )),
            other => {
                let side = self.side(other)?;
                match side.kind {
                    Some(Kind::Bool) => {}
                    Some(kind) => {
                        let (operand, example) =
                            (&side.operand, if kind == Kind::Text { "\"…\"" } else { "100" });
                        return Err(Error::new(
                            other.span(),
                            format!(
                                "`{operand}` is {}, not a boolean: compare it, as in `{operand} == \
                                 {example}`",
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
                // Convert both sides first, so that all errors are shown together.
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
        let kind = common_kind(&left, &right, binary)?;
        if kind == Kind::Bool && comparison.needs_order() {
            return Err(Error::new(
                binary.op.span(),
                "booleans have no order: use `==`, `!=` or `!`",
            ));
        }
        for param in [left.param, right.param].into_iter().flatten() {
            self.params.push((param, kind));
        }
        Ok(comparison.of(left.operand, right.operand))
    }

    /// Converts `field.is_some()` or `field.is_none()`.
    fn presence(&mut self, call: &ExprMethodCall) -> Result<Condition> {
        let is_some = call.method == "is_some";
        let of_field = match without_parentheses(&call.receiver) {
            Expr::Path(path) => path.path.get_ident(),
            _ => None,
        };
        let (Some(name), true) =
            (of_field, (is_some || call.method == "is_none") && call.args.is_empty())
        else {
            return Err(unsupported(&Expr::MethodCall(call.clone())));
        };
        let field = self.field(name)?;
        if field.required {
            let reason =
                format!("every `{}` has `{}`: leave this check out", self.event.name, field.name);
            return Err(Error::new(call.span(), reason));
        }
        if matches!(field.kind, FieldKind::List | FieldKind::Map) {
            let reason = "an absent list or map is empty, and a condition can't check that: check \
                          it in the handler";
            return Err(Error::new(call.span(), reason));
        }
        let name = field.name.to_owned();
        Ok(if is_some { Condition::Present(name) } else { Condition::Absent(name) })
    }

    fn side<'e>(&mut self, expression: &'e Expr) -> Result<Side<'e>> {
        let side = |operand, kind| Ok(Side { operand, kind: Some(kind), param: None, expression });
        match without_parentheses(expression) {
            Expr::Field(ExprField { base, member: Member::Named(name), .. }) if is_self(base) => {
                let operand = Operand::Param(unraw(name));
                Ok(Side { operand, kind: None, param: Some(name.clone()), expression })
            }
            Expr::Path(path) => {
                let Some(name) = path.path.get_ident() else { return Err(unsupported(expression)) };
                if name == "None" {
                    return Err(comparison_with_none(expression));
                }
                let field = self.field(name)?;
                let kind = Kind::of_field(field.kind).ok_or_else(|| incomparable(name, field))?;
                side(Operand::Field(field.name.to_owned()), kind)
            }
            Expr::Lit(ExprLit { lit, .. }) => {
                literal(lit, "").and_then(|(operand, kind)| side(operand, kind))
            }
            Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => {
                match without_parentheses(expr) {
                    Expr::Lit(ExprLit { lit: lit @ (Lit::Int(_) | Lit::Float(_)), .. }) => {
                        literal(lit, "-").and_then(|(operand, kind)| side(operand, kind))
                    }
                    _ => Err(unsupported(expression)),
                }
            }
            other => Err(unsupported(other)),
        }
    }

    /// The field that the handler's pattern binds to this name.
    fn field(&mut self, name: &Ident) -> Result<&'static FieldDef> {
        let bound_as = |use_: &FieldUse| match &use_.binding {
            Pat::Ident(bound) => Some(bound.ident.clone()),
            _ => None,
        };
        if let Some(at) =
            self.fields.iter().position(|use_| bound_as(use_).is_some_and(|bound| bound == *name))
        {
            self.named.push(at);
            return Ok(self.fields[at].field);
        }
        let event = self.event.name;
        let renamed = self.fields.iter().find(|use_| name == use_.field.name).and_then(bound_as);
        let reason = match (renamed, self.event.field(&unraw(name))) {
            (Some(renamed), _) => {
                format!("the pattern renames `{name}` to `{renamed}`: write `{renamed}`")
            }
            (None, Some(_)) => format!(
                "the pattern does not name `{name}`, and a condition can use only the fields that \
                 it names: write `{event} {{ {name}, .. }}`"
            ),
            (None, None) => {
                let names: Vec<String> = self
                    .fields
                    .iter()
                    .filter_map(bound_as)
                    .map(|bound| bound.to_string())
                    .collect();
                let all = names
                    .iter()
                    .map(String::as_str)
                    .chain(self.event.fields.iter().map(|field| field.name));
                let meant = did_you_mean(&name.to_string(), all);
                let named = if names.is_empty() {
                    "\nthe pattern names no field".to_owned()
                } else {
                    format!("\nthe pattern names:{}", columns(names.iter().map(String::as_str)))
                };
                format!(
                    "`{event}` has no field `{name}`{meant}\nwrite a parameter as \
                     `self.{name}`{named}"
                )
            }
        };
        Err(Error::new(name.span(), reason))
    }
}

/// The kind that both sides have.
fn common_kind(left: &Side<'_>, right: &Side<'_>, binary: &ExprBinary) -> Result<Kind> {
    let is_literal =
        |side: &Side<'_>| side.param.is_none() && !matches!(side.operand, Operand::Field(_));
    if is_literal(left) && is_literal(right) {
        return Err(Error::new_spanned(
            binary,
            "this is the same for every event: compare a field or a parameter",
        ));
    }
    match (left.kind, right.kind) {
        (Some(one), Some(other)) if one != other => {
            let (known, wrong) = if is_literal(left) { (right, left) } else { (left, right) };
            let (kind, found) = if is_literal(left) { (other, one) } else { (one, other) };
            let hint = match (&wrong.operand, kind) {
                (Operand::Int(number), Kind::Text) => {
                    format!(": ids are text, so write it in quotes, `\"{number}\"`")
                }
                (Operand::Text(text), Kind::Number) if is_decimal(text) => {
                    format!(": write it without quotes, `{text}`")
                }
                _ => String::new(),
            };
            let reason = format!(
                "`{}` is {}, and this is {}{hint}",
                known.operand,
                kind.name(),
                found.name()
            );
            Err(Error::new(wrong.expression.span(), reason))
        }
        (Some(kind), _) | (None, Some(kind)) => Ok(kind),
        (None, None) => Err(Error::new_spanned(
            binary,
            "two parameters are the same for every event: compare a parameter with a field, or \
             check them in `#[configure]`",
        )),
    }
}

fn is_decimal(text: &str) -> bool {
    rust_decimal::Decimal::from_str_exact(text).is_ok()
}

fn literal(lit: &Lit, sign: &str) -> Result<(Operand, Kind)> {
    let typed = |suffix: &str| {
        let reason = format!(
            "write the number without its type `{suffix}`: a condition compares numbers by value"
        );
        Err(Error::new(lit.span(), reason))
    };
    let number = |digits: &str| {
        let text = format!("{sign}{digits}");
        if let Ok(whole) = text.parse() {
            return Ok((Operand::Int(whole), Kind::Number));
        }
        match rust_decimal::Decimal::from_str_exact(&text) {
            Ok(exact) => Ok((Operand::Decimal(exact.to_string()), Kind::Number)),
            Err(_) => Err(Error::new(lit.span(), "a decimal has up to 28 digits and no exponent")),
        }
    };
    match lit {
        Lit::Int(whole) if whole.suffix().is_empty() => number(whole.base10_digits()),
        Lit::Float(float) if float.suffix().is_empty() => number(float.base10_digits()),
        Lit::Int(whole) => typed(whole.suffix()),
        Lit::Float(float) => typed(float.suffix()),
        Lit::Bool(value) => Ok((Operand::Bool(value.value), Kind::Bool)),
        Lit::Str(text) if text.value().len() <= TEXT_BYTES_MAX => {
            Ok((Operand::Text(text.value()), Kind::Text))
        }
        Lit::Str(text) => Err(Error::new(
            text.span(),
            format!("a string in a condition can have at most {TEXT_BYTES_MAX} bytes"),
        )),
        other => Err(Error::new(
            other.span(),
            "a condition supports whole numbers, decimals, strings in `\"`, `true` and `false`",
        )),
    }
}

/// The expression without the parentheses around it.
fn without_parentheses(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(inner) => without_parentheses(&inner.expr),
        Expr::Group(inner) => without_parentheses(&inner.expr),
        other => other,
    }
}

fn is_self(expression: &Expr) -> bool {
    matches!(without_parentheses(expression), Expr::Path(path) if path.path.is_ident("self"))
}
