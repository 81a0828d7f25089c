//! `status`: whether anything collects, and what has been collected, from the state directory.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use source_common::exit::{Exit, Failure};
use source_runtime::store::{self, Heartbeat, SourceState, State, StreamRecord, epoch_ms};

use super::{Table, print};
use crate::settings::Settings;

/// A host polls every source at least hourly, so one that stored nothing for this long collects
/// nothing.
const STALE_AFTER: Duration = Duration::from_secs(2 * 3_600);

/// The host that uses the state directory, at some time.
struct Host {
    heartbeat: Option<Heartbeat>,
    now: SystemTime,
}

/// Shows the state of every source. It can be asked while a run goes on. Ends with 0 where every
/// source is healthy, 1 where one fails, 3 where nothing runs or one has become stale; a state
/// file that cannot be used is the failure of its source.
pub fn status(config: &Path, as_json: bool) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let host = Host {
        heartbeat: store::heartbeat(&settings.state_dir),
        now: SystemTime::now(),
    };
    let mut text = host.to_text();
    let mut values = Vec::new();
    let mut exit = if host.is_alive() {
        Exit::Done
    } else {
        Exit::NotRunning
    };
    for source in &settings.sources {
        let name = &source.name;
        match store::read(&settings.state_dir, name) {
            Ok(record) => {
                let shown = Shown::new((name, source.enabled), record.as_ref(), &host);
                exit = exit.max(shown.exit());
                if as_json {
                    values.push(shown.to_json());
                } else {
                    text.push_str(&shown.to_text());
                }
            }
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
        let report = json!({ "host": host.to_json(), "sources": values });
        format!("{report:#}\n")
    } else {
        text
    })?;
    Ok(exit)
}

fn unusable_to_json(name: &str, failure: &Failure) -> Value {
    json!({
        "source": name,
        "state": State::Failing,
        "last_error": { "kind": "state", "detail": failure.message },
    })
}

impl Host {
    fn is_alive(&self) -> bool {
        let heartbeat = self.heartbeat.as_ref();
        heartbeat.is_some_and(|heartbeat| heartbeat.is_alive(self.now))
    }

    fn to_text(&self) -> String {
        let Some(heartbeat) = &self.heartbeat else {
            return "host: not running; no run has used this state directory\n\n".to_owned();
        };
        let (pid, written) = (heartbeat.pid, time(heartbeat.written_at_ms));
        if self.is_alive() {
            let started = time(heartbeat.started_at_ms);
            format!("host: running since {started}, process {pid}\n\n")
        } else if heartbeat.has_ended {
            format!("host: not running; the last run ended at {written}\n\n")
        } else {
            format!(
                "host: not running; process {pid} gave its last sign of life at {written}: look into \
                 its log, and start `source-host run` again\n\n"
            )
        }
    }

    fn to_json(&self) -> Value {
        let heartbeat = self.heartbeat.as_ref();
        json!({
            "running": self.is_alive(),
            "pid": heartbeat.map(|it| it.pid),
            "started_at": heartbeat.map(|it| time(it.started_at_ms)),
            "last_seen": heartbeat.map(|it| time(it.written_at_ms)),
        })
    }
}

/// A source as it is shown.
struct Shown<'a> {
    name: &'a str,
    record: Option<&'a SourceState>,
    host: &'a Host,
    state: State,
    is_stale: bool,
}

