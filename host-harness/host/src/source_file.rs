//! Reads, writes and removes the file of a source in `sources_dir`, for the admin API.
//!
//! Secrets are write-only: each is stored in a separate file, which only the
//! host's user can read. What the API may not set, such as a path, is kept as it is in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::Value;
use source_common::disk;
use source_common::secret::Secret;
use source_common::value_reference::ValueReference;
use tracing::warn;

use crate::settings::source_file_path;

/// Key of the table with the component's settings.
const SETTINGS: &str = "settings";

/// Keys that can be set only in the file, not through the API: a path would let a client read any
/// file that the host can read, and a proxy sees the destination of every request.
pub(crate) const FILE_ONLY_KEYS: [&str; 3] = ["component", "ca_file", "proxy"];

/// The file of one source, which need not exist.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    name: String,
}

/// A new version of the file that is not yet written.
#[derive(Debug)]
pub struct Draft {
    /// The new contents.
    pub table: toml::Table,
    /// Secrets to be written to separate files.
    secrets: BTreeMap<String, Secret>,
    /// The secret files that are no longer used.
    unused_secret_files: Vec<PathBuf>,
    path: PathBuf,
    name: String,
}

impl SourceFile {
    /// Creates the handle for the file of a source, whose name must be a valid file name.
    #[must_use]
    pub fn new(sources_dir: &Path, name: &str) -> Self {
        Self {
            path: source_file_path(sources_dir, name),
            name: name.to_owned(),
        }
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file's contents after the API sets `body`. Secrets and references that it omits
    /// are kept; one that is `null` there is removed. Returns one message for each error.
    pub fn draft(
        &self,
        body: &Value,
        is_secret: &dyn Fn(&str) -> bool,
    ) -> Result<Draft, Vec<String>> {
        let old = self.read().map_err(|reason| vec![reason])?;
        let mut old = old.unwrap_or_default();
        let mut body = body.clone();
        let removed = remove_nulls(&mut body);
        let mut table = toml::Table::try_from(&body)
            .map_err(|error| vec![format!("the source is not an object: {error}")])?;
        let mut errors = Vec::new();
        if table.contains_key("name") {
            errors.push("`name` is not set here: it is in the path of the request".to_owned());
        }
        for key in FILE_ONLY_KEYS {
            if table.contains_key(key) {
                let reason = "is not set here; set it in the file of the source";
                errors.push(format!("`{key}` {reason}"));
            }
            if let Some(value) = old.remove(key) {
                table.insert(key.to_owned(), value);
            }
        }
        let settings = table
            .entry(SETTINGS)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(settings) = settings.as_table_mut() else {
            errors.push(format!("`{SETTINGS}` is not an object"));
            return Err(errors);
        };
        let mut secrets = BTreeMap::new();
        for (key, value) in settings.iter_mut() {
            if ValueReference::parse(value).is_some() {
                let reason = "refers to a file or the environment; set it in the file of the \
                              source, or give the value itself";
                errors.push(format!("`{SETTINGS}.{key}` {reason}"));
                continue;
            }
            if let Some(text) = value.as_str()
                && is_secret(key)
            {
                secrets.insert(key.clone(), Secret::new(text.to_owned()));
                *value = file_reference(&secret_file_name(&self.name, key));
            }
        }
        let old = match old.remove(SETTINGS) {
            Some(toml::Value::Table(old)) => old,
            _ => toml::Table::new(),
        };
        let mut unused_secret_files = Vec::new();
        for (key, value) in old {
            if removed.contains(&key) {
                unused_secret_files.extend(self.secret_file(&key, &value));
                continue;
            }
            let is_kept = is_secret(&key) || ValueReference::parse(&value).is_some();
            if is_kept && !settings.contains_key(&key) {
                settings.insert(key, value);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Draft {
            table,
            secrets,
            unused_secret_files,
            path: self.path.clone(),
            name: self.name.clone(),
        })
    }

    /// Removes the file and the secrets that the API wrote for it. Returns whether it existed.
    pub fn remove(&self) -> io::Result<bool> {
        // If the file cannot be read, its own secrets are not known.
        let secrets = self.secret_files().unwrap_or_default();
        match fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        disk::sync_directory(&self.path)?;
        for file in secrets {
            match fs::remove_file(file) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Returns the files of its secrets, as written by [`Draft::write`]. Another source may have a
    /// file whose name begins in the same way.
    fn secret_files(&self) -> Result<Vec<PathBuf>, String> {
        let table = self.read()?.unwrap_or_default();
        let settings = table.get(SETTINGS).and_then(toml::Value::as_table);
        let settings = settings.into_iter().flatten();
        Ok(settings
            .filter_map(|(key, value)| self.secret_file(key, value))
            .collect())
    }

    /// Returns the file of a secret, where the value of the setting is what the API writes.
    fn secret_file(&self, key: &str, value: &toml::Value) -> Option<PathBuf> {
        let name = secret_file_name(&self.name, key);
        let is_own = ValueReference::parse(value) == Some(ValueReference::File(name.clone()));
        is_own.then(|| directory_of(&self.path).join(name))
    }

    /// Returns the path of the component that the file names; `None` where it names none, or cannot be
    /// read. [`Self::draft`] keeps this component, whether the source can run or not.
    #[must_use]
    pub fn component(&self) -> Option<PathBuf> {
        let table = self.read().ok().flatten()?;
        let component = table.get("component")?.as_str()?;
        Some(directory_of(&self.path).join(component))
    }

    fn read(&self) -> Result<Option<toml::Table>, String> {
        let path = self.path.display();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{path}: cannot be read: {error}")),
        };
        let table = text.parse();
        table.map(Some).map_err(|error: toml::de::Error| {
            let reason = error.message().replace('\n', ", ");
            format!("{path}: is not TOML: {reason}; correct the file, or remove the source")
        })
    }
}

impl Draft {
    /// Returns the table with the new secrets inlined, for validation before it is written.
    #[must_use]
    pub fn with_secrets(&self) -> toml::Table {
        let mut table = self.table.clone();
        if let Some(settings) = table.get_mut(SETTINGS).and_then(toml::Value::as_table_mut) {
            for (key, secret) in &self.secrets {
                let text = toml::Value::String(secret.expose().to_owned());
                settings.insert(key.clone(), text);
            }
        }
        table
    }

    /// Writes the secrets, then the file, then removes the secret files that are no longer used; one that
    /// cannot be removed is only logged. If the host is killed before the file is written, the old file stays.
    pub fn write(&self) -> io::Result<()> {
        self.write_with(disk::replace)
    }

    /// Does the same where there is no file yet; else fails with [`ErrorKind::AlreadyExists`].
    pub fn write_new(&self) -> io::Result<()> {
        if fs::symlink_metadata(&self.path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.write_with(disk::create)
    }

    fn write_with(&self, write: fn(&Path, &str, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let directory = directory_of(&self.path);
        for (key, secret) in &self.secrets {
            let path = directory.join(secret_file_name(&self.name, key));
            let text = format!("{}\n", secret.expose());
            disk::replace(&path, TEMP_PREFIX, text.as_bytes())?;
        }
        let mut text = String::from("# Written by the API of source-host.\n");
        let table = toml::to_string(&self.table).map_err(io::Error::other)?;
        write!(text, "{table}").map_err(io::Error::other)?;
        write(&self.path, TEMP_PREFIX, text.as_bytes())?;
        for file in &self.unused_secret_files {
            if let Err(error) = fs::remove_file(file)
                && error.kind() != ErrorKind::NotFound
            {
                let file = file.display();
                warn!(source = %self.name, "{file}: is no longer used, and cannot be removed: {error}; remove it by hand");
            }
        }
        Ok(())
    }
}

/// Removes the settings that are `null`, which TOML does not have. Returns their names.
fn remove_nulls(body: &mut Value) -> BTreeSet<String> {
    let mut removed = BTreeSet::new();
    if let Some(settings) = body.get_mut(SETTINGS).and_then(Value::as_object_mut) {
        settings.retain(|key, value| {
            if value.is_null() {
                removed.insert(key.clone());
            }
            !value.is_null()
        });
    }
    removed
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

const SECRET_SUFFIX: &str = ".secret";

/// Prefix of the temporary file's name; hidden files are not read as sources.
const TEMP_PREFIX: &str = ".";

fn secret_file_name(source: &str, key: &str) -> String {
    format!("{source}.{key}{SECRET_SUFFIX}")
}

fn file_reference(file: &str) -> toml::Value {
    let file = toml::Value::String(file.to_owned());
    toml::Value::Table([("file".to_owned(), file)].into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn is_secret(key: &str) -> bool {
        key.ends_with("_secret")
    }

    fn file(directory: &Path, text: &str) -> SourceFile {
        let file = SourceFile::new(directory, "acme");
        if !text.is_empty() {
            fs::write(file.path(), text).unwrap();
        }
        file
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_secret_goes_to_a_private_file_and_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path(), "");
        let body = json!({"enabled": true, "outputs": ["siem"],
            "settings": {"client_id": "id", "client_secret": "s3cret", "streams": ["audit"]}});
        let draft = file.draft(&body, &is_secret).unwrap();
        assert_eq!(names(directory.path()), [""; 0]);
        let checked = draft.with_secrets();
        assert_eq!(
            checked["settings"]["client_secret"].as_str(),
            Some("s3cret")
        );
        assert!(!format!("{draft:?}").contains("s3cret"));
        draft.write().unwrap();

        let wanted = ["acme.client_secret.secret", "acme.toml"];
        assert_eq!(names(directory.path()), wanted);
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
        let secret = directory.path().join("acme.client_secret.secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "s3cret\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&secret).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn what_the_api_may_not_set_stays_and_all_else_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let text = "ca_file = \"ca.pem\"\nallow = [\"https://a.example\"]\n[settings]\n\
                    client_id = { env = \"ID\" }\nclient_secret = \"written out\"\noverlap = \"5m\"\n";
        let file = file(directory.path(), text);
        let body = json!({"settings": {"format": "raw"}});
        let draft = file.draft(&body, &is_secret).unwrap();
        let wanted: toml::Table = "ca_file = \"ca.pem\"\n[settings]\nformat = \"raw\"\n\
             client_id = { env = \"ID\" }\nclient_secret = \"written out\"\n"
            .parse()
            .unwrap();
        assert_eq!(draft.table, wanted);
    }

    #[test]
    fn every_way_to_name_a_file_of_the_host_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path(), "");
        let body = json!({"name": "x", "component": "/a.wasm", "ca_file": "/etc/shadow", "proxy": "http://p:1", "settings": {
            "client_id": {"file": "/etc/shadow"}, "client_secret": {"env": "HOME"}}});
        let errors = file.draft(&body, &is_secret).unwrap_err();
        for key in [
            "`name`",
            "`component`",
            "`ca_file`",
            "`proxy`",
            "`settings.client_id`",
            "`settings.client_secret`",
        ] {
            assert!(
                errors.iter().any(|it| it.starts_with(key)),
                "{key}: {errors:?}"
            );
        }
        assert_eq!(errors.len(), 6);
        for body in [
            json!([]),
            json!(null),
            json!({"settings": 1}),
            json!({"enabled": null}),
            json!({"settings": {"a": [null]}}),
        ] {
            assert!(file.draft(&body, &is_secret).is_err(), "{body}");
        }
    }

    #[test]
    fn a_setting_that_is_null_is_removed_with_its_secret() {
        let directory = tempfile::tempdir().unwrap();
        let text = "[settings]\napi = \"1.0\"\n\
                    app_secret = { file = \"acme.app_secret.secret\" }\n\
                    secret_secret = { file = \"acme.secret_secret.secret\" }\n\
                    own_secret = { file = \"own.secret\" }\n";
        let file = file(directory.path(), text);
        for secret in [
            "acme.app_secret.secret",
            "acme.secret_secret.secret",
            "own.secret",
        ] {
            fs::write(directory.path().join(secret), "s3cret").unwrap();
        }

        let body = json!({"settings": {"client_secret": "new", "app_secret": null,
            "own_secret": null, "unknown": null}});
        let draft = file.draft(&body, &is_secret).unwrap();
        let files = names(directory.path());
        assert!(files.contains(&"acme.app_secret.secret".to_owned()));
        draft.write().unwrap();
        let table: toml::Table = fs::read_to_string(file.path()).unwrap().parse().unwrap();
        let settings = table["settings"].as_table().unwrap();
        let keys: Vec<&String> = settings.keys().collect();
        assert_eq!(keys, ["client_secret", "secret_secret"]);
        let wanted = [
            "acme.client_secret.secret",
            "acme.secret_secret.secret",
            "acme.toml",
            "own.secret",
        ];
        assert_eq!(names(directory.path()), wanted);
    }

    #[test]
    fn only_the_files_of_the_source_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["acme.eu", "acme"] {
            let body = json!({"settings": {"client_secret": "s"}});
            let file = SourceFile::new(directory.path(), name);
            file.draft(&body, &is_secret).unwrap().write().unwrap();
        }
        // Files of operators; the second belongs to a source `acme.eu`.
        fs::write(directory.path().join("acme.pem"), "").unwrap();
        fs::write(directory.path().join("acme.eu.secret"), "").unwrap();
        let file = SourceFile::new(directory.path(), "acme");
        assert!(file.remove().unwrap());
        assert!(!file.remove().unwrap());
        let wanted = [
            "acme.eu.client_secret.secret",
            "acme.eu.secret",
            "acme.eu.toml",
            "acme.pem",
        ];
        assert_eq!(names(directory.path()), wanted);
    }

    #[test]
    fn a_file_that_appears_while_a_source_is_added_stays() {
        let directory = tempfile::tempdir().unwrap();
        let body = json!({"settings": {"client_secret": "s3cret"}});
        let new = file(directory.path(), "");
        let draft = new.draft(&body, &is_secret).unwrap();
        let kind = |written: io::Result<()>| written.unwrap_err().kind();
        let written = draft.write_with(|path, prefix, bytes| {
            fs::write(path, "enabled = false\n")?;
            disk::create(path, prefix, bytes)
        });
        assert_eq!(kind(written), ErrorKind::AlreadyExists);
        fs::write(directory.path().join("acme.client_secret.secret"), "own").unwrap();
        assert_eq!(kind(draft.write_new()), ErrorKind::AlreadyExists);
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("acme.toml"), "enabled = false\n");
        assert_eq!(read("acme.client_secret.secret"), "own");
        fs::remove_file(new.path()).unwrap();
        draft.write_new().unwrap();
        assert_eq!(read("acme.client_secret.secret"), "s3cret\n");
        let wanted = ["acme.client_secret.secret", "acme.toml"];
        assert_eq!(names(directory.path()), wanted, "no temporary file");
    }

    #[test]
    fn a_file_that_is_not_toml_is_not_overwritten_and_can_be_removed() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path(), "x = ");
        assert!(file.draft(&json!({}), &is_secret).is_err());
        assert!(file.remove().unwrap());
    }
}
