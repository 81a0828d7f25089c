//! A connector of hyper that goes through a proxy where there is one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Proxies, Proxy, open_tunnel};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection and its guard, or why there is none.
pub type Dialled<G> = Result<(TcpStream, G), BoxError>;

/// Makes the connections that a [`ProxyConnector`] needs.
pub trait Dial: Clone + Send + Sync + 'static {
    /// What a connection holds until it is closed, such as a permit.
    type Guard: Send + Unpin + 'static;

    /// Connects to the origin of a URI.
    fn target(&self, uri: &Uri) -> impl Future<Output = Dialled<Self::Guard>> + Send;

    /// Connects to a proxy.
    fn proxy(&self, proxy: &Proxy) -> impl Future<Output = Dialled<Self::Guard>> + Send;
}

/// Connects to origins, through the proxy that is meant for them: by a tunnel for `https`, and for
/// `http` so that the proxy gets the request itself.
#[derive(Clone, Debug)]
pub struct ProxyConnector<D> {
    dial: D,
    proxies: Arc<Proxies>,
}

/// A connection to an origin, or to a proxy that gets the requests themselves.
#[derive(Debug)]
pub struct ProxyStream<G> {
    stream: TcpStream,
    _guard: G,
    is_to_proxy: bool,
}

impl<D> ProxyConnector<D> {
    /// Goes through these proxies.
    pub const fn new(dial: D, proxies: Arc<Proxies>) -> Self {
        Self { dial, proxies }
    }
}

impl Proxies {
    /// The proxy for requests to the origin of a URI.
    #[must_use]
    pub fn route_of(&self, uri: &Uri) -> Option<&Proxy> {
        self.route(uri.scheme_str()?, uri.host()?, uri.port_u16())
    }
}

impl<D: Dial> Service<Uri> for ProxyConnector<D> {
    type Response = TokioIo<ProxyStream<D::Guard>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (stream, guard, is_to_proxy) = match this.proxies.route_of(&uri) {
                None => {
                    let (stream, guard) = this.dial.target(&uri).await?;
                    (stream, guard, false)
                }
                Some(proxy) => {
                    let (stream, guard) = this.dial.proxy(proxy).await?;
                    if uri.scheme_str() == Some("http") {
                        (stream, guard, true)
                    } else {
                        let stream = open_tunnel(stream, proxy, &target(&uri)).await?;
                        (stream, guard, false)
                    }
                }
            };
            Ok(TokioIo::new(ProxyStream {
                stream,
                _guard: guard,
                is_to_proxy,
            }))
        })
    }
}

/// Host and port, as `CONNECT` names them.
fn target(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    format!("{host}:{}", uri.port_u16().unwrap_or(443))
}

impl<G> Connection for ProxyStream<G> {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_to_proxy)
    }
}

impl<G: Unpin> AsyncRead for ProxyStream<G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<G: Unpin> AsyncWrite for ProxyStream<G> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }
}
