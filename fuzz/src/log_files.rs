//! The log files of API 1.0: whatever the body and however it is cut into chunks.

use mimecast_source::decode::lines::LINE_BYTES_MAX;
use mimecast_source::decode::log_files::{ReadResult, LogFileDecoder};

/// A reader that takes more steps than this for such a small body does not come to an end.
const STEPS_MAX: usize = 1_000_000;

/// A body is read to an end, what comes out does not depend on the chunks, and every record of a
/// line of pairs is a JSON object.
pub fn log_files(data: &[u8]) {
    let Some((size, body)) = data.split_first() else {
        return;
    };
    let whole = read(body, body.len().max(1));
    let cut = read(body, usize::from(*size).max(1));
    assert_eq!(whole, cut);
}

/// Everything that is found, as text.
fn read(body: &[u8], chunk_bytes: usize) -> Vec<String> {
    let mut reader = LogFileDecoder::new("receipt_1.txt");
    let mut chunks = body.chunks(chunk_bytes);
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
                if record.starts_with(b"{") {
                    assert!(record.len() <= 8 * LINE_BYTES_MAX);
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
