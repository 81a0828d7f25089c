//! The connection settings of NATS servers: addresses, credentials and TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Auth, ConnectOptions};
use source_common::exit::Failure;
use source_common::reloadable_secret::ReloadableSecret;
use source_common::section::{Section, SettingsErrors};

use super::tls::Tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to connect to the servers of one cluster. Displayed as their addresses.
#[derive(Clone, Debug)]
pub struct NatsConnectionSettings {
    addresses: Vec<String>,
    login: Login,
    tls: Tls,
    require_tls: bool,
}

#[derive(Clone, Debug)]
enum Login {
    Anonymous,
    Token(Arc<ReloadableSecret>),
    User(String, Arc<ReloadableSecret>),
}

impl fmt::Display for NatsConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.addresses.join(","))
    }
}

impl NatsConnectionSettings {
    /// Reads `servers`, `token`, `username`, `password`, `tls`, `ca_file`, `cert_file` and
    /// `key_file`.
    pub fn read(section: &mut Section<'_>) -> Result<Self, Failure> {
        let mut errors = SettingsErrors::default();
        let addresses = errors.ok_or_push(read_addresses(section));
        let login = errors.ok_or_push(read_login(section));
        let require_tls = errors.ok_or_push(section.boolean("tls")).flatten();
        let tls = errors.ok_or_push(Tls::read(section));
        let parts = addresses.zip(login).zip(tls);
        errors.into_value(parts.map(|((addresses, login), tls)| Self {
            addresses,
            login,
            require_tls: require_tls.unwrap_or(false) || tls.is_set(),
            tls,
        }))
    }

    /// Returns their addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Returns the options with which a client connects to them. The error is about a file that cannot
    /// be used.
    pub fn options(&self) -> Result<ConnectOptions, String> {
        let login = self.login.clone();
        // Called at each connection, since a secret from a file may have changed.
        let options = ConnectOptions::with_auth_callback(move |_| {
            let auth = login.auth();
            async move { Ok(auth) }
        });
        Ok(options
            .name("source-host")
            .connection_timeout(CONNECT_TIMEOUT)
            .require_tls(self.require_tls)
            .tls_client_config(self.tls.config()?))
    }
}

impl Login {
    /// Returns the current credentials.
    fn auth(&self) -> Auth {
        let mut auth = Auth::new();
        match self {
            Self::Anonymous => {}
            Self::Token(token) => auth.token = Some(token.current().expose().to_owned()),
            Self::User(user, password) => {
                auth.username = Some(user.clone());
                auth.password = Some(password.current().expose().to_owned());
            }
        }
        auth
    }
}

fn read_addresses(section: &mut Section<'_>) -> Result<Vec<String>, Failure> {
    let addresses = section.strings("servers")?.unwrap_or_default();
    if addresses.is_empty() {
        let reason = "is missing; as in [\"nats://127.0.0.1:4222\"]";
        return Err(section.error("servers", reason));
    }
    if addresses.iter().any(|server| server.contains('@')) {
        let reason = "has credentials in it, which would be in logs; use username and password";
        return Err(section.error("servers", reason));
    }
    let is_server = |server: &&String| {
        let rest = server.split_once("://");
        rest.is_none_or(|(scheme, _)| matches!(scheme, "nats" | "tls" | "ws" | "wss"))
    };
    if let Some(wrong) = addresses.iter().find(|server| !is_server(server)) {
        let reason = format!("has `{wrong}`; write it as in \"nats://127.0.0.1:4222\"");
        return Err(section.error("servers", &reason));
    }
    Ok(addresses)
}

fn read_login(section: &mut Section<'_>) -> Result<Login, Failure> {
    // All keys are read before an error ends this: one that was not read would count as unknown.
    let mut errors = SettingsErrors::default();
    let token = errors
        .ok_or_push(section.reloadable_secret("token"))
        .flatten();
    let username = errors.ok_or_push(section.string("username")).flatten();
    let password = errors
        .ok_or_push(section.reloadable_secret("password"))
        .flatten();
    errors.into_result()?;
    match (token, username, password) {
        (None, None, None) => Ok(Login::Anonymous),
        (Some(token), None, None) => Ok(Login::Token(Arc::new(token))),
        (None, Some(user), Some(password)) => Ok(Login::User(user, Arc::new(password))),
        _ => Err(section.error(
            "username",
            "and password belong together, and exclude token",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_connection_is_opened_with_the_secret_that_is_in_the_file_by_then() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("host.toml");
        let secret = directory.path().join("secret");
        for (settings, token, password) in [
            ("token = { file = \"secret\" }", true, false),
            (
                "username = \"fleet\"\npassword = { file = \"secret\" }",
                false,
                true,
            ),
        ] {
            fs::write(&secret, "the-first-secret").unwrap();
            let table = settings.parse().unwrap();
            let mut section = Section::new(&file, "[[output]]".to_owned(), table);
            let login = read_login(&mut section).unwrap();
            for expected in ["the-first-secret", "another-secret"] {
                fs::write(&secret, expected).unwrap();
                let auth = login.auth();
                let expected = Some(expected.to_owned());
                assert_eq!(auth.token, expected.clone().filter(|_| token));
                assert_eq!(auth.password, expected.filter(|_| password));
            }
        }
    }
}
