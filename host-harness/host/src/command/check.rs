//! `check`: "test connection", per source and stream, and per output.

use std::fmt::Write;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use source_common::exit::{Exit, Failure};
use source_outputs::OutputConfig;

use super::{Table, cache_dir, print, print_json, terminal_width};
use crate::connection_check::{CheckReport, STREAMS_KEY, test_connection};
use crate::report::Time;
use crate::settings::{DEAD_LETTER_OUTPUT, DeadLetterSettings, Settings};
use crate::source;

/// The outcome of an output that can be reached.
const REACHABLE: &str = "reachable";

/// Which part of a settings file to check; without a name, all of it.
#[derive(Debug, Default)]
pub struct CheckFilter {
    /// Check only this source, and no outputs.
    pub source: Option<String>,
    /// Check only this stream, and no outputs.
    pub stream: Option<String>,
}

/// The result of `check --json`.
#[derive(Debug, Serialize)]
struct Report {
    /// When the test ended.
    at: Time,
    /// Whether nothing failed.
    successful: bool,
    /// The sources whose settings are invalid, then the others in the order of the settings; each as the
    /// admin API reports it.
    sources: Vec<CheckReport>,
    /// The outputs in the order of the settings, then that of `[dead_letter]`; `None` where they were not
    /// tested.
    outputs: Option<Vec<OutputCheck>>,
}

/// The result for one output.
#[derive(Debug, Serialize)]
struct OutputCheck {
    /// Name of the output; `dead_letter` for that of `[dead_letter]`.
    output: String,
    /// Type of the output, such as `file`.
    #[serde(rename = "type")]
    output_type: String,
    /// `reachable` or `failing`.
    outcome: &'static str,
    /// The destination, as the log names it; `None` where it cannot be reached.
    destination: Option<String>,
    /// Why it cannot be reached; otherwise empty.
    detail: String,
}

/// Checks whether every source can be read, stream by stream, and whether
/// every output can be reached, also that of `[dead_letter]`.
pub async fn check(config: &Path, filter: &CheckFilter, as_json: bool) -> Result<Exit, Failure> {
    let mut settings = Settings::read(config)?;
    apply_filter(&mut settings, filter)?;
    let components = source::component_loader(&settings, cache_dir(&settings))?;
    // Text is printed as results arrive, because a test can take minutes.
    let print_text = |text: &str| if as_json { Ok(()) } else { print(text) };
    let mut sources = Vec::new();
    for faulty in &settings.faulty_sources {
        let report = CheckReport::failed(&faulty.name, faulty.failure.clone());
        print_text(&to_text(&report))?;
        sources.push(report);
    }
    for source in &settings.sources {
        // A source that cannot be checked does not prevent the others from being checked.
        let report = test_connection(&components, source).await;
        print_text(&to_text(&report))?;
        sources.push(report);
    }
    let mut exit = sources.iter().map(|report| report.exit).max();
    let mut outputs = None;
    if filter.source.is_none() && filter.stream.is_none() {
        let tested = check_outputs(&settings).await;
        print_text(&outputs_to_text(&tested))?;
        if tested.iter().any(|output| output.outcome != REACHABLE) {
            exit = exit.max(Some(Exit::Failed));
        }
        outputs = Some(tested);
    }
    let exit = exit.unwrap_or(Exit::Done);
    let report = Report {
        at: Time::of(SystemTime::now()),
        successful: exit == Exit::Done,
        sources,
        outputs,
    };
    if as_json {
        print_json(&report)?;
    } else {
        let word = if report.successful {
            "successful"
        } else {
            "failed"
        };
        print(&format!("Connection {word} {}\n", report.at))?;
    }
    Ok(exit)
}

/// Removes sources and streams that are not to be checked from the settings.
fn apply_filter(settings: &mut Settings, filter: &CheckFilter) -> Result<(), Failure> {
    if let Some(name) = &filter.source {
        settings.select_source(name)?;
    }
    if let Some(stream) = &filter.stream {
        for source in &mut settings.sources {
            let streams = vec![toml::Value::String(stream.clone())];
            let streams = toml::Value::Array(streams);
            source
                .component_settings
                .table
                .insert(STREAMS_KEY.to_owned(), streams);
        }
    }
    Ok(())
}

