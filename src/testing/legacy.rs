//! The API 1.0 part of the scripted upstream: signatures, discovery and log files.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{API, MockResponse};
use crate::auth::{SigningContext, hmac};
use crate::decode::zip::tests::{END_OF_ZIP, zip_entry};
use crate::request::{Call, Request, origin, path};
use crate::settings::Settings;
use crate::time::Timestamp;

const DISCOVERY: &str = "https://discovery.test";

/// One log file: its name, its records, and whether malformed text is served instead of them.
#[derive(Clone)]
pub(crate) struct LogFile {
    pub(crate) name: String,
    pub(crate) records: Vec<Value>,
    pub(crate) malformed: bool,
}

/// A tenant of API 1.0.
pub(crate) struct Legacy {
    pub(crate) settings: String,
    pub(crate) region: String,
    pub(crate) files: Vec<LogFile>,
    /// How many files an archive holds.
    pub(crate) archive_files: usize,
    /// Tokens from before this number are refused.
    pub(crate) oldest_token: usize,
    /// How far the time of a signature may be off.
    pub(crate) signature_tolerance_ms: i64,
    pub(crate) discoveries: u32,
    pub(crate) refused_signatures: u32,
    request_ids: BTreeSet<String>,
    /// The generation of the tokens that are accepted: a change invalidates all earlier ones.
    pub(crate) token_generation: u32,
}

/// Returns the settings of a source of API 1.0, with `extra` ones.
pub(crate) fn settings(extra: &str) -> String {
    format!(
        r#"{{"api":"1.0","discovery_url":"{DISCOVERY}","email":"a@example.com","app_id":"app-1","app_key":"hush-9-app","access_key":"hush-9-access","secret_key":"aHVzaC05","format":"raw"{extra}}}"#
    )
}

impl Legacy {
    pub(crate) fn new() -> Self {
        Self {
            settings: settings(""),
            region: API.to_owned(),
            files: Vec::new(),
            archive_files: 3,
            oldest_token: 0,
            signature_tolerance_ms: 15 * 60_000,
            discoveries: 0,
            refused_signatures: 0,
            request_ids: BTreeSet::new(),
            token_generation: 0,
        }
    }

    /// Adds a file of that many records, all different.
    pub(crate) fn add_file(&mut self, prefix: &str, records: usize, at: Timestamp) {
        let file = self.files.len();
        let record = |n: usize| {
            json!({
                "acc": "C0A0", "aCode": format!("{file}-{n}"), "MsgId": "<m@example.com>",
                "datetime": at.to_iso8601_with_offset(), "Sender": "a@example.com",
                "Subject": "a|b \\ \"c\" ]}", "Act": "Acc", "SpamScore": n,
                "SpamProcessingDetail": {"spf": {"info": "x|y=z"}},
            })
        };
        self.files.push(LogFile {
            name: format!("{prefix}_2026020304{file:04}000.json"),
            records: (0..records).map(record).collect(),
            malformed: false,
        });
    }

    /// The keys of every record that exists.
    pub(crate) fn expected(&self) -> BTreeSet<String> {
        let files = self.files.iter().filter(|file| !file.malformed);
        let records = files.flat_map(|file| &file.records);
        records
            .map(|record| super::key_of(&record.to_string()))
            .collect()
    }

