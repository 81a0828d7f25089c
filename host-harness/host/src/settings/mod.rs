//! The settings file: parsed once, into values that need no second look.

mod files;
mod resolve;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use source_common::exit::Failure;
use source_common::lines::KeyLines;
use source_common::names::nearest;
use source_common::section::{Mistakes, Section, at};
use source_outputs::{self, OutputConfig};
use source_runtime::allow_list::AllowSetting;
use source_runtime::bindings::Limits;
use source_runtime::source::{LIMITS_DEFAULT, MEMORY_BYTES_MAX_DEFAULT, POLL_TIMEOUT_DEFAULT};

pub use self::resolve::{Resolved, SettingsTable, resolve};

const MIB: u64 = 1024 * 1024;

/// The folder for machine code in the state directory.
pub const STATE_CACHE: &str = "cache";

const MEMORY_MIB_MAX: u64 = 4096;
const MAX_EVENTS_MAX: u64 = 100_000;
const MAX_BYTES_MAX: u64 = 256 * MIB;
const MAX_REQUESTS_MAX: u64 = 100_000;

/// A settings file that has been understood.
#[derive(Debug)]
pub struct Settings {
    /// Where it was read from, as it appears in messages.
    pub file: PathBuf,
    /// Where checkpoints, rejected records and cached machine code are kept.
    pub state_dir: PathBuf,
    /// At least one, with different names.
    pub sources: Vec<SourceSettings>,
    /// At least one.
    pub outputs: Vec<Box<dyn OutputConfig>>,
    /// Where rejected records go; by default a file for each source in
    /// `state_dir`.
    pub dead_letter: Option<DeadLetterSettings>,
}

/// `[dead_letter]`.
#[derive(Debug)]
pub enum DeadLetterSettings {
    /// One file for all sources.
    File(PathBuf),
    /// An output.
    Output(Box<dyn OutputConfig>),
}

/// One `[[source]]`, as far as it can be understood without its component.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Its name: that of its files, and of it in logs.
    pub name: String,
    /// A component of the user's; otherwise the built-in one.
    pub component: Option<PathBuf>,
    /// Which origins it may reach, besides those among its settings.
    pub allow: AllowSetting,
    /// Trust anchors besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether it collects; a paused source keeps its position.
    pub enabled: bool,
    /// The memory of an instance.
    pub memory_bytes_max: usize,
    /// How long one call may take.
    pub poll_timeout: Duration,
    /// The limits of one poll.
    pub limits: Limits,
    /// `[source.settings]`, not yet checked against the component's schema.
    pub settings: SettingsTable,
}

impl Settings {
    /// Read a settings file.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(file)
            .map_err(|error| Failure::settings(format!("{}: {error}", file.display())))?;
        Self::parse(&text, file)
    }

    /// Understand the text of a settings file. Relative paths in it begin at
    /// the directory of `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Failure> {
        let table: toml::Table = text.parse().map_err(|error| syntax(text, file, &error))?;
        let lines = KeyLines::of(text);
        let mut root = Section::new(file, String::new(), table).with_lines(lines.clone());
        let state_dir = root
            .path("state_dir")?
            .unwrap_or_else(|| root.resolve("state"));
        let sources = root.tables("source")?;
        let outputs = root.tables("output")?;
        let dead_letter = root.table("dead_letter")?;
        let mut mistakes = Mistakes::default();
        mistakes.note(root.finish());
        let sources = parse_sources(file, sources, &lines, &mut mistakes);
        let outputs = parse_outputs(file, outputs, &lines, &mut mistakes);
        let dead_letter = dead_letter
            .map(|table| parse_dead_letter(file, table, lines.table("dead_letter")))
            .and_then(|parsed| mistakes.note(parsed));
        mistakes.into_result()?;

        let settings = Self {
            file: file.to_owned(),
            state_dir,
            sources,
            outputs,
            dead_letter: dead_letter.flatten(),
        };
        settings.refuse_two_stdouts()?;
        files::refuse_shared(&settings)?;
        Ok(settings)
    }

    /// Leaves only the source of that name. Where there is none, says which one may be meant.
    pub fn retain_source(&mut self, name: &str) -> Result<(), Failure> {
        let names: Vec<String> = self.sources.iter().map(|s| s.name.clone()).collect();
        self.sources.retain(|source| source.name == name);
        if !self.sources.is_empty() {
            return Ok(());
        }
        let names = names.iter().map(String::as_str);
        let meant = match nearest(name, names.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        let file = self.file.display();
        let reason = format!("{file}: there is no source `{name}`; {meant}");
        Err(Failure::settings(reason))
    }

    fn refuse_two_stdouts(&self) -> Result<(), Failure> {
        let dead_letter = match &self.dead_letter {
            Some(DeadLetterSettings::Output(config)) => Some(config),
            Some(DeadLetterSettings::File(_)) | None => None,
        };
        let configs = self.outputs.iter().chain(dead_letter);
        let writers = configs.filter(|config| config.is_stdout()).count();
        if writers > 1 {
            return Err(Failure::settings(format!(
                "{}: two outputs of type `stdout`; what they write would be mixed",
                self.file.display()
            )));
        }
        Ok(())
    }
}

fn syntax(text: &str, file: &Path, error: &toml::de::Error) -> Failure {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or(1, |before| before.matches('\n').count() + 1);
    let reason = error.message().replace('\n', ", ");
    Failure::settings(format!("{}:{line}: {reason}", file.display()))
}

