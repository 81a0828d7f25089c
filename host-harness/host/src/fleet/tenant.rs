//! The message of a tenant: the keys of its `[[source]]` as JSON, with secrets by reference only.

use std::path::Path;

use serde_json::Value;
use source_common::exit::Failure;
use source_common::line_numbers::KeyLineNumbers;
use source_common::suggestion::unknown_key;
use source_common::value_reference::ValueReference;
use source_runtime::source::MEMORY_BYTES_MAX_DEFAULT;

use crate::settings::{
    InheritedSettings, SourceSettings, is_tenant_name, omit_unresolved_proxy, to_json,
};

/// The table of the component's settings.
const SETTINGS: &str = "settings";
/// The key of the proxy, whose URL may have a login.
const PROXY: &str = "proxy";
/// The key that pauses a tenant.
const ENABLED: &str = "enabled";

/// The settings of a tenant, as in its message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tenant {
    /// Its name.
    pub(crate) name: String,
    table: toml::Table,
}

impl Tenant {
    /// Creates a tenant with the keys of a file of `sources_dir`.
    pub(crate) fn new(name: &str, table: toml::Table) -> Result<Self, Failure> {
        if !is_tenant_name(name) {
            return Err(Failure::settings(format!(
                "tenant `{name}`: its name may have letters, digits, `-` and `_` only, and at most \
                 100 of them"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            table,
        })
    }

    /// Parses the message of a tenant.
    pub(crate) fn decode(name: &str, payload: &[u8]) -> Result<Self, Failure> {
        let failure = |reason: &dyn std::fmt::Display| {
            Failure::settings(format!(
                "tenant `{name}`: its message is not a source: {reason}"
            ))
        };
        let value: Value = serde_json::from_slice(payload).map_err(|error| failure(&error))?;
        let table = toml::Table::try_from(value).map_err(|error| failure(&error))?;
        Self::new(name, table)
    }

    /// Returns the message of the tenant.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let value = to_json(&toml::Value::Table(self.table.clone()));
        value.to_string().into_bytes()
    }

    /// Returns whether the tenant is enabled; otherwise it is paused.
    pub(crate) fn is_enabled(&self) -> bool {
        self.table.get(ENABLED).and_then(toml::Value::as_bool) != Some(false)
    }

    /// Returns the same tenant, enabled or paused.
    pub(crate) fn with_enabled(mut self, is_enabled: bool) -> Self {
        if is_enabled {
            self.table.remove(ENABLED);
        } else {
            self.table
                .insert(ENABLED.to_owned(), toml::Value::Boolean(false));
        }
        self
    }

    /// Returns the same tenant, paused if it was paused before: new settings do not resume it.
    pub(crate) fn with_pause_of(self, former: &Self) -> Self {
        if former.is_enabled() {
            self
        } else {
            self.with_enabled(false)
        }
    }

    /// Parses the settings of its source. Relative paths are relative to the directory of the
    /// host's settings file.
    pub(crate) fn settings(
        &self,
        settings_file: &Path,
        inherited: &InheritedSettings,
    ) -> Result<SourceSettings, Failure> {
        self.settings_of(self.table.clone(), settings_file, inherited)
    }

    /// Parses the settings of its source like [`Self::settings`], on a machine that may not have what its
    /// hosts have: without its `proxy` if that refers to a value that cannot be read here.
    pub(crate) fn settings_omitting_unresolved(
        &self,
        settings_file: &Path,
        inherited: &InheritedSettings,
    ) -> Result<SourceSettings, Failure> {
        let mut table = self.table.clone();
        omit_unresolved_proxy(&mut table, settings_file);
        self.settings_of(table, settings_file, inherited)
    }

    fn settings_of(
        &self,
        table: toml::Table,
        settings_file: &Path,
        inherited: &InheritedSettings,
    ) -> Result<SourceSettings, Failure> {
        let lines = KeyLineNumbers::default();
        let settings =
            SourceSettings::from_table(settings_file, &self.name, table, &lines, inherited);
        let settings = settings.map_err(|failure| Failure {
            message: format!("tenant `{}`: {failure}", self.name),
            ..failure
        })?;
        if settings.memory_bytes_max > MEMORY_BYTES_MAX_DEFAULT {
            let mib = MEMORY_BYTES_MAX_DEFAULT / (1024 * 1024);
            return Err(Failure::settings(format!(
                "tenant `{}`: `memory_mib` may be at most {mib} in a fleet",
                self.name
            )));
        }
        Ok(settings)
    }

    /// Refuses settings that the component does not know, with the nearest known one.
    pub(crate) fn refuse_unknown_settings(&self, known: &[&str]) -> Result<(), Failure> {
        let settings = self.table.get(SETTINGS).and_then(toml::Value::as_table);
        let mut keys = settings.into_iter().flat_map(toml::Table::keys);
        match keys.find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(Failure::settings(format!(
                "tenant `{}`: {}",
                self.name,
                unknown_key(key, known, None)
            ))),
        }
    }

