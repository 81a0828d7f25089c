//! The Rust side of `wit/`: what the host calls, and the values that cross.

#![allow(
    missing_docs,
    unreachable_pub,
    unnameable_types,
    unused_qualifications,
    single_use_lifetimes,
    clippy::all,
    clippy::as_conversions,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    reason = "generated code"
)]

// Only the exports. The imports are linked in `engine`, to wasmtime's
// implementations.
wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package source-runtime:exports;

        world event-source {
            export pipeline:source/source@0.2.0;
            export pipeline:source/normalizer@0.2.0;
        }
    ",
    world: "source-runtime:exports/event-source",
    exports: { default: async },
});

pub use self::exports::pipeline::source::normalizer::{NormalizeError, Normalized};
pub use self::pipeline::source::types::{
    Batch, CheckOutcome, CheckResult, Description, Entry, Failure, Kind, Limits, NextPoll,
    NotPermitted, Notice, NoticeKind, Order, PollError, RejectedRecord, SettingsError,
    StreamDescription, StreamState, StreamStats, StreamStatus,
};
