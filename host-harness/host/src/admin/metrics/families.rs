//! The metric families: names, units, help texts, and how their values are computed.

use std::borrow::Cow;
use std::fmt::{self, Error};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use source_runtime::engine::WIT_VERSION;
use source_runtime::store::State;

use super::process::Process;
use super::totals::CounterValues;
use super::{ObservedMetrics, SourceMetrics};
use crate::report::{HostReport, OutputReport, SourceReport, StreamReport, Time};
use crate::settings::MetricsDetail;

/// The data of one scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) detail: MetricsDetail,
    pub(super) report: HostReport,
    pub(super) observed: ObservedMetrics,
    /// Host totals, in the order of [`STREAM_COUNTERS`].
    pub(super) host_counts: CounterValues,
}

/// A per-stream counter.
pub(super) struct StreamCounter {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    pub(super) value: fn(&StreamReport) -> u64,
}

/// Length of [`STREAM_COUNTERS`].
pub(super) const STREAM_COUNTER_COUNT: usize = 6;

pub(super) const STREAM_COUNTERS: [StreamCounter; STREAM_COUNTER_COUNT] = [
    StreamCounter {
        name: "source_host_received_records",
        help: "Records read; always events + rejected records + duplicate records.",
        unit: None,
        value: |stream| stream.received,
    },
    StreamCounter {
        name: "source_host_events",
        help: "Records that became events, accepted by every output.",
        unit: None,
        value: |stream| stream.events,
    },
    StreamCounter {
        name: "source_host_rejected_records",
        help: "Records that could not become events and are kept with the rejected records.",
        unit: None,
        value: |stream| stream.rejected,
    },
    StreamCounter {
        name: "source_host_duplicate_records",
        help: "Records left out because they had been delivered before.",
        unit: None,
        value: |stream| stream.duplicates,
    },
    StreamCounter {
        name: "source_host_gaps",
        help: "How often the upstream no longer had records that were not yet collected.",
        unit: None,
        value: |stream| stream.gaps,
    },
    StreamCounter {
        name: "source_host_received",
        help: "Bytes of response bodies, as they came over the wire.",
        unit: Some(Unit::Bytes),
        value: |stream| stream.received_bytes,
    },
];

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut writer = Writer { encoder };
        self.stream_counters(&mut writer)?;
        self.requests(&mut writer)?;
        self.stream_gauges(&mut writer)?;
        self.sources(&mut writer)?;
        self.durations(&mut writer)?;
        self.outputs(&mut writer)?;
        self.fleet(&mut writer)?;
        self.host(&mut writer)
    }
}

impl Scrape {
    /// Iterates over every stream with its labels; a source without streams yet yields one entry without
    /// the label `stream`.
    fn streams(&self) -> impl Iterator<Item = (Labels<'_>, &SourceReport, Option<&StreamReport>)> {
        self.report.sources.iter().flat_map(|source| {
            let source_labels = [("source", source.source.as_str())];
            let bare = source
                .streams
                .is_empty()
                .then(|| (source_labels.to_vec(), source, None));
            let streams = source.streams.iter().map(move |(name, stream)| {
                let mut labels = source_labels.to_vec();
                labels.push(("stream", name));
                (labels, source, Some(stream))
            });
            streams.chain(bare)
        })
    }

    /// Iterates over every source with its label.
    fn by_source(&self) -> impl Iterator<Item = (Labels<'_>, &SourceReport)> {
        let sources = self.report.sources.iter();
        sources.map(|source| (vec![("source", source.source.as_str())], source))
    }

    /// Iterates over the sources that are not paused.
    fn unpaused(&self) -> impl Iterator<Item = &SourceReport> {
        let sources = self.report.sources.iter();
        sources.filter(|source| source.state != State::Paused)
    }

