//! skeleton
#[cfg(target_family = "wasm")]
mod wasi;
