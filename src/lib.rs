//! skeleton
pub mod decode;
pub mod encode;
pub mod identity;
pub mod normalize;
pub mod record;
pub mod stream;
pub mod time;
#[cfg(target_family = "wasm")]
mod wasi;
