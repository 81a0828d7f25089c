//! Bytes to records: nothing is decided here.

pub mod fail;
pub mod json;
pub mod lines;
pub mod unescape;
