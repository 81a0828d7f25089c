//! The two origins: from a connection to an answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::answer::{Answer, Closed, Payload};
use crate::batch_file::BatchFile;
use crate::fault::{
    Effect, Endpoint, RequestAction, Target, date, on_answer, on_file, request_action,
};
use crate::permissions::Refusal;
use crate::post::Kind;
use crate::request::Request;
use crate::world::World;
use crate::{audit, campaigns, events, feed, post, siem, storage};

/// Which of the two origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Tokens, lists and logs.
    Api,
    /// Batch files.
    Storage,
}

/// Serves an origin for ever.
pub(crate) async fn serve(world: Arc<World>, origin: Origin, listener: TcpListener) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(Arc::clone(&world), origin, stream));
            }
            // Out of descriptors, perhaps; the next one may fare better.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(world: Arc<World>, origin: Origin, stream: TcpStream) {
    // Small answers must not wait for each other; where this fails they do.
    let _ = stream.set_nodelay(true);
    world.counters.open();
    let service = service_fn(|request| respond(&world, origin, request));
    // A connection that the other side drops is no error.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    world.counters.close();
}

async fn respond(
    world: &Arc<World>,
    origin: Origin,
    request: hyper::Request<Incoming>,
) -> Result<Response<Payload>, Closed> {
    let request = Request::read(request).await;
    let (endpoint, stream, file) = target(world, origin, &request);
    if origin == Origin::Storage && request.authorization.is_some() {
        world.counters.note_bearer_violation();
    }
    world.counters.note_begun(endpoint);
    let has_page_token = request.parameter("nextPage").is_some()
        || request
            .body
            .windows(8)
            .any(|window| window == b"\"token\":" || window == b"eToken\":");
    let effect = world.faults().apply_next(Target {
        endpoint,
        stream: &stream,
        has_page_token,
        file: file.as_deref(),
        faults_per_file_max: world.config.faults_per_file_max,
    });
    let first = effect.as_ref().map_or(RequestAction::Proceed, |effect| {
        request_action(effect, endpoint, has_page_token, world.clock.now_ms())
    });
    let (instead, wait_ms) = match first {
        RequestAction::Answer(answer) => (Some(answer), 0),
        RequestAction::Close => {
            world.counters.note(endpoint, &stream, 0);
            return Err(Closed);
        }
        RequestAction::Proceed => (None, 0),
        RequestAction::Wait(ms) => (None, ms),
    };
    if wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    let mut answer = match origin {
        Origin::Api => api(world, &request, endpoint, instead, effect.clone()).await,
        Origin::Storage => match instead {
            Some(answer) => answer,
            None => storage_answer(world, &request, file, effect.clone()).await,
        },
    };
    if let Some(effect) = &effect {
        on_answer(effect, &mut answer);
    }
    world.counters.note(endpoint, &stream, answer.status);
    let date = date(effect.as_ref(), world.clock.now_ms());
    let id = match origin {
        Origin::Api => "x-request-id",
        Origin::Storage => "x-amz-request-id",
    };
    Ok(answer
        .with("date", date)
        .with(id, world.request_id())
        .into_response())
}

/// Returns what a request is about.
fn target(
    world: &World,
    origin: Origin,
    request: &Request,
) -> (Endpoint, String, Option<Arc<BatchFile>>) {
    if origin == Origin::Storage {
        let file = world.file(&request.path);
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
        Endpoint::Post => post::row_of(&request.path, &request.body).map_or("", |row| row.stream),
    };
    (endpoint, stream.to_owned(), None)
}

/// Answers a request to the API origin: token, quota, permission, then what was asked.
async fn api(
    world: &Arc<World>,
    request: &Request,
    endpoint: Endpoint,
    instead: Option<Answer>,
    effect: Option<Effect>,
) -> Answer {
    let now_ms = world.clock.now_ms();
    let quota = match endpoint {
        Endpoint::Batch => world.batch_quota(),
        Endpoint::Events => world.events_quota(),
        Endpoint::File | Endpoint::Other | Endpoint::Post | Endpoint::Token => {
            world.general_quota()
        }
    };
    let (headers, throttled) = { quota }.call(now_ms);
    let refused = instead.or_else(|| match endpoint {
        Endpoint::Token => None,
        Endpoint::Batch | Endpoint::Events | Endpoint::File | Endpoint::Other | Endpoint::Post => {
            world.auth().refuse(request, now_ms)
        }
    });
    let mut answer = match refused.or(throttled) {
        Some(answer) => answer,
        None => match endpoint {
            Endpoint::Batch => batch(world, request, effect).await,
            Endpoint::Events => single_events(world, request, effect.as_ref()),
            Endpoint::File | Endpoint::Other => missing(world),
            Endpoint::Post => posted(world, request, effect.as_ref()),
            Endpoint::Token => world.auth().grant(request, now_ms),
        },
    };
    answer.headers.extend(headers);
    answer
}

