//! The generated bindings of `wit/`; the only file of this package for which whole groups of lints are off.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    missing_docs,
    unsafe_code,
    unused_qualifications,
    elided_lifetimes_in_paths,
    trivial_numeric_casts,
    unreachable_pub,
    single_use_lifetimes,
    reason = "generated code"
)]

use super::Component;

wit_bindgen::generate!({ world: "event-source", path: "wit", generate_all });

export!(Component);
