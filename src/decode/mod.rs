//! Parsers from bytes to records; they make no decisions about streams.

pub mod crc32;
pub mod csv;
pub mod gzip;
pub mod json;
pub mod key_value;
pub mod lenient;
pub mod lines;
pub mod log_files;
pub mod number;
pub mod sanitize;
pub mod unescape;
pub mod upstream_error;
pub mod zip;

use serde::Deserialize;

/// Parses JSON from a text. The core has one way of reading JSON: `serde_json` is compiled for each type
/// of input, and its `from_str` beside `from_slice` would add 12 KB to the component.
///
/// # Errors
///
/// The text is no JSON, or no `T`.
pub fn parse_json<'t, T: Deserialize<'t>>(text: &'t str) -> serde_json::Result<T> {
    serde_json::from_slice(text.as_bytes())
}
