//! The settings file, parsed once into validated values.

mod admin;
mod file_conflicts;
mod fleet;
mod resolve;
mod sources_dir;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use source_common::exit::Failure;
use source_common::line_numbers::KeyLineNumbers;
use source_common::proxy::Proxies;
use source_common::secret::Secret;
use source_common::section::{Section, SettingsErrors, file_location};
use source_common::suggestion::nearest;
use source_common::value_reference::{ValueReference, resolve_reference};
use source_outputs::{self, OutputConfig};
use source_runtime::allow_list::AllowSetting;
use source_runtime::bindings::Limits;
use source_runtime::source::{LIMITS_DEFAULT, MEMORY_BYTES_MAX_DEFAULT, POLL_TIMEOUT_DEFAULT};

pub use self::admin::{AdminSettings, AdminTls, MetricsDetail};
pub(crate) use self::file_conflicts::WrittenFiles;
pub use self::fleet::FleetSettings;
pub use self::resolve::{ResolvedSettings, SettingsTable, resolve, to_json};
use self::sources_dir::source_file_name;
pub use self::sources_dir::{read_source_file, source_file_path, source_files};

const MIB: u64 = 1024 * 1024;

/// The folder for machine code in the state directory.
pub const CACHE_DIR: &str = "cache";

/// The file in the state directory with the sources that an operator has paused.
pub const PAUSED_FILE: &str = "paused.json";

const MEMORY_MIB_MAX: u64 = 4096;
const LIMIT_EVENTS_MAX: u64 = 100_000;
const LIMIT_BYTES_MAX: u64 = 256 * MIB;
const LIMIT_REQUESTS_MAX: u64 = 100_000;

/// A parsed and validated settings file.
#[derive(Debug)]
pub struct Settings {
    /// The path of the file, as it appears in messages.
    pub file: PathBuf,
    /// Directory for checkpoints, rejected records and compiled components.
    pub state_dir: PathBuf,
    /// Where other sources are, one file for each.
    pub sources_dir: Option<PathBuf>,
    /// The URL of the proxy of every source and output that names none of its own.
    pub proxy: Option<Secret>,
    /// The file that contains the proxy URL, if the setting refers to one.
    pub proxy_file: Option<PathBuf>,
    /// With different names; at least one unless there is a `sources_dir` or `[fleet]`.
    pub sources: Vec<SourceSettings>,
    /// The invalid files of `sources_dir`, which do not affect the other sources.
    pub faulty_sources: Vec<FaultySource>,
    /// The outputs, with different names; at least one, unless they are omitted (`omitted_outputs`).
    pub outputs: Vec<OutputSettings>,
    /// The names of the outputs that [`Settings::read_omitting_unresolved`] has omitted.
    pub omitted_outputs: Vec<String>,
    /// The destination of rejected records; by default one file per source in
    /// `state_dir`.
    pub dead_letter: Option<DeadLetterSettings>,
    /// The lines of all its keys.
    pub lines: KeyLineNumbers,
    /// The admin server, where there is to be one.
    pub admin: Option<AdminSettings>,
    /// The fleet whose tenants are the sources, where this host is one of several.
    pub fleet: Option<FleetSettings>,
    /// The settings whose change needs a restart; of these, sources use a changed `proxy` at once.
    pub restart_only: RestartOnlySettings,
}

/// An invalid file of `sources_dir`.
#[derive(Clone, Debug)]
pub struct FaultySource {
    /// The name of the source, which is that of the file.
    pub name: String,
    /// The error.
    pub failure: Failure,
}

/// The settings that a file of `sources_dir` inherits from the settings file.
#[derive(Clone, Debug, Default)]
pub struct InheritedSettings {
    /// The names of all outputs.
    pub outputs: Vec<String>,
    /// The URL of the proxy where the source names none of its own.
    pub proxy: Option<Secret>,
}

