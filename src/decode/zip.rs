//! Reads a zip archive in chunks as they arrive: its files one after another, from their local
//! headers, with bounded memory.
//!
//! No name in an archive is ever used as a path; names are text.

use core::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};

use super::crc32::Crc32;

/// Why bytes are not a zip archive that can be read. The text is a clause for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZipError(pub &'static str);

/// The result of [`Archive::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveItem {
    /// More of the current file was appended.
    Content,
    /// All files were returned.
    End,
    /// The next file begins. The name is the one that the archive gives.
    File(String),
    /// The current file cannot be read any further; reading continues after it.
    FileBroken(&'static str),
    /// The current file is complete.
    FileEnd,
    /// More of the archive is needed: call [`Archive::push`] or [`Archive::finish`].
    NeedsInput,
    /// Nothing more can be read. Further calls return the same error.
    Broken(ZipError),
}

/// An archive with more files is no delivery of logs: every half hour brings one of each type.
pub const FILES_MAX: u32 = 10_000;

/// Longer names are refused; the documented ones have 40 bytes.
const NAME_BYTES_MAX: usize = 512;

/// An archive that inflates to more is no delivery of logs.
const INFLATED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Deflate cannot do better than 1032:1, and logs do 5:1 to 40:1. Checked past the first 16 MiB.
const RATIO_MAX: u64 = 400;
const RATIO_UNCHECKED_BYTES: u64 = 16 * 1024 * 1024;

/// One inflated piece; small enough that a limit is noticed early.
const PIECE_BYTES: usize = 64 * 1024;

const LOCAL_HEADER_SIGNATURE: &[u8] = b"PK\x03\x04";
const LOCAL_HEADER_BYTES: usize = 30;
const DESCRIPTOR_SIGNATURE: &[u8] = b"PK\x07\x08";

/// What may follow the last file: the directory, or the end of an archive without files.
const DIRECTORY_SIGNATURES: [&[u8]; 3] = [b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06"];

const TRUNCATED: ZipError = ZipError("the archive ends early");
const TOO_LARGE: ZipError = ZipError("the archive inflates beyond the limit");
const BOMB: ZipError = ZipError("the archive inflates beyond 4 GiB or a ratio of 400");
const TOO_MANY: ZipError = ZipError("the archive holds more than 10000 files");
const CORRUPT: &str = "the compressed data is broken";
const WRONG_SUM: &str = "the checksum is wrong";

/// Returns whether bytes begin as a zip archive does; an empty one begins with its end.
#[must_use]
pub fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL_HEADER_SIGNATURE) || bytes.starts_with(b"PK\x05\x06")
}

/// Returns the contents of all files, one after another, and where each of them is.
///
/// # Errors
///
/// The archive or a file in it is broken, or all inflate to more than `bytes_max`.
pub fn extract(
    archive: Vec<u8>,
    bytes_max: usize,
) -> Result<(Vec<u8>, Vec<Range<usize>>), ZipError> {
    let mut reader = Archive::of(archive);
    let (mut piece, mut bytes) = (Vec::new(), 0_usize);
    while reader.next_or_error(&mut piece)? != ArchiveItem::End {
        bytes = bytes.saturating_add(piece.len());
        piece.clear();
        if bytes > bytes_max {
            return Err(TOO_LARGE);
        }
    }
    // Inflated twice, because contents of unknown size need several times their memory to grow.
    let mut reader = Archive::of(reader.input);
    let (mut contents, mut files) = (Vec::with_capacity(bytes), Vec::new());
    let mut start = 0;
    loop {
        match reader.next_or_error(&mut contents)? {
            ArchiveItem::File(_) => start = contents.len(),
            ArchiveItem::FileEnd => files.push(start..contents.len()),
            ArchiveItem::End => return Ok((contents, files)),
            ArchiveItem::Content
            | ArchiveItem::FileBroken(_)
            | ArchiveItem::NeedsInput
            | ArchiveItem::Broken(_) => {}
        }
    }
}

