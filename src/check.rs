//! Finds out whether each stream can be read, with one call for all that share an endpoint and a
//! permission: calls count against the quota of the collection.

mod categories;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::hmac::SKEW_MS_MAX;
use crate::auth::{AskError, Auth, Stamp};
use crate::batch::Intake;
use crate::decode::lines::strip_byte_order_mark;
use crate::machine::{self, Action, Machine};
use crate::normalize::{Format, Options};
use crate::request::{Request, is_usable};
use crate::response::{Head, TransportError};
use crate::session::answers::{Verdict, describe, remedy};
use crate::session::{Failure, PollError};
use crate::settings::{Settings, SettingsError};
use crate::stream::{Stream, Way};
use crate::streams::{Context, Feed, log_files};
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
    /// The account whose records were seen.
    pub account: Option<String>,
    /// What else the upstream says about the stream: the categories of audit events.
    pub remark: Option<String>,
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
    /// What the credentials need first: a token, or the region.
    Ask,
    /// The categories of a log that can be read.
    Categories,
    /// A batch file of the listing: only whether it can be had.
    File,
    Probe,
}

/// What is asked next about the streams that are being checked.
enum Question {
    Categories,
    /// The URL of a batch file.
    File(String),
    Probe,
}

/// Asks one small question for all streams that share an endpoint and a permission.
pub struct Check {
    settings: Settings,
    auth: Auth,
    /// Streams that share an endpoint and a permission; the first of them is asked for.
    groups: Vec<Vec<Stream>>,
    /// How many groups are done.
    done: usize,
    results: Vec<CheckResult>,
    /// Whether the group was asked before, and refused for its credentials.
    again: bool,
    /// The same for what the credentials need first.
    asked_again: bool,
    /// Whether the base URL is what discovery found.
    finds_region: bool,
    /// Random; request ids are made of it.
    nonce: u128,
    /// How far the host's clock was taken to be ahead when the request was made.
    signed_skew_ms: i64,
    purpose: Purpose,
    /// Whether a request was sent and its answer is not complete.
    awaits_answer: bool,
    head: Option<Head>,
    body: Vec<u8>,
    ended: bool,
    skew_ms: Option<i64>,
    account: Option<String>,
    remark: Option<String>,
    question: Question,
    /// The origin of the batch file that is asked for.
    file_origin: String,
}

/// The streams by what one call shows: their endpoint and their permission.
fn groups(streams: &[Stream]) -> Vec<Vec<Stream>> {
    let mut groups: Vec<Vec<Stream>> = Vec::new();
    for &stream in streams {
        let is_alike = |other: &Stream| {
            let (row, other) = (stream.row(), other.row());
            row.endpoint == other.endpoint && row.permission == other.permission
        };
        match groups.iter_mut().find(|group| group.iter().any(is_alike)) {
            Some(group) => group.push(stream),
            None => groups.push(vec![stream]),
        }
    }
    groups
}

impl Check {
    /// A check of all streams of the settings. `nonce` is random.
    #[must_use]
    pub fn new(settings: Settings, nonce: u128) -> Self {
        Self {
            auth: Auth::new(&settings),
            groups: groups(&settings.streams),
            done: 0,
            finds_region: settings.base_url.is_empty(),
            settings,
            results: Vec::new(),
            again: false,
            asked_again: false,
            nonce,
            signed_skew_ms: 0,
            purpose: Purpose::Ask,
            awaits_answer: false,
            head: None,
            body: Vec::new(),
            ended: false,
            skew_ms: None,
            account: None,
            remark: None,
            question: Question::Probe,
            file_origin: String::new(),
        }
    }

    /// The stream that is asked for.
    fn stream(&self) -> Option<Stream> {
        self.groups.get(self.done)?.first().copied()
    }

    /// What was found holds for every stream of the group.
    fn report(&mut self, outcome: Outcome) {
        let (account, remark) = (self.account.take(), self.remark.take());
        let group = self.groups.get(self.done).into_iter().flatten();
        self.results.extend(group.map(|stream| CheckResult {
            stream: *stream,
            outcome: outcome.clone(),
            clock_skew_ms: self.skew_ms,
            account: account.clone(),
            remark: remark.clone(),
        }));
        self.done = self.done.saturating_add(1);
        self.again = false;
        self.question = Question::Probe;
    }

