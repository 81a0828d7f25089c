//! What may go wrong around a host: its disk, its components, its process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests fail fast"
)]

mod admin;
mod check;
mod compile;
mod components;
mod disk;
mod fairness;
mod hostile;
mod isolation;
mod normalize;
mod prefetch;
mod process;
mod requests;
mod rustc;
mod secrets;
mod server;
mod service;
#[path = "../setup/mod.rs"]
mod setup;
mod small_disk;
mod states;
