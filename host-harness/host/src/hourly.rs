//! An hourly summary in the log, which shows that sources collect even if nothing happens.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use source_runtime::store::State;
use tokio::task::{self, JoinHandle};
use tracing::info;

use crate::counts::Counts;
use crate::registry::Registry;
use crate::report::SourceReport;

const INTERVAL: Duration = Duration::from_secs(3_600);
/// More sources get one line together: a log with a line for each of 2,000 is read by nobody.
const LINES_MAX: usize = 20;
/// At most this many of those that need attention are named in it.
const NAMES_MAX: usize = 5;

/// Writes a summary every hour, until it is dropped.
#[derive(Debug)]
pub(crate) struct HourlyLog {
    task: JoinHandle<()>,
}

impl HourlyLog {
    #[must_use]
    pub(crate) fn start(registry: Registry) -> Self {
        let task = task::spawn(async move {
            let mut summarizer = HourlySummarizer::default();
            loop {
                tokio::time::sleep(INTERVAL).await;
                for line in summarizer.summarize(&registry, SystemTime::now()) {
                    line.log();
                }
            }
        });
        Self { task }
    }
}

impl Drop for HourlyLog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes the summaries of the hours.
#[derive(Debug, Default)]
struct HourlySummarizer {
    /// The counts at the last summary, by source.
    last_counts: BTreeMap<String, Counts>,
}

/// One line of the log.
#[derive(Debug, Eq, PartialEq)]
enum SummaryLine {
    Source {
        source: String,
        state: State,
        detail: String,
        lag_seconds: Option<u64>,
        counts: Counts,
    },
    All {
        sources: usize,
        /// Number of sources by state.
        states: String,
        /// Names of the sources that need an operator.
        attention: String,
        lag_seconds: Option<u64>,
        counts: Counts,
    },
}

impl HourlySummarizer {
    /// Summarizes what has happened since the last call, or since the start of the host.
    fn summarize(&mut self, registry: &Registry, now: SystemTime) -> Vec<SummaryLine> {
        let sources = registry.report(now).sources;
        let mut last = std::mem::take(&mut self.last_counts);
        let mut counted = Vec::with_capacity(sources.len());
        for source in &sources {
            let counts = Counts::of_report(source);
            let name = &source.source;
            let before = last.remove(name).or_else(|| {
                let entry = registry.entry(name)?;
                entry.counts_at_start()
            });
            counted.push(counts.since(before.unwrap_or_default()));
            self.last_counts.insert(name.clone(), counts);
        }
        if sources.len() > LINES_MAX {
            return vec![combined_line(&sources, &counted)];
        }
        let lines = sources.into_iter().zip(counted);
        lines
            .map(|(source, counts)| SummaryLine::Source {
                detail: if source.detail.is_empty() {
                    source.waits.join("; ")
                } else {
                    source.detail
                },
                source: source.source,
                state: source.state,
                lag_seconds: source.lag_seconds,
                counts,
            })
            .collect()
    }
}

fn combined_line(sources: &[SourceReport], counted: &[Counts]) -> SummaryLine {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut attention = Vec::new();
    for source in sources {
        let word = source.state.name();
        let count = states.entry(word).or_default();
        *count = count.saturating_add(1);
        if source.exit().code() != 0 {
            attention.push(format!("{} ({word})", source.source));
        }
    }
    let more = attention.len().saturating_sub(NAMES_MAX);
    attention.truncate(NAMES_MAX);
    if more > 0 {
        attention.push(format!("{more} more"));
    }
    let states = states.iter().map(|(word, count)| format!("{word} {count}"));
    let unpaused = sources.iter().filter(|it| it.state != State::Paused);
    SummaryLine::All {
        sources: sources.len(),
        states: states.collect::<Vec<_>>().join(", "),
        attention: attention.join(", "),
        lag_seconds: unpaused.filter_map(|source| source.lag_seconds).max(),
        counts: counted
            .iter()
            .fold(Counts::default(), |sum, counts| sum.plus(*counts)),
    }
}

