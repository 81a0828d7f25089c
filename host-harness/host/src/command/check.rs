//! `check`: "test connection", per source and stream, and per output.

use std::fmt::Write;
use std::path::Path;
use std::time::{Instant, SystemTime};

use source_common::exit::{Exit, Failure};
use source_runtime::bindings::{CheckOutcome, CheckResult, NotPermitted, PollError};
use source_runtime::source::{NetworkAccess, Source};
use source_runtime::source_loop::settings_error;

use super::{Table, cache_dir, print, terminal_width};
use crate::settings::{Settings, SourceSettings};
use crate::source;

/// The setting by which components choose their streams, where they let a
/// user choose.
pub(super) const STREAMS: &str = "streams";

/// Which part of a settings file to check; without a name, all of it.
#[derive(Debug, Default)]
pub struct Only {
    /// Check only this source, and no outputs.
    pub source: Option<String>,
    /// Check only this stream, and no outputs.
    pub stream: Option<String>,
}

/// Checks whether every source can be read, stream by stream, and whether
/// every output can be reached.
pub async fn check(config: &Path, only: &Only) -> Result<Exit, Failure> {
    let mut settings = Settings::read(config)?;
    choose(&mut settings, only)?;
    let components = source::components(&settings, cache_dir(&settings))?;
    let mut exit = Exit::Done;
    for faulty in &settings.faulty {
        exit = exit.max(faulty.failure.exit);
        print(&format!(
            "source `{}`\nfailed: {}\n",
            faulty.name, faulty.failure
        ))?;
    }
    for source in &settings.sources {
        // A source that cannot be checked keeps no other from being checked.
        let checked = match source::ready(&components, source, NetworkAccess::Online).await {
            Ok(ready) => check_source(&ready, source).await,
            Err(failure) => Err(failure),
        };
        let (text, of_source) = checked.unwrap_or_else(|failure| {
            let text = format!("source `{}`\nfailed: {failure}\n", source.name);
            (text, failure.exit)
        });
        print(&text)?;
        exit = exit.max(of_source);
    }
    if only.source.is_none() && only.stream.is_none() {
        exit = exit.max(check_outputs(&settings).await?);
    }
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    print(&match exit {
        Exit::Done => format!("Connection successful {now}\n"),
        Exit::BadSettings | Exit::Failed | Exit::NotRunning | Exit::Unauthorized => {
            format!("Connection failed {now}\n")
        }
    })?;
    Ok(exit)
}

