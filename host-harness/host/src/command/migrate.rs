//! `migrate`: converts settings of a Mimecast API 1.0 source to API 2.0. Besides `demo`,
//! the status page and the texts of `cli`, the only place where the host has vendor-specific code.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use source_common::exit::{Exit, Failure};
use source_common::timestamp::{EPOCH_MS_MAX, time_text};
use source_runtime::store::{self, StoredSource, epoch_ms};
use toml::{Table, Value};

use super::print;
use super::validate::join_failures;
use crate::settings::Settings;

/// Settings that are removed or replaced. All others are kept.
const REPLACED: [&str; 12] = [
    "access_key",
    "account_code",
    "api",
    "app_id",
    "app_key",
    "base_url",
    "discovery_url",
    "email",
    "secret_key",
    "siem_compress",
    "siem_file_format",
    "start",
];

/// How far before the newest delivered event to start. API 1.0 writes log files every 30 minutes
/// and not in time order, so older records may not have been delivered yet.
const START_OVERLAP: Duration = Duration::from_secs(2 * 3600);

/// Retention of SIEM records at Mimecast.
const SIEM_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Prints the API 2.0 settings of every API 1.0 source.
pub fn migrate(config: &Path) -> Result<Exit, Failure> {
    let settings = Settings::read_omitting_unresolved(config)?;
    let mut text = String::new();
    for source in &settings.sources {
        if source
            .component_settings
            .table
            .get("api")
            .and_then(Value::as_str)
            != Some("1.0")
        {
            continue;
        }
        let source_state = store::read(&settings.state_dir, &source.name)?;
        let now = SystemTime::now();
        text.push_str(&section(
            &source.name,
            source.component_settings.header,
            &source.component_settings.table,
            source_state.as_ref(),
            now,
        ));
    }
    if text.is_empty() && settings.faulty_sources.is_empty() {
        text = format!("{}: no source has api = \"1.0\"\n", config.display());
    }
    print(&text)?;
    let faulty_sources = settings.faulty_sources.into_iter();
    let failures = faulty_sources.map(|faulty| faulty.failure).collect();
    join_failures(failures).map_or(Ok(Exit::Done), Err)
}

