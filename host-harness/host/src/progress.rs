//! Progress on a terminal while sources catch up: one line for each source on standard error, or
//! one for all if there are many, and nothing if standard error is not a terminal.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use source_runtime::store::{State, StoredSource};
use source_runtime::waits::waits;

use crate::log;

const REDRAWS_PER_SECOND: u8 = 8;
/// More lines would leave no room for the log on a terminal of 24.
const LINES_MAX: usize = 10;

/// The lines of all sources.
#[derive(Debug)]
pub struct ProgressBars {
    bars: Option<MultiProgress>,
    /// The line of all sources, instead of one for each.
    total: Option<Arc<TotalProgressBar>>,
}

/// The line that many sources share.
#[derive(Debug)]
struct TotalProgressBar {
    bar: ProgressBar,
    begun: Instant,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    events: u64,
    /// Number of sources by activity.
    sources: BTreeMap<&'static str, usize>,
}

/// The line of one source, or its part in the line of all.
#[derive(Debug)]
pub struct SourceProgressBar {
    name: String,
    bar: Option<ProgressBar>,
    countdown: Arc<Mutex<Option<Countdown>>>,
    total: Option<Arc<TotalProgressBar>>,
    begun: Instant,
    events_before: u64,
    /// The events and the activity that it has added to the line of all.
    counted: Mutex<(u64, &'static str)>,
}

/// The time until something happens, redrawn while nothing else changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Countdown {
    /// The text before the remaining time.
    label: &'static str,
    until_ms: u64,
}

impl Countdown {
    fn new(label: &'static str, until_ms: Option<u64>) -> Option<Self> {
        until_ms.map(|until_ms| Self { label, until_ms })
    }

    fn write(&self, now: SystemTime, out: &mut dyn fmt::Write) -> fmt::Result {
        let until = UNIX_EPOCH.checked_add(Duration::from_millis(self.until_ms));
        let left = until.and_then(|until| until.duration_since(now).ok());
        let left = Duration::from_secs(left.unwrap_or_default().as_secs());
        write!(out, "{} {}", self.label, humantime::format_duration(left))
    }
}

impl ProgressBars {
    /// Creates the lines for a number of sources. They are drawn only if `is_enabled`, and on a
    /// terminal.
    #[must_use]
    pub fn new(is_enabled: bool, sources: usize) -> Self {
        let bars = (is_enabled && io::stderr().is_terminal()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
            let bars = MultiProgress::with_draw_target(target);
            log::set_progress_bars(&bars);
            bars
        });
        Self::with_bars(bars, sources)
    }

    fn with_bars(bars: Option<MultiProgress>, sources: usize) -> Self {
        let shared_bars = bars.as_ref().filter(|_| sources > LINES_MAX);
        let total = shared_bars.map(|bars| {
            Arc::new(TotalProgressBar {
                bar: add_bar(bars, "all sources", &Arc::default()),
                begun: Instant::now(),
                sums: Mutex::default(),
            })
        });
        Self { bars, total }
    }

    /// Adds the progress bar of a source that is to be started.
    #[must_use]
    pub fn add_source(&self, name: &str, source_state: &StoredSource) -> SourceProgressBar {
        let bars = self.bars.as_ref().filter(|_| self.total.is_none());
        let countdown = Arc::default();
        let progress = SourceProgressBar {
            name: name.to_owned(),
            bar: bars.map(|bars| add_bar(bars, name, &countdown)),
            countdown,
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

fn add_bar(
    bars: &MultiProgress,
    prefix: &str,
    countdown: &Arc<Mutex<Option<Countdown>>>,
) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {countdown}{wide_msg}") {
        let countdown = Arc::clone(countdown);
        let write = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let countdown = *countdown.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(countdown) = countdown {
                // A line that cannot be drawn is left out.
                let _ = countdown.write(SystemTime::now(), out);
            }
        };
        bar.set_style(style.with_key("countdown", write));
    }
    bar.set_prefix(prefix.to_owned());
    bar.set_message(COMPILING);
    bar.enable_steady_tick(Duration::from_millis(125));
    bar
}

const STARTING: &str = "starting";
const COMPILING: &str =
    "starting: the component is being compiled, which takes some seconds the first time";
const FIRST_POLL: &str = "starting: the first poll has no response yet";

impl SourceProgressBar {
    /// Starts counting, when the source has started.
    pub(crate) fn begin(&mut self, source_state: &StoredSource) {
        self.begun = Instant::now();
        self.events_before = events(source_state);
        self.show(None, FIRST_POLL.to_owned());
    }

