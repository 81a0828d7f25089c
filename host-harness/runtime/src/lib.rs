//! Runs components of the WIT package `pipeline:source`: in a sandbox, with
//! outgoing HTTP limited by an allow-list, in a loop that polls,
//! delivers and stores the checkpoint.
//!
//! ```text
//! source_loop ─► engine::Instance ─► outgoing ─► the upstream
//!      │            (sandbox)        (allow_list, address_gate)
//!      ├─► EventSink accepts the events and the rejected records, then
//!      └─► store     the checkpoint moves: here and nowhere else
//! ```
//!
//! It contains no output, command line or vendor-specific code: what a source is
//! and offers comes from its `describe`. An embedder implements
//! [`event_sink::EventSink`], makes a [`source::Source`] of a component and its
//! settings, and runs a [`source_loop::SourceLoop`].

#![deny(unsafe_code)]

pub mod address_gate;
pub mod allow_list;
pub mod batch;
pub mod bindings;
mod description;
pub mod engine;
pub mod event_sink;
pub mod lease;
pub mod outgoing;
pub mod poll_slots;
pub mod rate_limit;
pub mod shutdown;
pub mod source;
pub mod source_loop;
pub mod store;
pub mod untrusted_text;
pub mod waits;
