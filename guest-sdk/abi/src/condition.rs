//! The condition of a handler: when its host is to call it at all. `docs/abi.md`, "Conditions", is the text of it.
//!
//! This is the one syntax tree: the macros write it, a manifest carries it, and what is shown to people is made of it, so that what
//! they read is what is asked. A condition is a small typed thing: it compares, and combines what it compared; it calculates nothing,
//! so that it can't overflow, and it has no loop, so that it ends.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::manifest::{Field, FieldKind, Param, ParamKind};
use crate::value::{Value, elements};

/// How deep a condition may nest.
pub const DEPTH_MAX: usize = 16;
/// How many parts it may have: comparisons, questions, and what combines them.
pub const PARTS_MAX: usize = 64;
/// The longest text that it may hold, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// What is true, false, or unknown, as something that it asks about is absent. Unknown counts as false in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// `a && b && c`; two at the least.
    All(Vec<Condition>),
    /// `a || b || c`; two at the least.
    Any(Vec<Condition>),
    /// `!a`
    Not(Box<Condition>),
    /// A field or a parameter that is true or false, as it stands.
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

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// A field of the handler, by its name.
    Field(String),
    /// A parameter of the rule, by its name.
    Param(String),
    Int(i64),
    /// As the manifest writes decimals.
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

/// What can be compared with each other. Whole numbers and decimals are one kind, and so are texts and ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Number,
    Text,
}

impl Kind {
    /// `None` if a condition can't compare such fields.
    #[must_use]
    pub fn of_field(kind: FieldKind) -> Option<Kind> {
        match kind {
            FieldKind::Bool => Some(Kind::Bool),
            FieldKind::Int | FieldKind::Decimal => Some(Kind::Number),
            FieldKind::Str | FieldKind::Id => Some(Kind::Text),
            FieldKind::Float | FieldKind::Timestamp | FieldKind::Map | FieldKind::List | FieldKind::Raw => None,
        }
    }

    /// `None` if a condition can't compare such parameters.
    #[must_use]
    pub fn of_param(kind: ParamKind) -> Option<Kind> {
        match kind {
            ParamKind::Bool => Some(Kind::Bool),
            ParamKind::Int | ParamKind::Decimal => Some(Kind::Number),
            ParamKind::Str => Some(Kind::Text),
            ParamKind::Strs | ParamKind::Decimals | ParamKind::StrMap | ParamKind::DecimalMap => None,
        }
    }

    /// With its article.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "true or false",
            Kind::Number => "a number",
            Kind::Text => "a text",
        }
    }
}

impl Comparison {
    /// As Rust writes it.
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

    /// Of two that are compared.
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

    #[must_use]
    pub fn needs_order(self) -> bool {
        !matches!(self, Comparison::Eq | Comparison::Ne)
    }
}

impl Condition {
    /// What it compares, if it is a comparison.
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

    /// Holds it to its bounds and its types, for a handler that reads these fields, of a rule with these parameters.
    ///
    /// # Errors
    /// The first thing that is wrong with it. It may hold a foreign word.
    pub fn check(&self, fields: &[Field], params: &[Param]) -> Result<(), String> {
        let mut parts = 0;
        Checker { fields, params }.condition(self, 1, &mut parts)
    }

    /// The condition with the values of a campaign's parameters in place of their names; `params` is what `hailer_configure` is given.
    /// `None` if the two don't go together.
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
        let all = |parts: &[Condition]| parts.iter().map(|part| part.replaced(by)).collect::<Option<Vec<_>>>();
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

/// The decimal that an operand writes: digits, a point among them or none, and a sign in front or none.
pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_framed = digits.starts_with(|first: char| first.is_ascii_digit()) && !digits.ends_with('.');
    (is_plain && is_framed && digits.len() <= 64).then(|| Decimal::from_str_exact(text).ok()).flatten()
}

struct Checker<'a> {
    fields: &'a [Field],
    params: &'a [Param],
}

