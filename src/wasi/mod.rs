//! skeleton
mod bindings {
    #![allow(unsafe_code, missing_docs, reason = "generated")]
    wit_bindgen::generate!({ world: "event-source", path: "wit", generate_all });
    pub(crate) struct Component;
    export!(Component);
}
use bindings::*;
use bindings::exports::pipeline::source::{source, normalizer};
use bindings::pipeline::source::types::*;
impl source::Guest for Component {
    fn describe() -> Description { let _ = wasi::http::types::Fields::new(); panic!() }
    fn check(settings: String) -> Result<Vec<CheckResult>, SettingsError> { eprintln!("{settings}"); Ok(vec![]) }
    fn poll(_: String, _: Option<String>, _: Limits) -> Result<Batch, PollError> { let r = wasi::http::types::OutgoingRequest::new(wasi::http::types::Fields::new()); let _ = wasi::http::outgoing_handler::handle(r, None); Err(PollError::Internal(format!("{:?} {:?} {}",wasi::clocks::wall_clock::now(), wasi::clocks::monotonic_clock::now(), wasi::random::random::get_random_u64()))) }
}
impl normalizer::Guest for Component {
    fn normalize(_: String, _: String, _: Vec<u8>) -> Result<Normalized, NormalizeError> { panic!() }
}
