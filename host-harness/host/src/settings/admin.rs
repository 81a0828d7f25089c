//! `[admin]`: the admin server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use source_common::exit::Failure;
use source_common::line_numbers::KeyLineNumbers;
use source_common::reloadable_secret::ReloadableSecret;
use source_common::section::{Section, SettingsErrors};
use source_common::suggestion::nearest;

/// Minimum length of a token; shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Maximum length of a token, since it is sent with every request.
const TOKEN_BYTES_MAX: usize = 1_024;

/// Settings of the admin server: where it listens and who may use it.
#[derive(Debug)]
pub struct AdminSettings {
    /// The address to listen on. Port 0 takes a free one, which is logged.
    pub listen: SocketAddr,
    /// The bearer token of requests; without one nothing can be changed.
    pub token: Option<Arc<ReloadableSecret>>,
    /// Names by which the server is reached, besides IP addresses and `localhost`. In lower case,
    /// without port.
    pub hosts: Vec<String>,
    /// The server certificate; without one the server speaks plain HTTP.
    pub tls: Option<AdminTls>,
    /// Level of detail of metric labels; by default this depends on the number of sources.
    pub metrics_detail: Option<MetricsDetail>,
}

/// `[admin] tls`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdminTls {
    /// The certificate with its chain, in PEM form.
    pub cert_file: PathBuf,
    /// Its private key, in PEM form.
    pub key_file: PathBuf,
}

/// Which labels metrics have.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum MetricsDetail {
    /// No labels below the host.
    Host,
    /// Labels for sources.
    Source,
    /// Labels for sources and streams.
    Stream,
}

impl MetricsDetail {
    const WORDS: [(&'static str, Self); 3] = [
        ("stream", Self::Stream),
        ("source", Self::Source),
        ("host", Self::Host),
    ];
}

impl fmt::Display for MetricsDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, detail)| detail == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

impl AdminSettings {
    /// Parses the table.
    pub(super) fn parse(
        file: &Path,
        table: toml::Table,
        lines: KeyLineNumbers,
    ) -> Result<Self, Failure> {
        let mut section = Section::new(file, "[admin]".to_owned(), table).with_lines(lines.clone());
        let mut errors = SettingsErrors::default();
        let listen = errors.ok_or_push(parse_listen(&mut section));
        let token = errors.ok_or_push(parse_token(&mut section));
        let hosts = errors.ok_or_push(parse_hosts(&mut section));
        let tls = errors.ok_or_push(parse_tls(file, &mut section, &lines));
        let metrics_detail = errors.ok_or_push(parse_detail(&mut section));
        if let (Some(listen), Some(None)) = (listen, &token)
            && !listen.ip().is_loopback()
        {
            let reason = format!(
                "is {listen}, which others can reach, and there is no `token`; write \
                 token = {{ file = \"admin.token\" }}, or listen on 127.0.0.1"
            );
            errors.push(section.error("listen", &reason));
        }
        errors.ok_or_push(section.finish());
        errors.into_result()?;
        match (listen, token, hosts, tls, metrics_detail) {
            (Some(listen), Some(token), Some(hosts), Some(tls), Some(metrics_detail)) => Ok(Self {
                listen,
                token,
                hosts,
                tls,
                metrics_detail,
            }),
            _ => Err(Failure::settings("[admin] cannot be used")),
        }
    }

    /// Returns whether the server is reachable from this machine only.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().is_loopback()
    }
}

fn parse_listen(section: &mut Section<'_>) -> Result<SocketAddr, Failure> {
    let text = section.required_string("listen")?;
    let localhost = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    let address = localhost.as_deref().unwrap_or(&text);
    address.parse().map_err(|_| {
        let reason = match text.parse::<IpAddr>() {
            Ok(ip) => format!("has no port; write \"{}\"", SocketAddr::new(ip, 9600)),
            Err(_) => {
                format!("is {text:?}; it must be an IP address and a port, such as 127.0.0.1:9600")
            }
        };
        section.error("listen", &reason)
    })
}

fn parse_token(section: &mut Section<'_>) -> Result<Option<Arc<ReloadableSecret>>, Failure> {
    let Some(token) = section.reloadable_secret("token")? else {
        return Ok(None);
    };
    let text = token.current();
    let text = text.expose();
    if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len()) {
        let reason = format!(
            "has {} characters; it must have {TOKEN_BYTES_MIN} \
             to {TOKEN_BYTES_MAX}, such as the output of `openssl rand -hex 32`",
            text.len()
        );
        return Err(section.error("token", &reason));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = "has a character that a header cannot carry; use letters and digits";
        return Err(section.error("token", reason));
    }
    Ok(Some(Arc::new(token)))
}

