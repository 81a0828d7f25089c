//! One member of a gzip body (RFC 1952), inflated in pieces.
//!
//! zlib-rs reads gzip as well, with its own checksum; see [`crc32`](super::crc32).

use flate2::{Decompress, FlushDecompress};
use memchr::memchr;

use super::crc32::Crc32;

/// The bytes of a member before optional fields.
const FIXED_HEADER_BYTES: usize = 10;

/// The checksum and the size, after the data.
const TRAILER_BYTES: usize = 8;

/// A header that is not complete within this is refused: names and comments are short.
const HEADER_BYTES_MAX: usize = 64 * 1024;

const METHOD_DEFLATE: u8 = 8;

const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// The state of a member after [`GzipMember::inflate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// More input or more output is needed.
    Incomplete,
    /// The member is complete.
    End,
    /// The bytes are not a gzip member, or its checksum or size is wrong.
    Corrupt,
}

/// The result of [`GzipMember::inflate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inflated {
    /// How many bytes of the input were consumed.
    pub consumed: usize,
    /// How many bytes of the output were written, whatever the status is.
    pub produced: usize,
    /// The state of the member.
    pub status: Status,
}

/// Not a gzip header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WrongHeader;

#[derive(Clone, Copy)]
enum Stage {
    Header,
    Data,
    Trailer,
}

/// Inflates one member.
pub struct GzipMember {
    inflate: Decompress,
    crc: Crc32,
    /// The inflated size, modulo 2^32.
    size: u32,
    stage: Stage,
}

impl GzipMember {
    /// Creates a reader at the start of a member.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            crc: Crc32::default(),
            size: 0,
            stage: Stage::Header,
        }
    }

    /// Starts again, at the next member.
    pub fn reset(&mut self) {
        self.inflate.reset(false);
        self.crc = Crc32::default();
        self.size = 0;
        self.stage = Stage::Header;
    }

    /// Inflates from `input` into `output`. Header and trailer are consumed as a whole: where nothing is
    /// consumed or produced, more of them is needed.
    pub fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Inflated {
        let mut inflated = Inflated {
            consumed: 0,
            produced: 0,
            status: Status::Incomplete,
        };
        if matches!(self.stage, Stage::Header) {
            match header_bytes(input) {
                Err(WrongHeader) => inflated.status = Status::Corrupt,
                Ok(None) => {}
                Ok(Some(header)) => {
                    inflated.consumed = header;
                    self.stage = Stage::Data;
                }
            }
        }
        if matches!(self.stage, Stage::Data) {
            let rest = input.get(inflated.consumed..).unwrap_or_default();
            self.inflate_data(rest, output, &mut inflated);
        }
        if matches!(self.stage, Stage::Trailer) {
            let rest = input.get(inflated.consumed..).unwrap_or_default();
            self.check_trailer(rest, &mut inflated);
        }
        inflated
    }

    fn inflate_data(&mut self, input: &[u8], output: &mut [u8], inflated: &mut Inflated) {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let result = self
            .inflate
            .decompress(input, output, FlushDecompress::None);
        let consumed = self.inflate.total_in().saturating_sub(before_in);
        let produced = self.inflate.total_out().saturating_sub(before_out);
        let consumed = usize::try_from(consumed).unwrap_or(usize::MAX);
        inflated.consumed = inflated.consumed.saturating_add(consumed);
        inflated.produced = usize::try_from(produced).unwrap_or(0);
        let produced = output.get(..inflated.produced).unwrap_or_default();
        self.crc.update(produced);
        let size = u32::try_from(produced.len()).unwrap_or_default();
        self.size = self.size.wrapping_add(size);
        match result {
            Err(_) => inflated.status = Status::Corrupt,
            Ok(flate2::Status::Ok | flate2::Status::BufError) => {}
            Ok(flate2::Status::StreamEnd) => self.stage = Stage::Trailer,
        }
    }

    fn check_trailer(&self, input: &[u8], inflated: &mut Inflated) {
        let Some(trailer) = input.first_chunk::<TRAILER_BYTES>() else {
            return;
        };
        let [a, b, c, d, size @ ..] = *trailer;
        let is_right = u32::from_le_bytes([a, b, c, d]) == self.crc.sum()
            && u32::from_le_bytes(size) == self.size;
        if is_right {
            inflated.consumed = inflated.consumed.saturating_add(TRAILER_BYTES);
            inflated.status = Status::End;
        } else {
            inflated.status = Status::Corrupt;
        }
    }
}