    fn stream_counters(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        for (counter, host) in STREAM_COUNTERS.iter().zip(self.host_counts) {
            let samples: Vec<(Labels<'_>, u64)> = match self.detail {
                MetricsDetail::Stream => self
                    .streams()
                    .map(|(labels, _, stream)| (labels, stream.map_or(0, counter.value)))
                    .collect(),
                MetricsDetail::Source => self
                    .by_source()
                    .map(|(labels, source)| (labels, source.sum(counter.value)))
                    .collect(),
                MetricsDetail::Host => vec![(Labels::new(), host)],
            };
            writer.counter(counter.name, counter.help, counter.unit.as_ref(), samples)?;
        }
        Ok(())
    }

    fn requests(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        let counts_by_code = |source_metrics: &SourceMetrics| {
            let counts = source_metrics.requests.iter();
            let counts = counts.map(|(status, count)| (status_word(*status), *count));
            counts.collect::<Vec<_>>()
        };
        let rows: Vec<(Option<&str>, String, u64)> = match self.detail {
            MetricsDetail::Stream | MetricsDetail::Source => {
                let sources = self.observed.sources.iter();
                let rows = sources.flat_map(|(name, source_metrics)| {
                    let counts = counts_by_code(source_metrics).into_iter();
                    counts.map(|(code, count)| (Some(name.as_str()), code, count))
                });
                rows.collect()
            }
            MetricsDetail::Host => {
                let counts = counts_by_code(&self.observed.host).into_iter();
                counts.map(|(code, count)| (None, code, count)).collect()
            }
        };
        let samples = rows.iter().map(|(source, code, count)| {
            let mut labels: Labels<'_> = source.iter().map(|name| ("source", *name)).collect();
            labels.push(("code", code));
            (labels, *count)
        });
        writer.counter(
            "source_host_requests",
            "Requests to the upstream since the start of the host, by HTTP status; `none` where \
             no response came.",
            None,
            samples,
        )
    }

    fn stream_gauges(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        let lag: Vec<(Labels<'_>, u64)> = match self.detail {
            MetricsDetail::Stream => {
                let lags = self.streams().filter_map(|(labels, source, stream)| {
                    let lag = stream.map_or(source.lag_seconds, |stream| stream.lag_seconds);
                    lag.map(|lag| (labels, lag))
                });
                lags.collect()
            }
            MetricsDetail::Source => {
                let lags = self.by_source();
                lags.filter_map(|(labels, source)| source.lag_seconds.map(|lag| (labels, lag)))
                    .collect()
            }
            MetricsDetail::Host => {
                let most = self
                    .unpaused()
                    .filter_map(|source| source.lag_seconds)
                    .max();
                most.map(|lag| (Labels::new(), lag)).into_iter().collect()
            }
        };
        writer.gauge(
            "source_host_lag",
            "The current time minus the time up to which records are known to be collected. Of the \
             host: the largest of sources that are not paused.",
            Some(&Unit::Seconds),
            lag,
        )?;
        let states: Vec<(Labels<'_>, State)> = match self.detail {
            MetricsDetail::Stream => {
                let states = self.streams();
                states
                    .map(|(labels, source, stream)| {
                        (labels, stream.map_or(source.state, |stream| stream.state))
                    })
                    .collect()
            }
            MetricsDetail::Source => self
                .by_source()
                .map(|(labels, source)| (labels, source.state))
                .collect(),
            MetricsDetail::Host => Vec::new(),
        };
        let samples = states.iter().flat_map(|(labels, present)| {
            State::ALL.map(|state| {
                let mut labels = labels.clone();
                labels.push(("state", state.name()));
                (labels, u64::from(state == *present))
            })
        });
        writer.gauge(
            "source_host_state",
            "1 for the current state, 0 for the others.",
            None,
            samples,
        )?;
        let quotas = self.streams().filter_map(|(labels, _, stream)| {
            let left = stream?.quota_remaining?;
            Some((labels, u64::from(left)))
        });
        let quotas = quotas.filter(|_| self.detail == MetricsDetail::Stream);
        writer.gauge(
            "source_host_quota_remaining",
            "Requests left in the quota of the stream, where it is known.",
            None,
            quotas,
        )
    }

