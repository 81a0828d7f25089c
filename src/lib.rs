//! Mimecast security events as a `pipeline:source` component: a pure core, and a thin driver.
//!
//! ```text
//!              settings, checkpoint, now
//!                        │
//!                        ▼
//!   ┌───────────────► session ──────────────► batch: events, rejected records, notices,
//!   │                 │     ▲                        counts, checkpoint, when to call again
//!   │         request │     │ response
//!   │                 ▼     │
//!   │            driver (wasi, or a test)
//!   │
//!   └─ streams ─► decode ─► record ─► identity ─► normalize ─► encode
//!      pages,     lines,    fields    128 bits    tables       JSON
//!      windows    errors
//! ```
//!
//! A host polls. [`session::Session`] chooses the stream that is most due and returns the request to
//! send; the driver sends it and passes the response back. A reader of [`streams`] reads the response as pages,
//! files or windows; each record in it becomes an event, a rejected record or a duplicate of
//! [`batch::Builder`], and is counted. When the batch is full, the quota is used up or nothing is due,
//! the poll returns, with a [`checkpoint`] from which any instance continues.
//!
//! To read it, begin with [`machine`], then [`session`], then [`streams`].
//!
//! # Non-goals
//!
//! * It does no I/O, reads no clock and draws no random number: a driver passes all of that in. The
//!   one for WASI is the module `wasi`; the one for tests is a scripted upstream.
//! * It does not sleep and does not retry in place. It returns when to call again.
//! * It stores nothing. The state that an instance keeps between two polls is only an optimization.
//! * It skips nothing silently: what is not an event is rejected, a duplicate, or a notice with a count.
//! * It does not panic on input from outside, and takes none without a limit.
//! * It does not show a secret: neither in a checkpoint, nor in an error, a notice or a debug form.

pub mod api;
pub mod auth;
pub mod batch;
pub mod check;
pub mod checkpoint;
pub mod correlate;
pub mod decode;
pub mod encode;
pub mod field;
pub mod identity;
mod legacy_keys;
pub mod machine;
pub mod normalize;
pub mod poll_error;
pub mod record;
pub mod redact;
pub mod request;
pub mod response;
pub mod retry;
pub mod rewind;
pub mod saved_session;
pub mod scan;
pub mod secret;
pub mod seen_ids;
pub mod session;
pub mod settings;
pub mod stall;
pub mod stream;
pub mod streams;
#[cfg(test)]
mod testing;
pub mod time;
#[cfg(all(target_family = "wasm", target_env = "p2"))]
mod wasi;
