//! "Test connection": tests which streams of a source can be read. The API returns the report, and
//! `check` prints it.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use source_common::exit::{Exit, Failure};
use source_runtime::bindings::{CheckOutcome, CheckResult, NotPermitted, PollError};
use source_runtime::source::{ComponentLoader, NetworkAccess, Source};
use source_runtime::source_loop::settings_error;

use crate::report::Time;
use crate::settings::SourceSettings;
use crate::source;

/// The setting by which components choose their streams, where they let a
/// user choose.
pub(crate) const STREAMS_KEY: &str = "streams";

/// The results for the streams of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CheckReport {
    /// The name of the source.
    pub(crate) source: String,
    /// When the test started.
    pub(crate) at: Time,
    /// Whether no stream fails: every one can be read, or is only throttled, or is not permitted while
    /// others are and the settings do not name it.
    pub(crate) successful: bool,
    /// Why no stream was tested; otherwise empty.
    pub(crate) detail: String,
    /// Duration of the test.
    pub(crate) seconds: f64,
    /// The account that responded, where a response named it.
    pub(crate) account: Option<String>,
    /// How far this host's clock is ahead of the upstream's, where a response had a date.
    pub(crate) clock_skew_ms: Option<i64>,
    /// The streams in the order in which the component reports them.
    pub(crate) streams: Vec<StreamCheck>,
    /// The exit code of `check` for it.
    #[serde(skip)]
    pub(crate) exit: Exit,
}

/// The result for one stream.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct StreamCheck {
    /// Name of the stream.
    pub(crate) stream: String,
    /// `readable`, `waiting` (good credentials, but the rate limit is used up), `not-permitted`,
    /// `unauthorized` or `failing`.
    pub(crate) outcome: &'static str,
    /// What the upstream responded, and what to do.
    pub(crate) detail: String,
    /// The permission to grant, as the vendor's console names it.
    pub(crate) permission: String,
    /// The product that the application needs.
    pub(crate) product: String,
    /// The exit code of `check` for it.
    #[serde(skip)]
    pub(crate) exit: Exit,
}

/// Tests the connection of a source.
pub(crate) async fn test_connection(
    components: &ComponentLoader,
    settings: &SourceSettings,
) -> CheckReport {
    let (at, begun) = (SystemTime::now(), Instant::now());
    let mut report = match source::prepare(components, settings, NetworkAccess::Online).await {
        Ok(source) => check_source(&source, settings).await,
        Err(failure) => CheckReport::failed(&settings.name, failure),
    };
    report.at = Time::of(at);
    report.seconds = begun.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    report
}

async fn check_source(source: &Source, settings: &SourceSettings) -> CheckReport {
    let results = match check_streams(source, &settings.file).await {
        Ok(results) => results,
        Err(failure) => return CheckReport::failed(&source.name, failure),
    };
    let are_streams_selected = settings.component_settings.table.contains_key(STREAMS_KEY);
    let explain = |error: &PollError| error_text(source, error);
    let mut report = summarize(&source.name, &results, are_streams_selected, &explain);
    for stream in &mut report.streams {
        for text in [
            &mut stream.detail,
            &mut stream.permission,
            &mut stream.product,
        ] {
            *text = source.redactor.redact(text);
        }
    }
    report
}

impl CheckReport {
    /// Creates the report of a source of which no stream could be tested.
    pub(crate) fn failed(source: &str, failure: Failure) -> Self {
        Self {
            successful: false,
            detail: failure.message,
            exit: failure.exit,
            ..summarize(source, &[], false, &|_| (String::new(), Exit::Done))
        }
    }
}

impl StreamCheck {
    /// Returns the outcome, and what to do, as a clause.
    pub(crate) fn text(&self) -> String {
        match self.outcome {
            "readable" => self.outcome.to_owned(),
            "not-permitted" => permission_text(&NotPermitted {
                permission: self.permission.clone(),
                product: self.product.clone(),
                detail: self.detail.clone(),
            }),
            _ => self.detail.clone(),
        }
    }
}

