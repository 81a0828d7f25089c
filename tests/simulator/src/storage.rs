//! The storage origin: signed links, and the files behind them.

use crate::identity::hex;
use crate::random::Random;
use crate::request::Request;
use crate::response::SimulatedResponse;
use crate::time::UtcTime;

use std::sync::atomic::{AtomicU64, Ordering};

/// Signs links to files, and checks them.
#[derive(Debug)]
pub(crate) struct LinkSigner {
    origin: String,
    key: [u8; 32],
    signed: AtomicU64,
}

impl LinkSigner {
    pub(crate) fn new(origin: String, seed: u64) -> Self {
        let mut random = Random::new(seed, "key", &[]);
        let mut key = [0; 32];
        for byte in &mut key {
            *byte = random.next().to_le_bytes()[0];
        }
        Self {
            origin,
            key,
            signed: AtomicU64::new(0),
        }
    }

    /// Returns a link to a file, different on every call.
    pub(crate) fn sign(&self, path: &str, now_ms: i64, expiry_ms: i64) -> String {
        let number = self.signed.fetch_add(1, Ordering::SeqCst);
        let session = format!("{number:08x}.{expiry_ms}");
        let date = UtcTime::new(now_ms).basic();
        let day: String = date.chars().take(8).collect();
        let life_s = (expiry_ms - now_ms).max(1000) / 1000;
        format!(
            "{}{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=SIMULATOR%2F{day}\
             %2Feu-west-0%2Fs3%2Faws4_request&X-Amz-Date={date}&X-Amz-Expires={life_s}\
             &X-Amz-Security-Token={session}&X-Amz-SignedHeaders=host&X-Amz-Signature={}",
            self.origin,
            self.signature(path, &session),
        )
    }

    /// Returns the refusal of a request whose link is not valid, or that has another authorization.
    pub(crate) fn refusal(&self, request: &Request, now_ms: i64) -> Option<SimulatedResponse> {
        if request.authorization.is_some() {
            return Some(error(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed",
            ));
        }
        if request.method != "GET" {
            return Some(error(405, "MethodNotAllowed", "The method is not allowed"));
        }
        let session = request
            .parameter("X-Amz-Security-Token")
            .unwrap_or_default();
        let signature = request.parameter("X-Amz-Signature").unwrap_or_default();
        if signature != self.signature(&request.path, session) {
            return Some(error(
                403,
                "SignatureDoesNotMatch",
                "The signature does not match",
            ));
        }
        let expiry_ms = session
            .split_once('.')
            .and_then(|(_, ms)| ms.parse::<i64>().ok());
        if expiry_ms.is_none_or(|expiry_ms| expiry_ms <= now_ms) {
            return Some(denied("Request has expired"));
        }
        None
    }

    fn signature(&self, path: &str, session: &str) -> String {
        let text = format!("{path}\n{session}");
        hex(blake3::keyed_hash(&self.key, text.as_bytes()).as_bytes())
    }
}

/// Returns the response `AccessDenied` with this message.
pub(crate) fn denied(message: &str) -> SimulatedResponse {
    error(403, "AccessDenied", message)
}

/// Returns the response to a path without a file.
pub(crate) fn not_found() -> SimulatedResponse {
    error(404, "NoSuchKey", "The specified key does not exist")
}

fn error(status: u16, code: &str, message: &str) -> SimulatedResponse {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    SimulatedResponse::new(status, body).with("content-type", "application/xml")
}