impl Default for GzipMember {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the length of the header; `None` while more of it is needed.
fn header_bytes(input: &[u8]) -> Result<Option<usize>, WrongHeader> {
    if let Some([first, second, method, flags]) = input.first_chunk::<4>()
        && ([*first, *second] != [0x1f, 0x8b]
            || *method != METHOD_DEFLATE
            || flags & FLAGS_RESERVED != 0)
    {
        return Err(WrongHeader);
    }
    let Some((rest, has_crc)) = after_fields(input) else {
        return if input.len() > HEADER_BYTES_MAX {
            Err(WrongHeader)
        } else {
            Ok(None)
        };
    };
    let length = input.len().saturating_sub(rest.len());
    if !has_crc {
        return Ok(Some(length));
    }
    let Some([low, high]) = rest.first_chunk::<2>() else {
        return Ok(None);
    };
    let mut crc = Crc32::default();
    crc.update(input.get(..length).unwrap_or_default());
    let [first, second, ..] = crc.sum().to_le_bytes();
    if [first, second] == [*low, *high] {
        Ok(Some(length.saturating_add(2)))
    } else {
        Err(WrongHeader)
    }
}

/// Returns the bytes after the fields of a header, and whether they begin with a checksum of the
/// header.
fn after_fields(input: &[u8]) -> Option<(&[u8], bool)> {
    let (header, mut rest) = input.split_first_chunk::<FIXED_HEADER_BYTES>()?;
    let [_, _, _, flags, ..] = *header;
    if flags & FLAG_EXTRA != 0 {
        let (length, after_length) = rest.split_first_chunk::<2>()?;
        rest = after_length.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end = memchr(0, rest)?;
            rest = rest.get(end.checked_add(1)?..)?;
        }
    }
    Some((rest, flags & FLAG_HEADER_CRC != 0))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    /// Inflates a member that arrives in pieces, into output for some bytes at a time. Returns the
    /// content and how much was consumed if it is complete, otherwise its last status.
    fn inflate(body: &[u8], piece: usize, output: usize) -> Result<(Vec<u8>, usize), Status> {
        let mut member = GzipMember::new();
        let (mut content, mut output) = (Vec::new(), vec![0; output]);
        let (mut at, mut end) = (0, 0);
        loop {
            let inflated = member.inflate(&body[at..end], &mut output);
            at += inflated.consumed;
            content.extend_from_slice(&output[..inflated.produced]);
            let is_over = inflated.consumed == 0 && inflated.produced == 0 && end == body.len();
            match inflated.status {
                Status::End => return Ok((content, at)),
                Status::Incomplete if !is_over => {}
                Status::Corrupt | Status::Incomplete => return Err(inflated.status),
            }
            if inflated.produced == 0 {
                end = (end + piece).min(body.len());
            }
        }
    }

    fn member(header: GzBuilder, content: &[u8]) -> Vec<u8> {
        let mut encoder = header.write(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn with_all_fields() -> GzBuilder {
        let header = GzBuilder::new().extra(b"an extra field".to_vec());
        header.filename("a name").comment("a comment").mtime(7)
    }

    /// A member whose header has a checksum, which flate2 does not write.
    fn with_header_crc(content: &[u8]) -> Vec<u8> {
        let mut body = member(with_all_fields(), content);
        body[3] |= FLAG_HEADER_CRC;
        let header = body.len() - after_fields(&body).unwrap().0.len();
        let mut crc = Crc32::default();
        crc.update(&body[..header]);
        let [low, high, ..] = crc.sum().to_le_bytes();
        body.splice(header..header, [low, high]);
        body
    }

    #[test]
    fn every_header_is_passed_over_in_pieces_of_any_length() {
        let content = b"some lines\nof records\n".repeat(20);
        for body in [
            member(GzBuilder::new(), &content),
            member(with_all_fields(), &content),
            member(GzBuilder::new().filename("a"), &content),
            with_header_crc(&content),
        ] {
            let length = body.len();
            let more = [&body[..], b"next"].concat();
            for piece in [1, 2, 7, 1_000] {
                assert_eq!(inflate(&more, piece, 64), Ok((content.clone(), length)));
            }
        }
    }

    #[test]
    fn a_wrong_header_checksum_or_size_is_corrupt() {
        let content = b"some lines\n";
        let good = with_header_crc(content);
        let flags = 3;
        let checksum_of_header = good.len() - after_fields(&good).unwrap().0.len();
        let (crc, size) = (good.len() - 8, good.len() - 4);
        for at in [0, 1, 2, checksum_of_header, crc, size] {
            let mut body = good.clone();
            body[at] ^= 1;
            assert_eq!(inflate(&body, 1_000, 64), Err(Status::Corrupt), "byte {at}");
        }
        let mut body = good;
        body[flags] |= 0x20;
        assert_eq!(inflate(&body, 1_000, 64), Err(Status::Corrupt));
    }

    #[test]
    fn a_name_without_an_end_is_corrupt() {
        let mut body = vec![0x1f, 0x8b, METHOD_DEFLATE, FLAG_NAME, 0, 0, 0, 0, 0, 0];
        body.resize(HEADER_BYTES_MAX, b'a');
        assert_eq!(header_bytes(&body), Ok(None));
        body.push(b'a');
        assert_eq!(header_bytes(&body), Err(WrongHeader));
    }

    proptest! {
        #[test]
        fn a_whole_member_is_inflated_and_a_cut_one_is_incomplete(
            content in prop::collection::vec(any::<u8>(), 0..2_000),
            piece in 1..300_usize,
            output in 1..300_usize,
            cut in any::<prop::sample::Index>(),
        ) {
            let body = member(GzBuilder::new(), &content);
            prop_assert_eq!(inflate(&body, piece, output), Ok((content, body.len())));
            let cut = cut.index(body.len());
            prop_assert_eq!(inflate(&body[..cut], piece, output), Err(Status::Incomplete));
        }
    }
}
