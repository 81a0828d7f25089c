//! Finds the bytes that a string scanner must inspect, 16 at a time: quotes, backslashes, control
//! characters.

/// How many bytes are inspected together, one for each bit of a mask.
const BLOCK: usize = 16;

/// The bytes of a block that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockMask {
    /// Quotes, backslashes and control characters: one bit for each byte, bit 0 for the first.
    special: u32,
    /// Whether there are bytes beyond ASCII.
    has_non_ascii: bool,
}

/// Returns the number of bytes before the next quote, backslash or control character, or before the end,
/// and whether they may contain more than ASCII.
#[inline]
#[must_use]
pub fn plain_prefix_len(text: &[u8]) -> (usize, bool) {
    let mut rest = text;
    let mut has_non_ascii = false;
    loop {
        let (mask, after) = match rest.split_first_chunk() {
            Some((block, after)) => (block_mask(block), after),
            None => (last_block_mask(rest), &[][..]),
        };
        has_non_ascii |= mask.has_non_ascii;
        if mask.special != 0 {
            let within = usize::try_from(mask.special.trailing_zeros()).unwrap_or(usize::MAX);
            let length = text.len() - rest.len() + within;
            return (length, has_non_ascii);
        }
        if after.is_empty() {
            return (text.len(), has_non_ascii);
        }
        rest = after;
    }
}

/// Computes the mask of the last block, in which the text ends.
#[cold]
fn last_block_mask(rest: &[u8]) -> BlockMask {
    let mut padded = [b' '; BLOCK];
    for (to, from) in padded.iter_mut().zip(rest) {
        *to = *from;
    }
    block_mask(&padded)
}

/// Computes the mask of a whole block.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
fn block_mask(block: &[u8; BLOCK]) -> BlockMask {
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
        has_non_ascii: u8x16_bitmask(bytes) != 0,
    }
}

/// Computes the mask of a whole block.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline]
fn block_mask(block: &[u8; BLOCK]) -> BlockMask {
    mask_of_words(low(block), high(block))
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
fn mask_of_words(low: u64, high: u64) -> BlockMask {
    const ONES: u64 = u64::MAX / 255;
    const LOW_BITS: u64 = ONES * 0x7f;
    const HIGH_BITS: u64 = ONES * 0x80;
    // Sets the high bit of exactly those bytes that are not zero; the other seven bits of each byte are
    // arbitrary.
    let not_zero = |word: u64| ((word & LOW_BITS) + LOW_BITS) | word;
    // Brings the eight high bits together in the highest byte.
    let gather = |word: u64| ((word & HIGH_BITS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let special = |word: u64| {
        let plain = not_zero(word ^ (ONES * 0x22))
            & not_zero(word ^ (ONES * 0x5c))
            & not_zero(word & (ONES * 0xe0));
        gather(!plain)
    };
    BlockMask {
        special: u32::try_from(special(low) | special(high) << 8).unwrap_or_default(),
        has_non_ascii: (low | high) & HIGH_BITS != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask_by_byte(bytes: &[u8]) -> BlockMask {
        let mut mask = BlockMask {
            special: 0,
            has_non_ascii: false,
        };
        for (at, byte) in bytes.iter().enumerate() {
            mask.special |= u32::from(*byte < 0x20 || matches!(byte, b'"' | b'\\')) << at;
            mask.has_non_ascii |= *byte >= 0x80;
        }
        mask
    }

    proptest! {
        #[test]
        fn the_mask_of_a_block_is_that_of_its_bytes(low in any::<u64>(), high in any::<u64>()) {
            let block = [low.to_le_bytes(), high.to_le_bytes()].concat();
            let expected = mask_by_byte(&block);
            prop_assert_eq!(mask_of_words(low, high), expected);
            prop_assert_eq!(block_mask(block.first_chunk().unwrap()), expected);
        }

        #[test]
        fn every_special_byte_has_its_bit(text in "[a\"\\\\\u{0}\u{1f} é\u{7f}]{0,8}") {
            prop_assert_eq!(last_block_mask(text.as_bytes()), mask_by_byte(text.as_bytes()));
        }
    }
}