/// Reads one archive. See the module.
pub struct Archive {
    /// The archive as it came; the bytes before `at` have been consumed.
    input: Vec<u8>,
    at: usize,
    finished: bool,
    stage: Stage,
    file: File,
    inflate: Decompress,
    files: u32,
    consumed_bytes: u64,
    inflated_bytes: u64,
}

/// The current file.
#[derive(Default)]
struct File {
    /// Whether what is left is copied: the file is not compressed, or its deflate stream has ended.
    copies_content: bool,
    /// The sizes are after the data: its end is known from the deflate stream.
    streamed: bool,
    /// The checksum that the header gives.
    expected_crc: u64,
    /// How many compressed bytes are left, where the header says it.
    remaining: Option<usize>,
    crc: Crc32,
}

#[derive(Clone, Copy)]
enum Stage {
    Between,
    Broken(ZipError),
    Content,
    Descriptor,
    Done,
    /// The current file is not read, for that reason.
    Refused(&'static str),
    Skipping(usize),
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            input: Vec::new(),
            at: 0,
            finished: false,
            stage: Stage::Between,
            file: File::default(),
            inflate: Decompress::new(false),
            files: 0,
            consumed_bytes: 0,
            inflated_bytes: 0,
        }
    }
}

impl Archive {
    /// Creates a reader of an archive that is in memory as a whole.
    fn of(archive: Vec<u8>) -> Self {
        let mut reader = Self::default();
        reader.push(archive);
        reader.finish();
        reader
    }

    /// Returns what [`Self::next`] returns, or an error where the archive or a file of it is broken.
    fn next_or_error(&mut self, content: &mut Vec<u8>) -> Result<ArchiveItem, ZipError> {
        match self.next(content) {
            ArchiveItem::FileBroken(why) => Err(ZipError(why)),
            ArchiveItem::NeedsInput => Err(TRUNCATED),
            ArchiveItem::Broken(error) => Err(error),
            item @ (ArchiveItem::Content
            | ArchiveItem::End
            | ArchiveItem::File(_)
            | ArchiveItem::FileEnd) => Ok(item),
        }
    }

    /// Appends the next chunk.
    pub fn push(&mut self, chunk: Vec<u8>) {
        if self.at >= self.input.len() {
            self.input = chunk;
        } else {
            self.input.drain(..self.at);
            self.input.extend_from_slice(&chunk);
        }
        self.at = 0;
    }

    /// Marks the archive as complete.
    pub const fn finish(&mut self) {
        self.finished = true;
    }

    /// Reads the next item, and appends contents of the current file to `out`.
    pub fn next(&mut self, out: &mut Vec<u8>) -> ArchiveItem {
        loop {
            match self.stage {
                Stage::Between => return self.begin_file(),
                Stage::Broken(error) => return ArchiveItem::Broken(error),
                Stage::Content if self.file.copies_content => return self.copy(out),
                Stage::Content => return self.inflate(out),
                Stage::Descriptor => return self.end_streamed(),
                Stage::Done => return ArchiveItem::End,
                Stage::Refused(why) => return self.skip_file(why),
                Stage::Skipping(0) => self.stage = Stage::Between,
                Stage::Skipping(remaining) => {
                    let consumed = remaining.min(self.rest().len());
                    if consumed == 0 {
                        return self.request_input();
                    }
                    self.consume(consumed);
                    self.stage = Stage::Skipping(remaining.saturating_sub(consumed));
                }
            }
        }
    }

