//! Checks whether each stream can be read, with one call for all that share an endpoint and a
//! permission, because calls count against the quota of the collection. Where the event endpoint is set, the
//! batch listing is called as well: collection begins there, and returns there after an outage.

mod categories;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::ApiClient;
use crate::api::incoming::IncomingResponse;
use crate::api::response_kind::ResponseKind;
use crate::batch::RecordProcessor;
use crate::decode::parse_json;
use crate::machine::{Action, Machine};
use crate::normalize::{Format, Options};
use crate::poll_error::{Failure, PollError};
use crate::request::{Request, is_usable};
use crate::response::{Head, TransportError};
use crate::settings::{Api, Settings, SettingsError};
use crate::stream::{FetchKind, Stream};
use crate::streams::{self, Context, batch_files, log_files};
use crate::time::Timestamp;

/// The result for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// The stream.
    pub stream: Stream,
    /// Whether it can be read.
    pub outcome: CheckOutcome,
    /// How far the host's clock is ahead of the upstream's, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// The account whose records were seen.
    pub account: Option<String>,
    /// Further facts about the stream: the categories of audit events.
    pub remark: Option<String>,
}

/// Whether a stream can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It cannot be read for another reason.
    Failed(PollError),
    /// The credentials do not permit it. The payload is the upstream's response, for people.
    NotPermitted(String),
    /// It can be read.
    Readable,
}

/// The purpose of a request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To get what the credentials need first: a token, or the region.
    Preflight,
    /// The categories of a log that can be read.
    Categories,
    /// A batch file of the listing: only whether it can be fetched.
    File,
    Probe,
}

/// The next request for the group that is being checked.
enum NextCheck {
    /// The listing of batch files, besides the event endpoint.
    BatchListing,
    Categories,
    /// The URL of a batch file.
    File(String),
    Probe,
}

/// A check of all streams of the settings: one small call for those that share an endpoint and a
/// permission, and another one where they have two endpoints; for audit events a second one for their
/// categories. One batch file of a listing is requested as well.
pub struct Check {
    settings: Settings,
    client: ApiClient,
    /// Groups of streams that share an endpoint and a permission; the call is for the first of a group.
    groups: Vec<Vec<Stream>>,
    /// How many groups are done.
    done: usize,
    results: Vec<CheckResult>,
    /// Whether the call for the group was refused for its credentials, and is retried.
    is_retry: bool,
    /// The request that was sent, and the part of its response that has arrived.
    in_flight: Option<(Purpose, IncomingResponse)>,
    account: Option<String>,
    remark: Option<String>,
    next_check: NextCheck,
    /// The origin of the batch file that is requested.
    file_origin: String,
}

/// Groups the streams that one call can check: by endpoint and permission.
fn groups(streams: &[Stream]) -> Vec<Vec<Stream>> {
    let mut groups: Vec<Vec<Stream>> = Vec::new();
    for &stream in streams {
        let is_same = |other: &Stream| {
            let (info, other) = (stream.info(), other.info());
            info.endpoint == other.endpoint && info.permission == other.permission
        };
        match groups.iter_mut().find(|group| group.iter().any(is_same)) {
            Some(group) => group.push(stream),
            None => groups.push(vec![stream]),
        }
    }
    groups
}

