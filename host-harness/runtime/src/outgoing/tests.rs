//! What a request over a loopback upstream becomes: a response, or the error
//! that `wasi:http` has for it.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

#[path = "../../../host/tests/outputs/http_proxy.rs"]
mod http_proxy;
mod proxy;

/// An upstream that reads a request head and writes `response`; then it closes the connection, or
/// keeps it open without sending more.
async fn upstream(response: &'static str, keeps_open: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut piece = [0; 1024];
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => head.extend_from_slice(&piece[..count]),
                    }
                }
                stream.write_all(response.as_bytes()).await.unwrap();
                if keeps_open {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    origin
}

fn outgoing(entries: &[&str]) -> OutgoingHttp {
    outgoing_through(Proxies::default(), entries)
}

fn outgoing_through(proxies: Proxies, entries: &[&str]) -> OutgoingHttp {
    let list = AllowList::parse(entries).unwrap();
    OutgoingHttp::new("acme", &ConnectionPools::default(), list, proxies, None).unwrap()
}

async fn send(outgoing: &OutgoingHttp, uri: &str) -> Result<Response<WasiBody>, HttpError> {
    send_within(outgoing, uri, RequestOptions::default()).await
}

async fn send_within(
    outgoing: &OutgoingHttp,
    uri: &str,
    options: RequestOptions,
) -> Result<Response<WasiBody>, HttpError> {
    let body = Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = Request::get(uri).body(body).unwrap();
    let no_error: TransmissionFuture = Box::new(std::future::ready(Ok(())));
    let sent = outgoing
        .clone()
        .send_request(request, Some(options), no_error);
    Pin::from(sent).await.map(|(response, _)| response)
}

async fn body(response: Response<WasiBody>) -> Result<Bytes, HttpError> {
    Ok(response.into_body().collect().await?.to_bytes())
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_named_loopback_origin_is_reached() {
    let origin = upstream(HELLO, false).await;
    let response = send(&outgoing(&[&origin]), &origin).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(body(response).await.unwrap(), "hello");
}

/// Counts the requests that have begun and not ended.
#[derive(Debug, Default)]
struct PendingCount(AtomicUsize);

impl RequestObserver for PendingCount {
    fn begun(&self, _: SystemTime) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, _: SystemTime) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn outcome(&self, _: Option<u16>) {}
}

#[tokio::test]
async fn a_request_is_pending_until_it_is_answered_or_given_up() {
    let count = Arc::new(PendingCount::default());
    let pending = || count.0.load(Ordering::Relaxed);
    let silent = upstream("", true).await;
    let answering = upstream(HELLO, false).await;
    let outgoing = outgoing(&[&silent, &answering]);
    outgoing.set_observer(Arc::<PendingCount>::clone(&count));
    send(&outgoing, &answering).await.unwrap();
    assert_eq!(pending(), 0);
    let given_up = tokio::spawn({
        let outgoing = outgoing.clone();
        async move { send(&outgoing, &silent).await }
    });
    while pending() == 0 {
        tokio::task::yield_now().await;
    }
    send(&outgoing, &answering).await.unwrap();
    assert_eq!(pending(), 1);
    given_up.abort();
    assert!(given_up.await.is_err());
    assert_eq!(pending(), 0);
}

#[tokio::test]
async fn an_origin_that_is_not_listed_is_denied() {
    let origin = upstream(HELLO, false).await;
    for list in [&[][..], &["https://api.example.com"]] {
        let error = send(&outgoing(list), &origin).await.unwrap_err();
        assert!(matches!(error, HttpError::HttpRequestDenied), "{error}");
    }
}

/// A component may keep a thousand requests with their bodies.
#[test]
fn the_body_of_a_request_that_is_not_sent_takes_little_memory() {
    let mut outgoing = OutgoingHttp::offline("acme", AllowList::default());
    let pieces = outgoing.p2_outgoing_body_buffer_chunks() + 1;
    assert!(pieces * outgoing.p2_outgoing_body_chunk_size() <= 32 * 1024);
}

