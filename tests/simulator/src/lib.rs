//! A simulated Mimecast API on loopback: an invented tenant behind two HTTP origins.
//!
//! ```text
//!   POST /oauth/token ──────────────┐
//!   GET  /siem/v1/batch/events/… ───┤ API origin      (auth: tokens, quotas; siem: pages of links)
//!   GET  /siem/v1/events/… ─────────┤                 (events: one by one, of the last day)
//!   POST /api/… ────────────────────┘                 (post, post_log: windows and lists; feed: files)
//!   GET  /siem-batch-…/…json.gz?X-Amz-… ── storage origin (storage: signed links; batch_file: gzip)
//! ```
//!
//! Everything is derived from a seed ([`Config`]). The [`Ledger`] has what exists and what was
//! served, by an identity that is computed here and not by the code under test. Faults are scripted
//! ([`Fault`]).

mod audit;
mod auth;
mod batch_file;
mod campaigns;
mod config;
mod counters;
mod event_type;
mod events;
mod fault;
mod feed;
mod huge;
mod identity;
mod items;
mod ledger;
mod legacy;
mod line;
mod permissions;
mod post;
mod post_log;
mod random;
mod records;
mod request;
mod response;
mod sample_records;
mod server;
mod siem;
mod simulator;
mod storage;
mod tenant_state;
mod time;
mod zip;

pub use config::{Config, Generate};
pub use counters::Requests;
pub use event_type::EventType;
pub use fault::{Effect, Endpoint, FailShape, Fault, Matcher, When};
pub use identity::{first_event_id, identity};
pub use ledger::Ledger;
pub use legacy::{
    LegacyConfig, LegacyCredentials, LegacyRequests, LegacySimulator, legacy_record_id,
};
pub use permissions::StreamRefusal;
pub use sample_records::{sample_records, streams};
pub use simulator::Simulator;
