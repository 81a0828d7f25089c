//! A host whose sources change while it runs: by files and a reload, and through the admin server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail fast"
)]

mod api;
mod files;
mod place;
#[path = "../setup/mod.rs"]
mod setup;
