//! Bytes to records: nothing is decided here.

pub mod csv;
pub mod fail;
pub mod json;
pub mod lines;
pub mod unescape;
pub mod zip;