/// One `[[output]]`.
#[derive(Debug)]
pub struct OutputSettings {
    /// Name of the output; by default its type, with a number where several have the same.
    pub name: String,
    /// Type of the output, such as `file`.
    pub output_type: String,
    /// Its table, for messages.
    pub location: String,
    /// The lines of its keys.
    pub lines: KeyLineNumbers,
    /// Its settings.
    pub config: Box<dyn OutputConfig>,
}

/// Every key of the settings file but `source` and `sources_dir`. A change of one of them needs a restart,
/// except that sources use a new `proxy` at once.
#[derive(Clone, Default, PartialEq)]
pub struct RestartOnlySettings(toml::Table);

/// Omits the values, some of which are secrets.
impl fmt::Debug for RestartOnlySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl RestartOnlySettings {
    fn of(root: &toml::Table) -> Self {
        let mut rest = root.clone();
        for key in [SOURCE, SOURCES_DIR] {
            rest.remove(key);
        }
        Self(rest)
    }

    /// Returns the keys whose values differ, such as `output`.
    #[must_use]
    pub fn changed_keys(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let changed = keys
            .into_iter()
            .filter(|key| self.0.get(*key) != other.0.get(*key));
        changed.cloned().collect()
    }
}

/// `[dead_letter]`.
#[derive(Debug)]
pub enum DeadLetterSettings {
    /// One file for all sources.
    File(PathBuf),
    /// An output.
    Output {
        /// Its type, such as `file`.
        output_type: String,
        /// Its settings.
        config: Box<dyn OutputConfig>,
    },
}

/// The settings of one source, validated except for those that need its component.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Name of the source, in the names of its files and in logs.
    pub name: String,
    /// The file with the settings of the source: the settings file, or its own in `sources_dir`.
    pub file: PathBuf,
    /// Former name of the source, whose checkpoint it takes over.
    pub renamed_from: Option<String>,
    /// Names of the outputs for its events; `None` means all.
    pub outputs: Option<Vec<String>>,
    /// Path of a custom component; `None` means the built-in one.
    pub component: Option<PathBuf>,
    /// Which origins it may reach, besides those among its settings.
    pub allow: AllowSetting,
    /// The proxies through which it reaches the upstream.
    pub proxies: Proxies,
    /// The file that contains the proxy URL, if the setting refers to one.
    pub proxy_file: Option<PathBuf>,
    /// Trust anchors besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether it collects; a paused source keeps its checkpoint.
    pub enabled: bool,
    /// Memory limit of an instance.
    pub memory_bytes_max: usize,
    /// Time limit of one call.
    pub poll_timeout: Duration,
    /// Limits of one poll.
    pub limits: Limits,
    /// `[source.settings]`, not yet checked against the component's schema.
    pub component_settings: SettingsTable,
}

impl SourceSettings {
    /// Returns whether the source would run the same way with both settings. Ignores the name, the
    /// former name and whether it is paused.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let Self {
            name: _,
            file,
            renamed_from: _,
            outputs,
            component,
            allow,
            proxies,
            proxy_file: _, // its content is in `proxies`
            ca_file,
            enabled: _,
            memory_bytes_max,
            poll_timeout,
            limits,
            component_settings,
        } = self;
        *file == other.file
            && *outputs == other.outputs
            && *component == other.component
            && *allow == other.allow
            && *proxies == other.proxies
            && *ca_file == other.ca_file
            && *memory_bytes_max == other.memory_bytes_max
            && *poll_timeout == other.poll_timeout
            && limits.max_events == other.limits.max_events
            && limits.max_bytes == other.limits.max_bytes
            && limits.max_requests == other.limits.max_requests
            && component_settings.table == other.component_settings.table
    }

    /// Returns the files, besides its component, that are read when the source is started.
    #[must_use]
    pub fn referenced_files(&self) -> Vec<PathBuf> {
        let values = self.component_settings.table.values();
        let files = values.filter_map(|value| ValueReference::parse(value)?.path(&self.file));
        let files = files.chain(self.ca_file.clone());
        files.chain(self.proxy_file.clone()).collect()
    }

    /// Returns the source with its file, and the line of one of its keys, for messages.
    #[must_use]
    pub fn location(&self, key: &str) -> String {
        let at = file_location(&self.file, self.component_settings.source_lines.line(key));
        format!("{at}: [[source]] `{}`", self.name)
    }

    /// Returns whether its events go to an output of that name.
    #[must_use]
    pub fn uses_output(&self, output: &str) -> bool {
        let selected = self.outputs.as_ref();
        selected.is_none_or(|names| names.iter().any(|name| name == output))
    }

    /// Rejects an unknown output, with the nearest known name.
    pub fn check_outputs(&self, known: &[String]) -> Result<(), Failure> {
        let mut errors = SettingsErrors::default();
        for name in self.outputs.iter().flatten() {
            if known.contains(name) {
                continue;
            }
            let meant = match nearest(name, known.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are: {}", known.join(", ")),
            };
            errors.push(Failure::settings(format!(
                "{}: `outputs` of source `{}`: there is no output `{name}`; {meant}",
                file_location(
                    &self.file,
                    self.component_settings.source_lines.line("outputs")
                ),
                self.name
            )));
        }
        errors.into_result()
    }
}