/// Removes what is not to be checked from the settings.
fn choose(settings: &mut Settings, only: &Only) -> Result<(), Failure> {
    if let Some(name) = &only.source {
        settings.retain_source(name)?;
    }
    if let Some(stream) = &only.stream {
        for source in &mut settings.sources {
            let streams = vec![toml::Value::String(stream.clone())];
            let streams = toml::Value::Array(streams);
            source.settings.table.insert(STREAMS.to_owned(), streams);
        }
    }
    Ok(())
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

/// What was found for one stream.
struct Found {
    stream: String,
    outcome: String,
    exit: Exit,
}

/// Ask a source, and say what it found.
async fn check_source(
    source: &Source,
    settings: &SourceSettings,
) -> Result<(String, Exit), Failure> {
    let begun = Instant::now();
    let results = ask(source, &settings.file).await?;
    let is_named = settings.settings.table.contains_key(STREAMS);
    let found: Vec<Found> = results
        .iter()
        .map(|result| {
            let (outcome, exit) = match &result.outcome {
                // Whoever names a stream wants it.
                CheckOutcome::NotPermitted(missing) if is_named => {
                    (not_permitted(missing), Exit::Failed)
                }
                other @ (CheckOutcome::Failed(_)
                | CheckOutcome::NotPermitted(_)
                | CheckOutcome::Readable) => outcome(source, other),
            };
            Found {
                stream: result.stream.clone(),
                outcome: source.redactor.redact(&outcome),
                exit,
            }
        })
        .collect();
    let mut text = format!("source `{}`\n", source.name);
    text.push_str(&outcomes(&found));
    text.push_str(&facts(&results));
    let seconds = begun.elapsed().as_secs_f64();
    let failed = found
        .iter()
        .filter(|found| found.exit != Exit::Done)
        .count();
    let all = found.len();
    // Writing to a `String` cannot fail.
    let _ = if failed == 0 {
        writeln!(text, "no stream failed ({all} checked in {seconds:.1} s)")
    } else {
        writeln!(
            text,
            "{failed} of {all} streams cannot be read ({seconds:.1} s)"
        )
    };
    let worst = found.iter().map(|found| found.exit).max();
    Ok((text, worst.unwrap_or(Exit::Done)))
}

/// The streams with their outcomes. What is wrong with all of them is said
/// once.
fn outcomes(found: &[Found]) -> String {
    if let [first, second, ..] = found
        && first.exit != Exit::Done
        && found.iter().all(|other| other.outcome == first.outcome)
    {
        let (first, second) = (&first.stream, &second.stream);
        let others = match found.len() - 2 {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let outcome = found.first().map_or("", |found| found.outcome.as_str());
        return format!("{first}, {second}{others}: {outcome}\n");
    }
    let mut table = Table::new(&["stream", "outcome"]);
    for found in found {
        table.row(vec![found.stream.clone(), found.outcome.clone()]);
    }
    table.render_within(terminal_width())
}

/// A stream that is not permitted is for a person to grant, and as long as
/// others can be read it is no failure of the connection.
pub(super) fn outcome(source: &Source, outcome: &CheckOutcome) -> (String, Exit) {
    match outcome {
        CheckOutcome::Failed(error) => failed(source, error),
        CheckOutcome::NotPermitted(missing) => (not_permitted(missing), Exit::Done),
        CheckOutcome::Readable => ("readable".to_owned(), Exit::Done),
    }
}

fn not_permitted(missing: &NotPermitted) -> String {
    let mut text = format!("grant: {}", missing.permission);
    if !missing.product.is_empty() {
        let _ = write!(text, " (product: {})", missing.product);
    }
    if !missing.detail.is_empty() {
        let _ = write!(text, "; {}", missing.detail);
    }
    text
}

pub(super) fn failed(source: &Source, error: &PollError) -> (String, Exit) {
    match error {
        PollError::Denied(origin) => (source.denied(origin), Exit::BadSettings),
        PollError::Internal(detail) => (format!("fault: {detail}"), Exit::Failed),
        PollError::Protocol(failure) => {
            (format!("not understood: {}", failure.detail), Exit::Failed)
        }
        PollError::Settings(error) => (
            format!("`{}`: {}", error.setting, error.detail),
            Exit::BadSettings,
        ),
        // An upstream answers so only to credentials that are good.
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

/// Checks whether every output can be reached.
async fn check_outputs(settings: &Settings) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    let mut text = String::from("outputs\n");
    for (index, output) in settings.outputs.iter().enumerate() {
        let _ = match output.config.test().await {
            Ok(name) => writeln!(text, "{name}: reachable"),
            Err(error) => {
                exit = Exit::Failed;
                writeln!(text, "number {}: unavailable: {error}", index + 1)
            }
        };
    }
    print(&text)?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(streams: &[(&str, &str, Exit)]) -> Vec<Found> {
        let one = |(stream, outcome, exit): &(&str, &str, Exit)| Found {
            stream: (*stream).to_owned(),
            outcome: (*outcome).to_owned(),
            exit: *exit,
        };
        streams.iter().map(one).collect()
    }

    #[test]
    fn what_is_wrong_with_all_streams_is_said_once() {
        let long = "unavailable: https://api.test cannot be reached: connection refused";
        let all = [
            ("audit", long, Exit::Failed),
            ("dlp", long, Exit::Failed),
            ("ttp.url", long, Exit::Failed),
        ];
        let text = outcomes(&found(&all));
        assert_eq!(text, format!("audit, dlp and 1 more: {long}\n"));
        let mut some = all;
        some[1] = ("dlp", "readable", Exit::Done);
        assert_eq!(outcomes(&found(&some)).lines().count(), 4);
    }
}
