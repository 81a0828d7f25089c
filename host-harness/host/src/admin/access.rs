//! Access rules of the admin server. No cookie is ever set or read, which rules out cross-site
//! requests on a visitor's behalf; and the `Host` header is checked, which rules out DNS
//! rebinding.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use source_common::reloadable_secret::ReloadableSecret;
use subtle::ConstantTimeEq;

use super::page::ASSETS;
use super::response::ApiError;

/// Paths that need neither a token nor a known `Host`, for supervisors and load balancers.
pub(super) const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// The kind of a request, as far as access rules distinguish it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum RequestKind {
    Probe,
    /// A static file of the status page; contains no data.
    Asset,
    Read,
    Change,
}

/// Access rules.
#[derive(Debug)]
pub(super) struct Access {
    /// Whether the server is reachable from this machine only.
    pub(super) is_loopback: bool,
    pub(super) token: Option<Arc<ReloadableSecret>>,
    /// Accepted host names, in lower case.
    pub(super) hosts: Vec<String>,
}

impl Access {
    /// Rejects a request that is not allowed.
    pub(super) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let kind = kind(method, uri.path());
        if kind == RequestKind::Probe {
            return Ok(());
        }
        self.check_host(uri, headers)?;
        match kind {
            RequestKind::Probe | RequestKind::Asset => Ok(()),
            RequestKind::Read if self.is_loopback => Ok(()),
            RequestKind::Read | RequestKind::Change => self.check_token(headers),
        }
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut named = headers.get_all(HOST).iter();
        let (host, another) = (named.next(), named.next());
        let authority = match (uri.authority(), host, another) {
            (_, _, Some(_)) => None,
            (Some(authority), _, None) => Some(authority.as_str()),
            (None, host, None) => host.and_then(|host| host.to_str().ok()),
        };
        let host = authority.and_then(host_name).ok_or_else(|| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "send one header `Host` with a host name",
            )
        })?;
        if self.allows_host(&host) {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "{host:?} is not a name of this server; add it to [admin] hosts, or use the IP \
                 address"
            ),
        ))
    }

    fn allows_host(&self, host: &str) -> bool {
        host == "localhost"
            || host.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|it| it == host)
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(token) = &self.token else {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "nothing can be changed without a token; write token = { file = \"admin.token\" } \
                 into [admin] and start the host again",
            ));
        };
        let unauthorized = |message: &str| ApiError::new(StatusCode::UNAUTHORIZED, message);
        let presented = headers.get(AUTHORIZATION);
        let presented = presented.ok_or_else(|| {
            unauthorized("send the header `Authorization: Bearer` with the token")
        })?;
        let presented = bearer(presented.as_bytes());
        let expected = token.current();
        // Compares in constant time.
        let is_equal = presented
            .is_some_and(|presented| bool::from(presented.ct_eq(expected.expose().as_bytes())));
        if is_equal {
            Ok(())
        } else {
            Err(unauthorized(
                "the token is wrong; the right one is set by [admin] token",
            ))
        }
    }
}

fn kind(method: &Method, path: &str) -> RequestKind {
    let is_read = method == Method::GET || method == Method::HEAD;
    let is_asset = || ASSETS.iter().any(|(own, _, _)| *own == path);
    match path {
        _ if PROBES.contains(&path) => RequestKind::Probe,
        _ if !is_read => RequestKind::Change,
        _ if is_asset() => RequestKind::Asset,
        _ => RequestKind::Read,
    }
}