fn parse_hosts(section: &mut Section<'_>) -> Result<Vec<String>, Failure> {
    let hosts = section.strings("hosts")?.unwrap_or_default();
    let is_name = |host: &String| {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        !host.is_empty() && host.bytes().all(is_allowed)
    };
    if let Some(host) = hosts.iter().find(|host| !is_name(host)) {
        let reason = format!("has {host:?}; write names only, such as \"collector.example.com\"");
        return Err(section.error("hosts", &reason));
    }
    Ok(hosts.iter().map(|host| host.to_ascii_lowercase()).collect())
}

fn parse_tls(
    file: &Path,
    section: &mut Section<'_>,
    lines: &KeyLineNumbers,
) -> Result<Option<AdminTls>, Failure> {
    let Some(table) = section.table("tls")? else {
        return Ok(None);
    };
    let location = "[admin] tls".to_owned();
    let mut section = Section::new(file, location, table).with_lines(lines.table("tls"));
    let mut errors = SettingsErrors::default();
    let cert_file = errors.ok_or_push(section.required_path("cert_file"));
    let key_file = errors.ok_or_push(section.required_path("key_file"));
    errors.ok_or_push(section.finish());
    let files = cert_file.zip(key_file);
    let tls = files.map(|(cert_file, key_file)| AdminTls {
        cert_file,
        key_file,
    });
    errors.into_value(tls).map(Some)
}

fn parse_detail(section: &mut Section<'_>) -> Result<Option<MetricsDetail>, Failure> {
    let Some(word) = section.string("metrics_detail")? else {
        return Ok(None);
    };
    let words = MetricsDetail::WORDS;
    if let Some((_, detail)) = words.iter().find(|(known, _)| *known == word) {
        return Ok(Some(*detail));
    }
    let meant = nearest(&word, words.iter().map(|(known, _)| *known));
    let meant = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`? "));
    let reason = format!("is {word:?}; {meant}it must be one of: stream, source, host");
    Err(section.error("metrics_detail", &reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn parse(text: &str) -> Result<AdminSettings, String> {
        let table = text.parse::<toml::Table>();
        let table = table.map_err(|error| error.to_string())?;
        AdminSettings::parse(Path::new("host.toml"), table, KeyLineNumbers::parse(text))
            .map_err(|failure| failure.message)
    }

    #[test]
    fn the_table_is_understood() {
        let admin = parse(&format!(
            "listen = \"0.0.0.0:9600\"\ntoken = \"{TOKEN}\"\nhosts = [\"Siem.Example.com\"]\n\
             metrics_detail = \"source\"\ntls = {{ cert_file = \"a.pem\", key_file = \"a.key\" }}\n"
        ))
        .unwrap();
        assert_eq!(admin.listen.to_string(), "0.0.0.0:9600");
        assert!(!admin.is_loopback());
        assert_eq!(admin.token.unwrap().current().expose(), TOKEN);
        assert_eq!(admin.hosts, ["siem.example.com"]);
        assert_eq!(admin.metrics_detail, Some(MetricsDetail::Source));
        assert_eq!(admin.tls.unwrap().key_file, Path::new("a.key"));
        let least = parse("listen = \"localhost:0\"").unwrap();
        assert!(least.is_loopback() && least.token.is_none() && least.metrics_detail.is_none());
        assert!(parse("listen = \"[::1]:9600\"").unwrap().is_loopback());
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        for listen in ["0.0.0.0:9600", "[::]:9600", "192.0.2.1:9600"] {
            let error = parse(&format!("listen = \"{listen}\"")).unwrap_err();
            assert!(error.contains("there is no `token`"), "{error}");
        }
        parse("listen = \"127.8.9.1:9600\"").unwrap();
    }

    #[test]
    fn every_mistake_is_reported_with_what_to_write() {
        let error = parse(
            "listen = \"127.0.0.1\"\ntoken = \"short\"\nhosts = [\"https://a.test:1\"]\n\
             metrics_detail = \"sources\"\nlisen = 1\ntls = { cert_fiel = \"a.pem\" }\n",
        )
        .unwrap_err();
        let wanted = [
            "host.toml:1: [admin]: `listen` has no port; write \"127.0.0.1:9600\"",
            "`token` has 5 characters",
            "`hosts` has \"https://a.test:1\"",
            "`cert_file` is missing",
            "`key_file` is missing",
            "did you mean `cert_file`?",
            "did you mean `source`?",
            "lisen",
        ];
        for text in wanted {
            assert!(error.contains(text), "{text}: {error}");
        }
        assert!(!error.contains("short"), "{error}");
        let error = parse("listen = \"here\"").unwrap_err();
        assert!(error.contains("such as 127.0.0.1:9600"), "{error}");
        let error = parse("").unwrap_err();
        assert!(error.contains("`listen` is missing"), "{error}");
    }
}
