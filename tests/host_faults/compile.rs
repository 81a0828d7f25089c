//! Compiles the component that does what a component should not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `broken.rs` with a fault.
pub(crate) fn compile(folder: &Path, fault: &str) -> PathBuf {
    compile_file("broken.rs", folder, fault)
}

/// Compiles a component with a fault. The linker of the target makes a component of it, which
/// needs the package as one file.
pub(crate) fn compile_file(file: &str, folder: &Path, fault: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| fs::read_to_string(root.join("wit").join(name)).unwrap();
    let wit = format!(
        "package test:broken;\nworld broken {{\n  export pipeline:source/source@0.2.0;\n  \
         export pipeline:source/normalizer@0.2.0;\n}}\npackage pipeline:source@0.2.0 {{\n{}\n{}\n}}\n",
        read("types.wit"),
        read("source.wit"),
    );
    let world = folder.join("broken.wit");
    fs::write(&world, wit).unwrap();
    let component = folder.join(format!("{}.wasm", fault.replace(' ', "_")));
    let compiled = Command::new("rustc")
        .args([
            "--edition=2024",
            "--target=wasm32-wasip2",
            "--crate-type=cdylib",
        ])
        .args(["-Copt-level=s", "-Cpanic=abort", "--cfg"])
        .arg(format!("fault=\"{fault}\""))
        .arg(format!("-Clink-arg=--component-type={}", world.display()))
        .arg("-o")
        .arg(&component)
        .arg(root.join("tests/host_faults").join(file))
        .current_dir(&root) // where `rust-toolchain.toml` is
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
    component
}