/// Formats the report of a source as text.
fn to_text(report: &CheckReport) -> String {
    let name = &report.source;
    if !report.detail.is_empty() {
        return format!("source `{name}`\nfailed: {}\n", report.detail);
    }
    let streams = &report.streams;
    let outcomes: Vec<StreamOutcome<'_>> = streams
        .iter()
        .map(|stream| StreamOutcome {
            stream: &stream.stream,
            outcome: stream.text(),
            exit: stream.exit,
        })
        .collect();
    let mut text = format!("source `{name}`\n");
    text.push_str(&outcomes_to_text(&outcomes));
    text.push_str(&account_and_clock(report));
    let failed = outcomes
        .iter()
        .filter(|stream| stream.exit != Exit::Done)
        .count();
    let (all, seconds) = (outcomes.len(), report.seconds);
    // Writing to a `String` cannot fail.
    let _ = if failed == 0 {
        writeln!(text, "no stream failed ({all} checked in {seconds:.1} s)")
    } else {
        writeln!(
            text,
            "{failed} of {all} streams cannot be read ({seconds:.1} s)"
        )
    };
    text
}

/// The outcome for one stream.
struct StreamOutcome<'a> {
    stream: &'a str,
    outcome: String,
    exit: Exit,
}

/// Formats the streams with their outcomes. An error that all of them have is written once.
fn outcomes_to_text(outcomes: &[StreamOutcome<'_>]) -> String {
    if let [first, second, ..] = outcomes
        && first.exit != Exit::Done
        && outcomes.iter().all(|other| other.outcome == first.outcome)
    {
        let (first, second) = (first.stream, second.stream);
        let others = match outcomes.len() - 2 {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let outcome = outcomes
            .first()
            .map_or("", |stream| stream.outcome.as_str());
        return format!("{first}, {second}{others}: {outcome}\n");
    }
    let mut table = Table::new(&["stream", "outcome"]);
    for stream in outcomes {
        table.row(vec![stream.stream.to_owned(), stream.outcome.clone()]);
    }
    table.render_within(terminal_width())
}

/// Formats the account and the clock skew, where a response had them.
fn account_and_clock(report: &CheckReport) -> String {
    let mut text = String::new();
    if let Some(account) = &report.account {
        let _ = writeln!(text, "account: {account}");
    }
    if let Some(skew) = report.clock_skew_ms {
        let direction = if skew >= 0 { "ahead of" } else { "behind" };
        let _ = writeln!(
            text,
            "clock: {} ms {direction} the upstream's",
            skew.unsigned_abs()
        );
    }
    text
}

/// Checks whether every output can be reached, also that of `[dead_letter]`.
async fn check_outputs(settings: &Settings) -> Vec<OutputCheck> {
    let outputs = settings.outputs.iter();
    let mut outputs: Vec<(&str, &str, &dyn OutputConfig)> = outputs
        .map(|output| (&*output.name, &*output.output_type, &*output.config))
        .collect();
    if let Some(DeadLetterSettings::Output {
        output_type,
        config,
    }) = &settings.dead_letter
    {
        outputs.push((DEAD_LETTER_OUTPUT, output_type, &**config));
    }
    let mut tested = Vec::with_capacity(outputs.len());
    for (name, output_type, config) in outputs {
        let result = config.test().await;
        let (outcome, destination, detail) = match result {
            Ok(name) => (REACHABLE, Some(name), String::new()),
            Err(error) => ("failing", None, error.to_string()),
        };
        tested.push(OutputCheck {
            output: name.to_owned(),
            output_type: output_type.to_owned(),
            outcome,
            destination,
            detail,
        });
    }
    tested
}

fn outputs_to_text(outputs: &[OutputCheck]) -> String {
    let mut text = String::from("outputs\n");
    for output in outputs {
        let name = &output.output;
        let _ = match &output.destination {
            Some(destination) => writeln!(text, "{destination}: reachable"),
            None => writeln!(text, "{name}: unavailable: {}", output.detail),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(streams: &[(&'static str, &str, Exit)]) -> Vec<StreamOutcome<'static>> {
        let one = |(stream, outcome, exit): &(&'static str, &str, Exit)| StreamOutcome {
            stream,
            outcome: (*outcome).to_owned(),
            exit: *exit,
        };
        streams.iter().map(one).collect()
    }

    #[test]
    fn an_error_of_all_streams_is_written_once() {
        let long = "unavailable: https://api.test cannot be reached: connection refused";
        let all = [
            ("audit", long, Exit::Failed),
            ("dlp", long, Exit::Failed),
            ("ttp.url", long, Exit::Failed),
        ];
        let text = outcomes_to_text(&outcomes(&all));
        assert_eq!(text, format!("audit, dlp and 1 more: {long}\n"));
        let mut some = all;
        some[1] = ("dlp", "readable", Exit::Done);
        assert_eq!(outcomes_to_text(&outcomes(&some)).lines().count(), 4);
    }
}
