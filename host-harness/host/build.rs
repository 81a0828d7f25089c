//! Builds the component embedded in `source-host`, so that `cargo run` and
//! `cargo test` never use a stale one.
//!
//! The component has a target directory of its own inside the workspace's: it
//! stays cached from build to build, and the inner cargo never waits for the
//! lock that the outer one holds.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "component";
const NO_SIMD: &str = "MIMECAST_SOURCE_NO_SIMD";

/// Prefixes of variables that may come from the user's environment; all other
/// `CARGO_*` describe the outer build and would mislead the inner one.
const INHERITED_PREFIXES: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
];

/// Variables set by clippy, rustdoc and the outer build.
const REMOVED: [&str; 6] = [
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "MAKEFLAGS",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest_dir
        .ancestors()
        .nth(2)
        .ok_or("the package is not two folders below the workspace")?;
    let out_dir = PathBuf::from(variable("OUT_DIR")?);

    for path in ["src", "wit", ".cargo", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={NO_SIMD}");

    check_target()?;

    let simd = env::var_os(NO_SIMD).is_none();
    let target_dir = component_target_dir(&out_dir, simd)?;
    compile(root, &target_dir, simd)?;

    // Copies it, because another build may rewrite the original at any time.
    let built = target_dir
        .join(TARGET)
        .join(PROFILE)
        .join("mimecast_source.wasm");
    let copy = out_dir.join("component.wasm");
    fs::copy(&built, &copy).map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
    println!("cargo::rustc-env=SOURCE_HOST_COMPONENT={}", copy.display());
    Ok(())
}

/// Reports a missing target in one line, before cargo reports it in fifty.
fn check_target() -> Result<(), Box<dyn Error>> {
    let printed = Command::new(variable("RUSTC")?)
        .args(["--print", "target-libdir", "--target", TARGET])
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()?;
    let directory = String::from_utf8(printed.stdout)?;
    if printed.status.success() && Path::new(directory.trim()).is_dir() {
        return Ok(());
    }
    Err(format!("the target {TARGET} is not installed; run: rustup target add {TARGET}").into())
}

/// Returns `<workspace target>/component`, next to `debug` and `release`.
///
/// `OUT_DIR` is `<target>/[<triple>/]<profile>/build/<package>/out`.
fn component_target_dir(out_dir: &Path, simd: bool) -> Result<PathBuf, Box<dyn Error>> {
    let profile_dir = out_dir
        .ancestors()
        .nth(3)
        .ok_or("OUT_DIR is not inside a target directory")?;
    let name = if simd {
        "component"
    } else {
        "component-no-simd"
    };
    let target_dir = profile_dir.parent().unwrap_or(profile_dir);
    Ok(target_dir.join(name))
}

fn compile(root: &Path, target_dir: &Path, simd: bool) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(variable("CARGO")?);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let cargo_own = text.starts_with("CARGO")
            && !INHERITED_PREFIXES
                .iter()
                .any(|prefix| text.starts_with(prefix));
        if cargo_own || REMOVED.contains(&text.as_ref()) {
            cargo.env_remove(&name);
        }
    }
    // SIMD is enabled for every build of the component in `.cargo/config.toml`.
    if !simd {
        cargo.env("RUSTFLAGS", "-C target-feature=-simd128");
    }
    let status = cargo
        .current_dir(root)
        .args(["build", "--package", "mimecast-source", "--lib"])
        .args(["--profile", PROFILE, "--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the component does not compile; see the messages above".into())
    }
}

fn variable(name: &str) -> Result<String, Box<dyn Error>> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}
