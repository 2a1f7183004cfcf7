//! A condition prepared for evaluation: field names are resolved to indices, and parameters to
//! constants. The engine evaluates it before each call, and the SDK's tests use the same evaluator.
//!
//! It reads the fields' MessagePack in place and allocates nothing.

use std::cmp::Ordering;

use rust_decimal::Decimal;

use crate::condition::{Comparison, Condition, Operand, decimal};
use crate::manifest::{Field, Param};
use crate::value::{NIL, Value, digits, text};
use crate::wire::Digits;

/// A handler's condition with the parameters of a campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    root: Node,
    text: Box<str>,
}

/// The fields of one event, by their index in the handler's manifest.
pub trait Fields {
    /// The MessagePack of a field; `None` or nil if the field is absent.
    fn field(&self, index: usize) -> Option<&[u8]>;

    /// Whether the field is present but unusable and must not count as absent. Its presence is
    /// unknown then.
    fn is_unusable(&self, _index: usize) -> bool {
        false
    }
}

/// A test of one field against a constant. It holds only if the field is present.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The field is this text.
    Text {
        field: usize,
        is: Box<[u8]>,
    },
    Bool {
        field: usize,
        is: bool,
    },
    /// The field compares like this to the number. The comparison is never `!=`.
    Number {
        field: usize,
        comparison: Comparison,
        number: Digits,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
    Is(Input),
    Present(usize),
    Absent(usize),
    /// A comparison of a number field with a constant; most conditions are of this form.
    Number(Comparison, usize, Digits),
    /// A comparison of a text field with a constant.
    Text(Comparison, usize, Box<[u8]>),
    Compare(Comparison, Input, Input),
}

#[derive(Clone, Debug, PartialEq)]
enum Input {
    Field(usize),
    Bool(bool),
    Int(i64),
    Decimal(Decimal),
    Text(Box<[u8]>),
}

impl Guard {
    /// Prepares a condition that passed [`Condition::check`] for these fields and this schema.
    /// `params` is the input of `hailer_configure`. `None` if they do not fit together.
    #[must_use]
    pub fn new(
        condition: &Condition,
        fields: &[Field],
        schema: &[Param],
        params: &[u8],
    ) -> Option<Guard> {
        let decided = folded(condition.with_params(schema, params)?)?;
        // If the parameters alone decide the result, the original condition explains more.
        let text =
            if constant(&decided).is_some() { condition.to_string() } else { decided.to_string() };
        Some(Guard { root: node(&decided, fields)?, text: text.into() })
    }

    /// Whether the condition is true, so that the handler is called.
    #[must_use]
    pub fn matches(&self, fields: &impl Fields) -> bool {
        self.answer(fields) == Some(true)
    }

    /// The result of the condition; `None` is unknown.
    #[must_use]
    pub fn answer(&self, fields: &impl Fields) -> Option<bool> {
        self.root.answer(fields)
    }

    /// Tests of which at least one holds whenever the condition is true, for an index of many
    /// conditions. An empty list means that the condition is never true. `None` if the condition
    /// has no such tests.
    #[must_use]
    pub fn tests(&self) -> Option<Vec<Test>> {
        self.root.tests(true)
    }

    /// The condition as text, with the values of the parameters, and without the parts that they
    /// decide.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The condition without the parts that are the same for every event: `"" == "" || brand == ""`
/// becomes true. `None` if two constants cannot be compared.
fn folded(condition: Condition) -> Option<Condition> {
    if let Some((comparison, left, right)) = condition.comparison() {
        return Some(match (literal(left), literal(right)) {
            (Some(left), Some(right)) => {
                Condition::Is(Operand::Bool(comparison.holds(order(left, right)?)))
            }
            _ => condition,
        });
    }
    let combined = |parts: Vec<Condition>, decisive: bool| {
        let mut left = Vec::new();
        for part in parts {
            match folded(part)? {
                part if constant(&part) == Some(decisive) => {
                    return Some(Condition::Is(Operand::Bool(decisive)));
                }
                part if constant(&part).is_some() => {}
                part => left.push(part),
            }
        }
        Some(match (left.len(), decisive) {
            (0, _) => Condition::Is(Operand::Bool(!decisive)),
            (1, _) => left.remove(0),
            (_, true) => Condition::Any(left),
            (_, false) => Condition::All(left),
        })
    };
    match condition {
        Condition::All(parts) => combined(parts, false),
        Condition::Any(parts) => combined(parts, true),
        Condition::Not(part) => {
            let part = folded(*part)?;
            Some(match constant(&part) {
                Some(is) => Condition::Is(Operand::Bool(!is)),
                None => Condition::Not(Box::new(part)),
            })
        }
        other => Some(other),
    }
}

fn constant(condition: &Condition) -> Option<bool> {
    match condition {
        Condition::Is(Operand::Bool(is)) => Some(*is),
        _ => None,
    }
}

fn literal(operand: &Operand) -> Option<Value<'_>> {
    match operand {
        Operand::Int(value) => Some(Value::Int(*value)),
        Operand::Decimal(text) => decimal(text).map(Value::Decimal),
        Operand::Text(text) => Some(Value::Text(text.as_bytes())),
        Operand::Bool(value) => Some(Value::Bool(*value)),
        Operand::Field(_) | Operand::Param(_) => None,
    }
}

