//! Exports the allocator of the module.
//!
//! Fluent Bit's runtime, WAMR, copies tag and record into the module by its `malloc` where that is
//! exported. Otherwise it uses a heap of the fixed size `wasm_heap_size`, and a record that does not
//! fit is lost.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        for name in ["malloc", "free"] {
            println!("cargo::rustc-cdylib-link-arg=--export={name}");
        }
    }
}
