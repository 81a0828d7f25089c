//! Sends the requests of components: allow-list, address gate, pooled
//! client, time-outs, and conversion of failures to `wasi:http` errors.
//!
//! Nothing here follows a redirect or decodes a body.

mod body;
mod connect;
mod errors;
mod limits;
mod pools;

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt;
use hyper::header::PROXY_AUTHORIZATION;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy;
use source_common::proxy::{Proxies, Proxy};
use source_common::secret::Redactor;
use tracing::{debug, warn};
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody, WasiHttpHooks};

use self::body::LeaseCheckedBody;
use self::limits::ConcurrencyLimit;
pub(crate) use self::pools::ConnectionPools;
pub use self::pools::IDLE_CONNECTIONS_PER_ORIGIN_MAX;
use self::pools::PoolMembership;
use crate::address_gate;
use crate::allow_list::{AllowList, Origin};
use crate::lease::SourceLease;

/// Time limit of DNS, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit until the response head.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit between two frames of a body.
const BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of concurrent requests of one source. Collecting
/// needs a few.
const REQUESTS_MAX: usize = 16;
/// How many connections each source adds to the limit of its pool: for its requests, and as many idle ones.
const CONNECTIONS_PER_SOURCE: usize = 2 * REQUESTS_MAX;
/// Large, so that fewer chunks cross into the component.
const READ_BUFFER_BYTES_MAX: usize = 512 * 1024;
/// Maximum size of a piece of a request body. The host buffers up to two pieces for each request that a
/// component creates, even if it never sends it; they do not count towards its memory limit.
const BODY_PIECE_BYTES_MAX: usize = 16 * 1024;
/// Maximum number of denied origins of one source that are logged. A component that requests ever
/// new ones would fill the log, and the memory in which they are recorded.
const LOGGED_DENIALS_MAX: usize = 32;

/// The future of a sent request's connection.
type ConnectionFuture = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
/// The future of the transmission of a request's body, with its error.
type TransmissionFuture = Box<dyn Future<Output = Result<(), HttpError>> + Send>;

/// Observes the outcomes of requests.
pub trait RequestObserver: fmt::Debug + Send + Sync {
    /// A request is to be sent. Does nothing by default.
    fn begun(&self, _begun_at: SystemTime) {}

    /// A request that began then has a response, has failed or is given up. Does nothing by default.
    fn ended(&self, _begun_at: SystemTime) {}

    /// The outcome of a request: the HTTP status of its response, or `None` if it failed. Requests
    /// that the allow-list denies are not sent, and not observed.
    fn outcome(&self, status: Option<u16>);
}

/// A request that has begun and not ended, however it ends.
struct PendingRequest<'a> {
    observer: Option<&'a Arc<dyn RequestObserver>>,
    begun_at: SystemTime,
}

impl<'a> PendingRequest<'a> {
    fn begin(observer: Option<&'a Arc<dyn RequestObserver>>) -> Self {
        let begun_at = SystemTime::now();
        if let Some(observer) = observer {
            observer.begun(begun_at);
        }
        Self { observer, begun_at }
    }
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer {
            observer.ended(self.begun_at);
        }
    }
}

/// The outgoing HTTP of one source. Its connections are in a pool, so an
/// instance can be dropped without dropping them.
#[derive(Clone, Debug)]
pub struct OutgoingHttp {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: String,
    allow: Arc<AllowList>,
    proxies: Arc<Proxies>,
    transport: Transport,
    requests: ConcurrencyLimit,
    /// Whether it has been logged that a request exceeded the limit.
    limit_logged: Once,
    /// Origins whose denial has been logged already. It has one more than [`LOGGED_DENIALS_MAX`] once
    /// further denials are no longer logged.
    logged_denials: Mutex<BTreeSet<Origin>>,
    /// Applied to origins in the log, since a component makes them of any text.
    redactor: OnceLock<Redactor>,
    observer: OnceLock<Arc<dyn RequestObserver>>,
    /// While it is not held, nothing is sent.
    lease: SourceLease,
}

/// How requests to allowed origins are sent.
#[derive(Debug)]
enum Transport {
    Network(PoolMembership),
    /// Not at all: for commands that promise to stay offline.
    Offline,
}

impl OutgoingHttp {
    /// Creates the client of one source, with the system's trust anchors and those of
    /// `ca_file`.
    pub(crate) fn new(
        source: &str,
        connection_pools: &ConnectionPools,
        allow: AllowList,
        proxies: Proxies,
        ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let pool = connection_pools.join(allow, proxies, ca_file, CONNECT_TIMEOUT)?;
        Ok(Self::with_pool(source, pool))
    }

    fn with_pool(source: &str, pool: PoolMembership) -> Self {
        let (allow, proxies) = (Arc::clone(&pool.allow), Arc::clone(&pool.proxies));
        Self::with_transport(source, allow, proxies, Transport::Network(pool))
    }

