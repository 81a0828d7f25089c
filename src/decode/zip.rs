//! The files in a zip archive, read from its local headers one after another.

use flate2::{Decompress, FlushDecompress, Status};

/// Why bytes are not a zip archive that can be read. The text is a clause for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZipError(pub &'static str);

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";

/// One inflated piece; small enough that a limit is noticed early.
const PIECE_BYTES: usize = 64 * 1024;

/// Whether bytes begin as a zip archive does; an empty one begins with its end.
#[must_use]
pub fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL_HEADER) || bytes.starts_with(b"PK\x05\x06")
}

/// The contents of all files, in the order in which they stand, each with its name.
///
/// # Errors
///
/// The archive is broken, uses something else than deflate, or inflates to more than
/// `bytes_max`.
pub fn files(archive: &[u8], bytes_max: usize) -> Result<Vec<(String, Vec<u8>)>, ZipError> {
    let mut files = Vec::new();
    let mut rest = archive;
    let mut left = bytes_max;
    while let Some(header) = rest.strip_prefix(LOCAL_HEADER) {
        let cut = ZipError("the archive ends early");
        let flags = number(header, 2, 2).ok_or(cut)?;
        let method = number(header, 4, 2).ok_or(cut)?;
        let size = number(header, 14, 4).ok_or(cut)?;
        let name_bytes = number(header, 22, 2).ok_or(cut)?;
        let extra_bytes = number(header, 24, 2).ok_or(cut)?;
        let (name, data) = header
            .get(26..)
            .and_then(|rest| rest.split_at_checked(name_bytes))
            .ok_or(cut)?;
        let data = data.get(extra_bytes..).ok_or(cut)?;
        // With bit 3 the sizes stand behind the data, which deflate ends by itself.
        let streamed = flags & 8 != 0;
        let (content, used) = match method {
            0 if !streamed => {
                let content = data.get(..size).ok_or(cut)?;
                if size > left {
                    return Err(TOO_LARGE);
                }
                (content.to_vec(), size)
            }
            8 => inflate(data, left)?,
            _ => return Err(ZipError("a file of the archive is not deflated")),
        };
        left = left.saturating_sub(content.len());
        files.push((String::from_utf8_lossy(name).into_owned(), content));
        rest = data.get(used..).ok_or(cut)?;
        if streamed {
            rest = behind_descriptor(rest).ok_or(cut)?;
        }
    }
    Ok(files)
}

const TOO_LARGE: ZipError = ZipError("the archive inflates to more than is taken");

/// Inflates one file, and says how many bytes it took.
fn inflate(data: &[u8], bytes_max: usize) -> Result<(Vec<u8>, usize), ZipError> {
    let mut inflater = Decompress::new(false);
    let mut content = Vec::new();
    loop {
        let used = usize::try_from(inflater.total_in()).unwrap_or(usize::MAX);
        let input = data.get(used..).unwrap_or_default();
        let before = content.len();
        content.reserve(PIECE_BYTES);
        let status = inflater
            .decompress_vec(input, &mut content, FlushDecompress::None)
            .map_err(|_| ZipError("a file of the archive is broken"))?;
        if content.len() > bytes_max {
            return Err(TOO_LARGE);
        }
        let now_used = usize::try_from(inflater.total_in()).unwrap_or(usize::MAX);
        match status {
            Status::StreamEnd => return Ok((content, now_used)),
            Status::Ok | Status::BufError if content.len() > before || now_used > used => {}
            Status::Ok | Status::BufError => return Err(ZipError("the archive ends early")),
        }
    }
}

/// What follows the sizes behind a file: a checksum and two sizes, perhaps with a signature,
/// perhaps of 8 bytes each.
fn behind_descriptor(rest: &[u8]) -> Option<&[u8]> {
    let rest = rest.strip_prefix(DESCRIPTOR).unwrap_or(rest);
    let is_next = |rest: &&[u8]| rest.is_empty() || rest.starts_with(b"PK");
    rest.get(12..)
        .filter(is_next)
        .or_else(|| rest.get(20..).filter(is_next))
}

/// A number of the header, which begins behind its signature.
fn number(header: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let bytes = header.get(at..at.checked_add(bytes)?)?;
    let value = bytes
        .iter()
        .rev()
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write as _;

    /// An archive of one file, with the sizes before or behind the data.
    pub(crate) fn archive(name: &str, content: &[u8], streamed: bool) -> Vec<u8> {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        let data = encoder.finish().unwrap();
        let sizes = [
            [0; 4],
            u32::try_from(data.len()).unwrap().to_le_bytes(),
            u32::try_from(content.len()).unwrap().to_le_bytes(),
        ]
        .concat();
        let mut out = b"PK\x03\x04\x14\0".to_vec();
        out.extend([if streamed { 8 } else { 0 }, 0, 8, 0, 0, 0, 0, 0]);
        out.extend(if streamed { vec![0; 12] } else { sizes.clone() });
        out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        out.extend([0, 0]);
        out.extend(name.as_bytes());
        out.extend(data);
        if streamed {
            out.extend(b"PK\x07\x08");
            out.extend(sizes);
        }
        out
    }

    #[test]
    fn files_are_inflated_one_after_another() {
        let text = "abc".repeat(50_000);
        let mut bytes = archive("a.csv", text.as_bytes(), false);
        bytes.extend(archive("b.csv", b"x", true));
        bytes.extend(b"PK\x01\x02 the directory is not read");
        assert!(is_zip(&bytes));
        let files = files(&bytes, 1 << 20).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].0.as_str(), files[0].1.len()), ("a.csv", 150_000));
        assert_eq!(files[1], ("b.csv".to_owned(), b"x".to_vec()));
    }

    #[test]
    fn what_is_broken_or_too_large_is_refused() {
        let bytes = archive("a", "abc".repeat(50_000).as_bytes(), false);
        assert_eq!(files(&bytes, 100_000), Err(TOO_LARGE));
        for cut in [5, 20, 29, 40, bytes.len() - 1] {
            assert!(files(&bytes[..cut], 1 << 20).is_err(), "{cut}");
        }
        assert_eq!(files(b"<html>", 10), Ok(Vec::new()));
        assert!(is_zip(b"PK\x05\x06") && !is_zip(b"{}"));
    }
}
