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
