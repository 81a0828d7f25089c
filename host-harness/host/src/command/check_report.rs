//! The result of a connection test as the API returns it; the same as `check` prints.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use source_common::exit::{Exit, Failure};
use source_runtime::bindings::{CheckOutcome, CheckResult, PollError};
use source_runtime::source::Source;

use super::check::{STREAMS, ask, failed};
use crate::report::Time;
use crate::settings::SourceSettings;

/// The results for the streams of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    /// The name of the source.
    pub source: String,
    /// When the test started.
    pub at: Time,
    /// Whether every stream can be read, apart from unselected ones without permission.
    pub successful: bool,
    /// Why no stream was tested; otherwise empty.
    pub detail: String,
    /// Duration of the test.
    pub seconds: f64,
    /// The account that responded, where a response named it.
    pub account: Option<String>,
    /// How far this host's clock is ahead of the upstream's, where a response had a date.
    pub clock_skew_ms: Option<i64>,
    /// The streams in the order of the settings.
    pub streams: Vec<StreamCheck>,
}

/// The result for one stream.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StreamCheck {
    /// Name of the stream.
    pub stream: String,
    /// `readable`, `waiting` (good credentials, but the rate limit is used up), `not-permitted`,
    /// `unauthorized` or `failing`.
    pub outcome: &'static str,
    /// What the upstream responded, and what to do.
    pub detail: String,
    /// The permission to grant, as the vendor's console names it.
    pub permission: String,
    /// The product that the application needs.
    pub product: String,
}

/// Tests the connection of a source. `settings` are the settings the source was made from.
pub async fn check_report(source: &Source, settings: &SourceSettings, file: &Path) -> CheckReport {
    let (at, begun) = (SystemTime::now(), Instant::now());
    let results = ask(source, file).await;
    let is_named = settings.settings.table.contains_key(STREAMS);
    let explain = |error: &PollError| failed(source, error);
    let mut report = summarize(&source.name, results, is_named, &explain);
    for stream in &mut report.streams {
        stream.detail = source.redactor.redact(&stream.detail);
    }
    report.at = Time::of(at);
    report.seconds = begun.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    report
}

/// Summarizes the results. `is_named` is whether the settings name the streams explicitly.
fn summarize(
    source: &str,
    results: Result<Vec<CheckResult>, Failure>,
    is_named: bool,
    explain: &dyn Fn(&PollError) -> (String, Exit),
) -> CheckReport {
    let (results, detail) = match results {
        Ok(results) => (results, String::new()),
        Err(failure) => (Vec::new(), failure.message),
    };
    let mut successful = detail.is_empty();
    let mut streams = Vec::with_capacity(results.len());
    for result in &results {
        let mut check = StreamCheck {
            stream: result.stream.clone(),
            outcome: "readable",
            detail: String::new(),
            permission: String::new(),
            product: String::new(),
        };
        match &result.outcome {
            CheckOutcome::Readable => {}
            CheckOutcome::NotPermitted(missing) => {
                check.outcome = "not-permitted";
                check.detail.clone_from(&missing.detail);
                check.permission.clone_from(&missing.permission);
                check.product.clone_from(&missing.product);
                successful &= !is_named;
            }
            CheckOutcome::Failed(error) => {
                let (detail, exit) = explain(error);
                check.outcome = outcome(error);
                check.detail = detail;
                successful &= exit == Exit::Done;
            }
        }
        streams.push(check);
    }
    let skews = results.iter().filter_map(|result| result.clock_skew_ms);
    CheckReport {
        source: source.to_owned(),
        at: Time::of(SystemTime::UNIX_EPOCH),
        successful,
        detail,
        seconds: 0.0,
        account: results.iter().find_map(|result| result.account.clone()),
        clock_skew_ms: skews.max_by_key(|skew| skew.unsigned_abs()),
        streams,
    }
}

const fn outcome(error: &PollError) -> &'static str {
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
    use source_runtime::bindings::NotPermitted;

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
            Ok(vec![
                result("dlp", CheckOutcome::Readable, Some(-40)),
                result("audit", missing(), Some(7)),
            ])
        };
        let report = summarize("acme", results(), false, &explain);
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
        assert!(!summarize("acme", results(), true, &explain).successful);
    }

    #[test]
    fn refused_credentials_and_settings_fail_the_test() {
        let refused = PollError::Unauthorized("check client_secret".to_owned());
        let results = Ok(vec![result("dlp", CheckOutcome::Failed(refused), None)]);
        let report = summarize("acme", results, false, &explain);
        assert!(!report.successful);
        assert_eq!(report.streams[0].outcome, "unauthorized");
        assert_eq!(report.streams[0].detail, "check client_secret");

        let failure = Failure::settings("`start` is no duration");
        let report = summarize("acme", Err(failure), false, &explain);
        assert!(!report.successful);
        assert_eq!(report.detail, "`start` is no duration");
    }
}
