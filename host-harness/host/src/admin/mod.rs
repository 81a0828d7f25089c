//! The admin server: probes, metrics, a JSON API and the status page. It reads from the
//! [`Registry`](crate::registry::Registry) and makes changes through [`Control`].
//! `docs/admin.md` lists the routes and their access rules.
//!
//! It must never delay collection: connections, requests and bodies are limited, and reports of
//! many sources are made on separate threads, a few at a time.

mod access;
mod api;
mod control;
mod editable_settings;
mod history;
mod metrics;
mod page;
mod probes;
mod response;
mod server;
mod tls;

pub use self::control::{Control, ControlError, PutMode};
pub use self::server::{AdminContext, AdminServer, RunningAdminServer};
pub(crate) use self::tls::check_certificate;

#[cfg(test)]
mod tests;
