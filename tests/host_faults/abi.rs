//! What the handwritten components share: the layout of texts, lists and poll results in the
//! component model, and the exports that none of them needs.

use core::arch::wasm32;

/// A text or a list.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice(pub *const u8, pub usize);

/// An empty text or list, at an address that is aligned for any element.
pub const EMPTY: Slice = Slice(core::ptr::without_provenance(8), 0);

pub const fn text(text: &str) -> Slice {
    Slice(text.as_ptr(), text.len())
}

/// `ok` of a batch.
#[repr(C, align(8))]
pub struct PollResult {
    pub is_error: u64,
    pub events: Slice,
    pub index: Slice,
    pub rejected: Slice,
    pub notices: Slice,
    pub checkpoint: Slice,
    pub session: [u32; 3],
    /// The variant, and its milliseconds: 0 `now`, 1 `caught-up`, 2 `throttled`, 3 `failing`.
    pub next: [u64; 2],
    pub stats: Slice,
    pub status: Slice,
}

impl PollResult {
    /// Creates a result with a checkpoint alone, after which the next poll is due at once.
    pub const fn empty(checkpoint: Slice) -> Self {
        Self {
            is_error: 0,
            events: EMPTY,
            index: EMPTY,
            rejected: EMPTY,
            notices: EMPTY,
            checkpoint,
            session: [0; 3],
            next: [0, 0],
            stats: EMPTY,
            status: EMPTY,
        }
    }
}

#[unsafe(export_name = "pipeline:source/source@0.2.0#check")]
extern "C" fn check(_: *const u8, _: usize) -> usize {
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
extern "C" fn normalize(_: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32) -> usize {
    wasm32::unreachable()
}