#[test]
fn denials_are_logged_once_for_a_limited_number_of_origins() {
    let shared = OutgoingHttp::offline("acme", AllowList::default()).shared;
    let origin = |number| Origin::new("https", &format!("h{number}.example.com"), None).unwrap();
    for number in 0..LOGGED_DENIALS_MAX {
        assert!(shared.record_denial(&origin(number)), "{number}");
        assert!(!shared.record_denial(&origin(number)), "{number}");
    }
    for number in LOGGED_DENIALS_MAX..1_000 {
        assert!(!shared.record_denial(&origin(number)), "{number}");
    }
    let noted = shared.logged_denials.lock().unwrap().len();
    assert_eq!(noted, LOGGED_DENIALS_MAX + 1);
}

/// Collects what is logged: the fields of each event, and its message.
#[derive(Clone, Debug, Default)]
struct CapturedLog(Arc<Mutex<String>>);

impl Visit for CapturedLog {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let line = format!("{field}={value:?}\n");
        self.0.lock().unwrap().push_str(&line);
    }
}

impl Subscriber for CapturedLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_denied_origin_that_is_made_of_a_secret_is_logged_without_it() {
    // The second is on the list, and denied for its last part, which an address may have.
    for (host, redacted) in [
        (
            "S3cretHunter22.example.com",
            "https://[redacted].example.com",
        ),
        ("S3cretHunter22.a.5", "https://[redacted].a.5"),
    ] {
        let list = AllowList::parse(&["https://*.a.5"]).unwrap();
        let outgoing = OutgoingHttp::offline("acme", list);
        outgoing.set_redactor(&Redactor::new(["S3cretHunter22".to_owned()]));
        let origin = Origin::new("https", host, None).unwrap();
        let log = CapturedLog::default();
        tracing::subscriber::with_default(log.clone(), || {
            outgoing.shared.check(&origin).unwrap_err();
        });
        let logged = log.0.lock().unwrap().to_lowercase();
        assert!(!logged.contains("hunter22"), "{logged}");
        // As the origin, and in the setting that would allow it.
        assert_eq!(logged.matches(redacted).count(), 2, "{logged}");
    }
}

#[tokio::test]
async fn a_listed_name_that_resolves_to_loopback_is_prohibited() {
    let origin = upstream(HELLO, false).await;
    let port = origin.rsplit(':').next().unwrap();
    // A spelling of 127.0.0.1 that is no address to the allow-list, but one
    // to the resolver.
    let uri = format!("http://127.1:{port}");
    let error = send(&outgoing(&[&uri]), &uri).await.unwrap_err();
    assert!(
        matches!(error, HttpError::DestinationIpProhibited),
        "{error}"
    );
}

#[tokio::test]
async fn localhost_is_reached_when_it_is_named() {
    let origin = upstream(HELLO, false).await;
    let port = origin.rsplit(':').next().unwrap();
    let uri = format!("http://localhost:{port}");
    assert!(send(&outgoing(&[&uri]), &uri).await.is_ok());
}

#[tokio::test]
async fn a_user_name_in_the_uri_is_refused() {
    let origin = upstream(HELLO, false).await;
    let uri = origin.replace("http://", "http://user@");
    let error = send(&outgoing(&[&origin]), &uri).await.unwrap_err();
    assert!(matches!(error, HttpError::HttpRequestUriInvalid), "{error}");
}

#[tokio::test]
async fn a_redirect_is_returned_like_any_other_response() {
    let response =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let origin = upstream(response, false).await;
    let response = send(&outgoing(&[&origin]), &origin).await.unwrap();
    assert_eq!(response.status(), 302);
}

#[tokio::test]
async fn a_closed_port_refuses_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = send(&outgoing(&[&origin]), &origin).await.unwrap_err();
    assert!(matches!(error, HttpError::ConnectionRefused), "{error}");
}

