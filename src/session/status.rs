//! The status of every stream at the end of a poll, for a host to report.

use super::{QuotaKind, Session, StreamSlot};
use crate::api::response_kind::permission_advice;
use crate::checkpoint::BackoffCause;
use crate::stream::Stream;
use crate::streams::Context;
use crate::streams::siem_events::CALLS_PER_HOUR;
use crate::time::Timestamp;

/// The state of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// It collects, or has collected everything there is for now.
    Active,
    /// It failed and is tried again.
    Failing,
    /// The credentials do not permit it.
    NotPermitted,
    /// It waits for a quota or a rate limit.
    Waiting,
}

/// The status of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// The stream.
    pub stream: Stream,
    /// Its state.
    pub state: StreamState,
    /// When it is tried again, by the host's clock, where it waits.
    pub until: Option<Timestamp>,
    /// The time up to which the upstream's records are known to be collected, by its clock.
    /// Before the first reading it is the start of the settings, by the host's clock.
    pub collected_until: Timestamp,
    /// How many calls are left in its quota, where one is documented.
    pub quota_remaining: Option<u32>,
    /// Why it does not collect, and what to do. Empty while it is active.
    pub detail: String,
}

impl Session {
    /// Returns the status of every selected stream.
    #[must_use]
    pub fn statuses(&mut self, now: Timestamp) -> Vec<StreamStatus> {
        self.client.set_now(now);
        self.slots.iter().map(|slot| self.status(slot)).collect()
    }

    fn status(&self, slot: &StreamSlot) -> StreamStatus {
        let now = self.client.now();
        let context = Context::new(&self.settings, &self.client);
        let quota_remaining = slot
            .reader
            .quota_kind()
            .map(|quota_kind| self.quota(quota_kind).remaining(now));
        let (state, until) = match slot.backoff {
            Some(backoff) => {
                let state = match backoff.cause {
                    BackoffCause::Failing => StreamState::Failing,
                    BackoffCause::NotPermitted => StreamState::NotPermitted,
                    BackoffCause::Throttled => StreamState::Waiting,
                };
                (state, Some(backoff.until).filter(|until| *until > now))
            }
            None => match (slot.reader.set_aside_summary(), self.quota_until(slot)) {
                (Some((_, next_try)), _) => (StreamState::Failing, Some(next_try)),
                (None, Some(until)) => (StreamState::Waiting, Some(until)),
                (None, None) => match slot.reader.due(context) {
                    (due, false) if due > now => (StreamState::Failing, Some(due)),
                    _ => (StreamState::Active, None),
                },
            },
        };
        let start = self.settings.start.resolve(now);
        StreamStatus {
            stream: slot.stream,
            state,
            until,
            collected_until: slot.reader.collected_until(context).unwrap_or(start),
            quota_remaining,
            detail: self.detail(slot, state),
        }
    }

    /// Returns the time until which an exhausted quota holds back a stream that has more to collect.
    fn quota_until(&self, slot: &StreamSlot) -> Option<Timestamp> {
        let now = self.client.now();
        let context = Context::new(&self.settings, &self.client);
        let (_, caught_up) = slot.reader.due(context);
        let wants_call = !caught_up && slot.reader.wants_call(context);
        let quota_kind = slot.reader.quota_kind().filter(|_| wants_call)?;
        let free_at = self.quota(quota_kind).free_at(now);
        (free_at > now).then_some(free_at)
    }

    /// Returns the message of the last failure. Where that failure was in another session, the message is
    /// made from the checkpoint.
    fn detail(&self, slot: &StreamSlot, state: StreamState) -> String {
        if state == StreamState::Active {
            return String::new();
        }
        if let (None, Some((detail, _))) = (slot.backoff, slot.reader.set_aside_summary()) {
            return format!("{}: {detail}", slot.stream);
        }
        // The last failure is over once there is no backoff.
        if slot.backoff.is_some() && !slot.detail.is_empty() {
            return slot.detail.clone();
        }
        let stream = slot.stream;
        match (state, slot.backoff) {
            (StreamState::NotPermitted, _) => format!(
                "{stream}: not permitted; {}",
                permission_advice(stream, self.settings.api())
            ),
            (StreamState::Failing, Some(backoff)) => {
                format!("{stream}: failed {} times in a row", backoff.tries)
            }
            (StreamState::Failing, None) => format!(
                "{stream}: the clocks of Mimecast and of this host differ; what \
                 was cut short is read again; set the clock of this host"
            ),
            (StreamState::Waiting, Some(_)) => {
                format!("{stream}: Mimecast asked for fewer requests")
            }
            (StreamState::Active | StreamState::Waiting, _) => {
                format!(
                    "{stream}: {}",
                    self.exhausted_limit(slot.reader.quota_kind())
                )
            }
        }
    }

