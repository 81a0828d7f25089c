//! A hyper connector that connects through a proxy where one is configured.

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

/// A connection and its guard, or the error.
pub type DialResult<G> = Result<(TcpStream, G), BoxError>;

/// Makes the connections that a [`ProxyConnector`] needs.
pub trait Dial: Clone + Send + Sync + 'static {
    /// What a connection holds until it is closed, such as a permit.
    type Guard: Send + Unpin + 'static;

    /// Connects to the origin of a URI.
    fn connect_to_origin(&self, uri: &Uri) -> impl Future<Output = DialResult<Self::Guard>> + Send;

    /// Connects to a proxy.
    fn connect_to_proxy(
        &self,
        proxy: &Proxy,
    ) -> impl Future<Output = DialResult<Self::Guard>> + Send;
}

/// Connects to origins, through their proxy where they have one: by a tunnel for `https`; for
/// `http`, requests are sent to the proxy itself.
#[derive(Clone, Debug)]
pub struct ProxyConnector<D> {
    dial: D,
    proxies: Arc<Proxies>,
}

/// A connection to an origin, or to a proxy to which plain-text requests are sent.
#[derive(Debug)]
pub struct ProxyStream<G> {
    stream: TcpStream,
    _guard: G,
    uses_absolute_form: bool,
}

impl<D> ProxyConnector<D> {
    /// Creates a connector with these proxies.
    pub const fn new(dial: D, proxies: Arc<Proxies>) -> Self {
        Self { dial, proxies }
    }
}

impl Proxies {
    /// Returns the proxy for requests to the origin of a URI.
    #[must_use]
    pub fn proxy_for_uri(&self, uri: &Uri) -> Option<&Proxy> {
        self.proxy_for(uri.scheme_str()?, uri.host()?, uri.port_u16())
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
            let (stream, guard, uses_absolute_form) = match this.proxies.proxy_for_uri(&uri) {
                None => {
                    let (stream, guard) = this.dial.connect_to_origin(&uri).await?;
                    (stream, guard, false)
                }
                Some(proxy) => {
                    let (stream, guard) = this.dial.connect_to_proxy(proxy).await?;
                    if uri.scheme_str() == Some("http") {
                        (stream, guard, true)
                    } else {
                        let stream = open_tunnel(stream, proxy, &host_and_port(&uri)).await?;
                        (stream, guard, false)
                    }
                }
            };
            Ok(TokioIo::new(ProxyStream {
                stream,
                _guard: guard,
                uses_absolute_form,
            }))
        })
    }
}

/// Returns host and port in the form that `CONNECT` requires.
fn host_and_port(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    format!("{host}:{}", uri.port_u16().unwrap_or(443))
}

impl<G> Connection for ProxyStream<G> {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.uses_absolute_form)
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
