//! The component: generated bindings, the exports and the HTTP driver, without any decision.

mod bindings;
mod convert;
mod http;

use std::cell::RefCell;

use crate::batch::{RecordProcessor, normalize_all};
use crate::check::Check;
use crate::machine::{Action, Machine};
use crate::normalize::{Format, Options};
use crate::rewind::rewind;
use crate::session::{PollError, Session};
use crate::settings::{self, EventSettings, FORMATS, Settings};
use crate::stream::{STREAMS, Stream};
use crate::time::Timestamp;
use bindings::exports::pipeline::source::{normalizer, source};
use bindings::pipeline::source::types as wit;
use bindings::wasi::clocks::wall_clock;
use bindings::wasi::random::random;
use http::ResponsePart;

/// The exports of the world.
pub(crate) struct Component;

/// The namespace from which hosts derive default tags, subjects and indexes.
const NAMESPACE: &str = "mimecast";

/// The state that an instance keeps between two polls to save requests; its loss changes nothing.
struct CachedSession {
    settings: String,
    checkpoint: Option<String>,
    session: Session,
    http: http::Http,
}

thread_local! {
    static CACHED_SESSION: RefCell<Option<CachedSession>> = const { RefCell::new(None) };
    /// The processor of the last `normalize` call: consecutive calls mostly have one format and the
    /// same settings.
    static CACHED_PROCESSOR: RefCell<Option<CachedProcessor>> = const { RefCell::new(None) };
}

/// A processor and the settings that it was made for.
struct CachedProcessor {
    settings: String,
    processor: RecordProcessor,
}

impl CachedProcessor {
    fn new(format: Format, settings: String) -> Result<Self, wit::NormalizeError> {
        let parsed = EventSettings::parse(&settings)
            .map_err(|error| wit::NormalizeError::Settings(convert::settings_error(error)))?;
        let options = Options {
            include_original: parsed.include_original,
            attack: parsed.attack,
        };
        let processor = RecordProcessor::with_severities(format, options, &parsed.severities)
            .with_tenant(parsed.tenant.as_deref());
        Ok(Self {
            settings,
            processor,
        })
    }
}

/// Reads the clock; nothing else does.
fn now() -> Timestamp {
    let now = wall_clock::now();
    let ms = now
        .seconds
        .saturating_mul(1000)
        .saturating_add(u64::from(now.nanoseconds / 1_000_000));
    Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Runs the machine until it yields.
fn drive<M: Machine>(machine: &mut M, http: &mut http::Http) -> M::Output {
    loop {
        match machine.next(now()) {
            Action::Continue => {}
            Action::Read => match http.read() {
                Ok(ResponsePart::Nothing) => {}
                Ok(ResponsePart::Head(head)) => machine.handle_head(head, now()),
                Ok(ResponsePart::Chunk(chunk)) => machine.handle_chunk(chunk, now()),
                Ok(ResponsePart::End) => machine.handle_end(now()),
                Err(error) => machine.handle_failure(error, now()),
            },
            Action::Send(request) => {
                if let Err(error) = http.send(&request) {
                    machine.handle_failure(error, now());
                }
            }
            Action::Yield(output) => {
                if !machine.keeps_response_open() {
                    http.close();
                }
                return output;
            }
        }
    }
}

/// Returns the session to continue with: the cached one where its checkpoint is `resume`, otherwise a
/// new one, which gets the state of the API client of the cached one, or the token and the clock skew of
/// `saved_session`.
fn session(
    settings: &str,
    resume: Option<&str>,
    saved_session: Option<&str>,
) -> Result<(Session, http::Http), PollError> {
    let cached = CACHED_SESSION
        .take()
        .filter(|cached| cached.settings == settings);
    match cached {
        Some(cached) if resume.is_some() && cached.checkpoint.as_deref() == resume => {
            Ok((cached.session, cached.http))
        }
        cached => {
            let parsed = Settings::parse(settings).map_err(PollError::Settings)?;
            let mut session = Session::open(parsed, resume, now(), random::get_random_u64())?;
            if let Some(saved_session) = saved_session {
                session.restore_session(saved_session, now());
            }
            if let Some(cached) = cached {
                session.inherit(cached.session);
            }
            Ok((session, http::Http::default()))
        }
    }
}

impl source::Guest for Component {
    fn describe() -> wit::Description {
        wit::Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            namespace: NAMESPACE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: settings::schema(),
            streams: STREAMS.iter().map(convert::stream_description).collect(),
            kinds: STREAMS.iter().map(convert::kind).collect(),
            formats: FORMATS.map(str::to_owned).to_vec(),
            origins: settings::ORIGINS
                .into_iter()
                .chain(settings::legacy::ORIGINS)
                .map(str::to_owned)
                .collect(),
        }
    }

    fn check(settings: String) -> Result<Vec<wit::CheckResult>, wit::SettingsError> {
        let parsed = Settings::parse(&settings).map_err(convert::settings_error)?;
        parsed.check_start(now()).map_err(convert::settings_error)?;
        let mut check = Check::new(parsed, now(), random::get_random_u64());
        let results = drive(&mut check, &mut http::Http::default());
        Ok(results.into_iter().map(convert::check_result).collect())
    }

    fn poll(
        settings: String,
        resume: Option<String>,
        saved_session: Option<String>,
        limits: wit::Limits,
    ) -> Result<wit::Batch, wit::PollError> {
        let (mut session, mut http) =
            session(&settings, resume.as_deref(), saved_session.as_deref())
                .map_err(convert::poll_error)?;
        session.begin(convert::limits(limits), now());
        let result = drive(&mut session, &mut http);
        // After a failure the position in memory may be ahead of the host's checkpoint, so only the state
        // of the API client (token, region, clock skew, waits) is used again.
        let checkpoint = result.as_ref().map(|batch| batch.checkpoint.clone()).ok();
        let (saved_session, statuses) = (session.save_session(now()), session.statuses(now()));
        CACHED_SESSION.set(Some(CachedSession {
            settings,
            checkpoint,
            session,
            http,
        }));
        result
            .map(|batch| convert::batch(batch, saved_session, statuses))
            .map_err(convert::poll_error)
    }

    fn rewind(
        settings: String,
        checkpoint: String,
        streams: Vec<String>,
        from_ms: i64,
    ) -> Result<String, String> {
        let from = Timestamp::from_millis(from_ms);
        rewind(&settings, &checkpoint, &streams, from, now())
    }
}

impl normalizer::Guest for Component {
    fn normalize(
        stream: String,
        format: String,
        settings: String,
        records: Vec<u8>,
    ) -> Result<wit::Normalized, wit::NormalizeError> {
        let stream = Stream::from_name(&stream).ok_or_else(|| {
            let names: Vec<&str> = STREAMS.iter().map(|row| row.name).collect();
            wit::NormalizeError::UnknownStream(names.join(", "))
        })?;
        let format = Format::from_name(&format)
            .ok_or_else(|| wit::NormalizeError::UnknownFormat(FORMATS.join(", ")))?;
        let cached = CACHED_PROCESSOR
            .take()
            .filter(|cached| cached.processor.format() == format && cached.settings == settings);
        let mut cached = match cached {
            Some(cached) => cached,
            None => CachedProcessor::new(format, settings)?,
        };
        let normalized = normalize_all(&mut cached.processor, stream, &records, now());
        CACHED_PROCESSOR.set(Some(cached));
        Ok(convert::normalized(normalized))
    }
}
