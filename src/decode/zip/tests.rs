//! Archives, whole, cut and hostile.

use super::*;
use std::io::Write as _;

/// The end of an archive; what is in the directory is never read.
pub(crate) const END_OF_ZIP: &[u8] = b"PK\x05\x06 the directory is not read";

/// One file of an archive, with the sizes before or after the data.
pub(crate) fn zip_entry(name: &str, content: &[u8], streamed: bool) -> Vec<u8> {
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    let data = encoder.finish().unwrap();
    let mut crc = Crc32::default();
    crc.update(content);
    let sizes = [
        crc.sum().to_le_bytes(),
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

fn archive(files: &[Vec<u8>]) -> Vec<u8> {
    [files.concat(), END_OF_ZIP.to_vec()].concat()
}

/// Reads in chunks; the contents of each file, and the errors between them.
pub(crate) fn read(bytes: &[u8], chunk: usize) -> Vec<String> {
    let mut reader = Archive::default();
    let mut chunks = bytes.chunks(chunk);
    let (mut found, mut content) = (Vec::new(), Vec::new());
    loop {
        match reader.next(&mut content) {
            ArchiveItem::Content => {}
            ArchiveItem::End => return found,
            ArchiveItem::File(name) => {
                content.clear();
                found.push(format!("file {name}"));
            }
            ArchiveItem::FileBroken(why) => found.push(format!("broken: {why}")),
            ArchiveItem::FileEnd => found.push(String::from_utf8_lossy(&content).into_owned()),
            ArchiveItem::NeedsInput => match chunks.next() {
                Some(chunk) => reader.push(chunk.to_vec()),
                None => reader.finish(),
            },
            ArchiveItem::Broken(ZipError(why)) => {
                found.push(format!("end: {why}"));
                return found;
            }
        }
    }
}

#[test]
fn files_are_inflated_one_after_another_whatever_the_chunks() {
    let text = "abc".repeat(50_000);
    let bytes = archive(&[
        zip_entry("a.csv", text.as_bytes(), false),
        zip_entry("b.csv", b"x", true),
        zip_entry("c", b"", false),
    ]);
    assert!(is_zip(&bytes));
    let (contents, files) = extract(bytes.clone(), 1 << 20).unwrap();
    assert_eq!(contents, [text.as_bytes(), b"x"].concat());
    assert_eq!(files, [0..150_000, 150_000..150_001, 150_001..150_001]);
    for chunk in [1, 7, 1000] {
        let expected = ["file a.csv", &text, "file b.csv", "x", "file c", ""];
        assert_eq!(read(&bytes, chunk), expected, "{chunk}");
    }
    assert_eq!(
        extract(END_OF_ZIP.to_vec(), 10),
        Ok((Vec::new(), Vec::new()))
    );
}

#[test]
fn a_stored_file_is_copied() {
    let mut bytes = zip_entry("s", b"0123456789", false);
    let data_at = LOCAL_HEADER_BYTES + 1;
    bytes.truncate(data_at);
    bytes.extend(b"0123456789");
    bytes[8] = 0;
    bytes[18] = 10;
    assert_eq!(
        read(&archive(&[bytes.clone()]), 3),
        ["file s", "0123456789"]
    );
    bytes[data_at] = b'x';
    assert_eq!(
        read(&archive(&[bytes]), 3),
        ["file s", "broken: the checksum is wrong"]
    );
}

#[test]
fn a_file_that_is_broken_is_passed_over_where_its_size_is_known() {
    let good = zip_entry("good", b"content", false);
    let mut corrupt = zip_entry("bad", "abc".repeat(500).as_bytes(), false);
    corrupt[LOCAL_HEADER_BYTES + 3] = 0xff;
    let mut encrypted = zip_entry("secret", b"x", false);
    encrypted[6] |= 1;
    let mut other = zip_entry("lzma", b"x", false);
    other[8] = 14;
    let long = zip_entry(&"n".repeat(600), b"x", false);
    let bytes = archive(&[corrupt, encrypted, other, long, good]);
    let found = read(&bytes, 50);
    let broken: Vec<_> = found
        .iter()
        .filter(|found| found.starts_with("broken"))
        .collect();
    assert_eq!(broken.len(), 4, "{found:?}");
    assert_eq!(found[found.len() - 2..], ["file good", "content"]);
}

#[test]
fn what_is_cut_or_too_large_is_refused() {
    let bytes = archive(&[zip_entry("a", "abc".repeat(50_000).as_bytes(), false)]);
    assert_eq!(extract(bytes.clone(), 100_000), Err(TOO_LARGE));
    for cut in [0, 3, 5, 20, 29, 40, bytes.len() - END_OF_ZIP.len()] {
        let found = read(&bytes[..cut], 100);
        assert_eq!(
            found.last().unwrap(),
            "end: the archive ends early",
            "{cut}"
        );
    }
    assert!(extract(b"<html>".to_vec(), 10).is_err());
    assert!(is_zip(b"PK\x05\x06") && !is_zip(b"{}"));
}

#[test]
fn a_bomb_and_too_many_files_are_refused_with_bounded_memory() {
    let zeros = zip_entry("bomb", &vec![b'0'; 64 << 20], true);
    let mut reader = Archive::default();
    reader.push(zeros);
    let mut piece = Vec::new();
    let end = loop {
        piece.clear();
        match reader.next(&mut piece) {
            ArchiveItem::Content | ArchiveItem::File(_) => assert!(piece.capacity() < 1 << 20),
            end @ (ArchiveItem::Broken(_)
            | ArchiveItem::End
            | ArchiveItem::FileBroken(_)
            | ArchiveItem::FileEnd
            | ArchiveItem::NeedsInput) => break end,
        }
    };
    assert_eq!(end, ArchiveItem::Broken(BOMB));
    let many = archive(&vec![zip_entry("f", b"x", false); 10_001]);
    let found = read(&many, 100_000);
    assert_eq!(
        found.last().unwrap(),
        "end: the archive holds more than 10000 files"
    );
    assert_eq!(found.len(), 20_001);
}
