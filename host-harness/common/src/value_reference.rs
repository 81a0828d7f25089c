//! References in a settings file to values stored elsewhere: `{ env = ".." }` and
//! `{ file = ".." }`.

use std::path::{Path, PathBuf};

/// Upper bound of a secret file's size; a secret is one line.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A reference to a value stored outside the settings file.
#[derive(Debug, Eq, PartialEq)]
pub enum ValueReference {
    /// The environment variable of this name.
    Env(String),
    /// This file; a relative path is resolved against the settings file's directory.
    File(String),
}

impl ValueReference {
    /// Parses `{ env = ".." }` or `{ file = ".." }` without other keys; `None` for any other value.
    #[must_use]
    pub fn parse(value: &toml::Value) -> Option<Self> {
        let table = value.as_table().filter(|table| table.len() == 1)?;
        let (key, value) = table.iter().next()?;
        let text = value.as_str()?.to_owned();
        match key.as_str() {
            "env" => Some(Self::Env(text)),
            "file" => Some(Self::File(text)),
            _ => None,
        }
    }

    /// Returns all references in a value, including those in nested tables and lists.
    #[must_use]
    pub fn all_in(value: &toml::Value) -> Vec<Self> {
        if let Some(reference) = Self::parse(value) {
            return vec![reference];
        }
        let of_table = value.as_table().into_iter().flat_map(toml::Table::values);
        let of_list = value.as_array().into_iter().flatten();
        of_table.chain(of_list).flat_map(Self::all_in).collect()
    }

    /// Returns the path of the referenced file, resolved against the directory of `settings_file`.
    #[must_use]
    pub fn path(&self, settings_file: &Path) -> Option<PathBuf> {
        let directory = settings_file.parent().unwrap_or_else(|| Path::new(""));
        match self {
            Self::Env(_) => None,
            Self::File(name) => Some(directory.join(name)),
        }
    }
}

/// Reads the value that a reference points to. The error is a clause that follows the key.
pub fn resolve_reference(
    reference: &ValueReference,
    settings_file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    match reference {
        ValueReference::Env(name) => match env(name) {
            None => Err(format!(
                "needs the environment variable {name}, which is not set"
            )),
            Some(text) if text.is_empty() => Err(format!(
                "needs the environment variable {name}, which is empty"
            )),
            Some(text) => Ok(text),
        },
        ValueReference::File(name) => {
            let directory = settings_file.parent().unwrap_or_else(|| Path::new(""));
            let path = directory.join(name);
            let unreadable = |error: &dyn std::fmt::Display| {
                format!(
                    "needs the file {}, which cannot be read: {error}",
                    path.display()
                )
            };
            let metadata = std::fs::metadata(&path).map_err(|error| unreadable(&error))?;
            if metadata.len() > SECRET_FILE_BYTES_MAX {
                return Err(unreadable(&"it is larger than 64 KiB"));
            }
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                return Err(unreadable(&"it is empty"));
            }
            Ok(text.to_owned())
        }
    }
}
