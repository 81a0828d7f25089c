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
//! A host polls. [`session::Session`] chooses the stream that is most due and says what to send; the
//! driver sends it and hands over the answer. A stream of [`streams`] reads the answer as pages,
//! files or windows; each record in it becomes an event, a rejected record or a duplicate of
//! [`batch::Builder`], and is counted. When the batch is full, the quota is used up or nothing is due,
//! the poll returns, with a [`checkpoint`] from which any instance goes on.
//!
//! To read it, begin with [`machine`], then [`session`], then [`streams`].
//!
//! # Non-goals
//!
//! * It does no I/O, reads no clock and draws no random number: a driver hands all of that in. The
//!   one for WASI is the module `wasi`; the one for tests is a scripted upstream.
//! * It does not sleep and does not retry in place. It says when to call again.
//! * It stores nothing. What lives from poll to poll in an instance is only an optimization.
//! * It skips nothing silently: what is not an event is rejected, a duplicate, or a notice with a count.
//! * It does not panic on what comes from outside, and takes nothing from there without a limit.
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
