//! `normalize`: converts records on standard input to events on standard output, with
//! the component's own normalizer.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use source_common::exit::{Exit, Failure};
use source_common::secret::Secret;
use source_runtime::bindings::{NormalizeError, RejectedRecord};
use source_runtime::engine::{CallError, Instance};
use source_runtime::source::{Component, ComponentLoader, OFFLINE_MEMORY_BYTES_MAX};

use super::{print, user_cache_dir};
use crate::dead_letter;
use crate::source::component_location;

/// Chunk size for the component; a chunk is extended to the end of a line.
const CHUNK_BYTES: usize = 256 * 1024;
/// Lines longer than this are rejected without the component.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of a line that the component cannot read the rejected record shows.
const REJECTED_BYTES_SHOWN: usize = 16 * 1024;

/// Normalizes standard input. Rejected records, and lines that are too long to be one, go to standard
/// error, in the form of the rejected-records file; the lines after them are normalized.
pub async fn normalize(
    stream: &str,
    format: Option<&str>,
    settings: Option<String>,
    component: Option<&Path>,
) -> Result<Exit, Failure> {
    let components = ComponentLoader::new(user_cache_dir(), OFFLINE_MEMORY_BYTES_MAX)?;
    let component = components
        .get_or_load(&component_location(component))
        .await?;
    let first = component.description().formats.first().map(String::as_str);
    let format = format.or(first).unwrap_or_default();
    let settings = Secret::new(settings.unwrap_or_else(|| "{}".to_owned()));
    let mut normalizer = Normalizer {
        component: &component,
        instance: instance(&component).await?,
        stream,
        format,
        settings: &settings,
        line_count: 0,
        rejected: 0,
    };
    let mut input = BufReader::with_capacity(CHUNK_BYTES, io::stdin());
    loop {
        let chunk =
            read_chunk(&mut input).map_err(|error| Failure::failed(format!("stdin: {error}")))?;
        if chunk.is_empty() {
            break;
        }
        normalizer.normalize_chunk(&chunk).await?;
    }
    let rejected = normalizer.rejected;
    if rejected > 0 {
        return Err(Failure::failed(format!("{rejected} records were rejected")));
    }
    Ok(Exit::Done)
}

async fn instance(component: &Component) -> Result<Instance, Failure> {
    let instance = component.offline_instance().await;
    instance.map_err(|error| Failure::failed(error.to_string()))
}

/// Normalizes the chunks of the input.
struct Normalizer<'a> {
    component: &'a Component,
    instance: Instance,
    stream: &'a str,
    format: &'a str,
    settings: &'a Secret,
    /// Number of lines so far.
    line_count: u64,
    /// Number of rejected records so far.
    rejected: u64,
}

