//! Log files: their names, both of their forms, and the archives they come in.

use std::io::Write as _;

use flate2::{Compression, Crc, write::DeflateEncoder};
use serde_json::{Value, json};

use super::LegacyConfig;
use super::records::{self, TYPES};
use crate::random::Random;
use crate::time::UtcTime;

/// One log file.
#[derive(Debug)]
pub(super) struct LogFile {
    /// The name without what follows the dot.
    pub(super) stem: String,
    pub(super) records: Vec<Value>,
    pub(super) malformed: bool,
}

impl LogFile {
    pub(super) fn new(config: &LegacyConfig, number: u64, now_ms: i64) -> Self {
        let index = usize::try_from(number).unwrap_or(0);
        let kind = TYPES.iter().cycle().nth(index % TYPES.len()).copied();
        let kind = kind.unwrap_or("receipt");
        let at_ms = now_ms - 3_600_000;
        let first = number * u64::from(config.records_per_file);
        let numbers = first..first + u64::from(config.records_per_file);
        let draw = Random::new(config.seed, "legacy malformed", &[number]).below(100);
        let compact: String = UtcTime::new(at_ms)
            .iso_ms()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        Self {
            stem: format!("{kind}_{compact}{number:05}"),
            records: numbers
                .map(|number| records::record(config.seed, kind, number, at_ms))
                .collect(),
            malformed: draw < u64::from(config.malformed_percent),
        }
    }

    /// Returns the name.
    pub(super) fn name(&self, as_key_value: bool) -> String {
        let extension = if as_key_value { "txt" } else { "json" };
        format!("{}.{extension}", self.stem)
    }

    /// Returns the contents. A malformed file ends early, as has been observed
    /// (elastic/integrations#5053).
    pub(super) fn content(&self, as_key_value: bool) -> Vec<u8> {
        if self.malformed {
            return b"{ \"type\" : \"MTA\", \"data\" : ".to_vec();
        }
        if !as_key_value {
            return json!({"type": "MTA", "data": self.records})
                .to_string()
                .into_bytes();
        }
        self.records
            .iter()
            .flat_map(|record| line(record).into_bytes())
            .collect()
    }
}

/// Formats a record as a line of pairs; texts that people write are between backslashes.
fn line(record: &Value) -> String {
    let pairs = record
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) if key == "Subject" => format!("\\{text}\\"),
                Value::String(text) => text.clone(),
                Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    value.to_string()
                }
            };
            format!("{key}={text}")
        });
    pairs.collect::<Vec<_>>().join("|") + "\n"
}

/// Packs files into an archive. Every other one has its sizes after the data.
pub(super) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (number, (name, content)) in files.iter().enumerate() {
        let streamed = number % 2 == 1;
        let offset = length(&out);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        // Writing into memory does not fail.
        let _ = encoder.write_all(content);
        let data = encoder.finish().unwrap_or_default();
        let mut crc = Crc::new();
        crc.update(content);
        let sizes = [crc.sum(), length(&data), length(content)];
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        let name_bytes = u16::try_from(name.len()).unwrap_or(0).to_le_bytes();
        let flags = [if streamed { 8 } else { 0 }, 0];
        let head = [&[20, 0], &flags[..], &[8, 0, 0, 0, 0, 0]].concat();
        out.extend(b"PK\x03\x04");
        out.extend(&head);
        if streamed {
            out.extend([0; 12]);
        } else {
            out.extend(&sizes);
        }
        out.extend(name_bytes);
        out.extend([0, 0]);
        out.extend(name.as_bytes());
        out.extend(&data);
        if streamed {
            out.extend(b"PK\x07\x08");
            out.extend(&sizes);
        }
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&head);
        directory.extend(&sizes);
        directory.extend(name_bytes);
        directory.extend([0; 12]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let count = u16::try_from(files.len()).unwrap_or(u16::MAX).to_le_bytes();
    let (at, size) = (length(&out), length(&directory));
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count);
    out.extend(count);
    out.extend(size.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
