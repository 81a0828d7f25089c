//! The routes of the admin server.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use source_common::exit::Failure;
use source_runtime::source::{Component, ComponentLoader};
use source_runtime::store;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::info;

use super::access::Access;
use super::control::{Control, ControlError, PutMode};
use super::editable_settings::editable_settings;
use super::history::History;
use super::metrics::{Format, Metrics};
use super::page;
use super::probes::{self, StoreProbe};
use super::response::{
    ApiError, empty_object, explain_method_not_allowed, json_response, response_with_content_type,
};
use super::server::AdminContext;
use crate::description::{schema, to_json};
use crate::registry::Registry;
use crate::report::{HostReport, SourceReport, Time};
use crate::source::component_location;

/// Maximum size of a request body. One with a certificate chain and many streams has a few KiB.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Time limit for receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of concurrent reports of all sources. Each occupies a processor.
const REPORTS_MAX: usize = 2;
/// Maximum number of concurrent connection tests. Each sends requests for every stream.
const CHECKS_MAX: usize = 4;
const ROWS_DEFAULT: usize = 100;
const ROWS_MAX: usize = 1_000;

/// API responses must not be rendered as a page.
const API_CONTENT_SECURITY_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// State shared by all requests.
pub(super) struct Shared {
    pub(super) access: Access,
    pub(super) registry: Registry,
    /// `None` where sources cannot be changed.
    pub(super) control: Option<Arc<dyn Control>>,
    pub(super) components: ComponentLoader,
    /// Settings file of the host.
    pub(super) settings_file: PathBuf,
    pub(super) metrics: Arc<Metrics>,
    pub(super) history: History,
    pub(super) store: StoreProbe,
    pub(super) reports: Semaphore,
    pub(super) checks: Semaphore,
    /// Serializes changes, so that each starts from the result of the last one.
    pub(super) changes: Mutex<()>,
}

type App = State<Arc<Shared>>;
type ApiResult = Result<Response, ApiError>;

impl Shared {
    pub(super) fn new(access: Access, context: AdminContext, metrics: Arc<Metrics>) -> Self {
        Self {
            access,
            registry: context.registry,
            control: context.control,
            components: context.components,
            settings_file: context.settings_file,
            metrics,
            history: History::default(),
            store: StoreProbe::new(context.state_dir),
            reports: Semaphore::new(REPORTS_MAX),
            checks: Semaphore::new(CHECKS_MAX),
            changes: Mutex::default(),
        }
    }

    fn control(&self) -> Result<&dyn Control, ApiError> {
        self.control.as_deref().ok_or_else(|| {
            let message = if self.registry.is_fleet() {
                "the tenants of a fleet are changed with `source-host fleet`: add, change, pause, \
                 resume and remove"
            } else {
                "this run accepts no changes; change the settings file and start it again"
            };
            ApiError::new(StatusCode::CONFLICT, message)
        })
    }

    async fn built_in_component(&self) -> Result<Component, Failure> {
        self.components.get_or_load(&component_location(None)).await
    }

    /// Makes a report on a blocking thread and returns what `convert` makes of it.
    pub(super) async fn with_report<T: Send + 'static>(
        &self,
        convert: impl FnOnce(HostReport, SystemTime) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let failed = || failed("the report could not be made; the log of the host says why");
        let _permit = self.reports.acquire().await.map_err(|_| failed())?;
        let registry = self.registry.clone();
        let made = spawn_blocking(move || {
            let now = SystemTime::now();
            convert(registry.report(now), now)
        });
        made.await.map_err(|_| failed())
    }
}

