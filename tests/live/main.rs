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
mod host_fixture;
#[expect(dead_code, reason = "the day makes its tokens and pages itself")]
#[path = "../mock_upstream/mod.rs"]
mod mock_upstream;
#[path = "../setup/mod.rs"]
mod setup;
