//! Finds out stream by stream whether it can be read.

use crate::auth::oauth2::{OAuth2, TokenError};
use crate::decode::fail;
use crate::machine::{self, Action, Machine};
use crate::response::{Head, TransportError};
use crate::session::answers::{Verdict, describe};
use crate::session::{Failure, PollError};
use crate::settings::Settings;
use crate::stream::Stream;
use crate::streams::{Context, Feed};
use crate::time::Timestamp;

/// How much of an answer is read; a probe asks for one record or one file.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What was found for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// The stream.
    pub stream: Stream,
    /// Whether it can be read.
    pub outcome: Outcome,
    /// How far the host's clock is ahead of the upstream's, in milliseconds.
    pub clock_skew_ms: Option<i64>,
}

/// Whether a stream can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something else is wrong.
    Failed(PollError),
    /// The credentials do not permit it. The payload is what the upstream answered.
    NotPermitted(String),
    /// It can be read.
    Readable,
}

/// What a request in flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Probe,
    Token,
}

/// Asks one small question per stream.
pub struct Check {
    settings: Settings,
    auth: OAuth2,
    results: Vec<CheckResult>,
    /// Whether the stream at hand was asked with a token that was refused.
    again: bool,
    purpose: Purpose,
    head: Option<Head>,
    body: Vec<u8>,
    ended: bool,
    skew_ms: Option<i64>,
}

impl Check {
    /// A check of all streams of the settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            auth: OAuth2::default(),
            results: Vec::new(),
            again: false,
            purpose: Purpose::Token,
            head: None,
            body: Vec::new(),
            ended: false,
            skew_ms: None,
        }
    }

    fn stream(&self) -> Option<Stream> {
        self.settings.streams.get(self.results.len()).copied()
    }

    fn report(&mut self, outcome: Outcome) {
        if let Some(stream) = self.stream() {
            self.results.push(CheckResult {
                stream,
                outcome,
                clock_skew_ms: self.skew_ms,
            });
            self.again = false;
        }
    }

    /// A failure of the credentials concerns every stream that is left.
    fn report_all(&mut self, error: &PollError) {
        while self.stream().is_some() {
            self.report(Outcome::Failed(error.clone()));
        }
    }

    fn handle_whole_answer(&mut self, now: Timestamp) {
        let head = self.head.take().unwrap_or_default();
        let body = core::mem::take(&mut self.body);
        self.ended = false;
        let error = fail::read(&body);
        let verdict = Verdict::of(head.status, error.as_ref());
        let name = if self.purpose == Purpose::Token {
            "token"
        } else {
            self.stream().map_or("", Stream::name)
        };
        let detail = describe(name, &head, error.as_ref());
        match (self.purpose, verdict) {
            (Purpose::Token, Verdict::Good) => {
                if let Err(TokenError::Refused(why) | TokenError::Protocol(why)) =
                    self.auth.handle_answer(&body, now)
                {
                    self.report_all(&PollError::Protocol(Failure::new(&format!(
                        "{detail}: {why}"
                    ))));
                }
            }
            (Purpose::Token, verdict) => self.report_all(&failed(verdict, &head, detail)),
            (Purpose::Probe, Verdict::Good) => self.report(Outcome::Readable),
            (Purpose::Probe, Verdict::NotPermitted) => self.report(Outcome::NotPermitted(detail)),
            (Purpose::Probe, Verdict::TokenRefused) if !self.again => {
                self.auth.forget();
                self.again = true;
            }
            (Purpose::Probe, verdict) => {
                let outcome = Outcome::Failed(failed(verdict, &head, detail));
                self.report(outcome);
            }
        }
    }
}

/// The poll error that a verdict stands for.
fn failed(verdict: Verdict, head: &Head, detail: String) -> PollError {
    let wait_ms = head.asked_wait_ms().and_then(|ms| u64::try_from(ms).ok());
    let retry_after_ms = wait_ms.unwrap_or(0);
    match verdict {
        Verdict::NotPermitted | Verdict::TokenRefused => PollError::Unauthorized(detail),
        Verdict::Good | Verdict::Refused => PollError::Protocol(Failure {
            detail,
            retry_after_ms,
        }),
        Verdict::Throttled => PollError::Throttled(Failure {
            detail,
            retry_after_ms,
        }),
        Verdict::Unavailable => PollError::Unavailable(Failure {
            detail,
            retry_after_ms,
        }),
    }
}

impl Machine for Check {
    type Output = Vec<CheckResult>;

    fn next(&mut self, now: Timestamp) -> Action<Self::Output> {
        if self.head.is_some() {
            if !self.ended {
                return Action::Read;
            }
            self.handle_whole_answer(now);
        }
        let Some(stream) = self.stream() else {
            return Action::Yield(core::mem::take(&mut self.results));
        };
        let Some(token) = self.auth.token(now) else {
            self.purpose = Purpose::Token;
            return Action::Send(OAuth2::request(&self.settings));
        };
        let upstream_now = now.plus_ms(self.skew_ms.unwrap_or(0).saturating_neg());
        let context = Context {
            settings: &self.settings,
            now,
            upstream_now,
        };
        let mut request = Feed::probe(stream, context);
        request.bearer = Some(token.clone());
        self.purpose = Purpose::Probe;
        Action::Send(request)
    }

    fn handle_head(&mut self, head: Head, now: Timestamp) {
        self.skew_ms = machine::skew_ms(&head, now).or(self.skew_ms);
        self.head = Some(head);
    }

    fn handle_chunk(&mut self, chunk: Vec<u8>) {
        self.body.extend_from_slice(&chunk);
        self.ended = self.body.len() > ANSWER_BYTES_MAX;
    }

    fn handle_end(&mut self) {
        self.ended = true;
    }

    fn handle_failure(&mut self, failure: TransportError, _now: Timestamp) {
        self.head = None;
        self.body.clear();
        let error = match failure {
            TransportError::Denied(origin) => PollError::Denied(origin),
            TransportError::Failed(why) => PollError::Unavailable(Failure::new(&why)),
        };
        match self.purpose {
            Purpose::Token => self.report_all(&error),
            Purpose::Probe => self.report(Outcome::Failed(error)),
        }
    }

    fn keeps_body(&self) -> bool {
        false
    }
}
