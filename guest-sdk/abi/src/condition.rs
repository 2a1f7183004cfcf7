//! The condition of a handler: the host calls the handler only if it is true. `docs/abi.md`,
//! "Conditions", describes it.
//!
//! There is one syntax tree: the macros write it, the manifest carries it, and messages to people
//! are made from it, so people read exactly the condition that is evaluated. A condition compares
//! typed values and combines the results. It does not calculate, so it cannot overflow, and it has
//! no loops, so it ends.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::manifest::{Field, FieldKind, Param, ParamKind};
use crate::value::{Value, elements};

/// The largest number of levels of a condition.
pub const DEPTH_MAX: usize = 16;
/// The largest number of parts of a condition: comparisons, checks for presence, and operators that
/// combine parts.
pub const PARTS_MAX: usize = 64;
/// The longest string in a condition, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// A condition. Its result is true, false, or unknown because a field is absent; unknown does not
/// match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// `a && b && c`; at least two parts.
    All(Vec<Condition>),
    /// `a || b || c`; at least two parts.
    Any(Vec<Condition>),
    /// `!a`
    Not(Box<Condition>),
    /// A boolean field or parameter by itself.
    Is(Operand),
    /// `field.is_some()`
    Present(String),
    /// `field.is_none()`
    Absent(String),
    Eq(Operand, Operand),
    Ne(Operand, Operand),
    Lt(Operand, Operand),
    Le(Operand, Operand),
    Gt(Operand, Operand),
    Ge(Operand, Operand),
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// A field of the handler, by its name.
    Field(String),
    /// A parameter of the rule, by its name.
    Param(String),
    Int(i64),
    /// A decimal, written as in the manifest.
    Decimal(String),
    Text(String),
    Bool(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// The kind of a value. Only values of the same kind can be compared. Whole numbers and decimals
/// are one kind, and so are strings and ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Number,
    Text,
}

impl Kind {
    /// The kind of a field; `None` if a condition cannot compare such fields.
    #[must_use]
    pub fn of_field(kind: FieldKind) -> Option<Kind> {
        match kind {
            FieldKind::Bool => Some(Kind::Bool),
            FieldKind::Int | FieldKind::Decimal => Some(Kind::Number),
            FieldKind::Str | FieldKind::Id => Some(Kind::Text),
            FieldKind::Float
            | FieldKind::Timestamp
            | FieldKind::Map
            | FieldKind::List
            | FieldKind::Raw => None,
        }
    }

    /// The kind of a parameter; `None` if a condition cannot compare such parameters.
    #[must_use]
    pub fn of_param(kind: ParamKind) -> Option<Kind> {
        match kind {
            ParamKind::Bool => Some(Kind::Bool),
            ParamKind::Int | ParamKind::Decimal => Some(Kind::Number),
            ParamKind::Str => Some(Kind::Text),
            ParamKind::Strs | ParamKind::Decimals | ParamKind::StrMap | ParamKind::DecimalMap => {
                None
            }
        }
    }

    /// The name of the kind in messages, after "is".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::Text => "text",
        }
    }
}

impl Comparison {
    /// The operator in Rust.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::Eq => "==",
            Comparison::Ne => "!=",
            Comparison::Lt => "<",
            Comparison::Le => "<=",
            Comparison::Gt => ">",
            Comparison::Ge => ">=",
        }
    }

    /// Makes the condition that compares two operands.
    #[must_use]
    pub fn of(self, left: Operand, right: Operand) -> Condition {
        match self {
            Comparison::Eq => Condition::Eq(left, right),
            Comparison::Ne => Condition::Ne(left, right),
            Comparison::Lt => Condition::Lt(left, right),
            Comparison::Le => Condition::Le(left, right),
            Comparison::Gt => Condition::Gt(left, right),
            Comparison::Ge => Condition::Ge(left, right),
        }
    }

    /// Whether the comparison needs values that have an order.
    #[must_use]
    pub fn needs_order(self) -> bool {
        !matches!(self, Comparison::Eq | Comparison::Ne)
    }
}