impl Settings {
    /// Reads a settings file, and the files of its `sources_dir`.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        Self::parse(&read_text(file)?, file)
    }

    /// Reads a settings file for a command that delivers nothing, and that may not have the
    /// environment and the secrets of the host. Omits what refers to a value that cannot be read;
    /// of a source, only its `proxy`.
    pub fn read_omitting_unresolved(file: &Path) -> Result<Self, Failure> {
        Self::parse_with(&read_text(file)?, file, OnUnresolved::Omit)
    }

    /// Parses the text of the settings file `file`, and reads what it refers to: the files of its
    /// `sources_dir`, and values in files and the environment. Relative paths in it are resolved
    /// against the directory of `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Failure> {
        Self::parse_with(text, file, OnUnresolved::Refuse)
    }

    fn parse_with(text: &str, file: &Path, on_unresolved: OnUnresolved) -> Result<Self, Failure> {
        let mut table: toml::Table = text.parse().map_err(|error| syntax(text, file, &error))?;
        let restart_only = RestartOnlySettings::of(&table);
        let has_fleet = table.contains_key(FLEET);
        let omitted_outputs = match on_unresolved {
            OnUnresolved::Omit => omit_unresolved(&mut table, file),
            OnUnresolved::Refuse => Vec::new(),
        };
        let lines = KeyLineNumbers::parse(text);
        let mut root = Section::new(file, String::new(), table).with_lines(lines.clone());
        let mut errors = SettingsErrors::default();
        let state_dir = errors.ok_or_push(root.path("state_dir")).flatten();
        let state_dir = state_dir.unwrap_or_else(|| root.resolve("state"));
        let sources_dir = errors.ok_or_push(root.path(SOURCES_DIR));
        let proxy_file = root.referenced_file(PROXY);
        let proxy = errors.ok_or_push(root.proxies());
        // An error in it is reported once, not for each source.
        let proxy = proxy.map_or_else(|| Some(Secret::new("none".to_owned())), |(_, url)| url);
        let sources = errors.ok_or_push(root.tables(SOURCE));
        let outputs = errors.ok_or_push(root.tables(OUTPUT));
        let outputs = outputs.filter(|_| omitted_outputs.is_empty());
        let dead_letter = errors.ok_or_push(root.table("dead_letter")).flatten();
        let admin = errors.ok_or_push(root.table("admin")).flatten();
        let fleet = errors.ok_or_push(root.table(FLEET));
        errors.ok_or_push(root.finish());
        // A key that could not be read is not missing.
        let is_readable = sources.is_some() && sources_dir.is_some() && fleet.is_some();
        let (fleet, sources_dir) = (fleet.flatten(), sources_dir.flatten());
        let sources = sources.unwrap_or_default();
        if fleet.is_some() && (!sources.is_empty() || sources_dir.is_some()) {
            let at = file_location(file, lines.line(FLEET));
            errors.push(Failure::settings(format!(
                "{at}: [fleet] cannot be combined with [[source]] or `sources_dir`; the sources of a fleet \
                 are its tenants: move these to it with `source-host fleet import`, or leave \
                 [fleet] out"
            )));
        } else if !has_fleet && sources.is_empty() && sources_dir.is_none() && is_readable {
            let hint = "no [[source]]; a source needs a name and [source.settings], or \
                        `sources_dir` names a directory with a file for each source";
            errors.push(Failure::settings(format!("{}: {hint}", file.display())));
        }
        let sources = parse_sources(file, sources, &lines, proxy.as_ref(), &mut errors);
        let (outputs, output_names) =
            parse_outputs(file, outputs, &lines, proxy.as_ref(), &mut errors);
        let output_names = match &*omitted_outputs {
            [] => output_names,
            omitted => Some(omitted.to_vec()),
        };
        if let Some(output_names) = output_names {
            for source in &sources {
                errors.ok_or_push(source.check_outputs(&output_names));
            }
        }
        let dead_letter = dead_letter
            .map(|table| parse_dead_letter(file, table, lines.table("dead_letter"), proxy.as_ref()))
            .and_then(|parsed| errors.ok_or_push(parsed))
            .flatten();
        if matches!(dead_letter, Some(DeadLetterSettings::Output { .. })) {
            errors.ok_or_push(refuse_dead_letter_name(file, &outputs));
        }
        let admin = admin
            .map(|table| AdminSettings::parse(file, table, lines.table("admin")))
            .and_then(|parsed| errors.ok_or_push(parsed));
        let fleet = fleet
            .map(|table| FleetSettings::parse(file, table, lines.table(FLEET)))
            .and_then(|parsed| errors.ok_or_push(parsed));
        errors.into_result()?;

        let mut settings = Self {
            file: file.to_owned(),
            state_dir,
            sources_dir,
            proxy,
            proxy_file,
            sources,
            faulty_sources: Vec::new(),
            outputs,
            omitted_outputs,
            dead_letter,
            lines,
            admin,
            fleet,
            restart_only,
        };
        let mut errors = SettingsErrors::default();
        errors.ok_or_push(settings.refuse_two_stdouts());
        errors.ok_or_push(settings.read_sources_dir(on_unresolved));
        errors.ok_or_push(settings.refuse_former_names_in_use());
        errors.ok_or_push(settings.refuse_shared_files());
        errors.into_result()?;
        Ok(settings)
    }

    /// Iterates over the outputs with their names.
    pub fn named_outputs(&self) -> impl Iterator<Item = (&str, &dyn OutputConfig)> {
        let outputs = self.outputs.iter();
        outputs.map(|output| (output.name.as_str(), &*output.config))
    }

    /// Returns what the files of its sources need from it.
    #[must_use]
    pub fn inherited(&self) -> InheritedSettings {
        InheritedSettings {
            outputs: self.output_names(),
            proxy: self.proxy.clone(),
        }
    }

    /// Returns the names of the sources that are in the file itself.
    #[must_use]
    pub fn main_file_source_names(&self) -> BTreeSet<String> {
        let sources = self.sources.iter();
        let sources = sources.filter(|source| source.file == self.file);
        sources.map(|source| source.name.clone()).collect()
    }

    /// Returns the names of its outputs.
    #[must_use]
    pub fn output_names(&self) -> Vec<String> {
        let names = self.outputs.iter().map(|output| output.name.clone());
        names.chain(self.omitted_outputs.iter().cloned()).collect()
    }

    /// Keeps only the source of that name. If there is none, the error suggests a name.
    pub fn select_source(&mut self, name: &str) -> Result<(), Failure> {
        let names: Vec<String> = self.sources.iter().map(|s| s.name.clone()).collect();
        self.faulty_sources.retain(|faulty| faulty.name == name);
        if let Some(faulty) = self.faulty_sources.first() {
            return Err(faulty.failure.clone());
        }
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
            Some(DeadLetterSettings::Output { config, .. }) => Some(config),
            Some(DeadLetterSettings::File(_)) | None => None,
        };
        let configs = self.outputs.iter().map(|output| &output.config);
        let configs = configs.chain(dead_letter);
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

