//! A file that inflates to any size, generated from a few records that repeat.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::batch_file::{Content, FileSpec, RecordRange};
use crate::identity::of_canonical;
use crate::records::{RecordFormat, RecordGenerator};

/// A line and its canonical form, both split where the number of the record is inserted.
struct Template {
    line: (Vec<u8>, Vec<u8>),
    canonical: (Vec<u8>, Vec<u8>),
}

/// Generates records, each with another `processingId`, until there are `mib` MiB of them.
pub(crate) fn generate(generator: &RecordGenerator, spec: &FileSpec, mib: u32) -> Content {
    let stream = generator.event_type.stream();
    let templates: Vec<Template> = (0..TEMPLATES)
        .filter_map(|index| template(generator, &spec.range, index))
        .collect();
    let target_bytes = u64::from(mib) << 20;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(spec.gzip_level.min(9)));
    let mut identities = Vec::new();
    let mut plain = Vec::new();
    let mut canonical = Vec::new();
    let mut written: u64 = 0;
    let mut number: u64 = 0;
    while written < target_bytes && !templates.is_empty() {
        plain.clear();
        for template in &templates {
            let digits = format!("{number:0width$}", width = PLACEHOLDER.len());
            plain.extend_from_slice(&template.line.0);
            plain.extend_from_slice(digits.as_bytes());
            plain.extend_from_slice(&template.line.1);
            canonical.clear();
            canonical.extend_from_slice(&template.canonical.0);
            canonical.extend_from_slice(digits.as_bytes());
            canonical.extend_from_slice(&template.canonical.1);
            identities.push(of_canonical(stream, &canonical));
            number += 1;
        }
        written += u64::try_from(plain.len()).unwrap_or(0);
        // Writing to a Vec cannot fail.
        let _ = encoder.write_all(&plain);
    }
    Content {
        gzip: encoder.finish().unwrap_or_default().into(),
        identities,
        malformed: 0,
        invalid_utf8: 0,
    }
}

fn template(generator: &RecordGenerator, range: &RecordRange, index: u64) -> Option<Template> {
    let mut record = generator.record(range.first + index, range);
    record.put("processingId", PLACEHOLDER);
    let mut line = Vec::new();
    record.write(&mut line, RecordFormat::default(), "");
    line.push(b'\n');
    Some(Template {
        line: split_at_placeholder(&line)?,
        canonical: split_at_placeholder(&record.canonical())?,
    })
}

fn split_at_placeholder(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = text
        .windows(PLACEHOLDER.len())
        .position(|window| window == PLACEHOLDER.as_bytes())?;
    let (head, rest) = text.split_at_checked(at)?;
    let (_, tail) = rest.split_at_checked(PLACEHOLDER.len())?;
    Some((head.to_vec(), tail.to_vec()))
}

/// Together the templates are larger than deflate's window, so that the file compresses no better than
/// mail.
const TEMPLATES: u64 = 96;
const PLACEHOLDER: &str = "@@@@@@@@@@@@@@@@@@@@";
