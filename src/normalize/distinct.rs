//! Lists of distinct values, each a range of the output.

use std::collections::BTreeSet;

/// The most values in a list that a row writes from one field. Real messages have at most hundreds of recipients; a field
/// with more values than this is unmapped as well, and `parse_errors` names it.
pub(super) const VALUES_MAX: usize = 10_000;

/// Up to this many values a linear search is faster than a set.
const LINEAR_SEARCH_MAX: usize = 16;

/// A value in the output.
pub(super) trait OutputText {
    /// Returns the kind of the value: only values of one kind are compared.
    fn kind(&self) -> u8;

    /// Returns its range in the output.
    fn range(&self) -> (usize, usize);
}

impl OutputText for (usize, usize) {
    fn kind(&self) -> u8 {
        0
    }

    fn range(&self) -> (usize, usize) {
        *self
    }
}

/// Values in the order in which they came, each once. Adding one takes logarithmic time.
pub(super) struct Distinct<T> {
    values: Vec<T>,
    /// Their texts, where there are more than [`LINEAR_SEARCH_MAX`].
    texts: BTreeSet<(u8, Box<[u8]>)>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            texts: BTreeSet::new(),
        }
    }
}

impl<T: OutputText> Distinct<T> {
    /// Adds a value, unless its text is there already. Returns whether it is new.
    #[inline]
    pub(super) fn add(&mut self, out: &str, value: T) -> bool {
        let is_new = if self.values.len() <= LINEAR_SEARCH_MAX {
            let mut earlier = self.values.iter();
            let text = text_of(out, &value);
            !earlier.any(|earlier| earlier.kind() == value.kind() && text_of(out, earlier) == text)
        } else {
            self.add_text(out, &value)
        };
        if is_new {
            self.values.push(value);
        }
        is_new
    }

    #[cold]
    fn add_text(&mut self, out: &str, value: &T) -> bool {
        let key = |value: &T| (value.kind(), Box::from(text_of(out, value)));
        if self.texts.is_empty() {
            self.texts.extend(self.values.iter().map(key));
        }
        self.texts.insert(key(value))
    }
}

impl<T> Distinct<T> {
    pub(super) fn clear(&mut self) {
        self.values.clear();
        if !self.texts.is_empty() {
            self.texts.clear();
        }
    }

    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// Returns whether the list has the greatest number of values.
    pub(super) const fn is_full(&self) -> bool {
        self.values.len() >= VALUES_MAX
    }
}

#[inline]
fn text_of<'o>(out: &'o str, value: &impl OutputText) -> &'o [u8] {
    let (start, end) = value.range();
    out.as_bytes().get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_once_and_in_their_order() {
        let words: Vec<String> = (0..60).map(|n| format!("{}", n % 40)).collect();
        let mut out = String::new();
        let mut distinct = Distinct::default();
        let mut added = Vec::new();
        for word in &words {
            let start = out.len();
            out.push_str(word);
            if distinct.add(&out, (start, out.len())) {
                added.push(word.clone());
            }
        }
        assert_eq!(added, words[..40]);
        assert_eq!(distinct.values().len(), 40);
        distinct.clear();
        assert!(distinct.values().is_empty() && distinct.add(&out, (0, 1)));
    }
}