/// How to handle a reference to a value that cannot be read, other than in the settings of a source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OnUnresolved {
    Omit,
    Refuse,
}

/// Removes what refers to values that this process does not have. Returns the names of the outputs,
/// if those are removed.
fn omit_unresolved(table: &mut toml::Table, file: &Path) -> Vec<String> {
    let mut outputs = Vec::new();
    table.retain(|key, value| {
        if key == SOURCE {
            let sources = value.as_array_mut().into_iter().flatten();
            for source in sources.filter_map(toml::Value::as_table_mut) {
                omit_unresolved_proxy(source, file);
            }
            return true;
        }
        let is_kept = is_resolvable(value, file);
        if !is_kept && key == OUTPUT {
            let tables = value.as_array().into_iter().flatten();
            let tables = tables.filter_map(toml::Value::as_table).cloned();
            outputs = output_names(&tables.collect::<Vec<_>>());
        }
        is_kept
    });
    outputs
}

/// Removes the proxy from the keys of a source if it refers to a value that this process does not have.
/// Relative paths are relative to the directory of `file`.
pub(crate) fn omit_unresolved_proxy(source: &mut toml::Table, file: &Path) {
    source.retain(|key, value| key != PROXY || is_resolvable(value, file));
}

/// Returns whether this process has every value that a value refers to.
fn is_resolvable(value: &toml::Value, file: &Path) -> bool {
    let env = |name: &str| std::env::var(name).ok();
    let references = ValueReference::all_in(value);
    let mut references = references.iter();
    references.all(|reference| resolve_reference(reference, file, &env).is_ok())
}