    /// The results in the order of the settings.
    fn take_results(&mut self) -> Vec<CheckResult> {
        let mut results = core::mem::take(&mut self.results);
        let streams = &self.settings.streams;
        results.sort_by_key(|result| streams.iter().position(|stream| *stream == result.stream));
        results
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
        self.awaits_answer = false;
        self.ended = false;
        let error = self.auth.read_error(&self.settings, &body);
        let verdict = Verdict::of(head.status, error.as_ref());
        let words = self.auth.words();
        let name = match self.purpose {
            Purpose::Ask => words.asks,
            Purpose::Categories | Purpose::File | Purpose::Probe => {
                self.stream().map_or("", Stream::name)
            }
        };
        let detail = describe(name, &head, error.as_ref());
        let is_ask = self.purpose == Purpose::Ask;
        let is_again = if is_ask { self.asked_again } else { self.again };
        if !is_again && self.may_repeat(verdict) {
            if is_ask {
                self.asked_again = true;
            } else {
                self.again = true;
            }
            return;
        }
        match (self.purpose, verdict) {
            (Purpose::Ask, Verdict::Good) => {
                self.asked_again = false;
                match self.auth.handle_answer(&mut self.settings, &body, now) {
                    Ok(()) => {}
                    Err(AskError::Refused(why)) => {
                        let detail = format!("{detail}: {why}; {}", words.advice);
                        self.report_all(&PollError::Unauthorized(detail));
                    }
                    Err(AskError::Protocol(why)) => {
                        let failure = Failure::new(&format!("{detail}: {why}"));
                        self.report_all(&PollError::Protocol(failure));
                    }
                }
            }
            (Purpose::Ask, verdict) => self.report_all(&failed(verdict, &head, detail, now)),
            // Whatever comes, the stream can be read; without categories nothing is said of them.
            (Purpose::Categories, verdict) => {
                self.remark = categories::read(&body).filter(|_| verdict == Verdict::Good);
                self.report(Outcome::Readable);
            }
            (Purpose::File, _) => self.report(self.file_outcome(&head)),
            (Purpose::Probe, Verdict::Good) => self.handle_probe(&head, body, &detail),
            (Purpose::Probe, Verdict::NotPermitted) => self.report(Outcome::NotPermitted(detail)),
            (
                Purpose::Probe,
                Verdict::Expired | Verdict::KeyRefused | Verdict::SignatureRefused,
            ) => {
                let detail = detail + remedy(verdict);
                self.report_all(&PollError::Unauthorized(detail));
            }
            (Purpose::Probe, verdict) => {
                let detail = detail + remedy(verdict);
                let outcome = Outcome::Failed(failed(verdict, &head, detail, now));
                self.report(outcome);
            }
        }
    }

    /// Whether a call that was refused may do when it is made once more.
    fn may_repeat(&mut self, verdict: Verdict) -> bool {
        match (self.purpose, verdict) {
            (Purpose::Categories | Purpose::File, _) => false,
            (_, Verdict::KeyRefused) => true,
            (Purpose::Probe, Verdict::TokenRefused) => {
                self.auth.forget();
                true
            }
            (Purpose::Probe, Verdict::SignatureRefused) => {
                self.skew_ms.unwrap_or(0).abs_diff(self.signed_skew_ms) > SKEW_MS_MAX
            }
            (Purpose::Probe, Verdict::WrongRegion) if self.finds_region => {
                self.settings.base_url.clear();
                true
            }
            (_, _) => false,
        }
    }

    /// Acts on the good answer to a probe.
    fn handle_probe(&mut self, head: &Head, body: Vec<u8>, detail: &str) {
        let Some(stream) = self.stream() else {
            return;
        };
        let is_json = matches!(
            stream.row().way,
            Way::Files { .. } | Way::List { .. } | Way::Windows(_)
        );
        if is_json && serde_json::from_slice::<Listing<'_>>(&body).is_err() {
            let detail = format!(
                "{detail}: the answer is not the documented JSON; is there a proxy in between?"
            );
            let failure = PollError::Protocol(Failure::new(&detail));
            return self.report(Outcome::Failed(failure));
        }
        if self.settings.reads_files(stream) {
            match listed_file(&body) {
                Some(url) => self.question = Question::File(url),
                None => self.report(Outcome::Readable),
            }
        } else if stream == Stream::Audit && matches!(self.auth, Auth::OAuth2(_)) {
            self.question = Question::Categories;
        } else {
            let outcome = self.account_of(head, body);
            self.report(outcome);
        }
    }

    /// Whether the storage hands a batch file out. The link is fresh: a refusal is no matter of age.
    fn file_outcome(&self, head: &Head) -> Outcome {
        if matches!(head.status, 200 | 206) {
            return Outcome::Readable;
        }
        let name = self.stream().map_or("", Stream::name);
        let (status, origin) = (head.status, &self.file_origin);
        let detail = format!(
            "{name}: HTTP {status} for a batch file at {origin}, although its link is fresh; is there a proxy in between?"
        );
        Outcome::Failed(PollError::Unavailable(Failure::new(&detail)))
    }

    /// Looks into the answer for the account, and whether it is the one that was expected.
    fn account_of(&mut self, head: &Head, body: Vec<u8>) -> Outcome {
        let options = Options::default();
        let mut intake = Intake::new(Format::Raw, options);
        let account = log_files::account(head, body, &mut intake);
        let expected = self
            .settings
            .legacy()
            .and_then(|legacy| legacy.account_code.as_ref());
        let outcome = match (expected, &account) {
            (Some(expected), Some(seen)) if !expected.eq_ignore_ascii_case(seen) => {
                Outcome::Failed(PollError::Settings(SettingsError {
                    setting: "account_code".to_owned(),
                    detail: format!(
                        "is {expected:?}, and the keys belong to the account {seen:?}; correct the code, or use the keys of that account"
                    ),
                }))
            }
            (_, _) => Outcome::Readable,
        };
        self.account = account;
        outcome
    }
}