#[tokio::test]
async fn a_connection_that_closes_before_the_head_is_terminated() {
    let origin = upstream("HTTP/1.1 200", false).await;
    let error = send(&outgoing(&[&origin]), &origin).await.unwrap_err();
    assert!(matches!(error, HttpError::ConnectionTerminated), "{error}");
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_incomplete() {
    let response = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello";
    let origin = upstream(response, false).await;
    let response = send(&outgoing(&[&origin]), &origin).await.unwrap();
    let error = body(response).await.unwrap_err();
    assert!(
        matches!(error, HttpError::HttpResponseIncomplete),
        "{error}"
    );
}

#[tokio::test]
async fn a_response_that_is_not_http_is_a_protocol_error() {
    let origin = upstream("220 smtp.example.com ESMTP\r\n\r\n", true).await;
    let error = send(&outgoing(&[&origin]), &origin).await.unwrap_err();
    assert!(matches!(error, HttpError::HttpProtocolError), "{error}");
}

#[tokio::test]
async fn a_silent_upstream_and_a_body_that_stands_still_time_out() {
    let short = Some(Duration::from_millis(20));
    let options = RequestOptions {
        connect_timeout: short,
        first_byte_timeout: short,
        between_bytes_timeout: short,
    };
    let origin = upstream("", true).await;
    let error = send_within(&outgoing(&[&origin]), &origin, options)
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::ConnectionReadTimeout), "{error}");

    let patient = RequestOptions {
        first_byte_timeout: None,
        ..options
    };
    let origin = upstream("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", true).await;
    let response = send_within(&outgoing(&[&origin]), &origin, patient)
        .await
        .unwrap();
    let error = body(response).await.unwrap_err();
    assert!(matches!(error, HttpError::ConnectionReadTimeout), "{error}");
}

/// An upstream that accepts everything, answers nothing and keeps its connections.
async fn silent_upstream() -> (String, Arc<Mutex<Vec<tokio::net::TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let connections = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.lock().unwrap().push(stream);
        }
    });
    (origin, accepted)
}

/// Yields until a condition holds; panics if it never does.
async fn yield_until(mut is_reached: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if is_reached() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the condition was not reached");
}

#[tokio::test]
async fn a_source_has_16_requests_open_at_a_time_and_the_next_one_fails_after_a_wait() {
    let (origin, accepted) = silent_upstream().await;
    let hello = upstream(HELLO, false).await;
    let pools = ConnectionPools::default();
    let of_source = |name| {
        let list = AllowList::parse(&[origin.as_str(), hello.as_str()]).unwrap();
        OutgoingHttp::new(name, &pools, list, Proxies::default(), None).unwrap()
    };
    let outgoing = of_source("acme");
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS_MAX {
        let (outgoing, origin) = (outgoing.clone(), origin.clone());
        open.spawn(async move { send(&outgoing, &origin).await.map(drop) });
    }
    let requests = &outgoing.shared.requests;
    yield_until(|| requests.is_used_up() && accepted.lock().unwrap().len() == REQUESTS_MAX).await;
    let options = RequestOptions {
        connect_timeout: Some(Duration::from_millis(20)),
        ..RequestOptions::default()
    };
    for _ in 0..100 {
        let error = send_within(&outgoing, &origin, options).await.unwrap_err();
        assert!(
            matches!(error, HttpError::ConnectionLimitReached),
            "{error}"
        );
    }
    assert_eq!(accepted.lock().unwrap().len(), REQUESTS_MAX);
    assert_eq!(open.len(), REQUESTS_MAX, "{:?}", open.try_join_next());

    // Another source has places of its own, also where it shares the connections.
    let other = of_source("other");
    assert_eq!(
        body(send(&other, &hello).await.unwrap()).await.unwrap(),
        "hello"
    );
}

#[tokio::test]
async fn a_request_that_waits_is_sent_when_another_has_ended() {
    let (silent, accepted) = silent_upstream().await;
    let origin = upstream(HELLO, false).await;
    let outgoing = outgoing(&[&silent, &origin]);
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS_MAX {
        let (outgoing, silent) = (outgoing.clone(), silent.clone());
        open.spawn(async move { send(&outgoing, &silent).await.map(drop) });
    }
    yield_until(|| accepted.lock().unwrap().len() == REQUESTS_MAX).await;
    let waiting = tokio::spawn({
        let (outgoing, origin) = (outgoing.clone(), origin.clone());
        async move { body(send(&outgoing, &origin).await.unwrap()).await.unwrap() }
    });
    // It has every opportunity to be sent, as far as that needs no other request to end.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    accepted.lock().unwrap().pop(); // it is closed
    assert_eq!(waiting.await.unwrap(), "hello");
}

