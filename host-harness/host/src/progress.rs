//! What a person at a terminal sees while sources catch up: one line for each source on standard
//! error, or one for all where there are many, and nothing where that is a pipe.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use source_runtime::store::{SourceState, State};
use source_runtime::waits::waits;

use crate::log;

const REDRAWS_PER_SECOND: u8 = 8;
/// More lines would leave no room for the log on a terminal of 24.
const LINES_MAX: usize = 10;

/// The lines of all sources.
#[derive(Debug)]
pub struct ProgressBars {
    bars: Option<MultiProgress>,
    /// In place of a line for each.
    total: Option<Arc<Total>>,
}

/// The line of many sources.
#[derive(Debug)]
struct Total {
    bar: ProgressBar,
    begun: Instant,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    events: u64,
    /// How many sources do what.
    sources: BTreeMap<&'static str, usize>,
}

/// The line of one source, or its part in the line of all.
#[derive(Debug)]
pub struct SourceProgressBar {
    bar: Option<ProgressBar>,
    total: Option<Arc<Total>>,
    begun: Instant,
    events_before: u64,
    /// What has been added to the line of all.
    counted: Mutex<(u64, &'static str)>,
}

impl ProgressBars {
    /// Lines for so many sources that are drawn only where `wanted`, and on a terminal.
    #[must_use]
    pub fn new(wanted: bool, sources: usize) -> Self {
        let bars = (wanted && io::stderr().is_terminal()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
            let bars = MultiProgress::with_draw_target(target);
            log::print_above(&bars);
            bars
        });
        Self::drawn(bars, sources)
    }

    fn drawn(bars: Option<MultiProgress>, sources: usize) -> Self {
        let with_total = bars.as_ref().filter(|_| sources > LINES_MAX);
        let total = with_total.map(|bars| {
            Arc::new(Total {
                bar: line(bars, "all sources"),
                begun: Instant::now(),
                sums: Mutex::default(),
            })
        });
        Self { bars, total }
    }

    /// Adds the progress bar of a source.
    #[must_use]
    pub fn source(&self, name: &str, source_state: &SourceState) -> SourceProgressBar {
        let bars = self.bars.as_ref().filter(|_| self.total.is_none());
        let progress = SourceProgressBar {
            bar: bars.map(|bars| line(bars, name)),
            total: self.total.clone(),
            begun: Instant::now(),
            events_before: events(source_state),
            counted: Mutex::new((0, STARTING)),
        };
        if let Some(total) = &progress.total {
            total.change(0, None, Some(STARTING));
        }
        progress
    }

    /// Removes the progress bars.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            // Clearing fails only where the terminal is gone.
            drop(bars.clear());
            drop(io::stderr().lock().flush());
        }
    }
}

fn line(bars: &MultiProgress, prefix: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(prefix.to_owned());
    bar.set_message(STARTING);
    bar.enable_steady_tick(Duration::from_millis(125));
    bar
}

const STARTING: &str = "starting";

impl SourceProgressBar {
    /// Show what has been reached.
    pub fn update(&self, source_state: &SourceState) {
        let count = events(source_state).saturating_sub(self.events_before);
        if let Some(bar) = &self.bar {
            let pace = pace(count, self.begun);
            let (_, what) = doing(source_state, SystemTime::now());
            bar.set_message(format!("{pace}  {what}"));
        }
        if let Some(total) = &self.total {
            let (word, _) = doing(source_state, SystemTime::now());
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            let (count_before, word_before) = std::mem::replace(&mut *counted, (count, word));
            let more = count.saturating_sub(count_before);
            total.change(more, Some(word_before), Some(word));
        }
    }
}

impl Drop for SourceProgressBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(total) = &self.total {
            let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            total.change(0, Some(counted.1), None);
        }
    }
}

impl Total {
    /// A source has got more events, and does something else than before.
    fn change(&self, events: u64, from: Option<&'static str>, to: Option<&'static str>) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.events = sums.events.saturating_add(events);
        if let Some(sources) = from.and_then(|word| sums.sources.get_mut(word)) {
            *sources = sources.saturating_sub(1);
        }
        if let Some(word) = to {
            let sources = sums.sources.entry(word).or_default();
            *sources = sources.saturating_add(1);
        }
        let parts = sums.sources.iter().filter(|(_, sources)| **sources > 0);
        let parts: Vec<String> = parts
            .map(|(word, sources)| format!("{sources} {word}"))
            .collect();
        let pace = pace(sums.events, self.begun);
        self.bar
            .set_message(format!("{pace}  {}", parts.join(", ")));
    }
}

