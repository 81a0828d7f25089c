//! The functions that Fluent Bit calls.
//!
//! The rules of `filter_wasm`: all parameters and the result are 32 bits. Tag and record are copies
//! in this module's memory, each with a NUL after it that its length does not count; where memory
//! has run out, the pointer is null. The result is a NUL-terminated JSON object in this module's
//! memory, which Fluent Bit copies before the next call and does not free. Fluent Bit drops
//! the record on null, on an empty text, on a trap, and on anything that is not a JSON object.

#![expect(
    unsafe_code,
    reason = "the caller passes pointers, as its C interface is"
)]

use core::cell::Cell;
use core::slice;

use mimecast_source::normalize::Format;
use mimecast_source::time::Timestamp;

use crate::filter::Filter;

thread_local! {
    /// The filter; taken during a call. After a trap it is missing, not half changed, and the next
    /// call creates a new one.
    static FILTER: Cell<Option<Box<Filter>>> = const { Cell::new(None) };
}

/// Initializes an instance, as runtimes expect it of a module without `main`. Without this function
/// the linker would make every call start and end a program.
///
/// # Safety
///
/// It is called once, before everything else.
#[cfg(target_family = "wasm")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _initialize() {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: the linker generates this function, and the caller guarantees the rest.
    unsafe { __wasm_call_ctors() }
}

/// Normalizes one record to ECS.
///
/// # Safety
///
/// `tag` and `record` are null or point to as many bytes as their lengths say. The result is valid
/// until the next call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mimecast_ecs(
    tag: *const u8,
    tag_length: i32,
    seconds: u32,
    nanoseconds: u32,
    record: *const u8,
    record_length: i32,
) -> *const u8 {
    // SAFETY: the caller promises the same.
    let (tag, record) = unsafe { (bytes(tag, tag_length), bytes(record, record_length)) };
    process(Format::Ecs, tag, (seconds, nanoseconds), record)
}

/// Normalizes one record to OCSF.
///
/// # Safety
///
/// As [`mimecast_ecs`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mimecast_ocsf(
    tag: *const u8,
    tag_length: i32,
    seconds: u32,
    nanoseconds: u32,
    record: *const u8,
    record_length: i32,
) -> *const u8 {
    // SAFETY: the caller promises the same.
    let (tag, record) = unsafe { (bytes(tag, tag_length), bytes(record, record_length)) };
    process(Format::Ocsf, tag, (seconds, nanoseconds), record)
}

/// Returns the bytes of an argument, or nothing where Fluent Bit had no memory for them.
///
/// # Safety
///
/// `start` is null or points to `length` bytes that outlive the result.
unsafe fn bytes<'a>(start: *const u8, length: i32) -> Option<&'a [u8]> {
    let length = usize::try_from(length).ok()?;
    // SAFETY: it is not null, and the caller promises the rest.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, length) })
}

fn process(
    format: Format,
    tag: Option<&[u8]>,
    (seconds, nanoseconds): (u32, u32),
    record: Option<&[u8]>,
) -> *const u8 {
    let millis = i64::from(seconds) * 1000 + i64::from(nanoseconds / 1_000_000);
    let timestamp = Timestamp::from_millis(millis);
    let reusable = FILTER.take().filter(|filter| filter.format() == format);
    let mut filter = reusable.unwrap_or_else(|| Box::new(Filter::new(format)));
    // The text stays where it is: moving the box does not move the buffer.
    let text = filter.process(tag.unwrap_or_default(), timestamp, record);
    let start = text.as_ptr();
    FILTER.set(Some(filter));
    start
}