    fn sources(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        self.source_gauge(
            writer,
            Gauge {
                name: "source_host_last_success_timestamp",
                help: "When a batch was last accepted by every output. Of the host: the earliest \
                       of sources that are not paused.",
                unit: Some(Unit::Seconds),
                value: |source| source.last_success_at.map(seconds),
                aggregate: |values| values.min_by(f64::total_cmp),
            },
        )?;
        self.source_gauge(
            writer,
            Gauge {
                name: "source_host_checkpoint",
                help: "The size of the stored position.",
                unit: Some(Unit::Bytes),
                value: |source| Some(number(source.checkpoint_bytes)),
                aggregate: |values| Some(values.sum()),
            },
        )?;
        self.source_gauge(
            writer,
            Gauge {
                name: "source_host_guest_memory",
                help: "The most memory that an instance of the component has had.",
                unit: Some(Unit::Bytes),
                value: |source| usize::try_from(source.memory_bytes_peak).ok().map(number),
                aggregate: |values| values.max_by(f64::total_cmp),
            },
        )?;
        self.source_gauge(
            writer,
            Gauge {
                name: "source_host_settings_errors",
                help: "1 where the present settings of the source cannot be used, else 0.",
                unit: None,
                value: |source| Some(f64::from(u8::from(source.settings_error.is_some()))),
                aggregate: |values| Some(values.sum()),
            },
        )?;
        let counts = State::ALL.map(|state| {
            let sources = self.report.sources.iter();
            let count = sources.filter(|source| source.state == state).count();
            (vec![("state", state.name())], number(count))
        });
        writer.gauge(
            "source_host_sources",
            "Sources by their state.",
            None,
            counts,
        )
    }

    fn source_gauge(&self, writer: &mut Writer<'_>, gauge: Gauge) -> Result<(), Error> {
        let samples: Vec<(Labels<'_>, f64)> = match self.detail {
            MetricsDetail::Stream | MetricsDetail::Source => {
                let values = self.by_source();
                values
                    .filter_map(|(labels, source)| Some((labels, (gauge.value)(source)?)))
                    .collect()
            }
            MetricsDetail::Host => {
                let mut values = self.unpaused().filter_map(gauge.value);
                let value = (gauge.aggregate)(&mut values);
                value
                    .map(|value| (Labels::new(), value))
                    .into_iter()
                    .collect()
            }
        };
        writer.gauge(gauge.name, gauge.help, gauge.unit.as_ref(), samples)
    }

    fn durations(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        writer.histogram(
            "source_host_poll_duration",
            "How long calls of the component took, its requests included.",
            self.histograms(|source_metrics| &source_metrics.polls),
        )?;
        writer.histogram(
            "source_host_delivery_duration",
            "How long it took until every output had accepted a batch.",
            self.histograms(|source_metrics| &source_metrics.deliveries),
        )
    }

    /// Iterates over the histograms, per source only where metrics are also per stream, since each
    /// has many series.
    fn histograms(&self, of: fn(&SourceMetrics) -> &Histogram) -> Vec<(Labels<'_>, &Histogram)> {
        match self.detail {
            MetricsDetail::Stream => {
                let sources = self.observed.sources.iter();
                let histograms =
                    sources.map(|(name, it)| (vec![("source", name.as_str())], of(it)));
                histograms.collect()
            }
            MetricsDetail::Source | MetricsDetail::Host => {
                vec![(Labels::new(), of(&self.observed.host))]
            }
        }
    }

