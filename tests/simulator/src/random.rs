//! A small generator of pseudo-random numbers: the same seed gives the same tenant everywhere.

/// `SplitMix64`: one word of state, and good enough to look like mail.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// Creates a generator for one purpose. Another purpose or label gives an unrelated sequence; of a
    /// purpose, the last eight bytes count.
    pub(crate) fn new(seed: u64, purpose: &str, labels: &[u64]) -> Self {
        let mut random = Self { state: seed };
        let purpose = purpose
            .bytes()
            .fold(0, |word, byte| (word << 8) ^ u64::from(byte));
        for label in [purpose].iter().chain(labels) {
            random.state = random.next() ^ label.wrapping_mul(LABEL_MULTIPLIER);
        }
        random
    }

    /// Returns the next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 up to, and without, `bound`. 0 when the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// Returns whether something that happens `per_mille` times in a thousand happens now.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// Returns one of the items; the default when there is none.
    pub(crate) fn pick<T: Copy + Default>(&mut self, items: &[T]) -> T {
        let bound = u64::try_from(items.len()).unwrap_or(0);
        let index = usize::try_from(self.below(bound)).unwrap_or(0);
        items.get(index).copied().unwrap_or_default()
    }

    /// Returns lower-case hexadecimal of that many characters.
    pub(crate) fn hex(&mut self, chars: usize) -> String {
        self.text(HEX, 4, chars)
    }

    /// Returns a text as the identifiers of the upstream have them.
    pub(crate) fn token(&mut self, chars: usize) -> String {
        self.text(URL_SAFE, 6, chars)
    }

    /// Returns a text out of an alphabet of 2 to the power of `bits` characters.
    fn text(&mut self, alphabet: &[u8], bits: u32, chars: usize) -> String {
        let mut text = String::with_capacity(chars);
        let mut word = 0;
        for index in 0..chars {
            if index % 10 == 0 {
                word = self.next();
            }
            let letter = usize::try_from(word & ((1 << bits) - 1)).unwrap_or(0);
            text.push(char::from(alphabet.get(letter).copied().unwrap_or(b'0')));
            word >>= bits;
        }
        text
    }

    /// Returns a random UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        let builder = uuid::Builder::from_random_bytes(bits.to_be_bytes());
        builder.into_uuid().to_string()
    }
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
const LABEL_MULTIPLIER: u64 = 0xd134_2543_de82_ef95;
const HEX: &[u8; 16] = b"0123456789abcdef";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
