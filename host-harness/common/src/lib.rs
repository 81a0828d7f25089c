//! Shared parts of `source-host`: exit codes and errors, settings file parsing,
//! secrets, escaping of untrusted text, durable files, and the events on their
//! way to the outputs.
//!
//! Nothing here knows of WebAssembly, of an output or of a vendor.

#![deny(unsafe_code)]

pub mod authority;
pub mod backoff;
pub mod delivery;
pub mod dial;
pub mod disk;
pub mod escape;
pub mod exit;
pub mod line_numbers;
pub mod peer_certificate;
pub mod proxy;
pub mod reloadable_secret;
pub mod secret;
pub mod section;
pub mod suggestion;
pub mod timestamp;
pub mod trust_anchors;
pub mod value_reference;
