//! The origins that a source may reach: denied by default, no I/O, and every
//! refusal suggests the setting that would allow it.
//!
//! An entry comes from the settings file or from the component's description.
//! Both allow an origin; only one of the settings file names an address that
//! is not public, see [`crate::address_gate`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use source_common::authority::split_authority;

/// Maximum length of a host, that of a name in DNS.
const HOST_BYTES_MAX: usize = 253;

/// The origins that one source may reach. An empty list allows nothing.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct AllowList {
    /// From the settings file: `allow` or `allow_only`, and settings of the
    /// component that are origins, such as `base_url`.
    configured: Vec<Pattern>,
    /// From the component's description.
    described: Vec<Pattern>,
    setting: AllowSetting,
}

/// The settings of a `[[source]]` about origins.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AllowSetting {
    /// `allow`: these, in addition to those that the component describes.
    Extend(Vec<String>),
    /// `allow_only`: these, instead of those that the component describes.
    Replace(Vec<String>),
}

impl Default for AllowSetting {
    fn default() -> Self {
        Self::Extend(Vec::new())
    }
}

impl AllowList {
    /// Creates the list of a source: its `[[source]]` setting, the origins among the
    /// settings of its component, and those that the component describes.
    ///
    /// The error is a clause that names the entry and says what would be
    /// right. A setting that is not an origin is left to the component, which
    /// checks its settings.
    pub fn new(
        setting: AllowSetting,
        settings_origins: &[String],
        described: &[String],
    ) -> Result<Self, String> {
        let (key, entries, described) = match &setting {
            AllowSetting::Extend(entries) => ("allow", entries, described),
            AllowSetting::Replace(entries) => ("allow_only", entries, [].as_slice()),
        };
        let mut configured = parse(entries).map_err(|reason| format!("`{key}`: {reason}"))?;
        let origins = settings_origins.iter().filter_map(|text| text.parse().ok());
        configured.extend(origins.filter(|pattern: &Pattern| !pattern.is_wildcard));
        let described = parse(described)
            .map_err(|reason| format!("an origin that the component describes: {reason}"))?;
        Ok(Self {
            configured,
            described,
            setting,
        })
    }

    /// Creates a list from entries of `allow` alone.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, String> {
        let entries = entries.iter().map(|entry| entry.as_ref().to_owned());
        Self::new(AllowSetting::Extend(entries.collect()), &[], &[])
    }

    /// Returns whether an entry covers this origin.
    #[must_use]
    pub fn allows(&self, origin: &Origin) -> bool {
        let mut entries = self.configured.iter().chain(&self.described);
        entries.any(|entry| entry.matches(origin))
    }

    /// Returns whether an entry of the settings file names this exact address and port,
    /// which exempts it from the address gate. `localhost` stands for every
    /// loopback address. Entries from the component's description exempt nothing.
    #[must_use]
    pub fn names_address(&self, address: IpAddr, port: u16) -> bool {
        self.configured.iter().any(|entry| {
            !entry.is_wildcard
                && entry.origin.port == port
                && match entry.origin.host.parse::<IpAddr>() {
                    Ok(named) => named == address,
                    Err(_) => entry.origin.host == "localhost" && address.is_loopback(),
                }
        })
    }

    /// Returns whether an entry of the settings file names this exact origin.
    #[must_use]
    pub fn names_origin(&self, origin: &Origin) -> bool {
        let mut entries = self.configured.iter();
        entries.any(|entry| !entry.is_wildcard && entry.origin == *origin)
    }

    /// Returns the line for `[[source]]` that also allows this origin. It replaces the
    /// existing line.
    #[must_use]
    pub fn suggested_setting(&self, origin: &Origin) -> String {
        let (key, entries) = match &self.setting {
            AllowSetting::Extend(entries) => ("allow", entries),
            AllowSetting::Replace(entries) => ("allow_only", entries),
        };
        let mut entries = entries.clone();
        let origin = origin.to_string();
        if !entries.contains(&origin) {
            entries.push(origin);
        }
        format!("{key} = {}", toml::Value::from(entries))
    }
}

fn parse(entries: &[String]) -> Result<Vec<Pattern>, String> {
    entries.iter().map(|entry| entry.parse()).collect()
}

