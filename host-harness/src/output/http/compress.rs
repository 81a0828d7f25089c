//! The body of a request, compressed.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::exit::Failure;
use crate::settings::Section;

/// Level 1 leaves little more than level 3, at half its cost.
const ZSTD_LEVEL: i32 = 1;

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::output) enum Encoding {
    Gzip,
    Plain,
    Zstd,
}

impl Encoding {
    /// `compression` in the settings file.
    pub(in crate::output) fn read(section: &mut Section<'_>) -> Result<Self, Failure> {
        match section.string("compression")?.as_deref() {
            None | Some("none") => Ok(Self::Plain),
            Some("gzip") => Ok(Self::Gzip),
            Some("zstd") => Ok(Self::Zstd),
            Some(_) => Err(section.error("compression", "must be `none`, `gzip` or `zstd`")),
        }
    }

    /// The value of `Content-Encoding`.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip"),
            Self::Plain => None,
            Self::Zstd => Some("zstd"),
        }
    }

    pub(super) fn encode(self, body: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => gzip(&body),
            Self::Plain => Ok(body),
            Self::Zstd => zstd::bulk::compress(&body, ZSTD_LEVEL),
        }
    }
}

/// One gzip member.
pub(in crate::output) fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