/// Returns the credentials of the `Bearer` scheme, whose name is case-insensitive.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked("Bearer ".len())?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Returns the host of an authority in lower case, without brackets, port and final dot.
fn host_name(authority: &str) -> Option<String> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(address, _)| address)?,
        None => authority.split(':').next()?,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty() && !host.contains('@')).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use source_common::secret::Secret;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn access(is_loopback: bool, token: Option<&str>) -> Access {
        Access {
            is_loopback,
            token: token
                .map(|token| Arc::new(ReloadableSecret::fixed(Secret::new(token.to_owned())))),
            hosts: vec!["siem.example.com".to_owned()],
        }
    }

    fn status(access: &Access, method: &str, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let checked = access.check(&method, &path.parse().unwrap(), &map);
        checked.err().map_or(200, |refusal| refusal.status.as_u16())
    }

    #[test]
    fn on_loopback_reading_needs_no_token_and_changing_does() {
        let access = access(true, Some(TOKEN));
        let host = ("host", "127.0.0.1:9600");
        let bearer = format!("Bearer {TOKEN}");
        for path in [
            "/",
            "/assets/app.js",
            "/metrics",
            "/api/v1/status",
            "/api/v1/sources/a",
        ] {
            assert_eq!(status(&access, "GET", path, &[host]), 200, "{path}");
        }
        for (method, path) in [
            ("POST", "/api/v1/sources/a/pause"),
            ("PUT", "/api/v1/sources/a"),
            ("DELETE", "/api/v1/sources/a"),
            ("POST", "/"),
            ("PATCH", "/metrics"),
        ] {
            assert_eq!(status(&access, method, path, &[host]), 401, "{path}");
            let with = ("authorization", bearer.as_str());
            assert_eq!(status(&access, method, path, &[host, with]), 200, "{path}");
        }
    }

    #[test]
    fn where_others_reach_it_only_probes_and_the_page_need_no_token() {
        let access = access(false, Some(TOKEN));
        let host = ("host", "192.0.2.7");
        for path in ["/livez", "/readyz", "/", "/assets/app.css"] {
            assert_eq!(status(&access, "GET", path, &[host]), 200, "{path}");
        }
        for path in [
            "/metrics",
            "/api/v1/status",
            "/api/v1/describe",
            "/none",
            "/assets/none.js",
        ] {
            assert_eq!(status(&access, "GET", path, &[host]), 401, "{path}");
        }
    }

    #[test]
    fn only_the_whole_token_is_accepted() {
        let access = access(false, Some(TOKEN));
        let with = |value: &str| {
            let headers = [("host", "[::1]:9600"), ("authorization", value)];
            status(&access, "GET", "/metrics", &headers)
        };
        assert_eq!(with(&format!("Bearer {TOKEN}")), 200);
        assert_eq!(with(&format!("bearer   {TOKEN}")), 200);
        for wrong in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Bearer {TOKEN}0"),
            format!("Bearer {}", TOKEN.trim_start_matches('0')),
            format!("Bearer {}", TOKEN.to_uppercase()),
            format!("Basic {TOKEN}"),
            TOKEN.to_owned(),
        ] {
            assert_eq!(with(&wrong), 401, "{wrong}");
        }
    }

    #[test]
    fn without_a_token_nothing_can_be_changed() {
        let access = access(true, None);
        let headers = [
            ("host", "localhost"),
            ("authorization", "Bearer anything-at-all"),
        ];
        let path = "/api/v1/sources/a/pause";
        assert_eq!(status(&access, "POST", path, &headers), 403);
        assert_eq!(status(&access, "GET", "/api/v1/status", &headers), 200);
    }

    #[test]
    fn a_name_that_is_not_the_server_s_own_is_refused_except_by_probes() {
        let access = access(true, None);
        let with = |host: &str, path: &str| status(&access, "GET", path, &[("host", host)]);
        for host in [
            "127.0.0.1",
            "[::1]:9600",
            "localhost:9600",
            "LOCALHOST",
            "Siem.Example.com.",
            "10.0.0.1:1",
        ] {
            assert_eq!(with(host, "/api/v1/status"), 200, "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test:9600",
            "a@localhost",
        ] {
            assert!([400, 421].contains(&with(host, "/api/v1/status")), "{host}");
            assert!([400, 421].contains(&with(host, "/")), "{host}");
            assert_eq!(with(host, "/livez"), 200, "{host}");
        }
        assert_eq!(status(&access, "GET", "/", &[]), 400);
        let twice = [("host", "localhost"), ("host", "evil.test")];
        assert_eq!(status(&access, "GET", "/", &twice), 400);
    }
}
