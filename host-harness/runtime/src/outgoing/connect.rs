//! Connects to an origin: resolves its name, checks every address with the gate, dials, and adds
//! TLS. Through a proxy it is the proxy that resolves and dials.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use source_common::dial::connect_any;
use source_common::proxy::{
    Dial, DialResult, Proxies, Proxy, ProxyConnector, ProxyError, ProxyStream,
};
use tokio::net::TcpStream;
use tower_service::Service;

use super::limits::{ConcurrencyLimit, Permit};
use crate::address_gate;
use crate::allow_list::{AllowList, Origin};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Connects with TLS over gated TCP, within one time-out.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    inner: HttpsConnector<ProxyConnector<GatedConnector>>,
    proxies: Arc<Proxies>,
    connect_timeout: Duration,
}

tokio::task_local! {
    /// Whether the connection that the task makes waits for a permit.
    static WAITS_FOR_PERMIT: Cell<bool>;
}

/// Connects over TCP to the addresses of a name that the gate permits, and to proxies.
#[derive(Clone, Debug)]
pub(super) struct GatedConnector {
    allow: Arc<AllowList>,
    connections: ConcurrencyLimit,
    /// Time limit of a connection, with TLS.
    connect_timeout: Duration,
}

/// Why a connection failed.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The pool was at its connection limit for the whole time-out.
    Limit,
    /// The name resolves only to addresses that the gate rejects.
    Prohibited(Vec<RefusedAddress>),
    /// The name does not resolve.
    Resolve(io::Error),
    /// Connecting to every address failed; the payload is the last error.
    Tcp(io::Error),
    /// The whole time-out expired.
    TimedOut,
    /// The URI has no valid origin.
    Uri,
}

/// An address that the gate refuses.
#[derive(Debug)]
pub(super) struct RefusedAddress {
    pub(super) address: SocketAddr,
    /// What it is reserved for.
    pub(super) kind: &'static str,
    /// The entry of the allow-list that would permit it.
    pub(super) allow_entry: Option<Origin>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit => f.write_str("too many connections are open"),
            Self::Prohibited(_) => f.write_str("the name resolves to a prohibited address"),
            Self::Resolve(error) => write!(f, "the name does not resolve: {error}"),
            Self::Tcp(error) => write!(f, "no connection: {error}"),
            Self::TimedOut => f.write_str("no connection in time"),
            Self::Uri => f.write_str("the URI has no origin"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl Connector {
    /// Adds TLS with this configuration to a connector.
    pub(super) fn new(
        tcp_connector: GatedConnector,
        proxies: Arc<Proxies>,
        tls_config: Arc<ClientConfig>,
    ) -> Self {
        let connect_timeout = tcp_connector.connect_timeout;
        let connector = ProxyConnector::new(tcp_connector, Arc::clone(&proxies));
        Self {
            inner: HttpsConnector::from((connector, tls_config)),
            proxies,
            connect_timeout,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<ProxyStream<Permit>>>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let proxy = self.proxies.proxy_for_uri(&uri).cloned();
        let connecting = self.inner.call(uri);
        let connect_timeout = self.connect_timeout;
        let connecting = async move {
            match tokio::time::timeout(connect_timeout, connecting).await {
                Ok(outcome) => outcome,
                // Its permit may belong to another connection by now, so the limit itself says nothing.
                Err(_) if WAITS_FOR_PERMIT.with(Cell::get) => Err(ConnectError::Limit.into()),
                Err(_) => Err(match proxy {
                    Some(proxy) => ProxyError::TimedOut(proxy).into(),
                    None => ConnectError::TimedOut.into(),
                }),
            }
        };
        Box::pin(WAITS_FOR_PERMIT.scope(Cell::new(false), connecting))
    }
}

impl GatedConnector {
    pub(super) fn new(
        allow: Arc<AllowList>,
        connections: ConcurrencyLimit,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            allow,
            connections,
            connect_timeout,
        }
    }

    /// Returns the addresses of an origin that may be dialled, in the resolver's
    /// order.
    async fn addresses(&self, origin: &Origin) -> Result<Vec<SocketAddr>, ConnectError> {
        let resolved: Vec<SocketAddr> = match origin.host().parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, origin.port())],
            Err(_) => tokio::net::lookup_host((origin.host(), origin.port()))
                .await
                .map_err(ConnectError::Resolve)?
                .collect(),
        };
        if resolved.is_empty() {
            let nothing = io::Error::new(io::ErrorKind::NotFound, "no address");
            return Err(ConnectError::Resolve(nothing));
        }
        let mut permitted = Vec::with_capacity(resolved.len());
        let mut refused = Vec::new();
        for address in resolved {
            match address_gate::check(&self.allow, address.ip(), address.port()) {
                Ok(()) => permitted.push(address),
                Err(kind) => refused.push(RefusedAddress {
                    address,
                    kind,
                    allow_entry: allow_entry(origin, address),
                }),
            }
        }
        if permitted.is_empty() {
            return Err(ConnectError::Prohibited(refused));
        }
        Ok(permitted)
    }

    /// Connects to the first of these addresses that answers.
    async fn dial(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, Permit), ConnectError> {
        note_wait_for_permit(true);
        let permit = self.connections.acquire().await;
        note_wait_for_permit(false);
        let stream = connect_any(addresses, self.connect_timeout)
            .await
            .map_err(ConnectError::Tcp)?;
        // Requests are small and wait for their response.
        stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
        Ok((stream, permit))
    }
}