impl SummaryLine {
    fn log(&self) {
        let non_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match self {
            Self::Source {
                source,
                state,
                detail,
                lag_seconds,
                counts,
            } => info!(
                %source,
                state = state.name(),
                received = counts.received,
                events = counts.events,
                rejected = counts.rejected,
                duplicates = counts.duplicates,
                requests = counts.requests,
                gaps = counts.gaps,
                lag_seconds,
                detail = non_empty(detail),
                "summary of the last hour"
            ),
            Self::All {
                sources,
                states,
                attention,
                lag_seconds,
                counts,
            } => info!(
                sources,
                %states,
                received = counts.received,
                events = counts.events,
                rejected = counts.rejected,
                duplicates = counts.duplicates,
                requests = counts.requests,
                gaps = counts.gaps,
                lag_seconds,
                attention = non_empty(attention),
                "summary of the last hour of all sources"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use source_runtime::store::{StoredSource, StoredStream};

    use super::*;
    use crate::report::{PausedBy, RunState, Time};

    fn at(hour: u64) -> SystemTime {
        SystemTime::now() + INTERVAL * u32::try_from(hour).unwrap()
    }

    /// What a source has counted in all by some hour.
    fn update(registry: &Registry, name: &str, received: u64, hour: u64, state: State) {
        let entry = registry
            .entry(name)
            .unwrap_or_else(|| registry.add_source(name, Vec::new()));
        entry.set_run_state(RunState::Running);
        let mut source_state = StoredSource::new(name);
        source_state.stored_at = Time::of(at(hour)).to_string();
        let stream = StoredStream {
            state,
            received,
            events: received,
            requests: received / 10,
            gaps: received / 100,
            collected_until_ms: Time::of(at(hour)).epoch_ms.try_into().ok(),
            state_detail: "the limit is used up".to_owned(),
            ..StoredStream::default()
        };
        source_state.streams.insert("audit".to_owned(), stream);
        entry.update(&source_state);
    }

    fn received(lines: &[SummaryLine]) -> Vec<(&str, u64)> {
        let each = lines.iter().map(|line| match line {
            SummaryLine::Source { source, counts, .. } => (source.as_str(), counts.received),
            SummaryLine::All { counts, .. } => ("", counts.received),
        });
        each.collect()
    }

    #[test]
    fn each_hour_has_what_was_counted_in_it() {
        let registry = Registry::new();
        let mut summarizer = HourlySummarizer::default();
        // What was stored by an earlier run does not count.
        update(&registry, "acme", 5_000, 0, State::Active);
        update(&registry, "acme", 5_200, 1, State::Active);
        let lines = summarizer.summarize(&registry, at(1));
        let expected = Counts {
            received: 200,
            events: 200,
            requests: 20,
            gaps: 2,
            ..Counts::default()
        };
        let SummaryLine::Source {
            state,
            counts,
            lag_seconds,
            ..
        } = &lines[0]
        else {
            panic!("{lines:?}");
        };
        assert_eq!((*state, *counts), (State::Active, expected));
        assert_eq!(*lag_seconds, Some(0));

        let lines = summarizer.summarize(&registry, at(2));
        assert_eq!(received(&lines), [("acme", 0)]);
        assert!(
            matches!(
                lines[0],
                SummaryLine::Source {
                    lag_seconds: Some(3_600..=3_601),
                    ..
                }
            ),
            "{lines:?}"
        );
        // Its stored state was moved away, and a new one began.
        update(&registry, "acme", 10, 3, State::Waiting);
        update(&registry, "beta", 70, 3, State::Active);
        let lines = summarizer.summarize(&registry, at(3));
        assert_eq!(received(&lines), [("acme", 10), ("beta", 0)]);
        let SummaryLine::Source { state, detail, .. } = &lines[0] else {
            panic!("{lines:?}");
        };
        assert_eq!(*state, State::Waiting);
        assert!(detail.ends_with("the limit is used up"), "{detail}");
        registry.remove_source("acme");
        update(&registry, "beta", 75, 4, State::Active);
        assert_eq!(
            received(&summarizer.summarize(&registry, at(4))),
            [("beta", 5)]
        );
    }

    #[test]
    fn many_sources_have_one_line_that_names_those_in_need() {
        let registry = Registry::new();
        let mut summarizer = HourlySummarizer::default();
        for number in 0..2_000 {
            let state = if number % 250 == 0 {
                State::Failing
            } else {
                State::Active
            };
            let name = format!("tenant-{number:04}");
            update(&registry, &name, 100, 0, state);
            update(&registry, &name, 110, 1, state);
        }
        let paused = registry.entry("tenant-0001").unwrap();
        paused.set_paused(Some(PausedBy::Api));
        let lines = summarizer.summarize(&registry, at(1));
        assert_eq!(received(&lines), [("", 20_000)]);
        let SummaryLine::All {
            sources,
            states,
            attention,
            ..
        } = &lines[0]
        else {
            panic!("{lines:?}");
        };
        assert_eq!(*sources, 2_000);
        assert_eq!(states, "active 1991, failing 8, paused 1");
        assert_eq!(
            attention,
            "tenant-0000 (failing), tenant-0250 (failing), tenant-0500 (failing), \
             tenant-0750 (failing), tenant-1000 (failing), 3 more"
        );
    }
}