/// Returns the files that the `{ file = ".." }` values of a settings file name, also if its settings are
/// invalid; none if it cannot be read or is no TOML.
#[must_use]
pub fn referenced_files(file: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let references = ValueReference::all_in(&toml::Value::Table(table));
    let paths = references.iter();
    paths.filter_map(|reference| reference.path(file)).collect()
}

fn read_text(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| {
        let advice = if error.kind() == ErrorKind::IsADirectory {
            "; name the settings file in it"
        } else {
            ""
        };
        Failure::settings(format!("{}: {error}{advice}", file.display()))
    })
}

fn syntax(text: &str, file: &Path, error: &toml::de::Error) -> Failure {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or(1, |before| before.matches('\n').count() + 1);
    let extension = file.extension().and_then(OsStr::to_str).unwrap_or_default();
    if ["json", "yaml", "yml"].contains(&extension) {
        let name = file.display();
        let reason =
            format!("{name} is not TOML; the settings file is TOML, as in docs/settings.md");
        return Failure::settings(reason);
    }
    let before = error.span().and_then(|span| text.get(..span.start));
    let column = before.map_or(1, |before| {
        let line = before.rsplit('\n').next().unwrap_or_default();
        line.chars().count() + 1
    });
    let reason = error.message().replace('\n', ", ");
    Failure::settings(format!(
        "{}:{line}: column {column}: {reason}",
        file.display()
    ))
}

