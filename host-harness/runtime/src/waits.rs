//! Describes what the streams of a source wait for: which limit, which streams, and until when. The
//! log, `status`, the API and a terminal show the same text.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use source_common::timestamp::time_text;

use crate::store::{State, StoredSource};

/// Maximum number of streams that a text lists.
const NAMES_MAX: usize = 4;

/// The kind of the stored error when the whole source is rate limited.
pub(crate) const THROTTLED: &str = "throttled";
/// The kind of the stored error when some of the streams fail.
pub(crate) const FAILING: &str = "failing";

/// Streams that a quota or a rate limit holds back for one reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wait {
    /// Until when, in milliseconds since the epoch, where it is known.
    pub until_ms: Option<u64>,
    /// Which streams wait; none where it is the source as a whole.
    pub streams: Vec<String>,
    /// Which limit it is, and what may be done about it.
    pub reason: String,
}

/// Returns the waits of a source, sorted by their end.
#[must_use]
pub fn waits(source_state: &StoredSource) -> Vec<Wait> {
    if let Some(error) = &source_state.last_error
        && error.kind != FAILING
    {
        // Any error but `failing` is about the source as a whole, so no stream has a wait of its own.
        let is_wait = error.kind == THROTTLED;
        return is_wait
            .then(|| Wait {
                until_ms: source_state.next_poll_at_ms,
                streams: Vec::new(),
                reason: error.detail.clone(),
            })
            .into_iter()
            .collect();
    }
    let mut waits: Vec<Wait> = Vec::new();
    for (name, stream) in &source_state.streams {
        if stream.state != State::Waiting {
            continue;
        }
        let until_ms = stream.until_ms.and_then(|until| u64::try_from(until).ok());
        let reason = reason_without_name(&stream.state_detail, name);
        let same = waits
            .iter_mut()
            .find(|wait| wait.until_ms == until_ms && wait.reason == reason);
        match same {
            Some(wait) => wait.streams.push(name.clone()),
            None => waits.push(Wait {
                until_ms,
                streams: vec![name.clone()],
                reason: reason.to_owned(),
            }),
        }
    }
    waits.sort_by_key(|wait| wait.until_ms);
    waits
}

/// Removes the name of the stream with which a detail begins, since a wait lists its streams once.
fn reason_without_name<'a>(detail: &'a str, stream: &str) -> &'a str {
    let rest = detail.strip_prefix(stream);
    rest.and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(detail)
}

impl Wait {
    /// Returns how much of it is left; zero where its end is not known.
    #[must_use]
    pub fn remaining(&self, now: SystemTime) -> Duration {
        let until = self
            .until_ms
            .and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        until
            .and_then(|until| until.duration_since(now).ok())
            .unwrap_or_default()
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("waiting")?;
        if let Some(until_ms) = self.until_ms {
            // Rounded up, so that the wait does not end after the displayed time.
            let until_ms = until_ms.div_ceil(1_000).saturating_mul(1_000);
            write!(f, " until {}", time_text(until_ms))?;
        }
        let (named, more) = self.streams.split_at(self.streams.len().min(NAMES_MAX));
        match self.streams.len() {
            0 => {}
            1 => write!(f, ", stream {}", named.join(", "))?,
            _ if more.is_empty() => write!(f, ", streams {}", named.join(", "))?,
            _ => write!(f, ", streams {} and {} more", named.join(", "), more.len())?,
        }
        write!(f, ": {}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StatusMessage, StoredStream};

    const UNTIL_MS: i64 = 1_770_000_000_000;
    const REASON: &str = "the rate limit of 50 requests in 15 minutes is used up";

    fn stored_source(streams: &[(&str, State, i64)]) -> StoredSource {
        let mut source_state = StoredSource::new("acme");
        for (name, state, until_ms) in streams {
            let stream = StoredStream {
                state: *state,
                until_ms: Some(*until_ms),
                state_detail: format!("{name}: {REASON}"),
                ..StoredStream::default()
            };
            source_state.streams.insert((*name).to_owned(), stream);
        }
        source_state
    }

    fn texts(source_state: &StoredSource) -> Vec<String> {
        waits(source_state).iter().map(Wait::to_string).collect()
    }

    #[test]
    fn streams_that_wait_for_the_same_are_named_together() {
        let source_state = stored_source(&[
            ("audit", State::Active, UNTIL_MS),
            ("dlp", State::Waiting, UNTIL_MS + 60_000),
            ("siem.av", State::Waiting, UNTIL_MS),
            ("siem.process", State::Waiting, UNTIL_MS),
            ("ttp.url", State::NotPermitted, UNTIL_MS),
        ]);
        assert_eq!(
            texts(&source_state),
            [
                format!(
                    "waiting until 2026-02-02T02:40:00Z, streams siem.av, siem.process: {REASON}"
                ),
                format!("waiting until 2026-02-02T02:41:00Z, stream dlp: {REASON}"),
            ]
        );
        let now = UNIX_EPOCH + Duration::from_millis(1_769_999_000_000);
        assert_eq!(
            waits(&source_state)[0].remaining(now),
            Duration::from_secs(1_000)
        );
    }

    #[test]
    fn a_wait_beyond_the_year_9999_is_formatted() {
        for until_ms in [253_402_300_800_000, u64::MAX] {
            let wait = Wait {
                until_ms: Some(until_ms),
                streams: Vec::new(),
                reason: "HTTP 429".to_owned(),
            };
            assert_eq!(
                wait.to_string(),
                "waiting until 9999-12-31T23:59:59Z: HTTP 429"
            );
        }
    }

    #[test]
    fn of_many_streams_some_are_named() {
        let names: Vec<String> = (0..13).map(|number| format!("siem.{number:02}")).collect();
        let rows: Vec<(&str, State, i64)> = names
            .iter()
            .map(|name| (name.as_str(), State::Waiting, UNTIL_MS + 1))
            .collect();
        assert_eq!(
            texts(&stored_source(&rows)),
            [format!(
                "waiting until 2026-02-02T02:40:01Z, streams siem.00, siem.01, siem.02, siem.03 \
                 and 9 more: {REASON}"
            )]
        );
    }

    #[test]
    fn a_source_waits_as_a_whole_or_fails_as_a_whole() {
        let mut source_state = stored_source(&[("audit", State::Waiting, UNTIL_MS)]);
        source_state.next_poll_at_ms = Some(1_770_000_000_000);
        let error = |kind: &str| StatusMessage {
            at: String::new(),
            kind: kind.to_owned(),
            detail: "HTTP 429".to_owned(),
        };
        source_state.last_error = Some(error(THROTTLED));
        assert_eq!(
            texts(&source_state),
            ["waiting until 2026-02-02T02:40:00Z: HTTP 429"]
        );
        source_state.last_error = Some(error("unavailable"));
        assert!(texts(&source_state).is_empty());
        // Some of its streams fail, and this one waits.
        source_state.last_error = Some(error(FAILING));
        assert_eq!(
            texts(&source_state),
            [format!(
                "waiting until 2026-02-02T02:40:00Z, stream audit: {REASON}"
            )]
        );
    }
}