    /// Refuses literal secrets, which must not be stored in NATS: in `[settings]`, and the login of a
    /// proxy. `is_secret` returns whether a setting is secret.
    pub(crate) fn refuse_literal_secrets(
        &self,
        is_secret: &dyn Fn(&str) -> bool,
    ) -> Result<(), Failure> {
        let settings = self.table.get(SETTINGS).and_then(toml::Value::as_table);
        let literal_secret = settings
            .into_iter()
            .flatten()
            .find(|(key, value)| is_secret(key) && ValueReference::parse(value).is_none());
        if let Some((key, _)) = literal_secret {
            return Err(Failure::settings(format!(
                "tenant `{}`: `{key}` is in plain text, and would be stored so in NATS; write {key} = \
                 {{ file = \"..\" }} or {{ env = \"..\" }}, which each host resolves",
                self.name
            )));
        }
        let proxy = self.table.get(PROXY).and_then(toml::Value::as_str);
        // Neither a host name nor a port has an `@`.
        if proxy.is_some_and(|url| url.contains('@')) {
            return Err(Failure::settings(format!(
                "tenant `{}`: the login in `{PROXY}` is in plain text, and would be stored so in NATS; \
                 write {PROXY} = {{ file = \"..\" }} or {{ env = \"..\" }} with the whole URL there, which \
                 each host resolves",
                self.name
            )));
        }
        Ok(())
    }

