//! Names of members: those that are expected, and the order in which they stand.

/// Sees the names of an object's members in a text, one after the other.
pub trait Keys<'t> {
    /// If `rest` begins with the name expected next, in quotes and with a colon behind it, the
    /// length of the name alone: it counts as seen.
    fn expected(&mut self, rest: &[u8]) -> Option<usize>;

    /// Sees a name that was not expected, without quotes, escapes as they stand.
    fn found(&mut self, key: &'t str, escaped: bool);

    /// The names seen stand in strictly ascending order and have no escapes.
    fn is_sorted(&self) -> bool;
}

/// Expects nothing and only looks at the order.
#[derive(Default)]
pub(super) struct Order<'t> {
    previous: Option<&'t str>,
    is_broken: bool,
}

impl<'t> Keys<'t> for Order<'t> {
    fn expected(&mut self, _rest: &[u8]) -> Option<usize> {
        None
    }

    fn found(&mut self, key: &'t str, escaped: bool) {
        self.is_broken |= escaped || self.previous.is_some_and(|previous| previous >= key);
        self.previous = Some(key);
    }

    fn is_sorted(&self) -> bool {
        !self.is_broken
    }
}