impl Check {
    /// Creates a check of all streams of the settings. `random` seeds request ids.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp, random: u64) -> Self {
        Self {
            client: ApiClient::new(&settings.credentials, now, random),
            groups: groups(&settings.streams),
            done: 0,
            settings,
            results: Vec::new(),
            is_retry: false,
            in_flight: None,
            account: None,
            remark: None,
            next_check: NextCheck::Probe,
            file_origin: String::new(),
        }
    }

    /// Returns the stream that the next call is for; `None` when all groups are done.
    fn stream(&self) -> Option<Stream> {
        self.groups.get(self.done)?.first().copied()
    }

    /// Records the outcome for every stream of the group.
    fn finish_group(&mut self, outcome: CheckOutcome) {
        let (account, remark) = (self.account.take(), self.remark.take());
        let group = self.groups.get(self.done).into_iter().flatten();
        self.results.extend(group.map(|stream| CheckResult {
            stream: *stream,
            outcome: outcome.clone(),
            clock_skew_ms: self.client.last_skew_ms(),
            account: account.clone(),
            remark: remark.clone(),
        }));
        self.done = self.done.saturating_add(1);
        self.is_retry = false;
        self.next_check = NextCheck::Probe;
    }

    /// Returns the results in the order of the settings.
    fn take_results(&mut self) -> Vec<CheckResult> {
        let mut results = core::mem::take(&mut self.results);
        let mut take = |stream: &Stream| {
            let at = results.iter().position(|result| result.stream == *stream)?;
            Some(results.swap_remove(at))
        };
        self.settings.streams.iter().filter_map(&mut take).collect()
    }

    /// Records an error that concerns every stream that is left.
    fn report_all(&mut self, error: &PollError) {
        while self.stream().is_some() {
            self.finish_group(CheckOutcome::Failed(error.clone()));
        }
    }

    /// Handles a response whose body was read as far as the purpose needs it.
    fn handle_response(&mut self, purpose: Purpose, incoming: IncomingResponse) {
        let (head, body) = incoming.into_parts();
        match purpose {
            Purpose::Preflight => {
                if let Err(error) = self.client.handle_preflight(&head, &body) {
                    self.report_all(&error);
                }
            }
            // The stream can be read, whatever the response; categories are reported where there are some.
            Purpose::Categories => {
                let is_good = head.status == 200;
                self.remark = categories::read(&body).filter(|_| is_good);
                self.finish_group(CheckOutcome::Readable);
            }
            Purpose::File => self.finish_group(self.file_outcome(&head)),
            Purpose::Probe => self.handle_probe_response(&head, body),
        }
    }

    fn handle_probe_response(&mut self, head: &Head, body: Vec<u8>) {
        let name = self.stream().map_or("", Stream::name);
        let outcome = self
            .client
            .process_call_response(name, (head, &body), self.is_retry);
        if outcome.may_retry {
            self.is_retry = true;
            return;
        }
        match outcome.kind {
            ResponseKind::Success => self.handle_probe_success(head, body, &outcome.detail),
            ResponseKind::NotPermitted => {
                self.finish_group(CheckOutcome::NotPermitted(outcome.detail))
            }
            ResponseKind::AccessKeyExpired
            | ResponseKind::UnknownApplication
            | ResponseKind::SignatureRefused => {
                self.report_all(&PollError::Unauthorized(outcome.detail));
            }
            ResponseKind::TokenRefused => {
                self.finish_group(CheckOutcome::Failed(PollError::Unauthorized(
                    outcome.detail,
                )));
            }
            // A log file may be longer: when it is collected, it is read while it arrives.
            ResponseKind::TooLong if log_files::is_file(head) => {
                self.handle_probe_success(head, body, &outcome.detail);
            }
            ResponseKind::Refused | ResponseKind::TooLong | ResponseKind::WrongRegion => {
                let failure = failure(outcome.detail, self.client.retry_after_ms(head));
                self.finish_group(CheckOutcome::Failed(PollError::Protocol(failure)));
            }
            ResponseKind::Throttled => {
                let failure = failure(outcome.detail, self.client.rate_limit_wait_ms(head));
                self.finish_group(CheckOutcome::Failed(PollError::Throttled(failure)));
            }
            ResponseKind::Unavailable => {
                let failure = failure(outcome.detail, self.client.retry_after_ms(head));
                self.finish_group(CheckOutcome::Failed(PollError::Unavailable(failure)));
            }
        }
    }

    /// Handles a missing or truncated response.
    fn handle_no_response(&mut self, purpose: Purpose, why: TransportError) {
        let error = match (purpose, why) {
            (Purpose::Preflight, why) => {
                let error = self.client.handle_preflight_failure(why);
                return self.report_all(&error);
            }
            (Purpose::Categories, _) => return self.finish_group(CheckOutcome::Readable),
            (Purpose::File | Purpose::Probe, TransportError::Denied(origin)) => {
                PollError::Denied(origin)
            }
            (Purpose::File | Purpose::Probe, TransportError::Failed(why)) => {
                PollError::Unavailable(Failure::new(&why))
            }
        };
        self.finish_group(CheckOutcome::Failed(error));
    }

    /// Handles a successful response to a probe.
    fn handle_probe_success(&mut self, head: &Head, body: Vec<u8>, detail: &str) {
        let Some(stream) = self.stream() else {
            return;
        };
        let is_json = matches!(
            stream.info().fetch,
            FetchKind::Campaigns { .. }
                | FetchKind::Files { .. }
                | FetchKind::List { .. }
                | FetchKind::Windows(_)
        );
        if is_json && serde_json::from_slice::<ProbeResponse<'_>>(&body).is_err() {
            let detail = format!(
                "{detail}: the response is not the documented JSON; is there a proxy in between?"
            );
            let failure = PollError::Protocol(Failure::new(&detail));
            return self.finish_group(CheckOutcome::Failed(failure));
        }
        let is_listing = self.settings.reads_only_batch_files(stream)
            || matches!(self.next_check, NextCheck::BatchListing);
        if is_listing {
            match listed_file(&body) {
                Some(url) => self.next_check = NextCheck::File(url),
                None => self.finish_group(CheckOutcome::Readable),
            }
        } else if stream.has_batch_files() {
            self.next_check = NextCheck::BatchListing;
            self.is_retry = false;
        } else if stream == Stream::Audit && self.settings.api() == Api::V2 {
            self.next_check = NextCheck::Categories;
        } else {
            let outcome = self.check_account(head, body);
            self.finish_group(outcome);
        }
    }

    /// Returns whether the storage serves a batch file. Its link is fresh, so it has not expired.
    fn file_outcome(&self, head: &Head) -> CheckOutcome {
        if matches!(head.status, 200 | 206) {
            return CheckOutcome::Readable;
        }
        let name = self.stream().map_or("", Stream::name);
        let (status, origin) = (head.status, &self.file_origin);
        let detail = format!(
            "{name}: HTTP {status} for a batch file at {origin}, although its link is fresh; is there a proxy in between?"
        );
        CheckOutcome::Failed(PollError::Unavailable(Failure::new(&detail)))
    }

    /// Reads the account from the response, and compares it with the expected one.
    fn check_account(&mut self, head: &Head, body: Vec<u8>) -> CheckOutcome {
        let options = Options::default();
        let mut processor = RecordProcessor::new(Format::Raw, options);
        let account = log_files::account_in_response(head, body, &mut processor);
        let expected = self
            .settings
            .legacy()
            .and_then(|legacy| legacy.account_code.as_ref());
        let outcome = match (expected, &account) {
            (Some(expected), Some(seen)) if !expected.eq_ignore_ascii_case(seen) => {
                CheckOutcome::Failed(PollError::Settings(SettingsError {
                    setting: "account_code".to_owned(),
                    detail: format!(
                        "is {expected:?}, but the keys belong to the account {seen:?}; correct the code, or use other keys"
                    ),
                }))
            }
            (_, _) => CheckOutcome::Readable,
        };
        self.account = account;
        outcome
    }
}

