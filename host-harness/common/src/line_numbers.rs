//! Maps the keys of a settings file to their line numbers, for error messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

/// The line numbers of a table's keys and of the tables in it. The default has none, for a table
/// that is not from a file.
#[derive(Clone, Debug, Default)]
pub struct KeyLineNumbers {
    /// The line of the table itself; 0 where it is unknown.
    line: usize,
    /// Shared, since the tables of thousands of sources are cloned.
    keys: Arc<BTreeMap<String, Self>>,
    /// The lines of the elements, where the value is a list.
    elements: Arc<[Self]>,
}

impl KeyLineNumbers {
    /// Parses the lines of a whole file. Empty for a file with a syntax error.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line_feeds: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| {
            line_feeds
                .partition_point(|line_feed| *line_feed < at)
                .saturating_add(1)
        };
        match DeTable::parse(text) {
            Ok(table) => Self {
                line: 0,
                ..Self::of_table(table.get_ref(), &line)
            },
            Err(_) => Self::default(),
        }
    }

    fn of_table(table: &DeTable<'_>, line: &dyn Fn(usize) -> usize) -> Self {
        let mut keys = BTreeMap::new();
        for (key, value) in table {
            let of_value = Self {
                line: line(key.span().start),
                ..Self::of_value(value.get_ref(), line)
            };
            keys.insert(key.get_ref().to_string(), of_value);
        }
        Self {
            keys: Arc::new(keys),
            ..Self::default()
        }
    }

    fn of_value(value: &DeValue<'_>, line: &dyn Fn(usize) -> usize) -> Self {
        if let Some(table) = value.as_table() {
            return Self::of_table(table, line);
        }
        let elements = value.as_array().into_iter().flatten();
        Self {
            elements: elements
                .map(|element| Self {
                    line: line(element.span().start),
                    ..Self::of_value(element.get_ref(), line)
                })
                .collect(),
            ..Self::default()
        }
    }

    /// Returns the line of a key, or of the table where it has no such key.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<usize> {
        let line = self.keys.get(key).map_or(self.line, |lines| lines.line);
        (line > 0).then_some(line)
    }

    /// Returns the lines of the table at a key.
    #[must_use]
    pub fn table(&self, key: &str) -> Self {
        self.keys.get(key).cloned().unwrap_or_default()
    }

    /// Returns the lines of an element of the list at a key, such as a `[[source]]`.
    #[must_use]
    pub fn element(&self, key: &str, index: usize) -> Self {
        let list = self.keys.get(key);
        let element = list.and_then(|lines| lines.elements.get(index));
        element.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tables_and_lists_have_their_lines() {
        let lines = KeyLineNumbers::parse(
            "a = 1\n\n[[source]]\nname = \"x\"\n[source.settings]\nb = [\n  1,\n]\n[[source]]\nc.d = 2\n",
        );
        assert_eq!(lines.line("a"), Some(1));
        assert_eq!(lines.line("missing"), None, "the file as a whole");
        let first = lines.element("source", 0);
        assert_eq!(
            (first.line("name"), first.line("missing")),
            (Some(4), Some(3))
        );
        let settings = first.table("settings");
        assert_eq!(
            (settings.line("b"), settings.line("missing")),
            (Some(6), Some(5))
        );
        assert_eq!(lines.element("source", 1).table("c").line("d"), Some(10));
        assert_eq!(lines.element("source", 2).line("name"), None);
        assert_eq!(KeyLineNumbers::parse("a = ").line("a"), None);
    }
}
