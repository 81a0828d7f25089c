//! What may go wrong around a host: its disk, its components, its process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail fast"
)]

mod components;
mod disk;
mod process;
mod running;
#[path = "../setup/mod.rs"]
mod setup;
