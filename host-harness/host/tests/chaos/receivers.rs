//! The destinations of the host: receivers that can be killed, and a file.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use mimecast_simulator::{first_event_id, identity};
use serde_json::{Value, json};

use crate::bulk_receiver::BulkReceiver;
use crate::forward_receiver::{ForwardReceiver, ForwardReceiverConfig};
use crate::http_receiver::HttpReceiver;
use crate::receiver::{ReceiverState, Treatment};
use crate::setup::stream_and_id_of;

/// The kind of an output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Elasticsearch,
    File,
    Forward,
    Http,
}

/// The receiving end of one output.
pub(crate) enum Receiver {
    Bulk(BulkReceiver),
    File(OutputFile),
    Forward(ForwardReceiver),
    Http(HttpReceiver),
}

/// A file that an output appends to.
pub(crate) struct OutputFile {
    path: PathBuf,
    read_bytes: u64,
    count: usize,
}

impl Receiver {
    pub(crate) async fn start(kind: Kind, directory: &Path, seed: u64) -> Self {
        let state = ReceiverState::reducing(summary);
        match kind {
            Kind::Elasticsearch => Self::Bulk(BulkReceiver::with(state, seed).await),
            Kind::File => Self::File(OutputFile {
                path: directory.join("events.ndjson"),
                read_bytes: 0,
                count: 0,
            }),
            Kind::Forward => {
                Self::Forward(ForwardReceiver::with(ForwardReceiverConfig::default(), state).await)
            }
            Kind::Http => Self::Http(HttpReceiver::with(state).await),
        }
    }

    /// Small requests, for many points to interrupt at, and short time-outs, so that this matters.
    pub(crate) fn settings(&self) -> String {
        match self {
            Self::Bulk(receiver) => receiver.settings(),
            Self::File(_) => "type = \"file\"\npath = \"events.ndjson\"".to_owned(),
            Self::Forward(receiver) => receiver.settings("frame_kib = 64\nack_timeout_secs = 2"),
            Self::Http(receiver) => receiver.settings("http", "request_kib = 64\ntimeout_secs = 2"),
        }
    }

    fn state(&self) -> Option<&ReceiverState> {
        match self {
            Self::Bulk(receiver) => Some(&receiver.state),
            Self::File(_) => None,
            Self::Forward(receiver) => Some(&receiver.state),
            Self::Http(receiver) => Some(&receiver.state),
        }
    }

    /// How many events have come, repeats included.
    pub(crate) fn count(&mut self) -> usize {
        match self {
            Self::Bulk(receiver) => receiver.state.count(),
            Self::File(lines) => lines.count(),
            Self::Forward(receiver) => receiver.state.count(),
            Self::Http(receiver) => receiver.state.count(),
        }
    }

    /// Returns a summary of each event that has come.
    pub(crate) fn accepted(&self) -> Vec<Value> {
        match self {
            Self::Bulk(receiver) => receiver.state.accepted(),
            Self::File(lines) => lines.accepted(),
            Self::Forward(receiver) => receiver.state.accepted(),
            Self::Http(receiver) => receiver.state.accepted(),
        }
    }

    /// How many requests it has answered with a refusal of some of their events.
    pub(crate) fn partial_refusals(&self) -> u64 {
        match self {
            Self::Bulk(receiver) => receiver.partial_refusals(),
            Self::File(_) | Self::Forward(_) | Self::Http(_) => 0,
        }
    }

    /// Queues the treatment; `false` for a file, which gets no requests.
    pub(crate) fn treat(&self, treatment: &Treatment) -> bool {
        let state = self.state();
        if let Some(state) = state {
            state.script([treatment.clone()]);
        }
        state.is_some()
    }

    pub(crate) fn hold(&self, on: bool) -> bool {
        let state = self.state();
        if let Some(state) = state {
            state.hold(on);
        }
        state.is_some()
    }

    /// Kills the receiver; `false` for a file, which has no process.
    pub(crate) async fn kill(&mut self) -> bool {
        match self {
            Self::Bulk(receiver) => receiver.server.kill().await,
            Self::File(_) => return false,
            Self::Forward(receiver) => receiver.kill().await,
            Self::Http(receiver) => receiver.kill().await,
        }
        true
    }

    pub(crate) async fn restart(&mut self) {
        match self {
            Self::Bulk(receiver) => receiver.server.restart().await,
            Self::File(_) => {}
            Self::Forward(receiver) => receiver.restart().await,
            Self::Http(receiver) => receiver.restart().await,
        }
    }
}

impl OutputFile {
    /// Counts the whole lines. An incomplete line is truncated at the next start and written again,
    /// which makes no difference for the count.
    fn count(&mut self) -> usize {
        let Ok(mut file) = std::fs::File::open(&self.path) else {
            return 0;
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read_bytes)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        self.read_bytes += u64::try_from(whole).unwrap();
        self.count += bytes[..whole].iter().filter(|byte| **byte == b'\n').count();
        self.count
    }

    fn accepted(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let event = |line| summary(serde_json::from_str(line).unwrap());
        text.lines().map(event).collect()
    }
}

/// Returns what is kept of an event: stream and id, plus the record if the id does not match it. If
/// the subject has a replacement character, the id cannot be compared; then that fact is kept
/// instead.
fn summary(event: Value) -> Value {
    let (stream, id) = stream_and_id_of(&event);
    let mut summary = json!({"stream": stream, "id": id});
    let replaced = |value: &Value| value.as_str().is_some_and(|text| text.contains('\u{fffd}'));
    let subject = ["/record/subject", "/email/subject"];
    if subject
        .iter()
        .any(|place| event.pointer(place).is_some_and(replaced))
    {
        summary["replaced"] = true.into();
    } else if let Some(record) = event.get("record")
        && identity(&stream, record)
            .map(|base| first_event_id(&base, "acme"))
            .as_ref()
            != Some(&id)
    {
        summary["id_mismatch"] = record.clone();
    }
    summary
}
