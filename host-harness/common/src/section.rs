//! Reads one table of the settings file key by key. [`Section::finish`] rejects every key that
//! was not read.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::exit::Failure;
use crate::line_numbers::KeyLineNumbers;
use crate::proxy::Proxies;
use crate::reloadable_secret::ReloadableSecret;
use crate::secret::Secret;
use crate::suggestion::{nearest, unknown_key};
use crate::value_reference::{ValueReference, resolve_reference};

/// A table of the settings file, with its location for error messages.
#[derive(Debug)]
pub struct Section<'a> {
    file: &'a Path,
    location: String,
    table: toml::Table,
    lines: KeyLineNumbers,
    known: Vec<&'static str>,
    /// The URL of the proxy where the table has no `proxy`.
    proxy: Option<Secret>,
    /// Where a key may belong that is unknown here.
    hint: Option<&'static str>,
}

impl<'a> Section<'a> {
    /// Creates a section at a location such as ``[[source]] `acme` ``; empty at the top level.
    #[must_use]
    pub fn new(file: &'a Path, location: String, table: toml::Table) -> Self {
        Self {
            file,
            location,
            table,
            lines: KeyLineNumbers::default(),
            known: Vec::new(),
            proxy: None,
            hint: None,
        }
    }

    /// Returns the same table with a hint, for unknown keys that resemble no known one.
    #[must_use]
    pub fn with_hint(self, hint: &'static str) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }

    /// Returns the same table with the proxy of the whole file, which it uses where it has no `proxy`.
    #[must_use]
    pub fn with_proxy(self, proxy: Option<Secret>) -> Self {
        Self { proxy, ..self }
    }

    /// Returns the same table with the line numbers of its keys, for messages.
    #[must_use]
    pub fn with_lines(self, lines: KeyLineNumbers) -> Self {
        Self { lines, ..self }
    }

    /// Creates an error about one key, on one line with file, line and location.
    #[must_use]
    pub fn error(&self, key: &str, reason: &str) -> Failure {
        self.error_with_message(key, &format!("`{key}` {reason}"))
    }

    /// Reads the string at a key.
    pub fn string(&mut self, key: &'static str) -> Result<Option<String>, Failure> {
        match self.take(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(key, "a string in quotes", &other)),
        }
    }

    /// Reads the string at a required key.
    pub fn required_string(&mut self, key: &'static str) -> Result<String, Failure> {
        self.string(key)?
            .ok_or_else(|| self.error(key, "is missing"))
    }

    /// Reads the path at a key.
    pub fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, Failure> {
        Ok(self.string(key)?.map(|text| self.resolve(&text)))
    }

    /// Reads the path at a required key.
    pub fn required_path(&mut self, key: &'static str) -> Result<PathBuf, Failure> {
        self.path(key)?.ok_or_else(|| self.error(key, "is missing"))
    }

    /// Resolves a path: a relative one is relative to the settings file's directory.
    #[must_use]
    pub fn resolve(&self, text: &str) -> PathBuf {
        let directory = self.file.parent().unwrap_or_else(|| Path::new(""));
        directory.join(text)
    }

    /// Reads the list of strings at a key.
    pub fn strings(&mut self, key: &'static str) -> Result<Option<Vec<String>>, Failure> {
        let values = match self.take(key) {
            None => return Ok(None),
            Some(toml::Value::Array(values)) => values,
            Some(other) => return Err(self.wrong_type(key, "a list of strings", &other)),
        };
        values
            .into_iter()
            .map(|value| match value.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(self.wrong_type(key, "a list of strings", &value)),
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Reads the integer at a key and checks its range.
    pub fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Failure> {
        let number = match self.take(key) {
            None => return Ok(None),
            Some(toml::Value::Integer(number)) => number,
            Some(other) => return Err(self.wrong_type(key, "a whole number", &other)),
        };
        match u64::try_from(number) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = range.into_inner();
                let reason = format!("is {number}; it must be from {least} to {most}");
                Err(self.error(key, &reason))
            }
        }
    }

