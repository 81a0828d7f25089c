//! Finds the bytes that a string scanner must inspect, 16 at a time: quotes, backslashes, control
//! characters.

/// How many bytes are looked at together, one for each bit of the answer.
const BLOCK: usize = 16;

/// What is known about a block, one bit for each byte, bit 0 for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockMask {
    /// Quotes, backslashes and control characters.
    special: u32,
    /// Bytes beyond ASCII.
    high: bool,
}

/// Returns how many bytes come before the next quote, backslash or control character, or before the
/// end; and whether there may be more than ASCII in them.
#[inline]
#[must_use]
pub fn plain_prefix(text: &[u8]) -> (usize, bool) {
    let mut rest = text;
    let mut high = false;
    loop {
        let (marks, behind) = match rest.split_first_chunk() {
            Some((block, behind)) => (in_block(block), behind),
            None => (in_last_block(rest), &[][..]),
        };
        high |= marks.high;
        if marks.special != 0 {
            let within = usize::try_from(marks.special.trailing_zeros()).unwrap_or(usize::MAX);
            let length = text.len() - rest.len() + within;
            return (length, high);
        }
        if behind.is_empty() {
            return (text.len(), high);
        }
        rest = behind;
    }
}

/// Computes the mask of the last block, in which the text ends.
#[cold]
fn in_last_block(rest: &[u8]) -> BlockMask {
    let mut padded = [b' '; BLOCK];
    for (to, from) in padded.iter_mut().zip(rest) {
        *to = *from;
    }
    in_block(&padded)
}

/// Computes the mask of a whole block.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
fn in_block(block: &[u8; BLOCK]) -> BlockMask {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, u64x2, v128_or};
    let bytes = u64x2(low(block), high(block));
    let quotes = u8x16_eq(bytes, u8x16_splat(b'"'));
    let backslashes = u8x16_eq(bytes, u8x16_splat(b'\\'));
    let controls = u8x16_lt(bytes, u8x16_splat(b' '));
    BlockMask {
        special: u32::from(u8x16_bitmask(v128_or(
            v128_or(quotes, backslashes),
            controls,
        ))),
        high: u8x16_bitmask(bytes) != 0,
    }
}

/// Computes the mask of a whole block.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline]
fn in_block(block: &[u8; BLOCK]) -> BlockMask {
    in_words(low(block), high(block))
}

fn low(block: &[u8; BLOCK]) -> u64 {
    block
        .first_chunk()
        .map_or(0, |half| u64::from_le_bytes(*half))
}

fn high(block: &[u8; BLOCK]) -> u64 {
    block
        .last_chunk()
        .map_or(0, |half| u64::from_le_bytes(*half))
}

/// Computes the mask of sixteen bytes, given as two little-endian words.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline]
fn in_words(low: u64, high: u64) -> BlockMask {
    const ONES: u64 = u64::MAX / 255;
    const LOWS: u64 = ONES * 0x7f;
    const HIGHS: u64 = ONES * 0x80;
    // The high bit of each byte that is not zero, and perhaps others.
    let not_zero = |word: u64| ((word & LOWS) + LOWS) | word;
    // Brings the eight high bits together in the highest byte.
    let gather = |word: u64| ((word & HIGHS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let special = |word: u64| {
        let plain = not_zero(word ^ (ONES * 0x22))
            & not_zero(word ^ (ONES * 0x5c))
            & not_zero(word & (ONES * 0xe0));
        gather(!plain)
    };
    BlockMask {
        special: u32::try_from(special(low) | special(high) << 8).unwrap_or_default(),
        high: (low | high) & HIGHS != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_byte(bytes: &[u8]) -> BlockMask {
        let mut marks = BlockMask {
            special: 0,
            high: false,
        };
        for (at, byte) in bytes.iter().enumerate() {
            marks.special |= u32::from(*byte < 0x20 || matches!(byte, b'"' | b'\\')) << at;
            marks.high |= *byte >= 0x80;
        }
        marks
    }

    proptest! {
        #[test]
        fn a_block_is_what_a_look_at_each_byte_finds(low in any::<u64>(), high in any::<u64>()) {
            let block = [low.to_le_bytes(), high.to_le_bytes()].concat();
            let expected = by_byte(&block);
            prop_assert_eq!(in_words(low, high), expected);
            prop_assert_eq!(in_block(block.first_chunk().unwrap()), expected);
        }

        #[test]
        fn every_special_byte_has_its_bit(text in "[a\"\\\\\u{0}\u{1f} é\u{7f}]{0,8}") {
            prop_assert_eq!(in_last_block(text.as_bytes()), by_byte(text.as_bytes()));
        }
    }
}
