//! A record, the line of a batch file that it becomes, and its identity.

use serde_json::Value;

use crate::identity::{Identity, is_transport_key, of_canonical, write_canonical};
use crate::random::Random;

/// The fields of a record, in the order of writing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    fields: Vec<(&'static str, Value)>,
}

/// How a record is written. A reader must treat all formats alike.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordFormat {
    /// Keys from last to first.
    pub(crate) reversed: bool,
    /// White space after colons and commas.
    pub(crate) spaced: bool,
    /// Every character beyond ASCII as `\uXXXX`.
    pub(crate) ascii: bool,
}

impl Record {
    /// Adds or replaces a field.
    pub(crate) fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.fields.iter_mut().find(|(other, _)| *other == key) {
            Some((_, old)) => *old = value,
            None => self.fields.push((key, value)),
        }
    }

    /// Adds a field without a value, in one of the three ways of the API.
    pub(crate) fn put_empty_value(
        &mut self,
        key: &'static str,
        random: &mut Random,
        odd_shapes: bool,
    ) {
        match if odd_shapes { random.below(4) } else { 0 } {
            0 | 1 => self.put(key, Value::Null),
            2 => self.put(key, ""),
            _ => {}
        }
    }

    /// Adds a field with the value, or without one.
    pub(crate) fn put_value_or_empty(
        &mut self,
        key: &'static str,
        value: Option<impl Into<Value>>,
        random: &mut Random,
        odd_shapes: bool,
    ) {
        match value {
            Some(value) => self.put(key, value),
            None => self.put_empty_value(key, random, odd_shapes),
        }
    }

    /// Removes a field.
    pub(crate) fn remove(&mut self, key: &str) {
        self.fields.retain(|(other, _)| *other != key);
    }

    /// Returns the value of a field.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(other, _)| *other == key)
            .map(|(_, value)| value)
    }

    /// Returns all fields, in the order of writing.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.fields.iter().map(|(key, value)| (*key, value))
    }

    /// Returns the identity of the record in a stream.
    pub(crate) fn identity(&self, stream: &str) -> Identity {
        of_canonical(stream, &self.canonical())
    }

    /// Estimates how many bytes the line will have.
    pub(crate) fn line_bytes(&self) -> usize {
        let mut text = Vec::new();
        self.fields
            .iter()
            .map(|(key, value)| {
                text.clear();
                write_canonical(&mut text, value);
                key.len() + 4 + text.len()
            })
            .sum::<usize>()
            + 2
    }

    /// Appends the record as one line, without its end, and returns its identity.
    pub(crate) fn write(&self, line: &mut Vec<u8>, format: RecordFormat, stream: &str) -> Identity {
        let mut fields: Vec<(&str, Vec<u8>)> = Vec::with_capacity(self.fields.len());
        for (key, value) in &self.fields {
            let mut text = Vec::new();
            write_canonical(&mut text, value);
            fields.push((key, text));
        }
        if format.reversed {
            fields.reverse();
        }
        write_fields(line, fields.iter(), format);
        of_canonical(stream, &canonical(fields))
    }

    /// Returns the text that the identity is computed over.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        let fields = self.fields.iter().map(|(key, value)| {
            let mut text = Vec::new();
            write_canonical(&mut text, value);
            (*key, text)
        });
        canonical(fields.collect())
    }
}

fn canonical(mut fields: Vec<(&str, Vec<u8>)>) -> Vec<u8> {
    fields.sort_unstable_by_key(|(key, _)| *key);
    let mut text = Vec::with_capacity(1024);
    write_fields(
        &mut text,
        fields.iter().filter(|(key, _)| !is_transport_key(key)),
        RecordFormat::default(),
    );
    text
}

fn write_fields<'a>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = &'a (&'a str, Vec<u8>)>,
    format: RecordFormat,
) {
    let (comma, colon): (&[u8], &[u8]) = if format.spaced {
        (b", ", b": ")
    } else {
        (b",", b":")
    };
    out.push(b'{');
    for (index, (key, text)) in fields.enumerate() {
        if index > 0 {
            out.extend_from_slice(comma);
        }
        out.push(b'"');
        out.extend_from_slice(key.as_bytes());
        out.push(b'"');
        out.extend_from_slice(colon);
        if format.ascii && !text.is_ascii() {
            write_ascii(out, text);
        } else {
            out.extend_from_slice(text);
        }
    }
    out.push(b'}');
}

/// Writes JSON text with every character beyond ASCII escaped; these occur only in strings.
fn write_ascii(out: &mut Vec<u8>, text: &[u8]) {
    for character in String::from_utf8_lossy(text).chars() {
        if character.is_ascii() {
            out.extend(u8::try_from(character));
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{hex, identity};

    #[test]
    fn the_form_of_a_line_does_not_change_the_identity() {
        let mut record = Record::default();
        record.put("subject", "\u{1f389} \"é\"\\\u{2028}");
        record.put(
            "nested",
            serde_json::json!({"b": [1, {"z": null, "a": true}], "a": "x"}),
        );
        record.put("_offset", 9);
        for bits in 0..8 {
            let format = RecordFormat {
                reversed: bits & 1 > 0,
                spaced: bits & 2 > 0,
                ascii: bits & 4 > 0,
            };
            let mut line = Vec::new();
            let written = record.write(&mut line, format, "siem.spam");
            let parsed: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(identity("siem.spam", &parsed), Some(hex(&written)));
            assert_eq!(line.is_ascii(), format.ascii);
        }
    }
}