    /// Reads the word at a key, which must be one of `words`, and returns its value.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Failure> {
        let Some(word) = self.string(key)? else {
            return Ok(None);
        };
        if let Some((_, meant)) = words.iter().find(|(known, _)| *known == word) {
            return Ok(Some(*meant));
        }
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        let reason = match nearest(&word, known.iter().copied()) {
            Some(meant) => format!("is {word:?}; did you mean {meant:?}?"),
            None => format!("is {word:?}; it must be one of: {}", known.join(", ")),
        };
        Err(self.error(key, &reason))
    }

    /// Reads the boolean at a key.
    pub fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, Failure> {
        match self.take(key) {
            None => Ok(None),
            Some(toml::Value::Boolean(on)) => Ok(Some(on)),
            Some(other) => Err(self.wrong_type(key, "true or false", &other)),
        }
    }

    /// Reads the secret at a key: `{ env = ".." }`, `{ file = ".." }`, or a literal
    /// with a warning.
    pub fn secret(&mut self, key: &'static str) -> Result<Option<Secret>, Failure> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        self.warn_if_literal(key, &value);
        self.resolve_secret(key, &value).map(Some)
    }

    fn warn_if_literal(&self, key: &str, value: &toml::Value) {
        if let Some(text) = value.as_str()
            && unexpanded_variable_error(key, text).is_none()
        {
            warn!(
                "{}",
                self.error_with_message(key, &literal_secret_advice(&[key]))
            );
        }
    }

    /// Reads the secret at a key like [`Self::secret`]; a file secret is re-read when it changes.
    pub fn reloadable_secret(
        &mut self,
        key: &'static str,
    ) -> Result<Option<ReloadableSecret>, Failure> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        self.warn_if_literal(key, &value);
        self.resolve_reloadable_secret(key, &value).map(Some)
    }

    /// Reads the text at a key that is usually not secret: a literal (without a warning),
    /// `{ env = ".." }` or `{ file = ".." }`.
    pub fn resolved_text(&mut self, key: &'static str) -> Result<Option<Secret>, Failure> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => self.resolve_secret(key, &value).map(Some),
        }
    }

    /// Returns the file that the value at a key refers to, if it is `{ file = ".." }`. The key does not
    /// count as read.
    #[must_use]
    pub fn referenced_file(&self, key: &str) -> Option<PathBuf> {
        ValueReference::parse(self.table.get(key)?)?.path(self.file)
    }

    /// Returns the proxies of the key `proxy`, of the whole file, or of the environment, and the URL
    /// that is set, if any.
    pub fn proxies(&mut self) -> Result<(Proxies, Option<Secret>), Failure> {
        let environment = |name: &str| std::env::var(name).ok();
        let own = self.resolved_text("proxy")?;
        let url = own.or_else(|| self.proxy.take());
        let proxies = match &url {
            Some(url) => Proxies::from_setting(url.expose(), &environment)
                .map_err(|reason| self.error("proxy", &reason))?,
            None => Proxies::from_environment(&environment).map_err(|reason| {
                self.error_with_message("", &format!("the environment: {reason}"))
            })?,
        };
        Ok((proxies, url))
    }

    /// Reads the names and values in the table at a key, such as headers; each value
    /// is a text, `{ env = ".." }` or `{ file = ".." }`, and a file is re-read when it changes.
    pub fn reloadable_secrets(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<(String, ReloadableSecret)>, Failure> {
        let table = self.table(key)?.unwrap_or_default();
        table
            .into_iter()
            .map(|(name, value)| {
                let secret = self.resolve_reloadable_secret(key, &value)?;
                Ok((name, secret))
            })
            .collect()
    }

    fn resolve_reloadable_secret(
        &self,
        key: &str,
        value: &toml::Value,
    ) -> Result<ReloadableSecret, Failure> {
        let reference = ValueReference::parse(value);
        ReloadableSecret::read(reference, self.file, || self.resolve_secret(key, value))
    }

    fn resolve_secret(&self, key: &str, value: &toml::Value) -> Result<Secret, Failure> {
        match ValueReference::parse(value) {
            Some(reference) => {
                resolve_reference(&reference, self.file, &|name| std::env::var(name).ok())
                    .map(Secret::new)
                    .map_err(|reason| self.error(key, &reason))
            }
            None => match value.as_str() {
                Some(text) => match unexpanded_variable_error(key, text) {
                    None => Ok(Secret::new(text.to_owned())),
                    Some(reason) => Err(self.error(key, &reason)),
                },
                None => Err(self.wrong_type(
                    key,
                    "a string, { env = \"..\" } or { file = \"..\" }",
                    value,
                )),
            },
        }
    }

    /// Reads the table at a key.
    pub fn table(&mut self, key: &'static str) -> Result<Option<toml::Table>, Failure> {
        match self.take(key) {
            None => Ok(None),
            Some(toml::Value::Table(table)) => Ok(Some(table)),
            Some(other) => Err(self.wrong_type(key, "a table", &other)),
        }
    }

    /// Reads the array of tables at a key, as in `[[source]]`.
    pub fn tables(&mut self, key: &'static str) -> Result<Vec<toml::Table>, Failure> {
        let values = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(toml::Value::Array(values)) => values,
            Some(other) => {
                let wanted = format!("written as [[{key}]]");
                return Err(self.wrong_type(key, &wanted, &other));
            }
        };
        values
            .into_iter()
            .map(|value| match value.as_table() {
                Some(table) => Ok(table.clone()),
                None => Err(self.wrong_type(key, "a table", &value)),
            })
            .collect()
    }

    /// Rejects every key that was not read, with the nearest known key.
    pub fn finish(self) -> Result<(), Failure> {
        let mut errors = SettingsErrors::default();
        let mut keys: Vec<&str> = self.table.keys().map(String::as_str).collect();
        keys.sort_by_key(|key| self.lines.line(key));
        for key in keys {
            errors.push(self.error_with_message(key, &unknown_key(key, &self.known, self.hint)));
        }
        errors.into_result()
    }

    fn take(&mut self, key: &'static str) -> Option<toml::Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn wrong_type(&self, key: &str, wanted: &str, found: &toml::Value) -> Failure {
        self.error(key, &format!("must be {wanted}, not {}", type_name(found)))
    }

    fn error_with_message(&self, key: &str, message: &str) -> Failure {
        let place = match self.location.as_str() {
            "" => String::new(),
            place => format!("{place}: "),
        };
        let at = file_location(self.file, self.lines.line(key));
        Failure::settings(format!("{at}: {place}{message}"))
    }
}