    /// Shows why the source could not be started, and when that is tried again.
    pub(crate) fn start_failed(&self, reason: &str, wait: Duration) {
        let until = SystemTime::now().checked_add(wait);
        let until = until.and_then(|until| until.duration_since(UNIX_EPOCH).ok());
        let until_ms = until.and_then(|until| u64::try_from(until.as_millis()).ok());
        self.show(Countdown::new(NEXT_TRY, until_ms), format!(", {reason}"));
    }

    /// Shows the progress.
    pub fn update(&self, source_state: &StoredSource) {
        let count = events(source_state).saturating_sub(self.events_before);
        let activity = activity(source_state, SystemTime::now());
        if let Some(total) = &self.total {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            let (count_before, word_before) =
                std::mem::replace(&mut *counted, (count, activity.word));
            let more = count.saturating_sub(count_before);
            total.change(more, Some(word_before), Some(activity.word));
        }
        if let Some(bar) = &self.bar {
            // While nothing is collected, a rate would be misleading.
            let rate_text = match activity.word {
                COLLECTING => rate_text(count, self.begun),
                _ => format!("{count} events"),
            };
            bar.set_prefix(format!("{}  {rate_text}", self.name));
        }
        self.show(activity.countdown, activity.text);
    }

    fn show(&self, countdown: Option<Countdown>, text: String) {
        if let Some(bar) = &self.bar {
            *self
                .countdown
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = countdown;
            bar.set_message(text);
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

impl TotalProgressBar {
    /// Adds the events of a source, and moves it from one activity to another.
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
        let rate_text = rate_text(sums.events, self.begun);
        self.bar
            .set_message(format!("{rate_text}  {}", parts.join(", ")));
    }
}

fn rate_text(events: u64, begun: Instant) -> String {
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    // Exact to 2^32 events.
    let rate = f64::from(u32::try_from(events).unwrap_or(u32::MAX)) / seconds;
    format!("{events} events  {rate:.0}/s")
}

const COLLECTING: &str = "collecting";
const NEXT_TRY: &str = "next try in";

/// The current activity of a source.
#[derive(Debug)]
struct Activity {
    /// A word for it.
    word: &'static str,
    /// How long it waits.
    countdown: Option<Countdown>,
    /// Further text after the countdown.
    text: String,
}

fn activity(source_state: &StoredSource, now: SystemTime) -> Activity {
    let next_poll_at_ms = source_state.next_poll_at_ms;
    // A failure comes first; a rate limit on the source as a whole is a wait.
    if let Some(error) = &source_state.last_error
        && error.kind != "throttled"
    {
        let word = match error.kind.as_str() {
            "unauthorized" => "unauthorized",
            _ => "failing",
        };
        return Activity {
            word,
            countdown: Countdown::new(NEXT_TRY, next_poll_at_ms),
            text: match next_poll_at_ms {
                Some(_) => format!(", {}: {}", error.kind, error.detail),
                None => format!("{}: {}", error.kind, error.detail),
            },
        };
    }
    if let Some(wait) = waits(source_state).first() {
        let countdown = Countdown::new("waiting", wait.until_ms);
        let text = wait.to_string();
        // The first word is that of the countdown.
        let rest = text.strip_prefix("waiting").filter(|_| countdown.is_some());
        return Activity {
            word: "waiting",
            countdown,
            text: rest.unwrap_or(&text).to_owned(),
        };
    }
    if source_state.succeeded_at_ms.is_none() {
        return Activity {
            word: STARTING,
            countdown: None,
            text: FIRST_POLL.to_owned(),
        };
    }
    let streams = source_state.streams.values();
    let mut behind = streams
        .filter(|stream| !stream.caught_up && stream.state != State::NotPermitted)
        .peekable();
    if behind.peek().is_none() {
        return Activity {
            word: "caught up",
            countdown: Countdown::new("caught up, next poll in", next_poll_at_ms),
            text: next_poll_at_ms.map_or("caught up", |_| "").to_owned(),
        };
    }
    // A stream without an event has no newest time, so it does not count here.
    let newest = behind.filter_map(|stream| stream.newest_ms).min();
    let newest = newest.and_then(|ms| u64::try_from(ms).ok());
    let newest =
        newest.and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    let lag = newest.and_then(|newest| now.duration_since(newest).ok());
    let lag = lag.map(|lag| humantime::format_duration(Duration::from_secs(lag.as_secs())));
    Activity {
        word: COLLECTING,
        countdown: None,
        text: lag.map_or_else(
            || COLLECTING.to_owned(),
            |lag| format!("{COLLECTING}, {lag} behind"),
        ),
    }
}

fn events(source_state: &StoredSource) -> u64 {
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
        ProgressBars::with_bars(Some(MultiProgress::with_draw_target(target)), sources)
    }

    fn stored_source(state: State, events: u64) -> StoredSource {
        let mut source_state = StoredSource::new("acme");
        source_state.succeeded_at_ms = Some(1_770_000_000_000);
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

    /// The line without its spinner, at a time.
    fn drawn_line(progress: &SourceProgressBar, now_ms: u64) -> String {
        let bar = progress.bar.as_ref().unwrap();
        let mut line = format!("{}  ", bar.prefix());
        if let Some(countdown) = *progress.countdown.lock().unwrap() {
            let now = UNIX_EPOCH + Duration::from_millis(now_ms);
            countdown.write(now, &mut line).unwrap();
        }
        line + &bar.message()
    }

    #[test]
    fn the_line_of_a_source_says_what_it_waits_for_and_until_when() {
        let bars = hidden(1);
        let mut progress = bars.add_source("acme", &StoredSource::new("acme"));
        let line = |progress: &SourceProgressBar| drawn_line(progress, 1_769_999_157_500);
        assert_eq!(line(&progress), format!("acme  {COMPILING}"));
        progress.begin(&stored_source(State::Starting, 100));
        assert_eq!(line(&progress), format!("acme  {FIRST_POLL}"));
        progress.update(&stored_source(State::Waiting, 130));
        let wait = "acme  30 events  waiting 14m 2s until 2026-02-02T02:40:00Z, stream audit: the \
                    rate limit is used up";
        assert_eq!(line(&progress), wait);
        let over = drawn_line(&progress, 1_770_000_000_001);
        assert!(over.contains("waiting 0s until"), "{over}");
        let mut behind = stored_source(State::Active, 140);
        if let Some(stream) = behind.streams.get_mut("audit") {
            stream.caught_up = false;
        }
        progress.update(&behind);
        assert!(line(&progress).ends_with("/s  collecting"));
        let mut caught_up = stored_source(State::Active, 140);
        progress.update(&caught_up);
        assert_eq!(line(&progress), "acme  40 events  caught up");
        caught_up.next_poll_at_ms = Some(1_769_999_200_000);
        progress.update(&caught_up);
        let next = "acme  40 events  caught up, next poll in 42s";
        assert_eq!(line(&progress), next);
        let mut refused = caught_up;
        refused.last_error = Some(StatusMessage {
            at: String::new(),
            kind: "unauthorized".to_owned(),
            detail: "the credentials are refused".to_owned(),
        });
        progress.update(&refused);
        let error = "acme  40 events  next try in 42s, unauthorized: the credentials are refused";
        assert_eq!(line(&progress), error);
        let mut failing = stored_source(State::Waiting, 140);
        failing.next_poll_at_ms = Some(1_769_999_200_000);
        failing.last_error = Some(StatusMessage {
            at: String::new(),
            kind: "failing".to_owned(),
            detail: "siem: HTTP 500".to_owned(),
        });
        progress.update(&failing);
        let error = "acme  40 events  next try in 42s, failing: siem: HTTP 500";
        assert_eq!(
            line(&progress),
            error,
            "what other streams wait for is in `status`"
        );
    }

    #[test]
    fn the_line_of_a_source_that_cannot_start_says_why() {
        let bars = hidden(1);
        let progress = bars.add_source("acme", &StoredSource::new("acme"));
        progress.start_failed("no such file", Duration::from_secs(60));
        let line = drawn_line(&progress, 0);
        assert!(line.starts_with("acme  next try in "), "{line}");
        assert!(line.ends_with(", no such file"), "{line}");
    }

    #[test]
    fn many_sources_share_a_line_with_their_sums() {
        let bars = hidden(60);
        let blank = StoredSource::new("acme");
        let mut all: Vec<SourceProgressBar> =
            (0..60).map(|_| bars.add_source("acme", &blank)).collect();
        let message = || bars.total.as_ref().unwrap().bar.message();
        assert!(all[0].bar.is_none());
        assert!(message().ends_with("60 starting"), "{}", message());
        for progress in &all[..50] {
            progress.update(&stored_source(State::Active, 10));
        }
        all[0].update(&stored_source(State::Waiting, 15));
        assert!(message().starts_with("505 events  "), "{}", message());
        let states = "49 caught up, 10 starting, 1 waiting";
        assert!(message().ends_with(states), "{}", message());
        all.truncate(1);
        assert!(message().ends_with("/s  1 waiting"), "{}", message());
    }
}
