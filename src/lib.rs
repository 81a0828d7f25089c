//! skeleton
pub mod auth;
pub mod batch;
pub mod check;
pub mod checkpoint;
pub mod decode;
pub mod encode;
pub mod identity;
pub mod machine;
pub mod normalize;
pub mod record;
pub mod remembered;
pub mod request;
pub mod response;
pub mod retry;
pub mod session;
pub mod settings;
pub mod stream;
pub mod streams;
#[cfg(test)]
mod testing;
pub mod time;
#[cfg(target_family = "wasm")]
mod wasi;