/// Formats a file name, and the line where it is known.
#[must_use]
pub fn file_location(file: &Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{}:{line}", file.display()),
        None => file.display().to_string(),
    }
}

/// Returns an error clause if a text is written as if variables were expanded in it: `${NAME}`, or
/// `$NAME` of a variable that is set.
#[must_use]
pub fn unexpanded_variable_error(key: &str, text: &str) -> Option<String> {
    let is_name = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !name.is_empty() && name.bytes().all(is_part)
    };
    let braces = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let plain = || {
        text.strip_prefix('$')
            .filter(|name| std::env::var_os(name).is_some())
    };
    let name = braces.or_else(plain).filter(|name| is_name(name))?;
    Some(format!(
        "is \"{text}\", which is not expanded; write {key} = {{ env = \"{name}\" }}"
    ))
}

/// The errors of a settings file, reported together: one on each line.
#[derive(Debug, Default)]
pub struct SettingsErrors(Vec<Failure>);

impl SettingsErrors {
    /// Adds an error.
    pub fn push(&mut self, error: Failure) {
        self.0.push(error);
    }

    /// Returns the value, or records the error and returns `None`.
    pub fn ok_or_push<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Returns whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value parsed from the settings, or all errors as one failure.
    pub fn into_value<T>(self, value: Option<T>) -> Result<T, Failure> {
        self.into_result()?;
        value.ok_or_else(|| Failure::settings("a table of the settings cannot be used"))
    }

    /// Returns all of them as one failure, if there are any.
    pub fn into_result(self) -> Result<(), Failure> {
        let messages: Vec<&str> = self.0.iter().map(|it| it.message.as_str()).collect();
        let message = messages.join("\n");
        match self.0.into_iter().next() {
            None => Ok(()),
            Some(first) => Err(Failure { message, ..first }),
        }
    }
}

/// Formats the advice to refer to secrets instead of writing them out in the file.
#[must_use]
pub fn literal_secret_advice(keys: &[&str]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match (quoted.split_last(), keys) {
        (Some((last, rest)), [_, _, ..]) => format!(
            "{} and {last} are in plain text in the file; better: {{ env = \"..\" }} or \
             {{ file = \"..\" }} for each",
            rest.join(", ")
        ),
        (_, [key]) => format!(
            "`{key}` is in plain text in the file; better: {key} = {{ env = \"..\" }} or \
             {{ file = \"..\" }}"
        ),
        _ => String::new(),
    }
}

/// Returns the name of a value's type, for messages.
#[must_use]
pub fn type_name(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::Array(_) => "a list",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Float(_) => "a number",
        toml::Value::Integer(_) => "a whole number",
        toml::Value::String(_) => "a string",
        toml::Value::Table(_) => "a table",
    }
}