impl Normalizer<'_> {
    async fn normalize_chunk(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        match self.normalize_lines(&chunk.lines).await? {
            Ok(()) => {}
            // Only its last line can make a chunk longer than `CHUNK_BYTES`, so that line is the cause.
            Err(error @ CallError::OutOfMemory { .. }) if chunk.lines.len() > CHUNK_BYTES => {
                self.instance = instance(self.component).await?;
                let whole = chunk.lines.strip_suffix(b"\n").unwrap_or(&chunk.lines);
                let (lines, last_line) = chunk.lines.split_at(last_line_start(whole));
                let normalized = self.normalize_lines(lines).await?;
                normalized.map_err(|error| Failure::failed(error.to_string()))?;
                self.reject_line(&format!("{error} for the line"), last_line)?;
            }
            Err(error) => return Err(Failure::failed(error.to_string())),
        }
        if let Some(beginning) = &chunk.too_long_line {
            let mib = LINE_BYTES_MAX / (1024 * 1024);
            self.reject_line(&format!("the line is longer than {mib} MiB"), beginning)?;
        }
        Ok(())
    }

    /// Normalizes whole lines, and prints the events and the rejected records.
    async fn normalize_lines(&mut self, lines: &[u8]) -> Result<Result<(), CallError>, Failure> {
        let (stream, format) = (self.stream, self.format);
        let called = self
            .instance
            .normalize(stream, format, self.settings, lines)
            .await;
        let normalized = match called {
            Ok(normalized) => normalized,
            Err(error) => return Ok(Err(error)),
        };
        let normalized = normalized.map_err(|error| match error {
            NormalizeError::Settings(error) => {
                Failure::settings(format!("--settings: {}: {}", error.setting, error.detail))
            }
            NormalizeError::UnknownFormat(known) => {
                Failure::settings(format!("--format {format} is unknown; known are: {known}"))
            }
            NormalizeError::UnknownStream(known) => {
                Failure::settings(format!("--stream {stream} is unknown; known are: {known}"))
            }
        })?;
        print(&normalized.events)?;
        for mut record in normalized.rejected {
            record.locator = locator_in_input(&record.locator, self.line_count);
            self.print_rejected(&record)?;
        }
        let line_feeds = memchr::memchr_iter(b'\n', lines).count();
        self.line_count += u64::try_from(line_feeds).unwrap_or(u64::MAX);
        Ok(Ok(()))
    }

    /// Rejects the next line, of which at least the beginning is known.
    fn reject_line(&mut self, reason: &str, line: &[u8]) -> Result<(), Failure> {
        self.line_count += 1;
        self.print_rejected(&RejectedRecord {
            stream: self.stream.to_owned(),
            locator: format!("{} line {}", self.stream, self.line_count),
            reason: reason.to_owned(),
            original: shown_part(line).to_vec(),
        })
    }

    fn print_rejected(&mut self, record: &RejectedRecord) -> Result<(), Failure> {
        self.rejected += 1;
        writeln!(
            io::stderr().lock(),
            "{}",
            dead_letter::to_json_line("stdin", record)
        )
        .map_err(|error| Failure::failed(format!("stderr: {error}")))
    }
}

/// Returns the locator of a rejected record in the whole input. A component counts the lines of one call.
fn locator_in_input(locator: &str, lines_before: u64) -> String {
    let number = locator.rsplit_once("line ");
    match number.and_then(|(before, number)| Some((before, number.parse::<u64>().ok()?))) {
        Some((before, number)) => format!("{before}line {}", number.saturating_add(lines_before)),
        None => locator.to_owned(),
    }
}

/// Whole lines for one call, and what follows them.
#[derive(Debug, Default, PartialEq)]
struct Chunk {
    /// About [`CHUNK_BYTES`], more only where the last line is long. The last line of the input may lack a
    /// line feed.
    lines: Vec<u8>,
    /// The beginning of the next line, where that is longer than [`LINE_BYTES_MAX`].
    too_long_line: Option<Vec<u8>>,
}

impl Chunk {
    /// Returns whether there was no more input.
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.too_long_line.is_none()
    }
}

/// Reads the next chunk. A line that is too long is skipped, in bounded memory.
fn read_chunk(input: &mut impl BufRead) -> io::Result<Chunk> {
    let mut lines = Vec::with_capacity(CHUNK_BYTES);
    while lines.len() < CHUNK_BYTES {
        let available = input.fill_buf()?;
        if available.is_empty() {
            break;
        }
        let take = available.len().min(CHUNK_BYTES - lines.len());
        lines.extend_from_slice(available.get(..take).unwrap_or(available));
        input.consume(take);
    }
    let line_start = last_line_start(&lines);
    if line_start == lines.len() {
        return Ok(Chunk {
            lines,
            too_long_line: None,
        });
    }
    finish_line(input, lines, line_start)
}

/// Reads up to the end of the line that begins at `line_start` and is incomplete.
fn finish_line(
    input: &mut impl BufRead,
    mut lines: Vec<u8>,
    line_start: usize,
) -> io::Result<Chunk> {
    let length_max = line_start.saturating_add(LINE_BYTES_MAX);
    loop {
        let available = input.fill_buf()?;
        let end = memchr::memchr(b'\n', available);
        let line_bytes = end.unwrap_or(available.len());
        if lines.len().saturating_add(line_bytes) > length_max {
            let line = lines.get(line_start..).unwrap_or_default();
            let too_long_line = Some(shown_part(line).to_vec());
            lines.truncate(line_start);
            skip_line(input)?;
            return Ok(Chunk {
                lines,
                too_long_line,
            });
        }
        let take = end.map_or(available.len(), |at| at + 1);
        lines.extend_from_slice(available.get(..take).unwrap_or(available));
        input.consume(take);
        if end.is_some() || take == 0 {
            return Ok(Chunk {
                lines,
                too_long_line: None,
            });
        }
    }
}

