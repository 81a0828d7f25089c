//! `normalize`: converts records on standard input to events on standard output, with
//! the component's own normalizer.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use source_common::exit::{Exit, Failure};
use source_common::secret::Secret;
use source_runtime::bindings::NormalizeError;
use source_runtime::engine::Instance;
use source_runtime::source::{ComponentLoader, OFFLINE_MEMORY_BYTES_MAX};

use super::{print, user_cache_dir};
use crate::dead_letter;
use crate::source::component_location;

/// Chunk size for the component; a chunk is extended to the end of a line.
const CHUNK_BYTES: usize = 256 * 1024;
/// Lines longer than this are not extended, and are rejected by the component.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Normalizes standard input. Rejected records go to standard
/// error, in the form of the rejected-records file.
pub async fn normalize(
    stream: &str,
    format: Option<&str>,
    settings: Option<String>,
    component: Option<&Path>,
) -> Result<Exit, Failure> {
    let components = ComponentLoader::new(user_cache_dir(), OFFLINE_MEMORY_BYTES_MAX)?;
    let component = components.get(&component_location(component)).await?;
    let mut instance = component
        .offline_instance()
        .await
        .map_err(|error| Failure::failed(error.to_string()))?;
    let first = component.description().formats.first().map(String::as_str);
    let format = format.or(first).unwrap_or_default();
    let settings = Secret::new(settings.unwrap_or_else(|| "{}".to_owned()));
    let params = NormalizeParams {
        stream,
        format,
        settings: &settings,
    };
    let mut input = BufReader::with_capacity(CHUNK_BYTES, io::stdin());
    let mut rejected = 0_u64;
    loop {
        let chunk =
            read_lines(&mut input).map_err(|error| Failure::failed(format!("stdin: {error}")))?;
        if chunk.is_empty() {
            break;
        }
        rejected += normalize_chunk(&mut instance, &params, &chunk).await?;
    }
    if rejected > 0 {
        return Err(Failure::failed(format!("{rejected} records were rejected")));
    }
    Ok(Exit::Done)
}

/// The parameters of the normalization.
struct NormalizeParams<'a> {
    stream: &'a str,
    format: &'a str,
    settings: &'a Secret,
}

async fn normalize_chunk(
    instance: &mut Instance,
    params: &NormalizeParams<'_>,
    records: &[u8],
) -> Result<u64, Failure> {
    let NormalizeParams {
        stream,
        format,
        settings,
    } = *params;
    let normalized = instance
        .normalize(stream, format, settings, records)
        .await
        .map_err(|error| Failure::failed(error.to_string()))?
        .map_err(|error| match error {
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
    let mut stderr = io::stderr().lock();
    for record in &normalized.rejected {
        writeln!(stderr, "{}", dead_letter::to_json_line("stdin", record))
            .map_err(|error| Failure::failed(format!("stderr: {error}")))?;
    }
    Ok(u64::try_from(normalized.rejected.len()).unwrap_or(u64::MAX))
}

/// Reads whole lines of about one chunk; empty at the end of the input. The last line
/// may lack a line feed.
fn read_lines(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    while chunk.len() < CHUNK_BYTES {
        let available = input.fill_buf()?;
        if available.is_empty() {
            return Ok(chunk);
        }
        let take = available.len().min(CHUNK_BYTES - chunk.len());
        chunk.extend_from_slice(available.get(..take).unwrap_or(available));
        input.consume(take);
    }
    if chunk.ends_with(b"\n") {
        return Ok(chunk);
    }
    finish_line(input, chunk)
}

/// Reads up to the end of the line that the chunk ends in.
fn finish_line(input: &mut impl BufRead, mut chunk: Vec<u8>) -> io::Result<Vec<u8>> {
    loop {
        let available = input.fill_buf()?;
        if available.is_empty() {
            return Ok(chunk);
        }
        let end = memchr::memchr(b'\n', available);
        let take = end.map_or(available.len(), |at| at + 1);
        chunk.extend_from_slice(available.get(..take).unwrap_or(available));
        input.consume(take);
        if end.is_some() {
            return Ok(chunk);
        }
        if chunk.len() > LINE_BYTES_MAX {
            return Err(io::Error::other("a line is longer than 16 MiB"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &[u8], buffer: usize) -> Vec<Vec<u8>> {
        let mut input = BufReader::with_capacity(buffer, text);
        let mut chunks = Vec::new();
        loop {
            let chunk = read_lines(&mut input).unwrap();
            if chunk.is_empty() {
                return chunks;
            }
            chunks.push(chunk);
        }
    }

    #[test]
    fn every_chunk_ends_with_a_line_and_nothing_is_lost() {
        let text: Vec<u8> = (0..50_000)
            .flat_map(|number| format!("{{\"n\":{number}}}\n").into_bytes())
            .collect();
        for buffer in [7, 1_000, CHUNK_BYTES, 1 << 20] {
            let chunks = chunks(&text, buffer);
            assert!(chunks.len() > 1);
            assert!(chunks.iter().all(|chunk| chunk.ends_with(b"\n")));
            assert_eq!(chunks.concat(), text);
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_not_lost() {
        assert_eq!(chunks(b"a\nb", 16), [b"a\nb".to_vec()]);
        let long = vec![b'x'; CHUNK_BYTES * 2];
        assert_eq!(chunks(&long, 1_000).concat(), long);
    }
}