/// An origin: scheme, host and port of a request.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Origin {
    scheme: Scheme,
    /// Lower-case, without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// The supported schemes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scheme {
    /// Plain text; allowed only where an entry names it.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Origin {
    /// Creates the origin of a request. `None` if the scheme is not supported, or the
    /// host is no valid name or address.
    #[must_use]
    pub fn new(scheme: &str, host: &str, port: Option<u16>) -> Option<Self> {
        let scheme = Scheme::parse(scheme)?;
        let host = normalize_host(host)?;
        let port = port.unwrap_or_else(|| scheme.default_port());
        Some(Self { scheme, host, port })
    }

    /// Parses an origin such as `https://api.example.com`. `None` if the text is
    /// not an origin, or has more parts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let pattern: Pattern = text.parse().ok()?;
        (!pattern.is_wildcard).then_some(pattern.origin)
    }

    /// Returns the host, in lower case and without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, or the scheme's default port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_origin(f, self.scheme, &self.host, self.port)
    }
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Some(Self::Http)
        } else {
            None
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Returns the scheme as in a URL, before `://`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// An entry: an origin, or all subdomains of one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Pattern {
    origin: Origin,
    is_wildcard: bool,
}

impl Pattern {
    fn matches(&self, origin: &Origin) -> bool {
        if self.origin.scheme != origin.scheme || self.origin.port != origin.port {
            return false;
        }
        if !self.is_wildcard {
            return self.origin.host == origin.host;
        }
        // An IP address has no subdomains, whatever its text ends with.
        origin.host.parse::<IpAddr>().is_err()
            && origin
                .host
                .strip_suffix(&self.origin.host)
                .and_then(|labels| labels.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty())
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(entry: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = entry.split_once("://") else {
            return Err(match entry {
                "*" => "`*` would allow every origin; name them, as in `https://api.example.com`"
                    .to_owned(),
                _ => format!("`{entry}` has no scheme; write `https://{entry}`"),
            });
        };
        let scheme =
            Scheme::parse(scheme).ok_or_else(|| format!("`{entry}` is neither https nor http"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(format!(
                "`{entry}` has a path; an entry is an origin, as in `https://api.example.com`"
            ));
        }
        if rest.contains('@') {
            return Err(format!(
                "`{entry}` has a user name; an entry is an origin only"
            ));
        }
        let (host, port) = split_authority(rest).ok_or_else(|| {
            let has_port_text = match rest.rsplit_once(']') {
                Some((_, after_bracket)) => after_bracket.contains(':'),
                None => !rest.starts_with('[') && rest.contains(':'),
            };
            if has_port_text {
                format!("`{entry}` has a port that is not a number from 1 to 65535")
            } else {
                format!("`{entry}` has no valid host")
            }
        })?;
        let (host, is_wildcard) = match host.strip_prefix("*.") {
            Some(parent) => (parent, true),
            None => (host.as_str(), false),
        };
        if host == "*" || host.contains('*') {
            return Err(format!(
                "`{entry}` is too wide; `*.` may only stand before a domain, as in `https://*.example.com`"
            ));
        }
        let host = normalize_host(host).ok_or_else(|| format!("`{entry}` has no valid host"))?;
        if is_wildcard && (!host.contains('.') || host.parse::<IpAddr>().is_ok()) {
            return Err(format!(
                "`{entry}` is too wide; name at least a domain and its suffix, as in `https://*.example.com`"
            ));
        }
        Ok(Self {
            origin: Origin {
                scheme,
                host,
                port: port.unwrap_or_else(|| scheme.default_port()),
            },
            is_wildcard,
        })
    }
}

/// Normalizes a host for comparison: lower case, no brackets, no final dot, and an
/// address in canonical form.
fn normalize_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        let address: std::net::Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(address.to_string());
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let labels_are_filled = host.split('.').all(|label| !label.is_empty());
    (labels_are_filled && host.len() <= HOST_BYTES_MAX && host.bytes().all(allowed)).then_some(host)
}

fn write_origin(f: &mut fmt::Formatter<'_>, scheme: Scheme, host: &str, port: u16) -> fmt::Result {
    write!(f, "{}://", scheme.name())?;
    if host.contains(':') {
        write!(f, "[{host}]")?;
    } else {
        f.write_str(host)?;
    }
    if port == scheme.default_port() {
        Ok(())
    } else {
        write!(f, ":{port}")
    }
}

#[cfg(test)]
mod tests;
