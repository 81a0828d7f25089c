//! Which bytes of a block a string scanner must look at: quotes, backslashes, control characters.

/// How many bytes are looked at together, one for each bit of the answer.
pub(super) const BLOCK: usize = 64;

/// The answer for the block that begins at `start`: bit 0 for its first byte. There is nothing
/// after the end.
#[inline]
pub(super) fn in_block(bytes: &[u8], start: usize) -> u64 {
    let rest = bytes.get(start..).unwrap_or_default();
    if let Some(block) = rest.first_chunk::<BLOCK>() {
        return in_full_block(block);
    }
    let mut padded = [b' '; BLOCK];
    for (to, from) in padded.iter_mut().zip(rest) {
        *to = *from;
    }
    in_full_block(&padded)
}

#[inline]
fn in_full_block(block: &[u8; BLOCK]) -> u64 {
    let (quarters, _) = block.as_chunks::<16>();
    let bits = quarters.iter().rev().map(|quarter| {
        let (halves, _) = quarter.as_chunks::<8>();
        let mut words = halves.iter().map(|half| u64::from_le_bytes(*half));
        in_words(
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        )
    });
    bits.fold(0, |sum, bits| sum << 16 | u64::from(bits))
}

/// The answer for sixteen bytes, given as two little-endian words.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
fn in_words(low: u64, high: u64) -> u16 {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, u64x2, v128_or};
    let bytes = u64x2(low, high);
    let quotes = u8x16_eq(bytes, u8x16_splat(0x22));
    let backslashes = u8x16_eq(bytes, u8x16_splat(0x5c));
    let controls = u8x16_lt(bytes, u8x16_splat(0x20));
    u8x16_bitmask(v128_or(v128_or(quotes, backslashes), controls))
}

/// The answer for sixteen bytes, given as two little-endian words.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline]
fn in_words(low: u64, high: u64) -> u16 {
    const ONES: u64 = u64::MAX / 255;
    const LOWS: u64 = ONES * 0x7f;
    const HIGHS: u64 = ONES * 0x80;
    // The high bit of each byte that is not zero, and perhaps others.
    let not_zero = |word: u64| ((word & LOWS) + LOWS) | word;
    let bits = |word: u64| {
        let plain = not_zero(word ^ (ONES * 0x22))
            & not_zero(word ^ (ONES * 0x5c))
            & not_zero(word & (ONES * 0xe0));
        // Brings the eight high bits together in the highest byte.
        ((!plain & HIGHS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    u16::try_from(bits(low) | bits(high) << 8).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_find_what_a_look_at_each_byte_finds(low in any::<u64>(), high in any::<u64>()) {
            let bytes = low.to_le_bytes().into_iter().chain(high.to_le_bytes());
            let expected = bytes.enumerate().fold(0, |sum, (at, byte)| {
                sum | u16::from(byte < 0x20 || matches!(byte, b'"' | b'\\')) << at
            });
            prop_assert_eq!(in_words(low, high), expected);
        }

        #[test]
        fn every_special_byte_has_its_bit(
            text in "[a\"\\\\\u{0}\u{1f} é]{0,150}",
            start in 0..200_usize) {
            let expected = text.bytes().skip(start).take(BLOCK).enumerate().fold(0, |sum, (at, byte)| {
                sum | u64::from(byte < 0x20 || matches!(byte, b'"' | b'\\')) << at
            });
            prop_assert_eq!(in_block(text.as_bytes(), start), expected);
        }
    }
}