/// A page of batch files, as far as a check looks at it.
#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
}

/// The first usable link of a page.
fn listed_file(body: &[u8]) -> Option<String> {
    let listing: Listing<'_> = serde_json::from_slice(body).ok()?;
    let items: Vec<Item<'_>> = serde_json::from_str(listing.value?.get()).ok()?;
    let mut urls = items.into_iter().map(|item| item.url.into_owned());
    urls.find(|url| is_usable(url))
}

/// The poll error that a verdict stands for.
fn failed(verdict: Verdict, head: &Head, detail: String, now: Timestamp) -> PollError {
    let wait_ms = head.asked_wait_ms(now).unwrap_or(0);
    let retry_after_ms = u64::try_from(wait_ms).unwrap_or(0);
    match verdict {
        Verdict::Expired
        | Verdict::KeyRefused
        | Verdict::NotPermitted
        | Verdict::SignatureRefused
        | Verdict::TokenRefused => PollError::Unauthorized(detail),
        Verdict::Good | Verdict::Refused | Verdict::WrongRegion => PollError::Protocol(Failure {
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
        if self.awaits_answer {
            // That a file can be had is known from its head.
            let is_enough = self.head.is_some() && self.purpose == Purpose::File;
            if !self.ended && !is_enough {
                return Action::Read;
            }
            self.handle_whole_answer(now);
        }
        let Some(stream) = self.stream() else {
            return Action::Yield(self.take_results());
        };
        let skew_ms = self.skew_ms.unwrap_or(0);
        self.nonce = self.nonce.wrapping_add(1);
        let stamp = Stamp {
            now,
            upstream_now: now.plus_ms(skew_ms.saturating_neg()),
            nonce: self.nonce,
        };
        self.signed_skew_ms = skew_ms;
        self.awaits_answer = true;
        if !self.auth.is_ready(&self.settings, now) {
            self.purpose = Purpose::Ask;
            return Action::Send(self.auth.ask(&self.settings, stamp));
        }
        let context = Context {
            settings: &self.settings,
            now,
            upstream_now: stamp.upstream_now,
            last_upstream_now: stamp.upstream_now,
        };
        let (purpose, mut request) = match &self.question {
            Question::Categories => (Purpose::Categories, categories::request(&self.settings)),
            Question::File(url) => {
                // The link carries its own signature; no token goes with it.
                let request = Request::get(url.clone());
                self.file_origin = request.shown_origin();
                self.purpose = Purpose::File;
                return Action::Send(request);
            }
            Question::Probe => (Purpose::Probe, Feed::probe(stream, context)),
        };
        self.auth.authorize(&mut request, &self.settings, stamp);
        self.purpose = purpose;
        Action::Send(request)
    }

    fn handle_head(&mut self, head: Head, now: Timestamp) {
        if self.purpose != Purpose::File {
            self.skew_ms = machine::skew_ms(&head, now).or(self.skew_ms);
        }
        self.head = Some(head);
    }

    fn handle_chunk(&mut self, chunk: Vec<u8>, _now: Timestamp) {
        self.body.extend_from_slice(&chunk);
        self.ended = self.body.len() > ANSWER_BYTES_MAX;
    }

    fn handle_end(&mut self) {
        self.ended = true;
        if self.purpose != Purpose::File {
            strip_byte_order_mark(&mut self.body);
        }
    }

    fn handle_failure(&mut self, failure: TransportError, _now: Timestamp) {
        self.awaits_answer = false;
        self.head = None;
        self.body.clear();
        let error = match failure {
            TransportError::Denied(origin) => PollError::Denied(origin),
            TransportError::Failed(why) => PollError::Unavailable(Failure::new(&why)),
        };
        match self.purpose {
            Purpose::Ask => self.report_all(&error),
            Purpose::Categories => self.report(Outcome::Readable),
            Purpose::File | Purpose::Probe => self.report(Outcome::Failed(error)),
        }
    }

    fn keeps_body(&self) -> bool {
        false
    }
}
