//! Compiles a handwritten component with `rustc`, for the tests and the benchmark of fairness.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `file` of this directory to `NAME.wasm` in a folder. The linker of the target makes a
/// component of it, which needs its world and all its interfaces as one text.
pub(crate) fn compile_component(
    file: &str,
    world: &str,
    (folder, name): (&Path, &str),
    flags: &[String],
) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let wit = folder.join(format!("{name}.wit"));
    fs::write(&wit, world).unwrap();
    let component = folder.join(format!("{name}.wasm"));
    let compiled = Command::new("rustc")
        .args([
            "--edition=2024",
            "--target=wasm32-wasip2",
            "--crate-type=cdylib",
        ])
        .args(["-Copt-level=s", "-Cpanic=abort"])
        .args(flags)
        .arg(format!("-Clink-arg=--component-type={}", wit.display()))
        .arg("-o")
        .arg(&component)
        .arg(root.join("tests/host_faults").join(file))
        .current_dir(&root) // where `rust-toolchain.toml` is
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{errors}");
    component
}