/// Skips the rest of a line.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let available = input.fill_buf()?;
        let end = memchr::memchr(b'\n', available);
        let take = end.map_or(available.len(), |at| at + 1);
        input.consume(take);
        if end.is_some() || take == 0 {
            return Ok(());
        }
    }
}

/// Returns where the last line begins; the length of the text where that ends with a line feed.
fn last_line_start(text: &[u8]) -> usize {
    memchr::memrchr(b'\n', text).map_or(0, |at| at + 1)
}

/// Returns the beginning of a line that a rejected record shows, without half of a character.
fn shown_part(line: &[u8]) -> &[u8] {
    let shown = line.get(..REJECTED_BYTES_SHOWN).unwrap_or(line);
    match std::str::from_utf8(shown) {
        Err(error) if error.error_len().is_none() => {
            shown.get(..error.valid_up_to()).unwrap_or(shown)
        }
        Ok(_) | Err(_) => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &[u8], buffer: usize) -> Vec<Chunk> {
        let mut input = BufReader::with_capacity(buffer, text);
        let mut chunks = Vec::new();
        loop {
            let chunk = read_chunk(&mut input).unwrap();
            if chunk.is_empty() {
                return chunks;
            }
            assert!(chunk.lines.capacity() <= 2 * (CHUNK_BYTES + LINE_BYTES_MAX));
            chunks.push(chunk);
        }
    }

    fn joined_lines(chunks: &[Chunk]) -> Vec<u8> {
        let lines = chunks.iter().map(|chunk| chunk.lines.as_slice());
        lines.collect::<Vec<_>>().concat()
    }

    #[test]
    fn every_chunk_ends_with_a_line_and_nothing_is_lost() {
        let text: Vec<u8> = (0..50_000)
            .flat_map(|number| format!("{{\"n\":{number}}}\n").into_bytes())
            .collect();
        for buffer in [7, 1_000, CHUNK_BYTES, 1 << 20] {
            let chunks = chunks(&text, buffer);
            assert!(chunks.len() > 1);
            assert!(chunks.iter().all(|chunk| chunk.lines.ends_with(b"\n")));
            assert_eq!(joined_lines(&chunks), text);
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_not_lost() {
        let chunk = Chunk {
            lines: b"a\nb".to_vec(),
            too_long_line: None,
        };
        assert_eq!(chunks(b"a\nb", 16), [chunk]);
        let long = vec![b'x'; CHUNK_BYTES * 2];
        assert_eq!(joined_lines(&chunks(&long, 1_000)), long);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_its_beginning_is_kept() {
        let longest = vec![b'x'; LINE_BYTES_MAX];
        let mut too_long = longest.clone();
        too_long.push(b'x');
        for buffer in [1_000, 1 << 20, 1 << 25] {
            for after in [&b""[..], b"\n", b"\nb\n", b"\nb"] {
                let text = [b"a\n", longest.as_slice(), after].concat();
                let found = chunks(&text, buffer);
                assert_eq!(joined_lines(&found), text);
                let text = [b"a\n", too_long.as_slice(), after].concat();
                let found = chunks(&text, buffer);
                let skipped: Vec<_> = found
                    .iter()
                    .filter_map(|chunk| Some(chunk.too_long_line.as_ref()?.len()))
                    .collect();
                assert_eq!(skipped, [REJECTED_BYTES_SHOWN]);
                let after = after.strip_prefix(b"\n").unwrap_or(after);
                assert_eq!(joined_lines(&found), [b"a\n", after].concat());
            }
        }
    }

    #[test]
    fn half_a_character_is_not_shown() {
        let mut line = vec![b'x'; REJECTED_BYTES_SHOWN - 1];
        line.extend_from_slice("\u{e9}".as_bytes());
        assert_eq!(shown_part(&line).len(), REJECTED_BYTES_SHOWN - 1);
        assert_eq!(shown_part(b"\xff"), b"\xff");
    }

    #[test]
    fn a_locator_counts_the_lines_of_the_whole_input() {
        assert_eq!(locator_in_input("siem line 3", 100), "siem line 103");
        assert_eq!(locator_in_input("siem", 100), "siem");
        assert_eq!(locator_in_input("line x", 100), "line x");
    }
}
