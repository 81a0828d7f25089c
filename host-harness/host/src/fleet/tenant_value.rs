//! What the key-value bucket holds for each tenant: one line of JSON (which lease wrote it, and
//! what `status` shows), then the checkpoint as it is.

use serde::{Deserialize, Serialize};
use source_runtime::store::{CHECKPOINT_BYTES_MAX, StoredSource};

/// The version of the layout. Values with another one are refused.
const VERSION: u32 = 1;

/// Maximum length of the line of JSON.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Length to which details are truncated if the line would be longer.
const TRUNCATED_DETAIL_CHARS: usize = 80;

/// Identifies a lease, and fences the leases before it. A later lease of a tenant has a greater
/// epoch, even after the message of the tenant or the whole stream was created again; but not always
/// after the consumer was created again, or a backup was restored.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct LeaseEpoch {
    /// When the stream was created, in milliseconds since the epoch.
    pub(crate) stream_created_ms: u64,
    /// The sequence number of the tenant's message in the stream.
    pub(crate) sequence: u64,
    /// How often the message was delivered.
    pub(crate) deliveries: u64,
}

/// The value of a tenant in the bucket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TenantValue {
    /// The lease that wrote it.
    pub(crate) epoch: LeaseEpoch,
    /// The host that had the lease.
    pub(crate) host: String,
    /// Whether its message pauses it.
    pub(crate) is_paused: bool,
    /// The stored state of the tenant, with its checkpoint.
    pub(crate) state: StoredSource,
}

#[derive(Deserialize, Serialize)]
struct Head {
    version: u32,
    epoch: LeaseEpoch,
    host: String,
    #[serde(default, rename = "paused", skip_serializing_if = "std::ops::Not::not")]
    is_paused: bool,
    state: StoredSource,
}

impl TenantValue {
    /// Returns whether it was imported from a state directory, and no host has worked on it.
    pub(crate) fn is_imported(&self) -> bool {
        self.epoch == LeaseEpoch::default() && self.host.is_empty()
    }

    /// Returns the bytes of the value. The error is a clause.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        let mut head = Head {
            version: VERSION,
            epoch: self.epoch,
            host: self.host.clone(),
            is_paused: self.is_paused,
            state: self.state.without_checkpoint(),
        };
        let mut text = serde_json::to_vec(&head).map_err(|error| error.to_string())?;
        if text.len() > HEAD_BYTES_MAX {
            truncate_details(&mut head.state);
            text = serde_json::to_vec(&head).map_err(|error| error.to_string())?;
        }
        let (bytes, max) = (text.len(), HEAD_BYTES_MAX);
        if bytes > max {
            return Err(format!(
                "its status has {bytes} bytes; the limit is {max}; select fewer streams"
            ));
        }
        if let Some(checkpoint) = &self.state.checkpoint {
            text.push(b'\n');
            text.extend_from_slice(checkpoint.as_bytes());
        }
        Ok(text)
    }

    /// Parses a value. The error is a clause.
    pub(crate) fn decode(value: &[u8]) -> Result<Self, String> {
        let (head, checkpoint) = match memchr::memchr(b'\n', value) {
            Some(end) => value
                .split_at_checked(end)
                .map(|(head, rest)| (head, rest.get(1..)))
                .unwrap_or((value, None)),
            None => (value, None),
        };
        let damaged = |error: &dyn std::fmt::Display| format!("is not a checkpoint: {error}");
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(head).map_err(|error| damaged(&error))?;
        if version != VERSION {
            return Err(format!(
                "has layout {version}; this source-host knows layout {VERSION}"
            ));
        }
        let head: Head = serde_json::from_slice(head).map_err(|error| damaged(&error))?;
        let mut state = head.state;
        state.checkpoint = match checkpoint {
            None => None,
            Some(bytes) if bytes.len() > CHECKPOINT_BYTES_MAX => {
                return Err(damaged(&"it is too long"));
            }
            Some(bytes) => {
                let text = String::from_utf8(bytes.to_vec());
                Some(text.map_err(|error| damaged(&error))?)
            }
        };
        Ok(Self {
            epoch: head.epoch,
            host: head.host,
            is_paused: head.is_paused,
            state,
        })
    }
}

