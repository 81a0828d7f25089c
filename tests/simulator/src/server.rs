//! The two origins: from a connection to a response.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::batch_file::BatchFile;
use crate::fault::{
    Effect, Endpoint, FaultTarget, RequestAction, apply_to_file, apply_to_response, date,
    request_action,
};
use crate::permissions::StreamRefusal;
use crate::post::Kind;
use crate::request::Request;
use crate::response::{Closed, Payload, SimulatedResponse};
use crate::tenant_state::TenantState;
use crate::{audit, campaigns, events, feed, post, siem, storage};

/// Which of the two origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Tokens, lists and logs.
    Api,
    /// Batch files.
    Storage,
}

/// Serves an origin forever.
pub(crate) async fn serve(
    state: Arc<TenantState>,
    origin: Origin,
    listener: TcpListener,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(Arc::clone(&state), origin, stream));
            }
            // Perhaps there are no descriptors left; a later connection may succeed.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(state: Arc<TenantState>, origin: Origin, stream: TcpStream) {
    // Small responses must not wait for each other; where this fails they do.
    let _ = stream.set_nodelay(true);
    state.counters.note_connection_opened();
    let service = service_fn(|request| respond(&state, origin, request));
    // A connection that the other side drops is no error.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    state.counters.note_connection_closed();
}

async fn respond(
    state: &Arc<TenantState>,
    origin: Origin,
    request: hyper::Request<Incoming>,
) -> Result<Response<Payload>, Closed> {
    let request = Request::read(request).await;
    let (endpoint, stream, file) = target(state, origin, &request);
    if origin == Origin::Storage && request.authorization.is_some() {
        state.counters.note_bearer_violation();
    }
    state.counters.note_begun(endpoint);
    let has_page_token = request.parameter("nextPage").is_some()
        || request
            .body
            .windows(8)
            .any(|window| window == b"\"token\":" || window == b"eToken\":");
    let effect = state.faults().next_effect(FaultTarget {
        endpoint,
        stream: &stream,
        has_page_token,
        file: file.as_deref(),
        faults_per_file_max: state.config.faults_per_file_max,
    });
    let action = effect.as_ref().map_or(RequestAction::Proceed, |effect| {
        request_action(effect, endpoint, has_page_token, state.clock.now_ms())
    });
    let (fault_response, wait_ms) = match action {
        RequestAction::Respond(response) => (Some(response), 0),
        RequestAction::Close => {
            state.counters.note_finished(endpoint, &stream, 0);
            return Err(Closed);
        }
        RequestAction::Proceed => (None, 0),
        RequestAction::Wait(ms) => (None, ms),
    };
    if wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    let mut response = match origin {
        Origin::Api => api(state, &request, endpoint, fault_response, effect.clone()).await,
        Origin::Storage => match fault_response {
            Some(response) => response,
            None => storage_response(state, &request, file, effect.clone()).await,
        },
    };
    if let Some(effect) = &effect {
        apply_to_response(effect, &mut response);
    }
    state
        .counters
        .note_finished(endpoint, &stream, response.status);
    let date = date(effect.as_ref(), state.clock.now_ms());
    let id = match origin {
        Origin::Api => "x-request-id",
        Origin::Storage => "x-amz-request-id",
    };
    Ok(response
        .with("date", date)
        .with(id, state.next_request_id())
        .into_response())
}

/// Returns the endpoint, the stream and the file of a request.
fn target(
    state: &TenantState,
    origin: Origin,
    request: &Request,
) -> (Endpoint, String, Option<Arc<BatchFile>>) {
    if origin == Origin::Storage {
        let file = state.file(&request.path);
        let stream = file
            .as_ref()
            .map_or("", |file| file.record_generator.event_type.stream());
        return (Endpoint::File, stream.to_owned(), file);
    }
    let endpoint = request.endpoint();
    let stream = match endpoint {
        Endpoint::Batch | Endpoint::Events => {
            siem::event_type(request).map_or("", crate::EventType::stream)
        }
        Endpoint::File | Endpoint::Other | Endpoint::Token => "",
        Endpoint::Post => post::find_post_endpoint(&request.path, &request.body)
            .map_or("", |post_endpoint| post_endpoint.stream),
    };
    (endpoint, stream.to_owned(), None)
}