fn node(condition: &Condition, fields: &[Field]) -> Option<Node> {
    let place = |name: &String| fields.iter().position(|field| field.name == *name);
    let input = |operand: &Operand| {
        Some(match operand {
            Operand::Field(name) => Input::Field(place(name)?),
            Operand::Param(_) => return None,
            Operand::Int(value) => Input::Int(*value),
            Operand::Decimal(text) => Input::Decimal(decimal(text)?),
            Operand::Text(text) => Input::Text(text.as_bytes().into()),
            Operand::Bool(value) => Input::Bool(*value),
        })
    };
    let all = |parts: &[Condition]| {
        parts.iter().map(|part| node(part, fields)).collect::<Option<Box<[Node]>>>()
    };
    if let Some((comparison, left, right)) = condition.comparison() {
        return Some(match (input(left)?, input(right)?) {
            (Input::Field(field), constant) if !matches!(constant, Input::Field(_)) => {
                with_constant(comparison, field, constant)
            }
            (constant, Input::Field(field)) if !matches!(constant, Input::Field(_)) => {
                with_constant(comparison.swapped(), field, constant)
            }
            (left, right) => Node::Compare(comparison, left, right),
        });
    }
    Some(match condition {
        Condition::All(parts) => Node::All(all(parts)?),
        Condition::Any(parts) => Node::Any(all(parts)?),
        Condition::Not(part) => Node::Not(Box::new(node(part, fields)?)),
        Condition::Is(operand) => Node::Is(input(operand)?),
        Condition::Present(name) => Node::Present(place(name)?),
        Condition::Absent(name) => Node::Absent(place(name)?),
        _ => return None,
    })
}

fn with_constant(comparison: Comparison, field: usize, constant: Input) -> Node {
    match constant {
        Input::Int(value) => {
            Node::Number(comparison, field, Digits { mantissa: value.into(), scale: 0 })
        }
        Input::Decimal(value) => Node::Number(
            comparison,
            field,
            Digits { mantissa: value.mantissa(), scale: value.scale() },
        ),
        Input::Text(text) => Node::Text(comparison, field, text),
        constant => Node::Compare(comparison, Input::Field(field), constant),
    }
}

impl Node {
    /// The result; `None` is unknown, because a field is absent.
    fn answer(&self, fields: &impl Fields) -> Option<bool> {
        match self {
            Node::All(parts) => decided_by(false, parts, fields),
            Node::Any(parts) => decided_by(true, parts, fields),
            Node::Not(part) => part.answer(fields).map(|answer| !answer),
            Node::Is(input) => match input.value(fields)? {
                Value::Bool(value) => Some(value),
                _ => None,
            },
            Node::Present(field) => is_there(*field, fields),
            Node::Absent(field) => is_there(*field, fields).map(|is_there| !is_there),
            Node::Number(comparison, field, constant) => {
                Some(comparison.holds(by_value(digits(fields.field(*field)?)?, *constant)))
            }
            Node::Text(comparison, field, constant) => {
                let text = text(fields.field(*field)?)?;
                Some(match comparison {
                    Comparison::Eq => text == &**constant,
                    Comparison::Ne => text != &**constant,
                    _ => comparison.holds(text.cmp(constant)),
                })
            }
            Node::Compare(comparison, left, right) => {
                let order = order(left.value(fields)?, right.value(fields)?)?;
                Some(comparison.holds(order))
            }
        }
    }
}

impl Node {
    /// Tests of which at least one holds whenever the result is `wanted`.
    fn tests(&self, wanted: bool) -> Option<Vec<Test>> {
        let one = |test| Some(vec![test]);
        match self {
            Node::All(parts) if wanted => fewest(parts, wanted),
            Node::Any(parts) if !wanted => fewest(parts, wanted),
            Node::All(parts) | Node::Any(parts) => {
                let tests: Option<Vec<_>> = parts.iter().map(|part| part.tests(wanted)).collect();
                tests.map(|tests| tests.concat())
            }
            Node::Not(part) => part.tests(!wanted),
            Node::Is(Input::Field(field)) => one(Test::Bool { field: *field, is: wanted }),
            Node::Is(Input::Bool(is)) if *is != wanted => Some(Vec::new()),
            Node::Number(comparison, field, number) => {
                let comparison = if wanted { *comparison } else { comparison.negated() };
                let test = Test::Number { field: *field, comparison, number: *number };
                if comparison == Comparison::Ne { None } else { one(test) }
            }
            Node::Text(Comparison::Eq, field, is) if wanted => {
                one(Test::Text { field: *field, is: is.clone() })
            }
            Node::Text(Comparison::Ne, field, is) if !wanted => {
                one(Test::Text { field: *field, is: is.clone() })
            }
            Node::Compare(
                comparison @ (Comparison::Eq | Comparison::Ne),
                Input::Field(field),
                Input::Bool(constant),
            ) => {
                let is_same = (*comparison == Comparison::Eq) == wanted;
                one(Test::Bool { field: *field, is: *constant == is_same })
            }
            Node::Is(_) | Node::Text(..) | Node::Compare(..) => None,
            Node::Present(_) | Node::Absent(_) => None,
        }
    }
}