fn pace(events: u64, begun: Instant) -> String {
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    // Exact to 2^32 events.
    let rate = f64::from(u32::try_from(events).unwrap_or(u32::MAX)) / seconds;
    format!("{events} events  {rate:.0}/s")
}

/// What a source is doing: a word for it, and a text that has more.
fn doing(source_state: &SourceState, now: SystemTime) -> (&'static str, String) {
    if let Some(wait) = waits(source_state).first() {
        return ("waiting", wait.to_string());
    }
    if let Some(error) = &source_state.last_error {
        let word = match error.kind.as_str() {
            "unauthorized" => "unauthorized",
            _ => "failing",
        };
        return (word, format!("{}: {}", error.kind, error.detail));
    }
    if source_state.polled_ms.is_none() {
        return (STARTING, STARTING.to_owned());
    }
    let streams = source_state.streams.values();
    let mut behind = streams
        .filter(|stream| !stream.caught_up && stream.state != State::NotPermitted)
        .peekable();
    if behind.peek().is_none() {
        return ("caught up", "caught up".to_owned());
    }
    // Of a stream without an event nothing but its start is known.
    let newest = behind.filter_map(|stream| stream.newest_ms).min();
    let newest = newest.and_then(|ms| u64::try_from(ms).ok());
    let newest = newest.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
    match newest.and_then(|newest| now.duration_since(newest).ok()) {
        Some(lag) => {
            let lag = humantime::format_duration(Duration::from_secs(lag.as_secs()));
            ("collecting", format!("collecting, {lag} behind"))
        }
        None => ("collecting", "collecting".to_owned()),
    }
}

fn events(source_state: &SourceState) -> u64 {
    source_state
        .streams
        .values()
        .map(|stream| stream.events)
        .sum()
}

#[cfg(test)]
mod tests {
    use source_runtime::store::{StatusMessage, StoredStream};

    use super::*;

    fn hidden(sources: usize) -> ProgressBars {
        let target = ProgressDrawTarget::hidden();
        ProgressBars::drawn(Some(MultiProgress::with_draw_target(target)), sources)
    }

    fn record(state: State, events: u64) -> SourceState {
        let mut source_state = SourceState::new("acme");
        source_state.polled_ms = Some(1_770_000_000_000);
        let stream = StoredStream {
            state,
            events,
            caught_up: state == State::Active,
            until_ms: Some(1_770_000_000_000),
            state_detail: "audit: the rate limit is used up".to_owned(),
            ..StoredStream::default()
        };
        source_state.streams.insert("audit".to_owned(), stream);
        source_state
    }

    #[test]
    fn the_line_of_a_source_says_what_it_waits_for_and_until_when() {
        let bars = hidden(1);
        let progress = bars.source("acme", &record(State::Starting, 100));
        let message = || progress.bar.as_ref().unwrap().message();
        assert_eq!(message(), "starting");
        progress.update(&record(State::Waiting, 130));
        assert!(message().starts_with("30 events  "), "{}", message());
        let wait = "waiting until 2026-02-02T02:40:00Z, stream audit: the rate limit is used up";
        assert!(message().ends_with(wait), "{}", message());
        let mut behind = record(State::Active, 140);
        if let Some(stream) = behind.streams.get_mut("audit") {
            stream.caught_up = false;
        }
        progress.update(&behind);
        assert!(message().ends_with("  collecting"), "{}", message());
        progress.update(&record(State::Active, 140));
        assert!(message().ends_with("  caught up"), "{}", message());
        let mut refused = record(State::Active, 140);
        refused.last_error = Some(StatusMessage {
            at: String::new(),
            kind: "unauthorized".to_owned(),
            detail: "the credentials are refused".to_owned(),
        });
        progress.update(&refused);
        let error = "unauthorized: the credentials are refused";
        assert!(message().ends_with(error), "{}", message());
    }

    #[test]
    fn many_sources_share_a_line_with_their_sums() {
        let bars = hidden(60);
        let blank = SourceState::new("acme");
        let mut all: Vec<SourceProgressBar> =
            (0..60).map(|_| bars.source("acme", &blank)).collect();
        let message = || bars.total.as_ref().unwrap().bar.message();
        assert!(all[0].bar.is_none());
        assert!(message().ends_with("60 starting"), "{}", message());
        for progress in &all[..50] {
            progress.update(&record(State::Active, 10));
        }
        all[0].update(&record(State::Waiting, 15));
        assert!(message().starts_with("505 events  "), "{}", message());
        let states = "49 caught up, 10 starting, 1 waiting";
        assert!(message().ends_with(states), "{}", message());
        all.truncate(1);
        assert!(message().ends_with("/s  1 waiting"), "{}", message());
    }
}
