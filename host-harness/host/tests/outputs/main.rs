//! Every output against a receiver that behaves as the real ones do.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests may fail fast"
)]

mod chaos;
mod conformance;
mod forward;
mod forward_receiver;
mod http;
mod http_proxy;
mod http_receiver;
#[path = "../../../../tests/setup/machine_code.rs"]
mod machine_code;
mod nats;
mod nats_server;
mod peers;
mod process;
mod proxy;
mod receiver;
mod rotel;
mod rsyslog;
mod test_delivery;
mod tls;
