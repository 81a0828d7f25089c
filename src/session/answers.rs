//! What an answer means: one table from status and code to what happens next.

use crate::auth::AskError;
use crate::auth::hmac::SKEW_MS_MAX;
use crate::batch::NoticeKind;
use crate::checkpoint::RestCause;
use crate::decode::fail::{self, UpstreamError};
use crate::response::{Head, TransportError};
use crate::retry::{self, Cause, Wait};
use crate::session::{ANSWER_BYTES_MAX, Failure, Fault, Flight, PollError, Purpose, Session};
use crate::settings::Api;
use crate::stream::{NO_PERMISSION, Stream};
use crate::streams::Unusable;
use crate::streams::quota::Meter;
use crate::time::Timestamp;

/// What an answer of the API comes to (`mimecast-api.md` §2, §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The access key has expired.
    Expired,
    /// The body is an answer.
    Good,
    /// The application is not known; seen to pass by itself.
    KeyRefused,
    /// The credentials do not permit this.
    NotPermitted,
    /// The call as such was refused, for example for its page token.
    Refused,
    /// The signature is not what the upstream works out.
    SignatureRefused,
    /// The token was refused; a fresh one may do.
    TokenRefused,
    /// There were too many calls.
    Throttled,
    /// The server failed.
    Unavailable,
    /// The account is in another region.
    WrongRegion,
}

/// Codes that decide, whatever the status (`mimecast-api.md` §2, §6.1). The first that is a part
/// of the answer's code in lower case counts.
const CODES: [(&str, Verdict); 15] = [
    ("app_forbidden", Verdict::NotPermitted),
    ("binding_expired", Verdict::Expired),
    ("developer_key", Verdict::KeyRefused),
    ("invalid_signature", Verdict::SignatureRefused),
    ("incorrect_region", Verdict::WrongRegion),
    ("siem_invalid_token", Verdict::Refused),
    ("client_unauthorized", Verdict::NotPermitted),
    ("operation_forbidden", Verdict::NotPermitted),
    ("endpoint_evaluation_failed", Verdict::NotPermitted),
    ("token_expired", Verdict::TokenRefused),
    ("token_verification_failed", Verdict::TokenRefused),
    ("invalid_access_token", Verdict::TokenRefused),
    ("invalidclientidentifier", Verdict::TokenRefused),
    ("unauthorized", Verdict::TokenRefused),
    ("internal_server_error", Verdict::Unavailable),
];

impl Verdict {
    /// Reads an answer. A 200 can be an error (`mimecast-api.md` §6.1).
    #[must_use]
    pub(crate) fn of(status: u16, error: Option<&UpstreamError>) -> Self {
        if let Some(error) = error {
            let code = error.code.to_ascii_lowercase();
            if let Some((_, verdict)) = CODES.iter().find(|(part, _)| code.contains(part)) {
                return *verdict;
            }
        }
        match (status, error) {
            (200, None) => Self::Good,
            (401, _) => Self::TokenRefused,
            (418, _) => Self::Expired,
            (403 | 404, _) => Self::NotPermitted,
            (429, _) => Self::Throttled,
            (408 | 500.., _) => Self::Unavailable,
            (_, _) => Self::Refused,
        }
    }
}

/// The stream, the status, Mimecast's code and its request id, in one clause.
#[must_use]
pub(crate) fn describe(what: &str, head: &Head, error: Option<&UpstreamError>) -> String {
    let mut text = format!("{what}: HTTP {}", head.status);
    if let Some(error) = error {
        for part in [&error.code, &error.message] {
            if !part.is_empty() {
                text.push(' ');
                text.push_str(part);
            }
        }
    }
    if let Some(id) = head.header("x-request-id") {
        text.push_str(", request id ");
        text.push_str(&fail::shown(id));
    }
    text
}