/// Has the component of a source test which of its streams can be read.
pub(crate) async fn check_streams(
    source: &Source,
    config: &Path,
) -> Result<Vec<CheckResult>, Failure> {
    let called = match source.new_instance().await {
        Ok(mut instance) => instance.check(source.settings()).await,
        Err(error) => Err(error),
    };
    match called {
        Ok(Ok(results)) => Ok(results),
        Ok(Err(error)) => {
            let detail = source.redactor.redact(&error.detail);
            let reason = settings_error(&source.name, &error.setting, &detail);
            Err(Failure::settings(format!("{}: {reason}", config.display())))
        }
        Err(error) => {
            let reason = format!("source `{}`: {error}", source.name);
            Err(Failure::failed(reason))
        }
    }
}

/// Returns the exit code for the streams of a source that are not permitted. A missing permission is for a
/// person to grant, and no failure of the connection as long as another stream is permitted.
pub(crate) fn not_permitted_exit(results: &[CheckResult]) -> Exit {
    let is_missing = |result: &CheckResult| matches!(result.outcome, CheckOutcome::NotPermitted(_));
    if results.iter().all(is_missing) {
        Exit::Failed
    } else {
        Exit::Done
    }
}

/// Describes the outcome for a stream, with its exit code: `not_permitted_exit` if it is not permitted.
pub(crate) fn outcome_text(
    source: &Source,
    outcome: &CheckOutcome,
    not_permitted_exit: Exit,
) -> (String, Exit) {
    match outcome {
        CheckOutcome::Failed(error) => error_text(source, error),
        CheckOutcome::NotPermitted(missing) => (permission_text(missing), not_permitted_exit),
        CheckOutcome::Readable => ("readable".to_owned(), Exit::Done),
    }
}

fn permission_text(missing: &NotPermitted) -> String {
    let mut text = format!("grant: {}", missing.permission);
    if !missing.product.is_empty() {
        let _ = write!(text, " (product: {})", missing.product);
    }
    if !missing.detail.is_empty() {
        let _ = write!(text, "; {}", missing.detail);
    }
    text
}

fn error_text(source: &Source, error: &PollError) -> (String, Exit) {
    match error {
        // An allowed origin is denied, for example, if its name does not resolve.
        PollError::Denied(origin) if source.allows(origin) => {
            (source.denial_advice(origin), Exit::Failed)
        }
        PollError::Denied(origin) => (source.denial_advice(origin), Exit::BadSettings),
        PollError::Internal(detail) => (format!("fault: {detail}"), Exit::Failed),
        PollError::Protocol(failure) => {
            (format!("not understood: {}", failure.detail), Exit::Failed)
        }
        PollError::Settings(error) => (
            format!("`{}`: {}", error.setting, error.detail),
            Exit::BadSettings,
        ),
        // An upstream throttles only requests with valid credentials.
        PollError::Throttled(failure) => (
            format!(
                "warning: the credentials are good, the rate limit is used up: {}",
                failure.detail
            ),
            Exit::Done,
        ),
        PollError::Unauthorized(detail) => {
            (format!("credentials refused: {detail}"), Exit::Unauthorized)
        }
        PollError::Unavailable(failure) => {
            (format!("unavailable: {}", failure.detail), Exit::Failed)
        }
        PollError::UnusableCheckpoint(detail) => (format!("fault: {detail}"), Exit::Failed),
    }
}

/// Summarizes the results. `are_streams_selected` is whether the settings name the streams
/// explicitly.
fn summarize(
    source: &str,
    results: &[CheckResult],
    are_streams_selected: bool,
    explain: &dyn Fn(&PollError) -> (String, Exit),
) -> CheckReport {
    let mut streams = Vec::with_capacity(results.len());
    let not_permitted_exit = if are_streams_selected {
        // Whoever names a stream wants it.
        Exit::Failed
    } else {
        not_permitted_exit(results)
    };
    for result in results {
        let mut check = StreamCheck {
            stream: result.stream.clone(),
            outcome: "readable",
            detail: String::new(),
            permission: String::new(),
            product: String::new(),
            exit: Exit::Done,
        };
        match &result.outcome {
            CheckOutcome::Readable => {}
            CheckOutcome::NotPermitted(missing) => {
                check.outcome = "not-permitted";
                check.detail.clone_from(&missing.detail);
                check.permission.clone_from(&missing.permission);
                check.product.clone_from(&missing.product);
                check.exit = not_permitted_exit;
            }
            CheckOutcome::Failed(error) => {
                check.outcome = outcome_word(error);
                (check.detail, check.exit) = explain(error);
            }
        }
        streams.push(check);
    }
    let exit = streams.iter().map(|stream| stream.exit).max();
    let exit = exit.unwrap_or(Exit::Done);
    let skews = results.iter().filter_map(|result| result.clock_skew_ms);
    CheckReport {
        source: source.to_owned(),
        at: Time::of(SystemTime::now()),
        successful: exit == Exit::Done,
        detail: String::new(),
        seconds: 0.0,
        account: results.iter().find_map(|result| result.account.clone()),
        clock_skew_ms: skews.max_by_key(|skew| skew.unsigned_abs()),
        streams,
        exit,
    }
}