/// Answers a request to the API origin: checks token, quota and permission, then answers the
/// request.
async fn api(
    state: &Arc<TenantState>,
    request: &Request,
    endpoint: Endpoint,
    fault_response: Option<SimulatedResponse>,
    effect: Option<Effect>,
) -> SimulatedResponse {
    let now_ms = state.clock.now_ms();
    let quota = match endpoint {
        Endpoint::Batch => state.batch_quota(),
        Endpoint::Events => state.events_quota(),
        Endpoint::File | Endpoint::Other | Endpoint::Post | Endpoint::Token => {
            state.general_quota()
        }
    };
    let (headers, throttled) = { quota }.count_call(now_ms);
    let refused = fault_response.or_else(|| match endpoint {
        Endpoint::Token => None,
        Endpoint::Batch | Endpoint::Events | Endpoint::File | Endpoint::Other | Endpoint::Post => {
            state.auth().refusal(request, now_ms)
        }
    });
    let mut response = match refused.or(throttled) {
        Some(response) => response,
        None => match endpoint {
            Endpoint::Batch => batch(state, request, effect).await,
            Endpoint::Events => single_events(state, request, effect.as_ref()),
            Endpoint::File | Endpoint::Other => endpoint_missing(state),
            Endpoint::Post => post_response(state, request, effect.as_ref()),
            Endpoint::Token => state.auth().grant(request, now_ms),
        },
    };
    response.headers.extend(headers);
    response
}

async fn batch(
    state: &Arc<TenantState>,
    request: &Request,
    effect: Option<Effect>,
) -> SimulatedResponse {
    let Some(event_type) = siem::event_type(request) else {
        return siem::bad_parameter("type");
    };
    if let Some(response) = refusal(state, event_type.stream()) {
        return response;
    }
    let now_ms = state.clock.now_ms();
    let page = match state.file_lists().get(&event_type) {
        Some(list) => list.page(&state.config, request, now_ms),
        None => Err(siem::bad_parameter("type")),
    };
    let mut page = match page {
        Ok(page) => page,
        Err(response) => return response,
    };
    let requested_size = request
        .parameter("pageSize")
        .and_then(|size| size.parse().ok());
    page.repeat_first_file(&state.config, requested_size);
    page.apply_effect(effect.as_ref());
    let state = Arc::clone(state);
    blocking(move || page.response(&state.link_signer, now_ms)).await
}

fn single_events(
    state: &TenantState,
    request: &Request,
    effect: Option<&Effect>,
) -> SimulatedResponse {
    let Some(event_type) = siem::event_type(request) else {
        return siem::bad_parameter("types");
    };
    if let Some(response) = refusal(state, event_type.stream()) {
        return response;
    }
    let (now_ms, odd_shapes) = (state.clock.now_ms(), state.config.odd_shapes);
    let response = match state.file_lists().get(&event_type) {
        Some(list) => events::respond(list, request, (now_ms, odd_shapes), effect),
        None => (siem::bad_parameter("types"), Vec::new()),
    };
    state.note_rewritten(event_type.stream(), response.1);
    response.0
}

fn post_response(
    state: &TenantState,
    request: &Request,
    effect: Option<&Effect>,
) -> SimulatedResponse {
    let Some(post_endpoint) = post::find_post_endpoint(&request.path, &request.body) else {
        return endpoint_missing(state);
    };
    if let Some(response) = refusal(state, post_endpoint.stream) {
        return response;
    }
    let context = state.request_context(effect);
    let mut logs = state.logs();
    let log = logs.entry(post_endpoint.stream).or_default();
    match post_endpoint.kind {
        Kind::Campaigns if request.path == post::CAMPAIGN_PEOPLE_PATH => {
            campaigns::people(log, post_endpoint, &request.body, &context)
        }
        Kind::Campaigns => campaigns::list(log, &context),
        Kind::Categories => audit::categories(),
        Kind::Feed => {
            let (response, rewritten) =
                feed::respond(log, post_endpoint.stream, &request.body, &context);
            state.note_rewritten(post_endpoint.stream, rewritten);
            response
        }
        Kind::Pages => log.respond(post_endpoint, &request.body, &context),
    }
}

async fn storage_response(
    state: &Arc<TenantState>,
    request: &Request,
    file: Option<Arc<BatchFile>>,
    effect: Option<Effect>,
) -> SimulatedResponse {
    let Some(file) = file.filter(|file| !file.is_deleted()) else {
        return storage::not_found();
    };
    if let Some(response) = state.link_signer.refusal(request, state.clock.now_ms()) {
        return response;
    }
    blocking(move || {
        let whole = file.response_bytes(effect.as_ref());
        let bytes = match &effect {
            Some(effect) => apply_to_file(effect, whole),
            None => whole,
        };
        let mut response =
            SimulatedResponse::new(200, bytes).with("content-type", "application/gzip");
        let corrupted = effect.as_ref().is_some_and(Effect::corrupts_file);
        response.file = (!corrupted).then(|| Arc::clone(&file));
        response
    })
    .await
}

/// Runs slow work on another thread than those of the connections.
async fn blocking(work: impl FnOnce() -> SimulatedResponse + Send + 'static) -> SimulatedResponse {
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(_) => SimulatedResponse::new(500, "the simulator itself has failed"),
    }
}

/// Returns the response for a stream that may not be read.
fn refusal(state: &TenantState, stream: &str) -> Option<SimulatedResponse> {
    state.permissions().refusal(stream, state.config.fail_shape)
}

fn endpoint_missing(state: &TenantState) -> SimulatedResponse {
    StreamRefusal::EndpointMissing.response(state.config.fail_shape)
}
