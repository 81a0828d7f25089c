//! Which HTTP proxy requests are sent through, and for which targets.
//!
//! The rules are mostly those of curl: a setting takes precedence over the environment, `NO_PROXY` exempts
//! from both, and a variable in lower case takes precedence over one in upper case. Unlike curl,
//! `HTTP_PROXY` in upper case counts too, except in a CGI program, and the port of a proxy is required.

#[cfg(feature = "http-client")]
mod connector;
mod no_proxy;
mod tunnel;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;

use self::no_proxy::NoProxy;
use crate::authority::split_authority;

#[cfg(feature = "http-client")]
pub use self::connector::{Dial, DialResult, ProxyConnector, ProxyStream};
pub use self::tunnel::open as open_tunnel;

/// The value of the setting `proxy` that turns proxies off, also those of the environment.
const NONE: &str = "none";

/// A lookup of environment variables.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A proxy. Its login is never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Proxy {
    host: String,
    port: u16,
    authorization: Option<HeaderValue>,
    /// The setting or the environment variable that configures it, for messages.
    configured_by: &'static str,
}

/// Which proxy requests to a target go through. The default is none at all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    no_proxy: NoProxy,
}

/// Why there is no connection to a target through a proxy.
#[derive(Debug)]
pub enum ProxyError {
    /// It cannot be reached.
    Unreachable(Proxy, String),
    /// There was no connection through it in time.
    TimedOut(Proxy),
    /// It closed the connection before its response was complete.
    Closed(Proxy),
    /// Its response is not HTTP.
    NotHttp(Proxy),
    /// It asks for a login, or refuses the one that it got. These are the methods it offers.
    Login(Proxy, Vec<String>),
    /// It refuses the target or cannot reach it.
    Refused(Proxy, String, StatusCode),
}

impl Proxies {
    /// Parses the proxies of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY`. The error is a clause that begins with the name of a variable.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, String> {
        let proxy = |names: [&'static str; 2]| {
            let found = names
                .into_iter()
                .find_map(|name| Some((name, variable(environment, name)?)));
            found
                .map(|(name, text)| {
                    Proxy::parse(&text, name).map_err(|reason| format!("{name} {reason}"))
                })
                .transpose()
        };
        let all = proxy(["all_proxy", "ALL_PROXY"])?;
        // In a CGI program, `HTTP_PROXY` is set from a header of the request.
        let http = match environment("REQUEST_METHOD") {
            Some(_) => proxy(["http_proxy", "http_proxy"])?,
            None => proxy(["http_proxy", "HTTP_PROXY"])?,
        };
        Ok(Self {
            https: proxy(["https_proxy", "HTTPS_PROXY"])?.or_else(|| all.clone()),
            http: http.or(all),
            no_proxy: NoProxy::from_environment(environment),
        })
    }

    /// Parses the setting `proxy`, which is a URL or `none`; `NO_PROXY` exempts targets from
    /// it. The error is a clause that does not repeat the setting.
    pub fn from_setting(text: &str, environment: Environment<'_>) -> Result<Self, String> {
        if text == NONE {
            return Ok(Self::default());
        }
        let proxy = Proxy::parse(text, "`proxy`")?;
        Ok(Self {
            http: Some(proxy.clone()),
            https: Some(proxy),
            no_proxy: NoProxy::from_environment(environment),
        })
    }

    /// Returns the proxy for a target, or `None` for a connection to the target itself.
    #[must_use]
    pub fn proxy_for(&self, scheme: &str, host: &str, port: Option<u16>) -> Option<&Proxy> {
        let (proxy, port_default) = match scheme {
            "https" => (self.https.as_ref()?, 443),
            "http" => (self.http.as_ref()?, 80),
            _ => return None,
        };
        let is_exempt = self.no_proxy.matches(host, port.unwrap_or(port_default));
        (!is_exempt).then_some(proxy)
    }
}

