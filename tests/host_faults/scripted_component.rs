//! A handwritten source component, without bindings, whose polls return what its setting `behavior`
//! names. `compile.rs` compiles it.

#![no_std]
#![no_main]

extern crate alloc;

mod abi;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32;
use core::cell::Cell;

use abi::{EMPTY, PollResult, Slice, text};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}

/// Compares bytes: comparisons of texts are compiled to calls of it, and there is no C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, bytes: usize) -> i32 {
    for at in 0..bytes {
        let (a, b) = unsafe { (*one.add(at), *other.add(at)) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// A static value that can change. The component has one thread, so it may be declared `Sync`.
struct SingleThreaded<T>(T);

unsafe impl<T> Sync for SingleThreaded<T> {}

/// Memory that is given out and taken back as a whole, when a poll begins.
struct Heap {
    base: Cell<usize>,
    next: Cell<usize>,
    end: Cell<usize>,
}

#[global_allocator]
static HEAP: SingleThreaded<Heap> = SingleThreaded(Heap {
    base: Cell::new(0),
    next: Cell::new(0),
    end: Cell::new(0),
});

unsafe impl GlobalAlloc for SingleThreaded<Heap> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let heap = &self.0;
        let at = heap.next.get().next_multiple_of(layout.align());
        let end = at + layout.size();
        if end > heap.end.get() {
            let pages = (end - heap.end.get()).div_ceil(65_536);
            let grown = wasm32::memory_grow::<0>(pages);
            if grown == usize::MAX {
                wasm32::unreachable();
            }
            if heap.end.get() == 0 {
                heap.base.set(grown * 65_536);
                heap.next.set(grown * 65_536);
                heap.end.set((grown + pages) * 65_536);
                return unsafe { self.alloc(layout) };
            }
            heap.end.set((grown + pages) * 65_536);
        }
        heap.next.set(end);
        core::ptr::with_exposed_provenance_mut(at)
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

const INPUT_BYTES: usize = 256 * 1024;
/// Where the host puts the arguments of a call: settings, checkpoint and session.
static INPUT: SingleThreaded<Cell<[u8; INPUT_BYTES]>> = SingleThreaded(Cell::new([0; INPUT_BYTES]));
static INPUT_USED: SingleThreaded<Cell<usize>> = SingleThreaded(Cell::new(0));
static POLLS: SingleThreaded<Cell<u64>> = SingleThreaded(Cell::new(0));

#[unsafe(export_name = "cabi_realloc")]
extern "C" fn allocate(_: *const u8, _: usize, align: usize, bytes: usize) -> usize {
    let base = INPUT.0.as_ptr().expose_provenance();
    let at = (base + INPUT_USED.0.get()).next_multiple_of(align);
    INPUT_USED.0.set(at + bytes - base);
    if at + bytes > base + INPUT_BYTES {
        wasm32::unreachable();
    }
    at
}

fn leak_text(text: String) -> Slice {
    let slice = abi::text(&text);
    core::mem::forget(text);
    slice
}

fn leak_list<T>(values: Vec<T>) -> Slice {
    let slice = Slice(values.as_ptr().cast(), values.len());
    core::mem::forget(values);
    slice
}

fn leak<T>(value: T) -> usize {
    let mut one = Vec::with_capacity(1);
    one.push(value);
    let at = one.as_ptr().expose_provenance();
    core::mem::forget(one);
    at
}

#[repr(C)]
struct Stream {
    texts: [Slice; 5],
    retention_hours: [u32; 2],
    order: u32,
    identity: Slice,
}

#[repr(C)]
struct Description {
    name: Slice,
    namespace: Slice,
    version: Slice,
    schema: Slice,
    streams: Slice,
    kinds: Slice,
    formats: Slice,
    origins: Slice,
}

const SCHEMA: &str = r#"{"type":"object","properties":{
    "behavior":{"type":"string"},
    "secret":{"type":"string","writeOnly":true}}}"#;

#[unsafe(export_name = "pipeline:source/source@0.2.0#describe")]
extern "C" fn describe() -> usize {
    if cfg!(fault = "describe traps") {
        wasm32::unreachable();
    }
    let stream = Stream {
        texts: [text("s"), EMPTY, EMPTY, EMPTY, EMPTY],
        retention_hours: [0, 0],
        order: 0,
        identity: EMPTY,
    };
    let mut streams = Vec::new();
    streams.push(stream);
    let mut kinds = Vec::new();
    kinds.push([text("s"), text("s")]);
    let mut origins = Vec::new();
    if cfg!(fault = "any origin") {
        origins.push(text("*"));
    }
    let schema = if cfg!(fault = "bad schema") {
        "{\"properties\""
    } else {
        SCHEMA
    };
    leak(Description {
        name: text("scripted"),
        namespace: text("scripted"),
        version: text("1"),
        schema: text(schema),
        streams: leak_list(streams),
        kinds: leak_list(kinds),
        formats: EMPTY,
        origins: leak_list(origins),
    })
}

