//! Reads a body of lines, gzip or plain, in chunks as they arrive, with bounded memory.
//!
//! The reader pulls: it inflates only as much as it needs for the next line, so that a small
//! chunk that inflates to a lot costs no more memory than one line.

use core::ops::Range;

use super::gzip::{GzipMember, Status};

/// Lines of at least this length are rejected, unless their end comes with the piece that exceeds it: no
/// known record comes near, and one line must fit into memory.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The byte order mark of UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Removes a byte order mark from the beginning of a whole body.
pub fn strip_byte_order_mark(body: &mut Vec<u8>) {
    if body.starts_with(BYTE_ORDER_MARK) {
        body.drain(..BYTE_ORDER_MARK.len());
    }
}

/// How much of a body that is not gzip has to arrive before it is reported as broken, so that the rejected
/// record shows its beginning.
const SAMPLE_BYTES: usize = 256;

/// Names of members of which every record of a SIEM log has at least one (`mimecast-api.md` §3.3, §4).
const RECORD_MEMBERS: [&str; 4] = [
    "\"type\"",
    "\"eventType\"",
    "\"aggregateId\"",
    "\"timestamp\"",
];

/// Names of members by which errors of storages and proxies that resemble a record are recognized:
/// all names of a row, for the errors of Spring and those of RFC 9457.
const ERROR_MEMBERS: [&[&str]; 2] = [&["\"status\"", "\"error\""], &["\"status\"", "\"title\""]];

/// The most unreadable bytes that a rejected record shows.
pub const UNREADABLE_BYTES_MAX: usize = 16 * 1024;

/// How much of a line that is too long the rejected record shows.
const TOO_LONG_LINE_BYTES_SHOWN: usize = 16 * 1024;

/// The step in which the window grows; large enough that inflating is not called per line.
const WINDOW_STEP_BYTES: usize = 64 * 1024;

/// A body that inflates to more is not a batch file.
const INFLATED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Deflate cannot do better than 1032:1, and logs do 5:1 to 40:1. Checked past the first 16 MiB.
const RATIO_MAX: u64 = 400;
const RATIO_UNCHECKED_BYTES: u64 = 16 * 1024 * 1024;

/// The result of [`LineReader::next_line`].
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A whole line without its line break.
    Whole(&'a [u8]),
    /// The first part of a line that is too long (see [`LINE_BYTES_MAX`]); the rest is skipped.
    TooLong(&'a [u8]),
    /// More of the body is needed: call [`LineReader::push`] or [`LineReader::finish`].
    NeedsInput,
    /// The body is complete and all lines were returned.
    End,
    /// The body cannot be read. Further calls return the same error.
    Broken(BrokenBody),
}

/// Why a body cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenBody {
    /// It begins neither like gzip nor like lines of records.
    UnknownFormat,
    /// The compressed data or its checksum is wrong.
    Corrupt,
    /// The body is empty although the file has a size.
    Empty,
    /// It ended before the compressed data did.
    Truncated,
    /// It inflates beyond the limits on size or ratio.
    Bomb,
}

impl BrokenBody {
    /// Returns the reason as a clause for people.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownFormat => "the body is neither gzip nor lines of records",
            Self::Empty => "the body is empty, although the page lists the file as not empty",
            Self::Corrupt => "the gzip data or its checksum is wrong",
            Self::Truncated => "the body ended in the middle of the gzip data",
            Self::Bomb => "the body inflates beyond 4 GiB or a ratio of 400",
        }
    }
}

/// The state of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the first byte of a member; `is_first_member` until there was one.
    Start {
        is_first_member: bool,
    },
    Inside,
    /// The lines are not compressed: something between the storage and this host has inflated them.
    Plain,
    Done,
    Broken(BrokenBody),
}

