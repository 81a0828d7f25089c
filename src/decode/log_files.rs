//! Reads the SIEM files of API 1.0 in chunks as they arrive: an archive of files or one file, JSON or
//! key=value, to records, with bounded memory (`mimecast-api.md` §7.3, §7.4).

mod data_list;

use core::ops::Range;

use data_list::{ListStart, find_data_list};

use super::json::Nesting;
use super::key_value;
use super::lines::{LINE_BYTES_MAX, UNREADABLE_BYTES_MAX};
use super::zip::{self, Archive, ArchiveItem, ZipError};

/// The result of [`LogFileDecoder::read`].
#[derive(Debug, PartialEq, Eq)]
pub enum ReadResult<'a> {
    /// All files were returned.
    End,
    /// The next file begins. The name is the last part of the path that the upstream gives, so two files of an
    /// archive may have the same.
    File(&'a str),
    /// The rest of the current file cannot be read; reading continues after it.
    FileBroken(&'static str),
    /// The current file is complete.
    FileEnd,
    /// More of the body is needed: call [`LogFileDecoder::push`] or [`LogFileDecoder::finish`].
    NeedsInput,
    /// A line that is not key=value.
    NotARecord(&'a [u8]),
    /// One record, as a JSON object.
    Record(&'a [u8]),
    /// The first part of a record that is too long (see [`LINE_BYTES_MAX`]); the rest is skipped.
    TooLong(&'a [u8]),
    /// Nothing more can be read. Further calls return the same error.
    Broken(&'static str),
}

/// How much of a record that is too long the rejected record shows.
const TOO_LONG_RECORD_BYTES_SHOWN: usize = 16 * 1024;

/// A JSON file whose `data` does not begin within this has none.
const HEAD_BYTES_MAX: usize = 64 * 1024;

const UNSAFE_NAME: &str = "its name leads out of the archive";
const TRUNCATED: &str = "the file ends in the middle of its JSON";
const NO_DATA: &str = "the JSON has no list `data`";
const NOT_OBJECTS: &str = "`data` holds something other than objects";
const UNKNOWN_FORMAT: &str = "the file is neither JSON nor key=value";

/// Reads the body of one response. See the module.
pub struct LogFileDecoder {
    body: Body,
    /// The contents of the current file; those before `at` were returned.
    window: Vec<u8>,
    at: usize,
    /// How far the window was scanned, and what is open there.
    scan: Scan,
    stage: Stage,
    /// All contents of the current file are in the window.
    is_file_complete: bool,
    /// Whether the current file was reported as broken.
    is_reported_broken: bool,
    name: String,
    /// The line of pairs that was read last, as a JSON object.
    converted_line: String,
    /// Where the record is that was returned last.
    last_record: RecordLocation,
    /// Whether that record is to be returned once more.
    is_put_back: bool,
}

/// How far the window was scanned.
#[derive(Clone, Copy, Default)]
struct Scan {
    at: usize,
    /// Of the element at `at`.
    nesting: Nesting,
    /// The record was returned as too long, and its rest is skipped.
    skipping: bool,
}

/// Where a record is.
#[derive(Clone)]
enum RecordLocation {
    ConvertedLine,
    Window(Range<usize>),
}

enum Body {
    Archive(Box<Archive>),
    SingleFile {
        buffered: Vec<u8>,
        finished: bool,
        stage: SingleFileStage,
    },
    /// The beginning, until its format is known.
    Unknown {
        buffered: Vec<u8>,
        finished: bool,
    },
}

/// How far a body that is one file was read.
enum SingleFileStage {
    Name,
    Content,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before a file.
    Between,
    /// The rest of the file is ignored.
    Skipping,
    /// Inside the list of a JSON file.
    Elements,
    /// Before the list of a JSON file.
    Head,
    /// Inside a key=value file; `first` until there was a line of pairs.
    Lines { first: bool },
    /// The file is to be refused for its name.
    Refused,
    /// Before the first byte of a file that shows its format.
    Start,
}

/// The result of one scan of the window.
enum ScanResult {
    /// The window may hold more; scan again.
    Continue,
    FileBroken(&'static str),
    /// There are no further records in the file.
    EndOfRecords,
    NeedsInput,
    NotARecord(Range<usize>),
    /// A record of a line, in `converted_line`.
    ConvertedLine,
    Record(Range<usize>),
    TooLong(Range<usize>),
}

impl LogFileDecoder {
    /// Creates a reader at the start of a body. `name` is that of a body that is no archive.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            body: Body::Unknown {
                buffered: Vec::new(),
                finished: false,
            },
            window: Vec::new(),
            at: 0,
            scan: Scan::default(),
            stage: Stage::Between,
            is_file_complete: false,
            is_reported_broken: false,
            name: name.to_owned(),
            converted_line: String::new(),
            last_record: RecordLocation::ConvertedLine,
            is_put_back: false,
        }
    }

    /// Appends the next chunk of the body.
    pub fn push(&mut self, mut chunk: Vec<u8>) {
        match &mut self.body {
            Body::Archive(archive) => archive.push(chunk),
            Body::SingleFile { buffered, .. } | Body::Unknown { buffered, .. } => {
                buffered.append(&mut chunk);
            }
        }
    }

    /// Marks the body as complete.
    pub const fn finish(&mut self) {
        match &mut self.body {
            Body::Archive(archive) => archive.finish(),
            Body::SingleFile { finished, .. } | Body::Unknown { finished, .. } => *finished = true,
        }
    }

    /// Returns the next item.
    pub fn read(&mut self) -> ReadResult<'_> {
        if core::mem::take(&mut self.is_put_back) {
            return self.record();
        }
        loop {
            match self.scan_next() {
                ScanResult::Continue => continue,
                ScanResult::FileBroken(why) => {
                    self.stage = Stage::Skipping;
                    self.is_reported_broken = true;
                    return ReadResult::FileBroken(why);
                }
                ScanResult::EndOfRecords => {
                    self.stage = Stage::Skipping;
                    continue;
                }
                ScanResult::NeedsInput => {}
                ScanResult::NotARecord(range) => return ReadResult::NotARecord(self.part(range)),
                ScanResult::ConvertedLine => {
                    self.last_record = RecordLocation::ConvertedLine;
                    return self.record();
                }
                ScanResult::Record(range) => {
                    self.last_record = RecordLocation::Window(range);
                    return self.record();
                }
                ScanResult::TooLong(range) => return ReadResult::TooLong(self.part(range)),
            }
            if self.is_file_complete {
                let is_json = matches!(self.stage, Stage::Elements | Stage::Head);
                self.is_file_complete = false;
                self.stage = Stage::Between;
                match (core::mem::take(&mut self.is_reported_broken), is_json) {
                    (true, _) => continue,
                    (false, true) => return ReadResult::FileBroken(TRUNCATED),
                    (false, false) => return ReadResult::FileEnd,
                }
            }
            match self.next_item() {
                ArchiveItem::Content => {}
                ArchiveItem::End => return ReadResult::End,
                ArchiveItem::File(name) => {
                    self.begin_file(&name);
                    return ReadResult::File(&self.name);
                }
                ArchiveItem::FileBroken(why) => {
                    self.stage = Stage::Between;
                    if !core::mem::take(&mut self.is_reported_broken) {
                        return ReadResult::FileBroken(why);
                    }
                }
                ArchiveItem::FileEnd => self.is_file_complete = true,
                ArchiveItem::NeedsInput => return ReadResult::NeedsInput,
                ArchiveItem::Broken(ZipError(why)) => return ReadResult::Broken(why),
            }
        }
    }

    /// Returns the first bytes that could not be read, after [`ReadResult::FileBroken`] and
    /// [`ReadResult::Broken`]: those of the incomplete record, or those of the body. None of them are those of
    /// another file.
    #[must_use]
    pub fn unreadable_bytes(&self) -> &[u8] {
        let record = self.rest();
        let body = match &self.body {
            Body::Archive(archive) => archive.rest_of_file(),
            Body::SingleFile { buffered, .. } | Body::Unknown { buffered, .. } => buffered,
        };
        let unreadable = if record.is_empty() { body } else { record };
        unreadable.get(..UNREADABLE_BYTES_MAX).unwrap_or(unreadable)
    }

    /// Makes the reader return the last record once more. Nothing may be called in between.
    pub const fn put_back(&mut self) {
        self.is_put_back = true;
    }

    fn record(&self) -> ReadResult<'_> {
        match &self.last_record {
            RecordLocation::ConvertedLine => ReadResult::Record(self.converted_line.as_bytes()),
            RecordLocation::Window(range) => ReadResult::Record(self.part(range.clone())),
        }
    }

    fn part(&self, range: Range<usize>) -> &[u8] {
        self.window.get(range).unwrap_or_default()
    }

    /// Removes the returned bytes from the window and reads more of the body into it.
    fn next_item(&mut self) -> ArchiveItem {
        self.window.drain(..self.at.min(self.window.len()));
        self.scan.at = self.scan.at.saturating_sub(self.at);
        self.at = 0;
        if let Body::Unknown { buffered, finished } = &mut self.body {
            if buffered.len() < 4 && !*finished {
                return ArchiveItem::NeedsInput;
            }
            let (buffered, finished) = (core::mem::take(buffered), *finished);
            self.body = if zip::is_zip(&buffered) {
                let mut archive = Box::<Archive>::default();
                archive.push(buffered);
                if finished {
                    archive.finish();
                }
                Body::Archive(archive)
            } else {
                Body::SingleFile {
                    buffered,
                    finished,
                    stage: SingleFileStage::Name,
                }
            };
        }
        match &mut self.body {
            Body::Archive(archive) => archive.next(&mut self.window),
            Body::SingleFile {
                buffered,
                finished,
                stage,
            } => match stage {
                SingleFileStage::Name => {
                    *stage = SingleFileStage::Content;
                    ArchiveItem::File(core::mem::take(&mut self.name))
                }
                SingleFileStage::Content if !buffered.is_empty() => {
                    self.window.append(buffered);
                    ArchiveItem::Content
                }
                SingleFileStage::Content if *finished => {
                    *stage = SingleFileStage::End;
                    ArchiveItem::FileEnd
                }
                SingleFileStage::Content => ArchiveItem::NeedsInput,
                SingleFileStage::End => ArchiveItem::End,
            },
            Body::Unknown { .. } => ArchiveItem::NeedsInput,
        }
    }

    fn begin_file(&mut self, name: &str) {
        self.window.clear();
        self.at = 0;
        self.scan = Scan::default();
        self.is_file_complete = false;
        self.is_reported_broken = false;
        // A drive, as in `C:\x`; a colon elsewhere may stand in a time.
        let leaves_archive = |part: &str| part == ".." || part.as_bytes().get(1) == Some(&b':');
        let parts = || name.split(['/', '\\']);
        self.stage = if parts().any(leaves_archive) || name.starts_with(['/', '\\']) {
            Stage::Refused
        } else {
            Stage::Start
        };
        parts()
            .next_back()
            .unwrap_or_default()
            .clone_into(&mut self.name);
    }

    fn scan_next(&mut self) -> ScanResult {
        match self.stage {
            // What is left of the file before is not that of the next one.
            Stage::Between | Stage::Skipping => {
                self.window.clear();
                self.at = 0;
                self.scan.at = 0;
                ScanResult::NeedsInput
            }
            Stage::Elements => self.element(),
            Stage::Head => self.head(),
            Stage::Lines { first } => self.line(first),
            Stage::Refused => ScanResult::FileBroken(UNSAFE_NAME),
            Stage::Start => self.start(),
        }
    }

    fn rest(&self) -> &[u8] {
        self.window.get(self.at..).unwrap_or_default()
    }

    fn start(&mut self) -> ScanResult {
        let rest = self.rest();
        // A byte order mark has no meaning in UTF-8.
        let is_ignored =
            |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf);
        let ignored = rest.iter().take_while(|byte| is_ignored(byte)).count();
        let first = rest.get(ignored).copied();
        self.at = self.at.saturating_add(ignored);
        self.scan.at = self.at;
        match first {
            None => ScanResult::NeedsInput,
            Some(b'{') => {
                self.stage = Stage::Head;
                ScanResult::Continue
            }
            Some(_) => {
                self.stage = Stage::Lines { first: true };
                ScanResult::Continue
            }
        }
    }

    fn head(&mut self) -> ScanResult {
        let rest = self.rest();
        match find_data_list(rest) {
            ListStart::At(at) => {
                self.at = self.at.saturating_add(at);
                self.scan.at = self.at;
                self.stage = Stage::Elements;
                ScanResult::Continue
            }
            ListStart::NeedsInput if rest.len() < HEAD_BYTES_MAX => ScanResult::NeedsInput,
            ListStart::NeedsInput | ListStart::None => ScanResult::FileBroken(NO_DATA),
        }
    }

    /// Returns the next object of the list.
    fn element(&mut self) -> ScanResult {
        let mut scan = self.scan;
        let bytes = self.window.get(scan.at..).unwrap_or_default();
        for (offset, byte) in bytes.iter().enumerate() {
            let next = self.scan.at.saturating_add(offset).saturating_add(1);
            scan.at = next;
            if scan.nesting.depth() == 0 {
                match byte {
                    b',' | b' ' | b'\t' | b'\r' | b'\n' => self.at = next,
                    b'{' => {
                        self.at = next.saturating_sub(1);
                        scan.nesting.push(*byte);
                    }
                    b']' => return ScanResult::EndOfRecords,
                    _ => return ScanResult::FileBroken(NOT_OBJECTS),
                }
                continue;
            }
            scan.nesting.push(*byte);
            if scan.nesting.depth() == 0 {
                let range = self.at..next;
                self.at = next;
                let is_rest = core::mem::take(&mut scan.skipping);
                self.scan = scan;
                return if is_rest {
                    ScanResult::Continue
                } else {
                    ScanResult::Record(range)
                };
            }
        }
        self.scan = scan;
        self.need_input_or_skip_record()
    }

    /// Returns the next line.
    fn line(&mut self, first: bool) -> ScanResult {
        let unseen = self.window.get(self.scan.at..).unwrap_or_default();
        let end = match memchr::memchr(b'\n', unseen) {
            Some(at) => self.scan.at.saturating_add(at),
            None if self.is_file_complete && self.at < self.window.len() => self.window.len(),
            None => {
                self.scan.at = self.window.len();
                return self.need_input_or_skip_record();
            }
        };
        let range = self.at..end;
        self.at = end.saturating_add(1).min(self.window.len());
        self.scan.at = self.at;
        if core::mem::take(&mut self.scan.skipping) {
            return ScanResult::Continue;
        }
        let bytes = self.window.get(range.clone()).unwrap_or_default();
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.is_empty() {
            return ScanResult::Continue;
        }
        // Only the bytes that are not UTF-8 are replaced; the rest of the line is kept.
        let text = String::from_utf8_lossy(bytes);
        self.converted_line.clear();
        if key_value::push_object(&text, &mut self.converted_line) {
            self.stage = Stage::Lines { first: false };
            ScanResult::ConvertedLine
        } else if first {
            self.at = range.start;
            ScanResult::FileBroken(UNKNOWN_FORMAT)
        } else {
            ScanResult::NotARecord(range)
        }
    }

    /// Returns that more input is needed, or that the record is longer than records may be.
    fn need_input_or_skip_record(&mut self) -> ScanResult {
        let start = self.at;
        let is_too_long = self.rest().len() >= LINE_BYTES_MAX;
        if !is_too_long && !self.scan.skipping {
            return ScanResult::NeedsInput;
        }
        self.at = self.window.len();
        if core::mem::replace(&mut self.scan.skipping, true) {
            return ScanResult::NeedsInput;
        }
        ScanResult::TooLong(
            start
                ..start
                    .saturating_add(TOO_LONG_RECORD_BYTES_SHOWN)
                    .min(self.at),
        )
    }
}

#[cfg(test)]
mod tests;