    /// Returns the bytes that were appended and not read yet.
    fn rest(&self) -> &[u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Returns the bytes that were appended and not read yet, as far as they are known to belong to the current
    /// file. A broken archive has no further files, so all of them do.
    #[must_use]
    pub fn rest_of_file(&self) -> &[u8] {
        let rest = self.rest();
        let bytes = match self.stage {
            Stage::Between | Stage::Descriptor | Stage::Done => 0,
            Stage::Broken(_) => rest.len(),
            Stage::Content | Stage::Refused(_) => self.file.remaining.unwrap_or(0),
            Stage::Skipping(remaining) => remaining,
        };
        rest.get(..bytes).unwrap_or(rest)
    }

    fn consume(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.consumed_bytes = self.consumed_bytes.saturating_add(bytes);
    }

    const fn fail(&mut self, error: ZipError) -> ArchiveItem {
        self.stage = Stage::Broken(error);
        ArchiveItem::Broken(error)
    }

    /// Returns that more bytes are needed; if there are none, the archive was cut.
    const fn request_input(&mut self) -> ArchiveItem {
        if self.finished {
            self.fail(TRUNCATED)
        } else {
            ArchiveItem::NeedsInput
        }
    }

    fn begin_file(&mut self) -> ArchiveItem {
        let rest = self.rest();
        if rest.len() < 4 {
            return self.request_input();
        }
        if DIRECTORY_SIGNATURES
            .iter()
            .any(|signature| rest.starts_with(signature))
        {
            self.stage = Stage::Done;
            return ArchiveItem::End;
        }
        if !rest.starts_with(LOCAL_HEADER_SIGNATURE) {
            return self.fail(ZipError("the archive holds something other than a file"));
        }
        let (Some(name_bytes), Some(extra_bytes)) = (number(rest, 26, 2), number(rest, 28, 2))
        else {
            return self.request_input();
        };
        let data_at = LOCAL_HEADER_BYTES
            .saturating_add(name_bytes)
            .saturating_add(extra_bytes);
        if rest.len() < data_at {
            return self.request_input();
        }
        let flags = number(rest, 6, 2).unwrap_or(0);
        let method = number(rest, 8, 2).unwrap_or(0);
        let sum = number(rest, 14, 4).unwrap_or(0);
        let compressed_bytes = number(rest, 18, 4).unwrap_or(0);
        let name = rest
            .get(LOCAL_HEADER_BYTES..)
            .and_then(|rest| rest.get(..name_bytes));
        let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        let streamed = flags & 8 != 0;
        // All ones mean that the size is given elsewhere.
        let remaining = Some(compressed_bytes)
            .filter(|compressed_bytes| !streamed && *compressed_bytes != 0xffff_ffff);
        self.consume(data_at);
        self.files = self.files.saturating_add(1);
        if self.files > FILES_MAX {
            return self.fail(TOO_MANY);
        }
        self.stage = match method {
            _ if name_bytes > NAME_BYTES_MAX => Stage::Refused("its name is too long"),
            _ if flags & 1 != 0 => Stage::Refused("it is encrypted"),
            0 if remaining.is_some() => Stage::Content,
            8 => Stage::Content,
            _ => Stage::Refused("its compression is not deflate"),
        };
        self.file = File {
            copies_content: method == 0,
            streamed,
            expected_crc: u64::try_from(sum).unwrap_or(u64::MAX),
            remaining,
            crc: Crc32::default(),
        };
        self.inflate.reset(false);
        ArchiveItem::File(name)
    }

    /// Skips the rest of the current file; without a known end of it the archive is broken.
    const fn skip_file(&mut self, why: &'static str) -> ArchiveItem {
        match self.file.remaining {
            Some(remaining) => {
                self.stage = Stage::Skipping(remaining);
                ArchiveItem::FileBroken(why)
            }
            None => self.fail(ZipError(why)),
        }
    }

    fn copy(&mut self, out: &mut Vec<u8>) -> ArchiveItem {
        let remaining = self.file.remaining.unwrap_or(0);
        if remaining == 0 {
            return self.end_file(self.file.expected_crc);
        }
        let rest = self.input.get(self.at..).unwrap_or_default();
        let consumed = remaining.min(rest.len()).min(PIECE_BYTES);
        let piece = rest.get(..consumed).unwrap_or_default();
        if piece.is_empty() {
            return self.request_input();
        }
        self.file.crc.update(piece);
        out.extend_from_slice(piece);
        self.consume(consumed);
        self.file.remaining = Some(remaining.saturating_sub(consumed));
        self.count_and_check_inflated(consumed)
    }

    fn inflate(&mut self, out: &mut Vec<u8>) -> ArchiveItem {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let rest = rest
            .get(..self.file.remaining.unwrap_or(usize::MAX))
            .unwrap_or(rest);
        let before = out.len();
        out.reserve(PIECE_BYTES);
        let consumed_before = self.inflate.total_in();
        let result = self
            .inflate
            .decompress_vec(rest, out, FlushDecompress::None);
        let consumed = self.inflate.total_in().saturating_sub(consumed_before);
        let consumed = usize::try_from(consumed).unwrap_or(0);
        self.consume(consumed);
        self.file.remaining = self
            .file
            .remaining
            .map(|remaining| remaining.saturating_sub(consumed));
        let produced = out.get(before..).unwrap_or_default();
        self.file.crc.update(produced);
        let produced = produced.len();
        match result {
            Err(_) => self.skip_file(CORRUPT),
            Ok(Status::StreamEnd) if self.file.streamed => {
                self.stage = Stage::Descriptor;
                self.count_and_check_inflated(produced)
            }
            Ok(Status::StreamEnd) => {
                // With nothing left to copy, the next call ends the file, after this last piece.
                self.file.copies_content = true;
                if self.file.remaining.is_some_and(|remaining| remaining > 0) {
                    self.stage = Stage::Refused("it ends too early");
                }
                self.file.remaining = self.file.remaining.or(Some(0));
                self.count_and_check_inflated(produced)
            }
            Ok(Status::Ok | Status::BufError) if produced > 0 || consumed > 0 => {
                self.count_and_check_inflated(produced)
            }
            // All of the file was given and its data does not end.
            Ok(Status::Ok | Status::BufError) if self.file.remaining == Some(0) => {
                self.skip_file(CORRUPT)
            }
            Ok(Status::Ok | Status::BufError) => self.request_input(),
        }
    }

    fn count_and_check_inflated(&mut self, bytes: usize) -> ArchiveItem {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.inflated_bytes = self.inflated_bytes.saturating_add(bytes);
        let is_bomb = self.inflated_bytes > INFLATED_BYTES_MAX
            || (self.inflated_bytes > RATIO_UNCHECKED_BYTES
                && self.inflated_bytes / RATIO_MAX > self.consumed_bytes);
        if is_bomb {
            return self.fail(BOMB);
        }
        ArchiveItem::Content
    }

    /// Reads the descriptor after the data of a streamed file: a checksum and two sizes, perhaps with a
    /// signature, perhaps of 8 bytes each. The bytes after them show which it is.
    fn end_streamed(&mut self) -> ArchiveItem {
        let rest = self.rest();
        let has_signature = rest.starts_with(DESCRIPTOR_SIGNATURE);
        let sum_at = if has_signature { 4 } else { 0 };
        let is_end = |at: usize| rest.get(at..).is_some_and(|rest| rest.starts_with(b"PK"));
        let end = [12, 20]
            .map(|bytes| bytes + sum_at)
            .into_iter()
            .find(|at| is_end(*at));
        match (end, number(rest, sum_at, 4)) {
            (Some(end), Some(sum)) => {
                self.consume(end);
                self.end_file(u64::try_from(sum).unwrap_or(u64::MAX))
            }
            (_, _) if rest.len() < 26 => self.request_input(),
            (_, _) => self.fail(ZipError("the size of a file in the archive cannot be read")),
        }
    }

    fn end_file(&mut self, sum: u64) -> ArchiveItem {
        self.stage = Stage::Between;
        if u64::from(self.file.crc.sum()) == sum {
            ArchiveItem::FileEnd
        } else {
            ArchiveItem::FileBroken(WRONG_SUM)
        }
    }
}

/// Returns a number of the header, the lowest byte first.
fn number(header: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let bytes = header.get(at..at.checked_add(bytes)?)?;
    let value = bytes
        .iter()
        .rev()
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
pub(crate) mod tests;
