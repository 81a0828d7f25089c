//! skeleton
pub mod stream;
#[cfg(target_family = "wasm")]
mod wasi;
