//! Text tables with aligned columns, fitted to the terminal width.

use std::io::IsTerminal;

use console::Term;

const GAP: &str = "  ";
/// Minimum width of the last column; with less it is moved to separate lines.
const LAST_COLUMN_MIN: usize = 24;
const INDENT: &str = "    ";

/// Rows of equal length; the first is the header.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that may be omitted, the first of them first.
    optional: Vec<usize>,
    last_column_fit: LastColumnFit,
}

/// A column that is shown.
struct Column {
    /// Index of the column in a row.
    index: usize,
    width: usize,
    /// Whether every cell but the header is a number.
    is_numeric: bool,
}

/// How a last column that is too wide is fitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LastColumnFit {
    /// It is wrapped to further lines.
    Wrap,
    /// It is truncated to one line.
    Truncate,
}

/// Returns the terminal width of standard output; `None` where it is not a terminal.
pub(crate) fn terminal_width() -> Option<usize> {
    terminal_size().map(|(_, columns)| columns)
}

/// Returns the terminal's rows and columns; `None` where standard output is not a terminal.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let (rows, columns) = Term::stdout().size_checked()?;
    Some((usize::from(rows), usize::from(columns)))
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self {
            rows: vec![head],
            optional: Vec::new(),
            last_column_fit: LastColumnFit::Wrap,
        }
    }

    /// Omits these columns when space is short, the first of them first, and truncates the last
    /// column to one line.
    pub(crate) fn with_optional(self, optional: &[usize]) -> Self {
        Self {
            optional: optional.to_vec(),
            last_column_fit: LastColumnFit::Truncate,
            ..self
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Renders the table; numbers are right-aligned. `width` is the maximum line length, as
    /// far as the columns but the last allow.
    pub(crate) fn render_within(&self, width: Option<usize>) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let last = columns.saturating_sub(1);
        let mut shown: Vec<usize> = (0..columns).collect();
        let Some(width) = width else {
            return self.render_columns(&shown, None);
        };
        let wanted = self.width(last).min(LAST_COLUMN_MIN);
        for optional in &self.optional {
            if self.width_before(&shown, last).saturating_add(wanted) <= width {
                break;
            }
            shown.retain(|column| column != optional);
        }
        let room = width.saturating_sub(self.width_before(&shown, last));
        if room >= wanted {
            return self.render_columns(&shown, Some(room));
        }
        shown.retain(|column| *column != last);
        let mut text = String::new();
        let lines = self.render_columns(&shown, None);
        for (number, (row, line)) in self.rows.iter().zip(lines.lines()).enumerate() {
            text.push_str(line);
            text.push('\n');
            let cell = row.get(last);
            let cell = cell.filter(|cell| number > 0 && !cell.is_empty());
            let room = width.saturating_sub(INDENT.len());
            for part in cell.map_or_else(Vec::new, |cell| self.wrap_or_truncate(cell, room)) {
                text.push_str(INDENT);
                text.push_str(&part);
                text.push('\n');
            }
        }
        text
    }

    /// Renders the shown columns. `room` is the width of the last column.
    fn render_columns(&self, shown: &[usize], room: Option<usize>) -> String {
        let column_count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        // Computed once for all rows.
        let shown = shown.iter().map(|column| Column {
            index: *column,
            width: self.width(*column),
            is_numeric: self.is_numeric(*column),
        });
        let shown: Vec<Column> = shown.collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            let mut continuation = Vec::new();
            for column in &shown {
                let Some(cell) = row.get(column.index) else {
                    continue;
                };
                let padding = " ".repeat(column.width.saturating_sub(cell.chars().count()));
                if column.index.saturating_add(1) == column_count
                    && let Some(room) = room
                {
                    let mut parts = self.wrap_or_truncate(cell, room).into_iter();
                    let indent = line.chars().count();
                    line.push_str(&parts.next().unwrap_or_default());
                    continuation.extend(parts.map(|part| " ".repeat(indent) + &part));
                } else if column.is_numeric {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
                line.push_str(GAP);
            }
            text.push_str(line.trim_end());
            text.push('\n');
            for line in continuation {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// Splits or truncates a cell to lines of at most `room` characters.
    fn wrap_or_truncate(&self, cell: &str, room: usize) -> Vec<String> {
        match self.last_column_fit {
            LastColumnFit::Truncate => vec![truncate(cell, room)],
            LastColumnFit::Wrap => wrap(cell, room),
        }
    }

    /// Returns the width of the shown columns before the last.
    fn width_before(&self, shown: &[usize], last: usize) -> usize {
        let before = shown.iter().filter(|column| **column != last);
        before
            .map(|column| self.width(*column).saturating_add(GAP.len()))
            .fold(0, usize::saturating_add)
    }

    fn column(&self, column: usize) -> impl Iterator<Item = &String> {
        self.rows.iter().filter_map(move |row| row.get(column))
    }

    fn width(&self, column: usize) -> usize {
        self.column(column)
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.rows.len() > 1
            && self
                .column(column)
                .skip(1)
                .all(|cell| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

/// Truncates a text to `room` characters, with `…` at the end if it is longer.
pub(crate) fn truncate(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut truncated: String = text.chars().take(room.saturating_sub(1)).collect();
    truncated.truncate(truncated.trim_end().len());
    truncated.push('…');
    truncated
}

/// Formats a line, wrapped at spaces if it is longer than `width` characters.
pub(crate) fn paragraph(text: &str, width: Option<usize>) -> String {
    let lines = match width {
        Some(width) => wrap(text, width),
        None => vec![text.to_owned()],
    };
    lines.join("\n") + "\n"
}

/// Wraps a text at spaces to lines of at most `room` characters. A longer word is not broken.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let length = line.chars().count().saturating_add(word.chars().count());
        if !line.is_empty() && length.saturating_add(1) > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_to_the_left_and_numbers_to_the_right() {
        let mut table = Table::new(&["stream", "events"]);
        table.row(vec!["siem.receipt".to_owned(), "7".to_owned()]);
        table.row(vec!["audit".to_owned(), "12345".to_owned()]);
        assert_eq!(
            table.render_within(None),
            "stream        events\nsiem.receipt       7\naudit          12345\n"
        );
    }

    fn table(optional: &[usize]) -> Table {
        let table = Table::new(&["stream", "received", "events", "message"]);
        let mut table = if optional.is_empty() {
            table
        } else {
            table.with_optional(optional)
        };
        for (stream, message) in [
            ("audit", "failing: HTTP 503, retried in ten minutes"),
            ("siem.receipt", ""),
        ] {
            let row = [stream, "123456", "123456", message];
            table.row(row.map(str::to_owned).to_vec());
        }
        table
    }

    #[test]
    fn a_table_that_fits_is_not_changed() {
        for optional in [&[][..], &[1]] {
            let table = table(optional);
            assert_eq!(table.render_within(Some(80)), table.render_within(None));
        }
    }

    #[test]
    fn without_room_the_last_column_is_wrapped_within_itself() {
        assert_eq!(
            table(&[]).render_within(Some(60)),
            "stream        received  events  message\n\
             audit           123456  123456  failing: HTTP 503, retried\n\
             \x20                               in ten minutes\n\
             siem.receipt    123456  123456\n"
        );
        assert_eq!(
            table(&[]).render_within(Some(40)),
            "stream        received  events\n\
             audit           123456  123456\n    failing: HTTP 503, retried in ten\n    minutes\n\
             siem.receipt    123456  123456\n"
        );
    }

    #[test]
    fn without_room_optional_columns_are_left_out_and_the_last_is_cut() {
        assert_eq!(
            table(&[1, 2]).render_within(Some(48)),
            "stream        events  message\n\
             audit         123456  failing: HTTP 503, retrie…\n\
             siem.receipt  123456\n"
        );
        for width in 14..100 {
            let text = table(&[1, 2]).render_within(Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}: {text}");
        }
    }
}
