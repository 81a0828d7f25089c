//! Changes a checkpoint so that streams are collected again from a chosen time.

use crate::checkpoint::{BackoffCause, Checkpoint, FilesPosition, StreamPosition};
use crate::settings::Settings;
use crate::stream::Stream;
use crate::streams;
use crate::time::Timestamp;

/// Returns a checkpoint from which `streams` are collected again from `from` on; with no name in
/// `streams`, every stream that the settings select.
///
/// The remembered identities of these streams are dropped, so that their records become events once more,
/// with the same ids. Calls that count against a quota, and the waits that a rate limit
/// asked for, stay as they are, and so do the positions of other streams.
///
/// # Errors
///
/// The settings or the checkpoint cannot be used, a stream is not selected, or `from` is in the
/// future. The text has the reason, and what to do instead.
pub fn rewind(
    settings: &str,
    checkpoint: &str,
    streams: &[String],
    from: Timestamp,
    now: Timestamp,
) -> Result<String, String> {
    let settings = Settings::parse(settings)
        .map_err(|error| format!("settings: {}: {}", error.setting, error.detail))?;
    let mut checkpoint =
        Checkpoint::parse(checkpoint).map_err(|error| format!("checkpoint: {}", error.detail()))?;
    if from > now {
        return Err(format!("{from} is in the future; use a past time"));
    }
    if from.millis() < 0 {
        return Err(format!("{from} is before 1970; use a later time"));
    }
    let selected: Vec<Stream> = if streams.is_empty() {
        settings.streams.clone()
    } else {
        streams
            .iter()
            .map(|name| find(name, &settings))
            .collect::<Result<_, _>>()?
    };
    for stream in selected {
        let old = checkpoint.streams.remove(stream.name());
        // Files that are set aside were not delivered, whatever their time.
        let mut set_aside = old
            .as_ref()
            .and_then(|old| old.files.as_ref())
            .map(|files| files.set_aside.clone())
            .unwrap_or_default();
        for file in set_aside.iter_mut().flat_map(|page| &mut page.files) {
            file.position.line = 0;
        }
        let mut position = StreamPosition {
            backoff: old
                .and_then(|old| old.backoff)
                .filter(|backoff| backoff.cause == BackoffCause::Throttled),
            ..StreamPosition::default()
        };
        streams::open(stream, None, (from, &settings)).save(&mut position);
        if let Some(events) = position.events.as_mut().filter(|_| !set_aside.is_empty()) {
            // Files that are set aside are read before the event endpoint, whatever the time of their
            // lines.
            events.since = Timestamp::default();
            position.files = Some(FilesPosition {
                since: from,
                ..FilesPosition::default()
            });
        }
        if let Some(files) = &mut position.files {
            files.set_aside = set_aside;
        }
        checkpoint
            .streams
            .insert(stream.name().to_owned(), position);
    }
    Ok(checkpoint.into_bounded_text())
}