impl Condition {
    /// The comparison and its operands; `None` if the condition is not a comparison.
    #[must_use]
    pub fn comparison(&self) -> Option<(Comparison, &Operand, &Operand)> {
        Some(match self {
            Condition::Eq(left, right) => (Comparison::Eq, left, right),
            Condition::Ne(left, right) => (Comparison::Ne, left, right),
            Condition::Lt(left, right) => (Comparison::Lt, left, right),
            Condition::Le(left, right) => (Comparison::Le, left, right),
            Condition::Gt(left, right) => (Comparison::Gt, left, right),
            Condition::Ge(left, right) => (Comparison::Ge, left, right),
            _ => return None,
        })
    }

    /// Checks the bounds and the types of the condition, for a handler with these fields and a rule
    /// with these parameters.
    ///
    /// # Errors
    /// The first problem. The text may contain names and values from the untrusted manifest.
    pub fn check(&self, fields: &[Field], params: &[Param]) -> Result<(), String> {
        let mut parts = 0;
        Checker { fields, params }.condition(self, 1, &mut parts)
    }

    /// The condition with the values of a campaign's parameters in place of their names. `params`
    /// is the input of `hailer_configure`. `None` if it does not fit the schema.
    #[must_use]
    pub fn with_params(&self, schema: &[Param], params: &[u8]) -> Option<Condition> {
        let values = elements(params)?;
        let literal = |name: &String| {
            let at = schema.iter().position(|param| param.name == *name)?;
            Some(match Value::read(values.get(at)?)? {
                Value::Bool(value) => Operand::Bool(value),
                Value::Int(value) => Operand::Int(value),
                Value::Decimal(value) => Operand::Decimal(value.to_string()),
                Value::Text(text) => Operand::Text(std::str::from_utf8(text).ok()?.to_owned()),
            })
        };
        self.replaced(&|operand| match operand {
            Operand::Param(name) => literal(name),
            other => Some(other.clone()),
        })
    }

    fn replaced(&self, by: &impl Fn(&Operand) -> Option<Operand>) -> Option<Condition> {
        let all = |parts: &[Condition]| {
            parts.iter().map(|part| part.replaced(by)).collect::<Option<Vec<_>>>()
        };
        if let Some((comparison, left, right)) = self.comparison() {
            return Some(comparison.of(by(left)?, by(right)?));
        }
        Some(match self {
            Condition::All(parts) => Condition::All(all(parts)?),
            Condition::Any(parts) => Condition::Any(all(parts)?),
            Condition::Not(part) => Condition::Not(Box::new(part.replaced(by)?)),
            Condition::Is(operand) => Condition::Is(by(operand)?),
            other => other.clone(),
        })
    }
}

/// Reads the decimal of an operand: an optional sign, digits, and an optional point between digits.
pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_framed =
        digits.starts_with(|first: char| first.is_ascii_digit()) && !digits.ends_with('.');
    (is_plain && is_framed && digits.len() <= 64)
        .then(|| Decimal::from_str_exact(text).ok())
        .flatten()
}

struct Checker<'a> {
    fields: &'a [Field],
    params: &'a [Param],
}

