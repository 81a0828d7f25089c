//! A source component that takes more than its share. Its setting `behavior` names what it takes,
//! from the second poll on; each poll asks for the next one at once. `hostile.rs` compiles it.

mod abi;

use std::alloc::Layout;
use std::hint::black_box;
use std::io::Write as _;

use abi::{EMPTY, PollResult, Slice, text};

/// A static value with raw pointers. Nothing writes it or what it points to, so it may be shared
/// between threads.
#[repr(transparent)]
struct ReadOnly<T>(T);

unsafe impl<T> Sync for ReadOnly<T> {}

const SCHEMA: &str =
    r#"{"type":"object","properties":{"behavior":{"type":"string"},"authority":{"type":"string"}}}"#;

#[repr(C)]
struct Stream {
    name: Slice,
    summary: Slice,
    endpoint: Slice,
    permission: Slice,
    product: Slice,
    retention_hours: [u32; 2],
    order: u8,
    identity: Slice,
}

static STREAM: ReadOnly<Stream> = ReadOnly(Stream {
    name: text("s"),
    summary: text("a stream"),
    endpoint: text("/"),
    permission: text("none"),
    product: text("none"),
    retention_hours: [0, 0],
    order: 0,
    identity: text("none"),
});

/// Name, namespace, version, schema of the settings, streams; no kind, format and origin.
static DESCRIPTION: ReadOnly<[Slice; 8]> = ReadOnly([
    text("hostile"),
    text("hostile"),
    text("1"),
    text(SCHEMA),
    Slice((&raw const STREAM).cast(), 1),
    EMPTY,
    EMPTY,
    EMPTY,
]);

#[repr(C)]
struct Notice {
    stream: Slice,
    kind: u8,
    detail: Slice,
}

const DETAIL: &str = "the quick brown fox jumps over the lazy dog, and so it does once more";
const NOTICE: Notice = Notice {
    stream: text("s"),
    kind: 2,
    detail: text(DETAIL),
};
static NOTICES: ReadOnly<[Notice; 900]> = ReadOnly([NOTICE; 900]);

#[link(wasm_import_module = "wasi:http/types@0.2.0")]
unsafe extern "C" {
    #[link_name = "[constructor]fields"]
    fn new_fields() -> i32;
    #[link_name = "[constructor]outgoing-request"]
    fn new_request(fields: i32) -> i32;
    #[link_name = "[method]outgoing-request.set-scheme"]
    fn set_scheme(request: i32, is_some: i32, scheme: i32, other: *const u8, bytes: usize) -> i32;
    #[link_name = "[method]outgoing-request.set-authority"]
    fn set_authority(request: i32, is_some: i32, authority: *const u8, bytes: usize) -> i32;
    #[link_name = "[method]outgoing-request.set-path-with-query"]
    fn set_path(request: i32, is_some: i32, path: *const u8, bytes: usize) -> i32;
    #[link_name = "[method]future-incoming-response.subscribe"]
    fn subscribe(future: i32) -> i32;
}

#[link(wasm_import_module = "wasi:http/outgoing-handler@0.2.0")]
unsafe extern "C" {
    #[link_name = "handle"]
    fn handle(request: i32, has_options: i32, options: i32, result: *mut [u32; 16]);
}

#[link(wasm_import_module = "wasi:io/poll@0.2.0")]
unsafe extern "C" {
    #[link_name = "[method]pollable.block"]
    fn block(pollable: i32);
}

#[unsafe(export_name = "pipeline:source/source@0.2.0#describe")]
extern "C" fn describe() -> *const ReadOnly<[Slice; 8]> {
    &raw const DESCRIPTION
}

#[unsafe(export_name = "pipeline:source/source@0.2.0#poll")]
extern "C" fn poll(
    settings: *mut u8,
    settings_bytes: usize,
    has_checkpoint: i32,
    checkpoint: *mut u8,
    checkpoint_bytes: usize,
    _has_session: i32,
    _session: *const u8,
    _session_bytes: usize,
    _max_events: u32,
    _max_bytes: u64,
    _max_requests: u32,
) -> *const PollResult {
    let settings = take(settings, settings_bytes);
    let checkpoint = match has_checkpoint {
        0 => String::new(),
        _ => take(checkpoint, checkpoint_bytes),
    };
    let does = |what: &str| has_checkpoint != 0 && settings.contains(&format!("\"{what}\""));
    if does("loops") {
        busy_loop();
    }
    if does("memory") {
        fill_memory();
    }
    if does("stderr") {
        write_to_stderr();
    }
    if does("sockets") {
        open_requests(&settings);
    }
    let notices = match does("notices") {
        true => Slice((&raw const NOTICES).cast(), NOTICES.0.len()),
        false => EMPTY,
    };
    let other = if checkpoint == "c" { "d" } else { "c" };
    Box::leak(Box::new(PollResult {
        notices,
        ..PollResult::empty(text(other))
    }))
}

/// Takes ownership of a text that the host wrote into memory from `allocate`.
fn take(at: *mut u8, bytes: usize) -> String {
    match bytes {
        0 => String::new(),
        _ => unsafe { String::from_raw_parts(at, bytes, bytes) },
    }
}

fn busy_loop() -> ! {
    let mut number = 0_u64;
    loop {
        number = black_box(number.wrapping_add(1));
    }
}

/// Takes all memory there is and writes to each page of it again and again.
fn fill_memory() -> ! {
    const PIECE: usize = 1 << 20;
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(PIECE).is_err() || pieces.try_reserve(1).is_err() {
            break;
        }
        piece.resize(PIECE, 0);
        pieces.push(piece);
    }
    loop {
        for piece in &mut pieces {
            for byte in piece.iter_mut().step_by(4_096) {
                *byte = black_box(byte.wrapping_add(1));
            }
        }
    }
}

/// 200 lines of 4,000 bytes.
fn write_to_stderr() {
    let line = "x".repeat(3_999) + "\n";
    for _ in 0..200 {
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}

/// Opens 901 requests and waits for the first of them.
fn open_requests(settings: &str) {
    let (_, authority) = settings.split_once("\"authority\":\"").unwrap();
    let (authority, _) = authority.split_once('"').unwrap();
    let open = || unsafe {
        let request = new_request(new_fields());
        set_scheme(request, 1, 0, core::ptr::null(), 0);
        set_authority(request, 1, authority.as_ptr(), authority.len());
        set_path(request, 1, b"/".as_ptr(), 1);
        let mut result = [0; 16];
        handle(request, 0, 0, &raw mut result);
        // The discriminant, then the value at the alignment of the largest case.
        (result[0] & 0xff == 0).then_some(result[2])
    };
    let futures: Vec<Option<u32>> = (0..901).map(|_| open()).collect();
    let first = futures.into_iter().flatten().next().unwrap();
    unsafe { block(subscribe(first.cast_signed())) };
}

#[unsafe(export_name = "cabi_realloc")]
extern "C" fn allocate(at: *mut u8, before: usize, align: usize, bytes: usize) -> *mut u8 {
    if bytes == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    let layout = |bytes| Layout::from_size_align(bytes, align).unwrap();
    match before {
        0 => unsafe { std::alloc::alloc(layout(bytes)) },
        _ => unsafe { std::alloc::realloc(at, layout(before), bytes) },
    }
}