    /// Creates a client that sends nothing: a request to a listed origin fails as if
    /// the destination were unavailable, one to another origin is denied.
    #[must_use]
    pub fn offline(source: &str, allow: AllowList) -> Self {
        let proxies = Arc::new(Proxies::default());
        Self::with_transport(source, Arc::new(allow), proxies, Transport::Offline)
    }

    fn with_transport(
        source: &str,
        allow: Arc<AllowList>,
        proxies: Arc<Proxies>,
        transport: Transport,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                source: source.to_owned(),
                allow,
                proxies,
                transport,
                requests: ConcurrencyLimit::new(REQUESTS_MAX),
                limit_logged: Once::new(),
                logged_denials: Mutex::default(),
                redactor: OnceLock::new(),
                observer: OnceLock::new(),
                lease: SourceLease::default(),
            }),
        }
    }

    /// Sets what is redacted from the log. Later calls are ignored.
    pub(crate) fn set_redactor(&self, redactor: &Redactor) {
        // Hosts are lower-case.
        let _ = self.shared.redactor.set(redactor.with_lower_case());
    }

    /// Sets the observer of requests. Later calls are ignored.
    pub fn set_observer(&self, observer: Arc<dyn RequestObserver>) {
        let _ = self.shared.observer.set(observer);
    }

    /// Returns the lease that has to be held for a request to be sent.
    pub(crate) fn lease(&self) -> &SourceLease {
        &self.shared.lease
    }

    fn origin(request: &Request<WasiBody>) -> Result<Origin, HttpError> {
        let uri = request.uri();
        if uri
            .authority()
            .is_some_and(|part| part.as_str().contains('@'))
        {
            return Err(HttpError::HttpRequestUriInvalid);
        }
        uri.scheme_str()
            .zip(uri.host())
            .and_then(|(scheme, host)| Origin::new(scheme, host, uri.port_u16()))
            .ok_or(HttpError::HttpRequestUriInvalid)
    }
}

impl Shared {
    fn check(&self, origin: &Origin) -> Result<(), HttpError> {
        if self.allow.allows(origin) {
            return self.check_literal_address(origin);
        }
        if self.record_denial(origin) {
            warn!(
                source = %self.source,
                origin = %self.redacted(origin),
                "request denied; to allow it, write in [[source]] `{}`: {}",
                self.source,
                self.suggested_setting(origin),
            );
        }
        Err(HttpError::HttpRequestDenied)
    }

    /// Refuses an origin that names an address that is not public, or this machine, or an address in an
    /// unusual form, unless the settings name it. The gate does not check connections through a proxy, so
    /// this is checked here; see [`connect`].
    fn check_literal_address(&self, origin: &Origin) -> Result<(), HttpError> {
        let gate = |address| address_gate::check(&self.allow, address, origin.port());
        let checked = match origin.host().parse::<IpAddr>() {
            Ok(address) => gate(address),
            Err(_) if origin.host() == "localhost" => {
                gate(Ipv4Addr::LOCALHOST.into()).or_else(|_| gate(Ipv6Addr::LOCALHOST.into()))
            }
            Err(_)
                if address_gate::is_noncanonical_ipv4(origin.host())
                    && !self.allow.names_origin(origin) =>
            {
                Err("not written as four decimal numbers")
            }
            Err(_) => Ok(()),
        };
        checked.map_err(|kind| {
            if self.record_denial(origin) {
                warn!(
                    source = %self.source,
                    origin = %self.redacted(origin),
                    "request denied, because its address is {kind}; to allow it, write in \
                     [[source]] `{}`: {}",
                    self.source,
                    self.suggested_setting(origin),
                );
            }
            HttpError::DestinationIpProhibited
        })
    }

    fn log_refused_addresses(&self, origin: &Origin, error: &legacy::Error) {
        let refused_addresses = errors::refused_addresses(error);
        if refused_addresses.is_empty() || !self.record_denial(origin) {
            return;
        }
        for refused in refused_addresses {
            let allow_entry = refused.allow_entry.as_ref();
            warn!(
                source = %self.source,
                origin = %self.redacted(origin),
                "the name resolves to {}, which is {}; to allow it, write in [[source]] `{}`: {}",
                refused.address,
                refused.kind,
                self.source,
                allow_entry.map_or_else(String::new, |entry| self.suggested_setting(entry)),
            );
        }
    }

    /// Records the denial of an origin. Returns whether to log it: the first one of each origin is, up
    /// to a limited number of origins.
    fn record_denial(&self, origin: &Origin) -> bool {
        let logged = self.logged_denials.lock();
        let mut logged = logged.unwrap_or_else(PoisonError::into_inner);
        if logged.len() > LOGGED_DENIALS_MAX || !logged.insert(origin.clone()) {
            return false;
        }
        if logged.len() <= LOGGED_DENIALS_MAX {
            return true;
        }
        warn!(
            source = %self.source,
            "requests to more than {LOGGED_DENIALS_MAX} origins were denied; further denials are \
             not logged"
        );
        false
    }