/// Builds the router with all routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let one_source = Router::new()
        .route(
            "/api/v1/sources/{name}",
            get(source).put(put).delete(delete),
        )
        .route("/api/v1/sources/{name}/history", get(history))
        .route("/api/v1/sources/{name}/settings", get(settings))
        .route("/api/v1/sources/{name}/check", post(check))
        .route("/api/v1/sources/{name}/pause", post(pause))
        .route("/api/v1/sources/{name}/resume", post(resume))
        .route("/api/v1/sources/{name}/reset", post(reset))
        .route_layer(from_fn_with_state(
            Arc::clone(&shared),
            replace_not_found_until_loaded,
        ));
    let mut router = Router::new()
        .route("/livez", get(|| async { probes::live() }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/describe", get(describe))
        .route("/api/v1/sources", get(sources))
        .merge(one_source);
    for (path, content_type, bytes) in page::ASSETS {
        let content_hash = content_hash(bytes);
        let asset = move |headers: HeaderMap| async move {
            asset(&headers, content_type, bytes, content_hash)
        };
        router = router.route(path, get(asset));
    }
    let outer = from_fn_with_state(Arc::clone(&shared), guard);
    router
        .fallback(|| async {
            ApiError::not_found(
                "there is no such path; the status page is at /, the API below /api/v1",
            )
        })
        .layer(outer)
        .with_state(shared)
}

/// Middleware around every route and the fallback: checks access before the handler runs, and adds the common
/// headers to each response.
async fn guard(State(shared): App, request: Request, next: Next) -> Response {
    let checked = shared
        .access
        .check(request.method(), request.uri(), request.headers());
    let mut response = match checked {
        Ok(()) => explain_method_not_allowed(next.run(request).await),
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    let missing = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, API_CONTENT_SECURITY_POLICY),
    ];
    for (name, value) in missing {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Middleware: replaces a 404 response for a source with 503 until all sources are loaded. Which
/// sources exist is not known before, and a client may delete what it believes to be removed.
async fn replace_not_found_until_loaded(
    State(shared): App,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if response.status() == StatusCode::NOT_FOUND && !shared.registry.is_ready() {
        return probes::not_loaded();
    }
    response
}

/// Returns a file of the status page, or 304 where the browser's copy is current.
fn asset(
    headers: &HeaderMap,
    content_type: &'static str,
    bytes: &'static [u8],
    content_hash: u64,
) -> Response {
    let tag = format!("\"{content_hash:016x}\"");
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|known| known.to_str().ok());
    let is_current = known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
    let (status, body) = match is_current {
        true => (StatusCode::NOT_MODIFIED, Bytes::new()),
        false => (StatusCode::OK, Bytes::from_static(bytes)),
    };
    let mut response =
        response_with_content_type(status, HeaderValue::from_static(content_type), body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let policy = HeaderValue::from_static(page::CONTENT_SECURITY_POLICY);
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Returns a hash by which browsers tell that a file has changed.
fn content_hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

async fn ready(State(shared): App) -> Response {
    probes::ready(shared.registry.is_ready(), &shared.store).await
}

async fn metrics(State(shared): App, headers: HeaderMap) -> ApiResult {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let metrics = Arc::clone(&shared.metrics);
    let text = shared
        .with_report(move |report, _| metrics.encode(report, format))
        .await?
        .map_err(|error| {
            let message = format!("the metrics cannot be written: {error}; report this");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        })?;
    let content_type = HeaderValue::from_static(format.content_type());
    Ok(response_with_content_type(
        StatusCode::OK,
        content_type,
        text,
    ))
}

async fn status(State(shared): App) -> ApiResult {
    shared.with_report(|report, _| json_response(&report)).await
}

/// The query of the source list: filter and pagination.
#[derive(Debug, Default)]
struct SourceQuery {
    /// Part of the name, case-insensitive.
    search: String,
    /// Name of a state.
    state: String,
    limit: Option<usize>,
    offset: usize,
}

impl SourceQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = || {
                let number = value.parse::<usize>();
                number.map_err(|_| format!("{key} is {value:?}; write a whole number"))
            };
            match &*key {
                "search" => parsed.search = value.into_owned(),
                "state" => parsed.state = value.into_owned(),
                "limit" => parsed.limit = Some(number()?),
                "offset" => parsed.offset = number()?,
                _ => {
                    return Err(format!(
                        "there is no parameter {key:?}; there are: search, state, limit, offset"
                    ));
                }
            }
        }
        Ok(parsed)
    }
}