/// What to do about credentials that are refused, where the answer says which part of them it is.
#[must_use]
pub(crate) fn remedy(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Expired => {
            "; the access key has expired: create new keys, for a user whose authentication profile lets them never expire"
        }
        Verdict::KeyRefused => "; check app_id: Mimecast does not know the application",
        Verdict::SignatureRefused => {
            "; check app_key, access_key and secret_key: Mimecast does not say which of the three is wrong"
        }
        Verdict::WrongRegion => {
            "; the account is in another region: remove base_url and set email, or set base_url to the host of the region"
        }
        Verdict::Good
        | Verdict::NotPermitted
        | Verdict::Refused
        | Verdict::Throttled
        | Verdict::TokenRefused
        | Verdict::Unavailable => "",
    }
}

/// What to grant so that a stream can be read.
#[must_use]
pub(crate) fn grant(stream: Stream, api: Api) -> String {
    let row = stream.row();
    if api == Api::V1 {
        return format!(
            "grant the permission \"{}\" to the role of the user whose keys these are",
            row.permission
        );
    }
    let product = format!("select the product \"{}\"", row.product);
    if row.permission == NO_PERMISSION {
        return product;
    }
    format!(
        "grant the role permission \"{}\" and {product}",
        row.permission
    )
}

impl Session {
    /// Acts on an answer that is in memory as a whole.
    pub(super) fn handle_whole_answer(&mut self, now: Timestamp) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        let head = flight.head.clone().unwrap_or_default();
        match flight.purpose {
            Purpose::Ask => self.handle_asked(&head, &flight.body, now),
            Purpose::Call { slot, again } => {
                self.handle_call_answer(slot, again, flight, &head, now)
            }
            Purpose::File { slot } => self.handle_file_refusal(slot, &head, now),
        }
    }

    fn handle_asked(&mut self, head: &Head, body: &[u8], now: Timestamp) {
        let error = self.auth.read_error(&self.settings, body);
        let words = self.auth.words();
        let detail = describe(words.asks, head, error.as_ref());
        let verdict = Verdict::of(head.status, error.as_ref());
        let outcome = match verdict {
            Verdict::Good => match self.auth.handle_answer(&mut self.settings, body, now) {
                Ok(()) => {
                    self.token_tries = 0;
                    self.held = None;
                    return;
                }
                Err(AskError::Refused(why)) => {
                    PollError::Unauthorized(format!("{detail}: {why}; {}", words.advice))
                }
                Err(AskError::Protocol(why)) => {
                    let what = format!("{detail}: {why}");
                    let asked_ms = head.retry_after_ms(self.upstream_now(now));
                    PollError::Protocol(self.failure(what, Cause::Protocol, asked_ms))
                }
            },
            // Seen to pass by itself (`mimecast-api.md` §6.1).
            Verdict::KeyRefused if self.token_tries == 0 => {
                self.token_tries = 1;
                return;
            }
            Verdict::Expired
            | Verdict::KeyRefused
            | Verdict::NotPermitted
            | Verdict::Refused
            | Verdict::SignatureRefused
            | Verdict::TokenRefused
            | Verdict::WrongRegion => {
                PollError::Unauthorized(format!("{detail}; {}", words.advice))
            }
            Verdict::Throttled => {
                let asked_ms = head.asked_wait_ms(self.upstream_now(now));
                PollError::Throttled(self.failure(detail, Cause::Throttled, asked_ms))
            }
            Verdict::Unavailable => {
                let asked_ms = head.retry_after_ms(self.upstream_now(now));
                PollError::Unavailable(self.failure(detail, Cause::Unavailable, asked_ms))
            }
        };
        self.hold(outcome, now);
    }

    /// Fails the poll, and with it those that come before its wait is over.
    fn hold(&mut self, error: PollError, now: Timestamp) {
        if let PollError::Protocol(failure)
        | PollError::Throttled(failure)
        | PollError::Unavailable(failure) = &error
        {
            let wait_ms = i64::try_from(failure.retry_after_ms).unwrap_or(i64::MAX);
            self.held = Some((Wait::begin(now, wait_ms), error.clone()));
        }
        self.fail(error);
    }

    /// A failure of the poll with the wait that the upstream or the table asks for.
    fn failure(&mut self, detail: String, cause: Cause, asked_ms: Option<i64>) -> Failure {
        let jitter = self.next_jitter();
        let wait_ms = retry::wait_ms(cause, self.token_tries, asked_ms, jitter);
        self.token_tries = self.token_tries.saturating_add(1);
        Failure {
            detail,
            retry_after_ms: u64::try_from(wait_ms).unwrap_or(0),
        }
    }

    pub(super) fn fail(&mut self, error: PollError) {
        if let Some(poll) = &mut self.poll {
            poll.error = Some(error);
        }
    }

    fn handle_call_answer(
        &mut self,
        index: usize,
        again: bool,
        flight: Flight,
        head: &Head,
        now: Timestamp,
    ) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let (stream, meter) = (slot.stream, slot.feed.meter());
        if head.status == 200 && flight.body.len() > ANSWER_BYTES_MAX {
            let what = format!("{stream}: the answer is longer than {ANSWER_BYTES_MAX} bytes");
            return self.rest(index, Fault::protocol(what), now);
        }
        let error = self.auth.read_error(&self.settings, &flight.body);
        let detail = describe(stream.name(), head, error.as_ref());
        self.note_remaining(head, meter, now);
        let verdict = Verdict::of(head.status, error.as_ref());
        if !again && self.may_repeat(verdict, flight.skew_ms) {
            self.repeat = Some(index);
            return;
        }
        match verdict {
            Verdict::Good => self.take_answer(index, flight.body, head, now),
            Verdict::Expired | Verdict::KeyRefused | Verdict::SignatureRefused => {
                self.fail(PollError::Unauthorized(detail + remedy(verdict)));
            }
            Verdict::WrongRegion => {
                let fault = Fault::protocol(detail + remedy(verdict));
                self.rest(index, fault, now);
            }
            Verdict::TokenRefused => {
                // The token is fresh and is still refused: seen to pass by itself (§2).
                self.auth.forget();
                let how = self.auth.words().repeated;
                self.rest(index, Fault::protocol(format!("{detail}, {how}")), now);
            }
            Verdict::NotPermitted => {
                let detail = format!("{detail}; {}", grant(stream, self.settings.api()));
                self.rest(index, Fault::not_permitted(detail), now);
            }
            Verdict::Refused => self.handle_refusal(index, detail, now),
            Verdict::Throttled => {
                let fault = Fault::throttled(detail, head.asked_wait_ms(self.upstream_now(now)));
                self.rest(index, fault, now);
                let rest = self.slots.get(index).and_then(|slot| slot.rest);
                if let (Some(rest), Some(meter)) = (rest, meter) {
                    let wait_ms = rest.until.millis().saturating_sub(now.millis());
                    self.quota_mut(meter).block(now, wait_ms);
                }
            }
            Verdict::Unavailable => {
                self.rest(
                    index,
                    Fault::unavailable(detail, head.retry_after_ms(self.upstream_now(now))),
                    now,
                );
            }
        }
    }

    /// Whether a call that was refused may do when it is made once more, and what it takes.
    fn may_repeat(&mut self, verdict: Verdict, signed_skew_ms: i64) -> bool {
        match verdict {
            Verdict::KeyRefused => true,
            // The answer has the upstream's clock, and the signature had another time.
            Verdict::SignatureRefused => {
                let is_off = |skew_ms: i64| skew_ms.abs_diff(signed_skew_ms) > SKEW_MS_MAX;
                let is_off = self.skew.last_ms().is_some_and(is_off);
                if is_off {
                    self.skew.believe_last();
                }
                is_off
            }
            Verdict::TokenRefused => {
                self.auth.forget();
                true
            }
            Verdict::WrongRegion if self.finds_region => {
                self.settings.base_url.clear();
                true
            }
            Verdict::Expired
            | Verdict::Good
            | Verdict::NotPermitted
            | Verdict::Refused
            | Verdict::Throttled
            | Verdict::Unavailable
            | Verdict::WrongRegion => false,
        }
    }

    /// The upstream says how many calls are left: with none, the next one would be refused.
    fn note_remaining(&mut self, head: &Head, meter: Option<Meter>, now: Timestamp) {
        let none_left = head
            .header("x-ratelimit-remaining")
            .is_some_and(|text| text.trim() == "0");
        let wait_ms = head.asked_wait_ms(self.upstream_now(now));
        if let (Some(wait_ms), Some(meter)) = (wait_ms.filter(|_| none_left), meter) {
            self.quota_mut(meter).block(now, wait_ms);
        }
    }

    fn take_answer(&mut self, index: usize, body: Vec<u8>, head: &Head, now: Timestamp) {
        let clocks = self.clocks(now);
        let (Some(slot), Some(poll)) = (self.slots.get_mut(index), &mut self.poll) else {
            return;
        };
        match slot
            .feed
            .handle_answer((head, body), clocks.of(&self.settings), &mut poll.batch)
        {
            Ok(()) => {
                // A broken file rests its stream over the listing that fetches it again.
                slot.rest = None;
                if !slot.feed.holds_answer() {
                    slot.lost_answers = 0;
                }
            }
            Err(Unusable(why)) => {
                let what = format!("{}: {why}", describe(slot.stream.name(), head, None));
                self.rest(index, Fault::protocol(what), now);
            }
        }
    }

    fn handle_refusal(&mut self, index: usize, detail: String, now: Timestamp) {
        let clocks = self.clocks(now);
        let (Some(slot), Some(poll)) = (self.slots.get_mut(index), &mut self.poll) else {
            return;
        };
        if !slot
            .feed
            .handle_refusal(clocks.of(&self.settings), &mut poll.batch)
        {
            self.rest(index, Fault::protocol(detail), now);
        }
    }

    /// No answer, or no whole answer, came.
    pub(super) fn handle_no_answer(&mut self, failure: TransportError, now: Timestamp) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        match (flight.purpose, failure) {
            (Purpose::Ask | Purpose::Call { .. }, TransportError::Denied(origin)) => {
                self.fail(PollError::Denied(origin));
            }
            (Purpose::Ask, TransportError::Failed(why)) => {
                let what = format!("{}: {why}", self.auth.words().asks);
                let failure = self.failure(what, Cause::Unavailable, None);
                self.hold(PollError::Unavailable(failure), now);
            }
            (Purpose::Call { slot, .. }, why) => {
                let Some(stream) = self.slots.get(slot).map(|slot| slot.stream) else {
                    return;
                };
                let what = format!("{stream}: {why}");
                self.rest(slot, Fault::unavailable(what, None), now);
            }
            (Purpose::File { slot }, why) => self.handle_file_failure(slot, &why, now),
        }
    }
}

