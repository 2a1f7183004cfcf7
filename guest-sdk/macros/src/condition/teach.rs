//! What to write in place of what a condition can't say.

use hailer_abi::catalogue::FieldDef;
use hailer_abi::manifest::FieldKind;
use syn::spanned::Spanned;
use syn::{BinOp, Error, Expr, ExprBinary, ExprUnary, Ident, UnOp};

pub(super) fn incomparable(name: &Ident, field: &FieldDef) -> Error {
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

pub(super) fn absent_is_asked(expression: &Expr) -> Error {
    Error::new(
        expression.span(),
        "a condition is false as soon as it compares what is absent; whether something is, ask with `field.is_some()` or `field.is_none()`",
    )
}

/// What to write in place of Rust that a condition does not know.
pub(super) fn unsupported(expression: &Expr) -> Error {
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

/// Where a condition can't stand.
pub(crate) fn misplaced(expression: &Expr) -> Error {
    let reason = "only a handler of an event has a condition: a timer or a merge brings no fields to ask about";
    Error::new(expression.span(), reason)
}
