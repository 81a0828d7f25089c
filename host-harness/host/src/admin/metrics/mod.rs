//! `/metrics`: the [`HostReport`] in Prometheus format, plus what only this process measures:
//! durations, and requests by status.

mod families;
mod process;
mod text;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry as Collectors;

use self::families::Scrape;
pub(super) use self::text::Format;
use self::totals::Totals;
use crate::registry::MetricsObserver;
use crate::report::HostReport;
use crate::settings::MetricsDetail;

/// Without `metrics_detail`: maximum number of sources with per-stream metrics. A
/// source with 28 streams has about 450 series then.
const SOURCES_MAX_BY_STREAM: usize = 100;
/// Without `metrics_detail`: maximum number of sources with per-source metrics. A source has about
/// 25 series.
const SOURCES_MAX_BY_SOURCE: usize = 5_000;

/// Buckets from a fast disk to an output that is blocked for minutes.
const SECONDS_BUCKETS: [f64; 12] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Metrics that this process measures, and the encoder of all metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    /// The setting `metrics_detail`.
    detail: Option<MetricsDetail>,
    observed: Mutex<ObservedMetrics>,
    totals: Mutex<Totals>,
}

#[derive(Debug, Default)]
struct ObservedMetrics {
    /// Totals of all sources, including removed ones.
    host: SourceMetrics,
    sources: BTreeMap<String, SourceMetrics>,
}

#[derive(Clone, Debug)]
struct SourceMetrics {
    polls: Histogram,
    deliveries: Histogram,
    requests: BTreeMap<ResponseStatus, u64>,
}

/// HTTP status of a response; `None` where no response came.
type ResponseStatus = Option<u16>;

impl Default for SourceMetrics {
    fn default() -> Self {
        Self {
            polls: Histogram::new(SECONDS_BUCKETS),
            deliveries: Histogram::new(SECONDS_BUCKETS),
            requests: BTreeMap::new(),
        }
    }
}

impl Metrics {
    pub(super) fn new(detail: Option<MetricsDetail>) -> Self {
        Self {
            detail,
            observed: Mutex::default(),
            totals: Mutex::default(),
        }
    }

    /// Encodes all metrics as text.
    pub(super) fn encode(&self, report: HostReport, format: Format) -> Result<String, fmt::Error> {
        let detail = self
            .detail
            .unwrap_or_else(|| default_detail(report.sources.len()));
        let observed = self.snapshot(&report);
        let host_counts = {
            let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.update(&report)
        };
        let mut collectors = Collectors::default();
        collectors.register_collector(Box::new(Scrape {
            detail,
            report,
            observed,
            host_counts,
        }));
        let mut text = String::new();
        encode(&mut text, &collectors)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Prometheus => text::to_prometheus(&text),
        })
    }

    /// Forgets the values of sources that no longer exist, and returns a copy of the others.
    fn snapshot(&self, report: &HostReport) -> ObservedMetrics {
        let names: BTreeSet<&str> = report.sources.iter().map(|it| it.source.as_str()).collect();
        let mut observed = self.observed();
        observed
            .sources
            .retain(|name, _| names.contains(name.as_str()));
        ObservedMetrics {
            host: observed.host.clone(),
            sources: observed.sources.clone(),
        }
    }

    fn observed(&self) -> MutexGuard<'_, ObservedMetrics> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, source: &str, observe: impl Fn(&mut SourceMetrics)) {
        let mut observed = self.observed();
        observe(&mut observed.host);
        match observed.sources.get_mut(source) {
            Some(source_metrics) => observe(source_metrics),
            None => observe(observed.sources.entry(source.to_owned()).or_default()),
        }
    }
}

impl MetricsObserver for Metrics {
    fn polled(&self, source: &str, took: Duration) {
        self.observe(source, |it| it.polls.observe(took.as_secs_f64()));
    }

    fn delivered(&self, source: &str, took: Duration) {
        self.observe(source, |it| it.deliveries.observe(took.as_secs_f64()));
    }

    fn request_completed(&self, source: &str, status: Option<u16>) {
        self.observe(source, |it| {
            let count = it.requests.entry(status).or_default();
            *count = count.saturating_add(1);
        });
    }
}

/// Returns the default detail for a number of sources, which bounds the number of series.
fn default_detail(sources: usize) -> MetricsDetail {
    if sources <= SOURCES_MAX_BY_STREAM {
        MetricsDetail::Stream
    } else if sources <= SOURCES_MAX_BY_SOURCE {
        MetricsDetail::Source
    } else {
        MetricsDetail::Host
    }
}
