//! OCSF's observables: the values that investigations search for, with their path in the event.

use super::distinct::{Distinct, OutputText};
use super::mapping::FieldStep;
use super::writer::EventWriter;
use crate::scan::plain_prefix_len;

/// A value that was written: its type, its path in the event, and its range in the text.
#[derive(Clone, Copy)]
pub(super) struct Observable {
    type_id: u8,
    path: &'static str,
    start: usize,
    end: usize,
}

impl OutputText for Observable {
    fn kind(&self) -> u8 {
        self.type_id
    }

    fn range(&self) -> (usize, usize) {
        (self.start, self.end)
    }
}

/// Records the text, or the texts of the list, that a row has written from `start` on.
pub(super) fn add_written(writer: &mut EventWriter<'_, '_>, row: &FieldStep, start: usize) {
    let (path, type_id) = (row.path, row.observable_type);
    let first = start + row.key.len();
    let end = writer.out.len().saturating_sub(1);
    let bytes = writer.out.as_bytes();
    if bytes.get(first) == Some(&b'"') {
        // One text, and no list.
        return add_text(writer, type_id, path, (first + 1, end.saturating_sub(1)));
    }
    let mut at = first;
    // Between the texts there are only brackets and commas.
    while at < end {
        if bytes.get(at) != Some(&b'"') {
            at += 1;
            continue;
        }
        let close = closing_quote(bytes, at + 1).unwrap_or(end);
        push(
            &mut writer.buffers.observables,
            Observable {
                type_id,
                path,
                start: at + 1,
                end: close,
            },
            writer.out,
        );
        at = close + 1;
    }
}

/// Records a text in the output.
pub(super) fn add_text(
    writer: &mut EventWriter<'_, '_>,
    type_id: u8,
    path: &'static str,
    range: (usize, usize),
) {
    let (start, end) = range;
    push(
        &mut writer.buffers.observables,
        Observable {
            type_id,
            path,
            start,
            end,
        },
        writer.out,
    );
}

fn push(observed: &mut Distinct<Observable>, new: Observable, out: &str) {
    if new.end > new.start {
        observed.add(out, new);
    }
}

fn closing_quote(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += plain_prefix_len(bytes.get(at..)?).0;
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Writes the list of observables.
pub(super) fn write(writer: &mut EventWriter<'_, '_>, key: &str) {
    if writer.buffers.observables.values().is_empty() {
        return;
    }
    writer.out.push_str(key);
    writer.out.push('[');
    for observed in writer.buffers.observables.values() {
        writer.out.push_str("{\"type_id\":");
        super::convert::push_number(writer.out, i64::from(observed.type_id));
        if !observed.path.is_empty() {
            writer.out.push_str(",\"name\":\"");
            writer.out.push_str(observed.path);
            writer.out.push('"');
        }
        writer.out.push_str(",\"value\":\"");
        writer.out.extend_from_within(observed.start..observed.end);
        writer.out.push_str("\"},");
    }
    writer.out.pop();
    writer.out.push_str("],");
}
