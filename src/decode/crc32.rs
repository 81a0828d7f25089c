//! The CRC-32 of gzip and zip (RFC 1952, section 8), eight bytes at a time.
//!
//! The implementation of zlib-rs is fast only with its loops unrolled, for which the component has no
//! room. Without that it takes longer than inflating.

use std::sync::LazyLock;

const POLYNOMIAL: u32 = 0xedb8_8320;

/// `[n][byte]` is the checksum of the byte with `n` zeros after it.
type Tables = [[u32; 256]; 8];

/// Made at run time: as a constant they would be 8 KiB of the component.
static TABLES: LazyLock<Box<Tables>> = LazyLock::new(tables);

/// The checksum of the bytes so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crc32(u32);

impl Crc32 {
    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let tables = &**TABLES;
        let (chunks, rest) = bytes.as_chunks::<16>();
        let mut sum = !self.0;
        for chunk in chunks {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *chunk;
            sum = step(tables, sum, [a, b, c, d, e, f, g, h]);
            sum = step(tables, sum, [i, j, k, l, m, n, o, p]);
        }
        for byte in rest {
            let [low, ..] = sum.to_le_bytes();
            sum = entry(&tables[0], byte ^ low) ^ (sum >> 8);
        }
        self.0 = !sum;
    }

    /// Returns the checksum.
    #[must_use]
    pub const fn sum(self) -> u32 {
        self.0
    }
}

const fn step(tables: &Tables, sum: u32, bytes: [u8; 8]) -> u32 {
    let [a, b, c, d, e, f, g, h] = bytes;
    let [s, t, u, v] = sum.to_le_bytes();
    entry(&tables[7], a ^ s)
        ^ entry(&tables[6], b ^ t)
        ^ entry(&tables[5], c ^ u)
        ^ entry(&tables[4], d ^ v)
        ^ entry(&tables[3], e)
        ^ entry(&tables[2], f)
        ^ entry(&tables[1], g)
        ^ entry(&tables[0], h)
}

#[expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "every byte is an index of the table, and `usize::from` is not const"
)]
const fn entry(table: &[u32; 256], byte: u8) -> u32 {
    table[byte as usize]
}

fn tables() -> Box<Tables> {
    let mut tables = Box::new([[0; 256]; 8]);
    let [first, others @ ..] = &mut *tables;
    for (byte, sum) in (0..).zip(first.iter_mut()) {
        *sum = byte;
        for _ in 0..8 {
            *sum = (*sum >> 1) ^ if *sum & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    let mut before = *first;
    for table in others {
        for (sum, before) in table.iter_mut().zip(before) {
            let [low, ..] = before.to_le_bytes();
            *sum = (before >> 8) ^ entry(first, low);
        }
        before = *table;
    }
    tables
}

#[cfg(test)]
mod tests {
    use flate2::Crc;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_standard() {
        let mut crc = Crc32::default();
        assert_eq!(crc.sum(), 0);
        crc.update(b"123456789");
        assert_eq!(crc.sum(), 0xcbf4_3926);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_flate2_in_pieces_of_any_length(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..8),
        ) {
            let (mut crc, mut expected) = (Crc32::default(), Crc::new());
            for piece in &pieces {
                crc.update(piece);
                expected.update(piece);
                prop_assert_eq!(crc.sum(), expected.sum());
            }
        }
    }
}
