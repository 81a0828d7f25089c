//! The built component asks a host for what its world lists and for nothing else, and every
//! WASI 0.2 host can load it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail fast, and the size is for the log of a run"
)]

use std::collections::BTreeSet;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use source_host::source::BUILT_IN_COMPONENT;
use wasmparser::{ComponentExternalKind, Parser, Payload, Validator, WasmFeatures};

/// What the world lists, what that uses, and what Rust's standard library brings whether or not
/// it is used. There is no file system and there are no sockets.
///
/// The toolchain raises the versions; the functions that are called are those of 0.2.0.
const IMPORTS: [&str; 19] = [
    "pipeline:source/types@0.2.0",
    "wasi:cli/environment@0.2.6",
    "wasi:cli/exit@0.2.6",
    "wasi:cli/stderr@0.2.6",
    "wasi:cli/stdin@0.2.6",
    "wasi:cli/stdout@0.2.6",
    "wasi:cli/terminal-input@0.2.6",
    "wasi:cli/terminal-output@0.2.6",
    "wasi:cli/terminal-stderr@0.2.6",
    "wasi:cli/terminal-stdin@0.2.6",
    "wasi:cli/terminal-stdout@0.2.6",
    "wasi:clocks/monotonic-clock@0.2.6",
    "wasi:clocks/wall-clock@0.2.6",
    "wasi:http/outgoing-handler@0.2.4",
    "wasi:http/types@0.2.4",
    "wasi:io/error@0.2.6",
    "wasi:io/poll@0.2.6",
    "wasi:io/streams@0.2.6",
    "wasi:random/random@0.2.6",
];

const EXPORTS: [&str; 2] = [
    "pipeline:source/normalizer@0.2.0",
    "pipeline:source/source@0.2.0",
];

/// Size budget of the component, 1.25 MiB: hosts compile it and keep it in memory.
const COMPONENT_BYTES_MAX: usize = 1280 * 1024;

/// Size budget of the component as it is fetched, with gzip.
const GZIP_BYTES_MAX: usize = 500_000;

#[test]
fn the_component_imports_what_the_world_lists_and_nothing_else() {
    assert_eq!(interfaces(BUILT_IN_COMPONENT).imports, set(&IMPORTS));
}

#[test]
fn the_documentation_of_the_world_names_every_import_of_wasi() {
    let world = include_str!("../wit/world.wit");
    let named = world
        .split(|mark: char| mark.is_whitespace() || "`@;,".contains(mark))
        .filter(|word| word.starts_with("wasi:"));
    let imported = IMPORTS.iter().filter_map(|name| name.split_once('@'));
    let imported = imported.filter(|(name, _)| name.starts_with("wasi:"));
    assert_eq!(
        named.collect::<BTreeSet<_>>(),
        imported.map(|(name, _)| name).collect()
    );
}

#[test]
fn the_component_exports_the_source_and_the_normalizer() {
    assert_eq!(interfaces(BUILT_IN_COMPONENT).exports, set(&EXPORTS));
}

/// WebAssembly 2.0 (with its 128-bit vectors) and components, without anything of WASI 0.3:
/// no `async` function, no stream, no future.
#[test]
fn the_component_is_valid_for_a_host_without_wasi_0_3() {
    let features = WasmFeatures::WASM2 | WasmFeatures::COMPONENT_MODEL;
    assert!(!features.contains(WasmFeatures::CM_ASYNC));
    Validator::new_with_features(features)
        .validate_all(BUILT_IN_COMPONENT)
        .unwrap();
}

#[test]
fn the_component_is_within_its_size_budget() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(BUILT_IN_COMPONENT).unwrap();
    let gzip_bytes = gzip.finish().unwrap().len();
    let bytes = BUILT_IN_COMPONENT.len();
    eprintln!("mimecast_source.wasm: {bytes} bytes, {gzip_bytes} with gzip");
    assert!(bytes <= COMPONENT_BYTES_MAX, "{bytes} bytes");
    assert!(gzip_bytes <= GZIP_BYTES_MAX, "{gzip_bytes} bytes with gzip");
}

struct Interfaces {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

/// The imports and exports of the outermost component.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only four of the many kinds of sections say anything here"
)]
fn interfaces(wasm: &[u8]) -> Interfaces {
    let mut found = Interfaces {
        imports: BTreeSet::new(),
        exports: BTreeSet::new(),
    };
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    found.imports.insert(import.unwrap().name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.unwrap();
                    assert_eq!(export.kind, ComponentExternalKind::Instance);
                    found.exports.insert(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
