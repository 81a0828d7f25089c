//! `check`: "test connection", per source and stream.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use super::{Table, cache_dir, print};
use crate::bindings::{CheckOutcome, CheckResult, PollError};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::source::{Components, Reach, Source};
use crate::source_loop::settings_error;

/// Ask every source which of its streams can be read.
pub async fn check(config: &Path) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let mut components = Components::new(cache_dir(&settings))?;
    let mut sources = Vec::with_capacity(settings.sources.len());
    for source in &settings.sources {
        sources.push(components.source(&settings, source, Reach::Network).await?);
    }
    let mut exit = Exit::Done;
    for source in &sources {
        exit = exit.max(check_source(source, config).await?);
    }
    Ok(exit)
}

/// Ask a source which of its streams can be read.
pub(super) async fn ask(source: &Source, config: &Path) -> Result<Vec<CheckResult>, Failure> {
    let called = match source.instance().await {
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

async fn check_source(source: &Source, config: &Path) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let results = ask(source, config).await?;
    let mut table = Table::new(&["stream", "outcome"]);
    let mut exit = Exit::Done;
    let mut failed = 0_usize;
    for result in &results {
        let (outcome, of_stream) = outcome(&result.outcome);
        exit = exit.max(of_stream);
        failed += usize::from(of_stream != Exit::Done);
        let outcome = source.redactor.redact(&outcome);
        table.row(vec![result.stream.clone(), outcome]);
    }
    // Writing to a `String` cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "source `{}`", source.name);
    text.push_str(&table.render());
    text.push_str(&facts(&results));
    let seconds = begun.elapsed().as_secs_f64();
    let _ = if exit == Exit::Done {
        writeln!(text, "Connection successful ({seconds:.1} s)")
    } else {
        let all = results.len();
        writeln!(
            text,
            "Connection failed: {failed} of {all} streams cannot be read ({seconds:.1} s)"
        )
    };
    print(&text)?;
    Ok(exit)
}

/// A stream that is not permitted is for a person to grant, and as long as
/// others can be read it is no failure of the connection.
pub(super) fn outcome(outcome: &CheckOutcome) -> (String, Exit) {
    match outcome {
        CheckOutcome::Failed(error) => failed(error),
        CheckOutcome::NotPermitted(missing) => {
            let mut text = format!("grant: {}", missing.permission);
            if !missing.product.is_empty() {
                let _ = write!(text, " (product: {})", missing.product);
            }
            if !missing.detail.is_empty() {
                let _ = write!(text, "; {}", missing.detail);
            }
            (text, Exit::Done)
        }
        CheckOutcome::Readable => ("readable".to_owned(), Exit::Done),
    }
}

fn failed(error: &PollError) -> (String, Exit) {
    match error {
        PollError::Denied(origin) => (
            format!("denied by this host; to allow it: allow = [\"{origin}\"]"),
            Exit::BadSettings,
        ),
        PollError::Internal(detail) => (format!("fault: {detail}"), Exit::Failed),
        PollError::Protocol(failure) => {
            (format!("not understood: {}", failure.detail), Exit::Failed)
        }
        PollError::Settings(error) => (
            format!("`{}`: {}", error.setting, error.detail),
            Exit::BadSettings,
        ),
        PollError::Throttled(failure) => (format!("throttled: {}", failure.detail), Exit::Failed),
        PollError::Unauthorized(detail) => {
            (format!("credentials refused: {detail}"), Exit::Unauthorized)
        }
        PollError::Unavailable(failure) => {
            (format!("unavailable: {}", failure.detail), Exit::Failed)
        }
        PollError::UnusableCheckpoint(detail) => (format!("fault: {detail}"), Exit::Failed),
    }
}

/// The account and the clock, where an answer said.
fn facts(results: &[CheckResult]) -> String {
    let mut text = String::new();
    if let Some(account) = results.iter().find_map(|result| result.account.as_ref()) {
        let _ = writeln!(text, "account: {account}");
    }
    let skews = results.iter().filter_map(|result| result.clock_skew_ms);
    if let Some(skew) = skews.max_by_key(|skew| skew.unsigned_abs()) {
        let direction = if skew >= 0 { "ahead of" } else { "behind" };
        let _ = writeln!(
            text,
            "clock: {} ms {direction} the upstream's",
            skew.unsigned_abs()
        );
    }
    text
}
