//! A source component by hand, without bindings: it does well in its first poll, and then what
//! `cfg(fault)` says. The test beside it compiles it.

#![no_std]
#![no_main]

use core::arch::wasm32;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}

/// A text or a list, as the component model lays it out.
#[repr(C)]
struct Slice(*const u8, usize);

/// Where nothing is, at an address that is good for whatever a list could hold.
const NONE: Slice = Slice(core::ptr::without_provenance(8), 0);

const fn text(text: &'static str) -> Slice {
    Slice(text.as_ptr(), text.len())
}

/// Values that the host reads and nobody writes.
#[repr(transparent)]
struct Shared<T>(T);

unsafe impl<T> Sync for Shared<T> {}

/// Two texts.
const SCHEMA: &str = r#"{"type":"object","properties":{"one":{"type":"string","writeOnly":true},"two":{"type":"string","writeOnly":true}}}"#;

/// Name, namespace, version, schema of the settings; no stream, kind, format and origin.
static DESCRIPTION: Shared<[Slice; 8]> =
    Shared([text("broken"), text("broken"), text("1"), text(SCHEMA), NONE, NONE, NONE, NONE]);

/// `ok` of a batch: no event, index, rejected record and notice; a checkpoint; no session; poll
/// again at once; no counts and no status.
#[repr(C, align(8))]
struct Answer {
    is_error: u64,
    batch: [Slice; 5],
    session: [u32; 3],
    next: [u64; 2],
    stats: Slice,
    status: Slice,
}

static ANSWER: Shared<Answer> = Shared(Answer {
    is_error: 0,
    batch: [NONE, NONE, NONE, NONE, text("c")],
    session: [0; 3],
    next: [0, 0],
    stats: NONE,
    status: NONE,
});

#[unsafe(export_name = "pipeline:source/source@0.2.0#describe")]
extern "C" fn describe() -> *const Shared<[Slice; 8]> {
    &raw const DESCRIPTION
}

#[unsafe(export_name = "pipeline:source/source@0.2.0#check")]
extern "C" fn check(_: *const u8, _: usize) -> usize {
    wasm32::unreachable()
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
    if cfg!(fault = "tells") {
        return tell(Slice(settings, settings_bytes));
    }
    if has_checkpoint != 0 || cfg!(fault = "never works") {
        fail();
    }
    (&raw const ANSWER).addr()
}

/// An internal error whose text is what should not be told.
fn tell(text: Slice) -> usize {
    #[repr(C)]
    struct Error {
        is_error: u64,
        internal: u64,
        text: Slice,
    }

    let at = allocate(core::ptr::null(), 0, 8, size_of::<Error>());
    let error = Error {
        is_error: 1,
        internal: 7,
        text,
    };
    // The memory is new, and nobody else knows of it.
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

#[unsafe(export_name = "pipeline:source/source@0.2.0#rewind")]
extern "C" fn rewind(
    _: *const u8,
    _: usize,
    _: *const u8,
    _: usize,
    _: *const u8,
    _: usize,
    _: i64,
) -> usize {
    wasm32::unreachable()
}

#[unsafe(export_name = "pipeline:source/normalizer@0.2.0#normalize")]
extern "C" fn normalize(
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
) -> usize {
    wasm32::unreachable()
}

/// The host passes little: there is room for it behind what is here.
#[unsafe(export_name = "cabi_realloc")]
extern "C" fn allocate(_: *const u8, _: usize, align: usize, bytes: usize) -> usize {
    let pages = bytes.div_ceil(65_536).max(1);
    let at = wasm32::memory_grow::<0>(pages) * 65_536;
    at.next_multiple_of(align)
}
