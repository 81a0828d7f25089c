//! Converts the core's types to those of `pipeline:source`.

use super::bindings::pipeline::source::types as wit;
use crate::batch::{self, Batch, Entry, Limits, NextPoll, Notice, NoticeKind, Rejected, Stats};
use crate::check::{CheckOutcome, CheckResult};
use crate::decode::sanitize::sanitize_within_bytes;
use crate::session::status::{StreamState, StreamStatus};
use crate::session::{Failure, PollError};
use crate::settings::SettingsError;
use crate::stream::{Order, Stream, StreamInfo};

/// The longest text that `pipeline:source` allows. No text that is made here is longer, so only texts
/// from outside are cut.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Returns a sanitized text for people, because parts of it may come from outside.
fn sanitize_text(text: String) -> String {
    sanitize_within_bytes(&text, TEXT_BYTES_MAX)
}

pub(crate) fn limits(limits: wit::Limits) -> Limits {
    Limits {
        max_events: limits.max_events,
        max_bytes: limits.max_bytes,
        max_requests: limits.max_requests,
    }
}

pub(crate) fn stream_description(info: &StreamInfo) -> wit::StreamDescription {
    wit::StreamDescription {
        name: info.name.to_owned(),
        summary: info.summary.trim().to_owned(),
        endpoint: info.endpoint.to_owned(),
        permission: info.permission.to_owned(),
        product: info.product.to_owned(),
        retention_hours: info.retention_hours,
        order: match info.order {
            Order::AsWritten => wit::Order::AsWritten,
            Order::NewestFirst => wit::Order::NewestFirst,
            Order::OldestFirst => wit::Order::OldestFirst,
        },
        identity: info.identity.to_owned(),
    }
}

pub(crate) fn kind(info: &StreamInfo) -> wit::Kind {
    wit::Kind {
        name: info.name.to_owned(),
        stream: info.name.to_owned(),
    }
}

pub(crate) fn settings_error(error: SettingsError) -> wit::SettingsError {
    wit::SettingsError {
        setting: error.setting,
        detail: sanitize_text(error.detail),
    }
}

fn failure(failure: Failure) -> wit::Failure {
    wit::Failure {
        detail: sanitize_text(failure.detail),
        retry_after_ms: failure.retry_after_ms,
    }
}

pub(crate) fn poll_error(error: PollError) -> wit::PollError {
    match error {
        PollError::Denied(origin) => wit::PollError::Denied(sanitize_text(origin)),
        PollError::Protocol(why) => wit::PollError::Protocol(failure(why)),
        PollError::Settings(error) => wit::PollError::Settings(settings_error(error)),
        PollError::Throttled(why) => wit::PollError::Throttled(failure(why)),
        PollError::Unauthorized(why) => wit::PollError::Unauthorized(sanitize_text(why)),
        PollError::Unavailable(why) => wit::PollError::Unavailable(failure(why)),
        PollError::UnusableCheckpoint(why) => {
            wit::PollError::UnusableCheckpoint(sanitize_text(why.detail()))
        }
    }
}

pub(crate) fn check_result(result: CheckResult) -> wit::CheckResult {
    let info = result.stream.info();
    wit::CheckResult {
        stream: info.name.to_owned(),
        outcome: match result.outcome {
            CheckOutcome::Failed(error) => wit::CheckOutcome::Failed(poll_error(error)),
            CheckOutcome::NotPermitted(detail) => {
                wit::CheckOutcome::NotPermitted(wit::NotPermitted {
                    permission: info.permission.to_owned(),
                    product: info.product.to_owned(),
                    detail: sanitize_text(detail),
                })
            }
            CheckOutcome::Readable => wit::CheckOutcome::Readable,
        },
        clock_skew_ms: result.clock_skew_ms,
        account: result.account.map(sanitize_text),
        remark: result.remark.map(sanitize_text),
    }
}

fn entry(entry: Entry) -> wit::Entry {
    wit::Entry {
        end: entry.end,
        occurred_at: entry.occurred_at.millis(),
        kind: u16::try_from(entry.stream.index()).unwrap_or(u16::MAX),
    }
}

fn rejected(rejected: Rejected) -> wit::RejectedRecord {
    wit::RejectedRecord {
        stream: rejected.stream.name().to_owned(),
        locator: sanitize_text(rejected.locator),
        reason: sanitize_text(rejected.reason),
        original: rejected.original,
    }
}

fn notice(notice: Notice) -> wit::Notice {
    wit::Notice {
        stream: notice.stream.name().to_owned(),
        kind: match notice.kind {
            NoticeKind::Adjusted => wit::NoticeKind::Adjusted,
            NoticeKind::Gap => wit::NoticeKind::Gap,
            NoticeKind::NotPermitted => wit::NoticeKind::NotPermitted,
            NoticeKind::Postponed => wit::NoticeKind::Postponed,
        },
        detail: sanitize_text(notice.detail),
    }
}

fn stats((stream, stats): (Stream, Stats)) -> wit::StreamStats {
    wit::StreamStats {
        stream: stream.name().to_owned(),
        requests: stats.requests,
        received_bytes: stats.received_bytes,
        received: stats.received,
        events: stats.events,
        rejected: stats.rejected,
        duplicates: stats.duplicates,
        caught_up: stats.caught_up,
        newest: stats.newest.map(|newest| newest.millis()),
    }
}

fn status(status: StreamStatus) -> wit::StreamStatus {
    wit::StreamStatus {
        stream: status.stream.name().to_owned(),
        state: match status.state {
            StreamState::Active => wit::StreamState::Active,
            StreamState::Failing => wit::StreamState::Failing,
            StreamState::NotPermitted => wit::StreamState::NotPermitted,
            StreamState::Waiting => wit::StreamState::Waiting,
        },
        until: status.until.map(|until| until.millis()),
        collected_until: status.collected_until.millis(),
        quota_remaining: status.quota_remaining,
        detail: sanitize_text(status.detail),
    }
}

pub(crate) fn batch(
    batch: Batch,
    session: Option<String>,
    statuses: Vec<StreamStatus>,
) -> wit::Batch {
    wit::Batch {
        events: batch.events,
        index: batch.index.into_iter().map(entry).collect(),
        rejected: batch.rejected.into_iter().map(rejected).collect(),
        notices: batch.notices.into_iter().map(notice).collect(),
        checkpoint: batch.checkpoint,
        next: match batch.next {
            NextPoll::CaughtUp(ms) => wit::NextPoll::CaughtUp(ms),
            NextPoll::Failing(ms) => wit::NextPoll::Failing(ms),
            NextPoll::Now => wit::NextPoll::Now,
            NextPoll::Throttled(ms) => wit::NextPoll::Throttled(ms),
        },
        stats: batch.stats.into_iter().map(stats).collect(),
        session,
        status: statuses.into_iter().map(status).collect(),
    }
}

pub(crate) fn normalized(normalized: batch::Normalized) -> wit::Normalized {
    wit::Normalized {
        events: normalized.events,
        index: normalized.index.into_iter().map(entry).collect(),
        rejected: normalized.rejected.into_iter().map(rejected).collect(),
    }
}
