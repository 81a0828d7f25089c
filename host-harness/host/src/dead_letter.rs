//! Stores rejected records and undeliverable events as NDJSON, in a file or an output of their own.
//! They are durable before the checkpoint moves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, Weak};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use source_common::delivery::{Delivery, DeliveryError, Entry, Kind, Reservation};
use source_common::disk::{self, blocking};
use source_common::exit::Failure;
use source_outputs::{Appender, Outputs};
use source_runtime::bindings::RejectedRecord;
use source_runtime::event_sink::StoreRejectedError;
use source_runtime::store::{self, StateDir, epoch_ms};
use tokio::sync::Mutex;

use crate::report::DEAD_LETTER_ADVICE;
use crate::settings::{DEAD_LETTER_OUTPUT, DeadLetterSettings, Settings};

/// The event kind under which an output receives rejected records.
const KIND: &str = "rejected";

/// Where the rejected records of all sources go: a file for each source, one file, or one output.
pub(crate) struct DeadLetterSinks {
    shared: Option<Arc<Mutex<DeadLetterSink>>>,
    pub(crate) output: Option<Arc<Outputs>>,
    directory: PathBuf,
    /// The sinks of single sources, while they are in use. While a source is being changed, its old
    /// and its new settings may both be in use; they share one sink, because a file is locked while
    /// it is open.
    by_source: std::sync::Mutex<BTreeMap<String, Weak<Mutex<DeadLetterSink>>>>,
}

impl DeadLetterSinks {
    /// Opens the output of `[dead_letter]`, if there is one.
    pub(crate) async fn open(
        settings: &Settings,
        state_dir: &StateDir,
        tries_max: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut sinks = Self {
            shared: None,
            output: None,
            directory: state_dir.path().to_owned(),
            by_source: std::sync::Mutex::default(),
        };
        match &settings.dead_letter {
            None => {}
            Some(DeadLetterSettings::File(path)) => {
                sinks.shared = Some(Arc::new(Mutex::new(DeadLetterSink::new(path.clone()))));
            }
            Some(DeadLetterSettings::Output { config, .. }) => {
                let outputs = Outputs::open([(DEAD_LETTER_OUTPUT, &**config)], tries_max).await?;
                let outputs = outputs
                    .without_blocking_on_refusal()
                    .with_advice(DEAD_LETTER_ADVICE);
                sinks.output = Some(Arc::new(outputs));
            }
        }
        Ok(sinks)
    }

    /// Returns the sink of a source: the same one for as long as anything uses it.
    pub(crate) fn sink_for(&self, source: &str) -> Arc<Mutex<DeadLetterSink>> {
        if let Some(shared) = &self.shared {
            return Arc::clone(shared);
        }
        let sinks = self.by_source.lock();
        let mut sinks = sinks.unwrap_or_else(PoisonError::into_inner);
        if let Some(sink) = sinks.get(source).and_then(Weak::upgrade) {
            return sink;
        }
        // Removes sinks that are no longer in use, but does not search all of them each time.
        if sinks.len().is_power_of_two() {
            sinks.retain(|_, sink| sink.strong_count() > 0);
        }
        let path = store::rejected_path(&self.directory, source);
        let sink = Arc::new(Mutex::new(match &self.output {
            None => DeadLetterSink::new(path),
            Some(output) => DeadLetterSink::with_output(path, Arc::clone(output)),
        }));
        sinks.insert(source.to_owned(), Arc::downgrade(&sink));
        sink
    }
}

/// Stores rejected records in a file, which is created with the first record; or in an output, with
/// the file for what the output cannot accept.
pub struct DeadLetterSink {
    path: PathBuf,
    appender: Option<Appender>,
    output: Option<Arc<Outputs>>,
}