#[repr(C, align(8))]
struct Error {
    is_error: u64,
    variant: u64,
    texts: [Slice; 2],
    retry_after_ms: u64,
}

#[repr(C)]
struct Rejected {
    stream: Slice,
    locator: Slice,
    reason: Slice,
    original: Slice,
}

#[repr(C)]
struct Notice {
    stream: Slice,
    kind: u32,
    detail: Slice,
}

#[repr(C, align(8))]
struct Entry {
    end: u64,
    occurred_at: i64,
    kind: u64,
}

#[repr(C, align(8))]
struct Stats {
    stream: Slice,
    requests: u64,
    received_bytes: u64,
    received: u64,
    events: u64,
    rejected: u64,
    duplicates: u64,
    caught_up: u64,
    newest: [u64; 2],
}

/// The first millisecond that no text of four digits for the year expresses.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

#[repr(C, align(8))]
struct Status {
    stream: Slice,
    /// 0 `active`, 1 `waiting`, 2 `not-permitted`, 3 `failing`.
    state: u64,
    until: [u64; 2],
    collected_until: u64,
    quota_remaining: [u32; 2],
    detail: Slice,
}

fn stats(stream: Slice, received: u64, events: u64, rejected: u64, duplicates: u64) -> Stats {
    Stats {
        stream,
        requests: 1,
        received_bytes: 1,
        received,
        events,
        rejected,
        duplicates,
        caught_up: 1,
        newest: [0, 0],
    }
}

fn empty_result() -> PollResult {
    PollResult::empty(text("c"))
}

/// Sets when to poll next, counts this poll in the session, and reports in a notice its number there and its
/// number among the polls of this instance.
fn report_poll(result: &mut PollResult, session: &str, polls: u64, next: [u64; 2]) {
    let run_polls = session.parse().unwrap_or(0) + 1;
    result.next = next;
    let Slice(at, bytes) = leak_text(format!("{run_polls}"));
    result.session = [1, at.addr() as u32, bytes as u32];
    result.notices = leak_one(Notice {
        stream: text("s"),
        kind: 0,
        detail: leak_text(format!("poll {run_polls}, {polls} of its instance")),
    });
}

fn leak_one<T>(value: T) -> Slice {
    let mut values = Vec::with_capacity(1);
    values.push(value);
    leak_list(values)
}

/// The value of a member of the settings, which are a flat object of plain texts.
fn setting<'a>(settings: &'a str, name: &str) -> &'a str {
    let begin = format!("\"{name}\":\"");
    let rest = settings.split_once(begin.as_str()).map_or("", |(_, rest)| rest);
    rest.split_once('"').map_or("", |(value, _)| value)
}