    fn outputs(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        let counters: [OutputCounter; 3] = [
            (
                "source_host_output_events",
                "Events that the output has accepted since the start of the host.",
                None,
                |output| output.events,
            ),
            (
                "source_host_output_retries",
                "Retries of deliveries to the output.",
                None,
                |output| output.retries,
            ),
            (
                "source_host_output_blocked",
                "For how long the output has not accepted events.",
                Some(Unit::Seconds),
                |output| output.blocked_seconds,
            ),
        ];
        for (name, help, unit, value) in counters {
            let outputs = self.report.outputs.iter();
            let samples =
                outputs.map(|output| (vec![("output", output.output.as_str())], value(output)));
            writer.counter(name, help, unit.as_ref(), samples)?;
        }
        let outputs = self.report.outputs.iter();
        let unanswered = outputs.map(|output| {
            let seconds = output.unanswered_seconds;
            (vec![("output", output.output.as_str())], seconds)
        });
        writer.gauge(
            "source_host_output_unanswered",
            "For how long the output has had something to take and has neither accepted nor refused \
             anything; 0 where it has nothing to take, or is blocked.",
            Some(&Unit::Seconds),
            unanswered,
        )
    }

    fn fleet(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        let Some(fleet) = &self.report.fleet else {
            return Ok(());
        };
        let counters = [
            (
                "taken",
                "Leases of tenants that this host has taken.",
                fleet.taken,
            ),
            (
                "expired",
                "Leases that ended before the work did.",
                fleet.expired,
            ),
            (
                "fenced",
                "Leases that a later one had superseded, or that were over, before this host could claim the tenant.",
                fleet.fenced,
            ),
        ];
        for (name, help, value) in counters {
            let name = format!("source_host_fleet_leases_{name}");
            writer.counter(&name, help, None, [(Labels::new(), value)])?;
        }
        let leases = [
            (
                "source_host_fleet_leases",
                "Tenants that this host works on.",
                fleet.leases,
            ),
            (
                "source_host_fleet_leases_max",
                "The most tenants that this host works on at a time.",
                fleet.leases_max,
            ),
        ];
        for (name, help, value) in leases {
            writer.unlabelled_gauge(name, help, None, number(value))?;
        }
        let sizes = [
            (
                "source_host_fleet_hosts",
                "Hosts of the fleet.",
                fleet.hosts,
            ),
            (
                "source_host_fleet_tenants",
                "Tenants of the fleet.",
                fleet.tenants,
            ),
        ];
        for (name, help, value) in sizes {
            writer.unlabelled_gauge(name, help, None, value)?;
        }
        let help = "The longest delay with which this host recently took a due tenant.";
        let seconds = Some(Unit::Seconds);
        writer.unlabelled_gauge("source_host_fleet_late", help, seconds, fleet.late_seconds)?;
        let Some(overview) = &fleet.overview else {
            return Ok(());
        };
        let counts = State::ALL.map(|state| {
            let count = overview.states.get(state.name()).copied();
            (
                vec![("state", state.name())],
                number(count.unwrap_or_default()),
            )
        });
        writer.gauge(
            "source_host_fleet_tenant_states",
            "Tenants of the fleet by their state.",
            None,
            counts,
        )?;
        writer.unlabelled_gauge(
            "source_host_fleet_never_polled",
            "Tenants of the fleet that no host has had yet.",
            None,
            number(overview.never_polled),
        )?;
        let oldest = overview.oldest_due.as_ref().map_or(0, |due| due.seconds);
        writer.unlabelled_gauge(
            "source_host_fleet_oldest_due",
            "How long the most overdue tenant has been due.",
            Some(Unit::Seconds),
            oldest,
        )
    }

