//! The part of Fluent Bit that calls a WASM filter.
//!
//! It follows `flb_wasm_call_function_format_json`: copies of tag and record, each with a NUL, by the
//! module's `malloc`; six numbers in and one out; the result is read up to its NUL, and only then
//! the copies are freed. The host offers nothing: a call of WASI is a trap.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use serde::de::IgnoredAny;
use wasmtime::{Config, Engine, Linker, Memory, Module, Store, TypedFunc};

/// The module, built as a release is.
pub(crate) static MODULE: LazyLock<Vec<u8>> = LazyLock::new(build);

const TARGET: &str = "wasm32-wasip1";
const PROFILE: &str = "filter";

/// In a target directory of its own: the cargo that runs this test may hold the lock of another.
fn build() -> Vec<u8> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_source-host"));
    let target_dir = program.ancestors().nth(2).unwrap().join(PROFILE);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What coverage, clippy and `ci/test-runner` set for the outer build.
    for name in [
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "LLVM_PROFILE_FILE",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ] {
        cargo.env_remove(name);
    }
    let status = cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["build", "--quiet", "--package", "mimecast-filter", "--lib"])
        .args(["--profile", PROFILE, "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "the filter does not compile; is there the target? rustup target add {TARGET}"
    );
    let module = target_dir.join(TARGET).join(PROFILE);
    std::fs::read(module.join("mimecast_filter.wasm")).unwrap()
}

static COMPILED: LazyLock<Module> = LazyLock::new(|| {
    let mut config = Config::new();
    // Counts instructions, and cuts a call off.
    config.consume_fuel(true);
    let engine = Engine::new(&config).unwrap();
    Module::new(&engine, MODULE.as_slice()).unwrap()
});

/// Enough for any call.
const FUEL: u64 = u64::MAX / 2;

type Function = TypedFunc<(u32, u32, u32, u32, u32, u32), u32>;

/// One `filter_wasm` with its instance.
pub(crate) struct FluentBit {
    store: Store<()>,
    memory: Memory,
    malloc: TypedFunc<u32, u32>,
    free: TypedFunc<u32, ()>,
    function: Function,
}

impl FluentBit {
    /// Loads the module for one `function_name`.
    pub(crate) fn start(function: &str) -> Self {
        let mut linker = Linker::new(COMPILED.engine());
        linker.define_unknown_imports_as_traps(&COMPILED).unwrap();
        let mut store = Store::new(COMPILED.engine(), ());
        store.set_fuel(FUEL).unwrap();
        let instance = linker.instantiate(&mut store, &COMPILED).unwrap();
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
            initialize.call(&mut store, ()).unwrap();
        }
        Self {
            memory: instance.get_memory(&mut store, "memory").unwrap(),
            malloc: instance.get_typed_func(&mut store, "malloc").unwrap(),
            free: instance.get_typed_func(&mut store, "free").unwrap(),
            function: instance.get_typed_func(&mut store, function).unwrap(),
            store,
        }
    }

    /// What replaces the record.
    pub(crate) fn filter(&mut self, tag: &[u8], seconds: u32, record: &[u8]) -> String {
        let arguments = [self.copy(tag), self.copy(record)];
        let lengths = (length(tag), length(record));
        self.call(arguments, lengths, seconds)
    }

    /// The same where a copy could not be made.
    pub(crate) fn filter_unallocated(
        &mut self,
        tag: Option<&[u8]>,
        record: Option<&[u8]>,
    ) -> String {
        let arguments = [tag, record].map(|bytes| bytes.map_or(0, |bytes| self.copy(bytes)));
        let lengths = (tag.map_or(7, length), record.map_or(7, length));
        self.call(arguments, lengths, 0)
    }

    /// A call that traps within `instructions`.
    pub(crate) fn trap_within(&mut self, instructions: u64, tag: &[u8], record: &[u8]) {
        let [tag_at, record_at] = [self.copy(tag), self.copy(record)];
        self.store.set_fuel(instructions).unwrap();
        let arguments = (tag_at, length(tag), 0, 0, record_at, length(record));
        self.function.call(&mut self.store, arguments).unwrap_err();
        self.store.set_fuel(FUEL).unwrap();
        for copy in [tag_at, record_at] {
            self.free.call(&mut self.store, copy).unwrap();
        }
    }

    /// How large the module's memory is.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// How many instructions were run since the start, or since the last `trap_within`.
    pub(crate) fn instructions(&self) -> u64 {
        FUEL - self.store.get_fuel().unwrap()
    }

    fn copy(&mut self, bytes: &[u8]) -> u32 {
        let with_nul = [bytes, b"\0"].concat();
        let start = self
            .malloc
            .call(&mut self.store, length(&with_nul))
            .unwrap();
        assert_ne!(start, 0, "no memory");
        let at = usize::try_from(start).unwrap();
        self.memory.write(&mut self.store, at, &with_nul).unwrap();
        start
    }

    fn call(&mut self, [tag, record]: [u32; 2], lengths: (u32, u32), seconds: u32) -> String {
        let arguments = (tag, lengths.0, seconds, 0, record, lengths.1);
        let result = self.function.call(&mut self.store, arguments).unwrap();
        assert_ne!(result, 0, "null drops the record");
        let start = usize::try_from(result).unwrap();
        let rest = self.memory.data(&self.store).get(start..).unwrap();
        let end = memchr::memchr(0, rest).unwrap();
        let text = String::from_utf8(rest.get(..end).unwrap().to_vec()).unwrap();
        for copy in [tag, record].into_iter().filter(|copy| *copy != 0) {
            self.free.call(&mut self.store, copy).unwrap();
        }
        // Fluent Bit drops what is no JSON object.
        let parsed = serde_json::from_str::<IgnoredAny>(&text);
        assert!(parsed.is_ok() && text.starts_with('{'), "{text:.300}");
        text
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}