impl<'a> Shown<'a> {
    fn new(
        (name, is_enabled): (&'a str, bool),
        record: Option<&'a SourceState>,
        host: &'a Host,
    ) -> Self {
        let stored_at =
            record.and_then(|record| humantime::parse_rfc3339_weak(&record.stored_at).ok());
        let age = stored_at.and_then(|stored_at| host.now.duration_since(stored_at).ok());
        Self {
            name,
            record,
            host,
            state: if is_enabled {
                state(record, host.is_alive())
            } else {
                State::Paused
            },
            is_stale: is_enabled && age.is_some_and(|age| age > STALE_AFTER),
        }
    }

    fn exit(&self) -> Exit {
        let has_failed = self
            .record
            .is_some_and(|record| record.last_error.is_some());
        match self.state {
            State::Blocked | State::Failing | State::Unauthorized => Exit::Failed,
            State::Stopped if has_failed => Exit::Failed,
            State::Stopped => Exit::NotRunning,
            _ if self.is_stale => Exit::NotRunning,
            State::Active
            | State::NotPermitted
            | State::Paused
            | State::Starting
            | State::Waiting => Exit::Done,
        }
    }

    /// The checkpoint is left out; that there is one is shown.
    fn to_json(&self) -> Value {
        let Some(record) = self.record else {
            return json!({ "source": self.name, "state": self.state });
        };
        let streams = record.streams.iter().map(|(name, stream)| {
            let mut value = json!(stream);
            if let Value::Object(members) = &mut value {
                members.insert("state".to_owned(), json!(self.stream_state(stream)));
                members.insert("lag_seconds".to_owned(), json!(self.lag_seconds(stream)));
            }
            (name.clone(), value)
        });
        json!({
            "source": self.name,
            "state": self.state,
            "stale": self.is_stale,
            "component": record.component,
            "has_checkpoint": record.checkpoint.is_some(),
            "stored_at": record.stored_at,
            "lag_seconds": self.source_lag_seconds(record),
            "memory_bytes_peak": record.memory_bytes_peak,
            "undeliverable": record.undeliverable,
            "last_error": record.last_error,
            "streams": streams.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn to_text(&self) -> String {
        // Writing to a `String` cannot fail.
        let mut text = String::new();
        let (name, word) = (self.name, self.state.word());
        let Some(record) = self.record else {
            let _ = writeln!(text, "source `{name}`: {word}, never polled\n");
            return text;
        };
        let stale = if self.is_stale { " and stale" } else { "" };
        let _ = writeln!(
            text,
            "source `{name}`: {word}{stale}, lag {}, stored {}, {}, memory peak {} MiB",
            lag_text(self.source_lag_seconds(record)),
            record.stored_at,
            record.component,
            record.memory_bytes_peak / (1024 * 1024)
        );
        let mut table = Table::new(&[
            "stream",
            "state",
            "collected until",
            "lag",
            "received",
            "events",
            "rejected",
            "duplicates",
            "quota",
            "last message",
        ]);
        for (stream, kept) in &record.streams {
            table.row(self.row(stream, kept));
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

    fn row(&self, name: &str, stream: &StreamRecord) -> Vec<String> {
        let until = collected_until_ms(stream);
        let message = stream.last_error.as_ref().or(stream.last_notice.as_ref());
        let message = message.map(|message| format!("{}: {}", message.kind, message.detail));
        let message = message.filter(|_| stream.state_detail.is_empty());
        vec![
            name.to_owned(),
            self.stream_state(stream).word().to_owned(),
            until.map_or_else(|| "-".to_owned(), time),
            lag_text(self.lag_seconds(stream)),
            stream.received.to_string(),
            stream.events.to_string(),
            stream.rejected.to_string(),
            stream.duplicates.to_string(),
            stream
                .quota_remaining
                .map_or_else(|| "-".to_owned(), |left| left.to_string()),
            message.unwrap_or_else(|| stream.state_detail.clone()),
        ]
    }

    fn stream_state(&self, stream: &StreamRecord) -> State {
        if matches!(self.state, State::Paused | State::Stopped) {
            self.state
        } else {
            stream.state
        }
    }

    /// How far a stream is behind the clock.
    fn lag_seconds(&self, stream: &StreamRecord) -> Option<u64> {
        let until_ms = collected_until_ms(stream)?;
        Some(epoch_ms(self.host.now).saturating_sub(until_ms) / 1000)
    }

    /// The lag of the stream that is furthest behind, of those that are permitted.
    fn source_lag_seconds(&self, record: &SourceState) -> Option<u64> {
        let streams = record.streams.values();
        let permitted = streams.filter(|stream| stream.state != State::NotPermitted);
        permitted
            .filter_map(|stream| self.lag_seconds(stream))
            .max()
    }
}

/// Up to when a stream is collected; an older release noted its newest event only.
fn collected_until_ms(stream: &StreamRecord) -> Option<u64> {
    let until_ms = stream.collected_until_ms.or(stream.newest_ms)?;
    u64::try_from(until_ms).ok()
}

fn time(epoch_ms: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(epoch_ms.min(253_402_300_799_000));
    humantime::format_rfc3339_seconds(time).to_string()
}

fn lag_text(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    )
}

/// What a source is doing: what its streams do, and what stops all of them.
fn state(record: Option<&SourceState>, is_alive: bool) -> State {
    if !is_alive {
        return State::Stopped;
    }
    let Some(record) = record else {
        return State::Starting;
    };
    match &record.last_error {
        Some(error) if error.kind == "unauthorized" => return State::Unauthorized,
        Some(error) if error.kind == "throttled" => return State::Waiting,
        Some(_) => return State::Failing,
        None => {}
    }
    // One stream that fails is to be looked at; one that waits does not hold the others back.
    let is_any = |state: &State| record.streams.values().any(|stream| stream.state == *state);
    let by_weight = [
        State::Failing,
        State::Active,
        State::Waiting,
        State::NotPermitted,
    ];
    by_weight
        .into_iter()
        .find(is_any)
        .unwrap_or(State::Starting)
}

#[cfg(test)]
mod tests {
    use source_runtime::store::StatusMessage;

    use super::*;

    const NOW_MS: u64 = 1_770_100_000_000;

    fn host(age_secs: u64, has_ended: bool) -> Host {
        Host {
            heartbeat: Some(Heartbeat {
                pid: 7,
                started_at_ms: NOW_MS - 86_400_000,
                written_at_ms: NOW_MS - age_secs * 1000,
                has_ended,
            }),
            now: SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS),
        }
    }

    /// A source whose streams are in these states, stored so many seconds ago.
    fn record(states: &[State], age_secs: u64) -> SourceState {
        let mut record = SourceState::new("acme");
        record.stored_at = time(NOW_MS - age_secs * 1000);
        for ((number, state), behind) in states.iter().enumerate().zip(0_i64..) {
            let stream = StreamRecord {
                state: *state,
                collected_until_ms: Some(NOW_MS.cast_signed() - 90_000 * (1 + behind)),
                ..StreamRecord::default()
            };
            record.streams.insert(format!("stream-{number}"), stream);
        }
        record
    }

    fn shown(states: &[State], host: &Host, age_secs: u64) -> (State, Exit) {
        let record = record(states, age_secs);
        let shown = Shown::new(("acme", true), Some(&record), host);
        (shown.state, shown.exit())
    }

    #[test]
    fn a_source_is_what_its_streams_are_and_one_that_fails_comes_first() {
        use State::{Active, Failing, NotPermitted, Starting, Waiting};
        let alive = host(3, false);
        for (states, state, exit) in [
            (&[Active, Active][..], Active, Exit::Done),
            (&[Active, Waiting, NotPermitted], Active, Exit::Done),
            (&[Waiting, NotPermitted], Waiting, Exit::Done),
            (&[NotPermitted], NotPermitted, Exit::Done),
            (&[Active, Failing], Failing, Exit::Failed),
            (&[], Starting, Exit::Done),
        ] {
            assert_eq!(shown(states, &alive, 5), (state, exit), "{states:?}");
        }
        let mut refused = record(&[Active], 5);
        for (kind, state, exit) in [
            ("unauthorized", State::Unauthorized, Exit::Failed),
            ("throttled", Waiting, Exit::Done),
            ("unavailable", Failing, Exit::Failed),
        ] {
            refused.last_error = Some(StatusMessage {
                at: String::new(),
                kind: kind.to_owned(),
                detail: String::new(),
            });
            let shown = Shown::new(("acme", true), Some(&refused), &alive);
            assert_eq!((shown.state, shown.exit()), (state, exit), "{kind}");
        }
    }

    #[test]
    fn without_a_host_that_lives_every_source_is_stopped() {
        for dead in [
            host(31, false),
            host(3, true),
            host(3 * 86_400, false),
            Host {
                heartbeat: None,
                ..host(0, false)
            },
        ] {
            let (state, exit) = shown(&[State::Active], &dead, 5);
            assert_eq!((state, exit), (State::Stopped, Exit::NotRunning));
            assert!(dead.to_text().starts_with("host: not running"));
        }
        assert_eq!(
            shown(&[State::Active], &host(29, false), 5).0,
            State::Active
        );
    }

    #[test]
    fn a_source_that_stores_nothing_for_hours_is_stale_and_its_lag_is_a_number() {
        let alive = host(3, false);
        assert_eq!(shown(&[State::Active], &alive, 7_199).1, Exit::Done);
        assert_eq!(shown(&[State::Active], &alive, 7_201).1, Exit::NotRunning);
        let record = record(&[State::Active, State::NotPermitted], 7_201);
        let shown = Shown::new(("acme", true), Some(&record), &alive);
        let json = shown.to_json();
        assert_eq!(json["lag_seconds"], 90, "the other one is not permitted");
        assert_eq!(json["streams"]["stream-1"]["lag_seconds"], 180);
        assert_eq!(json["stale"], true);
        let text = shown.to_text();
        assert!(text.contains("active and stale, lag 1m 30s"), "{text}");
        let paused = Shown::new(("acme", false), Some(&record), &alive);
        assert_eq!((paused.state, paused.exit()), (State::Paused, Exit::Done));
        assert!(paused.to_text().contains("source `acme`: paused, lag "));
    }
}