/// Returns a failure with the wait that the upstream asks for.
fn failure(detail: String, requested_ms: Option<i64>) -> Failure {
    Failure {
        detail,
        retry_after_ms: requested_ms.map_or(0, |wait_ms| u64::try_from(wait_ms).unwrap_or(0)),
    }
}

/// The response to a probe. `value` is in the pages of the SIEM endpoints, and is read only in those of batch
/// files.
#[derive(Deserialize)]
struct ProbeResponse<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
}

/// Returns the first usable link of a page.
fn listed_file(body: &[u8]) -> Option<String> {
    let response: ProbeResponse<'_> = serde_json::from_slice(body).ok()?;
    let items: Vec<Item<'_>> = parse_json(response.value?.get()).ok()?;
    let mut urls = items.into_iter().map(|item| item.url.into_owned());
    urls.find(|url| is_usable(url))
}

impl Check {
    /// Returns the next request, or why there is none.
    fn next_request(&mut self, stream: Stream) -> Result<(Purpose, Request), PollError> {
        if !self.client.is_ready() {
            return Ok((Purpose::Preflight, self.client.preflight_request()?));
        }
        let context = Context::new(&self.settings, &self.client);
        let (purpose, call) = match &self.next_check {
            NextCheck::Categories => (Purpose::Categories, categories::call()),
            NextCheck::File(url) => {
                // The link carries its own signature; no token goes with it.
                let request = Request::get(url.clone());
                self.file_origin = request.shown_origin();
                return Ok((Purpose::File, request));
            }
            NextCheck::BatchListing => (Purpose::Probe, batch_files::probe(stream, context)),
            NextCheck::Probe => (Purpose::Probe, streams::probe(stream, context)),
        };
        match self.client.authorize(call) {
            Some(request) => Ok((purpose, request)),
            None => Ok((Purpose::Preflight, self.client.preflight_request()?)),
        }
    }
}

