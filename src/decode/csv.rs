//! Converts comma-separated values to JSON objects, one for each row.

use crate::encode::push_quoted;

/// The separators that a file may have. The first line decides, since the feed is documented as CSV
/// and no sample is public (`mimecast-api.md` §5.11).
const SEPARATORS: [char; 4] = [',', '|', ';', '\t'];

/// Returns one JSON object for each row, with the names of the first row. Empty rows are skipped;
/// values without a name get the number of their column.
#[must_use]
pub fn objects(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let separator = SEPARATORS
        .into_iter()
        .max_by_key(|separator| (first.matches(*separator).count(), *separator == ','))
        .unwrap_or(',');
    let mut rows = rows(text, separator).into_iter();
    let names = rows.next().unwrap_or_default();
    let object = |row: Vec<String>| {
        let mut object = String::from("{");
        for (at, value) in row.iter().enumerate() {
            if at > 0 {
                object.push(',');
            }
            match names.get(at).filter(|name| !name.is_empty()) {
                Some(name) => push_quoted(&mut object, name),
                None => push_quoted(&mut object, &format!("column{}", at.saturating_add(1))),
            }
            object.push(':');
            push_quoted(&mut object, value);
        }
        object.push('}');
        object
    };
    rows.map(object).collect()
}

/// Returns the rows and their fields (RFC 4180).
fn rows(text: &str, separator: char) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row: Vec<String> = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            c if c == separator && !quoted => row.push(core::mem::take(&mut field)),
            '\n' if !quoted => finish_row(&mut rows, &mut row, &mut field),
            '\r' if !quoted => {}
            c => field.push(c),
        }
    }
    finish_row(&mut rows, &mut row, &mut field);
    rows
}

fn finish_row(rows: &mut Vec<Vec<String>>, row: &mut Vec<String>, field: &mut String) {
    row.push(core::mem::take(field));
    let row = core::mem::take(row);
    if row.iter().any(|field| !field.is_empty()) {
        rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::objects;

    #[test]
    fn rows_become_objects_under_the_names_of_the_first() {
        let text = "\u{feff}MD5,Name\r\na1,\"x, \"\"y\"\"\nz\"\r\n\r\nb2,,extra\n";
        assert_eq!(
            objects(text),
            [
                r#"{"MD5":"a1","Name":"x, \"y\"\nz"}"#,
                r#"{"MD5":"b2","Name":"","column3":"extra"}"#
            ]
        );
        assert_eq!(
            objects("a|b,c|d\n1|2|3"),
            [r#"{"a":"1","b,c":"2","d":"3"}"#]
        );
        assert!(objects("").is_empty() && objects("only,names\n").is_empty());
    }
}
