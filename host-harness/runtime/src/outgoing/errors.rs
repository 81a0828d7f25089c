//! Converts errors of hyper, TLS, DNS and the system to `wasi:http`
//! error codes.

use std::error::Error as StdError;
use std::io;

use hyper_util::client::legacy;
use source_common::peer_certificate::certificate_refusal;
use source_common::proxy::ProxyError;
use wasmtime_wasi_http::Error as HttpError;

use super::connect::{ConnectError, RefusedAddress};

/// The error that a component gets after its host has lost the lease of the source. Its poll is
/// dropped.
pub(super) const LEASE_ENDED: &str = "the lease of the source has ended";

/// Returns the error of a request whose source has lost its lease.
pub(super) fn lease_ended() -> HttpError {
    HttpError::InternalError(Some(LEASE_ENDED.to_owned()))
}

/// Converts an error that occurred before the response head was complete.
pub(super) fn from_client(error: &legacy::Error) -> HttpError {
    classify(error, HttpError::ConnectionTerminated)
}

/// Returns the addresses that the gate has rejected, where that was the reason.
pub(super) fn refused_addresses(error: &legacy::Error) -> &[RefusedAddress] {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(ConnectError::Prohibited(refused)) = current.downcast_ref() {
            return refused;
        }
        cause = match current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    &[]
}

/// Converts an error within the response body.
pub(super) fn from_body(error: &hyper::Error) -> HttpError {
    classify(error, HttpError::HttpResponseIncomplete)
}

/// Searches the error chain. The first error of connecting, of a proxy or of TLS decides; without one,
/// the deepest known cause does. `on_connection_lost` is the code for a connection that ended too early.
fn classify(error: &(dyn StdError + 'static), on_connection_lost: HttpError) -> HttpError {
    let mut known = None;
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(connect) = current.downcast_ref::<ConnectError>() {
            return from_connect(connect);
        }
        if let Some(proxy) = current.downcast_ref::<ProxyError>() {
            return from_proxy(proxy);
        }
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return from_tls(tls);
        }
        if let Some(hyper) = current.downcast_ref::<hyper::Error>() {
            known = from_hyper(hyper).or(known);
        }
        if let Some(found) = current.downcast_ref::<io::Error>() {
            known = from_io(found).or(known);
            // `io::Error::source` skips the error that it wraps.
            if let Some(inner) = found.get_ref() {
                cause = Some(inner);
                continue;
            }
        }
        cause = current.source();
    }
    match known {
        Some(ErrorCause::ConnectionLost) => on_connection_lost,
        Some(ErrorCause::Mapped(error)) => error,
        None => HttpError::HttpProtocolError,
    }
}

enum ErrorCause {
    ConnectionLost,
    Mapped(HttpError),
}

fn from_hyper(error: &hyper::Error) -> Option<ErrorCause> {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Some(ErrorCause::ConnectionLost)
    } else if error.is_timeout() {
        Some(ErrorCause::Mapped(HttpError::ConnectionReadTimeout))
    } else if error.is_parse_too_large() {
        Some(ErrorCause::Mapped(
            HttpError::HttpResponseHeaderSectionSize(None),
        ))
    } else if error.is_parse() {
        Some(ErrorCause::Mapped(HttpError::HttpProtocolError))
    } else {
        None
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of another crate, of which few can happen here"
)]
fn from_io(error: &io::Error) -> Option<ErrorCause> {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Some(ErrorCause::ConnectionLost),
        io::ErrorKind::ConnectionRefused => Some(ErrorCause::Mapped(HttpError::ConnectionRefused)),
        io::ErrorKind::TimedOut => Some(ErrorCause::Mapped(HttpError::ConnectionReadTimeout)),
        _ => None,
    }
}

/// `wasi:http` has no error code for a proxy, so its text goes into `InternalError`.
pub(super) fn from_proxy(error: &ProxyError) -> HttpError {
    HttpError::InternalError(Some(error.to_string()))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of another crate, of which few can happen here"
)]
fn from_connect(error: &ConnectError) -> HttpError {
    match error {
        ConnectError::Limit => HttpError::ConnectionLimitReached,
        ConnectError::Prohibited(_) => HttpError::DestinationIpProhibited,
        ConnectError::Resolve(reason) => HttpError::DnsError {
            rcode: Some(reason.to_string()),
            info_code: None,
        },
        ConnectError::Tcp(reason) => match reason.kind() {
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                HttpError::DestinationIpUnroutable
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                HttpError::ConnectionTerminated
            }
            io::ErrorKind::TimedOut => HttpError::ConnectionTimeout,
            _ => HttpError::ConnectionRefused,
        },
        ConnectError::TimedOut => HttpError::ConnectionTimeout,
        ConnectError::Uri => HttpError::HttpRequestUriInvalid,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of another crate, of which few can happen here"
)]
fn from_tls(error: &rustls::Error) -> HttpError {
    if let Some(refused) = certificate_refusal(error) {
        // `TlsCertificateError` has no text.
        return HttpError::InternalError(Some(refused.to_string()));
    }
    match error {
        rustls::Error::AlertReceived(alert) => HttpError::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            HttpError::TlsCertificateError
        }
        _ => HttpError::TlsProtocolError,
    }
}
