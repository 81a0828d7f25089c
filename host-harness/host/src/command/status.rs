//! `status`: what has been collected, from the state directory.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use source_common::exit::{Exit, Failure};
use source_runtime::store::{self, SourceState, StreamRecord};

use super::{Table, print};
use crate::progress::lag;
use crate::settings::Settings;

/// Show the state of every source. It can be asked while a run goes on. A
/// state file that cannot be used is shown as the failure of its source, and in
/// the exit code.
pub fn status(config: &Path, as_json: bool) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let now = SystemTime::now();
    let mut text = String::new();
    let mut values = Vec::new();
    let mut exit = Exit::Done;
    for source in &settings.sources {
        let name = &source.name;
        match store::read(&settings.state_dir, name) {
            Ok(record) if as_json => values.push(to_json(name, record.as_ref(), now)),
            Ok(record) => text.push_str(&to_text(name, record.as_ref(), now)),
            Err(failure) => {
                exit = exit.max(failure.exit);
                if as_json {
                    values.push(unusable_to_json(name, &failure));
                } else {
                    // Writing to a `String` cannot fail.
                    let _ = writeln!(text, "source `{name}`: failing\nlast error: {failure}\n");
                }
            }
        }
    }
    print(&if as_json {
        format!("{:#}\n", json!({ "sources": values }))
    } else {
        text
    })?;
    Ok(exit)
}

fn unusable_to_json(name: &str, failure: &Failure) -> Value {
    json!({
        "source": name,
        "state": "failing",
        "last_error": { "kind": "state", "detail": failure.message },
    })
}

/// The checkpoint itself is nobody's business; that there is one is.
fn to_json(name: &str, record: Option<&SourceState>, now: SystemTime) -> Value {
    let Some(record) = record else {
        return json!({ "source": name, "state": "never run" });
    };
    json!({
        "source": name,
        "state": state(record),
        "component": record.component,
        "has_checkpoint": record.checkpoint.is_some(),
        "stored_at": record.stored_at,
        "lag_seconds": lag(record, now).map_or(0, |lag| lag.as_secs()),
        "memory_bytes_peak": record.memory_bytes_peak,
        "undeliverable": record.undeliverable,
        "last_error": record.last_error,
        "streams": record.streams,
    })
}

fn to_text(name: &str, record: Option<&SourceState>, now: SystemTime) -> String {
    // Writing to a `String` cannot fail.
    let mut text = String::new();
    let Some(record) = record else {
        let _ = writeln!(text, "source `{name}`: never run\n");
        return text;
    };
    let _ = writeln!(
        text,
        "source `{name}`: {}, stored {}, {}, memory peak {} MiB",
        state(record),
        record.stored_at,
        record.component,
        record.memory_bytes_peak / (1024 * 1024)
    );
    let mut table = Table::new(&[
        "stream",
        "position",
        "lag",
        "received",
        "events",
        "rejected",
        "duplicates",
        "last word",
    ]);
    for (stream, kept) in &record.streams {
        table.row(row(stream, kept, now));
    }
    text.push_str(&table.render());
    if record.undeliverable > 0 {
        let _ = writeln!(text, "undeliverable events: {}", record.undeliverable);
    }
    if let Some(error) = &record.last_error {
        let _ = writeln!(
            text,
            "last error, {}: {}: {}",
            error.at, error.kind, error.detail
        );
    }
    text.push('\n');
    text
}

fn row(stream: &str, kept: &StreamRecord, now: SystemTime) -> Vec<String> {
    let newest = kept
        .newest_ms
        .and_then(|ms| u64::try_from(ms).ok())
        .map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
    let lag = match newest {
        _ if kept.caught_up => "caught up".to_owned(),
        None => "-".to_owned(),
        Some(newest) => {
            let lag = now.duration_since(newest).unwrap_or_default();
            humantime::format_duration(Duration::from_secs(lag.as_secs())).to_string()
        }
    };
    let word = kept.last_error.as_ref().or(kept.last_notice.as_ref());
    vec![
        stream.to_owned(),
        newest.map_or_else(
            || "-".to_owned(),
            |newest| humantime::format_rfc3339_seconds(newest).to_string(),
        ),
        lag,
        kept.received.to_string(),
        kept.events.to_string(),
        kept.rejected.to_string(),
        kept.duplicates.to_string(),
        word.map_or_else(String::new, |word| {
            format!("{}: {}", word.kind, word.detail)
        }),
    ]
}

fn state(record: &SourceState) -> &'static str {
    if record.last_error.is_some() {
        "failing"
    } else if record
        .streams
        .values()
        .any(|stream| stream.last_error.is_some())
    {
        "partly failing"
    } else if record.streams.values().all(|stream| stream.caught_up) {
        "caught up"
    } else {
        "collecting"
    }
}