impl Checker<'_> {
    fn condition(
        &self,
        condition: &Condition,
        depth: usize,
        parts: &mut usize,
    ) -> Result<(), String> {
        *parts += 1;
        if *parts > PARTS_MAX {
            return Err(format!("it has more than {PARTS_MAX} parts"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("it has more than {DEPTH_MAX} levels"));
        }
        match condition {
            Condition::All(all) | Condition::Any(all) if all.len() < 2 => {
                Err("`all` or `any` has fewer than two parts".into())
            }
            Condition::All(all) | Condition::Any(all) => {
                all.iter().try_for_each(|part| self.condition(part, depth + 1, parts))
            }
            Condition::Not(part) => self.condition(part, depth + 1, parts),
            Condition::Is(operand) => match self.kind(operand)? {
                Kind::Bool => Ok(()),
                other => Err(format!("`{operand}` is {}, not a boolean", other.name())),
            },
            Condition::Present(name) | Condition::Absent(name) => self.field(name).map(drop),
            compared => match compared.comparison() {
                Some((comparison, left, right)) => self.comparison(comparison, left, right),
                None => Ok(()),
            },
        }
    }

    fn comparison(
        &self,
        comparison: Comparison,
        left: &Operand,
        right: &Operand,
    ) -> Result<(), String> {
        match (self.kind(left)?, self.kind(right)?) {
            (one, other) if one != other => {
                Err(format!("`{left}` is {} and `{right}` is {}", one.name(), other.name()))
            }
            (Kind::Bool, _) if comparison.needs_order() => {
                Err(format!("booleans have no order: `{left} {} {right}`", comparison.sign()))
            }
            _ => Ok(()),
        }
    }

    fn kind(&self, operand: &Operand) -> Result<Kind, String> {
        match operand {
            Operand::Field(name) => {
                let field = self.field(name)?;
                Kind::of_field(field.kind)
                    .ok_or_else(|| format!("a condition can't compare the type of field `{name}`"))
            }
            Operand::Param(name) => {
                let param = self.params.iter().find(|param| param.name == *name);
                let param = param.ok_or_else(|| format!("the rule has no parameter `{name}`"))?;
                Kind::of_param(param.kind).ok_or_else(|| {
                    format!("a condition can't compare the type of parameter `{name}`")
                })
            }
            Operand::Decimal(text) if decimal(text).is_none() => {
                Err(format!("`{text}` is not a decimal"))
            }
            Operand::Text(text) if text.len() > TEXT_BYTES_MAX => {
                let length = text.len();
                Err(format!("a string has {length} bytes; the limit is {TEXT_BYTES_MAX}"))
            }
            Operand::Int(_) | Operand::Decimal(_) => Ok(Kind::Number),
            Operand::Text(_) => Ok(Kind::Text),
            Operand::Bool(_) => Ok(Kind::Bool),
        }
    }

    fn field(&self, name: &str) -> Result<&Field, String> {
        let field = self.fields.iter().find(|field| field.name == name);
        field.ok_or_else(|| format!("the handler does not read a field `{name}`"))
    }
}

/// Writes the condition as an author would, with as few parentheses as possible.
impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |formatter: &mut fmt::Formatter<'_>, parts: &[Condition], sign: &str| {
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    write!(formatter, " {sign} ")?;
                }
                let binds_tighter = match part {
                    Condition::All(_) => sign == "||",
                    Condition::Any(_) => false,
                    _ => true,
                };
                if binds_tighter {
                    write!(formatter, "{part}")?
                } else {
                    write!(formatter, "({part})")?
                }
            }
            Ok(())
        };
        match self {
            Condition::All(parts) => joined(formatter, parts, "&&"),
            Condition::Any(parts) => joined(formatter, parts, "||"),
            Condition::Not(part) => match **part {
                Condition::Is(_) | Condition::Present(_) | Condition::Absent(_) => {
                    write!(formatter, "!{part}")
                }
                _ => write!(formatter, "!({part})"),
            },
            Condition::Is(operand) => operand.fmt(formatter),
            Condition::Present(name) => write!(formatter, "{name}.is_some()"),
            Condition::Absent(name) => write!(formatter, "{name}.is_none()"),
            compared => match compared.comparison() {
                Some((comparison, left, right)) => {
                    write!(formatter, "{left} {} {right}", comparison.sign())
                }
                None => Ok(()),
            },
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Field(name) => formatter.write_str(name),
            Operand::Param(name) => write!(formatter, "self.{name}"),
            Operand::Int(value) => value.fmt(formatter),
            Operand::Decimal(text) => formatter.write_str(text),
            // Escaped, so that no string can end its quotes or the line.
            Operand::Text(text) => write!(formatter, "{text:?}"),
            Operand::Bool(value) => value.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests;
