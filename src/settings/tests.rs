//! Settings, good and bad.

use std::collections::BTreeSet;

use serde::Deserializer;
use serde::de::{Error as _, Visitor};

use super::*;

fn parse(json: &str) -> Result<Settings, SettingsError> {
    Settings::parse(json)
}

fn with(extra: &str) -> Result<Settings, SettingsError> {
    parse(&format!(
        r#"{{"client_id":"id","client_secret":"s3cret"{extra}}}"#
    ))
}

#[test]
fn settings_that_shape_events_need_no_credentials() {
    let none = EventSettings::parse("{}").unwrap();
    assert!(!none.include_original && none.tenant.is_none());
    let some = r#"{"include_original":true,"tenant":"acme","streams":["no such stream"],
        "severity_overrides":{"alert":"high"}}"#;
    let some = EventSettings::parse(some).unwrap();
    assert!(some.include_original && some.tenant.as_deref() == Some("acme"));
    let wrong = |json: &str| EventSettings::parse(json).unwrap_err().setting;
    assert_eq!(wrong(r#"{"tenant":" "}"#), "tenant");
    assert_eq!(
        wrong(r#"{"severity_overrides":{"alert":"x"}}"#),
        "severity_overrides"
    );
    assert_eq!(wrong("[]"), "");
}

#[test]
fn a_tenant_is_a_name_of_some_length_or_none() {
    let tenant = |value: &str| with(&format!(r#","tenant":{value}"#));
    assert_eq!(
        tenant(r#""acme é""#).unwrap().tenant.as_deref(),
        Some("acme é")
    );
    assert_eq!(tenant(r#""""#).unwrap().tenant, None);
    assert_eq!(with("").unwrap().tenant, None);
    for wrong in [
        r#"" a""#.to_owned(),
        r#""a\n""#.to_owned(),
        format!("\"{}\"", "x".repeat(257)),
    ] {
        assert_eq!(tenant(&wrong).unwrap_err().setting, "tenant", "{wrong}");
    }
}

#[test]
fn severities_are_checked() {
    let settings = with(r#","severity_overrides":{"siem.av":"critical","alert":"high"}"#);
    let severities = settings.unwrap().severities;
    assert_eq!(severities.of(Stream::SiemAv, true), Some(5));
    assert_eq!(severities.of(Stream::Dlp, true), Some(4));
    for wrong in [r#"{"siem.none":"high"}"#, r#"{"siem.av":"worse"}"#] {
        let problem = with(&format!(r#","severity_overrides":{wrong}"#)).unwrap_err();
        assert_eq!(problem.setting, "severity_overrides");
    }
}

#[test]
fn the_least_settings_collect_everything_as_ecs_from_a_day_back() {
    let settings = with("").unwrap();
    let Credentials::Client { base_url, .. } = &settings.credentials else {
        panic!("{settings:?}");
    };
    assert_eq!(base_url, DEFAULT_BASE_URL);
    assert_eq!(settings.streams.len(), STREAMS.len() - 1);
    assert_eq!(settings.format, Format::Ecs);
    assert_eq!(settings.start, Start::Ago(86_400_000));
    assert_eq!(settings.siem_calls_per_15_min, 50);
}

#[test]
fn a_family_names_all_its_streams_and_each_is_taken_once() {
    let settings = with(r#","streams":["audit","siem.av","siem"]"#).unwrap();
    assert_eq!(settings.streams.len(), 11);
    let settings = with(r#","streams":["audit"]"#).unwrap();
    assert_eq!(settings.streams, [Stream::Audit]);
    assert_eq!(
        families(&STREAMS.iter().collect::<Vec<_>>()),
        ["siem", "ci", "ttp", "archive", "threat-intel", "training"]
    );
}

#[test]
fn every_bad_setting_is_named_at_once() {
    let problem = with(r#","format":"xml","overlap":"2d","streams":[]"#).unwrap_err();
    assert_eq!(problem.setting, "streams");
    assert!(
        problem.detail.starts_with("is empty; leave it out")
            && problem.detail.contains("; `format`: \"xml\" is not one of")
            && problem.detail.contains("; `overlap`: must be a duration"),
        "{problem:?}"
    );
    let problem = parse(r#"{"api":"1.0","app_id":"a b","app_key":"x"}"#).unwrap_err();
    assert_eq!(problem.setting, "email");
    for setting in ["app_id", "access_key", "secret_key"] {
        assert!(
            problem.detail.contains(&format!("; `{setting}`: ")),
            "{problem:?}"
        );
    }
}

#[test]
fn a_base_url_needs_no_scheme_and_is_of_the_same_api() {
    let base_url = |text: &str| match with(&format!(r#","base_url":"{text}""#)) {
        Ok(settings) => match settings.credentials {
            Credentials::Client { base_url, .. } => base_url,
            Credentials::Legacy(_) => panic!("{text}"),
        },
        Err(problem) => format!("{}: {}", problem.setting, problem.detail),
    };
    let regional = "https://eu-api.services.mimecast.com";
    assert_eq!(base_url("eu-api.services.mimecast.com"), regional);
    assert_eq!(base_url("eu-api.services.mimecast.com/"), regional);
    assert_eq!(base_url("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    assert!(base_url("eu-api.mimecast.com").contains("is a host of API 1.0, and api is"));
    let keys = r#""api":"1.0","app_id":"a","app_key":"b","access_key":"c","secret_key":"eA==""#;
    let legacy = |url: &str| parse(&format!(r#"{{{keys},"base_url":"{url}"}}"#));
    for url in ["api.services.mimecast.com", regional] {
        let problem = legacy(url).unwrap_err();
        assert!(
            problem.detail.starts_with("is a host of API 2.0"),
            "{problem:?}"
        );
        assert!(!problem.detail.contains("`email`"), "{problem:?}");
    }
    legacy("eu-api.mimecast.com").unwrap();
}

#[test]
fn each_bad_setting_is_named() {
    for (extra, setting) in [
        (r#","base_url":"api.mimecast.com""#, "base_url"),
        (r#","base_url":"https://u:p@host""#, "base_url"),
        (r#","base_url":"https://host/api""#, "base_url"),
        (r#","base_url":"https://""#, "base_url"),
        (r#","streams":["siem.nope"]"#, "streams"),
        (r#","streams":[]"#, "streams"),
        (r#","format":"xml""#, "format"),
        (r#","start":"yesterday""#, "start"),
        (r#","start":"24""#, "start"),
        (r#","overlap":"2d""#, "overlap"),
        (r#","siem_calls_per_15_min":0"#, "siem_calls_per_15_min"),
        (r#","api":"3.0""#, "api"),
        (r#","siem_endpoint":"stream""#, "siem_endpoint"),
        (r#","snapshot":"""#, "snapshot"),
        (r#","threat_feed":"pdf""#, "threat_feed"),
    ] {
        assert_eq!(with(extra).unwrap_err().setting, setting, "{extra}");
    }
    assert_eq!(
        parse(r#"{"client_id":"x"}"#).unwrap_err().setting,
        "client_secret"
    );
    assert_eq!(
        parse(r#"{"client_id":" ","client_secret":"x"}"#)
            .unwrap_err()
            .setting,
        "client_id"
    );
    assert!(
        with(r#","clientid":1"#)
            .unwrap_err()
            .detail
            .contains("clientid")
    );
}

#[test]
fn credentials_are_one_line_of_text() {
    for (text, detail) in [("a\\nb", "control character"), (" ", "is empty")] {
        let settings = format!(r#"{{"client_id":"{text}","client_secret":"s"}}"#);
        let error = parse(&settings).unwrap_err();
        assert!(error.detail.contains(detail), "{}", error.detail);
    }
}

#[test]
fn no_error_quotes_a_secret() {
    let text = r#"{"client_id":5,"client_secret":"hunter2"}"#;
    assert!(!format!("{:?}", parse(text).unwrap_err()).contains("hunter2"));
    let text = r#"{"client_id":"a","client_secret":{"hunter2":1}}"#;
    assert!(!format!("{:?}", parse(text).unwrap_err()).contains("hunter2"));
    assert!(!format!("{:?}", with("").unwrap()).contains("s3cret"));
}

#[test]
fn a_start_in_the_future_is_refused() {
    let settings = with(r#","start":"2026-01-31T00:00:00Z""#).unwrap();
    let at = Timestamp::parse("2026-01-31T00:00:00Z").unwrap();
    assert!(settings.check_start(at).is_ok());
    let before = Timestamp::from_millis(at.millis() - 1);
    assert_eq!(settings.check_start(before).unwrap_err().setting, "start");
}

/// Collects the field names that a struct is deserialized from.
struct FieldNames<'n>(&'n mut BTreeSet<&'static str>);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields);
        Err(Self::Error::custom("only the names are of interest"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("not a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The properties of the schema.
fn properties() -> serde_json::Map<String, serde_json::Value> {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    schema["properties"].as_object().unwrap().clone()
}

/// The minimal settings of an API plus one.
fn debug_with(least: &str, name: &str, value: &serde_json::Value) -> String {
    let mut settings: serde_json::Value = serde_json::from_str(least).unwrap();
    settings[name] = value.clone();
    format!("{:?}", parse(&settings.to_string()).unwrap())
}

#[test]
fn the_schema_names_the_settings_that_are_read_and_no_other() {
    let mut read = BTreeSet::new();
    assert!(SettingsInput::deserialize(FieldNames(&mut read)).is_err());
    let properties = properties();
    let named: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    assert_eq!(named, read);
    let secrets: Vec<&str> = named
        .into_iter()
        .filter(|name| properties[*name]["writeOnly"] == true)
        .collect();
    assert_eq!(
        secrets,
        ["access_key", "app_key", "client_secret", "secret_key"]
    );
}

#[test]
fn every_default_of_the_schema_is_what_is_used_without_the_setting() {
    let api_2 = r#"{"client_id":"id","client_secret":"s3cret"}"#;
    let api_1 = r#"{"api":"1.0","app_id":"app","app_key":"key","access_key":"access",
        "secret_key":"c2VjcmV0","email":"a@example.com"}"#;
    let mut without = Vec::new();
    for (name, property) in properties() {
        let Some(default) = property.get("default") else {
            without.push(name);
            continue;
        };
        let description = property["description"].as_str().unwrap();
        let least = if description.starts_with("API 1.0") {
            api_1
        } else {
            api_2
        };
        let unset = format!("{:?}", parse(least).unwrap());
        assert_eq!(debug_with(least, &name, default), unset, "{name}");
        // Each other word is understood, and makes a difference.
        for word in property["enum"].as_array().into_iter().flatten() {
            if name != "api" && word != default {
                assert_ne!(debug_with(least, &name, word), unset, "{name} {word}");
            }
        }
    }
    assert_eq!(
        without,
        [
            "access_key",
            "account_code",
            "app_id",
            "app_key",
            "client_id",
            "client_secret",
            "email",
            "secret_key",
            "severity_overrides",
            "streams",
            "tenant",
        ]
    );
}
