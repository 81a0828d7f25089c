//! A handwritten source component, without bindings: with most faults the first poll succeeds and later
//! ones fail as `cfg(fault)` names; with `never works` and `reports settings` every poll does.
//! `compile.rs` compiles it.

#![no_std]
#![no_main]

mod abi;

use core::arch::wasm32;

use abi::{EMPTY, PollResult, Slice, text};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}

/// A static value with raw pointers. Nothing writes it, so it may be shared between threads.
#[repr(transparent)]
struct ReadOnly<T>(T);

unsafe impl<T> Sync for ReadOnly<T> {}

/// The schema of two secret settings.
const SCHEMA: &str = r#"{"type":"object","properties":{"one":{"type":"string","writeOnly":true},"two":{"type":"string","writeOnly":true}}}"#;

/// Name, namespace, version, schema of the settings; no stream, kind, format and origin.
static DESCRIPTION: ReadOnly<[Slice; 8]> =
    ReadOnly([text("broken"), text("broken"), text("1"), text(SCHEMA), EMPTY, EMPTY, EMPTY, EMPTY]);

static FIRST_RESULT: ReadOnly<PollResult> = ReadOnly(PollResult::empty(text("c")));

#[unsafe(export_name = "pipeline:source/source@0.2.0#describe")]
extern "C" fn describe() -> *const ReadOnly<[Slice; 8]> {
    &raw const DESCRIPTION
}

#[unsafe(export_name = "pipeline:source/source@0.2.0#poll")]
extern "C" fn poll(
    settings: *const u8,
    settings_bytes: usize,
    has_checkpoint: i32,
    _checkpoint: *const u8,
    _: usize,
    _has_session: i32,
    _session: *const u8,
    _session_bytes: usize,
    _max_events: u32,
    _max_bytes: u64,
    _max_requests: u32,
) -> usize {
    if cfg!(fault = "reports settings") {
        return report_error(Slice(settings, settings_bytes));
    }
    if has_checkpoint != 0 || cfg!(fault = "never works") {
        fail();
    }
    (&raw const FIRST_RESULT).addr()
}

/// Returns an internal error with a text that must not be shown.
fn report_error(text: Slice) -> usize {
    #[repr(C)]
    struct Error {
        is_error: u64,
        variant: u64,
        text: Slice,
    }

    let at = allocate(core::ptr::null(), 0, 8, size_of::<Error>());
    let error = Error {
        is_error: 1,
        variant: 7,
        text,
    };
    // The memory is new, and nothing else refers to it.
    unsafe { core::ptr::with_exposed_provenance_mut::<Error>(at).write(error) };
    at
}

fn fail() {
    while cfg!(fault = "loops") {
        core::hint::spin_loop();
    }
    while cfg!(fault = "grows") && wasm32::memory_grow::<0>(16) != usize::MAX {}
    wasm32::unreachable()
}

/// Allocates new pages for each argument, since the host passes few.
#[unsafe(export_name = "cabi_realloc")]
extern "C" fn allocate(_: *const u8, _: usize, align: usize, bytes: usize) -> usize {
    let pages = bytes.div_ceil(65_536).max(1);
    let at = wasm32::memory_grow::<0>(pages) * 65_536;
    at.next_multiple_of(align)
}
