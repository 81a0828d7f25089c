//! Each decoder by itself: for any bytes what must hold is asserted.

use std::collections::BTreeMap;

use mimecast_source::decode::json::{DEPTH_MAX, scan_object};
use mimecast_source::decode::zip::{self, Archive, ArchiveItem};
use mimecast_source::decode::{csv, key_value};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::normalize::depth;

/// A reader that takes more steps than this for such a small input does not come to an end.
const STEPS_MAX: usize = 1_000_000;
const INFLATED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A line of pairs becomes an object of texts that are no longer than the line, or nothing.
pub fn key_value(data: &[u8]) {
    let Ok(line) = core::str::from_utf8(data) else {
        return;
    };
    let mut object = "before".to_owned();
    if !key_value::push_object(line, &mut object) {
        assert_eq!(object, "before");
        return;
    }
    let object = object.strip_prefix("before").unwrap();
    let pairs = texts(object);
    let bytes: usize = pairs
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    assert!(bytes < line.len(), "{line:?}: {object}");
    assert!(
        pairs
            .iter()
            .all(|(key, value)| line.contains(key) && line.contains(value))
    );
}

/// Every row becomes an object of texts.
pub fn csv(data: &[u8]) {
    let Some((header, rows)) = csv::scan(data) else {
        return;
    };
    let mut end = 0;
    for row in rows {
        assert!(end <= row.start && row.start < row.end);
        end = row.end;
        texts(&header.object(&data[row]));
    }
    assert!(end <= data.len());
}

/// The members of an object whose values are all texts, in their order.
fn texts(object: &str) -> Vec<(String, String)> {
    let _: BTreeMap<String, String> = serde_json::from_str(object).unwrap();
    let mut members = Vec::new();
    scan_object(object, &mut members).unwrap();
    let text = |span: &str| serde_json::from_str::<String>(span).unwrap();
    let raw: Vec<(String, &RawValue)> = pairs(object);
    assert_eq!(raw.len(), members.len());
    raw.into_iter()
        .map(|(key, value)| (key, text(value.get())))
        .collect()
}

/// The members of an object, also those with the same name.
fn pairs(object: &str) -> Vec<(String, &RawValue)> {
    struct Members;

    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(object);
    serde::Deserializer::deserialize_map(&mut reader, Members).unwrap()
}

/// What the scanner accepts is JSON, and it accepts every object that is not too deep.
pub fn json(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let mut members = Vec::new();
    match scan_object(text, &mut members) {
        Ok(_) => {
            serde_json::from_str::<&RawValue>(text).unwrap();
        }
        Err(problem) => {
            let is_object = serde_json::from_str::<Value>(text).is_ok_and(|it| it.is_object());
            assert!(!is_object || depth(text) > DEPTH_MAX, "{problem:?}: {text}");
        }
    }
}

/// An archive is read to an end, and what comes out does not depend on the chunks, of which the
/// first byte is the size.
pub fn zip(data: &[u8]) {
    let Some((size, archive)) = data.split_first() else {
        return;
    };
    let whole = read(archive, archive.len().max(1));
    assert_eq!(whole, read(archive, usize::from(*size).max(1)));
    if let Ok((contents, files)) = zip::extract(archive.to_vec(), INFLATED_BYTES_MAX) {
        assert_eq!(whole.len(), 3 * files.len() + 1);
        for (found, file) in whole.chunks(3).zip(files) {
            assert!(found[0].starts_with("file "), "{found:?}");
            assert_eq!(found[1], format!("{:?}", &contents[file]));
        }
    }
}

/// Returns all items as text, with the content of each file as one.
fn read(archive: &[u8], chunk_bytes: usize) -> Vec<String> {
    let mut reader = Archive::default();
    let mut chunks = archive.chunks(chunk_bytes);
    let (mut found, mut content) = (Vec::new(), Vec::new());
    for _ in 0..STEPS_MAX {
        assert!(content.len() <= INFLATED_BYTES_MAX);
        match reader.next(&mut content) {
            ArchiveItem::Content => {}
            ArchiveItem::NeedsInput => match chunks.next() {
                Some(chunk) => reader.push(chunk.to_vec()),
                None => reader.finish(),
            },
            ArchiveItem::File(name) => {
                content.clear();
                found.push(format!("file {name:?}"));
            }
            part @ (ArchiveItem::FileEnd | ArchiveItem::FileBroken(_)) => {
                found.push(format!("{content:?}"));
                found.push(format!("{part:?}"));
                content.clear();
            }
            part @ (ArchiveItem::End | ArchiveItem::Broken(_)) => {
                found.push(format!("{content:?} {part:?}"));
                return found;
            }
        }
    }
    panic!("the reader does not come to an end");
}
