//! Settings, good and bad.

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
    assert_eq!(settings.base_url, DEFAULT_BASE_URL);
    assert_eq!(settings.streams.len(), STREAMS.len() - 1);
    assert_eq!(settings.format, Format::Ecs);
    assert_eq!(settings.start, Start::Back(86_400_000));
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

#[test]
fn the_schema_names_every_setting_and_marks_the_secret() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["properties"]["client_secret"]["writeOnly"], true);
    assert_eq!(schema["properties"].as_object().unwrap().len(), 25);
    let default = |name: &str| schema["properties"][name]["default"].clone();
    assert_eq!(default("base_url"), DEFAULT_BASE_URL);
    assert_eq!(default("discovery_url"), legacy::DISCOVERY_URL);
    assert_eq!(default("siem_calls_per_15_min"), SIEM_CALLS_PER_15_MIN);
    assert_eq!(
        schema["properties"]["format"]["enum"],
        serde_json::json!(FORMATS)
    );
}