/// Truncates the texts that are for people.
fn truncate_details(state: &mut StoredSource) {
    let truncate = |text: &mut String| *text = text.chars().take(TRUNCATED_DETAIL_CHARS).collect();
    if let Some(error) = &mut state.last_error {
        truncate(&mut error.detail);
    }
    for stream in state.streams.values_mut() {
        truncate(&mut stream.state_detail);
        let messages = [&mut stream.last_error, &mut stream.last_notice];
        for message in messages.into_iter().flatten() {
            truncate(&mut message.detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use source_runtime::store::{StatusMessage, StoredStream};

    fn tenant_value(checkpoint: Option<&str>) -> TenantValue {
        let mut state = StoredSource::new("acme");
        state.checkpoint = checkpoint.map(str::to_owned);
        let stream = StoredStream {
            received: 3,
            events: 3,
            ..StoredStream::default()
        };
        state.streams.insert("audit".to_owned(), stream);
        TenantValue {
            epoch: LeaseEpoch {
                stream_created_ms: 1,
                sequence: 7,
                deliveries: 2,
            },
            host: "h1".to_owned(),
            is_paused: false,
            state,
        }
    }

    #[test]
    fn a_value_is_one_line_of_json_and_the_checkpoint_as_it_is() {
        let checkpoint = "{\"v\":1}\n\"two lines\"";
        for checkpoint in [None, Some(""), Some(checkpoint)] {
            let entry = tenant_value(checkpoint);
            let value = entry.encode().unwrap();
            let text = String::from_utf8(value.clone()).unwrap();
            let (head, rest) = match text.split_once('\n') {
                Some((head, rest)) => (head, Some(rest)),
                None => (&*text, None),
            };
            let head: serde_json::Value = serde_json::from_str(head).unwrap();
            assert_eq!(head["state"]["streams"]["audit"]["events"], 3);
            assert_eq!(rest, checkpoint);
            assert_eq!(TenantValue::decode(&value).unwrap(), entry);
        }
    }

    #[test]
    fn the_largest_checkpoint_and_status_fit_a_message_of_nats() {
        const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
        let checkpoint = "x".repeat(CHECKPOINT_BYTES_MAX);
        let mut entry = tenant_value(Some(&checkpoint));
        let message = StatusMessage {
            at: "2026-11-28T10:00:00Z".to_owned(),
            kind: "postponed".to_owned(),
            detail: "why ".repeat(250),
        };
        for number in 0..40 {
            let stream = StoredStream {
                last_error: Some(message.clone()),
                last_notice: Some(message.clone()),
                ..StoredStream::default()
            };
            entry.state.streams.insert(format!("s{number}"), stream);
        }
        let value = entry.encode().unwrap();
        assert!(value.len() < MESSAGE_BYTES_MAX - 1_000, "{}", value.len());
        let decoded = TenantValue::decode(&value).unwrap();
        assert_eq!(decoded.state.checkpoint.as_deref(), Some(&*checkpoint));
        assert_eq!(decoded.state.streams.len(), 41);
    }

    #[test]
    fn what_is_damaged_or_newer_is_refused_and_never_a_fresh_start() {
        let value = tenant_value(Some("x")).encode().unwrap();
        let head = value.iter().position(|byte| *byte == b'\n').unwrap();
        for length in 0..head {
            assert!(TenantValue::decode(&value[..length]).is_err(), "{length}");
        }
        let newer = String::from_utf8(value.clone()).unwrap();
        let newer = newer.replacen("\"version\":1", "\"version\":2", 1);
        let reason = TenantValue::decode(newer.as_bytes()).unwrap_err();
        assert!(reason.starts_with("has layout 2"), "{reason}");
        let mut binary = value;
        binary.extend_from_slice(b"\xff");
        assert!(TenantValue::decode(&binary).is_err());
    }

    #[test]
    fn a_later_lease_has_a_greater_epoch() {
        let epoch = |stream_created_ms, sequence, deliveries| LeaseEpoch {
            stream_created_ms,
            sequence,
            deliveries,
        };
        assert!(epoch(1, 7, 3) > epoch(1, 7, 2));
        assert!(epoch(1, 8, 1) > epoch(1, 7, 9));
        assert!(epoch(2, 1, 1) > epoch(1, 9, 9));
    }
}
