//! `[fleet]`: tenants that several hosts share through NATS JetStream.

use std::path::Path;
use std::time::Duration;

use source_common::exit::Failure;
use source_common::line_numbers::KeyLineNumbers;
use source_common::section::{Section, SettingsErrors};
use source_outputs::NatsConnectionSettings;

const STREAM_DEFAULT: &str = "TENANTS";
const SUBJECT_DEFAULT: &str = "tenant";
const BUCKET_DEFAULT: &str = "checkpoints";
const LEASE_SECS_DEFAULT: u64 = 30;
const LEASES_MAX_DEFAULT: u64 = 64;

/// Where the tenants of a fleet are, and how many of them this host works on.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// How to connect to the NATS servers.
    pub connection: NatsConnectionSettings,
    /// The stream with one message for each tenant.
    pub stream: String,
    /// Prefix of the subjects of that stream, without the dot.
    pub subject: String,
    /// The key-value bucket of the checkpoints.
    pub bucket: String,
    /// How many servers keep the stream and the bucket. Used when they are created.
    pub replicas: usize,
    /// How long a host has a tenant without renewing the lease. Used when the consumer is created.
    pub lease_duration: Duration,
    /// How many tenants this host works on at a time.
    pub leases_max: usize,
}

impl FleetSettings {
    /// Parses the table.
    pub(super) fn parse(
        file: &Path,
        table: toml::Table,
        lines: KeyLineNumbers,
    ) -> Result<Self, Failure> {
        let mut section = Section::new(file, "[fleet]".to_owned(), table).with_lines(lines);
        let mut errors = SettingsErrors::default();
        let connection = errors.ok_or_push(NatsConnectionSettings::read(&mut section));
        let stream = errors.ok_or_push(name(&mut section, "stream", STREAM_DEFAULT));
        let subject = errors.ok_or_push(name(&mut section, "subject", SUBJECT_DEFAULT));
        let bucket = errors.ok_or_push(name(&mut section, "bucket", BUCKET_DEFAULT));
        let replicas = errors.ok_or_push(section.number("replicas", 1..=5));
        let lease_secs = errors.ok_or_push(section.number("lease_secs", 5..=600));
        let leases_max = errors.ok_or_push(section.number("leases", 1..=10_000));
        errors.ok_or_push(section.finish());
        errors.into_result()?;
        let number = |value: Option<Option<u64>>, default| value.flatten().unwrap_or(default);
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        match (connection, stream, subject, bucket) {
            (Some(connection), Some(stream), Some(subject), Some(bucket)) => Ok(Self {
                connection,
                stream,
                subject,
                bucket,
                replicas: size(number(replicas, 1)),
                lease_duration: Duration::from_secs(number(lease_secs, LEASE_SECS_DEFAULT)),
                leases_max: size(number(leases_max, LEASES_MAX_DEFAULT)),
            }),
            _ => Err(Failure::settings("[fleet] cannot be used")),
        }
    }
}

/// Parses the name of an object in NATS.
fn name(section: &mut Section<'_>, key: &'static str, default: &str) -> Result<String, Failure> {
    let name = section.string(key)?.unwrap_or_else(|| default.to_owned());
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_name {
        Ok(name)
    } else {
        let reason = format!("is {name:?}; it may have letters, digits, `-` and `_` only");
        Err(section.error(key, &reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    const SERVERS: &str = "servers = [\"nats://127.0.0.1:4222\"]";

    fn parsed(before: &str, fleet: &str) -> Result<Settings, Failure> {
        let text = format!("{before}\n[fleet]\n{fleet}\n[[output]]\ntype = \"stdout\"\n");
        Settings::parse(&text, Path::new("f.toml"))
    }

    #[test]
    fn a_fleet_needs_servers_and_no_source() {
        let settings = parsed("", SERVERS).unwrap();
        let fleet = settings.fleet.unwrap();
        assert_eq!(fleet.connection.to_string(), "nats://127.0.0.1:4222");
        let names = [&*fleet.stream, &*fleet.subject, &*fleet.bucket];
        assert_eq!(names, ["TENANTS", "tenant", "checkpoints"]);
        assert_eq!((fleet.replicas, fleet.leases_max), (1, 64));
        assert_eq!(fleet.lease_duration, Duration::from_secs(30));
        let plain = "[[source]]\nname = \"a\"\n[[output]]\ntype = \"stdout\"\n";
        let plain = Settings::parse(plain, Path::new("f.toml")).unwrap();
        assert!(plain.fleet.is_none());
    }

    #[test]
    fn an_error_names_its_line_and_what_is_right() {
        for (before, fleet, reason) in [
            ("", "", "f.toml:2: [fleet]: `servers` is missing"),
            (
                "sources_dir = \"sources\"",
                SERVERS,
                "f.toml:2: [fleet] cannot be combined with",
            ),
            (
                "[[source]]\nname = \"a\"",
                SERVERS,
                "f.toml:3: [fleet] cannot be combined with",
            ),
            (
                "",
                "servers = [\"nats://ann:secret@h\"]",
                "has credentials in it",
            ),
            (
                "",
                &format!("{SERVERS}\nbucket = \"a.b\""),
                "`bucket` is \"a.b\"",
            ),
            ("", &format!("{SERVERS}\nstream = \"\""), "`stream` is \"\""),
            ("", &format!("{SERVERS}\nlease_secs = 1"), "from 5 to 600"),
            ("", &format!("{SERVERS}\nleases = 0"), "from 1 to 10000"),
            ("", &format!("{SERVERS}\nlease = 1"), "unknown key `lease`"),
        ] {
            let failure = parsed(before, fleet).unwrap_err();
            assert!(failure.message.contains(reason), "{fleet}: {failure}");
            assert!(!failure.message.contains("secret"), "{failure}");
        }
    }
}