/// Inflates and splits one body. See the module.
pub struct LineReader {
    member: GzipMember,
    stage: Stage,
    /// The body as it came; the bytes before `input_at` have been consumed.
    input: Vec<u8>,
    input_at: usize,
    finished: bool,
    /// Inflated bytes; those before `line_at` were returned, those before `scanned` hold no
    /// further line break.
    window: Vec<u8>,
    filled: usize,
    line_at: usize,
    scanned: usize,
    /// Where the last line that was returned begins.
    last_at: usize,
    /// Whether the line at `line_at` was cut because it is too long.
    skipping: bool,
    consumed_bytes: u64,
    inflated_bytes: u64,
    may_be_empty: bool,
    /// Whether the first line is still to come: it may begin with a byte order mark.
    is_at_first_line: bool,
    /// Whether the body is not compressed and no record was seen yet.
    is_unverified: bool,
}

impl Default for LineReader {
    fn default() -> Self {
        Self::new()
    }
}

impl LineReader {
    /// Creates a reader at the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            member: GzipMember::new(),
            stage: Stage::Start {
                is_first_member: true,
            },
            input: Vec::new(),
            input_at: 0,
            finished: false,
            window: Vec::new(),
            filled: 0,
            line_at: 0,
            scanned: 0,
            last_at: 0,
            skipping: false,
            consumed_bytes: 0,
            inflated_bytes: 0,
            may_be_empty: true,
            is_at_first_line: true,
            is_unverified: false,
        }
    }

    /// Creates a reader at the start of a body that must not be empty.
    #[must_use]
    pub fn new_non_empty() -> Self {
        Self {
            may_be_empty: false,
            ..Self::new()
        }
    }

    /// Appends the next chunk of the body.
    pub fn push(&mut self, chunk: Vec<u8>) {
        if self.input_at >= self.input.len() {
            self.input = chunk;
        } else {
            self.input.drain(..self.input_at);
            self.input.extend_from_slice(&chunk);
        }
        self.input_at = 0;
    }

    /// Marks the body as complete.
    pub const fn finish(&mut self) {
        self.finished = true;
    }

    /// Returns the next line, or why there is none yet. Empty lines are returned like any other.
    pub fn next_line(&mut self) -> Line<'_> {
        loop {
            if let Some(range) = self.find_line() {
                let range = self.skip_byte_order_mark(range);
                if core::mem::take(&mut self.skipping) {
                    continue; // the rest of a line that was returned as too long
                }
                if !self.verify_first_record(&range) {
                    return Line::Broken(BrokenBody::UnknownFormat);
                }
                return Line::Whole(self.window.get(range).unwrap_or_default());
            }
            let pending = self.filled.saturating_sub(self.line_at);
            if pending >= LINE_BYTES_MAX || (self.skipping && pending > 0) {
                let start = self.line_at;
                self.line_at = self.filled;
                self.scanned = self.filled;
                if !core::mem::replace(&mut self.skipping, true) {
                    if !self.verify_first_record(&(start..self.filled)) {
                        return Line::Broken(BrokenBody::UnknownFormat);
                    }
                    let beginning = start
                        ..start
                            .saturating_add(TOO_LONG_LINE_BYTES_SHOWN)
                            .min(self.filled);
                    return Line::TooLong(self.window.get(beginning).unwrap_or_default());
                }
            }
            match self.stage {
                Stage::Broken(broken) => return Line::Broken(broken),
                Stage::Done => return self.last_line(),
                Stage::Start { .. } | Stage::Inside | Stage::Plain => {
                    if !self.inflate_more() {
                        return Line::NeedsInput;
                    }
                }
            }
        }
    }

    /// Returns the first bytes that could not be read, after [`Line::Broken`]: those of the incomplete
    /// line, or those of the body.
    #[must_use]
    pub fn unreadable_bytes(&self) -> &[u8] {
        let line = self
            .window
            .get(self.line_at..self.filled)
            .unwrap_or_default();
        let body = self.input.get(self.input_at..).unwrap_or_default();
        let unreadable = if line.is_empty() { body } else { line };
        unreadable.get(..UNREADABLE_BYTES_MAX).unwrap_or(unreadable)
    }

    /// Makes the reader return the last whole line once more. Nothing may be called in between.
    pub const fn put_back(&mut self) {
        self.line_at = self.last_at;
        self.scanned = self.last_at;
    }

    /// Returns a line that is whole in the window. Advances past it.
    fn find_line(&mut self) -> Option<Range<usize>> {
        let unseen = self.window.get(self.scanned..self.filled)?;
        let Some(at) = memchr::memchr(b'\n', unseen) else {
            self.scanned = self.filled;
            return None;
        };
        let end = self.scanned.saturating_add(at);
        let start = core::mem::replace(&mut self.line_at, end.saturating_add(1));
        self.scanned = self.line_at;
        self.last_at = start;
        let line = self.window.get(start..end)?;
        let end = if line.last() == Some(&b'\r') {
            end.saturating_sub(1)
        } else {
            end
        };
        Some(start..end)
    }

    /// Returns the line without a line break at the end of a whole body.
    fn last_line(&mut self) -> Line<'_> {
        let start = core::mem::replace(&mut self.line_at, self.filled);
        self.last_at = start;
        let range = self.skip_byte_order_mark(start..self.filled);
        if !self.verify_first_record(&range) {
            return Line::Broken(BrokenBody::UnknownFormat);
        }
        match self.window.get(range) {
            Some(line) if !line.is_empty() => Line::Whole(line),
            _ if self.is_unverified => Line::Broken(BrokenBody::UnknownFormat),
            _ => Line::End,
        }
    }

    /// Returns the line without a byte order mark, where it is the first one. The next is not.
    fn skip_byte_order_mark(&mut self, range: Range<usize>) -> Range<usize> {
        if !core::mem::take(&mut self.is_at_first_line) {
            return range;
        }
        let line = self.window.get(range.clone()).unwrap_or_default();
        if !line.starts_with(BYTE_ORDER_MARK) {
            return range;
        }
        let start = range.start.saturating_add(BYTE_ORDER_MARK.len());
        self.last_at = start;
        start..range.end
    }

    /// Returns whether the line may be one of a batch file. Where a body is not compressed, its
    /// first line has to have the members of a record: a response that is no file may be JSON as well,
    /// and must not count as the file. Otherwise the reader is broken from here on, and the line counts as
    /// not read. Only the first line that is not empty is checked.
    fn verify_first_record(&mut self, range: &Range<usize>) -> bool {
        let line = self.window.get(range.clone()).unwrap_or_default();
        if !self.is_unverified || line.trim_ascii().is_empty() {
            return true;
        }
        self.is_unverified = false;
        // Runs once for each body, so a plain search is fast enough.
        let is_in_line = |member: &&str| {
            let mut places = line.windows(member.len());
            places.any(|place| place == member.as_bytes())
        };
        let is_error = ERROR_MEMBERS
            .iter()
            .any(|members| members.iter().all(is_in_line));
        let is_record = RECORD_MEMBERS.iter().any(is_in_line) && !is_error;
        if !is_record {
            self.line_at = range.start;
            self.stage = Stage::Broken(BrokenBody::UnknownFormat);
        }
        is_record
    }

    /// Inflates into the window. Returns whether there was any progress.
    fn inflate_more(&mut self) -> bool {
        let input = self.input.get(self.input_at..).unwrap_or_default();
        if let Stage::Start { is_first_member } = self.stage {
            if let Some(stage) = stage_at_member(input, is_first_member, self.finished) {
                let is_empty = is_first_member && stage == Stage::Done;
                self.is_unverified = stage == Stage::Plain;
                self.stage = if is_empty && !self.may_be_empty {
                    Stage::Broken(BrokenBody::Empty)
                } else {
                    stage
                };
                return true;
            }
            return false;
        }
        if input.is_empty() {
            if self.finished && self.stage == Stage::Plain {
                self.stage = Stage::Done;
            } else if self.finished {
                self.stage = Stage::Broken(BrokenBody::Truncated);
            }
            return self.finished;
        }
        if self.stage == Stage::Plain {
            self.copy_uncompressed();
            return true;
        }
        self.make_room();
        let input = self.input.get(self.input_at..).unwrap_or_default();
        let room = self.window.get_mut(self.filled..).unwrap_or_default();
        let inflated = self.member.inflate(input, room);
        self.input_at = self.input_at.saturating_add(inflated.consumed);
        self.filled = self.filled.saturating_add(inflated.produced);
        let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.consumed_bytes = self.consumed_bytes.saturating_add(bytes(inflated.consumed));
        self.inflated_bytes = self.inflated_bytes.saturating_add(bytes(inflated.produced));
        let has_progress = inflated.consumed > 0 || inflated.produced > 0;
        match inflated.status {
            // A whole member may be inflated at once.
            Status::End | Status::Incomplete if self.is_bomb() => {
                self.stage = Stage::Broken(BrokenBody::Bomb);
            }
            Status::Corrupt => self.stage = Stage::Broken(BrokenBody::Corrupt),
            Status::End => {
                self.member.reset();
                self.stage = Stage::Start {
                    is_first_member: false,
                };
            }
            Status::Incomplete if !has_progress && self.finished => {
                self.stage = Stage::Broken(BrokenBody::Truncated);
            }
            Status::Incomplete => return has_progress,
        }
        true
    }

    /// Copies a part of a body that is not compressed into the window.
    fn copy_uncompressed(&mut self) {
        self.make_room();
        let input = self.input.get(self.input_at..).unwrap_or_default();
        let room = self.window.get_mut(self.filled..).unwrap_or_default();
        let copied = input.len().min(room.len());
        if let (Some(input), Some(room)) = (input.get(..copied), room.get_mut(..copied)) {
            room.copy_from_slice(input);
        }
        self.input_at = self.input_at.saturating_add(copied);
        self.filled = self.filled.saturating_add(copied);
        let bytes = u64::try_from(copied).unwrap_or(u64::MAX);
        self.consumed_bytes = self.consumed_bytes.saturating_add(bytes);
        self.inflated_bytes = self.inflated_bytes.saturating_add(bytes);
        if self.inflated_bytes > INFLATED_BYTES_MAX {
            self.stage = Stage::Broken(BrokenBody::Bomb);
        }
    }

    /// Returns whether the body has inflated beyond the limits.
    const fn is_bomb(&self) -> bool {
        self.inflated_bytes > INFLATED_BYTES_MAX
            || (self.inflated_bytes > RATIO_UNCHECKED_BYTES
                && self.inflated_bytes / RATIO_MAX > self.consumed_bytes)
    }

    /// Moves the bytes that were not returned yet to the front and makes room after them.
    fn make_room(&mut self) {
        if self.line_at > 0 {
            self.window.copy_within(self.line_at..self.filled, 0);
            self.filled = self.filled.saturating_sub(self.line_at);
            self.scanned = self.scanned.saturating_sub(self.line_at);
            self.line_at = 0;
        }
        let needed = self.filled.saturating_add(WINDOW_STEP_BYTES);
        if self.window.len() < needed {
            self.window.resize(needed, 0);
        }
    }
}

