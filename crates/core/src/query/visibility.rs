//! Who may see what: asked for everything that an evaluation uses.

use crate::index::{AttrSlot, Row, TripleIndex};

/// Decides what a reader may see. An evaluation asks before it filters on, walks through or returns
/// an entity or a value, so that what is hidden cannot show by its effects either.
///
/// An implementation that decides by data records what it looked at on its own.
pub trait Visibility {
    /// Whether everything is visible, so that nothing needs asking.
    const ALL: bool = false;

    /// Whether an entity may be seen in the namespace whose `id` attribute this is.
    fn sees_entity(&self, index: &TripleIndex, namespace: AttrSlot, row: &Row) -> bool;

    /// Whether what a visible entity holds under an attribute may be seen.
    fn sees_value(&self, index: &TripleIndex, row: &Row, attr: AttrSlot) -> bool;
}

/// Sees everything: administrators, and everyone in an app without rules.
#[derive(Clone, Copy, Default, Debug)]
pub struct AllVisible;

impl Visibility for AllVisible {
    const ALL: bool = true;

    fn sees_entity(&self, _: &TripleIndex, _: AttrSlot, _: &Row) -> bool {
        true
    }

    fn sees_value(&self, _: &TripleIndex, _: &Row, _: AttrSlot) -> bool {
        true
    }
}