    /// Returns the setting that would allow an origin, for the log: a component can make an origin of any
    /// text.
    fn suggested_setting(&self, origin: &Origin) -> String {
        self.redacted(self.allow.suggested_setting(origin))
    }

    /// Returns the text without the secrets of the source.
    fn redacted(&self, text: impl fmt::Display) -> String {
        let text = text.to_string();
        match self.redactor.get() {
            Some(redactor) => redactor.redact(&text),
            None => text,
        }
    }

    /// Polls a request only while the lease is held, which is also checked after a connection was made
    /// and before the request is sent over it.
    async fn while_leased<F: Future>(&self, request: F) -> Result<F::Output, HttpError> {
        let mut request = pin!(request);
        poll_fn(|cx| {
            if self.lease.permits_work() {
                request.as_mut().poll(cx).map(Ok)
            } else {
                Poll::Ready(Err(errors::lease_ended()))
            }
        })
        .await
    }

    async fn send(
        &self,
        origin: &Origin,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<(Response<WasiBody>, ConnectionFuture), HttpError> {
        let client = match &self.transport {
            Transport::Network(pool) => &pool.client,
            Transport::Offline => return Err(HttpError::DestinationUnavailable),
        };
        let connect = options.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let first_byte = options.first_byte_timeout.unwrap_or(FIRST_BYTE_TIMEOUT);
        let between_bytes = options
            .between_bytes_timeout
            .unwrap_or(BETWEEN_BYTES_TIMEOUT);

        // Without a time-out, a component that waits for this response before it reads those that
        // it has would deadlock.
        let permit = tokio::time::timeout(connect, self.requests.acquire())
            .await
            .map_err(|_| self.request_limit_error(connect))?;
        let target = request.uri().authority().map(ToString::to_string);
        // A proxy sees the requests themselves only without TLS.
        let is_plain = request.uri().scheme_str() == Some("http");
        let proxy = self
            .proxies
            .proxy_for_uri(request.uri())
            .filter(|_| is_plain);
        if let Some(authorization) = proxy.and_then(Proxy::authorization) {
            let headers = request.headers_mut();
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        if self.lease.get().is_some() {
            let lease = self.lease.clone();
            request = request.map(|body| LeaseCheckedBody::new(body, lease).boxed_unsync());
        }
        let pending = self.while_leased(client.request(request));
        let response = tokio::time::timeout(connect.saturating_add(first_byte), pending)
            .await
            .map_err(|_| HttpError::ConnectionReadTimeout)??
            .map_err(|error| {
                self.log_refused_addresses(origin, &error);
                errors::from_client(&error)
            })?;
        let status = response.status();
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(refusal) = proxy.and_then(|proxy| {
                proxy.refusal(&target.unwrap_or_default(), status, response.headers())
            })
        {
            return Err(errors::from_proxy(&refusal));
        }
        let response = response.map(|incoming| {
            body::IdleTimeoutBody::new(incoming, between_bytes, permit).boxed_unsync()
        });
        // The pool polls the connection, so there is nothing to await.
        let sent: ConnectionFuture = Box::new(std::future::ready(Ok(())));
        Ok((response, sent))
    }
}

impl Shared {
    fn request_limit_error(&self, waited: Duration) -> HttpError {
        self.limit_logged.call_once(|| {
            warn!(
                source = %self.source,
                "a request failed: {REQUESTS_MAX} others were open for {}, and a source may \
                 have no more at a time; report this to the author of the component",
                humantime::format_duration(waited),
            );
        });
        HttpError::ConnectionLimitReached
    }
}

impl WasiHttpHooks for OutgoingHttp {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_BYTES_MAX
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _body_error: TransmissionFuture,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, ConnectionFuture), HttpError>> + Send>
    {
        let shared = Arc::clone(&self.shared);
        Box::new(async move {
            let origin = Self::origin(&request)?;
            shared.check(&origin)?;
            let method = request.method().clone();
            let pending = PendingRequest::begin(shared.observer.get());
            let outcome = shared
                .send(&origin, request, options.unwrap_or_default())
                .await;
            drop(pending);
            if let Some(observer) = shared.observer.get() {
                let status = outcome.as_ref().ok();
                observer.outcome(status.map(|(response, _)| response.status().as_u16()));
            }
            match &outcome {
                Ok((response, _)) => debug!(
                    source = %shared.source,
                    origin = %shared.redacted(&origin),
                    %method,
                    status = response.status().as_u16(),
                    "request answered"
                ),
                Err(error) => debug!(
                    source = %shared.source,
                    origin = %shared.redacted(&origin),
                    %method,
                    error = %shared.redacted(error),
                    "request failed"
                ),
            }
            outcome
        })
    }
}

#[cfg(test)]
mod tests;