impl DeadLetterSink {
    /// Creates a sink that writes to the file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            appender: None,
            output: None,
        }
    }

    /// Creates a sink that delivers to an output, with the file at `path` as fallback.
    #[must_use]
    pub fn with_output(path: PathBuf, output: Arc<Outputs>) -> Self {
        Self {
            output: Some(output),
            ..Self::new(path)
        }
    }

    /// Stores records of one source. They are on the disk, or accepted by the output, when this
    /// returns.
    pub async fn store_rejected(
        &mut self,
        source: &str,
        namespace: &str,
        records: &[RejectedRecord],
    ) -> Result<(), StoreRejectedError> {
        let mut lines: Vec<String> = records
            .iter()
            .map(|record| to_json_line(source, record))
            .collect();
        if let Some(output) = &self.output {
            lines = deliver(output, source, namespace, records, lines).await?;
        }
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = lines.join("\n");
        text.push('\n');
        let path = self.path.clone();
        let appender = self.appender.take();
        let (appender, appended) = blocking(move || {
            let mut appender = match appender {
                Some(appender) => appender,
                None => Appender::open(&path)?,
            };
            let appended = appender.append(text.as_bytes(), SystemTime::now());
            Ok((appender, appended))
        })
        .await
        .map_err(|error| StoreRejectedError::Disk(disk::error_message(&self.path, &error)))?;
        // Also after an error: the file may still have to be truncated.
        self.appender = Some(appender);
        appended.map_err(|error| StoreRejectedError::Disk(disk::error_message(&self.path, &error)))
    }
}

/// Delivers the lines. Returns those that the output can never accept.
async fn deliver(
    output: &Outputs,
    source: &str,
    namespace: &str,
    records: &[RejectedRecord],
    lines: Vec<String>,
) -> Result<Vec<String>, StoreRejectedError> {
    let too_large =
        |_| StoreRejectedError::Output("more rejected records than fit in one delivery".to_owned());
    if lines.is_empty() {
        return Ok(lines);
    }
    let occurred_at = i64::try_from(epoch_ms(SystemTime::now())).unwrap_or(i64::MAX);
    let mut events = String::new();
    let mut index = Vec::with_capacity(lines.len());
    let mut kinds: Vec<Kind> = Vec::new();
    for (line, record) in lines.iter().zip(records) {
        events.push_str(line);
        events.push('\n');
        let known = kinds.iter().position(|kind| kind.stream == record.stream);
        let kind = known.unwrap_or(kinds.len());
        if known.is_none() {
            kinds.push(Kind {
                name: KIND.to_owned(),
                stream: record.stream.clone(),
            });
        }
        index.push(Entry {
            end: u32::try_from(events.len()).map_err(too_large)?,
            occurred_at,
            kind: u16::try_from(kind).map_err(too_large)?,
        });
    }
    let delivery = Delivery {
        source,
        namespace,
        events: &events,
        index: &index,
        kinds: &kinds,
    };
    let undeliverable_events = output
        .accept(&delivery, None, Reservation::default())
        .await
        .map_err(|undelivered| match undelivered {
            DeliveryError::Closed => StoreRejectedError::Closed,
            DeliveryError::Failed(reason) => StoreRejectedError::Output(reason),
        })?;
    Ok(undeliverable_events
        .iter()
        .filter_map(|undeliverable| lines.get(undeliverable.index).cloned())
        .collect())
}

#[derive(Serialize)]
struct Line<'a> {
    source: &'a str,
    stream: &'a str,
    locator: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_base64: Option<String>,
}

