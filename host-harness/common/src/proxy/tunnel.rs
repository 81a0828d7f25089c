//! `CONNECT`: a connection to a target through a proxy.

use std::io;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{Proxy, ProxyError};

/// How long the proxy may take to connect to the target.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Opens a tunnel to `target`, which is `host:port`, over a connection to the proxy.
pub async fn open<S>(stream: S, proxy: &Proxy, target: &str) -> Result<S, ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    open_within(stream, proxy, target, RESPONSE_TIMEOUT).await
}

async fn open_within<S>(
    mut stream: S,
    proxy: &Proxy,
    target: &str,
    limit: Duration,
) -> Result<S, ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let response = timeout(limit, send_connect(&mut stream, proxy, target)).await;
    let (status, headers) = match response {
        Ok(response) => response?,
        Err(_) => return Err(ProxyError::TimedOut(proxy.clone())),
    };
    match proxy.refusal(target, status, &headers) {
        None => Ok(stream),
        Some(refusal) => Err(refusal),
    }
}

async fn send_connect<S>(
    stream: &mut S,
    proxy: &Proxy,
    target: &str,
) -> Result<(StatusCode, HeaderMap), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |_: io::Error| ProxyError::Closed(proxy.clone());
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = proxy.authorization() {
        request.extend(b"Proxy-Authorization: ");
        request.extend(authorization.as_bytes());
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    stream.write_all(&request).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;

    let mut response = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        match head.parse(&response) {
            Ok(httparse::Status::Complete(length)) => {
                return parse_response_head(&head, length == response.len())
                    .ok_or_else(|| ProxyError::NotHttp(proxy.clone()));
            }
            Ok(httparse::Status::Partial) if response.len() < RESPONSE_BYTES_MAX => {}
            Ok(httparse::Status::Partial) | Err(_) => {
                return Err(ProxyError::NotHttp(proxy.clone()));
            }
        }
        if stream.read_buf(&mut response).await.map_err(lost)? == 0 {
            return Err(ProxyError::Closed(proxy.clone()));
        }
    }
}

/// Returns status and headers, or `None` for what cannot be the head of a response to `CONNECT`. A
/// successful response ends with its head: in TLS, the target does not send first.
fn parse_response_head(
    head: &httparse::Response<'_, '_>,
    ends_with_head: bool,
) -> Option<(StatusCode, HeaderMap)> {
    let status = StatusCode::from_u16(head.code?).ok()?;
    if status.is_informational() || (status.is_success() && !ends_with_head) {
        return None;
    }
    let headers = head.headers.iter().filter_map(|header| {
        let name: HeaderName = header.name.parse().ok()?;
        Some((name, HeaderValue::from_bytes(header.value).ok()?))
    });
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, value);
    }
    Some((status, map))
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::proxy::Proxies;

    /// Returns the result of opening a tunnel when the proxy responds with this and closes, and the
    /// request that it got.
    async fn opened(url: &str, response: &str) -> (Result<(), String>, String) {
        let proxies = Proxies::from_setting(url, &|_| None).unwrap();
        let proxy = proxies.proxy_for("https", "x", None).unwrap().clone();
        let (near, mut far) = duplex(64 * 1024);
        far.write_all(response.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let opened = open(near, &proxy, "api.example.com:443").await;
        let opened = opened.map(drop).map_err(|error| error.to_string());
        let mut request = String::new();
        far.read_to_string(&mut request).await.unwrap();
        (opened, request)
    }

    #[tokio::test]
    async fn a_target_is_requested_with_the_login_of_the_proxy() {
        let response = "HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n";
        let (opened, request) = opened("http://ann:pw@p:3128", response).await;
        assert_eq!(opened, Ok(()));
        assert_eq!(
            request,
            "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\
             Proxy-Authorization: Basic YW5uOnB3\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn every_other_response_is_an_error_that_names_the_proxy() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(RESPONSE_BYTES_MAX));
        for (response, part) in [
            ("", "closed the connection before its response was complete"),
            (
                "HTTP/1.1 200 OK\r\nx: ",
                "closed the connection before its response was complete",
            ),
            ("SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
            ("HTTP/1.1 100 Continue\r\n\r\n", "does not speak HTTP"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "does not speak HTTP"),
            (&long, "does not speak HTTP"),
            (
                "HTTP/1.1 403 Forbidden\r\n\r\n<html>",
                "(HTTP 403 Forbidden)",
            ),
            ("HTTP/1.0 502 x\r\n\r\n", "(HTTP 502 Bad Gateway)"),
            (
                "HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM\r\n\r\n",
                "a login by NTLM",
            ),
        ] {
            let (opened, _) = opened("http://p:3128", response).await;
            let reason = opened.unwrap_err();
            assert!(
                reason.starts_with("the proxy http://p:3128 ") && reason.contains(part),
                "{response}: {reason}"
            );
        }
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_respond_times_out() {
        let proxies = Proxies::from_setting("http://p:3128", &|_| None).unwrap();
        let proxy = proxies.proxy_for("https", "x", None).unwrap().clone();
        let (near, _far) = duplex(1024);
        let limit = Duration::from_millis(10);
        let opened = open_within(near, &proxy, "api.example.com:443", limit).await;
        let error = opened.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no connection through the proxy"),
            "{error}"
        );
    }
}
