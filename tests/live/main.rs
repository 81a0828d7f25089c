//! A host whose sources change while it runs: by files and a reload, and through the admin server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail fast, and a long test says where it is"
)]

mod api;
mod day;
mod files;
mod place;
#[path = "../setup/mod.rs"]
mod setup;
