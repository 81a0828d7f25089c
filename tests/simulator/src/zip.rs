//! A zip archive of one file.

use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Returns the archive, with its directory.
pub(crate) fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(content);
    let data = encoder.finish().unwrap_or_default();
    let mut crc = Crc::new();
    crc.update(content);
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let name_bytes = u16::try_from(name.len()).unwrap_or(0).to_le_bytes();
    // Version, flags, method 8, time, date, checksum, sizes, lengths of name and extra field.
    let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0x5a];
    common.extend(crc.sum().to_le_bytes());
    common.extend(length(data.len()));
    common.extend(length(content.len()));
    common.extend(name_bytes);
    common.extend([0, 0]);
    let local = [b"PK\x03\x04", common.as_slice(), name.as_bytes(), &data].concat();
    let entry = [
        b"PK\x01\x02\x14\0",
        common.as_slice(),
        &[0; 14],
        name.as_bytes(),
    ]
    .concat();
    let mut end = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
    end.extend(length(entry.len()));
    end.extend(length(local.len()));
    end.extend([0, 0]);
    [local, entry, end].concat()
}