impl Machine for Check {
    type Output = Vec<CheckResult>;

    fn next(&mut self, now: Timestamp) -> Action<Self::Output> {
        self.client.set_now(now);
        if let Some((purpose, mut incoming)) = self.in_flight.take() {
            incoming.end_wait(now, 0);
            // The head of the response shows that the file can be fetched.
            let is_sufficient = incoming.head().is_some() && purpose == Purpose::File;
            if incoming.has_ended() || is_sufficient {
                self.handle_response(purpose, incoming);
            } else if let Some(why) = incoming.timeout_reason(false) {
                self.handle_no_response(purpose, TransportError::Failed(why));
            } else {
                incoming.begin_wait(now);
                self.in_flight = Some((purpose, incoming));
                return Action::Read;
            }
        }
        while let Some(stream) = self.stream() {
            match self.next_request(stream) {
                Ok((purpose, request)) => {
                    let mut incoming = IncomingResponse::default();
                    incoming.begin_wait(now);
                    self.in_flight = Some((purpose, incoming));
                    return Action::Send(request);
                }
                Err(error) => self.report_all(&error),
            }
        }
        Action::Yield(self.take_results())
    }

    fn handle_head(&mut self, head: Head, now: Timestamp) {
        self.client.set_now(now);
        if let Some((purpose, incoming)) = &mut self.in_flight {
            if *purpose != Purpose::File {
                self.client.handle_head(&head);
            }
            incoming.handle_head(head, now);
        }
    }

    fn handle_chunk(&mut self, chunk: Vec<u8>, now: Timestamp) {
        self.client.set_now(now);
        if let Some((_, incoming)) = &mut self.in_flight {
            incoming.end_wait(now, chunk.len());
            incoming.push(&chunk);
        }
    }

    fn handle_end(&mut self, now: Timestamp) {
        self.client.set_now(now);
        if let Some((_, incoming)) = &mut self.in_flight {
            incoming.finish();
        }
    }

    fn handle_failure(&mut self, failure: TransportError, now: Timestamp) {
        self.client.set_now(now);
        if let Some((purpose, _)) = self.in_flight.take() {
            self.handle_no_response(purpose, failure);
        }
    }

    fn keeps_response_open(&self) -> bool {
        false
    }
}