/// A response that was read, that was dropped half read, and that has no body
/// all give their place back; one that is kept unread does not.
#[tokio::test]
async fn the_place_of_a_request_is_free_when_its_response_is_complete_or_dropped() {
    let origin = upstream(HELLO, false).await;
    let half = upstream("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", true).await;
    let empty = upstream("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let outgoing = outgoing(&[&origin, &half, &empty]);
    let available = || outgoing.shared.requests.available_permits();
    for _ in 0..3 * REQUESTS_MAX {
        assert_eq!(
            body(send(&outgoing, &origin).await.unwrap()).await.unwrap(),
            "hello"
        );
        drop(send(&outgoing, &half).await.unwrap());
    }
    assert_eq!(available(), REQUESTS_MAX);
    let without_body = send(&outgoing, &empty).await.unwrap();
    assert_eq!(available(), REQUESTS_MAX);
    let unread = send(&outgoing, &half).await.unwrap();
    assert_eq!(available(), REQUESTS_MAX - 1);
    drop((without_body, unread));
    assert_eq!(available(), REQUESTS_MAX);
}

#[tokio::test]
async fn idle_connections_to_many_origins_are_limited_too() {
    let mut origins = Vec::new();
    for _ in 0..CONNECTIONS_PER_SOURCE + 1 {
        origins.push(upstream("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", true).await);
    }
    let entries: Vec<&str> = origins.iter().map(String::as_str).collect();
    let list = AllowList::parse(&entries).unwrap();
    let limit = Duration::from_millis(50);
    let pool = ConnectionPools::default().join(list, Proxies::default(), None, limit);
    let outgoing = OutgoingHttp::with_pool("acme", pool.unwrap());
    let (last, first) = origins.split_last().unwrap();
    for origin in first {
        assert_eq!(
            body(send(&outgoing, origin).await.unwrap()).await.unwrap(),
            "hello"
        );
    }
    let error = send(&outgoing, last).await.unwrap_err();
    assert!(
        matches!(error, HttpError::ConnectionLimitReached),
        "{error}"
    );
}

#[tokio::test]
async fn a_source_that_ends_gives_its_connections_back() {
    let pools = ConnectionPools::default();
    let join = || {
        let list = AllowList::parse(&["https://api.example.com"]).unwrap();
        let joined = pools.join(list, Proxies::default(), None, CONNECT_TIMEOUT);
        joined.unwrap()
    };
    let first = join();
    assert_eq!(first.available_connections(), CONNECTIONS_PER_SOURCE);
    // As a source does whose secret is rotated again and again.
    for _ in 0..40 {
        let other = join();
        assert_eq!(first.available_connections(), 2 * CONNECTIONS_PER_SOURCE);
        drop(other);
    }
    assert_eq!(first.available_connections(), CONNECTIONS_PER_SOURCE);
    let mut others: Vec<_> = (0..40).map(|_| join()).collect();
    assert_eq!(first.available_connections(), 32 * CONNECTIONS_PER_SOURCE);
    others.truncate(31);
    assert_eq!(first.available_connections(), 32 * CONNECTIONS_PER_SOURCE);
    others.truncate(1);
    assert_eq!(first.available_connections(), 2 * CONNECTIONS_PER_SOURCE);
}

/// An upstream that answers any number of requests on a connection, and counts connections.
async fn keep_alive_upstream() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut piece = [0; 1024];
                // A request without a body comes in one piece.
                while stream.read(&mut piece).await.is_ok_and(|bytes| bytes > 0) {
                    stream.write_all(HELLO.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (origin, connections)
}

#[tokio::test]
async fn sources_that_may_reach_the_same_origins_share_connections_and_others_do_not() {
    let (origin, connections) = keep_alive_upstream().await;
    let pools = ConnectionPools::default();
    let source = |name, entries: &[&str]| {
        let list = AllowList::parse(entries).unwrap();
        OutgoingHttp::new(name, &pools, list, Proxies::default(), None).unwrap()
    };
    let same = [origin.as_str()];
    let first = source("first", &same);
    let second = source("second", &same);
    let other = source("other", &[origin.as_str(), "https://api.example.com"]);
    for (outgoing, opened) in [(&first, 1), (&second, 1), (&first, 1), (&other, 2)] {
        let response = body(send(outgoing, &origin).await.unwrap()).await;
        assert_eq!(response.unwrap(), "hello");
        assert_eq!(connections.load(Ordering::Relaxed), opened);
        // On this one thread the connection goes back to its pool meanwhile.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    // A source stays within its own allow-list.
    let error = send(&second, "https://api.example.com").await.unwrap_err();
    assert!(matches!(error, HttpError::HttpRequestDenied), "{error}");
}

#[tokio::test]
async fn plain_text_where_tls_is_expected_is_a_tls_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let uri = format!("https://127.0.0.1:{port}");
    let error = send(&outgoing(&[&uri]), &uri).await.unwrap_err();
    assert!(matches!(error, HttpError::TlsProtocolError), "{error}");
}

#[tokio::test]
async fn an_offline_client_distinguishes_listed_from_unlisted_and_sends_nothing() {
    let list = AllowList::parse(&["https://api.example.com"]).unwrap();
    let offline = OutgoingHttp::offline("acme", list);
    let error = send(&offline, "https://api.example.com/x")
        .await
        .unwrap_err();
    assert!(
        matches!(error, HttpError::DestinationUnavailable),
        "{error}"
    );
    let error = send(&offline, "https://other.example.com/x")
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::HttpRequestDenied), "{error}");
}