    /// Returns the references in `[settings]` and in `proxy`, which each host must be able to resolve.
    pub(crate) fn references(&self) -> Vec<ValueReference> {
        let settings = self.table.get(SETTINGS).and_then(toml::Value::as_table);
        let values = settings.into_iter().flat_map(toml::Table::values);
        let values = values.chain(self.table.get(PROXY));
        values.filter_map(ValueReference::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "outputs = [\"siem\"]\n[settings]\nclient_id = \"id\"\n\
                        client_secret = { file = \"acme.secret\" }\nstreams = [\"audit\"]\n";

    fn tenant(text: &str) -> Tenant {
        Tenant::new("acme", text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_tenant_is_the_same_after_its_message() {
        let tenant = tenant(TEXT);
        let decoded = Tenant::decode("acme", &tenant.encode()).unwrap();
        assert_eq!(decoded, tenant);
        let outputs = vec!["siem".to_owned()];
        let inherited = InheritedSettings {
            outputs: outputs.clone(),
            proxy: None,
        };
        let file = Path::new("/etc/source-host/fleet.toml");
        let settings = decoded.settings(file, &inherited).unwrap();
        assert_eq!(settings.name, "acme");
        assert_eq!(settings.component_settings.table.len(), 3);
        assert_eq!(settings.outputs.as_deref(), Some(&outputs[..]));
        assert!(Tenant::decode("acme", b"{").is_err());
        assert!(Tenant::decode("a.b", b"{}").is_err());
    }

    #[test]
    fn a_pause_is_in_the_message_and_leaves_all_else() {
        let paused = tenant(TEXT).with_enabled(false);
        assert!(!paused.is_enabled());
        let paused = Tenant::decode("acme", &paused.encode()).unwrap();
        assert!(!paused.is_enabled());
        assert_eq!(paused.with_enabled(true), tenant(TEXT));
    }

    #[test]
    fn a_secret_is_refused_unless_it_is_a_reference() {
        let is_secret = |key: &str| key == "client_secret";
        tenant(TEXT).refuse_literal_secrets(&is_secret).unwrap();
        let text = "[settings]\nclient_secret = \"hunter22\"\n";
        let failure = tenant(text).refuse_literal_secrets(&is_secret).unwrap_err();
        assert!(
            failure.message.contains("`client_secret` is in plain text"),
            "{failure}"
        );
        assert!(!failure.message.contains("hunter22"), "{failure}");
        assert_eq!(tenant(TEXT).references().len(), 1);
    }

    #[test]
    fn the_login_of_a_proxy_is_refused_unless_it_is_behind_a_reference() {
        for login in ["http://ann:hunter22@", "ann:hunter22@", "HTTP://ann@"] {
            let text = format!("proxy = \"{login}proxy.example.com:3128\"\n{TEXT}");
            let failure = tenant(&text).refuse_literal_secrets(&|_| false);
            let failure = failure.unwrap_err();
            let reason = "tenant `acme`: the login in `proxy` is in plain text";
            assert!(failure.message.starts_with(reason), "{failure}");
            assert!(!failure.message.contains("hunter22"), "{failure}");
        }
        for proxy in [
            "\"http://proxy.example.com:3128\"",
            "\"none\"",
            "{ env = \"ann@PROXY\" }",
            "{ file = \"proxy@acme.url\" }",
        ] {
            let text = format!("proxy = {proxy}\n{TEXT}");
            tenant(&text).refuse_literal_secrets(&|_| false).unwrap();
        }
    }

    #[test]
    fn a_proxy_that_only_the_hosts_can_resolve_is_left_out_of_the_settings_elsewhere() {
        let file = Path::new("f.toml");
        let inherited = InheritedSettings {
            outputs: vec!["siem".to_owned()],
            proxy: None,
        };
        let text = format!("proxy = {{ file = \"no-such-file-8\" }}\n{TEXT}");
        let tenant_with_proxy = tenant(&text);
        assert_eq!(tenant_with_proxy.references().len(), 2);
        assert!(tenant_with_proxy.settings(file, &inherited).is_err());
        let settings = tenant_with_proxy.settings_omitting_unresolved(file, &inherited);
        assert_eq!(settings.unwrap().component_settings.table.len(), 3);
        // It stays in the message, and other mistakes are refused.
        let decoded = Tenant::decode("acme", &tenant_with_proxy.encode()).unwrap();
        assert_eq!(decoded, tenant_with_proxy);
        for wrong in [
            "enabeld = true\n",
            "proxy = 3128\n",
            "proxy = \"https://a:1\"\n",
        ] {
            let tenant = tenant(&format!("{wrong}{TEXT}"));
            let settings = tenant.settings_omitting_unresolved(file, &inherited);
            assert!(settings.is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_misspelt_secret_is_refused_and_not_shown() {
        let known = ["client_id", "client_secret", "streams"];
        tenant(TEXT).refuse_unknown_settings(&known).unwrap();
        let text = "[settings]\nclient_secert = \"hunter22\"\n";
        let failure = tenant(text).refuse_unknown_settings(&known).unwrap_err();
        let reason = "unknown key `client_secert`; did you mean `client_secret`?";
        assert!(failure.message.contains(reason), "{failure}");
        assert!(!failure.message.contains("hunter22"), "{failure}");
    }

    #[test]
    fn new_settings_pause_a_tenant_and_do_not_resume_it() {
        let former = tenant(TEXT);
        let paused = former.clone().with_enabled(false);
        for text in ["", "enabled = true"] {
            let changed = || tenant(text);
            assert!(changed().with_pause_of(&former).is_enabled(), "{text}");
            let still_paused = changed().with_pause_of(&paused);
            assert_eq!(still_paused, tenant("enabled = false"), "{text}");
        }
        let changed = tenant("enabled = false").with_pause_of(&former);
        assert!(!changed.is_enabled());
    }

    #[test]
    fn an_error_names_the_tenant() {
        let inherited = InheritedSettings::default();
        let failure = tenant("enabeld = true").settings(Path::new("f.toml"), &inherited);
        let failure = failure.unwrap_err();
        assert!(
            failure
                .message
                .starts_with("tenant `acme`: f.toml: unknown key `enabeld`"),
            "{failure}"
        );
        let failure = tenant("memory_mib = 128").settings(Path::new("f.toml"), &inherited);
        assert!(failure.unwrap_err().message.contains("at most 64"));
    }
}
