//! The saved session of `pipeline:source`: state that only saves work between two polls, as text that a
//! host keeps in memory.
//!
//! It holds an access token, so it is a secret. A text that cannot be read is ignored: without it a poll
//! makes one more request.

use serde::{Deserialize, Serialize};

use crate::decode::parse_json;
use crate::settings::Credentials;
use crate::time::Timestamp;

/// The longest text that `pipeline:source` allows.
pub const SESSION_BYTES_MAX: usize = 16 * 1024;

/// The version this release writes and reads.
const VERSION: u32 = 1;

/// The state that one poll leaves for the next one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    #[serde(rename = "v")]
    version: u32,
    /// A hash of the credentials and their API, so that a session of other credentials is ignored.
    #[serde(rename = "owner")]
    credentials_digest: String,
    /// The access token of API 2.0 and when to stop using it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<(String, Timestamp)>,
    /// How far the host's clock is ahead of the upstream's, in milliseconds, where more than one
    /// response has shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<i64>,
}

impl SavedSession {
    /// Creates a session for the source with these credentials.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        Self {
            version: VERSION,
            credentials_digest: credentials_digest(credentials),
            token: None,
            skew_ms: None,
        }
    }

    /// Parses the output of [`SavedSession::to_text`]; `None` for any other text and for one of
    /// other credentials.
    #[must_use]
    pub fn parse(text: &str, credentials: &Credentials) -> Option<Self> {
        if text.len() > SESSION_BYTES_MAX {
            return None;
        }
        let session: Self = parse_json(text).ok()?;
        (session.version == VERSION
            && session.credentials_digest == credentials_digest(credentials))
        .then_some(session)
    }

    /// Returns the text for the host; `None` where it would be longer than [`SESSION_BYTES_MAX`].
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        (text.len() <= SESSION_BYTES_MAX).then_some(text)
    }
}

/// Returns a hash of the credentials and of the API that they are for. It reveals neither of them,
/// although the text is a secret in any case.
fn credentials_digest(credentials: &Credentials) -> String {
    // The origin of API 1.0 may be what discovery found later.
    let (base_url, id) = match credentials {
        Credentials::Client { base_url, id, .. } => (base_url.as_str(), id.as_str()),
        Credentials::Legacy(keys) => ("", keys.app_id.as_str()),
    };
    let mut hasher = blake3::Hasher::new();
    for part in [base_url, id].into_iter().chain(credentials.secrets()) {
        hasher.update(part.as_bytes());
        hasher.update(b"\n");
    }
    let hash = hasher.finalize();
    let (half, _) = hash.as_bytes().split_at(16);
    half.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::testing::{Host, Upstream};

    fn settings(secret: &str) -> Settings {
        let json = format!(r#"{{"client_id":"id","client_secret":"{secret}"}}"#);
        Settings::parse(&json).unwrap()
    }

    #[test]
    fn a_session_of_other_credentials_or_another_form_is_ignored() {
        let mut session = SavedSession::new(&settings("s-1").credentials);
        session.token = Some(("t".to_owned(), Timestamp::from_millis(9)));
        let text = session.to_text().unwrap();
        assert!(
            SavedSession::parse(&text, &settings("s-1").credentials)
                .is_some_and(|read| read == session)
        );
        assert!(SavedSession::parse(&text, &settings("s-2").credentials).is_none());
        for other in [
            "",
            "{}",
            "null",
            "{\"v\":1}",
            &"x".repeat(SESSION_BYTES_MAX + 1),
        ] {
            assert!(
                SavedSession::parse(other, &settings("s-1").credentials).is_none(),
                "{other}"
            );
        }
    }

    #[test]
    fn every_saved_key_is_read_and_written_as_it_was() {
        let credentials = settings("s-1").credentials;
        let digest = credentials_digest(&credentials);
        let text = format!(r#"{{"v":1,"owner":"{digest}","token":["t",9],"skew_ms":5}}"#);
        let read = SavedSession::parse(&text, &credentials).unwrap();
        assert_eq!(read.to_text(), Some(text));
    }

    #[test]
    fn a_token_that_does_not_fit_leaves_no_session() {
        let mut session = SavedSession::new(&settings("s-1").credentials);
        let token = "t".repeat(SESSION_BYTES_MAX);
        session.token = Some((token, Timestamp::from_millis(9)));
        assert!(session.to_text().is_none());
    }

    #[test]
    fn one_token_serves_all_sessions_of_its_lifetime() {
        let mut upstream = Upstream::new();
        let mut host = Host::new(r#","streams":["audit"]"#);
        host.fresh_each_poll = true;
        host.passes_saved_session = true;
        let polls = 3 * 1_738 / 60;
        for n in 0..polls {
            upstream.add_audit(&format!("a{n}"), upstream.now.plus_ms(-1000));
            host.collect(&mut upstream);
            upstream.now = upstream.now.plus_ms(60_000);
        }
        host.assert_exactly_once(&upstream);
        let tokens = upstream.count_requests("/oauth/token");
        // A token of 1799 s is used for 1739 s.
        assert_eq!(tokens, 3, "{polls} polls in {} s", polls * 60);
    }

    #[test]
    fn a_saved_token_that_is_refused_costs_one_call_and_no_record() {
        let mut upstream = Upstream::new();
        let mut host = Host::new(r#","streams":["audit"]"#);
        host.fresh_each_poll = true;
        host.passes_saved_session = true;
        upstream.add_audit("a1", upstream.now.plus_ms(-1000));
        host.collect(&mut upstream);
        upstream.add_audit("a2", upstream.now);
        upstream.now = upstream.now.plus_ms(60_000);
        let refused =
            crate::testing::MockResponse::json(401, r#"{"error":{"code":"InvalidToken"}}"#);
        upstream
            .script
            .push_back(("get-audit-events".to_owned(), refused));
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }

    #[test]
    fn a_token_from_a_clock_that_was_set_back_is_not_used_for_ever() {
        let mut upstream = Upstream::new();
        let mut host = Host::new(r#","streams":["audit"]"#);
        host.fresh_each_poll = true;
        host.passes_saved_session = true;
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(-30 * 86_400_000);
        host.collect(&mut upstream);
        let tokens = upstream.count_requests("/oauth/token");
        assert_eq!(tokens, 2);
    }
}