/// Returns the stage at the start of a member, or `None` while there is too little input to decide.
///
/// A body that begins like JSON was inflated on the way, as a proxy or an HTTP client does with
/// `Content-Encoding: gzip`.
///
/// Bytes after the last member that are not another one are ignored, as gzip itself does.
fn stage_at_member(input: &[u8], is_first: bool, finished: bool) -> Option<Stage> {
    match input {
        [0x1f, 0x8b, ..] => Some(Stage::Inside),
        [] if finished => Some(Stage::Done), // an empty body holds no record
        [] => None,
        // The rest of the member is missing.
        [0x1f] => finished.then_some(Stage::Broken(BrokenBody::Truncated)),
        [b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n', ..] if is_first => Some(Stage::Plain),
        [..] if is_first && input.starts_with(BYTE_ORDER_MARK) => Some(Stage::Plain),
        [..] if is_first && !finished && input.len() < SAMPLE_BYTES => None,
        [..] if is_first => Some(Stage::Broken(BrokenBody::UnknownFormat)),
        [..] => Some(Stage::Done),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Reads a body in chunks of `size` bytes and returns its lines and how it ended.
    fn read(body: &[u8], size: usize) -> (Vec<Vec<u8>>, Result<(), BrokenBody>) {
        let mut reader = LineReader::new();
        let mut chunks = body.chunks(size);
        let mut lines = Vec::new();
        loop {
            match reader.next_line() {
                Line::Whole(line) => lines.push(line.to_vec()),
                Line::TooLong(start) => lines.push([b"TOO LONG ", &start[..4]].concat()),
                Line::NeedsInput => match chunks.next() {
                    Some(chunk) => reader.push(chunk.to_vec()),
                    None => reader.finish(),
                },
                Line::End => return (lines, Ok(())),
                Line::Broken(broken) => return (lines, Err(broken)),
            }
        }
    }

    #[test]
    fn lines_come_out_whole_whatever_the_chunks() {
        let text = b"{\"a\":1}\r\n\n{\"b\":2}\nlast";
        for size in [1, 2, 3, 7, 1000] {
            let (lines, end) = read(&gzip(text), size);
            assert_eq!(lines, [&b"{\"a\":1}"[..], b"", b"{\"b\":2}", b"last"]);
            assert_eq!(end, Ok(()));
        }
    }

    #[test]
    fn concatenated_members_are_one_body_and_trailing_garbage_is_passed_over() {
        let two = [gzip(b"a\nb"), gzip(b"c\nd\n")].concat();
        assert_eq!(
            read(&two, 5),
            (vec![b"a".into(), b"bc".into(), b"d".into()], Ok(()))
        );
        for garbage in [&b"garbage"[..], b"\0", &[0; 600], b"\x1fgarbage"] {
            let body = [&gzip(b"a\n"), garbage].concat();
            for size in [1, 5, 1000] {
                assert_eq!(read(&body, size), (vec![b"a".into()], Ok(())));
            }
        }
    }

    #[test]
    fn a_body_that_is_truncated_in_a_later_member_is_broken() {
        let (first, second) = (gzip(b"a\n"), gzip(b"b\n"));
        for length in 1..second.len() {
            let body = [&first, &second[..length]].concat();
            for size in [1, 5, 1000] {
                let (lines, end) = read(&body, size);
                assert_eq!(end, Err(BrokenBody::Truncated), "{length} {size}");
                assert_eq!(lines.first(), Some(&b"a".to_vec()));
            }
        }
    }

    #[test]
    fn an_empty_body_is_broken_where_the_file_is_listed_as_not_empty() {
        let mut reader = LineReader::new_non_empty();
        reader.finish();
        assert_eq!(reader.next_line(), Line::Broken(BrokenBody::Empty));
    }

    #[test]
    fn an_empty_body_holds_no_line() {
        assert_eq!(read(b"", 10), (vec![], Ok(())));
        assert_eq!(read(&gzip(b""), 10), (vec![], Ok(())));
    }

    #[test]
    fn a_truncated_body_gives_its_whole_lines_and_then_the_error() {
        let body = gzip("0123456789\n".repeat(5000).as_bytes());
        let (lines, end) = read(&body[..body.len() / 2], 100);
        assert_eq!(end, Err(BrokenBody::Truncated));
        assert!(lines.iter().all(|line| line == b"0123456789"));
        let whole = gzip(b"a\n");
        assert_eq!(
            read(&whole[..whole.len() - 3], 1).1,
            Err(BrokenBody::Truncated)
        );
    }

    #[test]
    fn a_body_that_is_not_gzip_or_has_a_wrong_checksum_is_broken() {
        assert_eq!(read(b"<html>", 3), (vec![], Err(BrokenBody::UnknownFormat)));
        let mut body = gzip(b"a\nb\n");
        let at = body.len() - 6;
        body[at] ^= 1;
        assert_eq!(read(&body, 3).1, Err(BrokenBody::Corrupt));
    }

    #[test]
    fn a_body_that_is_not_compressed_is_read_as_lines_where_it_has_records() {
        let line = b"{\"type\":\"receipt\"}";
        for before in [&b""[..], b"\xef\xbb\xbf", b"\r\n \n"] {
            let text = [before, line, b"\n{\"b\":2}\nlast"].concat();
            for size in [1, 2, 3, 1000] {
                for body in [text.clone(), gzip(&text)] {
                    let (lines, end) = read(&body, size);
                    let lines: Vec<Vec<u8>> = lines
                        .into_iter()
                        .filter(|line| !line.trim_ascii().is_empty())
                        .collect();
                    assert_eq!(
                        lines,
                        [&line[..], b"{\"b\":2}", b"last"],
                        "{before:?} {size}"
                    );
                    assert_eq!(end, Ok(()));
                }
            }
        }
        for other in [
            "{}",
            "{\"message\":\"Forbidden\"}\n{}",
            "{\"timestamp\":\"2026-03-01T10:20:30Z\",\"status\":503,\"error\":\"Unavailable\"}",
            "{\"type\":\"about:blank\",\"title\":\"Forbidden\",\"status\":403}",
            "  {",
            "\u{feff}<html>",
            "\u{feff}",
        ] {
            assert_eq!(
                read(other.as_bytes(), 1).1,
                Err(BrokenBody::UnknownFormat),
                "{other}"
            );
        }
    }

    #[test]
    fn what_could_not_be_read_is_shown_by_its_first_bytes() {
        let unreadable = |body: &[u8]| {
            let mut reader = LineReader::new();
            reader.push(body.to_vec());
            reader.finish();
            while !matches!(reader.next_line(), Line::Broken(_)) {}
            reader.unreadable_bytes().to_vec()
        };
        assert_eq!(unreadable(b"<html>x</html>"), b"<html>x</html>");
        assert_eq!(unreadable(b"{\"code\":1}"), b"{\"code\":1}");
        let whole = gzip(b"first\nsecond line");
        assert_eq!(unreadable(&whole[..whole.len() - 2]), b"second line");
        assert!(unreadable(&vec![b'<'; 100_000]).len() <= UNREADABLE_BYTES_MAX);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; 3 * LINE_BYTES_MAX];
        text.extend_from_slice(b"\nnext\n");
        let (lines, end) = read(&gzip(&text), 64);
        assert_eq!(lines, [&b"TOO LONG xxxx"[..], b"next"]);
        assert_eq!(end, Ok(()));
        // A body that is not compressed must begin with a record, which may be too long as well.
        assert_eq!(read(&text, 64), (vec![], Err(BrokenBody::UnknownFormat)));
        for after in [&b"\n"[..], b"\nnext\n"] {
            let text = [b"{\"type\":\"receipt\",\"x\":\"", &*text, after].concat();
            assert_eq!(read(&text, 64).1, Ok(()));
        }
    }

    #[test]
    fn a_bomb_is_refused_with_bounded_memory() {
        let zeros = vec![b'0'; 64 * 1024 * 1024];
        let mut reader = LineReader::new();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&zeros).unwrap();
        reader.push(encoder.finish().unwrap());
        reader.finish();
        let broken = loop {
            match reader.next_line() {
                Line::Broken(broken) => break broken,
                Line::TooLong(_) => {}
                Line::Whole(_) | Line::NeedsInput | Line::End => panic!("no bomb was seen"),
            }
        };
        assert_eq!(broken, BrokenBody::Bomb);
        assert!(
            reader.window.capacity() <= 3 * LINE_BYTES_MAX,
            "{}",
            reader.window.capacity()
        );
    }

    #[test]
    fn many_small_members_are_a_bomb_as_one_large_one_is() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&[b'0'; 60_000]).unwrap();
        let body = encoder.finish().unwrap().repeat(10_000);
        // No chunk ends inside a member, and each is inflated by one call.
        assert_eq!(read(&body, body.len()).1, Err(BrokenBody::Bomb));
    }
}