#[test]
fn a_ca_file_without_a_certificate_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let list = AllowList::default();
    let error = OutgoingHttp::new(
        "acme",
        &ConnectionPools::default(),
        list.clone(),
        Proxies::default(),
        Some(file.path()),
    )
    .unwrap_err();
    assert!(error.contains("no certificate"), "{error}");
    let missing = Path::new("/nowhere/ca.pem");
    assert!(
        OutgoingHttp::new(
            "acme",
            &ConnectionPools::default(),
            list,
            Proxies::default(),
            Some(missing)
        )
        .is_err()
    );
}

/// A lease that is held for this many checks, and has ended after them.
#[derive(Debug)]
struct HeldForChecks(AtomicUsize);

#[async_trait::async_trait]
impl crate::lease::Lease for HeldForChecks {
    fn permits_work(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        let checked = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        checked.is_ok()
    }

    async fn revoked(&self) {}
}

#[tokio::test]
async fn nothing_is_sent_for_a_source_whose_lease_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let outgoing = outgoing(&[&origin]);
    outgoing.lease().set(Arc::new(HeldForChecks(0.into())));
    let error = send(&outgoing, &format!("{origin}/")).await.unwrap_err();
    assert!(error.to_string().contains(errors::LEASE_ENDED), "{error}");
    let connected = tokio::time::timeout(Duration::from_millis(100), listener.accept());
    assert!(connected.await.is_err(), "a connection was made");
}

#[tokio::test]
async fn nothing_is_sent_when_the_lease_ends_while_a_connection_is_made() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let outgoing = outgoing(&[&origin]);
    outgoing.lease().set(Arc::new(HeldForChecks(1.into())));
    let error = send(&outgoing, &format!("{origin}/")).await.unwrap_err();
    assert!(error.to_string().contains(errors::LEASE_ENDED), "{error}");
    drop(outgoing);
    let mut sent = Vec::new();
    let (mut connection, _) = listener.accept().await.unwrap();
    connection.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, b"");
}

/// Sends a body with a client of hyper while the lease is held for this many checks. Returns all that
/// was sent.
async fn sent_while_held(checks: usize) -> Vec<u8> {
    let (client, mut server) = tokio::io::duplex(64 * 1024);
    let client = hyper_util::rt::TokioIo::new(client);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    let lease = SourceLease::default();
    lease.set(Arc::new(HeldForChecks(checks.into())));
    let data = Full::new(Bytes::from_static(b"records"));
    let data = data.map_err(|never| match never {}).boxed_unsync();
    let body = LeaseCheckedBody::new(data, lease);
    let request = Request::post("/").body(body).unwrap();
    let answered = tokio::spawn(async move { sender.send_request(request).await });
    let mut sent = Vec::new();
    while !sent.ends_with(b"records") && server.read_buf(&mut sent).await.unwrap() > 0 {}
    drop(server);
    assert!(answered.await.unwrap().is_err());
    drop(connection);
    sent
}

#[tokio::test]
async fn nothing_is_sent_when_the_lease_ends_before_the_first_byte() {
    assert_eq!(sent_while_held(0).await, b"");
    let sent = sent_while_held(1).await;
    assert!(sent.starts_with(b"POST / ") && sent.ends_with(b"\r\n\r\nrecords"));
}