    fn host(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        let mut components: Vec<&str> = self
            .report
            .sources
            .iter()
            .map(|source| source.component.as_str())
            .filter(|component| !component.is_empty())
            .collect();
        components.sort_unstable();
        components.dedup();
        if components.is_empty() {
            components.push("");
        }
        let version = self.report.host.version.as_deref().unwrap_or_default();
        let samples = components.into_iter().map(|component| {
            let labels = vec![
                ("version", version),
                ("component", component),
                ("wit", WIT_VERSION),
            ];
            (labels, 1_u64)
        });
        writer.gauge(
            "source_host_build_info",
            "Always 1; the labels have the release of the host, the component that it runs and the \
             version of pipeline:source.",
            None,
            samples,
        )?;
        if let Some(started_at) = self.report.host.started_at {
            let help = "When the host started.";
            writer.unlabelled_gauge(
                "process_start_time",
                help,
                Some(Unit::Seconds),
                seconds(started_at),
            )?;
        }
        let Some(process) = Process::read() else {
            return Ok(());
        };
        writer.counter(
            "process_cpu",
            "Processor time in user and system mode.",
            Some(&Unit::Seconds),
            [(Labels::new(), process.cpu_seconds)],
        )?;
        let bytes = Some(Unit::Bytes);
        writer.unlabelled_gauge(
            "process_resident_memory",
            "Resident memory.",
            bytes.clone(),
            process.resident_bytes,
        )?;
        writer.unlabelled_gauge(
            "process_virtual_memory",
            "Virtual memory.",
            bytes,
            process.virtual_bytes,
        )?;
        writer.unlabelled_gauge(
            "process_open_fds",
            "Open file descriptors.",
            None,
            process.open_fds,
        )?;
        let help = "Open file descriptors that the process may have.";
        writer.unlabelled_gauge("process_max_fds", help, None, process.max_fds)?;
        writer.unlabelled_gauge("process_threads", "Threads.", None, process.threads)
    }
}

/// Name, help, unit and value of a per-output counter.
type OutputCounter = (
    &'static str,
    &'static str,
    Option<Unit>,
    fn(&OutputReport) -> u64,
);

/// A per-source gauge, and how it is aggregated for the host.
struct Gauge {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    value: fn(&SourceReport) -> Option<f64>,
    aggregate: fn(&mut dyn Iterator<Item = f64>) -> Option<f64>,
}

struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    #[expect(
        single_use_lifetimes,
        reason = "an anonymous lifetime is unstable in an argument of `impl Trait`"
    )]
    fn counter<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels<'l>, impl EncodeCounterValue)>,
    ) -> Result<(), Error> {
        let encoder = &mut self.encoder;
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in samples {
            let labels = escape(labels);
            let mut sample = metric.encode_family(&labels)?;
            sample.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    #[expect(
        single_use_lifetimes,
        reason = "an anonymous lifetime is unstable in an argument of `impl Trait`"
    )]
    fn gauge<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels<'l>, impl EncodeGaugeValue)>,
    ) -> Result<(), Error> {
        let encoder = &mut self.encoder;
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in samples {
            metric
                .encode_family(&escape(labels))?
                .encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes a gauge that has one sample, without labels.
    fn unlabelled_gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl EncodeGaugeValue,
    ) -> Result<(), Error> {
        self.gauge(name, help, unit.as_ref(), [(Labels::new(), value)])
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        samples: Vec<(Labels<'_>, &Histogram)>,
    ) -> Result<(), Error> {
        let (encoder, unit) = (&mut self.encoder, Unit::Seconds);
        let kind = MetricType::Histogram;
        let mut metric = encoder.encode_descriptor(name, help, Some(&unit), kind)?;
        for (labels, histogram) in samples {
            histogram.encode(metric.encode_family(&escape(labels))?)?;
        }
        Ok(())
    }
}

/// Escapes label values, which the library does not. Stream and component names are untrusted.
fn escape(labels: Labels<'_>) -> Vec<(&'static str, Cow<'_, str>)> {
    let escaped = labels.into_iter().map(|(name, value)| {
        let needs = value.contains(['\\', '"', '\n']);
        let value = match needs {
            false => Cow::Borrowed(value),
            true => value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
                .into(),
        };
        (name, value)
    });
    escaped.collect()
}

impl fmt::Debug for StreamCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Returns the label value for a status. The number of values is bounded for any upstream.
fn status_word(status: Option<u16>) -> String {
    match status {
        None => "none".to_owned(),
        Some(status @ 100..=599) => status.to_string(),
        Some(_) => "other".to_owned(),
    }
}

fn seconds(time: Time) -> f64 {
    std::time::Duration::from_millis(time.epoch_ms).as_secs_f64()
}

/// Converts to a sample value. Rounded above 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "samples are floating-point numbers"
)]
fn number(value: usize) -> f64 {
    value as f64
}
