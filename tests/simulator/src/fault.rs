//! Faults: which requests they apply to, and their effects on each part of a response.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::batch_file::{BatchFile, gzip, inflate};
use crate::random::Random;
use crate::response::{BodyTransfer, SimulatedResponse};
use crate::siem::Page;
use crate::time::UtcTime;

/// A fault that is applied to certain requests.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The requests that it applies to.
    pub matcher: Matcher,
    /// The effect on these requests.
    pub effect: Effect,
}

/// Which requests a fault applies to.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Requests to this endpoint.
    pub endpoint: Endpoint,
    /// Only those for this stream, such as `siem.receipt`; `None` means all.
    pub stream: Option<String>,
    /// Which ones of these.
    pub when: When,
}

/// The endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// The list of batch files.
    Batch,
    /// Single SIEM events.
    Events,
    /// A batch file.
    File,
    /// Anything that does not exist.
    Other,
    /// A POST endpoint: a log, a list or a threat feed.
    Post,
    /// An access token.
    Token,
}

/// Which of the matching requests a fault applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Every one.
    Always,
    /// That many, from the first on.
    First(u64),
    /// One of them; 1 is the first after the fault was scripted.
    Nth(u64),
    /// This many of a thousand responses, chosen by the seed.
    PerMille(u32),
}

/// The two forms of `fail` in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailShape {
    /// `fail[].code`.
    Flat,
    /// `fail[].errors[].code`, below a `meta`.
    Nested,
}