async fn sources(State(shared): App, RawQuery(query): RawQuery) -> ApiResult {
    let bad = |reason: String| ApiError::new(StatusCode::BAD_REQUEST, reason);
    let query = SourceQuery::parse(query.as_deref().unwrap_or_default()).map_err(bad)?;
    let states = store::State::ALL;
    if !query.state.is_empty() && !states.iter().any(|it| it.name() == query.state) {
        let words: Vec<_> = states.iter().map(|it| it.name()).collect();
        let reason = format!("state {:?} is none of: {}", query.state, words.join(", "));
        return Err(bad(reason));
    }
    shared
        .with_report(move |report, now| json_response(&select(report, &query, now)))
        .await
}

/// Returns one page of rows, the number of sources that match, and the number by state of those that
/// match `search`.
fn select(report: HostReport, query: &SourceQuery, now: SystemTime) -> Value {
    let search = query.search.to_lowercase();
    let limit = query.limit.unwrap_or(ROWS_DEFAULT).min(ROWS_MAX);
    let mut states: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut rows = Vec::new();
    let mut total = 0_usize;
    for source in report.sources {
        if !source.source.to_lowercase().contains(&search) {
            continue;
        }
        let word = source.state.name();
        let count = states.entry(word).or_default();
        *count = count.saturating_add(1);
        if !query.state.is_empty() && query.state != word {
            continue;
        }
        total = total.saturating_add(1);
        if total > query.offset && rows.len() < limit {
            rows.push(row(source));
        }
    }
    let mut page = json!({
        "at": Time::of(now),
        "host": report.host,
        "outputs": report.outputs,
        "total": total,
        "states": states,
        "offset": query.offset,
        "limit": limit,
        "sources": rows,
    });
    if let (Some(page), Some(fleet)) = (page.as_object_mut(), &report.fleet) {
        page.insert("fleet".to_owned(), json!(fleet));
    }
    page
}

/// Returns a source with the totals of its streams instead of the streams.
fn row(mut source: SourceReport) -> Value {
    let sums = json!({
        "received": source.sum(|stream| stream.received),
        "events": source.sum(|stream| stream.events),
        "rejected": source.sum(|stream| stream.rejected),
        "duplicates": source.sum(|stream| stream.duplicates),
        "gaps": source.sum(|stream| stream.gaps),
        "requests": source.sum(|stream| stream.requests),
        "received_bytes": source.sum(|stream| stream.received_bytes),
        "stream_count": source.streams.len(),
    });
    source.streams.clear();
    let mut row = serde_json::to_value(source).unwrap_or_default();
    if let (Some(row), Value::Object(sums)) = (row.as_object_mut(), sums) {
        row.remove("streams");
        row.extend(sums);
    }
    row
}

async fn source(State(shared): App, Path(name): Path<String>) -> ApiResult {
    let report = shared.registry.source_report(&name, SystemTime::now());
    report
        .map(|report| json_response(&report))
        .ok_or_else(|| ApiError::unknown_source(&name))
}

async fn history(State(shared): App, Path(name): Path<String>) -> ApiResult {
    if shared.registry.entry(&name).is_none() {
        return Err(ApiError::unknown_source(&name));
    }
    Ok(json_response(
        &json!({ "points": shared.history.points(&name) }),
    ))
}

async fn settings(State(shared): App, Path(name): Path<String>) -> ApiResult {
    let file = shared.control()?.settings_file(&name).await?;
    let schema = schema(shared.built_in_component().await?.description())?;
    let read =
        spawn_blocking(move || editable_settings(&file, &shared.settings_file, &schema)).await;
    let form = read.map_err(|error| failed(&format!("the settings cannot be read: {error}")))?;
    Ok(json_response(&form))
}

async fn describe(State(shared): App) -> ApiResult {
    let described = to_json(shared.built_in_component().await?.description())?;
    Ok(json_response(&described))
}