impl Proxy {
    fn parse(text: &str, configured_by: &'static str) -> Result<Self, String> {
        const EXAMPLE: &str = "as in `http://proxy.example.com:3128`";
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme @ ("https" | "socks4" | "socks4a" | "socks5" | "socks5h"), _)) => {
                return Err(format!(
                    "begins with {scheme}://; only HTTP proxies can be used, {EXAMPLE}"
                ));
            }
            Some(_) => return Err(format!("is not a proxy URL; write it {EXAMPLE}")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, authority) = match rest.rsplit_once('@') {
            Some((login, authority)) => (Some(login), authority),
            None => (None, rest),
        };
        let Some((host, port)) = split_authority(authority) else {
            return Err(format!("is not a proxy URL; write it {EXAMPLE}"));
        };
        let port = port.ok_or_else(|| format!("has no port; write one, {EXAMPLE}"))?;
        Ok(Self {
            host,
            port,
            authorization: login.map(basic_authorization).transpose()?,
            configured_by,
        })
    }

    /// Returns its host name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        without_brackets(&self.host)
    }

    /// Returns its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the value of `Proxy-Authorization`, where its URL has a login.
    #[must_use]
    pub const fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Returns the error that a response of the proxy itself stands for, or `None` where it is successful.
    /// Any other status counts as a refusal, so of a response that may be the target's (to a request without
    /// a tunnel) only one with status 407 may be passed.
    #[must_use]
    pub fn refusal(
        &self,
        target: &str,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<ProxyError> {
        if status.is_success() {
            return None;
        }
        if status != StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Some(ProxyError::Refused(self.clone(), target.to_owned(), status));
        }
        let offers = headers.get_all(header::PROXY_AUTHENTICATE).iter();
        // Challenges after a comma belong to a scheme that is named before them, or are too rare to
        // be listed.
        let words = offers.filter_map(|offer| offer.to_str().ok()?.split_whitespace().next());
        let methods = words
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .map(str::to_owned);
        Some(ProxyError::Login(self.clone(), methods.collect()))
    }
}

/// Returns the value of `Proxy-Authorization` for the login in a URL.
fn basic_authorization(login: &str) -> Result<HeaderValue, String> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Removes the brackets that an IPv6 address has in a URL.
fn without_brackets(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host)
}