impl Checker<'_> {
    fn condition(&self, condition: &Condition, depth: usize, parts: &mut usize) -> Result<(), String> {
        *parts += 1;
        if *parts > PARTS_MAX {
            return Err(format!("it has more than {PARTS_MAX} parts"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("it nests deeper than {DEPTH_MAX}"));
        }
        match condition {
            Condition::All(all) | Condition::Any(all) if all.len() < 2 => Err("it combines fewer than two".into()),
            Condition::All(all) | Condition::Any(all) => {
                all.iter().try_for_each(|part| self.condition(part, depth + 1, parts))
            }
            Condition::Not(part) => self.condition(part, depth + 1, parts),
            Condition::Is(operand) => match self.kind(operand)? {
                Kind::Bool => Ok(()),
                other => Err(format!("`{operand}` is {}, not true or false", other.name())),
            },
            Condition::Present(name) | Condition::Absent(name) => self.field(name).map(drop),
            compared => match compared.comparison() {
                Some((comparison, left, right)) => self.comparison(comparison, left, right),
                None => Ok(()),
            },
        }
    }

    fn comparison(&self, comparison: Comparison, left: &Operand, right: &Operand) -> Result<(), String> {
        match (self.kind(left)?, self.kind(right)?) {
            (one, other) if one != other => {
                Err(format!("`{left}` is {} and `{right}` is {}", one.name(), other.name()))
            }
            (Kind::Bool, _) if comparison.needs_order() => {
                Err(format!("true and false have no order: `{left} {} {right}`", comparison.sign()))
            }
            _ => Ok(()),
        }
    }

    fn kind(&self, operand: &Operand) -> Result<Kind, String> {
        match operand {
            Operand::Field(name) => {
                let field = self.field(name)?;
                Kind::of_field(field.kind)
                    .ok_or_else(|| format!("the field `{name}` is of a type that it can't compare"))
            }
            Operand::Param(name) => {
                let param = self.params.iter().find(|param| param.name == *name);
                let param = param.ok_or_else(|| format!("the rule has no parameter `{name}`"))?;
                Kind::of_param(param.kind)
                    .ok_or_else(|| format!("the parameter `{name}` is of a type that it can't compare"))
            }
            Operand::Decimal(text) if decimal(text).is_none() => Err(format!("`{text}` is no decimal")),
            Operand::Text(text) if text.len() > TEXT_BYTES_MAX => {
                Err(format!("a text in it has {} bytes, the most is {TEXT_BYTES_MAX}", text.len()))
            }
            Operand::Int(_) | Operand::Decimal(_) => Ok(Kind::Number),
            Operand::Text(_) => Ok(Kind::Text),
            Operand::Bool(_) => Ok(Kind::Bool),
        }
    }

    fn field(&self, name: &str) -> Result<&Field, String> {
        let field = self.fields.iter().find(|field| field.name == name);
        field.ok_or_else(|| format!("the handler reads no field `{name}`"))
    }
}

/// As an author would write it, with no parentheses but those that are needed.
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
                if binds_tighter { write!(formatter, "{part}")? } else { write!(formatter, "({part})")? }
            }
            Ok(())
        };
        match self {
            Condition::All(parts) => joined(formatter, parts, "&&"),
            Condition::Any(parts) => joined(formatter, parts, "||"),
            Condition::Not(part) => match **part {
                Condition::Is(_) | Condition::Present(_) | Condition::Absent(_) => write!(formatter, "!{part}"),
                _ => write!(formatter, "!({part})"),
            },
            Condition::Is(operand) => operand.fmt(formatter),
            Condition::Present(name) => write!(formatter, "{name}.is_some()"),
            Condition::Absent(name) => write!(formatter, "{name}.is_none()"),
            compared => match compared.comparison() {
                Some((comparison, left, right)) => write!(formatter, "{left} {} {right}", comparison.sign()),
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
            // Escaped, so that no text can end its quotes or a line.
            Operand::Text(text) => write!(formatter, "{text:?}"),
            Operand::Bool(value) => value.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests;
