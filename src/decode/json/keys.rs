//! Names of members: those that are expected, and the order in which they stand.

/// Follows the names of an object's members in a text, one after the other.
pub trait KeyTracker<'t> {
    /// Returns the length of the name that is expected next, if `rest` begins with it in quotes and a
    /// colon. The name then counts as seen.
    fn match_expected(&mut self, rest: &[u8]) -> Option<usize>;

    /// Records a name that was not expected, without quotes and with its escapes.
    fn push_unexpected(&mut self, key: &'t str, escaped: bool);

    /// Returns whether the names seen are in strictly ascending order and have no escapes.
    fn is_sorted(&self) -> bool;
}

/// Expects no name, and checks only the order.
#[derive(Default)]
pub(super) struct KeyOrder<'t> {
    previous: Option<&'t str>,
    is_broken: bool,
}

impl<'t> KeyTracker<'t> for KeyOrder<'t> {
    fn match_expected(&mut self, _rest: &[u8]) -> Option<usize> {
        None
    }

    fn push_unexpected(&mut self, key: &'t str, escaped: bool) {
        self.is_broken |= escaped || self.previous.is_some_and(|previous| previous >= key);
        self.previous = Some(key);
    }

    fn is_sorted(&self) -> bool {
        !self.is_broken
    }
}
