//! Compression of requests and files.

use std::fs::File;
use std::io::{self, BufReader, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use source_common::exit::Failure;
use source_common::section::Section;

/// Compression level for requests. Level 1 compresses nearly as well as level 3, at half the cost.
const ZSTD_LEVEL: i32 = 1;
/// Compression level for files, which are compressed once and kept for long.
const ZSTD_LEVEL_FILE: i32 = 6;

/// A compression format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encoding {
    Gzip,
    Plain,
    Zstd,
}

impl Encoding {
    /// Parses the setting `compression`.
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, Failure> {
        let words = [
            ("none", Self::Plain),
            ("gzip", Self::Gzip),
            ("zstd", Self::Zstd),
        ];
        let chosen = section.choice("compression", &words)?;
        Ok(chosen.unwrap_or(Self::Plain))
    }

    /// Returns the value of `Content-Encoding`.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip"),
            Self::Plain => None,
            Self::Zstd => Some("zstd"),
        }
    }

    /// Returns the suffix for the name of a compressed file.
    pub(super) fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some(".gz"),
            Self::Plain => None,
            Self::Zstd => Some(".zst"),
        }
    }

    /// Compresses one file into another.
    pub(super) fn compress_file(self, from: &File, mut to: &File) -> io::Result<()> {
        let mut from = BufReader::new(from);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(to, Compression::default());
                io::copy(&mut from, &mut encoder)?;
                encoder.finish()?;
            }
            Self::Plain => {
                io::copy(&mut from, &mut to)?;
            }
            Self::Zstd => zstd::stream::copy_encode(from, to, ZSTD_LEVEL_FILE)?,
        }
        Ok(())
    }

    /// Compresses a request body.
    pub(super) fn encode(self, body: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => gzip(&body),
            Self::Plain => Ok(body),
            Self::Zstd => zstd::bulk::compress(&body, ZSTD_LEVEL),
        }
    }
}

/// Returns the body as one gzip member.
pub(super) fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
