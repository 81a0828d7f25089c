//! Compiles the handwritten components with their faults.

use std::fs;
use std::path::{Path, PathBuf};

use crate::rustc::compile_component;

/// Compiles `broken_component.rs` with a fault.
pub(crate) fn compile_broken(folder: &Path, fault: &str) -> PathBuf {
    compile_file("broken_component.rs", folder, fault)
}

/// Compiles a component with a fault.
pub(crate) fn compile_file(file: &str, folder: &Path, fault: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |name: &str| fs::read_to_string(root.join("wit").join(name)).unwrap();
    let wit = format!(
        "package test:broken;\nworld broken {{\n  export pipeline:source/source@0.2.0;\n  \
         export pipeline:source/normalizer@0.2.0;\n}}\npackage pipeline:source@0.2.0 {{\n{}\n{}\n}}\n",
        read("types.wit"),
        read("source.wit"),
    );
    let flags = ["--cfg".to_owned(), format!("fault=\"{fault}\"")];
    let name = fault.replace(' ', "_");
    compile_component(file, &wit, (folder, &name), &flags)
}
