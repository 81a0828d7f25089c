//! Handles API responses, and requests without one.

use crate::api::response_kind::{ResponseKind, describe, permission_advice};
use crate::batch::NoticeKind;
use crate::checkpoint::BackoffCause;
use crate::decode::lenient;
use crate::response::{Head, TransportError};
use crate::retry::RetryPolicy;
use crate::session::{PollError, Purpose, Session, StreamFailure};
use crate::streams::quota::QuotaKind;
use crate::streams::{Context, InvalidResponse};

impl Session {
    /// Handles a response that is in memory as a whole.
    pub(super) fn handle_whole_response(&mut self) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        let (head, body) = in_flight.incoming.into_parts();
        match in_flight.purpose {
            Purpose::Preflight => match self.client.handle_preflight(&head, &body) {
                Ok(None) => {}
                Ok(Some(member)) => self.add_unreadable_notice(member),
                Err(error) => self.fail(error),
            },
            Purpose::Call {
                slot_index,
                is_retry,
            } => self.handle_call_response(slot_index, is_retry, &head, body),
            Purpose::File { slot_index } => self.handle_file_error_status(slot_index, &head),
        }
    }

    /// Adds a notice to the first stream about unreadable members of a response that concerns all.
    fn add_unreadable_notice(&mut self, member: &str) {
        if let (Some(slot), Some(poll)) = (self.slots.first(), &mut self.poll) {
            let detail = lenient::describe_unreadable(member);
            poll.batch.notice(slot.stream, NoticeKind::Adjusted, detail);
        }
    }

    pub(super) fn fail(&mut self, error: PollError) {
        if let Some(poll) = &mut self.poll {
            poll.error = Some(error);
        }
    }

    fn handle_call_response(&mut self, index: usize, is_retry: bool, head: &Head, body: Vec<u8>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let (stream, quota_kind) = (slot.stream, slot.reader.quota_kind());
        let outcome = self
            .client
            .process_call_response(stream.name(), (head, &body), is_retry);
        if outcome.kind != ResponseKind::TooLong {
            self.block_exhausted_quota(head, quota_kind);
        }
        let detail = outcome.detail;
        if outcome.may_retry {
            match self.quota_wait_ms(quota_kind) {
                None => self.retry_slot = Some(index),
                Some(wait_ms) => {
                    self.back_off(index, StreamFailure::throttled(detail, Some(wait_ms)));
                }
            }
            return;
        }
        match outcome.kind {
            ResponseKind::Success => self.handle_success(index, body, head),
            ResponseKind::AccessKeyExpired
            | ResponseKind::UnknownApplication
            | ResponseKind::SignatureRefused => {
                self.fail(PollError::Unauthorized(detail));
            }
            ResponseKind::TooLong | ResponseKind::WrongRegion => {
                self.back_off(index, StreamFailure::protocol(detail))
            }
            ResponseKind::TokenRefused => {
                // The token is fresh and is still refused: known to be transient
                // (`mimecast-api.md` §2).
                self.client.forget_token();
                let how = self.client.retry_description();
                self.back_off(index, StreamFailure::protocol(format!("{detail}, {how}")));
            }
            // The endpoint is permitted, and one of the parts that it listed is not.
            ResponseKind::NotPermitted
                if self
                    .slots
                    .get(index)
                    .is_some_and(|slot| slot.reader.is_call_for_listed_item()) =>
            {
                self.handle_refusal(index, detail);
            }
            ResponseKind::NotPermitted => {
                let detail = format!(
                    "{detail}; {}",
                    permission_advice(stream, self.settings.api())
                );
                self.back_off(index, StreamFailure::not_permitted(detail));
            }
            // Other statuses come from a proxy, for example, and do not concern the page token.
            ResponseKind::Refused if matches!(head.status, 200 | 400 | 410 | 422) => {
                self.handle_refusal(index, detail);
            }
            ResponseKind::Refused => self.back_off(index, StreamFailure::protocol(detail)),
            ResponseKind::Throttled => {
                let failure =
                    StreamFailure::throttled(detail, self.client.rate_limit_wait_ms(head));
                self.back_off(index, failure);
                let backoff = self.slots.get(index).and_then(|slot| slot.backoff);
                if let (Some(backoff), Some(quota_kind)) = (backoff, quota_kind) {
                    let now = self.client.now();
                    let wait_ms = backoff.until.millis().saturating_sub(now.millis());
                    self.quota_mut(quota_kind).block(now, wait_ms);
                }
            }
            ResponseKind::Unavailable => {
                let failure = StreamFailure::unavailable(detail, self.client.retry_after_ms(head));
                self.back_off(index, failure);
            }
        }
    }

    /// Returns how long the quota permits no further call; `None` where it permits one.
    fn quota_wait_ms(&self, quota_kind: Option<QuotaKind>) -> Option<i64> {
        let now = self.client.now();
        let free_at = self.quota(quota_kind?).free_at(now);
        let wait_ms = free_at.millis().saturating_sub(now.millis());
        (wait_ms > 0).then_some(wait_ms)
    }

    /// Blocks the quota where the response has no calls left: the next one would be refused.
    fn block_exhausted_quota(&mut self, head: &Head, quota_kind: Option<QuotaKind>) {
        let none_left = head
            .header("x-ratelimit-remaining")
            .is_some_and(|text| text.trim() == "0");
        let now = self.client.now();
        let wait_ms = self.client.rate_limit_wait_ms(head);
        if let (Some(wait_ms), Some(quota_kind)) = (wait_ms.filter(|_| none_left), quota_kind) {
            self.quota_mut(quota_kind).block(now, wait_ms);
        }
    }

    fn handle_success(&mut self, index: usize, body: Vec<u8>, head: &Head) {
        let context = Context::new(&self.settings, &self.client);
        let (Some(slot), Some(poll)) = (self.slots.get_mut(index), &mut self.poll) else {
            return;
        };
        match slot
            .reader
            .handle_response((head, body), context, &mut poll.batch)
        {
            Ok(()) => {
                // Also after a broken file: it keeps its own count of tries, from which its next
                // backoff grows.
                slot.backoff = None;
                if !slot.reader.has_buffered_response() {
                    slot.interrupted_responses = 0;
                }
            }
            Err(InvalidResponse(why)) => {
                let what = format!("{}: {why}", describe(slot.stream.name(), head, None));
                self.back_off(index, StreamFailure::protocol(what));
            }
        }
    }

    fn handle_refusal(&mut self, index: usize, detail: String) {
        let context = Context::new(&self.settings, &self.client);
        let (Some(slot), Some(poll)) = (self.slots.get_mut(index), &mut self.poll) else {
            return;
        };
        if !slot.reader.handle_refusal(context, &mut poll.batch) {
            self.back_off(index, StreamFailure::protocol(detail));
        }
    }

    /// Handles a missing or truncated response.
    pub(super) fn handle_no_response(&mut self, failure: TransportError) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        match (in_flight.purpose, failure) {
            (Purpose::Preflight, why) => {
                let error = self.client.handle_preflight_failure(why);
                self.fail(error);
            }
            (Purpose::Call { .. }, TransportError::Denied(origin)) => {
                self.fail(PollError::Denied(origin));
            }
            (Purpose::Call { slot_index, .. }, why) => {
                let Some(stream) = self.slots.get(slot_index).map(|slot| slot.stream) else {
                    return;
                };
                let what = format!("{stream}: {why}");
                self.back_off(slot_index, StreamFailure::unavailable(what, None));
            }
            (Purpose::File { slot_index }, why) => {
                self.handle_file_transport_error(slot_index, &why)
            }
        }
    }
}

