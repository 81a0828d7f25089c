//! A session whose upstream is chosen by the fuzzer, response by response.

use std::io::Write as _;

use arbitrary::{Result, Unstructured};
use mimecast_source::batch::{Batch, Limits, NextPoll};
use mimecast_source::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
use mimecast_source::machine::{Action, Machine as _};
use mimecast_source::request::{Request, origin};
use mimecast_source::response::{Head, TransportError};
use mimecast_source::session::{PollError, Session};
use mimecast_source::settings::Settings;
use mimecast_source::time::Timestamp;
use serde_json::Value;

pub(crate) const API: &str = "https://api.test";
const STORAGE: &str = "https://files.test";
pub(crate) const TOKEN: &str = "tok-0123456789abcdef";
pub(crate) const SECRET: &str = "sec-0123456789abcdef";
const SIGNATURE: &str = "sig-0123456789abcdef";
pub(crate) const START: Timestamp = Timestamp::from_millis(1_770_100_000_000);

/// The actions of one poll, when no response is longer than the fuzzer's input.
const ACTIONS_MAX: u32 = 100_000;
const POLLS_MAX: u32 = 12;

/// Polls a source whose responses are `data`.
pub fn session(data: &[u8]) {
    // When the data is used up, every further request fails.
    let _ = run(&mut Unstructured::new(data), None);
}

/// What is accepted as a checkpoint is given back, and can be resumed from.
pub fn checkpoint(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let Ok(mut parsed) = Checkpoint::parse(text) else {
        return;
    };
    let written = parsed.to_unbounded_text();
    assert_eq!(Checkpoint::parse(&written), Ok(parsed), "{written}");
    let _ = run(&mut Unstructured::new(data), Some(text));
}

fn run(u: &mut Unstructured<'_>, initial_checkpoint: Option<&str>) -> Result<()> {
    let settings = settings(u)?;
    let mut now = START;
    let mut checkpoint = initial_checkpoint.map(str::to_owned);
    let mut open_session: Option<Session> = None;
    for _ in 0..POLLS_MAX {
        let mut session = match open_session.take() {
            Some(session) if u.arbitrary()? => session,
            _ => open(&settings, checkpoint.as_deref(), now),
        };
        let limits = Limits {
            max_events: u.int_in_range(1..=40)?,
            max_bytes: u.int_in_range(1..=20_000)?,
            max_requests: u.int_in_range(0..=12)?,
        };
        session.begin(limits, now);
        match drive(&mut session, u, &mut now)? {
            Ok(batch) => {
                assert_batch(&batch, limits);
                if initial_checkpoint.is_none() {
                    assert!(batch.checkpoint.len() <= CHECKPOINT_BYTES_MAX);
                }
                if u.ratio(9, 10)? {
                    checkpoint = Some(batch.checkpoint);
                    open_session = Some(session);
                }
            }
            Err(error) => {
                assert_no_secret(&format!("{error:?}"));
                assert!(
                    !matches!(
                        error,
                        PollError::UnusableCheckpoint(_) | PollError::Settings(_)
                    ),
                    "{error:?}"
                );
            }
        }
        let waits_ms = [0, 1_000, 60_000, 1_800_000, 7 * 86_400_000, -3_600_000];
        now = now.plus_ms(*u.choose(&waits_ms)?);
    }
    Ok(())
}

fn settings(u: &mut Unstructured<'_>) -> Result<Settings> {
    let streams = *u.choose(&[
        r#"["siem.receipt"]"#,
        r#"["audit"]"#,
        r#"["siem.receipt","siem.url-protect","audit"]"#,
        r#"["siem","audit"]"#,
    ])?;
    let text = format!(
        r#"{{"base_url":"{API}","client_id":"c","client_secret":"{SECRET}","streams":{streams},
           "format":"{}","siem_calls_per_15_min":{},"start":"{}"}}"#,
        u.choose(&["ecs", "ocsf", "raw"])?,
        u.choose(&[1, 5, 1000])?,
        u.choose(&["0s", "24h", "365d"])?,
    );
    Ok(Settings::parse(&text).unwrap())
}