    /// Returns the response, where it differs from that of API 2.0.
    pub(crate) fn respond(
        &mut self,
        request: &Request,
        body: &str,
        now: Timestamp,
    ) -> Option<MockResponse> {
        let header = |name: &str| {
            let found = request.credentials.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.expose().to_owned())
        };
        assert_eq!(header("x-mc-app-id").as_deref(), Some("app-1"));
        let id = header("x-mc-req-id").unwrap();
        assert!(
            self.request_ids.insert(id.clone()),
            "the id {id} came again"
        );
        if origin(&request.url) == DISCOVERY {
            assert!(header("authorization").is_none());
            self.discoveries += 1;
            let region = json!({"data": [{"region": {"api": self.region}}], "fail": []});
            return Some(MockResponse::json(200, &region.to_string()));
        }
        if origin(&request.url) != self.region {
            return Some(MockResponse::json(
                403,
                r#"{"fail":[{"errors":[{"code":"err_audit_log_incorrect_region","message":"m"}]}]}"#,
            ));
        }
        let date = Timestamp::parse_http(&header("x-mc-date").unwrap()).unwrap();
        let expected = self.signature(request, date, &id);
        let is_off =
            date.millis().abs_diff(now.millis()) > self.signature_tolerance_ms.unsigned_abs();
        if is_off || header("authorization") != Some(expected) {
            self.refused_signatures += 1;
            return Some(MockResponse::json(
                401,
                r#"{"fail":[{"errors":[{"code":"err_xdk_invalid_signature","message":"0004 Invalid Signature","retryable":false}]}]}"#,
            ));
        }
        (path(&request.url) == "/api/audit/get-siem-logs").then(|| self.logs(body))
    }

    fn signature(&self, request: &Request, date: Timestamp, id: &str) -> String {
        let context = SigningContext {
            now: date,
            upstream_now: date,
            nonce: u128::from_str_radix(&id.replace('-', ""), 16).unwrap(),
        };
        let settings = Settings::parse(&self.settings).unwrap();
        let call = Call::get(path(&request.url).to_owned());
        let headers = hmac::sign(&call, settings.legacy().unwrap(), context);
        headers[0].1.expose().to_owned()
    }

    fn logs(&self, body: &str) -> MockResponse {
        let body: Value = serde_json::from_str(body).unwrap();
        let request_data = &body["data"][0];
        assert_eq!(request_data["type"], "MTA");
        let from = match request_data["token"].as_str() {
            None => 0,
            Some(token) => {
                let (generation, from) = token.split_once('-').unwrap();
                let from: usize = from.parse().unwrap();
                if generation != self.token_generation.to_string() || from < self.oldest_token {
                    return MockResponse::json(
                        400,
                        r#"{"fail":[{"errors":[{"code":"err_audit_siem_invalid_token","message":"m"}]}]}"#,
                    );
                }
                from
            }
        };
        if from >= self.files.len() {
            return MockResponse::with(
                200,
                &[("content-type", "application/json;charset=utf-8")],
                r#"{"meta":{"isLastToken":true,"status":200},"data":[],"fail":[]}"#,
            );
        }
        let compress = request_data["compress"].as_bool().unwrap();
        let count = if compress { self.archive_files } else { 1 };
        let files: Vec<&LogFile> = self.files.iter().skip(from).take(count).collect();
        let text = |file: &LogFile| text_of(file, request_data["fileFormat"] == "key_value");
        let (name, body) = if compress {
            let file = |(n, file): (usize, &&LogFile)| {
                zip_entry(&file.name, text(file).as_bytes(), n % 2 == 0)
            };
            let mut body: Vec<u8> = files.iter().enumerate().flat_map(file).collect();
            body.extend(END_OF_ZIP);
            ("a7bebfbb-0000.zip".to_owned(), body)
        } else {
            (files[0].name.clone(), text(files[0]).into_bytes())
        };
        let headers = [
            ("content-type", "application/octet-stream".to_owned()),
            (
                "content-disposition",
                format!("attachment; filename=\"{name}\""),
            ),
            (
                "mc-siem-token",
                format!("{}-{}", self.token_generation, from + files.len()),
            ),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value));
        MockResponse::Complete(200, headers.into(), body)
    }
}

/// The contents of a file, in one of the two forms.
fn text_of(file: &LogFile, key_value: bool) -> String {
    if file.malformed {
        return "{ \"type\" : \"MTA\", \"data\" : ".to_owned();
    }
    if !key_value {
        return json!({"type": "MTA", "data": file.records}).to_string();
    }
    let line = |record: &Value| {
        let pair = |(key, value): (&String, &Value)| match (key.as_str(), value) {
            ("Subject", Value::String(text)) => format!("{key}=\\{text}\\"),
            (_, Value::String(text)) => format!("{key}={text}"),
            (_, other) => format!("{key}={other}"),
        };
        let pairs: Vec<String> = record.as_object().unwrap().iter().map(pair).collect();
        pairs.join("|") + "\n"
    };
    file.records.iter().map(line).collect()
}