/// The tests of the part whose tests hold for the fewest events, as far as that can be known: a
/// field has one value, and many values are above a number.
fn fewest(parts: &[Node], wanted: bool) -> Option<Vec<Test>> {
    let weight = |test: &Test| match test {
        Test::Text { .. } | Test::Number { comparison: Comparison::Eq, .. } => 1,
        Test::Bool { .. } | Test::Number { .. } => 16,
    };
    let tests = parts.iter().filter_map(|part| part.tests(wanted));
    tests.min_by_key(|tests| tests.iter().map(weight).sum::<usize>())
}

/// Combines the results of parts: one part with the `decisive` result decides, otherwise all must
/// be known.
fn decided_by(decisive: bool, parts: &[Node], fields: &impl Fields) -> Option<bool> {
    let mut answer = Some(!decisive);
    for part in parts {
        match part.answer(fields) {
            Some(found) if found == decisive => return Some(decisive),
            Some(_) => {}
            None => answer = None,
        }
    }
    answer
}

fn is_there(field: usize, fields: &impl Fields) -> Option<bool> {
    let is_there =
        fields.field(field).is_some_and(|value| value.first().is_some_and(|tag| *tag != NIL));
    (is_there || !fields.is_unusable(field)).then_some(is_there)
}

impl Input {
    fn value<'a>(&'a self, fields: &'a impl Fields) -> Option<Value<'a>> {
        match self {
            Input::Field(field) => Value::read(fields.field(*field)?),
            Input::Bool(value) => Some(Value::Bool(*value)),
            Input::Int(value) => Some(Value::Int(*value)),
            Input::Decimal(value) => Some(Value::Decimal(*value)),
            Input::Text(text) => Some(Value::Text(text)),
        }
    }
}

/// Compares numbers by value and text by bytes; `None` if the kinds differ, which a checked
/// condition excludes.
fn order(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(&right)),
        (Value::Decimal(left), Value::Decimal(right)) => Some(left.cmp(&right)),
        (Value::Decimal(left), Value::Int(right)) => Some(left.cmp(&right.into())),
        (Value::Int(left), Value::Decimal(right)) => Some(Decimal::from(left).cmp(&right)),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(&right)),
        _ => None,
    }
}

/// Compares two numbers as `Decimal` does, but faster: a 96-bit number with up to nine more digits
/// fits an `i128`.
#[inline]
#[must_use]
pub fn by_value(left: Digits, right: Digits) -> Ordering {
    const MORE: [i128; 10] =
        [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
    if left.scale == right.scale {
        return left.mantissa.cmp(&right.mantissa);
    }
    match (MORE.get(left.scale.abs_diff(right.scale) as usize), left.scale < right.scale) {
        (Some(more), true) => (left.mantissa * more).cmp(&right.mantissa),
        (Some(more), false) => left.mantissa.cmp(&(right.mantissa * more)),
        (None, _) => {
            let decimal =
                |digits: Digits| Decimal::from_i128_with_scale(digits.mantissa, digits.scale);
            decimal(left).cmp(&decimal(right))
        }
    }
}

impl Comparison {
    /// The comparison that is equivalent if the two sides are swapped.
    fn swapped(self) -> Comparison {
        match self {
            Comparison::Lt => Comparison::Gt,
            Comparison::Le => Comparison::Ge,
            Comparison::Gt => Comparison::Lt,
            Comparison::Ge => Comparison::Le,
            same @ (Comparison::Eq | Comparison::Ne) => same,
        }
    }

    /// The comparison that holds when this one does not.
    fn negated(self) -> Comparison {
        match self {
            Comparison::Lt => Comparison::Ge,
            Comparison::Le => Comparison::Gt,
            Comparison::Gt => Comparison::Le,
            Comparison::Ge => Comparison::Lt,
            Comparison::Eq => Comparison::Ne,
            Comparison::Ne => Comparison::Eq,
        }
    }

    #[inline]
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Eq => order.is_eq(),
            Comparison::Ne => order.is_ne(),
            Comparison::Lt => order.is_lt(),
            Comparison::Le => order.is_le(),
            Comparison::Gt => order.is_gt(),
            Comparison::Ge => order.is_ge(),
        }
    }
}

/// The elements of an array, as [`elements`](crate::value::elements) returns them.
impl Fields for Vec<&[u8]> {
    fn field(&self, index: usize) -> Option<&[u8]> {
        self.get(index).copied()
    }
}

#[cfg(test)]
mod tests;