impl Dial for GatedConnector {
    /// One of the pool's connection permits.
    type Guard = Permit;

    async fn connect_to_origin(&self, uri: &Uri) -> DialResult<Permit> {
        let origin = origin(uri)?;
        let addresses = self.addresses(&origin).await?;
        Ok(self.dial(&addresses).await?)
    }

    /// Connects to a proxy. The settings name it, so the gate does not check its address; nor does it
    /// see the addresses of a target, which the proxy resolves. A target that is itself an address
    /// was checked with the request.
    async fn connect_to_proxy(&self, proxy: &Proxy) -> DialResult<Permit> {
        let unreachable =
            |reason: String| -> BoxError { ProxyError::Unreachable(proxy.clone(), reason).into() };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((proxy.host(), proxy.port()))
            .await
            .map_err(|error| unreachable(format!("its name does not resolve: {error}")))?
            .collect();
        match self.dial(&addresses).await {
            Ok(dialled) => Ok(dialled),
            Err(ConnectError::Tcp(error)) => Err(unreachable(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}

/// Notes whether the present connection waits for a permit.
fn note_wait_for_permit(waits: bool) {
    // Fails only outside of `Connector::call`, where nobody reads it.
    let _ = WAITS_FOR_PERMIT.try_with(|noted| noted.set(waits));
}

fn origin(uri: &Uri) -> Result<Origin, ConnectError> {
    uri.scheme_str()
        .zip(uri.host())
        .and_then(|(scheme, host)| Origin::new(scheme, host, uri.port_u16()))
        .ok_or(ConnectError::Uri)
}

/// Returns the origin for an address, with the scheme and port of the requested
/// origin.
fn allow_entry(origin: &Origin, address: SocketAddr) -> Option<Origin> {
    let host = match address.ip() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    Origin::new(origin.scheme().name(), &host, Some(origin.port()))
}

#[cfg(test)]
mod tests {
    use source_common::trust_anchors;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_a_connection_that_waits_for_others_fails_by_the_limit() {
        // It accepts connections, and does not answer.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("https://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let allow = AllowList::parse(&[uri.to_string().trim_end_matches('/')]).unwrap();
        let connections = ConcurrencyLimit::new(1);
        let timeout = Duration::from_millis(50);
        let tcp_connector = GatedConnector::new(Arc::new(allow), connections.clone(), timeout);
        let tls_config = trust_anchors::shared_client_config(None).unwrap();
        let mut connector = Connector::new(tcp_connector, Arc::default(), tls_config);
        let error = |outcome: Result<_, BoxError>| outcome.err().unwrap().to_string();
        // Another one waits, and takes over the permit.
        let (outcome, permit) = tokio::join!(connector.call(uri.clone()), connections.acquire());
        assert_eq!(error(outcome), ConnectError::TimedOut.to_string());
        let outcome = connector.call(uri).await;
        assert_eq!(error(outcome), ConnectError::Limit.to_string());
        drop(permit);
        assert_eq!(connections.available_permits(), 1);
    }
}
