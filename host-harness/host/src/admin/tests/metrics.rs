use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::metrics::{Format, Metrics};
use super::*;
use crate::registry::MetricsObserver;
use crate::report::{FleetOverview, FleetReport};
use crate::settings::MetricsDetail;

/// The repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(super) fn report_skipped_test(why: &str) {
    // Past what the harness captures.
    let mut stderr = std::io::stderr();
    writeln!(stderr, "LEFT OUT: {why}").unwrap();
}

fn scrape(metrics: &Metrics, registry: &Registry) -> String {
    let report = registry.report(SystemTime::now());
    metrics.encode(report, Format::Prometheus).unwrap()
}

fn metrics_with_detail(detail: MetricsDetail) -> Metrics {
    Metrics::new(Some(detail))
}

/// The value of a sample, by its name with labels.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{sample} ")))?;
    line.parse().ok()
}

/// The names of metrics with their types, from their descriptions.
pub(super) fn metric_types(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types = types.filter_map(|line| line.split_once(' '));
    types
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// A scrape with samples of every metric.
fn full_scrape() -> String {
    let (metrics, registry) = (metrics_with_detail(MetricsDetail::Stream), Registry::new());
    let entry = add(&registry, "acme", State::Active);
    let mut state = stored_source("acme", State::Waiting, 7);
    for stream in state.streams.values_mut() {
        stream.quota_remaining = Some(5);
    }
    entry.update(&state);
    registry.add_source("new", Vec::new());
    registry.update_fleet(|status| {
        *status = FleetReport {
            host: "a".to_owned(),
            hosts: 1,
            tenants: 2,
            leases: 1,
            leases_max: 64,
            taken: 3,
            expired: 0,
            fenced: 0,
            late_seconds: 0,
            overview: Some(FleetOverview {
                at: Time::of(SystemTime::now()),
                hosts: Vec::new(),
                tenants: 2,
                states: [("active", 2)].into(),
                never_polled: 1,
                leases: 1,
                oldest_due: None,
            }),
        };
    });
    metrics.polled("acme", Duration::from_millis(30));
    metrics.delivered("acme", Duration::from_millis(3));
    metrics.request_completed("acme", Some(200));
    metrics.request_completed("acme", None);
    scrape(&metrics, &registry)
}

#[test]
fn streams_are_shown_with_their_counts_lag_and_state() {
    let text = full_scrape();
    let labels = "source=\"acme\",stream=\"audit\"";
    assert_eq!(
        value(&text, &format!("source_host_events_total{{{labels}}}")),
        Some(7.0)
    );
    assert_eq!(
        value(&text, &format!("source_host_quota_remaining{{{labels}}}")),
        Some(5.0)
    );
    let state = |word: &str| {
        value(
            &text,
            &format!("source_host_state{{{labels},state=\"{word}\"}}"),
        )
    };
    assert_eq!((state("waiting"), state("active")), (Some(1.0), Some(0.0)));
    let lag = value(&text, &format!("source_host_lag_seconds{{{labels}}}")).unwrap();
    assert!((0.0..60.0).contains(&lag), "{lag}");
    // A source that has no stream yet is shown as well.
    assert_eq!(
        value(
            &text,
            "source_host_state{source=\"new\",state=\"starting\"}"
        ),
        Some(1.0)
    );
    assert!(value(&text, "source_host_lag_seconds{source=\"new\"}").is_some());
    assert_eq!(
        value(&text, "source_host_sources{state=\"starting\"}"),
        Some(1.0)
    );
    let requests = |code: &str| {
        value(
            &text,
            &format!("source_host_requests_total{{source=\"acme\",code=\"{code}\"}}"),
        )
    };
    assert_eq!((requests("200"), requests("none")), (Some(1.0), Some(1.0)));
    let polls = "source_host_poll_duration_seconds_bucket{le=\"0.1\",source=\"acme\"}";
    assert_eq!(value(&text, polls), Some(1.0), "{text}");
    let success = "source_host_last_success_timestamp_seconds{source=\"acme\"}";
    assert!(value(&text, success).unwrap() > 1.7e9);
    let version = env!("CARGO_PKG_VERSION");
    let build = format!(
        "source_host_build_info{{version=\"{version}\",component=\"collector 0.2.0\",wit=\"0.2.0\"}}"
    );
    assert_eq!(value(&text, &build), Some(1.0), "{text}");
}

#[test]
fn a_host_with_many_sources_has_few_series() {
    let (registry, metrics) = (Registry::new(), Metrics::new(None));
    let series = |wanted: usize| {
        for number in 0..wanted {
            let name = format!("tenant-{number}");
            if registry.entry(&name).is_none() {
                add(&registry, &name, State::Active);
                metrics.polled(&name, Duration::from_millis(30));
                metrics.request_completed(&name, Some(200));
            }
        }
        let text = scrape(&metrics, &registry);
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    assert!((5_000..8_000).contains(&series(100)), "{}", series(100));
    assert!(series(101) < 3_200, "{}", series(101));
    assert!(series(5_000) < 150_000, "{}", series(5_000));
    assert!(series(5_001) < 120, "{}", series(5_001));
}

#[test]
fn counters_of_a_host_never_go_down() {
    let (registry, metrics) = (Registry::new(), metrics_with_detail(MetricsDetail::Host));
    let events = || value(&scrape(&metrics, &registry), "source_host_events_total{}");
    let update = |name: &str, count| {
        let entry = registry
            .entry(name)
            .unwrap_or_else(|| add(&registry, name, State::Active));
        entry.update(&stored_source(name, State::Active, count));
    };
    update("a", 10);
    update("b", 5);
    assert_eq!(events(), Some(15.0));
    registry.remove_source("b");
    assert_eq!(events(), Some(15.0));
    // It returns with what it had counted, which is not known at once.
    registry.add_source("b", Vec::new());
    assert_eq!(events(), Some(15.0));
    update("b", 6);
    assert_eq!(events(), Some(16.0));
    // Its checkpoint was moved away: it counts from zero.
    update("b", 1);
    assert_eq!(events(), Some(17.0));
    metrics.request_completed("b", Some(200));
    registry.remove_source("b");
    let requests = value(
        &scrape(&metrics, &registry),
        "source_host_requests_total{code=\"200\"}",
    );
    assert_eq!(requests, Some(1.0));
}

#[test]
fn of_the_host_the_worst_source_that_collects_is_shown() {
    let (registry, metrics) = (Registry::new(), metrics_with_detail(MetricsDetail::Host));
    let now = epoch_ms(SystemTime::now());
    for (name, behind_ms) in [("a", 60_000), ("b", 600_000), ("paused", 9_000_000)] {
        let entry = add(&registry, name, State::Active);
        let mut state = stored_source(name, State::Active, 1);
        for stream in state.streams.values_mut() {
            stream.collected_until_ms = i64::try_from(now - behind_ms).ok();
        }
        state.succeeded_at_ms = Some(now - behind_ms);
        entry.update(&state);
        if name == "paused" {
            entry.set_paused(Some(crate::report::PausedBy::Api));
        } else {
            entry.set_settings_error(Some("unknown key".to_owned()));
        }
    }
    let text = scrape(&metrics, &registry);
    let lag = value(&text, "source_host_lag_seconds{}").unwrap();
    assert!((600.0..660.0).contains(&lag), "{lag}");
    let success = value(&text, "source_host_last_success_timestamp_seconds{}").unwrap();
    assert!((success - Duration::from_millis(now - 600_000).as_secs_f64()).abs() < 0.01);
    assert_eq!(value(&text, "source_host_settings_errors{}"), Some(2.0));
    assert_eq!(
        value(&text, "source_host_sources{state=\"paused\"}"),
        Some(1.0)
    );
    assert!(!text.contains("source=\""), "{text}");
}

#[test]
fn a_name_from_outside_cannot_end_its_quotes() {
    let (registry, metrics) = (Registry::new(), metrics_with_detail(MetricsDetail::Stream));
    let entry = add(&registry, "acme", State::Active);
    let mut state = stored_source("acme", State::Active, 1);
    let stream = state.streams["audit"].clone();
    state.streams.insert("a\"} 1\nb\\".to_owned(), stream);
    entry.update(&state);
    let text = scrape(&metrics, &registry);
    assert!(text.contains("stream=\"a\\\"} 1\\nb\\\\\""), "{text}");
    promtool_check(&text);
}

#[test]
fn a_source_that_is_removed_leaves_the_metrics() {
    let (registry, metrics) = (Registry::new(), metrics_with_detail(MetricsDetail::Stream));
    add(&registry, "acme", State::Active);
    metrics.polled("acme", Duration::from_millis(30));
    metrics.request_completed("acme", Some(429));
    assert!(scrape(&metrics, &registry).contains("code=\"429\""));
    registry.remove_source("acme");
    assert!(!scrape(&metrics, &registry).contains("acme"));
}

/// `| name | type | …` of the table in the documentation.
#[test]
fn the_documentation_lists_every_metric_with_its_type() {
    let text = fs::read_to_string(root().join("docs/admin.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| row.starts_with("source_host_") || row.starts_with("process_"));
    let listed: BTreeMap<String, String> = rows
        .map(|row| {
            let (name, rest) = row.split_once("` | ").unwrap();
            let (kind, _) = rest.split_once(" |").unwrap();
            (name.to_owned(), kind.to_owned())
        })
        .collect();
    assert_eq!(listed, metric_types(&full_scrape()));
}

/// The names of metrics in a text, such as the rules of alerts.
fn named(text: &str) -> BTreeSet<String> {
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let words = text.split(|it| !is_word(it));
    let ours =
        words.filter(|word| word.starts_with("source_host_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_there_are() {
    let known = metric_types(&full_scrape());
    let is_known = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        known.contains_key(name)
            || histogram.is_some_and(|name| known.get(name).is_some_and(|kind| kind == "histogram"))
    };
    let examples = root().join("examples");
    let dashboard = fs::read_to_string(examples.join("grafana/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut expressions = String::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            expressions.push_str(target["expr"].as_str().unwrap());
            expressions.push('\n');
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        expressions.push_str(&variable["query"].to_string());
    }
    for file in ["alerts.yml", "alerts.test.yml"] {
        expressions.push_str(&fs::read_to_string(examples.join("prometheus").join(file)).unwrap());
    }
    let named = named(&expressions);
    assert!(named.len() > 20, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !is_known(name)).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

/// Has Debian's `promtool` read a scrape, where there is one.
fn promtool_check(text: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        report_skipped_test(
            "no promtool (Debian package prometheus): metrics are not checked by it",
        );
        return;
    };
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn promtool_finds_nothing_to_improve() {
    promtool_check(&full_scrape());
    for detail in [MetricsDetail::Source, MetricsDetail::Host] {
        let registry = Registry::new();
        add(&registry, "acme", State::Active);
        promtool_check(&scrape(&metrics_with_detail(detail), &registry));
    }
}
