//! What a field can be compared with, or set to.

use std::sync::Arc;

/// A value for fields whose values are `T`: `T` itself, and `&str` where text is wanted.
#[diagnostic::on_unimplemented(
    message = "a field of `{T}` cannot be compared with, or set to, `{Self}`"
)]
pub trait Operand<T> {
    /// The value.
    fn into_operand(self) -> T;
}

impl<T> Operand<T> for T {
    fn into_operand(self) -> T {
        self
    }
}

impl Operand<String> for &str {
    fn into_operand(self) -> String {
        self.to_owned()
    }
}

impl Operand<String> for &String {
    fn into_operand(self) -> String {
        self.clone()
    }
}

impl Operand<Arc<str>> for &str {
    fn into_operand(self) -> Arc<str> {
        self.into()
    }
}
