//! The listener and its connections.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use source_common::exit::Failure;
use source_runtime::source::ComponentLoader;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use tracing::{debug, info, warn};

use super::access::Access;
use super::api::{self, Shared};
use super::control::Control;
use super::history::INTERVAL;
use super::metrics::Metrics;
use super::tls::ReloadableTlsConfig;
use crate::registry::Registry;
use crate::settings::{AdminSettings, MetricsDetail};

/// Maximum number of connections; each takes a descriptor and a buffer of [`HEADER_BYTES_MAX`].
const CONNECTIONS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Timeout of a TLS handshake and of a request header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum age of a connection; it is closed after the response in progress.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);
/// How long a response in progress may still take once its connection is to be closed, for its age or at
/// shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause after `accept` failed, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin server shows and changes.
pub struct AdminContext {
    /// The running sources and outputs.
    pub registry: Registry,
    /// Changes sources; `None` makes the server read-only.
    pub control: Option<Arc<dyn Control>>,
    /// Loads the built-in component.
    pub components: ComponentLoader,
    /// The settings file.
    pub settings_file: PathBuf,
    /// The state directory; `/readyz` checks that it can be written to.
    pub state_dir: PathBuf,
}

/// The admin server, bound to its address but not yet serving.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ReloadableTlsConfig>>,
    access: Access,
    metrics_detail: Option<MetricsDetail>,
    /// Shortened by tests.
    pub(super) header_timeout: Duration,
}

/// A serving admin server.
#[derive(Debug)]
pub struct RunningAdminServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    sampler: JoinHandle<()>,
}

impl AdminServer {
    /// Binds the address and reads the certificate.
    pub async fn bind(settings: &AdminSettings) -> Result<Self, Failure> {
        let listen = settings.listen;
        let tls = settings
            .tls
            .as_ref()
            .map(ReloadableTlsConfig::read)
            .transpose();
        let tls = tls.map_err(|reason| Failure::settings(format!("[admin] tls: {reason}")))?;
        let bind_failure = |error: io::Error| {
            let kinds = [
                (
                    io::ErrorKind::AddrInUse,
                    "another program uses the port; choose another one",
                ),
                (
                    io::ErrorKind::AddrNotAvailable,
                    "this machine does not have the address",
                ),
                (io::ErrorKind::PermissionDenied, "use a port above 1023"),
            ];
            let advice = kinds.iter().find(|(kind, _)| *kind == error.kind());
            let advice = advice.map_or("change it, or leave [admin] out", |(_, advice)| advice);
            Failure::failed(format!("[admin] listen = \"{listen}\": {error}; {advice}"))
        };
        let listener = TcpListener::bind(listen).await.map_err(bind_failure)?;
        Ok(Self {
            address: listener.local_addr().map_err(bind_failure)?,
            listener,
            tls: tls.map(Arc::new),
            access: Access {
                is_loopback: settings.is_loopback(),
                token: settings.token.clone(),
                hosts: settings.hosts.clone(),
            },
            metrics_detail: settings.metrics_detail,
            header_timeout: HEADER_TIMEOUT,
        })
    }

    /// Serves until it is stopped.
    #[must_use]
    pub fn start(self, context: AdminContext) -> RunningAdminServer {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        info!("admin server at {scheme}://{}", self.address);
        let metrics = Arc::new(Metrics::new(self.metrics_detail));
        context
            .registry
            .set_observer(Arc::<Metrics>::clone(&metrics));
        let shared = Arc::new(Shared::new(self.access, context, metrics));
        let (stop, stopped) = watch::channel(false);
        let accept_loop = AcceptLoop {
            listener: self.listener,
            tls: self.tls,
            router: api::router(Arc::clone(&shared)),
            header_timeout: self.header_timeout,
            stopped,
        };
        RunningAdminServer {
            address: self.address,
            stop,
            task: tokio::spawn(accept_loop.run()),
            sampler: tokio::spawn(sample(shared)),
        }
    }
}

impl RunningAdminServer {
    /// Returns the bound address, including the port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, completes responses in progress for at most half a second each, and returns
    /// within about a second.
    pub async fn stop(self) {
        self.sampler.abort();
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            debug!("the admin server ended in a fault: {error}");
        }
    }
}

/// Adds a point to the history once a minute.
async fn sample(shared: Arc<Shared>) {
    loop {
        let sampled = Arc::clone(&shared);
        let made = shared.with_report(move |report, now| sampled.history.sample(&report, now));
        if made.await.is_err() {
            return;
        }
        sleep(INTERVAL).await;
    }
}

struct AcceptLoop {
    listener: TcpListener,
    tls: Option<Arc<ReloadableTlsConfig>>,
    router: Router,
    header_timeout: Duration,
    stopped: watch::Receiver<bool>,
}

impl AcceptLoop {
    async fn run(self) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        let mut has_warned = false;
        loop {
            // Connections over the limit wait in the listen backlog.
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &permits) => accepted,
                _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let connection = self.connection(stream);
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    if !has_warned {
                        warn!("the admin server cannot accept a connection: {error}");
                        has_warned = true;
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(self.listener);
        let all = async { while connections.join_next().await.is_some() {} };
        // Dropping the set aborts connections that take longer.
        let _ = timeout(CLOSE_TIMEOUT.saturating_mul(2), all).await;
    }
}

type Accepted = (TcpStream, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> io::Result<Accepted> {
    let permit = Arc::clone(permits).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

impl AcceptLoop {
    /// Serves one connection until it ends.
    fn connection(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        let acceptor = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config()));
        let (router, stopped) = (self.router.clone(), self.stopped.clone());
        let header_timeout = self.header_timeout;
        async move {
            // Responses are written at once, so Nagle's algorithm would only delay them.
            let _ = stream.set_nodelay(true);
            match acceptor {
                None => serve(stream, router, header_timeout, stopped).await,
                Some(acceptor) => match timeout(header_timeout, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => serve(stream, router, header_timeout, stopped).await,
                    Ok(Err(error)) => debug!("TLS handshake with the admin server: {error}"),
                    Err(_) => debug!("TLS handshake with the admin server: timed out"),
                },
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    header_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    // `Router` is always ready.
    let service = service_fn(move |request| router.clone().call(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                debug!("a connection to the admin server: {error}");
            }
            return;
        }
        () = sleep(CONNECTION_AGE_MAX) => {}
        _ = stopped.wait_for(|is_stopped| *is_stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(CLOSE_TIMEOUT, connection).await;
}
