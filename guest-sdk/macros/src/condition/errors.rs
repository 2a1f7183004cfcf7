//! The errors for expressions that a condition does not support, with the replacement to write.

use hailer_abi::catalogue::FieldDef;
use hailer_abi::manifest::FieldKind;
use syn::spanned::Spanned;
use syn::{BinOp, Error, Expr, ExprBinary, ExprUnary, Ident, UnOp};

pub(super) fn incomparable(name: &Ident, field: &FieldDef) -> Error {
    let what = match field.kind {
        FieldKind::Timestamp => "a timestamp",
        FieldKind::Float => "a float",
        FieldKind::Map => "a map",
        FieldKind::List => "a list",
        _ => "raw JSON",
    };
    Error::new(
        name.span(),
        format!(
            "`{name}` is {what}, and a condition compares only numbers, text and booleans: check \
             it in the handler"
        ),
    )
}

pub(super) fn comparison_with_none(expression: &Expr) -> Error {
    Error::new(
        expression.span(),
        "a comparison with an absent field never matches; check whether a field is present with \
         `field.is_some()` or `field.is_none()`",
    )
}

/// The error for a Rust expression that a condition does not support.
pub(super) fn unsupported(expression: &Expr) -> Error {
    let instead = match expression {
        Expr::Call(call) if is_named(&call.func, "Some") => {
            "compare the field itself: `brand_id == self.brand` does not match if it is absent"
        }
        Expr::MethodCall(_) => {
            "compare a field or a parameter without calling a method on it; the only methods are \
             `is_some()` and `is_none()`"
        }
        Expr::Reference(_) | Expr::Unary(ExprUnary { op: UnOp::Deref(_), .. }) => {
            "leave out `&` and `*`"
        }
        Expr::Binary(ExprBinary {
            op: BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Div(_) | BinOp::Rem(_),
            ..
        }) => "calculate in the handler",
        Expr::Binary(ExprBinary { op: BinOp::BitAnd(_) | BinOp::BitOr(_), .. }) => {
            "write `&&` or `||`"
        }
        Expr::Assign(_) => "write `==`",
        Expr::Macro(one) if one.mac.path.is_ident("dec") => {
            "write a decimal without `dec!`: `amount >= 100.00`"
        }
        Expr::Field(_) => {
            "it can use the rule's parameters, `self.threshold`, and the fields that the pattern \
             names"
        }
        _ => "check it in the handler",
    };
    Error::new(
        expression.span(),
        format!(
            "a condition does not support this: {instead}\nit supports fields that the pattern \
             names, `self.parameter`, numbers, text, `true`, `false`, `==` `!=` `<` `<=` `>` `>=`, \
             `&&` `||` `!`, `field.is_some()` and `field.is_none()`"
        ),
    )
}

fn is_named(expression: &Expr, name: &str) -> bool {
    matches!(expression, Expr::Path(path) if path.path.is_ident(name))
}

/// The error for a condition on a timer or a merge.
pub(crate) fn misplaced(expression: &Expr) -> Error {
    let reason = "only a handler of an event can have a condition: a timer and a merge have no \
                  fields";
    Error::new(expression.span(), reason)
}