fn variable(environment: Environment<'_>, name: &str) -> Option<String> {
    let text = environment(name)?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Displays the proxy without its login.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(proxy, reason) => write!(
                f,
                "the proxy {proxy} cannot be reached: {reason}; check {}",
                proxy.configured_by
            ),
            Self::TimedOut(proxy) => write!(
                f,
                "no connection through the proxy {proxy} in time; check {}, and the log of the proxy",
                proxy.configured_by
            ),
            Self::Closed(proxy) => write!(
                f,
                "the proxy {proxy} closed the connection before its response was complete; see the log of the proxy"
            ),
            Self::NotHttp(proxy) => write!(
                f,
                "the proxy {proxy} does not speak HTTP; check {}",
                proxy.configured_by
            ),
            Self::Login(proxy, methods) => {
                write!(f, "the proxy {proxy} ")?;
                let has_basic = methods
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case("basic"));
                if !has_basic && !methods.is_empty() {
                    return write!(
                        f,
                        "asks for a login by {} (HTTP 407), and only Basic can be used; allow this host there without a login",
                        methods.join(", ")
                    );
                }
                if proxy.authorization.is_some() {
                    return write!(
                        f,
                        "refuses the user name and password (HTTP 407); correct them in {}",
                        proxy.configured_by
                    );
                }
                write!(
                    f,
                    "asks for a login (HTTP 407); write it in {} as http://USER:PASSWORD@{}:{}",
                    proxy.configured_by, proxy.host, proxy.port
                )
            }
            Self::Refused(proxy, target, status) => write!(
                f,
                "the proxy {proxy} refuses to connect to {target} (HTTP {status}); allow it there, or exempt it with NO_PROXY"
            ),
        }
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(text: &str) -> impl Fn(&str) -> Option<String> {
        let pairs: Vec<(String, String)> = text
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        move |name| {
            let found = pairs.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        }
    }

    fn proxy_host_for(proxies: &Proxies, uri: &str) -> String {
        let uri: http::Uri = uri.parse().unwrap();
        let proxy = proxies.proxy_for(
            uri.scheme_str().unwrap(),
            uri.host().unwrap(),
            uri.port_u16(),
        );
        proxy.map_or_else(|| "none".to_owned(), |proxy| proxy.host().to_owned())
    }

    #[test]
    fn the_environment_is_read_with_lower_case_first_and_no_http_proxy_of_a_cgi_program() {
        for (variables, https, http) in [
            ("", "none", "none"),
            ("HTTPS_PROXY=http://a:1", "a", "none"),
            ("HTTPS_PROXY=a:1 https_proxy=b:1", "b", "none"),
            ("HTTP_PROXY=a:1", "none", "a"),
            ("HTTP_PROXY=a:1 REQUEST_METHOD=GET", "none", "none"),
            ("http_proxy=a:1 REQUEST_METHOD=GET", "none", "a"),
            ("ALL_PROXY=a:1 https_proxy=HTTP://b:1/", "b", "a"),
            ("HTTPS_PROXY=a:1 NO_PROXY=example.com", "none", "none"),
            ("HTTPS_PROXY=a:1 NO_PROXY=other.com", "a", "none"),
            ("HTTPS_PROXY=", "none", "none"),
        ] {
            let proxies = Proxies::from_environment(&environment(variables)).unwrap();
            let found = ["https://api.example.com/x", "http://api.example.com/x"]
                .map(|uri| proxy_host_for(&proxies, uri));
            assert_eq!(found, [https, http], "{variables}");
        }
        let wrong = environment("https_proxy=socks5://ann:s3cr3t@a:1");
        let reason = Proxies::from_environment(&wrong).unwrap_err();
        assert!(
            reason.starts_with("https_proxy begins with socks5://; only HTTP proxies"),
            "{reason}"
        );
    }

    #[test]
    fn the_setting_goes_before_the_environment_and_no_proxy_exempts_from_both() {
        let environment = environment("HTTPS_PROXY=a:1 NO_PROXY=internal,10.0.0.0/8");
        let proxies = Proxies::from_setting("http://b:3128", &environment).unwrap();
        for (uri, wanted) in [
            ("https://example.com", "b"),
            ("http://example.com", "b"),
            ("https://siem.internal:9200", "none"),
            ("http://10.1.2.3:8088", "none"),
            ("ftp://example.com", "none"),
        ] {
            assert_eq!(proxy_host_for(&proxies, uri), wanted, "{uri}");
        }
        let off = Proxies::from_setting("none", &environment).unwrap();
        assert_eq!(proxy_host_for(&off, "https://example.com"), "none");
    }

    #[test]
    fn a_login_is_decoded_and_never_shown() {
        let text = "http://a%40nn:s3cr3t%3Amark@proxy:3128";
        let proxies = Proxies::from_setting(text, &|_| None).unwrap();
        let proxy = proxies.proxy_for("https", "example.com", None).unwrap();
        let wanted = format!("Basic {}", STANDARD.encode("a@nn:s3cr3t:mark"));
        assert_eq!(proxy.authorization().unwrap(), wanted.as_str());
        assert_eq!(proxy.to_string(), "http://proxy:3128");
        let encoded = wanted.split_once(' ').unwrap().1.to_owned();
        for shown in [
            format!("{proxies:?}"),
            format!("{:?}", proxy.authorization()),
            ProxyError::Login(proxy.clone(), Vec::new()).to_string(),
        ] {
            assert!(
                !shown.contains("s3cr3t") && !shown.contains(&encoded),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        for (text, wanted) in [
            ("https://ann:s3cr3t@proxy:3128", "begins with https://"),
            ("socks5h://ann:s3cr3t@proxy:3128", "begins with socks5h://"),
            ("s3cr3t://proxy:3128", "is not a proxy URL"),
            ("http://ann:s3cr3t@proxy", "has no port"),
            ("http://ann:s3cr3t@proxy:0", "is not a proxy URL"),
            ("http://ann:s3cr3t@proxy:3128/s3cr3t", "is not a proxy URL"),
            ("http://", "is not a proxy URL"),
            ("", "is not a proxy URL"),
        ] {
            let reason = Proxies::from_setting(text, &|_| None).unwrap_err();
            assert!(reason.starts_with(wanted), "{text}: {reason}");
            assert!(!reason.contains("s3cr3t"), "{reason}");
            assert!(reason.contains("http://proxy.example.com:3128"), "{reason}");
        }
    }

    #[test]
    fn a_refusal_suggests_the_setting() {
        let refusal_text = |url: &str, status: u16, offers: &[&str]| {
            let proxies = Proxies::from_setting(url, &|_| None).unwrap();
            let proxy = proxies.proxy_for("https", "x", None).unwrap().clone();
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append(header::PROXY_AUTHENTICATE, offer.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = proxy.refusal("x:443", status, &headers);
            refusal.map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refusal_text("http://p:1", 200, &[]), "");
        for (text, part) in [
            (
                refusal_text("http://p:1", 407, &["Basic realm=\"x\""]),
                "write it in `proxy` as http://USER:PASSWORD@p:1",
            ),
            (
                refusal_text("http://p:1", 407, &[]),
                "asks for a login (HTTP 407)",
            ),
            (
                refusal_text("http://a:b@p:1", 407, &["Basic realm=\"x\""]),
                "refuses the user name and password",
            ),
            (
                refusal_text("http://p:1", 407, &["Negotiate", "NTLM"]),
                "by Negotiate, NTLM (HTTP 407), and only Basic",
            ),
            (
                refusal_text("http://p:1", 407, &["Negotiate", "Basic realm=\"x\""]),
                "write it in",
            ),
            (
                refusal_text("http://p:1", 403, &[]),
                "refuses to connect to x:443 (HTTP 403 Forbidden); allow it there",
            ),
            (refusal_text("http://p:1", 302, &[]), "HTTP 302 Found"),
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
