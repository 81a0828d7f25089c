//! The fuzz targets: each takes bytes, and asserts what must hold for them.

mod batch_file;
mod decoders;
mod log_files;
mod normalize;
mod pages;
mod session;

pub use batch_file::{batch_file, lines};
pub use decoders::{csv, json, key_value, zip};
pub use log_files::log_files;
pub use normalize::normalize;
pub use pages::pages;
pub use session::{checkpoint, session};

use mimecast_source::auth::oauth2::OAuth2;
use mimecast_source::decode::upstream_error;
use mimecast_source::secret::Secret;
use mimecast_source::settings::{Credentials, Settings};
use mimecast_source::time::Timestamp;

/// The parts of an error that a person sees are short and on one line.
pub fn upstream_error(data: &[u8]) {
    if let Some(error) = upstream_error::read(data) {
        for text in [&error.code, &error.message] {
            assert!(text.chars().count() <= 200);
            assert!(!text.chars().any(char::is_control));
        }
    }
    let secret = Secret::new(String::new());
    let _ = OAuth2::new("", "", &secret).handle_response(data, Timestamp::from_millis(0));
}

const YEARS_0_TO_9999_MS: core::ops::RangeInclusive<i64> =
    -62_167_219_200_000..=253_402_300_799_999;

/// A time that was read is written in a form that is read as the same time.
pub fn dates(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    for at in [Timestamp::parse(text), Timestamp::parse_http(text)] {
        let Some(at) = at else { continue };
        if !YEARS_0_TO_9999_MS.contains(&at.millis()) {
            // RFC 3339 has no such year; what is written is the nearest it has.
            let written = at.to_rfc3339();
            assert!(written.starts_with("0000-01-01") || written.starts_with("9999-12-31"));
            continue;
        }
        assert_eq!(Timestamp::parse(&at.to_rfc3339()), Some(at), "{text:?}");
        assert_eq!(
            Timestamp::parse(&at.to_iso8601_with_offset()),
            Some(at.floor_second()),
            "{text:?}"
        );
    }
}

/// Settings that are accepted can be used, and nothing that is printed shows the secret.
pub fn settings(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let Ok(settings) = Settings::parse(text) else {
        return;
    };
    assert!(!settings.streams.is_empty());
    assert!(settings.siem_calls_per_15_min > 0);
    let Credentials::Client {
        base_url,
        id,
        secret,
    } = &settings.credentials
    else {
        return;
    };
    let request = OAuth2::new(base_url, id, secret).request();
    assert_eq!(&request.shown_origin(), base_url);
    let secret = secret.expose();
    if secret.len() >= 16 && !id.contains(secret) && !base_url.contains(secret) {
        assert!(!format!("{settings:?} {request:?}").contains(secret));
    }
}
