//! `source-host`: runs `pipeline:source` components under wasmtime and
//! delivers their events.
//!
//! ```text
//! settings ─► run ─► source_loop ─► engine::Instance ─► outgoing ─► the upstream
//!                        │               (sandbox)     (allow_list, address_gate)
//!                        ├─► output::Outputs   every output accepts the batch, then
//!                        ├─► dead_letter       the rejected records are on disk, then
//!                        └─► store             the checkpoint moves: here and nowhere else
//! ```
//!
//! The host owns the loop, the limits, the origin of secrets, the delivery and
//! the checkpoints. It knows nothing of any vendor: what a source is and
//! offers comes from its `describe`. The one exception is [`demo`], which runs
//! the built-in component against a simulated upstream.

#![deny(unsafe_code)]

pub mod address_gate;
pub mod allow_list;
pub mod backoff;
pub mod batch;
pub mod bindings;
pub mod cli;
pub mod command;
pub mod dead_letter;
pub mod demo;
mod description;
mod descriptors;
mod disk;
pub mod engine;
pub mod exit;
pub mod log;
pub mod outgoing;
pub mod output;
pub mod progress;
pub mod rate_limit;
pub mod run;
pub mod secret;
pub mod settings;
pub mod shutdown;
pub mod source;
pub mod source_loop;
mod start;
pub mod store;
pub mod untrusted_text;