/// Formats a rejected record as one JSON object. Bytes that are not UTF-8 are
/// encoded in base64, under another key.
#[must_use]
pub fn to_json_line(source: &str, record: &RejectedRecord) -> String {
    let original = std::str::from_utf8(&record.original).ok();
    let line = Line {
        source,
        stream: &record.stream,
        locator: &record.locator,
        reason: &record.reason,
        original,
        original_base64: match original {
            Some(_) => None,
            None => Some(STANDARD.encode(&record.original)),
        },
    };
    // Serializing strings in a flat struct cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response, StatusCode};
    use hyper_util::rt::TokioIo;
    use serde_json::Value;
    use source_runtime::store::State;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::registry::Registry;
    use crate::report::RunState;

    /// How long a test waits for what takes milliseconds.
    const DEADLINE: Duration = Duration::from_secs(60);

    fn record(original: &[u8]) -> RejectedRecord {
        RejectedRecord {
            stream: "siem.receipt".to_owned(),
            locator: "file a, line 3".to_owned(),
            reason: "not a JSON object".to_owned(),
            original: original.to_vec(),
        }
    }

    #[test]
    fn text_is_kept_as_text_and_other_bytes_in_base64() {
        assert_eq!(
            to_json_line("acme", &record(b"{\"a\":")),
            r#"{"source":"acme","stream":"siem.receipt","locator":"file a, line 3","reason":"not a JSON object","original":"{\"a\":"}"#
        );
        assert!(
            to_json_line("acme", &record(b"\xff\x00")).ends_with(r#","original_base64":"/wA="}"#)
        );
    }

    #[tokio::test]
    async fn records_are_appended_and_a_torn_line_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme.rejected.ndjson");
        std::fs::write(&path, "{\"torn").unwrap();
        let mut dead_letter = DeadLetterSink::new(path.clone());
        dead_letter
            .store_rejected("acme", "test", &[])
            .await
            .unwrap();
        dead_letter
            .store_rejected("acme", "test", &[record(b"a"), record(b"b")])
            .await
            .unwrap();
        dead_letter
            .store_rejected("acme", "test", &[record(b"c")])
            .await
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let originals: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["original"].clone())
            .collect();
        assert_eq!(originals, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_file_that_could_not_be_written_stays_open_and_locked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("there").join("acme.rejected.ndjson");
        let mut dead_letter = DeadLetterSink::new(path.clone());
        let (first, second) = ([record(b"a")], [record(b"b")]);
        dead_letter
            .store_rejected("acme", "test", &first)
            .await
            .unwrap();
        let (there, aside) = (
            directory.path().join("there"),
            directory.path().join("aside"),
        );
        std::fs::rename(&there, &aside).unwrap();
        std::fs::write(&there, "").unwrap();
        let stored = dead_letter.store_rejected("acme", "test", &second).await;
        assert!(
            matches!(stored, Err(StoreRejectedError::Disk(_))),
            "{stored:?}"
        );
        std::fs::remove_file(&there).unwrap();
        std::fs::rename(&aside, &there).unwrap();
        assert!(Appender::open(&path).is_err(), "it is not locked");
        dead_letter
            .store_rejected("acme", "test", &second)
            .await
            .unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_source_that_is_held_twice_is_not_locked_out_of_its_own_file() {
        let directory = tempfile::tempdir().unwrap();
        let sinks = DeadLetterSinks {
            shared: None,
            output: None,
            directory: directory.path().to_owned(),
            by_source: std::sync::Mutex::default(),
        };
        let before_change = sinks.sink_for("acme");
        let after_change = sinks.sink_for("acme");
        for (sink, original) in [(&before_change, b"a"), (&after_change, b"b")] {
            let mut sink = sink.lock().await;
            let records = [record(original)];
            sink.store_rejected("acme", "test", &records).await.unwrap();
        }
        // Those that nobody holds are forgotten, and their files are closed.
        drop((before_change, after_change));
        let other = sinks.sink_for("other");
        assert_eq!(sinks.by_source.lock().unwrap().len(), 1);
        let again = sinks.sink_for("acme");
        assert!(!Arc::ptr_eq(&other, &again));
        let mut again = again.lock().await;
        let records = [record(b"c")];
        again
            .store_rejected("acme", "test", &records)
            .await
            .unwrap();
        let text = std::fs::read_to_string(store::rejected_path(directory.path(), "acme")).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    /// The endpoint of a receiver that answers every request with this status.
    async fn refusing_receiver(status: StatusCode) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let refuse = service_fn(move |request: Request<Incoming>| async move {
                    request.into_body().collect().await?;
                    let mut response = Response::new(Empty::<Bytes>::new());
                    *response.status_mut() = status;
                    Ok::<_, hyper::Error>(response)
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), refuse);
                tokio::spawn(served);
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn what_an_output_refuses_is_kept_in_the_file_also_when_that_is_all() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "[[source]]\nname = \"acme\"\n[[output]]\ntype = \"stdout\"\n\
             [dead_letter]\ntype = \"http\"\nendpoint = \"{}\"\n",
            refusing_receiver(StatusCode::BAD_REQUEST).await
        );
        let settings = Settings::parse(&text, &directory.path().join("host.toml")).unwrap();
        let state_dir = StateDir::open(&settings.state_dir).unwrap();
        let sinks = DeadLetterSinks::open(&settings, &state_dir, Some(1))
            .await
            .unwrap();
        let sink = sinks.sink_for("acme");
        let records = [record(b"a"), record(b"b")];
        let mut sink = sink.lock().await;
        sink.store_rejected("acme", "test", &records).await.unwrap();
        let text = std::fs::read_to_string(store::rejected_path(state_dir.path(), "acme")).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    /// Nothing may be lost, and the output may accept them once it is repaired.
    #[tokio::test]
    async fn a_source_that_waits_for_an_output_that_refuses_its_credentials_is_reported_and_can_be_stopped()
     {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "[[source]]\nname = \"acme\"\n[[output]]\ntype = \"stdout\"\n\
             [dead_letter]\ntype = \"http\"\nendpoint = \"{}\"\n",
            refusing_receiver(StatusCode::UNAUTHORIZED).await
        );
        let settings = Settings::parse(&text, &directory.path().join("host.toml")).unwrap();
        let state_dir = StateDir::open(&settings.state_dir).unwrap();
        let sinks = DeadLetterSinks::open(&settings, &state_dir, None)
            .await
            .unwrap();
        let registry = Registry::new();
        registry.add_outputs(Arc::clone(sinks.output.as_ref().unwrap()));
        let entry = registry.add_source("acme", vec!["stdout".to_owned()]);
        entry.set_run_state(RunState::Running);
        let sink = sinks.sink_for("acme");
        let storing = tokio::spawn(async move {
            let mut sink = sink.lock().await;
            sink.store_rejected("acme", "test", &[record(b"a")]).await
        });
        let report = || registry.report(SystemTime::now());
        let blocked = timeout(DEADLINE, async {
            while report().sources[0].state != State::Blocked {
                assert!(!storing.is_finished(), "it waits");
                tokio::task::yield_now().await;
            }
        });
        assert!(blocked.await.is_ok(), "{:?}", report().sources);
        let detail = &report().sources[0].detail;
        assert!(
            detail.starts_with(
                "the output of [dead_letter] does not accept its rejected records: the \
                 credentials are refused: "
            ) && detail.ends_with("to keep rejected records in files"),
            "{detail}"
        );
        let outputs = report().outputs;
        assert_eq!(outputs[0].output, DEAD_LETTER_OUTPUT);
        assert_eq!(outputs[0].state, State::Blocked);
        assert_eq!(outputs[0].waiting_sources, 1);
        // A pause, a change, a reset and a removal stop it in this way.
        storing.abort();
        assert!(storing.await.is_err());
        assert_eq!(report().sources[0].state, State::Starting);
        assert_eq!(report().outputs[0].waiting_sources, 0);
        let rejected_path = store::rejected_path(state_dir.path(), "acme");
        assert!(!rejected_path.exists(), "the batch comes again");
    }

    #[tokio::test]
    async fn an_output_of_its_own_takes_records_and_the_file_what_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let settings = format!(
            "type = \"forward\"\naddress = \"unix:{}\"\nevent_kib_max = 1\n",
            path("nobody").display()
        );
        let section = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            source_common::section::Section::new(
                std::path::Path::new("m.toml"),
                "[dead_letter]".to_owned(),
                table,
            )
        };
        let config = source_outputs::parse_output(section(&settings)).unwrap();
        let outputs = Outputs::open([("dead_letter", &*config)], Some(1))
            .await
            .unwrap();
        let mut dead_letter = DeadLetterSink::with_output(path("left"), Arc::new(outputs));
        // Nobody listens: the records are not accepted, and that is an error.
        dead_letter
            .store_rejected("acme", "test", &[record(b"a")])
            .await
            .unwrap_err();

        let file = format!("type = \"file\"\npath = \"{}\"", path("kept").display());
        let config = source_outputs::parse_output(section(&file)).unwrap();
        let outputs = Outputs::open([("dead_letter", &*config)], Some(1))
            .await
            .unwrap();
        let mut dead_letter = DeadLetterSink::with_output(path("left"), Arc::new(outputs));
        dead_letter
            .store_rejected("acme", "test", &[record(b"a"), record(b"b")])
            .await
            .unwrap();
        let text = std::fs::read_to_string(path("kept")).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("not a JSON object"));
        assert!(!path("left").exists());
    }
}
