//! What a person at a terminal sees while a source catches up: one line for
//! each source on standard error, and nothing where that is a pipe.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use source_runtime::store::SourceState;

use crate::log;

const REDRAWS_PER_SECOND: u8 = 8;

/// The lines of all sources.
#[derive(Debug)]
pub struct Bars {
    bars: Option<MultiProgress>,
}

/// The line of one source.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    events_before: u64,
}

impl Bars {
    /// Lines that are drawn only where `wanted`, and on a terminal.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        let bars = (wanted && io::stderr().is_terminal()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
            let bars = MultiProgress::with_draw_target(target);
            log::draw_around(&bars);
            bars
        });
        Self { bars }
    }

    /// The line of a source.
    #[must_use]
    pub fn source(&self, name: &str, record: &SourceState) -> Progress {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.set_message("asking");
            bar.enable_steady_tick(Duration::from_millis(125));
            bar
        });
        Progress {
            bar,
            begun: Instant::now(),
            events_before: events(record),
        }
    }

    /// Take the lines away.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            // A terminal that is gone has no lines either.
            drop(bars.clear());
            drop(io::stderr().lock().flush());
        }
    }
}

impl Progress {
    /// Show what has been reached.
    pub fn update(&self, record: &SourceState) {
        let Some(bar) = &self.bar else {
            return;
        };
        let count = events(record).saturating_sub(self.events_before);
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        // Exact to 2^53 events.
        let rate = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
        let lag = match lag(record, SystemTime::now()) {
            Some(lag) => format!("{} behind", humantime::format_duration(lag)),
            None => "caught up".to_owned(),
        };
        bar.set_message(format!("{count} events  {rate:.0}/s  {lag}"));
    }
}

/// How far the stream that is furthest behind is behind; `None` where all are
/// caught up.
#[must_use]
pub fn lag(record: &SourceState, now: SystemTime) -> Option<Duration> {
    record
        .streams
        .values()
        .filter(|stream| !stream.caught_up)
        .filter_map(|stream| {
            let newest = u64::try_from(stream.newest_ms?).ok()?;
            now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_millis(newest))
                .ok()
        })
        .map(|lag| Duration::from_secs(lag.as_secs()))
        .max()
}

fn events(record: &SourceState) -> u64 {
    record.streams.values().map(|stream| stream.events).sum()
}
