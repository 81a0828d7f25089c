//! Bytes to records: nothing is decided here.

pub mod json;
pub mod unescape;
