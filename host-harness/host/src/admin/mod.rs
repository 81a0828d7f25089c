//! The admin server: probes, metrics, a JSON API and the status page. What it shows comes from the
//! [`Registry`](crate::registry::Registry), what it changes goes through [`Control`].
//! `docs/admin.md` has the routes and who may use them.
//!
//! It must never hold collection up: connections, requests and their bodies have limits, reports of
//! many sources are made on threads of their own, a few at a time.

mod access;
mod answer;
mod api;
mod control;
mod form;
mod history;
mod metrics;
mod page;
mod probes;
mod server;
mod tls;

pub use self::control::{Control, ControlError};
pub use self::server::{AdminHost, AdminServer, RunningAdminServer};

#[cfg(test)]
mod tests;
