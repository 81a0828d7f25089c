//! `status`: whether anything collects, and what has been collected, from the state directory.

use std::convert::Infallible;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use source_common::exit::{Exit, Failure};
use source_runtime::store::{self, State};

use super::table::{paragraph, truncate};
use super::{Table, print, print_json, terminal_width};
use crate::report::{
    HostReport, HostSnapshot, HostStatus, OutputReport, PausedBy, SourceReport, SourceRuntimeState,
    StoredHost, StreamReport, Time,
};
use crate::settings::Settings;

/// Refresh interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Prints the state of every source and output. May be used while a host runs. Exits with 0
/// if every source is healthy, 1 if one fails or an output does not accept, 3 if nothing
/// runs or a source has become stale.
pub fn status(config: &Path, as_json: bool) -> Result<Exit, Failure> {
    let settings = Settings::read_omitting_unresolved(config)?;
    let now = SystemTime::now();
    let report = read(&settings, now)?;
    if as_json {
        print_json(&report)?;
    } else {
        print(&to_text(&report, now, terminal_width()))?;
    }
    Ok(report.exit())
}

/// Prints the status repeatedly until interrupted. Fails when `terminal_size` returns `None`, because
/// standard output is no longer a terminal.
pub async fn watch(
    config: &Path,
    terminal_size: impl Fn() -> Option<(usize, usize)>,
) -> Result<Infallible, Failure> {
    while let Some((rows, columns)) = terminal_size() {
        let settings = Settings::read_omitting_unresolved(config)?;
        let now = SystemTime::now();
        let report = read(&settings, now)?;
        print(&frame(&to_summary(&report, now, columns), rows, columns))?;
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
    Err(Failure::failed(
        "--watch has ended, because standard output is no longer a terminal",
    ))
}

/// Returns the text that replaces the screen's contents, cut to size. Each line is cleared as it
/// is written, to avoid flicker.
fn frame(text: &str, rows: usize, columns: usize) -> String {
    const HOME: &str = "\x1b[H";
    const CLEAR_LINE: &str = "\x1b[K";
    const CLEAR_BELOW: &str = "\x1b[J";
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let room = rows.saturating_sub(1);
    let shown = if lines.len() > room {
        room.saturating_sub(1)
    } else {
        lines.len()
    };
    let mut frame = HOME.to_owned();
    for line in lines.iter().take(shown) {
        frame.push_str(&truncate(line, columns));
        frame.push_str(CLEAR_LINE);
        frame.push_str("\r\n");
    }
    let hidden = lines.len().saturating_sub(shown);
    if hidden > 0 {
        // Writing to a `String` cannot fail.
        let _ = write!(frame, "… {hidden} more lines{CLEAR_LINE}");
    }
    frame.push_str(CLEAR_BELOW);
    frame
}

/// Reads the state that a host has stored in the state directory.
fn read(settings: &Settings, now: SystemTime) -> Result<HostReport, Failure> {
    store::check_readable(&settings.state_dir)?;
    let stored: StoredHost = store::read_host_state(&settings.state_dir).unwrap_or_default();
    let host = HostSnapshot {
        heartbeat: store::read_heartbeat(&settings.state_dir),
        is_ready: stored.ready,
        version: stored.version,
        now,
    };
    let stored_runtime_state = |name: &str| {
        let noted = stored.sources.get(name).cloned().unwrap_or_default();
        let runs = host.is_alive();
        SourceRuntimeState {
            // After a run has ended, only what persists applies.
            settings_error: noted.settings_error.filter(|_| runs),
            blocked: noted.blocked.filter(|_| runs),
            unanswered: if runs { noted.unanswered } else { Vec::new() },
            ..noted
        }
    };
    let report = |name: &str, runtime_state: &SourceRuntimeState| match store::read(
        &settings.state_dir,
        name,
    ) {
        Ok(source_state) => {
            let source_state = source_state.as_ref();
            let checkpoint = source_state.and_then(|source_state| source_state.checkpoint.as_ref());
            SourceReport::new(
                name,
                source_state,
                checkpoint.map(String::len),
                runtime_state,
                &host,
            )
        }
        Err(failure) => SourceReport::unusable(name, &failure.message, runtime_state, &host),
    };
    let mut sources = Vec::with_capacity(settings.sources.len());
    for source in &settings.sources {
        let mut runtime_state = stored_runtime_state(&source.name);
        let chosen = source.outputs.clone();
        runtime_state.outputs = chosen.unwrap_or_else(|| settings.output_names());
        if !source.enabled {
            runtime_state.paused_by = Some(PausedBy::Settings);
        } else if runtime_state.paused_by == Some(PausedBy::Settings) {
            // The settings have changed since then; the host may not have read them yet.
            runtime_state.paused_by = None;
        }
        sources.push(report(&source.name, &runtime_state));
    }
    for faulty in &settings.faulty_sources {
        let mut runtime_state = stored_runtime_state(&faulty.name);
        runtime_state.settings_error = Some(faulty.failure.message.clone());
        sources.push(report(&faulty.name, &runtime_state));
    }
    sources.sort_by(|one, other| one.source.cmp(&other.source));
    let mut outputs = stored.outputs;
    if !host.is_alive() {
        for output in &mut outputs {
            output.state = State::Stopped;
        }
    }
    Ok(HostReport {
        host: host.status(),
        sources,
        outputs,
        fleet: None,
    })
}

/// Formats the whole report as text.
fn to_text(report: &HostReport, now: SystemTime, width: Option<usize>) -> String {
    let mut text = heading(report, now);
    for source in &report.sources {
        text.push_str(&source_to_text(source, width));
        text.push('\n');
    }
    text.push_str(&outputs_to_text(&report.outputs, width));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Formats one line per source if there are several, so that all fit on a screen.
fn to_summary(report: &HostReport, now: SystemTime, width: usize) -> String {
    let width = Some(width);
    if report.sources.len() <= 1 {
        return to_text(report, now, width);
    }
    let head = [
        "source",
        "state",
        "last poll",
        "lag",
        "received",
        "events",
        "rejected",
        "duplicates",
        "last message",
    ];
    let mut table = Table::new(&head).with_optional(&[2, 7, 4]);
    for source in &report.sources {
        table.row(vec![
            source.source.clone(),
            state_text(source),
            time_or_dash(source.last_poll_at),
            duration_text(source.lag_seconds),
            source.sum(|stream| stream.received).to_string(),
            source.sum(|stream| stream.events).to_string(),
            source.sum(|stream| stream.rejected).to_string(),
            source.sum(|stream| stream.duplicates).to_string(),
            summary_message(source),
        ]);
    }
    let mut text = heading(report, now);
    text.push_str(&table.render_within(width));
    text.push('\n');
    text.push_str(&outputs_to_text(&report.outputs, width));
    text
}

/// What an operator should know of a source: a mistake in its settings, why it does not collect, or
/// what some of its streams wait for.
fn summary_message(source: &SourceReport) -> String {
    let detail = Some(&source.detail).filter(|detail| !detail.is_empty());
    let messages = [source.settings_error.as_ref(), detail, source.waits.first()];
    messages
        .into_iter()
        .flatten()
        .next()
        .cloned()
        .unwrap_or_default()
}

fn heading(report: &HostReport, now: SystemTime) -> String {
    let host = host_to_text(&report.host);
    format!("Collection status at {}\n{host}\n\n", Time::of(now))
}

fn host_to_text(host: &HostStatus) -> String {
    let (Some(pid), Some(started), Some(seen)) = (host.pid, host.started_at, host.last_seen) else {
        return "host: not running; no run has used this state directory".to_owned();
    };
    if host.running {
        format!("host: running since {started}, process {pid}")
    } else if host.has_ended {
        format!("host: not running; the last run ended at {seen}")
    } else {
        format!(
            "host: not running; process {pid} was last active at {seen}: check its \
             log, and start `source-host run` again"
        )
    }
}

fn state_text(source: &SourceReport) -> String {
    let stale = if source.stale { " and stale" } else { "" };
    format!("{}{stale}", source.state.name())
}

fn source_to_text(source: &SourceReport, width: Option<usize>) -> String {
    let (name, state) = (&source.source, state_text(source));
    let is_new = source.streams.is_empty() && !source.has_checkpoint;
    let mut lines = vec![if is_new {
        format!("source `{name}`: {state}, never polled")
    } else {
        format!(
            "source `{name}`: {state}, lag {}, last poll {}, next poll {}, {}, memory peak {} MiB",
            duration_text(source.lag_seconds),
            time_or_dash(source.last_poll_at),
            time_or_dash(source.next_poll_at),
            source.component,
            source.memory_bytes_peak / (1024 * 1024)
        )
    }];
    if source.undeliverable > 0 {
        lines.push(format!("undeliverable events: {}", source.undeliverable));
    }
    if let Some(error) = &source.settings_error {
        lines.push(format!("settings not used: {error}"));
    }
    if source.state == State::Blocked {
        lines.push(format!("blocked: {}", source.detail));
    }
    lines.extend(source.waits.iter().cloned());
    if let Some(error) = &source.last_error {
        let (at, kind, detail) = (&error.at, &error.kind, &error.detail);
        lines.push(format!("last error, {at}: {kind}: {detail}"));
    }
    let mut text: String = lines.iter().map(|line| paragraph(line, width)).collect();
    if !source.streams.is_empty() {
        text.push_str(&streams_to_text(source, width));
    }
    text
}

fn streams_to_text(source: &SourceReport, width: Option<usize>) -> String {
    let head = [
        "stream",
        "state",
        "newest event",
        "collected until",
        "last poll",
        "lag",
        "received",
        "events",
        "rejected",
        "duplicates",
        "last message",
    ];
    let mut table = Table::new(&head).with_optional(&[3, 2, 4, 9, 6]);
    for (name, stream) in &source.streams {
        table.row(vec![
            name.clone(),
            stream.state.name().to_owned(),
            time_or_dash(stream.newest_at),
            time_or_dash(stream.collected_until),
            time_or_dash(stream.last_accepted_at),
            duration_text(stream.lag_seconds),
            stream.received.to_string(),
            stream.events.to_string(),
            stream.rejected.to_string(),
            stream.duplicates.to_string(),
            last_message(stream),
        ]);
    }
    table.render_within(width)
}

/// Returns the most relevant message about a stream: why it does not collect, else its last failure
/// or notice, each with the time.
fn last_message(stream: &StreamReport) -> String {
    let gaps = match stream.gaps {
        0 => String::new(),
        1 => "1 gap; ".to_owned(),
        gaps => format!("{gaps} gaps; "),
    };
    let message = if stream.detail.is_empty() {
        let message = stream.last_error.as_ref().or(stream.last_notice.as_ref());
        message.map(|message| format!("{}: {} ({})", message.kind, message.detail, message.at))
    } else {
        let until = stream.until;
        let until = until.map_or_else(String::new, |until| format!(" (next try {until})"));
        Some(format!("{}{until}", stream.detail))
    };
    gaps + &message.unwrap_or_default()
}

fn outputs_to_text(outputs: &[OutputReport], width: Option<usize>) -> String {
    if outputs.is_empty() {
        return String::new();
    }
    let head = [
        "output",
        "type",
        "state",
        "last success",
        "events",
        "batches",
        "retries",
        "blocked",
        "waiting sources",
        "last message",
    ];
    let mut table = Table::new(&head).with_optional(&[8, 5, 1, 4]);
    for output in outputs {
        table.row(vec![
            output.output.clone(),
            output.output_type.clone(),
            output.state.name().to_owned(),
            time_or_dash(output.last_success_at),
            output.events.to_string(),
            output.batches.to_string(),
            output.retries.to_string(),
            duration_text(Some(output.blocked_seconds)),
            output.waiting_sources.to_string(),
            output.detail.clone(),
        ]);
    }
    table.render_within(width)
}

fn time_or_dash(time: Option<Time>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

/// Formats a duration by its two largest units, such as `3days 2h`.
pub(crate) fn duration_text(seconds: Option<u64>) -> String {
    let Some(seconds) = seconds else {
        return "-".to_owned();
    };
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    let units: Vec<&str> = text.split(' ').take(2).collect();
    units.join(" ")
}

#[cfg(test)]
mod tests {
    use source_runtime::store::{Heartbeat, StoredSource, StoredStream, epoch_ms};

    use super::*;

    const NOW_MS: u64 = 1_770_100_000_000;

    #[tokio::test]
    async fn a_watch_ends_when_the_terminal_is_gone_and_says_so() {
        let Err(failure) = watch(Path::new("host.toml"), || None).await;
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(
            failure.message,
            "--watch has ended, because standard output is no longer a terminal"
        );
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS)
    }

    fn stream(state: State, detail: &str) -> StoredStream {
        StoredStream {
            state,
            state_detail: detail.to_owned(),
            received: 1_234_567,
            events: 1_234_560,
            rejected: 5,
            duplicates: 2,
            collected_until_ms: Some(NOW_MS.cast_signed() - 90_000),
            newest_ms: Some(NOW_MS.cast_signed() - 100_000),
            last_accepted_at: Some(
                Time {
                    epoch_ms: NOW_MS - 5_000,
                }
                .to_string(),
            ),
            ..StoredStream::default()
        }
    }

    fn host_report(names: &[&str]) -> HostReport {
        let host = HostSnapshot {
            heartbeat: Some(Heartbeat {
                pid: 7,
                started_at_ms: NOW_MS - 3_600_000,
                written_at_ms: epoch_ms(now()),
                has_ended: false,
            }),
            is_ready: true,
            version: None,
            now: now(),
        };
        let mut source_state = StoredSource::new("acme");
        source_state.stored_at = Time {
            epoch_ms: NOW_MS - 5_000,
        }
        .to_string();
        source_state.polled_at_ms = Some(NOW_MS - 5_000);
        let missing =
            "not permitted; grant the application Monitoring | Data Leak Prevention | Read";
        let streams = [
            ("siem.impersonation-protect", stream(State::Active, "")),
            ("dlp", stream(State::NotPermitted, missing)),
        ];
        for (name, stream) in streams {
            source_state.streams.insert(name.to_owned(), stream);
        }
        let runtime_state = SourceRuntimeState::default();
        let of = |name: &&str| {
            SourceReport::new(name, Some(&source_state), Some(9), &runtime_state, &host)
        };
        HostReport {
            host: host.status(),
            sources: names.iter().map(of).collect(),
            outputs: vec![OutputReport {
                output: "siem".to_owned(),
                output_type: "http".to_owned(),
                state: State::Blocked,
                detail: "connection refused".to_owned(),
                last_success_at: Some(Time {
                    epoch_ms: NOW_MS - 600_000,
                }),
                retries: 12,
                unanswered_seconds: 0,
                blocked_seconds: 590,
                events: 1_234_560,
                batches: 1_300,
                waiting_sources: 1,
            }],
            fleet: None,
        }
    }

    fn widest(text: &str) -> usize {
        let widths = text.lines().map(|line| line.chars().count());
        widths.max().unwrap_or_default()
    }

    #[test]
    fn the_text_has_the_states_and_times_of_streams_and_outputs() {
        let text = to_text(&host_report(&["acme"]), now(), None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Collection status at 2026-02-03T06:26:40Z");
        assert_eq!(
            lines[1],
            "host: running since 2026-02-03T05:26:40Z, process 7"
        );
        assert!(
            lines[3]
                .starts_with("source `acme`: active, lag 1m 30s, last poll 2026-02-03T06:26:35Z")
        );
        let cells: Vec<&str> = lines[4]
            .split("  ")
            .filter(|cell| !cell.is_empty())
            .collect();
        let cells: Vec<&str> = cells.into_iter().map(str::trim).collect();
        assert_eq!(
            cells,
            [
                "stream",
                "state",
                "newest event",
                "collected until",
                "last poll",
                "lag",
                "received",
                "events",
                "rejected",
                "duplicates",
                "last message"
            ]
        );
        assert!(
            lines[5].starts_with("dlp                         not-permitted  2026-02-03T06:25:00Z")
        );
        assert!(lines[5].ends_with("Data Leak Prevention | Read"), "{text}");
        assert!(
            text.contains("siem    http  blocked  2026-02-03T06:16:40Z"),
            "{text}"
        );
        assert!(text.contains("9m 50s"), "{text}");
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_is_wide() {
        for width in [80, 100, 132, 200, 400] {
            let text = to_text(&host_report(&["acme"]), now(), Some(width));
            assert!(widest(&text) <= width, "{text}");
            assert!(text.contains("not-permitted"), "{text}");
            let summary = to_summary(&host_report(&["acme", "globex"]), now(), width);
            assert!(widest(&summary) <= width, "{summary}");
        }
    }

    #[test]
    fn a_frame_fits_the_terminal_and_clears_what_was_there() {
        let names: Vec<String> = (0..50).map(|number| format!("tenant-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = to_summary(&host_report(&names), now(), 80);
        let frame = frame(&text, 24, 80);
        assert!(frame.starts_with("\x1b[HCollection status at "), "{frame}");
        assert!(frame.ends_with(" more lines\x1b[K\x1b[J"), "{frame}");
        assert_eq!(frame.matches("\r\n").count(), 22);
        assert!(frame.contains("tenant-10  active"), "{frame}");
        let short = super::frame("one\ntwo\n", 24, 80);
        assert_eq!(short, "\x1b[Hone\x1b[K\r\ntwo\x1b[K\r\n\x1b[J");
    }

    #[test]
    fn a_long_time_is_given_by_its_two_largest_units() {
        assert_eq!(duration_text(Some(0)), "0s");
        assert_eq!(duration_text(Some(90)), "1m 30s");
        assert_eq!(duration_text(Some(3 * 86_400 + 7_265)), "3days 2h");
        assert_eq!(duration_text(None), "-");
    }
}