fn parse_sources(
    file: &Path,
    tables: Vec<toml::Table>,
    lines: &KeyLineNumbers,
    proxy: Option<&Secret>,
    errors: &mut SettingsErrors,
) -> Vec<SourceSettings> {
    let mut names = BTreeSet::new();
    let mut sources = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        let lines = lines.element("source", index);
        let line = lines.line("name");
        let Some(source) = errors.ok_or_push(parse_source(file, index, table, lines, proxy)) else {
            continue;
        };
        if !names.insert(source.name.clone()) {
            errors.push(Failure::settings(format!(
                "{}: two sources are named `{}`; each has its own checkpoint and needs its own name",
                file_location(file, line),
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
    lines: KeyLineNumbers,
    proxy: Option<&Secret>,
) -> Result<SourceSettings, Failure> {
    let location = match table.get("name").and_then(toml::Value::as_str) {
        Some(name) => format!("[[source]] `{name}`"),
        None => format!("[[source]] number {}", index + 1),
    };
    let mut section = Section::new(file, location, table)
        .with_lines(lines.clone())
        .with_proxy(proxy.cloned());
    let mut errors = SettingsErrors::default();
    let name = errors.ok_or_push(section.required_string("name"));
    if let Some(name) = &name
        && !is_file_name(name)
    {
        errors.push(section.error("name", FILE_NAME_RULE));
    }
    let name = name.unwrap_or_default();
    let source = parse_source_keys(file, name, section, &lines, "[source.settings]");
    let source = errors.ok_or_push(source);
    errors.into_value(source)
}

/// Parses the keys of a source other than its name.
fn parse_source_keys(
    file: &Path,
    name: String,
    section: Section<'_>,
    lines: &KeyLineNumbers,
    settings_header: &'static str,
) -> Result<SourceSettings, Failure> {
    let mut section = section.with_hint(match settings_header {
        "[settings]" => "settings of the component belong below [settings]",
        _ => "settings of the component belong below [source.settings]",
    });
    let mut errors = SettingsErrors::default();
    let memory_mib = errors
        .ok_or_push(section.number("memory_mib", 1..=MEMORY_MIB_MAX))
        .flatten();
    let memory_bytes = memory_mib.map(|mib| usize::try_from(mib.saturating_mul(MIB)));
    let timeout_secs = errors
        .ok_or_push(section.number("poll_timeout_secs", 1..=86_400))
        .flatten();
    let outputs = errors.ok_or_push(section.strings("outputs")).flatten();
    if outputs.as_ref().is_some_and(Vec::is_empty) {
        let reason = "names no output; leave it out to deliver to all of them";
        errors.push(section.error("outputs", reason));
    }
    let renamed_from = errors.ok_or_push(section.string("renamed_from")).flatten();
    if let Some(former) = &renamed_from
        && (!is_file_name(former) || *former == name)
    {
        let reason = format!("is `{former}`; it must be the former name of the source");
        errors.push(section.error("renamed_from", &reason));
    }
    let allow = errors.ok_or_push(parse_allow(&mut section));
    let proxy_file = section.referenced_file(PROXY);
    let proxies = errors.ok_or_push(section.proxies());
    let limits = errors.ok_or_push(parse_limits(&mut section));
    let source = SourceSettings {
        file: file.to_owned(),
        renamed_from,
        outputs,
        component: errors.ok_or_push(section.path("component")).flatten(),
        allow: allow.unwrap_or_default(),
        proxies: proxies.map_or_else(Proxies::default, |(proxies, _)| proxies),
        proxy_file,
        ca_file: errors.ok_or_push(section.path("ca_file")).flatten(),
        enabled: errors
            .ok_or_push(section.boolean("enabled"))
            .flatten()
            .unwrap_or(true),
        memory_bytes_max: memory_bytes.map_or(MEMORY_BYTES_MAX_DEFAULT, |bytes| {
            bytes.unwrap_or(usize::MAX)
        }),
        poll_timeout: timeout_secs.map_or(POLL_TIMEOUT_DEFAULT, Duration::from_secs),
        limits: limits.unwrap_or(LIMITS_DEFAULT),
        component_settings: SettingsTable {
            table: errors
                .ok_or_push(section.table("settings"))
                .flatten()
                .unwrap_or_default(),
            lines: lines.table("settings"),
            header: settings_header,
            source_lines: lines.clone(),
        },
        name,
    };
    errors.ok_or_push(section.finish());
    errors.into_value(Some(source))
}

fn parse_allow(section: &mut Section<'_>) -> Result<AllowSetting, Failure> {
    // Both are read before either is refused: a key that was not read would count as unknown.
    let (allow, allow_only) = (section.strings("allow"), section.strings("allow_only"));
    let mut errors = SettingsErrors::default();
    let (allow, allow_only) = (errors.ok_or_push(allow), errors.ok_or_push(allow_only));
    errors.into_result()?;
    match (allow.flatten(), allow_only.flatten()) {
        (None, None) => Ok(AllowSetting::default()),
        (Some(entries), None) => Ok(AllowSetting::Extend(entries)),
        (None, Some(entries)) => Ok(AllowSetting::Replace(entries)),
        (Some(_), Some(_)) => Err(section.error(
            "allow_only",
            "cannot be combined with `allow`; write `allow` to add origins to those of the component, or \
             `allow_only` to name all of them",
        )),
    }
}

fn parse_limits(section: &mut Section<'_>) -> Result<Limits, Failure> {
    let mut errors = SettingsErrors::default();
    let mut number = |key, max| errors.ok_or_push(section.number(key, 1..=max)).flatten();
    let events = number("max_events", LIMIT_EVENTS_MAX);
    let bytes = number("max_bytes", LIMIT_BYTES_MAX);
    let requests = number("max_requests", LIMIT_REQUESTS_MAX);
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    errors.into_result()?;
    Ok(Limits {
        max_events: events.map_or(LIMITS_DEFAULT.max_events, narrow),
        max_bytes: bytes.unwrap_or(LIMITS_DEFAULT.max_bytes),
        max_requests: requests.map_or(LIMITS_DEFAULT.max_requests, narrow),
    })
}

/// Returns the valid outputs, and the names of all; `None` in place of the names if there is no output, or
/// one whose name cannot be read: a source may mean that one.
fn parse_outputs(
    file: &Path,
    tables: Option<Vec<toml::Table>>,
    lines: &KeyLineNumbers,
    proxy: Option<&Secret>,
    errors: &mut SettingsErrors,
) -> (Vec<OutputSettings>, Option<Vec<String>>) {
    let Some(tables) = tables else {
        return (Vec::new(), None);
    };
    if tables.is_empty() {
        let hint =
            "no [[output]]; for NDJSON on standard output write [[output]] and type = \"stdout\"";
        errors.push(Failure::settings(format!("{}: {hint}", file.display())));
    }
    let names = output_names(&tables);
    let are_names_known = !tables.is_empty() && tables.iter().all(has_readable_name);
    let are_several = tables.len() > 1;
    let mut outputs = Vec::with_capacity(tables.len());
    let mut taken = BTreeSet::new();
    for (index, (table, name)) in tables.into_iter().zip(&names).enumerate() {
        let location = if are_several {
            format!("[[output]] number {}", index + 1)
        } else {
            "[[output]]".to_owned()
        };
        let output_type = table.get("type").and_then(toml::Value::as_str);
        let output_type = output_type.unwrap_or_default().to_owned();
        let is_name_known = has_readable_name(&table);
        let lines = lines.element("output", index);
        let mut section = Section::new(file, location.clone(), table)
            .with_lines(lines.clone())
            .with_proxy(proxy.cloned());
        let named = errors.ok_or_push(section.string("name")).flatten();
        if named.is_some() && !is_file_name(name) {
            errors.push(section.error("name", FILE_NAME_RULE));
        }
        if is_name_known && !taken.insert(name.clone()) {
            let reason = format!("is `{name}`, which is the name of another output");
            errors.push(section.error("name", &reason));
        }
        let parsed = source_outputs::parse_output(section);
        outputs.extend(errors.ok_or_push(parsed).map(|config| OutputSettings {
            name: name.clone(),
            output_type,
            location,
            lines,
            config,
        }));
    }
    (outputs, are_names_known.then_some(names))
}

/// Returns whether the key that names an output, `name` or else `type`, is there and a string.
fn has_readable_name(table: &toml::Table) -> bool {
    let name = table.get("name").or_else(|| table.get("type"));
    name.is_some_and(toml::Value::is_str)
}

/// Returns the name of each output: the one given, or its type, with a number where several of
/// the type have no name.
fn output_names(tables: &[toml::Table]) -> Vec<String> {
    let text = |table: &toml::Table, key| table.get(key)?.as_str().map(str::to_owned);
    let nameless = |table: &&toml::Table| text(table, "name").is_none();
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for table in tables.iter().filter(nameless) {
        let output_type = text(table, "type").unwrap_or_default();
        counts.entry(output_type).or_default().0 += 1;
    }
    let named = tables.iter().map(|table| {
        text(table, "name").unwrap_or_else(|| {
            let output_type = text(table, "type").unwrap_or_default();
            match counts.get_mut(&output_type) {
                Some((count, number)) if *count > 1 => {
                    *number += 1;
                    format!("{output_type}-{number}")
                }
                _ => output_type,
            }
        })
    });
    named.collect()
}

/// Refuses an output with the name that the output of `[dead_letter]` has in reports.
fn refuse_dead_letter_name(file: &Path, outputs: &[OutputSettings]) -> Result<(), Failure> {
    let mut outputs = outputs.iter();
    let Some(output) = outputs.find(|output| output.name == DEAD_LETTER_OUTPUT) else {
        return Ok(());
    };
    let (at, location, name) = (
        file_location(file, output.lines.line("name")),
        &output.location,
        &output.name,
    );
    Err(Failure::settings(format!(
        "{at}: {location}: `name` is `{name}`, which is the name of the output of [dead_letter]; give \
         it another name"
    )))
}

/// Parses `[dead_letter]`. Without a type it is a file that is never rotated.
fn parse_dead_letter(
    file: &Path,
    table: toml::Table,
    lines: KeyLineNumbers,
    proxy: Option<&Secret>,
) -> Result<Option<DeadLetterSettings>, Failure> {
    let has_type = table.contains_key("type");
    let output_type = table.get("type").and_then(toml::Value::as_str);
    let output_type = output_type.unwrap_or_default().to_owned();
    let mut section = Section::new(file, "[dead_letter]".to_owned(), table)
        .with_lines(lines)
        .with_proxy(proxy.cloned());
    if has_type {
        return source_outputs::parse_output(section).map(|config| {
            Some(DeadLetterSettings::Output {
                output_type,
                config,
            })
        });
    }
    section.string("type")?; // absent; read so that error messages list the key
    let mut errors = SettingsErrors::default();
    let path = errors.ok_or_push(section.path("path"));
    if path
        .iter()
        .flatten()
        .any(|path| path.to_string_lossy().contains('{'))
    {
        let reason = "has a `{`; for a file for each source write type = \"file\" as well";
        errors.push(section.error("path", reason));
    }
    errors.ok_or_push(section.finish());
    errors.into_value(path.map(|path| path.map(DeadLetterSettings::File)))
}

/// The name of the output of `[dead_letter]`, in reports and in the log.
pub(crate) const DEAD_LETTER_OUTPUT: &str = "dead_letter";

const OUTPUT: &str = "output";
const PROXY: &str = "proxy";
const SOURCE: &str = "source";
const SOURCES_DIR: &str = "sources_dir";
const FLEET: &str = "fleet";

/// The rule for names that become part of file names.
const FILE_NAME_RULE: &str = "may have letters, digits, `-`, `_` and `.` only, as it names files; at most 100 characters, \
     and no `.` as the first";

/// Refuses a name that a source cannot have. The error is a clause about it.
pub fn check_source_name(name: &str) -> Result<(), &'static str> {
    is_file_name(name).then_some(()).ok_or(FILE_NAME_RULE)
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

/// Returns whether a tenant of a fleet may have the name, which is also part of subjects and keys
/// in NATS.
#[must_use]
pub fn is_tenant_name(name: &str) -> bool {
    is_file_name(name) && !name.contains('.')
}

#[cfg(test)]
mod tests;