/// Returns the `outcome` of a failed check.
const fn outcome_word(error: &PollError) -> &'static str {
    match error {
        PollError::Throttled(_) => "waiting",
        PollError::Unauthorized(_) => "unauthorized",
        PollError::Denied(_)
        | PollError::Internal(_)
        | PollError::Protocol(_)
        | PollError::Settings(_)
        | PollError::Unavailable(_)
        | PollError::UnusableCheckpoint(_) => "failing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(stream: &str, outcome: CheckOutcome, skew: Option<i64>) -> CheckResult {
        CheckResult {
            stream: stream.to_owned(),
            outcome,
            clock_skew_ms: skew,
            account: skew.map(|_| "CUK1".to_owned()),
            remark: None,
        }
    }

    fn explain(error: &PollError) -> (String, Exit) {
        if let PollError::Unauthorized(detail) = error {
            (detail.clone(), Exit::Unauthorized)
        } else {
            ("other".to_owned(), Exit::Failed)
        }
    }

    fn missing() -> CheckOutcome {
        CheckOutcome::NotPermitted(NotPermitted {
            permission: "Account | Logs | Read".to_owned(),
            product: "Audit Events".to_owned(),
            detail: "app_forbidden".to_owned(),
        })
    }

    #[test]
    fn a_missing_permission_fails_the_test_only_of_a_stream_that_is_named() {
        let results = || {
            [
                result("dlp", CheckOutcome::Readable, Some(-40)),
                result("audit", missing(), Some(7)),
            ]
        };
        let report = summarize("acme", &results(), false, &explain);
        assert!(report.successful);
        assert_eq!(report.clock_skew_ms, Some(-40));
        assert_eq!(report.account.as_deref(), Some("CUK1"));
        let [readable, missing] = &*report.streams else {
            panic!("{report:?}")
        };
        assert_eq!((readable.outcome, &*readable.detail), ("readable", ""));
        assert_eq!(missing.outcome, "not-permitted");
        assert_eq!(missing.permission, "Account | Logs | Read");
        assert_eq!(missing.product, "Audit Events");
        assert!(!summarize("acme", &results(), true, &explain).successful);
    }

    #[test]
    fn a_source_without_any_permission_fails_the_test() {
        let throttled = PollError::Throttled(source_runtime::bindings::Failure {
            detail: "quota".to_owned(),
            retry_after_ms: 0,
        });
        let explain = |_: &PollError| ("the rate limit is used up".to_owned(), Exit::Done);
        for (other, exit) in [
            (missing(), Exit::Failed),
            // Only a stream that is permitted can be throttled.
            (CheckOutcome::Failed(throttled), Exit::Done),
            (CheckOutcome::Readable, Exit::Done),
        ] {
            let results = [result("audit", missing(), None), result("dlp", other, None)];
            let report = summarize("acme", &results, false, &explain);
            assert_eq!(report.exit, exit, "{report:?}");
            assert_eq!(report.successful, exit == Exit::Done);
            assert_eq!(report.streams[0].exit, exit);
        }
    }

    #[test]
    fn refused_credentials_and_settings_fail_the_test() {
        let refused = PollError::Unauthorized("check client_secret".to_owned());
        let results = [result("dlp", CheckOutcome::Failed(refused), None)];
        let report = summarize("acme", &results, false, &explain);
        assert!(!report.successful);
        assert_eq!(report.exit, Exit::Unauthorized);
        assert_eq!(report.streams[0].outcome, "unauthorized");
        assert_eq!(report.streams[0].detail, "check client_secret");

        let failure = Failure::settings("`start` is no duration");
        let report = CheckReport::failed("acme", failure);
        assert!(!report.successful);
        assert_eq!(report.detail, "`start` is no duration");
    }
}