async fn check(State(shared): App, Path(name): Path<String>) -> ApiResult {
    let _permit = shared.checks.try_acquire().map_err(|_| {
        let message =
            format!("{CHECKS_MAX} connections are being tested; try again when one is done");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
    })?;
    Ok(json_response(&shared.control()?.check(&name).await?))
}

async fn pause(State(shared): App, Path(name): Path<String>) -> ApiResult {
    let _change = shared.changes.lock().await;
    shared.control()?.pause(&name).await?;
    info!(source = %name, "paused by the admin API");
    Ok(empty_object())
}

async fn resume(State(shared): App, Path(name): Path<String>) -> ApiResult {
    let _change = shared.changes.lock().await;
    shared.control()?.resume(&name).await?;
    info!(source = %name, "resumed by the admin API");
    Ok(empty_object())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetRequest {
    /// Empty means all streams.
    #[serde(default)]
    streams: BTreeSet<String>,
    from: String,
}

async fn reset(State(shared): App, Path(name): Path<String>, request: Request) -> ApiResult {
    let body = read_json(request).await?;
    let reset: ResetRequest = serde_json::from_value(body).map_err(|error| {
        invalid(format!(
            "{error}; write {{\"streams\": [], \"from\": \"2026-11-01T00:00:00Z\"}}"
        ))
    })?;
    let from = Time::parse(&reset.from).filter(|from| *from < Time::of(SystemTime::now()));
    let from_ms = from.and_then(|from| i64::try_from(from.epoch_ms).ok());
    let from_ms = from_ms.ok_or_else(|| {
        invalid(format!(
            "`from` is {:?}; write a time before now, such as 2026-11-01T00:00:00Z",
            reset.from
        ))
    })?;
    let streams: Vec<String> = reset.streams.into_iter().collect();
    let _change = shared.changes.lock().await;
    shared.control()?.reset(&name, &streams, from_ms).await?;
    info!(source = %name, ?streams, from = %reset.from, "reset by the admin API");
    Ok(empty_object())
}

async fn put(State(shared): App, Path(name): Path<String>, request: Request) -> ApiResult {
    let known = request.headers().get(IF_NONE_MATCH);
    let mode = match known {
        Some(known) if known.as_bytes() == b"*" => PutMode::Create,
        _ => PutMode::CreateOrReplace,
    };
    let body = read_json(request).await?;
    if !body.is_object() {
        return Err(invalid(
            "the body must be an object, as in docs/admin.md".to_owned(),
        ));
    }
    let _change = shared.changes.lock().await;
    if mode == PutMode::Create && shared.registry.entry(&name).is_some() {
        return Err(ControlError::already_exists(&name).into());
    }
    shared.control()?.put(&name, body, mode).await?;
    info!(source = %name, "settings written by the admin API");
    Ok(empty_object())
}

async fn delete(State(shared): App, Path(name): Path<String>) -> ApiResult {
    let _change = shared.changes.lock().await;
    shared.control()?.delete(&name).await?;
    info!(source = %name, "removed by the admin API");
    Ok(empty_object())
}

fn failed(message: &str) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

fn invalid(message: String) -> ApiError {
    ControlError::Invalid(vec![message]).into()
}

/// Reads a JSON body within the size and time limits.
async fn read_json(request: Request) -> Result<Value, ApiError> {
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let message = "send JSON, with the header `Content-Type: application/json`";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let too_large = || {
        let message = format!("the body may have {BODY_BYTES_MAX} bytes at most");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let body = timeout(BODY_TIMEOUT, to_bytes(request.into_body(), BODY_BYTES_MAX)).await;
    let body = body.map_err(|_| {
        let message = format!(
            "the body did not arrive within {} s",
            BODY_TIMEOUT.as_secs()
        );
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
    })?;
    let body = body.map_err(|_| too_large())?;
    serde_json::from_slice(&body).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not JSON: {error}"),
        )
    })
}
