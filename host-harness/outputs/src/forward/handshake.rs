//! The HELO, PING, PONG handshake: both ends prove that they know the shared key.

use std::time::Duration;

use rmp::encode;
use rmpv::Value;
use sha2::{Digest, Sha512};
use source_common::reloadable_secret::ReloadableSecret;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, ForwardError, ReadError, member, text};

/// Salt length. It is sent as hex, because Fluent Bit rejects a binary salt.
const SALT_BYTES: usize = 16;

/// The credentials of the handshake. Those from files are read again when the files change.
#[derive(Debug)]
pub(super) struct HandshakeCredentials {
    pub(super) shared_key: ReloadableSecret,
    pub(super) user: Option<(String, ReloadableSecret)>,
    /// The host name of this end.
    pub(super) hostname: String,
}

/// Performs the handshake within `limit`. Returns whether the connection may carry several frames.
pub(super) async fn perform_handshake(
    connection: &mut Connection,
    credentials: &HandshakeCredentials,
    limit: Duration,
) -> Result<bool, ForwardError> {
    let deadline = Instant::now() + limit;
    let hello = timeout_at(deadline, connection.read())
        .await
        .map_err(|_| ForwardError::HandshakeIncomplete(no_helo(limit)))??;
    let options = match hello.as_array().map(Vec::as_slice) {
        Some([word, options, ..]) if text(word) == Some("HELO") => options,
        _ => return Err(action_required("its greeting is not a HELO")),
    };
    let nonce = bytes(member(options, "nonce"));
    let auth = bytes(member(options, "auth"));
    let keepalive = member(options, "keepalive").and_then(Value::as_bool);

    let salt = salt()?;
    let ping = ping(credentials, &salt, nonce, auth)
        .map_err(|error| ForwardError::Retry(format!("the PING cannot be encoded: {error}")))?;
    let pong = timeout_at(deadline, send_ping(connection, &ping))
        .await
        .map_err(|_| ForwardError::HandshakeIncomplete(no_pong(limit)))??;
    check(&pong, credentials, &salt, nonce)?;
    Ok(keepalive.unwrap_or(true))
}

/// Sends the PING, and reads the response.
async fn send_ping(connection: &mut Connection, ping: &[u8]) -> Result<Value, ForwardError> {
    connection.write(ping).await?;
    connection.read().await.map_err(|error| match error {
        ReadError::Ended(reason) => ForwardError::HandshakeIncomplete(format!(
            "{reason}; Fluent Bit does so if shared_key is wrong"
        )),
        ReadError::Malformed(_) => error.into(),
    })
}

/// Formats the error for a receiver that sends no HELO.
fn no_helo(waited: Duration) -> String {
    format!(
        "shared_key is set, but no HELO has come in {} s: the receiver has no shared key (Vector's \
         fluent source has none; use TLS there), or it is paused",
        waited.as_secs()
    )
}

/// Formats the error for a receiver that sends a HELO and then nothing.
fn no_pong(waited: Duration) -> String {
    format!(
        "the receiver has sent a HELO, but no PONG has come in {} s: it is overloaded or stopping",
        waited.as_secs()
    )
}

fn ping(
    credentials: &HandshakeCredentials,
    salt: &str,
    nonce: &[u8],
    auth: &[u8],
) -> std::io::Result<Vec<u8>> {
    let key = credentials.shared_key.current();
    let key = key.expose().as_bytes();
    let digest = digest(&[salt.as_bytes(), credentials.hostname.as_bytes(), nonce, key]);
    let (user, password) = match &credentials.user {
        Some((user, password)) => {
            let password = password.current();
            let parts = [auth, user.as_bytes(), password.expose().as_bytes()];
            (user.as_str(), self::digest(&parts))
        }
        None => ("", String::new()),
    };
    let mut out = Vec::with_capacity(512);
    encode::write_array_len(&mut out, 6)?;
    for part in [
        "PING",
        &credentials.hostname,
        salt,
        &digest,
        user,
        &password,
    ] {
        encode::write_str(&mut out, part)?;
    }
    Ok(out)
}

fn check(
    pong: &Value,
    credentials: &HandshakeCredentials,
    salt: &str,
    nonce: &[u8],
) -> Result<(), ForwardError> {
    let Some([word, success, reason, server, proof, ..]) = pong.as_array().map(Vec::as_slice)
    else {
        return Err(action_required("its response to PING is not a PONG"));
    };
    if text(word) != Some("PONG") {
        return Err(action_required("its response to PING is not a PONG"));
    }
    if success.as_bool() != Some(true) {
        let reason = text(reason).filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or("without a reason");
        return Err(ForwardError::ActionRequired(format!(
            "the receiver refuses the login: {reason}"
        )));
    }
    let server = text(server).unwrap_or_default();
    let key = credentials.shared_key.current();
    let key = key.expose().as_bytes();
    let wanted = digest(&[salt.as_bytes(), server.as_bytes(), nonce, key]);
    if text(proof) == Some(wanted.as_str()) {
        Ok(())
    } else {
        Err(action_required(
            "the receiver has another shared_key; check both",
        ))
    }
}

fn action_required(reason: &str) -> ForwardError {
    ForwardError::ActionRequired(reason.to_owned())
}

/// Returns a nonce's bytes, which receivers send as text or binary.
fn bytes(value: Option<&Value>) -> &[u8] {
    value.and_then(Value::as_slice).unwrap_or_default()
}

fn salt() -> Result<String, ForwardError> {
    let mut random = [0; SALT_BYTES];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| ForwardError::Retry("no random bytes for a salt".to_owned()))?;
    Ok(hex(&random))
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha512::new();
    for part in parts {
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use source_common::section::Section;

    use super::*;

    #[test]
    fn a_handshake_proves_the_shared_key_and_password_that_are_in_their_files_by_then() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("host.toml");
        let path_of = |name: &str| directory.path().join(name);
        let settings =
            "shared_key = { file = \"key\" }\nusername = \"a\"\npassword = { file = \"password\" }";
        fs::write(path_of("key"), "first-key").unwrap();
        fs::write(path_of("password"), "first-password").unwrap();
        let table = settings.parse().unwrap();
        let mut section = Section::new(&file, "[[output]]".to_owned(), table);
        let credentials = super::super::read_credentials(&mut section)
            .unwrap()
            .unwrap();
        let sent = || ping(&credentials, "salt", b"nonce", b"auth").unwrap();
        let first = sent();
        assert_eq!(sent(), first);
        fs::write(path_of("key"), "another-key").unwrap();
        let with_other_key = sent();
        assert_ne!(with_other_key, first);
        fs::write(path_of("password"), "another-password").unwrap();
        assert_ne!(sent(), with_other_key);
    }
}