fn open(settings: &Settings, checkpoint: Option<&str>, now: Timestamp) -> Session {
    Session::open(settings.clone(), checkpoint, now, 1).unwrap()
}

/// Executes the actions of the session, with the fuzzer as the network.
fn drive(
    session: &mut Session,
    u: &mut Unstructured<'_>,
    now: &mut Timestamp,
) -> Result<core::result::Result<Batch, PollError>> {
    let mut body: Option<Vec<u8>> = None;
    for _ in 0..ACTIONS_MAX {
        match session.next(*now) {
            Action::Continue => {}
            Action::Yield(result) => return Ok(result),
            Action::Send(request) => {
                check_request(&request);
                *now = now.plus_ms(i64::from(u.arbitrary::<u8>()?));
                if u.ratio(1, 12)? {
                    session.handle_failure(failure(u, &request)?, *now);
                    continue;
                }
                body = Some(response_body(u, &request)?);
                session.handle_head(head(u)?, *now);
            }
            Action::Read => {
                let left = body.get_or_insert_default();
                if left.is_empty() {
                    session.handle_end(*now);
                } else if u.ratio(1, 30)? {
                    session.handle_failure(TransportError::Failed("broken off".into()), *now);
                } else {
                    let most = left.len();
                    let size = if u.arbitrary()? {
                        most
                    } else {
                        u.int_in_range(1..=most)?
                    };
                    session.handle_chunk(left.drain(..size).collect(), *now);
                }
            }
        }
    }
    panic!("the session does not come to an end");
}

/// A token goes to the API and nowhere else.
pub(crate) fn check_request(request: &Request) {
    let to = origin(&request.url);
    assert!(request.credentials.is_empty() || to == API, "{to}");
    assert!(request.body.is_none() || to == API, "{to}");
}

fn failure(u: &mut Unstructured<'_>, request: &Request) -> Result<TransportError> {
    Ok(if u.ratio(1, 8)? {
        TransportError::Denied(request.shown_origin())
    } else {
        TransportError::Failed("no route".to_owned())
    })
}

fn head(u: &mut Unstructured<'_>) -> Result<Head> {
    let status = if u.ratio(4, 5)? {
        200
    } else {
        *u.choose(&[
            0, 204, 302, 400, 401, 403, 404, 408, 410, 429, 500, 503, 999,
        ])?
    };
    let mut headers = Vec::new();
    for name in [
        "date",
        "retry-after",
        "x-ratelimit-reset",
        "x-ratelimit-remaining",
        "x-request-id",
    ] {
        if u.ratio(1, 6)? {
            let value = match u.int_in_range(0..=4)? {
                0 => "0".to_owned(),
                1 => "Mon, 02 Feb 2026 06:26:40 GMT".to_owned(),
                2 => "4851".to_owned(),
                3 => "9223372036854775807".to_owned(),
                _ => u.arbitrary::<String>()?,
            };
            headers.push((name.to_owned(), value));
        }
    }
    Ok(Head { status, headers })
}

