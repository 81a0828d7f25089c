//! In-memory history of events and lag, one point per minute, for the plots of the status page.
//! Prometheus keeps them for longer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use source_runtime::store::epoch_ms;

use crate::report::{HostReport, Time};

/// Interval between two points.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
const INTERVAL_MS: u64 = 60_000;
/// Three hours: 8 bytes per point, 1.4 KiB per source, 14 MiB for 10,000 sources.
const POINTS_MAX: usize = 180;

/// The points of all sources.
#[derive(Debug, Default)]
pub(super) struct History {
    sources: Mutex<BTreeMap<String, Ring>>,
}

#[derive(Debug)]
struct Ring {
    /// Total events at the last point.
    events: u64,
    /// The minute of the last point, in minutes since the epoch.
    minute: u64,
    points: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    events: u32,
    /// Lag, or [`LAG_UNKNOWN`].
    lag_seconds: u32,
}

/// A gap of this many minutes replaces every older point.
const MISSED_MINUTES_MAX: u64 = 180;
/// If the clock is set back by more than this many minutes, the points are discarded. After a
/// smaller step none is added until the clock has caught up.
const STEP_BACK_MINUTES_MAX: u64 = 5;
const LAG_UNKNOWN: u32 = u32::MAX;

/// One point, as the API returns it.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(super) struct Point {
    at: Time,
    /// Events since the previous point.
    events: u32,
    lag_seconds: Option<u32>,
}

impl History {
    /// Adds a point for each source, and drops sources that no longer exist. A second call in
    /// the same minute adds nothing.
    pub(super) fn sample(&self, report: &HostReport, now: SystemTime) {
        let minute = epoch_ms(now) / INTERVAL_MS;
        let mut rings = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = std::mem::take(&mut *rings);
        for source in &report.sources {
            let events = source.sum(|stream| stream.events);
            let lag_seconds = source.lag_seconds.map_or(LAG_UNKNOWN, |lag| {
                u32::try_from(lag).unwrap_or(LAG_UNKNOWN - 1)
            });
            let ring = match last.remove(&source.source) {
                None => Ring {
                    events,
                    minute,
                    points: VecDeque::from([Sample {
                        events: 0,
                        lag_seconds,
                    }]),
                },
                Some(mut ring) => {
                    ring.add(minute, events, lag_seconds);
                    ring
                }
            };
            rings.insert(source.source.clone(), ring);
        }
    }

    /// Returns the points of a source, oldest first; empty where there are none yet.
    pub(super) fn points(&self, source: &str) -> Vec<Point> {
        let rings = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        rings.get(source).map(Ring::points).unwrap_or_default()
    }
}

impl Ring {
    fn add(&mut self, minute: u64, events: u64, lag_seconds: u32) {
        if minute <= self.minute {
            if self.minute.abs_diff(minute) <= STEP_BACK_MINUTES_MAX {
                return;
            }
            // The clock was set back: the points would be later than now.
            self.points.clear();
            self.minute = minute.saturating_sub(1);
        }
        // Minutes without a point, for example of a suspended machine, are inserted as empty.
        let missed = minute.abs_diff(self.minute).saturating_sub(1);
        for _ in 0..missed.min(MISSED_MINUTES_MAX) {
            self.push(Sample {
                events: 0,
                lag_seconds: LAG_UNKNOWN,
            });
        }
        let new_events = events.saturating_sub(self.events);
        let new_events = u32::try_from(new_events).unwrap_or(u32::MAX);
        self.push(Sample {
            events: new_events,
            lag_seconds,
        });
        self.minute = minute;
        self.events = events;
    }

    fn push(&mut self, sample: Sample) {
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(sample);
    }

    fn points(&self) -> Vec<Point> {
        let minutes = (0..=self.minute).rev();
        let newest_first = self.points.iter().rev().zip(minutes);
        let mut points: Vec<Point> = newest_first
            .map(|(sample, minute)| Point {
                at: Time {
                    epoch_ms: minute.saturating_mul(INTERVAL_MS),
                },
                events: sample.events,
                lag_seconds: Some(sample.lag_seconds).filter(|lag| *lag != LAG_UNKNOWN),
            })
            .collect();
        points.reverse();
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use crate::report::RunState;
    use source_runtime::store::{StoredSource, StoredStream};

    fn at(minute: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_000_000 / 60 * 60 + minute * 60)
    }

    fn report(registry: &Registry, events: u64, minute: u64) -> HostReport {
        let entry = registry.entry("acme").unwrap_or_else(|| {
            let entry = registry.add_source("acme", Vec::new());
            entry.set_run_state(RunState::Running);
            entry
        });
        let mut source_state = StoredSource::new("acme");
        let stream = StoredStream {
            events,
            collected_until_ms: Some(i64::try_from(epoch_ms(at(minute))).unwrap() - 5_000),
            ..StoredStream::default()
        };
        source_state.streams.insert("audit".to_owned(), stream);
        entry.update(&source_state);
        registry.report(at(minute))
    }

    fn counts(points: &[Point]) -> Vec<(u32, Option<u32>)> {
        points
            .iter()
            .map(|point| (point.events, point.lag_seconds))
            .collect()
    }

    #[test]
    fn each_minute_has_its_events_and_the_lag_at_its_end() {
        let (history, registry) = (History::default(), Registry::new());
        // What was collected before this run is no event of the first minute.
        for (events, minute) in [(1_000, 0), (1_007, 1), (1_007, 2), (1_010, 2), (1_020, 5)] {
            history.sample(&report(&registry, events, minute), at(minute));
        }
        let points = history.points("acme");
        let wanted = [
            (0, Some(5)),
            (7, Some(5)),
            (0, Some(5)),
            (0, None),
            (0, None),
            (13, Some(5)),
        ];
        assert_eq!(counts(&points), wanted);
        assert_eq!(points[5].at, Time::of(at(5)));
        assert_eq!(points[0].at, Time::of(at(0)));
    }

    #[test]
    fn three_hours_are_kept_and_a_source_that_is_removed_is_forgotten() {
        let (history, registry) = (History::default(), Registry::new());
        for minute in 0..500 {
            history.sample(&report(&registry, minute, minute), at(minute));
        }
        let points = history.points("acme");
        assert_eq!(points.len(), POINTS_MAX);
        assert_eq!(points[0].at, Time::of(at(320)));
        assert!(points.iter().all(|point| point.events == 1));
        // A gap of years is not walked through minute by minute.
        history.sample(&report(&registry, 501, 5_000_000), at(5_000_000));
        assert_eq!(history.points("acme").len(), POINTS_MAX);
        registry.remove_source("acme");
        history.sample(&registry.report(at(5_000_001)), at(5_000_001));
        assert_eq!(history.points("acme"), []);
    }

    #[test]
    fn points_begin_anew_when_the_clock_is_set_back_by_more_than_a_few_minutes() {
        let (history, registry) = (History::default(), Registry::new());
        for (events, minute) in [(0, 600), (5, 601), (6, 598), (7, 602)] {
            history.sample(&report(&registry, events, minute), at(minute));
        }
        assert_eq!(counts(&history.points("acme")).len(), 3, "a small step");
        for (events, minute) in [(9, 10), (10, 11)] {
            history.sample(&report(&registry, events, minute), at(minute));
        }
        let points = history.points("acme");
        assert_eq!(counts(&points), [(2, Some(5)), (1, Some(5))]);
        assert_eq!(points[1].at, Time::of(at(11)));
    }
}