impl Fault {
    const fn not_permitted(detail: String) -> Self {
        Self {
            retry: Cause::NotPermitted,
            cause: RestCause::NotPermitted,
            notice: NoticeKind::NotPermitted,
            detail,
            asked_wait_ms: None,
            tries: None,
        }
    }

    const fn protocol(detail: String) -> Self {
        Self {
            retry: Cause::Protocol,
            cause: RestCause::Failing,
            notice: NoticeKind::Postponed,
            detail,
            asked_wait_ms: None,
            tries: None,
        }
    }

    pub(super) const fn no_progress(detail: String, tries: u32) -> Self {
        Self {
            retry: Cause::NoProgress,
            cause: RestCause::Failing,
            notice: NoticeKind::Postponed,
            detail,
            asked_wait_ms: None,
            tries: Some(tries),
        }
    }

    pub(super) const fn throttled(detail: String, asked_wait_ms: Option<i64>) -> Self {
        Self {
            retry: Cause::Throttled,
            cause: RestCause::Throttled,
            notice: NoticeKind::Postponed,
            detail,
            asked_wait_ms,
            tries: None,
        }
    }

    pub(super) const fn unavailable(detail: String, asked_wait_ms: Option<i64>) -> Self {
        Self {
            retry: Cause::Unavailable,
            cause: RestCause::Failing,
            notice: NoticeKind::Postponed,
            detail,
            asked_wait_ms,
            tries: None,
        }
    }
}

#[cfg(test)]
mod tests;