fn parse_sources(
    file: &Path,
    tables: Vec<toml::Table>,
    lines: &KeyLines,
    mistakes: &mut Mistakes,
) -> Vec<SourceSettings> {
    if tables.is_empty() {
        let hint = "no [[source]]; a source needs a name and [source.settings]";
        mistakes.add(Failure::settings(format!("{}: {hint}", file.display())));
    }
    let mut names = BTreeSet::new();
    let mut sources = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        let lines = lines.element("source", index);
        let line = lines.line("name");
        let Some(source) = mistakes.note(parse_source(file, index, table, lines)) else {
            continue;
        };
        if !names.insert(source.name.clone()) {
            mistakes.add(Failure::settings(format!(
                "{}: two sources are named `{}`; each has its own checkpoint and needs its own name",
                at(file, line),
                source.name
            )));
        }
        sources.push(source);
    }
    sources
}

fn parse_source(
    file: &Path,
    index: usize,
    table: toml::Table,
    lines: KeyLines,
) -> Result<SourceSettings, Failure> {
    let place = match table.get("name").and_then(toml::Value::as_str) {
        Some(name) => format!("[[source]] `{name}`"),
        None => format!("[[source]] number {}", index + 1),
    };
    let settings_lines = lines.table("settings");
    let mut section = Section::new(file, place, table).with_lines(lines);
    let name = section.required_string("name")?;
    if !is_file_name(&name) {
        return Err(section.error(
            "name",
            "may have letters, digits, `-`, `_` and `.` only, as it names files",
        ));
    }
    let memory_mib = section.number("memory_mib", 1..=MEMORY_MIB_MAX)?;
    let memory_bytes = memory_mib.map(|mib| usize::try_from(mib.saturating_mul(MIB)));
    let timeout_secs = section.number("poll_timeout_secs", 1..=86_400)?;
    let source = SourceSettings {
        component: section.path("component")?,
        allow: parse_allow(&mut section)?,
        ca_file: section.path("ca_file")?,
        enabled: section.switch("enabled")?.unwrap_or(true),
        memory_bytes_max: memory_bytes.map_or(MEMORY_BYTES_MAX_DEFAULT, |bytes| {
            bytes.unwrap_or(usize::MAX)
        }),
        poll_timeout: timeout_secs.map_or(POLL_TIMEOUT_DEFAULT, Duration::from_secs),
        limits: parse_limits(&mut section)?,
        settings: SettingsTable {
            table: section.table("settings")?.unwrap_or_default(),
            lines: settings_lines,
        },
        name,
    };
    section.finish()?;
    Ok(source)
}

fn parse_allow(section: &mut Section<'_>) -> Result<AllowSetting, Failure> {
    match (section.strings("allow")?, section.strings("allow_only")?) {
        (None, None) => Ok(AllowSetting::default()),
        (Some(entries), None) => Ok(AllowSetting::Extend(entries)),
        (None, Some(entries)) => Ok(AllowSetting::Replace(entries)),
        (Some(_), Some(_)) => Err(section.error(
            "allow_only",
            "stands beside `allow`; write `allow` to add origins to those of the component, or \
             `allow_only` to name all of them",
        )),
    }
}

fn parse_limits(section: &mut Section<'_>) -> Result<Limits, Failure> {
    let events = section.number("max_events", 1..=MAX_EVENTS_MAX)?;
    let bytes = section.number("max_bytes", 1..=MAX_BYTES_MAX)?;
    let requests = section.number("max_requests", 1..=MAX_REQUESTS_MAX)?;
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Limits {
        max_events: events.map_or(LIMITS_DEFAULT.max_events, narrow),
        max_bytes: bytes.unwrap_or(LIMITS_DEFAULT.max_bytes),
        max_requests: requests.map_or(LIMITS_DEFAULT.max_requests, narrow),
    })
}

fn parse_outputs(
    file: &Path,
    tables: Vec<toml::Table>,
    lines: &KeyLines,
    mistakes: &mut Mistakes,
) -> Vec<Box<dyn OutputConfig>> {
    if tables.is_empty() {
        let hint =
            "no [[output]]; for NDJSON on standard output write [[output]] and type = \"stdout\"";
        mistakes.add(Failure::settings(format!("{}: {hint}", file.display())));
    }
    let several = tables.len() > 1;
    let mut configs = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        let place = if several {
            format!("[[output]] number {}", index + 1)
        } else {
            "[[output]]".to_owned()
        };
        let section = Section::new(file, place, table).with_lines(lines.element("output", index));
        configs.extend(mistakes.note(source_outputs::config(section)));
    }
    configs
}

/// Without a type it is a file that only grows.
fn parse_dead_letter(
    file: &Path,
    table: toml::Table,
    lines: KeyLines,
) -> Result<Option<DeadLetterSettings>, Failure> {
    let has_type = table.contains_key("type");
    let mut section = Section::new(file, "[dead_letter]".to_owned(), table).with_lines(lines);
    if has_type {
        return source_outputs::config(section)
            .map(|config| Some(DeadLetterSettings::Output(config)));
    }
    section.string("type")?; // not there; it belongs to what a message lists
    let path = section.path("path")?;
    section.finish()?;
    Ok(path.map(DeadLetterSettings::File))
}

fn is_file_name(name: &str) -> bool {
    const NAME_BYTES_MAX: usize = 100; // leaves room for the suffixes in 255
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests;
