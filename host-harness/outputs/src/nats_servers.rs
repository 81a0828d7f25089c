//! How NATS servers are reached: addresses, credentials and TLS of the settings file.

use std::fmt;
use std::time::Duration;

use async_nats::ConnectOptions;
use source_common::exit::Failure;
use source_common::secret::Secret;
use source_common::section::Section;

use super::tls::Tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The servers of one cluster. It displays as their addresses.
#[derive(Clone, Debug)]
pub struct NatsServers {
    addresses: Vec<String>,
    login: Login,
    tls: Tls,
    require_tls: bool,
}

#[derive(Clone, Debug)]
enum Login {
    Nobody,
    Token(Secret),
    User(String, Secret),
}

impl fmt::Display for NatsServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.addresses.join(","))
    }
}

impl NatsServers {
    /// Reads `servers`, `token`, `username`, `password`, `tls`, `ca_file`, `cert_file` and
    /// `key_file`.
    pub fn read(section: &mut Section<'_>) -> Result<Self, Failure> {
        let addresses = section
            .strings("servers")?
            .filter(|servers| !servers.is_empty())
            .ok_or_else(|| {
                section.error("servers", "is missing; as in [\"nats://127.0.0.1:4222\"]")
            })?;
        if addresses.iter().any(|server| server.contains('@')) {
            let reason = "has credentials in it, which would be in logs; use username and password";
            return Err(section.error("servers", reason));
        }
        let login = read_login(section)?;
        let require_tls = section.switch("tls")?.unwrap_or(false);
        let tls = Tls::read(section)?;
        Ok(Self {
            addresses,
            login,
            require_tls: require_tls || tls.is_set(),
            tls,
        })
    }

    /// Their addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// How a client connects to them. The error is a file that cannot be used.
    pub fn options(&self) -> Result<ConnectOptions, String> {
        let options = ConnectOptions::new()
            .name("source-host")
            .connection_timeout(CONNECT_TIMEOUT)
            .require_tls(self.require_tls)
            .tls_client_config(self.tls.config()?);
        Ok(match &self.login {
            Login::Nobody => options,
            Login::Token(token) => options.token(token.expose().to_owned()),
            Login::User(user, password) => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
        })
    }
}

fn read_login(section: &mut Section<'_>) -> Result<Login, Failure> {
    let token = section.secret("token")?;
    let username = section.string("username")?;
    let password = section.secret("password")?;
    match (token, username, password) {
        (None, None, None) => Ok(Login::Nobody),
        (Some(token), None, None) => Ok(Login::Token(token)),
        (None, Some(user), Some(password)) => Ok(Login::User(user, password)),
        _ => Err(section.error(
            "username",
            "and password belong together, and exclude token",
        )),
    }
}