#[unsafe(export_name = "pipeline:source/source@0.2.0#poll")]
extern "C" fn poll(
    settings: *const u8,
    settings_bytes: usize,
    _has_checkpoint: i32,
    _checkpoint: *const u8,
    _: usize,
    has_session: i32,
    session: *const u8,
    session_bytes: usize,
    _max_events: u32,
    _max_bytes: u64,
    max_requests: u32,
) -> usize {
    HEAP.0.next.set(HEAP.0.base.get());
    INPUT_USED.0.set(0);
    let polls = POLLS.0.get() + 1;
    POLLS.0.set(polls);
    let settings = unsafe { core::slice::from_raw_parts(settings, settings_bytes) };
    let settings = core::str::from_utf8(settings).unwrap_or("");
    let secret = setting(settings, "secret");
    let session = match has_session {
        0 => &[],
        _ => unsafe { core::slice::from_raw_parts(session, session_bytes) },
    };
    let session = core::str::from_utf8(session).unwrap_or("");
    let mut result = empty_result();
    match setting(settings, "behavior") {
        // Settings that are refused, and an origin that is.
        "refuses" => {
            return leak(Error {
                is_error: 1,
                variant: 0,
                texts: [text("behavior"), text("is refused")],
                retry_after_ms: 0,
            });
        }
        "denied" => return error(3, String::from("https://denied.example.com")),
        "nothing" => result.next = [1, 1_000],
        _ if max_requests == 0 => {}
        "caught up for 1 s" => report_poll(&mut result, session, polls, [1, 1_000]),
        "caught up for 60 s" => report_poll(&mut result, session, polls, [1, 60_000]),
        "failing for 60 s" => report_poll(&mut result, session, polls, [3, 60_000]),
        "throttled for 60 s" => report_poll(&mut result, session, polls, [2, 60_000]),
        "waits for ever" => {
            result.next = [2, u64::MAX];
            result.status = leak_one(Status {
                stream: text("s"),
                state: 1,
                until: [1, YEAR_10000_MS],
                collected_until: YEAR_10000_MS,
                quota_remaining: [0, 0],
                detail: text("the quota is used up"),
            });
        }
        "throttled for ever" => {
            return error_with_wait(5, String::from("HTTP 429"), u64::MAX);
        }
        "new streams" => {
            let notices = (0..900).map(|number| Notice {
                stream: leak_text(format!("s{polls}-{number}")),
                kind: 0,
                detail: leak_text("n".repeat(30 * 1024)),
            });
            result.notices = leak_list(notices.collect());
        }
        "new counts" => {
            let counts = (0..20_000).map(|number| {
                stats(leak_text(format!("s{polls}-{number}")), 0, 0, 0, 0)
            });
            result.stats = leak_list(counts.collect());
        }
        "long notices" => {
            let mut detail = String::with_capacity(25 * 1024 * 1024 + 32);
            detail.push_str(&format!("{polls} "));
            detail.extend(core::iter::repeat_n('n', 25 * 1024 * 1024));
            result.notices = leak_one(Notice {
                stream: text("s"),
                kind: 0,
                detail: leak_text(detail),
            });
        }
        "many notices" => {
            let notices = (0..200).map(|number| Notice {
                stream: text("s"),
                kind: 0,
                detail: leak_text(format!("{polls}-{number} {}", "n".repeat(900))),
            });
            result.notices = leak_list(notices.collect());
        }
        "rejected" => {
            let rejected = (0..900).map(|number| Rejected {
                stream: text("s"),
                locator: leak_text(format!("{polls}-{number}")),
                reason: leak_text("r".repeat(30 * 1024)),
                original: EMPTY,
            });
            result.rejected = leak_list(rejected.collect());
            result.stats = leak_one(stats(text("s"), 900, 0, 900, 0));
        }
        "long events" => {
            let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(300 * 1024));
            let mut events = String::from("{}\n");
            let mut index = Vec::new();
            for number in 0..11 {
                if number > 0 {
                    events.push_str(&long);
                }
                index.push(Entry {
                    end: events.len() as u64,
                    occurred_at: 0,
                    kind: 0,
                });
            }
            result.events = leak_text(events);
            result.index = leak_list(index);
            result.stats = leak_one(stats(text("s"), 11, 11, 0, 0));
        }
        "long error" => return error(4, "e".repeat(20 * 1024 * 1024)),
        "no json" => {
            result.events = text("not json\nnot json\n");
            let mut index = Vec::new();
            for end in [9, 18] {
                index.push(Entry {
                    end,
                    occurred_at: 0,
                    kind: 0,
                });
            }
            result.index = leak_list(index);
            result.stats = leak_one(stats(text("s"), 2, 2, 0, 0));
        }
        "overflow" => result.stats = leak_one(stats(text("s"), u64::MAX, 0, 0, u64::MAX)),
        "secret checkpoint" => result.checkpoint = leak_text(format!("{{\"k\":\"{secret}\"}}")),
        "secrets" => {
            let forged = format!(
                "a {secret}\r\n2026-01-01T00:00:00.000000Z  INFO forged{polls} \
                 \u{1b}[2J\u{202e}\u{2066}\u{200f}\u{2028}b"
            );
            result.notices = leak_one(Notice {
                stream: text("s"),
                kind: 0,
                detail: leak_text(forged.clone()),
            });
            result.rejected = leak_one(Rejected {
                stream: text("s"),
                locator: leak_text(forged.clone()),
                reason: leak_text(forged),
                original: EMPTY,
            });
            result.stats = leak_one(stats(text("s"), 1, 0, 1, 0));
            result.next = [1, 1_000];
        }
        "secret stream" => {
            result.notices = leak_one(Notice {
                stream: leak_text(format!("{secret}\n\u{1b}")),
                kind: 0,
                detail: EMPTY,
            });
        }
        "secret counts" => result.stats = leak_one(stats(leak_text(format!("{secret}\n")), 0, 0, 0, 0)),
        "secret error" => return error(5, format!("{secret}\n\u{1b}[2Jforged")),
        _ => wasm32::unreachable(),
    }
    leak(result)
}

/// An error with a text: 3 `denied`, 4 `unavailable`, 5 `throttled`.
fn error(variant: u64, detail: String) -> usize {
    error_with_wait(variant, detail, 0)
}

fn error_with_wait(variant: u64, detail: String, retry_after_ms: u64) -> usize {
    leak(Error {
        is_error: 1,
        variant,
        texts: [leak_text(detail), EMPTY],
        retry_after_ms,
    })
}
