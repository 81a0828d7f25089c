//! `source-host`: runs `pipeline:source` components under wasmtime and
//! delivers their events.
//!
//! ```text
//! settings ─► run ─► supervisor ─► source_runtime::source_loop
//!                                      │
//!                                 destination ─┬─► source_outputs: every output accepts the batch
//!                                              └─► dead_letter: the rejected records are on disk
//! ```
//!
//! `registry` holds what runs, and `admin` serves it: probes, metrics, a JSON API and the status
//! page.
//!
//! The sandbox, the loop and the checkpoints are `source-runtime`'s, the
//! receivers are `source-outputs`'. What a source is and offers comes from its
//! `describe`. The exceptions are `demo`, which runs the built-in component
//! against a simulated upstream, `migrate`, the status page and the texts for
//! `--help` and `--version` in `cli`.

#![deny(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod command;
mod connection_check;
mod counts;
pub mod dead_letter;
#[cfg(feature = "demo")]
pub mod demo;
mod description;
mod descriptor_limit;
mod destination;
mod fleet;
mod heartbeat;
mod hourly;
pub mod log;
pub mod progress;
pub mod registry;
pub mod report;
mod rewind;
pub mod run;
mod service_manager;
pub mod settings;
pub mod source;
pub mod source_file;
mod supervisor;