    /// Returns which limit is exhausted, and the setting that changes it. The text is the same for all
    /// streams that wait for that limit.
    fn exhausted_limit(&self, quota_kind: Option<QuotaKind>) -> String {
        const SETTING: &str = "siem_calls_per_15_min";
        let (calls, minutes, what) = match quota_kind {
            Some(QuotaKind::BatchFiles) => {
                (self.settings.siem_calls_per_15_min, 15, "SIEM batch files")
            }
            Some(QuotaKind::EventEndpoint) => (CALLS_PER_HOUR, 60, "SIEM events"),
            None => return "Mimecast asked for fewer requests".to_owned(),
        };
        let limit =
            match quota_kind.map(|quota_kind| self.quota(quota_kind).blocked(self.client.now())) {
                Some(Some(_)) => format!("Mimecast allows no more requests for {what} for now"),
                Some(None) | None => format!(
                    "the rate limit of {calls} requests in {minutes} minutes for {what} is used up"
                ),
            };
        if quota_kind == Some(QuotaKind::BatchFiles) {
            format!("{limit}; lower {SETTING} only where other programs share Mimecast's limit")
        } else {
            limit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, MockResponse, Upstream};

    const HOUR_MS: i64 = 3_600_000;

    fn status(host: &Host, upstream: &Upstream, stream: Stream) -> StreamStatus {
        let settings = crate::settings::Settings::parse(&host.settings).unwrap();
        let now = upstream.host_now();
        // A new session: nothing but the checkpoint says how the streams are.
        let mut session = Session::open(settings, host.checkpoint.as_deref(), now, 1).unwrap();
        let statuses = session.statuses(now);
        statuses
            .into_iter()
            .find(|status| status.stream == stream)
            .unwrap()
    }

    #[test]
    fn a_stream_that_is_caught_up_is_active_and_collected_until_its_last_reading() {
        let mut upstream = Upstream::new();
        upstream.add_file("receipt", 5);
        upstream.add_audit("a", upstream.now.plus_ms(-1000));
        for ahead_ms in [0, -2 * HOUR_MS, 2 * HOUR_MS] {
            upstream.host_ahead_ms = ahead_ms;
            let mut host =
                Host::new(r#","streams":["siem.receipt","audit","held-messages"],"start":"48h""#);
            let before = status(&host, &upstream, Stream::Audit);
            assert_eq!(
                before.collected_until,
                upstream.host_now().plus_ms(-48 * HOUR_MS)
            );
            host.collect(&mut upstream);
            let session = host.session.as_mut().unwrap();
            for status in session.statuses(upstream.host_now()) {
                assert_eq!(status.state, StreamState::Active, "{status:?}");
                assert_eq!((status.until, status.detail.as_str()), (None, ""));
                let lag_ms = upstream.now.millis() - status.collected_until.millis();
                assert!(
                    (-1_000..60_000).contains(&lag_ms),
                    "{status:?} at {}",
                    upstream.now
                );
            }
        }
    }

    #[test]
    fn collected_until_never_goes_back() {
        let mut upstream = Upstream::new();
        let mut host = Host::new("");
        host.fresh_each_poll = true;
        host.limits.max_events = 2;
        let mut last = std::collections::BTreeMap::new();
        for round in 0..12 {
            upstream.add_file("receipt", 7);
            upstream.add_audit(&format!("a{round}"), upstream.now.plus_ms(-1000));
            for stream in [Stream::ThreatIntelGrid, Stream::HeldMessages, Stream::Dlp] {
                let at = upstream.now;
                upstream
                    .other_streams
                    .add(stream, &format!("r{round}"), (at, at));
            }
            for _ in 0..9 {
                host.poll(&mut upstream).unwrap();
                let settings = crate::settings::Settings::parse(&host.settings).unwrap();
                let now = upstream.host_now();
                let mut session =
                    Session::open(settings, host.checkpoint.as_deref(), now, 1).unwrap();
                for status in session.statuses(now) {
                    // Lists begin at the start, which moves with the clock.
                    let until = status.collected_until;
                    let before = last.insert(status.stream, until);
                    // The dates of responses, by which clocks are compared, have whole seconds.
                    assert!(
                        before.is_none_or(|before| before <= until.plus_ms(1_000)),
                        "{status:?} after {before:?}"
                    );
                }
            }
            upstream.now = upstream.now.plus_ms(6 * 60_000);
        }
    }

    #[test]
    fn what_holds_a_stream_back_is_reported_with_the_time_of_the_next_try() {
        let streams = r#","streams":["siem.receipt","audit","dlp"],"siem_calls_per_15_min":2"#;
        let mut upstream = Upstream::new();
        for _ in 0..20 {
            upstream.add_file("receipt", 1);
        }
        let refused = MockResponse::json(403, r#"{"error":{"code":"app_forbidden"}}"#);
        upstream.always.push(("dlp/get-logs".to_owned(), refused));
        let broken = MockResponse::json(503, "");
        upstream
            .always
            .push(("get-audit-events".to_owned(), broken));
        // A failure that is over is no reason.
        let unavailable = ("/cg?".to_owned(), MockResponse::json(503, ""));
        upstream.script.push_back(unavailable);
        let mut host = Host::new(streams);
        host.limits.max_requests = 50;
        for _ in 0..20 {
            host.poll(&mut upstream).unwrap();
            upstream.now = upstream.now.plus_ms(500);
        }
        for fresh in [false, true] {
            let mut status_of = |stream| {
                if fresh {
                    return status(&host, &upstream, stream);
                }
                let session = host.session.as_mut().unwrap();
                let mut statuses = session.statuses(upstream.host_now()).into_iter();
                statuses.find(|status| status.stream == stream).unwrap()
            };
            let receipt = status_of(Stream::SiemReceipt);
            assert_eq!(receipt.state, StreamState::Waiting, "{receipt:?}");
            assert_eq!(receipt.quota_remaining, Some(0));
            assert!(receipt.until > Some(upstream.host_now()));
            assert_eq!(
                receipt.detail,
                "siem.receipt: the rate limit of 2 requests in 15 minutes for SIEM batch files is \
                 used up; lower siem_calls_per_15_min only where other programs share Mimecast's \
                 limit"
            );
            let audit = status_of(Stream::Audit);
            assert_eq!(audit.state, StreamState::Failing, "{audit:?}");
            assert!(fresh || audit.detail.contains("HTTP 503"), "{audit:?}");
            let dlp = status_of(Stream::Dlp);
            assert_eq!(dlp.state, StreamState::NotPermitted, "{dlp:?}");
            assert!(
                dlp.detail
                    .contains("Monitoring | Data Leak Prevention | Read"),
                "{dlp:?}"
            );
        }
    }
}