async fn batch(world: &Arc<World>, request: &Request, effect: Option<Effect>) -> Answer {
    let Some(event_type) = siem::event_type(request) else {
        return siem::bad_parameter("type");
    };
    if let Some(answer) = refused(world, event_type.stream()) {
        return answer;
    }
    let now_ms = world.clock.now_ms();
    let page = match world.file_lists().get(&event_type) {
        Some(list) => list.page(&world.config, request, now_ms),
        None => Err(siem::bad_parameter("type")),
    };
    let mut page = match page {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let size_asked = request
        .parameter("pageSize")
        .and_then(|size| size.parse().ok());
    page.list_twice(&world.config, size_asked);
    page.apply_effect(effect.as_ref());
    let world = Arc::clone(world);
    blocking(move || page.answer(&world.bucket, now_ms)).await
}

fn single_events(world: &World, request: &Request, effect: Option<&Effect>) -> Answer {
    let Some(event_type) = siem::event_type(request) else {
        return siem::bad_parameter("types");
    };
    if let Some(answer) = refused(world, event_type.stream()) {
        return answer;
    }
    let (now_ms, traps) = (world.clock.now_ms(), world.config.traps);
    let answer = match world.file_lists().get(&event_type) {
        Some(list) => events::answer(list, request, (now_ms, traps), effect),
        None => (siem::bad_parameter("types"), Vec::new()),
    };
    world.note_forms(event_type.stream(), answer.1);
    answer.0
}

fn posted(world: &World, request: &Request, effect: Option<&Effect>) -> Answer {
    let Some(row) = post::row_of(&request.path, &request.body) else {
        return missing(world);
    };
    if let Some(answer) = refused(world, row.stream) {
        return answer;
    }
    let context = world.request_context(effect);
    let mut logs = world.logs();
    let log = logs.entry(row.stream).or_default();
    match row.kind {
        Kind::Campaigns if request.path == post::PEOPLE => {
            campaigns::people(log, row, &request.body, &context)
        }
        Kind::Campaigns => campaigns::list(log, &context),
        Kind::Categories => audit::categories(),
        Kind::Feed => {
            let (answer, forms) = feed::answer(log, row.stream, &request.body, &context);
            world.note_forms(row.stream, forms);
            answer
        }
        Kind::Pages => log.answer(row, &request.body, &context),
    }
}

async fn storage_answer(
    world: &Arc<World>,
    request: &Request,
    file: Option<Arc<BatchFile>>,
    effect: Option<Effect>,
) -> Answer {
    let Some(file) = file.filter(|file| !file.is_deleted()) else {
        return storage::not_found();
    };
    if let Some(answer) = world.bucket.refuse(request, world.clock.now_ms()) {
        return answer;
    }
    blocking(move || {
        let whole = file.bytes(effect.as_ref());
        let bytes = match &effect {
            Some(effect) => on_file(effect, whole),
            None => whole,
        };
        let mut answer = Answer::new(200, bytes).with("content-type", "application/gzip");
        let spoiled = effect.as_ref().is_some_and(Effect::truncates_file);
        answer.file = (!spoiled).then(|| Arc::clone(&file));
        answer
    })
    .await
}

/// Runs what takes time apart from the connections.
async fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(_) => Answer::new(500, "the simulator itself has failed"),
    }
}

/// Returns the answer for a stream that may not be read.
fn refused(world: &World, stream: &str) -> Option<Answer> {
    world.permissions().check(stream, world.config.fail_shape)
}

fn missing(world: &World) -> Answer {
    Refusal::EndpointMissing.answer(world.config.fail_shape)
}