impl StreamFailure {
    const fn not_permitted(detail: String) -> Self {
        Self {
            retry_policy: RetryPolicy::NotPermitted,
            backoff_cause: BackoffCause::NotPermitted,
            notice: NoticeKind::NotPermitted,
            detail,
            requested_wait_ms: None,
            previous_failures: None,
        }
    }

    const fn protocol(detail: String) -> Self {
        Self {
            retry_policy: RetryPolicy::Protocol,
            backoff_cause: BackoffCause::Failing,
            notice: NoticeKind::Postponed,
            detail,
            requested_wait_ms: None,
            previous_failures: None,
        }
    }

    pub(super) const fn no_progress(detail: String, previous_failures: u32) -> Self {
        Self {
            retry_policy: RetryPolicy::NoProgress,
            backoff_cause: BackoffCause::Failing,
            notice: NoticeKind::Postponed,
            detail,
            requested_wait_ms: None,
            previous_failures: Some(previous_failures),
        }
    }

    pub(super) const fn throttled(detail: String, requested_wait_ms: Option<i64>) -> Self {
        Self {
            retry_policy: RetryPolicy::Throttled,
            backoff_cause: BackoffCause::Throttled,
            notice: NoticeKind::Postponed,
            detail,
            requested_wait_ms,
            previous_failures: None,
        }
    }

    pub(super) const fn unavailable(detail: String, requested_wait_ms: Option<i64>) -> Self {
        Self {
            retry_policy: RetryPolicy::Unavailable,
            backoff_cause: BackoffCause::Failing,
            notice: NoticeKind::Postponed,
            detail,
            requested_wait_ms,
            previous_failures: None,
        }
    }
}