/// Returns the selected stream of that name.
fn find(name: &str, settings: &Settings) -> Result<Stream, String> {
    let named = settings.streams.iter().find(|stream| stream.name() == name);
    named.copied().ok_or_else(|| {
        let names: Vec<&str> = settings
            .streams
            .iter()
            .map(|stream| stream.name())
            .collect();
        format!(
            "stream {name:?} is not selected by the settings; selected are {}",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{Host, Upstream};

    const STREAMS: &str = r#","streams":["siem.receipt","audit"],"start":"48h""#;

    fn upstream() -> Upstream {
        let mut upstream = Upstream::new();
        for lines in [4, 9] {
            upstream.add_file("receipt", lines);
        }
        for n in 0..20 {
            upstream.add_audit(&format!("a{n}"), upstream.now.plus_ms(-3_600_000 * (n + 1)));
        }
        upstream
    }

    /// How often each record was delivered.
    fn deliveries(host: &Host) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for key in &host.delivered {
            *counts.entry(key.clone()).or_default() += 1;
        }
        counts
    }

    fn rewound(host: &Host, upstream: &Upstream, streams: &[&str], hours: i64) -> String {
        let names: Vec<String> = streams.iter().map(|name| (*name).to_owned()).collect();
        let now = upstream.host_now();
        // Collecting has taken some seconds of virtual time.
        let from = now.plus_ms(-3_600_000 * hours - 60_000);
        let checkpoint = host.checkpoint.as_deref().unwrap();
        rewind(&host.settings, checkpoint, &names, from, now).unwrap()
    }

    #[test]
    fn all_streams_are_collected_again_with_the_same_ids() {
        let (mut upstream, mut host) = (upstream(), Host::new(STREAMS));
        host.collect(&mut upstream);
        host.checkpoint = Some(rewound(&host, &upstream, &[], 47));
        host.session = None;
        host.collect(&mut upstream);
        host.assert_one_id_each();
        let counts = deliveries(&host);
        assert_eq!(counts.len(), 33);
        assert!(counts.values().all(|count| *count == 2), "{counts:?}");
    }

    #[test]
    fn one_stream_is_collected_again_from_that_time_and_the_others_continue() {
        let (mut upstream, mut host) = (upstream(), Host::new(STREAMS));
        host.collect(&mut upstream);
        host.checkpoint = Some(rewound(&host, &upstream, &["audit"], 10));
        host.session = None;
        host.collect(&mut upstream);
        host.assert_one_id_each();
        let twice = deliveries(&host);
        let twice: Vec<&String> = twice
            .iter()
            .filter_map(|(key, count)| (*count == 2).then_some(key))
            .collect();
        assert_eq!(twice.len(), 10, "{twice:?}");
        assert!(
            twice.iter().all(|key| key.starts_with("audit/")),
            "{twice:?}"
        );
    }

    #[test]
    fn a_quota_and_a_rate_limit_are_kept_and_a_failure_is_not() {
        let host = Host::new(STREAMS);
        let now = Timestamp::parse("2026-02-03T04:05:06Z").unwrap();
        let backoff_json = |cause: &str| {
            format!(
                r#"{{"until":{},"cause":"{cause}","tries":3}}"#,
                now.plus_ms(60_000).millis()
            )
        };
        let checkpoint = format!(
            r#"{{"v":1,"siem_calls":[7,8],"streams":{{"siem.receipt":{{"rest":{}}},"audit":{{"rest":{}}}}}}}"#,
            backoff_json("throttled"),
            backoff_json("failing"),
        );
        let text = rewind(&host.settings, &checkpoint, &[], now.plus_ms(-1000), now).unwrap();
        let read = Checkpoint::parse(&text).unwrap();
        assert_eq!(read.batch_file_call_times_s, [7, 8]);
        let cause = |name: &str| read.streams[name].backoff.map(|backoff| backoff.cause);
        assert_eq!(cause("siem.receipt"), Some(BackoffCause::Throttled));
        assert_eq!(cause("audit"), None);
    }

    #[test]
    fn what_cannot_be_rewound_is_refused_with_the_reason() {
        let host = Host::new(STREAMS);
        let now = Timestamp::parse("2026-02-03T04:05:06Z").unwrap();
        let checkpoint = r#"{"v":1,"streams":{}}"#;
        let call = |checkpoint: &str, stream: &str, from: Timestamp| {
            rewind(&host.settings, checkpoint, &[stream.to_owned()], from, now).unwrap_err()
        };
        assert!(call(checkpoint, "dlp", now).contains("not selected"));
        assert!(call(checkpoint, "audit", now.plus_ms(1)).contains("future"));
        assert!(call(checkpoint, "audit", Timestamp::from_millis(-1)).contains("1970"));
        assert!(call("{", "audit", now).starts_with("checkpoint: "));
        let error = rewind("{}", checkpoint, &[], now, now).unwrap_err();
        assert!(error.starts_with("settings: client_id"), "{error}");
    }
}
