//! Converts comma-separated values to JSON objects, one for each row.

use core::ops::Range;

use super::lines::BYTE_ORDER_MARK;
use crate::encode::push_quoted;

/// The separators that a file may have. The first line that is not empty decides, since the feed is
/// documented as CSV and no sample is public (`mimecast-api.md` §5.11).
const SEPARATORS: [u8; 4] = *b",|;\t";

/// The rest of a longer value is left out: a quotation mark that is never closed makes one value of
/// the rest of the file.
const FIELD_BYTES_MAX: usize = 1024 * 1024;

/// A file with more rows is no feed of indicators.
const ROWS_MAX: usize = 1_000_000;

/// The first row of a file: the separator of its values, and their names.
pub struct Header {
    separator: u8,
    names: Vec<String>,
}

/// Finds the rows of a file. Returns its header, and where each row after it is; `None` where there
/// are too many. Empty rows are skipped. The rows are not converted here: as JSON they need several
/// times their memory.
#[must_use]
pub fn scan(text: &[u8]) -> Option<(Header, Vec<Range<usize>>)> {
    let mut at = if text.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let mut header = Header {
        separator: b',',
        names: Vec::new(),
    };
    let mut rows = Vec::new();
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let mut fields = Vec::new();
        let mut is_empty = true;
        let is_header = header.names.is_empty();
        if is_header {
            header.separator = separator(rest);
        }
        let length = read_row(rest, header.separator, &mut |field| {
            is_empty &= field.is_empty();
            if is_header {
                fields.push(String::from_utf8_lossy(field).into_owned());
            }
        });
        let end = at.saturating_add(length);
        if !is_empty && is_header {
            header.names = fields;
        } else if !is_empty && rows.len() == ROWS_MAX {
            return None;
        } else if !is_empty {
            rows.push(at..end);
        }
        at = end;
    }
    Some((header, rows))
}

/// Returns the separator that is most frequent in the first line.
fn separator(text: &[u8]) -> u8 {
    let line = text.split(|byte| *byte == b'\n').next();
    let line = line.unwrap_or_default();
    let count = |separator: u8| line.iter().filter(|byte| **byte == separator).count();
    SEPARATORS
        .into_iter()
        .max_by_key(|separator| (count(*separator), *separator == b','))
        .unwrap_or(b',')
}

impl Header {
    /// Returns a row as a JSON object. Values without a name get the number of their column; bytes
    /// that are not UTF-8 are replaced.
    #[must_use]
    pub fn object(&self, row: &[u8]) -> String {
        let mut object = String::from("{");
        let mut column = 0_usize;
        read_row(row, self.separator, &mut |value| {
            if column > 0 {
                object.push(',');
            }
            let name = self.names.get(column).filter(|name| !name.is_empty());
            column = column.saturating_add(1);
            match name {
                Some(name) => push_quoted(&mut object, name),
                None => push_quoted(&mut object, &format!("column{column}")),
            }
            object.push(':');
            push_quoted(&mut object, &String::from_utf8_lossy(value));
        });
        object.push('}');
        object
    }
}

fn push_bounded(field: &mut Vec<u8>, byte: u8) {
    if field.len() < FIELD_BYTES_MAX {
        field.push(byte);
    }
}

/// Reads the first row (RFC 4180), and calls `each` with its fields. Returns its length with its end
/// of line.
fn read_row(text: &[u8], separator: u8, each: &mut dyn FnMut(&[u8])) -> usize {
    let mut field = Vec::new();
    let mut is_quoted = false;
    let mut bytes = text.iter().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match *byte {
            b'"' if is_quoted && bytes.next_if(|(_, next)| **next == b'"').is_some() => {
                push_bounded(&mut field, b'"');
            }
            b'"' if is_quoted => is_quoted = false,
            b'"' if field.is_empty() => is_quoted = true,
            byte if byte == separator && !is_quoted => {
                each(&field);
                field.clear();
            }
            b'\n' if !is_quoted => {
                each(&field);
                return at.saturating_add(1);
            }
            b'\r' if !is_quoted => {}
            byte => push_bounded(&mut field, byte),
        }
    }
    each(&field);
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{FIELD_BYTES_MAX, scan};

    fn objects(text: &[u8]) -> Vec<String> {
        let (header, rows) = scan(text).unwrap();
        let rows = rows.into_iter();
        rows.map(|row| header.object(&text[row])).collect()
    }

    #[test]
    fn rows_become_objects_under_the_names_of_the_first() {
        let text = b"\xef\xbb\xbfMD5,Name\r\na1,\"x, \"\"y\"\"\nz\"\r\n\r\nb2,,extra\n";
        assert_eq!(
            objects(text),
            [
                r#"{"MD5":"a1","Name":"x, \"y\"\nz"}"#,
                r#"{"MD5":"b2","Name":"","column3":"extra"}"#
            ]
        );
        assert_eq!(
            objects(b"a|b,c|d\n1|2|3"),
            [r#"{"a":"1","b,c":"2","d":"3"}"#]
        );
        assert_eq!(objects(b"\n\r\n,,\na|b\n1|2"), [r#"{"a":"1","b":"2"}"#]);
        assert!(objects(b"").is_empty() && objects(b"only,names\n").is_empty());
        let marks = "\"\"".repeat(FIELD_BYTES_MAX + 1);
        let [object] = objects(format!("a\n\"{marks}\"\n").as_bytes())
            .try_into()
            .unwrap();
        assert_eq!(object.matches('"').count(), FIELD_BYTES_MAX + 4);
        assert_eq!(objects(b"\n\na\n\xff\"b"), ["{\"a\":\"\u{fffd}\\\"b\"}"]);
    }
}
