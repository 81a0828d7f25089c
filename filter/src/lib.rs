//! The normalizer as a WASM filter of Fluent Bit (`filter_wasm` with `event_format json`).
//!
//! Fluent Bit calls one of the functions of [`exports`] once for each record, with the tag, the time
//! and the record as JSON, and replaces the record by the JSON object that comes back. A
//! [`Filter`] makes that object:
//!
//! * The tag `mimecast.STREAM` names the stream, and otherwise the member [`STREAM_MEMBER`].
//! * A record of the one member `log` is a line that no parser has read: the line is the record.
//! * What cannot be normalized comes back as it was, with the reason in [`ERROR_MEMBER`].
//!
//! `docs/fluent-bit-filter.md` is for users.

pub mod exports;
mod filter;

pub use filter::{ERROR_MEMBER, Filter, STREAM_MEMBER};