/// Mostly what the request asks for, with parts that are the fuzzer's; sometimes anything.
fn response_body(u: &mut Unstructured<'_>, request: &Request) -> Result<Vec<u8>> {
    if u.ratio(1, 10)? {
        return Ok(u.arbitrary::<&[u8]>()?.to_vec());
    }
    if u.ratio(1, 10)? {
        let code = u.choose(&[
            "app_forbidden",
            "token_expired",
            "err_x",
            "internal_server_error",
        ])?;
        return Ok(format!(r#"{{"fail":[{{"code":"{code}","message":"m"}}]}}"#).into_bytes());
    }
    let url = &request.url;
    if url.starts_with(STORAGE) || !url.starts_with(API) {
        let mut text = Vec::new();
        for _ in 0..u.int_in_range(0..=6)? {
            text.extend(record(u)?.into_bytes());
            text.push(b'\n');
        }
        let mut compressed = gzip(&text);
        if u.ratio(1, 10)? {
            compressed.truncate(u.int_in_range(0..=compressed.len())?);
        }
        return Ok(compressed);
    }
    if url.ends_with("/oauth/token") {
        let life = u.choose(&["1799", "0", "-5", "1e300", "\"1\""])?;
        return Ok(format!(r#"{{"access_token":"{TOKEN}","expires_in":{life}}}"#).into_bytes());
    }
    if url.contains("/siem/") {
        listing(u)
    } else {
        audit_page(u)
    }
}

fn listing(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    for _ in 0..u.int_in_range(0..=4)? {
        let name = match u.int_in_range(0..=9)? {
            0 => quoted(u.arbitrary::<&str>()?),
            1 => quoted(&format!(
                "{STORAGE}/{}?X-Amz-Signature={SIGNATURE}",
                "n".repeat(u.int_in_range(0..=9_000)?)
            )),
            n => quoted(&format!(
                "{STORAGE}/f/{n}.json.gz?X-Amz-Signature={SIGNATURE}"
            )),
        };
        files.push(format!(
            r#"{{"url":{name},"size":{}}}"#,
            u.choose(&["1", "-1", "null"])?
        ));
    }
    let token = match u.int_in_range(0..=5)? {
        0 => "null".to_owned(),
        1 => quoted(""),
        2 => quoted(&"t".repeat(u.int_in_range(0..=9_000)?)),
        n => quoted(&format!("page-{n}")),
    };
    let caught_up: bool = u.arbitrary()?;
    let files = files.join(",");
    Ok(
        format!(r#"{{"value":[{files}],"@nextPage":{token},"isCaughtUp":{caught_up}}}"#)
            .into_bytes(),
    )
}

fn audit_page(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut records = Vec::new();
    for _ in 0..u.int_in_range(0..=5)? {
        records.push(record(u)?);
    }
    let next = match u.int_in_range(0..=3)? {
        0 => "null".to_owned(),
        n => quoted(&format!("next-{n}")),
    };
    let data = records.join(",");
    Ok(format!(r#"{{"meta":{{"pagination":{{"next":{next}}}}},"data":[{data}]}}"#).into_bytes())
}

fn record(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=5)? {
        0 => u.arbitrary::<&str>()?.to_owned(),
        1 => quoted(u.arbitrary::<&str>()?),
        n => {
            let id: u8 = u.arbitrary()?;
            format!(
                r#"{{"aggregateId":"{id}","id":"{id}","eventTime":"2026-02-02T06:{n}0:00+0000","timestamp":17701000{n}0000,"subject":{}}}"#,
                quoted(u.arbitrary::<&str>()?)
            )
        }
    })
}

/// What `pipeline:source` promises of a batch.
pub(crate) fn assert_batch(batch: &Batch, limits: Limits) {
    let mut events = 0;
    let mut rejected = 0;
    for (stream, stats) in &batch.stats {
        assert_eq!(
            stats.received,
            stats.events + stats.rejected + stats.duplicates,
            "{stream}"
        );
        events += stats.events;
        rejected += stats.rejected;
    }
    assert_eq!(events, batch.index.len() as u64);
    assert_eq!(rejected, batch.rejected.len() as u64);
    assert!(events + rejected <= u64::from(limits.max_events));

    let originals: usize = batch
        .rejected
        .iter()
        .map(|rejected| rejected.original.len())
        .sum();
    assert!((batch.events.len() + originals) as u64 <= limits.max_bytes);

    let mut at = 0;
    for entry in &batch.index {
        let end = entry.end as usize;
        let line = &batch.events[at..end];
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        at = end;
    }
    assert_eq!(at, batch.events.len());

    let requests: u32 = batch.stats.iter().map(|(_, stats)| stats.requests).sum();
    assert!(requests <= limits.max_requests);
    if let NextPoll::CaughtUp(ms) | NextPoll::Failing(ms) | NextPoll::Throttled(ms) = batch.next {
        assert!((1..=3_600_000).contains(&ms), "{ms}");
    }
    assert!(Checkpoint::parse(&batch.checkpoint).is_ok());
    assert_no_secret(&batch.checkpoint);
    assert_no_secret(&format!("{:?}", batch.notices));
    for rejected in &batch.rejected {
        assert_no_secret(&rejected.locator);
        assert_no_secret(&rejected.reason);
    }
}

pub(crate) fn assert_no_secret(text: &str) {
    for secret in [TOKEN, SECRET, SIGNATURE] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
