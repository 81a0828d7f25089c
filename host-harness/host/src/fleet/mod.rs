//! A fleet: hosts that share tenants through NATS JetStream.
//!
//! ```text
//! stream (one message for each tenant) ─► durable consumer ─► host: one lease
//!                                             ▲                 │ claim: compare-and-set
//!                                             │                 │ polls, deliveries
//!      returned with a delay, never acknowledged ◄──────────────┘ commits: compare-and-set
//! ```
//!
//! JetStream gives the leases, the timers and the balancing. It accepts an acknowledgement that
//! arrives after its lease has expired, so a host does nothing after its own deadline, and each
//! checkpoint is fenced by the [`tenant_value::LeaseEpoch`] of the lease.

pub(crate) mod cache;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod lease;
pub(crate) mod run;
pub(crate) mod tenant;
pub(crate) mod tenant_value;
pub(crate) mod tenants;
