//! Checks whose records a response holds.

use crate::batch::{Builder, NoticeKind, RawRecord, RecordProcessor};
use crate::decode::log_files::{LogFileDecoder, ReadResult};
use crate::decode::sanitize::sanitize;
use crate::field;
use crate::response::Head;
use crate::stream::Stream;
use crate::streams::Context;

/// Adds a notice where the records belong to another account than the one in the settings.
pub(super) fn add_account_notice(
    stream: Stream,
    record: RawRecord<'_>,
    processor: &mut RecordProcessor,
    context: Context<'_>,
    batch: &mut Builder,
) {
    let legacy = context.settings.legacy();
    let expected = legacy.and_then(|legacy| legacy.account_code.as_ref());
    let seen = core::str::from_utf8(record.bytes)
        .ok()
        .and_then(|text| account_in(record.stream, text, processor));
    if let (Some(expected), Some(seen)) = (expected, seen)
        && !expected.eq_ignore_ascii_case(&seen)
    {
        let detail = format!(
            "the records are of the account {seen:?}, and account_code is {expected:?}; correct the code, or use the keys of that account"
        );
        batch.notice(stream, NoticeKind::Adjusted, detail);
    }
}

fn account_in(stream: Stream, text: &str, processor: &mut RecordProcessor) -> Option<String> {
    let record = processor.parser.parse(stream, text).ok()?;
    let account = record.get(field::ACCOUNT_ID)?;
    (!account.text.is_empty()).then(|| sanitize(account.text))
}

/// Returns the account of the first record of a response, where that has one.
#[must_use]
pub fn account_in_response(
    head: &Head,
    body: Vec<u8>,
    processor: &mut RecordProcessor,
) -> Option<String> {
    let mut decoder = LogFileDecoder::new(&super::call::file_name(head)?);
    decoder.push(body);
    decoder.finish();
    loop {
        match decoder.read() {
            ReadResult::Record(bytes) => {
                let text = core::str::from_utf8(bytes).ok()?;
                return account_in(Stream::Siem, text, processor);
            }
            ReadResult::Broken(_) | ReadResult::End | ReadResult::NeedsInput => return None,
            ReadResult::File(_)
            | ReadResult::FileBroken(_)
            | ReadResult::FileEnd
            | ReadResult::NotARecord(_)
            | ReadResult::TooLong(_) => {}
        }
    }
}
