//! Values that a settings file keeps elsewhere: `{ env = ".." }` and
//! `{ file = ".." }`.

use std::path::Path;

/// A secret is a line, not a document.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A value that is kept elsewhere.
#[derive(Debug, Eq, PartialEq)]
pub enum ValueReference {
    /// In the environment variable of this name.
    Env(String),
    /// In this file; a relative path begins at the settings file.
    File(String),
}

impl ValueReference {
    /// Recognizes `{ env = ".." }` or `{ file = ".." }`, with nothing else in it.
    #[must_use]
    pub fn recognize(value: &toml::Value) -> Option<Self> {
        let table = value.as_table().filter(|table| table.len() == 1)?;
        let (key, value) = table.iter().next()?;
        let text = value.as_str()?.to_owned();
        match key.as_str() {
            "env" => Some(Self::Env(text)),
            "file" => Some(Self::File(text)),
            _ => None,
        }
    }
}

/// Fetches it. The error is a clause that follows the name of the key.
pub fn resolve_reference(
    indirect: &ValueReference,
    settings_file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    match indirect {
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
