//! The log files of API 1.0: whatever the body and however it is cut into chunks.

use mimecast_source::decode::lines::LINE_BYTES_MAX;
use mimecast_source::decode::log_files::{LogFileDecoder, ReadResult};
use serde_json::{Map, Value};

/// A reader that takes more steps than this for such a small body does not come to an end.
const STEPS_MAX: usize = 1_000_000;

/// A body is read to an end, what comes out does not depend on the chunks, and no record is longer than
/// eight lines may be. Every record of a file of pairs is a JSON object whose values are all texts.
pub fn log_files(data: &[u8]) {
    let Some((size, body)) = data.split_first() else {
        return;
    };
    let whole = read(body, body.len().max(1));
    let cut = read(body, usize::from(*size).max(1));
    assert_eq!(whole, cut);
}

/// Returns whether a body is one file of lines. What an archive contains is not looked at.
fn is_file_of_lines(body: &[u8]) -> bool {
    let is_ignored = |byte: &&u8| byte.is_ascii_whitespace() || [0xef, 0xbb, 0xbf].contains(*byte);
    let first = body.iter().find(|byte| !is_ignored(byte));
    !body.starts_with(b"PK") && first != Some(&b'{')
}

/// Everything that is found, as text.
fn read(body: &[u8], chunk_bytes: usize) -> Vec<String> {
    let mut reader = LogFileDecoder::new("receipt_1.txt");
    let mut chunks = body.chunks(chunk_bytes);
    let is_lines = is_file_of_lines(body);
    let mut found = Vec::new();
    for _ in 0..STEPS_MAX {
        match reader.read() {
            ReadResult::NeedsInput => match chunks.next() {
                Some(chunk) => reader.push(chunk.to_vec()),
                None => reader.finish(),
            },
            end @ (ReadResult::End | ReadResult::Broken(_)) => {
                found.push(format!("{end:?}"));
                return found;
            }
            ReadResult::Record(record) => {
                assert!(record.len() <= 8 * LINE_BYTES_MAX);
                if is_lines {
                    let object: Map<String, Value> = serde_json::from_slice(record).unwrap();
                    assert!(object.values().all(Value::is_string), "{object:?}");
                }
                found.push(String::from_utf8_lossy(record).into_owned());
            }
            other @ (ReadResult::File(_)
            | ReadResult::FileBroken(_)
            | ReadResult::FileEnd
            | ReadResult::NotARecord(_)
            | ReadResult::TooLong(_)) => found.push(format!("{other:?}")),
        }
    }
    panic!("the reader does not come to an end");
}