fn section(
    name: &str,
    header: &str,
    settings: &Table,
    source_state: Option<&StoredSource>,
    now: SystemTime,
) -> String {
    let newest_ms = source_state
        .and_then(|source_state| source_state.streams.get("siem"))
        .and_then(|siem| siem.newest_ms)
        .and_then(|ms| u64::try_from(ms).ok());
    let newest =
        newest_ms.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(EPOCH_MS_MAX)));
    // Writing to a `String` cannot fail.
    let mut text = format!(
        "# Source `{name}`. Keep its name and the state directory: every stream but `siem` continues\n\
         # where it is. If it has an `allow`, allow https://api.services.mimecast.com and\n\
         # https://*.amazonaws.com instead of the hosts of API 1.0.\n"
    );
    let start = match newest {
        Some(newest) => {
            let _ = writeln!(
                text,
                "# The newest SIEM event is of {}; `start` lies two hours before it.",
                time_text(epoch_ms(newest))
            );
            if newest + SIEM_RETENTION < now + START_OVERLAP {
                text.push_str(
                    "# That is longer ago than the 7 days that Mimecast keeps: what lies between is lost.\n",
                );
            }
            Value::String(time_text(epoch_ms(
                newest.checked_sub(START_OVERLAP).unwrap_or(newest),
            )))
        }
        None => {
            text.push_str("# No SIEM event was delivered yet: `start` stays as it is.\n");
            let start = settings.get("start").cloned();
            start.unwrap_or_else(|| Value::String("24h".to_owned()))
        }
    };
    let mut new = Table::new();
    new.insert("api".to_owned(), "2.0".into());
    new.insert(
        "client_id".to_owned(),
        "the client id of the API 2.0 application".into(),
    );
    let mut secret = Table::new();
    secret.insert("env".to_owned(), "MIMECAST_CLIENT_SECRET".into());
    new.insert("client_secret".to_owned(), secret.into());
    new.insert("start".to_owned(), start);
    let unchanged = settings
        .iter()
        .filter(|(key, _)| !REPLACED.contains(&key.as_str()));
    new.extend(unchanged.map(|(key, value)| (key.clone(), value.clone())));
    let _ = writeln!(text, "{header}");
    for (key, value) in &new {
        let _ = writeln!(text, "{key} = {value}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use source_runtime::store::StoredStream;

    const HEADER: &str = "[source.settings]";

    fn settings() -> Table {
        toml::from_str(
            "api = \"1.0\"\nemail = \"a@example.com\"\napp_key = { env = \"K\" }\nstart = \"7d\"\n\
             streams = [\"siem\", \"audit\"]\nformat = \"ocsf\"\nseverity_overrides = { \"siem.av\" = \"critical\" }\n",
        )
        .unwrap()
    }

    fn parsed(text: &str) -> Table {
        let whole: Table = toml::from_str(&text.replace("[source.", "[")).unwrap();
        whole["settings"].as_table().unwrap().clone()
    }

    #[test]
    fn a_source_that_cannot_be_read_is_reported_and_not_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sources")).unwrap();
        let config = directory.path().join("host.toml");
        let host =
            "state_dir = \"state\"\nsources_dir = \"sources\"\n[[output]]\ntype = \"stdout\"\n";
        fs::write(&config, host).unwrap();
        let source = "alow = []\n[settings]\napi = \"1.0\"\n";
        fs::write(directory.path().join("sources/acme.toml"), source).unwrap();
        let failure = migrate(&config).unwrap_err();
        assert_eq!(failure.exit, Exit::BadSettings);
        assert!(failure.message.contains("acme.toml"), "{failure}");
        assert!(failure.message.contains("alow"), "{failure}");
    }

    #[test]
    fn settings_of_both_apis_stay_and_keys_are_replaced() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_000_000);
        let text = section("acme", HEADER, &settings(), None, now);
        let new = parsed(&text);
        assert_eq!(new["api"].as_str(), Some("2.0"));
        assert_eq!(new["start"].as_str(), Some("7d"));
        assert_eq!(new["streams"].as_array().unwrap().len(), 2);
        assert_eq!(
            new["severity_overrides"]["siem.av"].as_str(),
            Some("critical")
        );
        assert!(new.contains_key("client_secret") && !new.contains_key("app_key"));
    }

    #[test]
    fn the_start_lies_two_hours_before_the_newest_event() {
        let state_with_newest = |newest_ms: i64| -> StoredSource {
            let mut source_state = StoredSource::default();
            let siem = StoredStream {
                newest_ms: Some(newest_ms),
                ..StoredStream::default()
            };
            source_state.streams.insert("siem".to_owned(), siem);
            source_state
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_000_000);
        let state = state_with_newest(1_769_990_000_500);
        let text = section("acme", HEADER, &settings(), Some(&state), now);
        assert_eq!(
            parsed(&text)["start"].as_str(),
            Some("2026-02-01T21:53:20Z")
        );
        assert!(!text.contains("is lost"), "{text}");
        let state = state_with_newest(1_769_000_000_000);
        let text = section("acme", HEADER, &settings(), Some(&state), now);
        assert!(text.contains("is lost"), "{text}");
    }

    #[test]
    fn a_source_of_a_file_of_its_own_gets_settings_that_this_file_takes() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_000_000);
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sources")).unwrap();
        let file = directory.path().join("sources/acme.toml");
        fs::write(&file, "[settings]\napi = \"1.0\"\n").unwrap();
        let text = "sources_dir = \"sources\"\n[[output]]\ntype = \"stdout\"\n";
        let read = Settings::parse(text, &directory.path().join("m.toml")).unwrap();
        let source = &read.sources[0].component_settings;
        let text = section("acme", source.header, &source.table, None, now);
        assert!(text.contains("\n[settings]\n"), "{text}");
        assert!(!text.contains("[source.settings]"), "{text}");
    }
}