/// The effect of a fault.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Another response, whatever the request is.
    Respond {
        /// The status.
        status: u16,
        /// Headers beside those that every response has.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// An error with a `Retry-After` that is a date ahead of the upstream's clock.
    RetryAfterDate {
        /// The status.
        status: u16,
        /// How far ahead.
        ms: i64,
    },
    /// The connection ends without a response.
    CloseBeforeHeaders,
    /// The connection ends after half of the body.
    CloseMidBody,
    /// The header `Date` of the response is ahead of the upstream's clock, or behind it.
    DateAhead {
        /// How far ahead; negative is behind.
        ms: i64,
    },
    /// The header `Date` of the response is this text.
    DateText(&'static str),
    /// The file is empty.
    EmptyFile,
    /// The page is empty, but not the last one.
    EmptyPage,
    /// The links of the page, or this link to a file, have expired.
    ExpiredLinks,
    /// The page lists every file twice.
    FilesListedTwice,
    /// The file has one more line, which is not UTF-8. Like every added line, it is added with the
    /// first response and stays.
    InvalidUtf8Line,
    /// The file has one more line, which is longer than any record.
    LongLine,
    /// The file has one more line, which is not JSON.
    MalformedLine,
    /// The page has no page token.
    NoPageToken,
    /// The file is text instead of gzip.
    NotGzip,
    /// The page token of the page leads to the same page again.
    PageRepeated,
    /// The page token of the request is refused.
    PageTokenRefused,
    /// The body is sent slowly for a time, and then the rest at once.
    Slow {
        /// How slowly.
        bytes_per_s: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The response is delayed.
    Stall {
        /// For how long.
        ms: u64,
    },
    /// The second half of the body is delayed.
    StallMidBody {
        /// For how long.
        ms: u64,
    },
    /// Bytes follow the end of the gzip stream.
    TrailingGarbage,
    /// The gzip stream ends early, and the response with it.
    TruncatedGzip,
    /// The file is two gzip members, one after another.
    TwoGzipMembers,
    /// The file has one more record, which has no timestamp.
    UntimedLine,
    /// The checksum at the end of the gzip stream is not that of the file.
    WrongChecksum,
}

impl Effect {
    /// Creates a status with an HTML body, as a gateway in front of the API answers.
    #[must_use]
    pub fn html(status: u16) -> Self {
        Self::Respond {
            status,
            headers: vec![("content-type", "text/html".to_owned())],
            body: format!("<html><head><title>{status}</title></head><body>{status}</body></html>"),
        }
    }

    /// Creates an error in one of the two forms, with any status: the real API also sends errors with 200.
    #[must_use]
    pub fn fail(status: u16, shape: FailShape, code: &str, message: &str) -> Self {
        Self::Respond {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: fail_body(status, shape, code, message).to_string(),
        }
    }

    /// Creates the response that the access token has expired.
    #[must_use]
    pub fn token_expired() -> Self {
        Self::fail(
            401,
            FailShape::Flat,
            "token_expired",
            "Access token has expired",
        )
    }

    /// Creates the response that a product or a permission is missing.
    #[must_use]
    pub fn app_forbidden() -> Self {
        Self::fail(403, FailShape::Flat, "app_forbidden", FORBIDDEN)
    }

    /// Creates the response to too many requests, with `Retry-After` if given.
    #[must_use]
    pub fn throttled(retry_after_s: Option<u32>) -> Self {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(retry_after_s.map(|seconds| ("retry-after", seconds.to_string())));
        let body = json!({"detail": "Over throttling limit (50/15 min)"}).to_string();
        Self::Respond {
            status: 429,
            headers,
            body,
        }
    }

    /// Creates the storage's response for a file that does not exist.
    #[must_use]
    pub fn file_gone() -> Self {
        Self::Respond {
            status: 404,
            headers: vec![("content-type", "application/xml".to_owned())],
            body:
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code></Error>"
                    .to_owned(),
        }
    }
}

impl Effect {
    /// Returns whether the effect adds a line to a file.
    pub(crate) fn adds_line(&self) -> bool {
        matches!(
            self,
            Self::InvalidUtf8Line | Self::LongLine | Self::MalformedLine | Self::UntimedLine
        )
    }

    /// Returns whether the effect makes the bytes of a file useless or incomplete, so that the response does
    /// not count as served.
    pub(crate) fn corrupts_file(&self) -> bool {
        matches!(
            self,
            Self::EmptyFile | Self::NotGzip | Self::TruncatedGzip | Self::WrongChecksum
        )
    }
}

/// The scripted faults.
#[derive(Debug)]
pub(crate) struct Faults {
    scripted: Vec<ScriptedFault>,
    random: Random,
}

#[derive(Debug)]
struct ScriptedFault {
    fault: Fault,
    /// Number of matching requests so far.
    seen: u64,
    /// Number of requests it was applied to.
    applied: u64,
}

/// The properties of a request that faults match on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultTarget<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) stream: &'a str,
    pub(crate) has_page_token: bool,
    pub(crate) file: Option<&'a BatchFile>,
    /// How often a file comes with a fault at most.
    pub(crate) faults_per_file_max: u64,
}

impl FaultTarget<'_> {
    /// Returns whether the request is one of those that the fault is for, whatever its `when`. Not where it has
    /// no page token to refuse, its file can get no more lines, or the file has had its faults.
    fn is_matched_by(&self, fault: &Fault) -> bool {
        let Matcher {
            endpoint, stream, ..
        } = &fault.matcher;
        if *endpoint != self.endpoint || stream.as_deref().is_some_and(|only| only != self.stream) {
            return false;
        }
        if let (Effect::PageTokenRefused, false) = (&fault.effect, self.has_page_token) {
            return false;
        }
        self.file.is_none_or(|file| {
            let is_too_late = fault.effect.adds_line() && file.is_content_fixed();
            file.fault_count() < self.faults_per_file_max && !is_too_late
        })
    }
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            scripted: Vec::new(),
            random: Random::new(seed, "faults", &[]),
        }
    }

    pub(crate) fn script(&mut self, fault: Fault) {
        self.scripted.push(ScriptedFault {
            fault,
            seen: 0,
            applied: 0,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.scripted.clear();
    }

    /// Returns to how many requests each fault was applied, in the order of scripting.
    pub(crate) fn counts(&self) -> Vec<u64> {
        self.scripted
            .iter()
            .map(|scripted| scripted.applied)
            .collect()
    }

    /// Counts a request and returns the effect of the first fault that applies.
    pub(crate) fn next_effect(&mut self, target: FaultTarget<'_>) -> Option<Effect> {
        let mut effect = None;
        for scripted in &mut self.scripted {
            if !target.is_matched_by(&scripted.fault) {
                continue;
            }
            scripted.seen += 1;
            let is_due = match scripted.fault.matcher.when {
                When::Always => true,
                When::First(count) => scripted.seen <= count,
                When::Nth(nth) => scripted.seen == nth,
                When::PerMille(per_mille) => self.random.chance(per_mille),
            };
            if is_due && effect.is_none() {
                scripted.applied += 1;
                effect = Some(scripted.fault.effect.clone());
            }
        }
        if let (Some(_), Some(file)) = (&effect, target.file) {
            file.note_fault();
        }
        effect
    }
}

/// What to do before a request is processed.
#[derive(Debug)]
pub(crate) enum RequestAction {
    /// Sends this response instead of the real one.
    Respond(SimulatedResponse),
    /// Closes the connection without a response.
    Close,
    /// Sends the real response.
    Proceed,
    /// Sends the real response after this many milliseconds.
    Wait(u64),
}

/// Returns the action that an effect requires before the request is processed.
pub(crate) fn request_action(
    effect: &Effect,
    endpoint: Endpoint,
    has_page_token: bool,
    now_ms: i64,
) -> RequestAction {
    match effect {
        Effect::RetryAfterDate { status, ms } => {
            let until = UtcTime::new(now_ms.saturating_add(*ms)).http();
            RequestAction::Respond(SimulatedResponse::new(*status, "").with("retry-after", until))
        }
        Effect::Respond {
            status,
            headers,
            body,
        } => {
            let mut response = SimulatedResponse::new(*status, body.clone());
            response.headers.clone_from(headers);
            RequestAction::Respond(response)
        }
        Effect::CloseBeforeHeaders => RequestAction::Close,
        Effect::ExpiredLinks if endpoint == Endpoint::File => {
            RequestAction::Respond(crate::storage::denied("Request has expired"))
        }
        Effect::PageTokenRefused if has_page_token => RequestAction::Respond(page_token_refused()),
        Effect::Stall { ms } => RequestAction::Wait(*ms),
        Effect::CloseMidBody
        | Effect::DateAhead { .. }
        | Effect::DateText(_)
        | Effect::EmptyFile
        | Effect::EmptyPage
        | Effect::ExpiredLinks
        | Effect::FilesListedTwice
        | Effect::InvalidUtf8Line
        | Effect::LongLine
        | Effect::MalformedLine
        | Effect::NoPageToken
        | Effect::NotGzip
        | Effect::PageRepeated
        | Effect::PageTokenRefused
        | Effect::Slow { .. }
        | Effect::StallMidBody { .. }
        | Effect::TrailingGarbage
        | Effect::TruncatedGzip
        | Effect::TwoGzipMembers
        | Effect::UntimedLine
        | Effect::WrongChecksum => RequestAction::Proceed,
    }
}

/// Applies an effect to a page of files.
pub(crate) fn apply_to_page(effect: &Effect, page: &mut Page) {
    if let Effect::EmptyPage = effect {
        page.files.clear();
        page.next = Some(page.position);
        page.caught_up = false;
    } else if let Effect::ExpiredLinks = effect {
        page.link_lifetime_ms = -1000;
    } else if let Effect::FilesListedTwice = effect {
        page.files = page
            .files
            .iter()
            .flat_map(|file| [file.clone(), file.clone()])
            .collect();
    } else if let Effect::NoPageToken = effect {
        page.next = None;
    } else if let Effect::PageRepeated = effect {
        page.next = Some(page.position);
        page.caught_up = false;
    }
}

/// Applies an effect to the bytes of a file, for one response.
pub(crate) fn apply_to_file(effect: &Effect, file: Bytes) -> Bytes {
    if let Effect::EmptyFile = effect {
        Bytes::new()
    } else if let Effect::NotGzip = effect {
        Bytes::from_static(b"{\"message\":\"Service Unavailable\"}\n")
    } else if let Effect::TrailingGarbage = effect {
        [file.as_ref(), b"\0\0garbage"].concat().into()
    } else if let Effect::TruncatedGzip = effect {
        file.slice(..file.len() / 2)
    } else if let Effect::TwoGzipMembers = effect {
        two_members(&file).into()
    } else if let Effect::WrongChecksum = effect {
        wrong_checksum(&file).into()
    } else {
        file
    }
}

/// Applies an effect to how the response is sent.
pub(crate) fn apply_to_response(effect: &Effect, response: &mut SimulatedResponse) {
    if let Effect::CloseMidBody = effect {
        response.transfer = BodyTransfer::CloseAfterHalf;
    } else if let Effect::Slow {
        bytes_per_s,
        for_ms,
    } = effect
    {
        response.transfer = BodyTransfer::Slow {
            bytes_per_s: *bytes_per_s,
            for_ms: *for_ms,
        };
    } else if let Effect::StallMidBody { ms } = effect {
        response.transfer = BodyTransfer::StallAfterHalf(*ms);
    }
}

/// Returns the header `Date` of a response.
pub(crate) fn date(effect: Option<&Effect>, now_ms: i64) -> String {
    if let Some(Effect::DateText(text)) = effect {
        return (*text).to_owned();
    }
    let ahead_ms = match effect {
        Some(Effect::DateAhead { ms }) => *ms,
        Some(_) | None => 0,
    };
    UtcTime::new(now_ms.saturating_add(ahead_ms)).http()
}

/// Returns the error response for a page token that is not one.
pub(crate) fn page_token_refused() -> SimulatedResponse {
    let body = fail_body(
        400,
        FailShape::Flat,
        "invalid_page_token",
        "Page token is not valid",
    );
    SimulatedResponse::json(400, &body)
}

/// Returns an error in one of the two forms.
pub(crate) fn fail_body(status: u16, shape: FailShape, code: &str, message: &str) -> Value {
    match shape {
        FailShape::Flat => json!({"fail": [{"code": code, "message": message}]}),
        FailShape::Nested => json!({
            "meta": {"status": status}, "data": [],
            "fail": [{"errors": [{"code": code, "message": message, "retryable": false}]}],
        }),
    }
}

fn two_members(file: &[u8]) -> Vec<u8> {
    let plain = inflate(file);
    // In the middle of a line: members know nothing of lines.
    let (head, tail) = plain.split_at_checked(plain.len() / 2).unwrap_or_default();
    [gzip(head, 1), gzip(tail, 1)].concat()
}

/// Changes the checksum, which is in the last eight bytes with the length.
fn wrong_checksum(file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    if let Some(byte) = bytes.iter_mut().rev().nth(7) {
        *byte ^= 0xff;
    }
    bytes
}

/// The message of the API when a product or a permission is missing.
pub(crate) const FORBIDDEN: &str = "Forbidden to perform the requested operation";
