//! Checks the files that the settings have the host write to: no two writers may share
//! one, under any name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use source_common::exit::Failure;
use source_common::section::{SettingsErrors, file_location};
use source_outputs::{PATTERN_WILDCARD, PathTemplate};
use source_runtime::store;

use super::{
    CACHE_DIR, DeadLetterSettings, FaultySource, PAUSED_FILE, Settings, SourceSettings,
    source_file_name,
};

/// Maximum number of symlinks followed in one path, as on Linux.
const SYMLINKS_MAX: u32 = 40;

/// The clause about a path that can be that of a source's file.
const SOURCE_FILE_CONFLICT: &str = "can be the file of a source in `sources_dir`";

/// A file and what uses it.
struct FileUse<'a> {
    /// What uses it, for messages.
    used_by: String,
    id: FileId,
    /// The source that it belongs to.
    source: Option<&'a SourceSettings>,
}

/// Identifies a file, to detect two paths to the same one.
#[derive(Clone, Debug, Eq, PartialEq)]
struct FileId {
    path: PathBuf,
    /// Device and inode number of an existing file, which may have several names.
    inode: Option<(u64, u64)>,
}

impl FileId {
    fn of(path: &Path) -> Self {
        let path = resolved(path);
        Self {
            inode: inode(&path),
            path,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || (self.inode.is_some() && self.inode == other.inode)
    }
}

/// The files that the outputs and the host write to, according to a settings file.
#[derive(Clone, Debug)]
pub(crate) struct WrittenFiles {
    settings_file: PathBuf,
    state_dir: PathBuf,
    sources_dir: Option<PathBuf>,
    /// Whether the rejected records of all sources go to one file.
    has_shared_rejected_file: bool,
    outputs: Vec<OutputFiles>,
}

/// Files that an output writes to.
#[derive(Clone, Debug)]
struct OutputFiles {
    /// The table of the output, for messages.
    location: String,
    line: Option<usize>,
    path: PathTemplate,
    /// The name of the output; `None` for the one of rejected records, which every source uses.
    name: Option<String>,
}

/// The files that a template can name, by source.
struct TemplateUse<'a> {
    /// The table of the output, for messages.
    location: &'a str,
    /// The pattern of the files of all sources.
    pattern: String,
    source_patterns: Vec<(&'a SourceSettings, String)>,
}

/// A file that an output would write for one source and that something else writes too.
struct SharedFile<'a> {
    /// The source that it also belongs to.
    other: Option<&'a SourceSettings>,
    /// The other use of the file, as a clause.
    conflict: String,
}

/// Where an error about a file with two writers is reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ErrorOwner {
    /// In the settings file.
    MainFile,
    /// In a source of `sources_dir`.
    Source,
}

/// The errors about files with two writers.
#[derive(Default)]
struct SharedFileErrors {
    main_file: SettingsErrors,
    /// By name of a source of `sources_dir`; the first of each.
    sources: BTreeMap<String, Failure>,
}

impl Settings {
    /// Refuses a file that two outputs write to, or an output and the host itself. If that depends
    /// on the name of a source of `sources_dir`, it is an error of that source.
    pub(super) fn refuse_shared_files(&mut self) -> Result<(), Failure> {
        let sources: Vec<&SourceSettings> = self.sources.iter().collect();
        let errors = WrittenFiles::of(self).shared_file_errors(&sources, None);
        let is_refused = |name: &String| errors.sources.contains_key(name);
        self.sources.retain(|source| !is_refused(&source.name));
        let source_errors = errors.sources.into_iter();
        let faulty = source_errors.map(|(name, failure)| FaultySource { name, failure });
        self.faulty_sources.extend(faulty);
        errors.main_file.into_result()
    }
}

impl WrittenFiles {
    /// Returns the files of a settings file.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            settings_file: settings.file.clone(),
            state_dir: settings.state_dir.clone(),
            sources_dir: settings.sources_dir.clone(),
            has_shared_rejected_file: matches!(
                settings.dead_letter,
                Some(DeadLetterSettings::File(_))
            ),
            outputs: output_files(settings),
        }
    }

    /// Refuses a source of `sources_dir` for the files that it would share with the outputs, the host
    /// or the other sources.
    pub(crate) fn refuse_files_shared_by(
        &self,
        source: &SourceSettings,
        others: &[&SourceSettings],
    ) -> Result<(), Failure> {
        let sources: Vec<&SourceSettings> = others.iter().copied().chain([source]).collect();
        let mut errors = self.shared_file_errors(&sources, Some(&source.name));
        match errors.sources.remove(&source.name) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Finds the files with two writers. If two sources write to one, that is an error of the
    /// source `added`, if it is one of them.
    fn shared_file_errors(
        &self,
        sources: &[&SourceSettings],
        added: Option<&str>,
    ) -> SharedFileErrors {
        let mut errors = SharedFileErrors::default();
        let mut used = self.host_files(sources);
        let state_dir = FileId::of(&self.state_dir).path;
        let (in_sources_dir, outputs): (Vec<_>, Vec<_>) = self
            .outputs
            .iter()
            .partition(|output| self.can_be_source_file(output));
        for output in in_sources_dir {
            self.record_conflict(output, None, SOURCE_FILE_CONFLICT, &mut errors);
        }
        let (fixed, templates): (Vec<&OutputFiles>, Vec<_>) = outputs
            .into_iter()
            .partition(|output| output.path.fixed().is_some());
        for output in fixed {
            let id = FileId::of(&output.path.fixed().unwrap_or_default());
            let others = used.iter().filter(|other| other.id.is_same(&id));
            let mut is_output_refused = false;
            for other in others {
                let conflict = format!("is the file of {}", other.used_by);
                let owner = self.record_conflict(output, other.source, &conflict, &mut errors);
                if owner == ErrorOwner::MainFile {
                    is_output_refused = true;
                    break;
                }
            }
            if is_output_refused {
                continue;
            }
            let path_in_state_dir = id.path.strip_prefix(&state_dir).ok();
            if path_in_state_dir.is_some_and(is_state_dir_file) {
                let conflict = "is a file of the state directory";
                self.record_conflict(output, None, conflict, &mut errors);
                continue;
            }
            used.push(FileUse {
                used_by: output.location.clone(),
                id,
                source: None,
            });
        }
        let host_patterns = self.host_patterns();
        let mut earlier: Vec<TemplateUse<'_>> = Vec::new();
        for output in templates {
            let template = TemplateUse::of(output, sources);
            let mut is_output_refused = false;
            for (source, shared) in template.shared_files(&used, &host_patterns, &earlier) {
                let conflict = format!("{}, for source `{}`", shared.conflict, source.name);
                let both = [Some(source), shared.other].into_iter().flatten();
                let mut culprits = both.filter(|source| self.is_from_sources_dir(source));
                let first = culprits.next();
                let second = culprits.find(|source| added == Some(&*source.name));
                let culprit = second.or(first);
                let owner = self.record_conflict(output, culprit, &conflict, &mut errors);
                if owner == ErrorOwner::MainFile {
                    is_output_refused = true;
                    break;
                }
            }
            if !is_output_refused {
                earlier.push(template);
            }
        }
        errors
    }

    /// Adds the error for a file with two writers, and returns where it is reported: in the source if
    /// that is one of `sources_dir`, else in the settings file.
    fn record_conflict(
        &self,
        output: &OutputFiles,
        source: Option<&SourceSettings>,
        conflict: &str,
        errors: &mut SharedFileErrors,
    ) -> ErrorOwner {
        let at = file_location(&self.settings_file, output.line);
        let (location, path) = (&output.location, &output.path);
        let problem = format!("{at}: {location}: `path` is {path}, which {conflict}");
        match source.filter(|source| self.is_from_sources_dir(source)) {
            None => {
                let advice = "give each a file of its own";
                let failure = Failure::settings(format!("{problem}; {advice}"));
                errors.main_file.push(failure);
                ErrorOwner::MainFile
            }
            Some(source) => {
                let (file, name) = (source.file.display(), &source.name);
                let advice = "give the source another name, or each a file of its own";
                let source_error = errors.sources.entry(name.clone());
                source_error.or_insert_with(|| {
                    Failure::settings(format!("{file}: source `{name}`: {problem}; {advice}"))
                });
                ErrorOwner::Source
            }
        }
    }

    fn is_from_sources_dir(&self, source: &SourceSettings) -> bool {
        source.file != self.settings_file
    }

    /// Returns whether the path of an output, whatever the name of the source, can be that of a file in
    /// `sources_dir` that is, or would be, read as a source.
    fn can_be_source_file(&self, output: &OutputFiles) -> bool {
        let Some(sources_dir) = &self.sources_dir else {
            return false;
        };
        let directory = resolved(sources_dir);
        let pattern = output.path.pattern(None);
        let target = output.path.fixed().map(|path| resolved(&path));
        let mut paths = target
            .into_iter()
            .chain([resolved_pattern(&pattern).into()]);
        paths.any(|path: PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.parent() == Some(&directory) && overlap(&name, &source_file_name_pattern())
        })
    }

    /// Returns patterns of the files that the host writes or reads, also for sources that are not in
    /// the settings now. Each has a clause about a path that matches it.
    fn host_patterns(&self) -> Vec<(String, &'static str)> {
        let state_dir_files = [
            format!("{PATTERN_WILDCARD}{}", store::STATE_FILE_SUFFIX),
            format!("{CACHE_DIR}/{PATTERN_WILDCARD}"),
        ];
        let state_dir_files = state_dir_files
            .into_iter()
            .chain(STATE_DIR_FILES.map(str::to_owned));
        let state_dir = resolved(&self.state_dir);
        let state_dir_files = state_dir_files
            .map(|name| (state_dir.join(name), "can be a file of the state directory"));
        let source_files = self.sources_dir.iter().map(|sources_dir| {
            let path = resolved(sources_dir).join(source_file_name_pattern());
            (path, SOURCE_FILE_CONFLICT)
        });
        state_dir_files
            .chain(source_files)
            .map(|(path, conflict)| (path.to_string_lossy().into_owned(), conflict))
            .collect()
    }

    /// Returns the files of the host that no output may write to.
    fn host_files<'a>(&self, sources: &[&'a SourceSettings]) -> Vec<FileUse<'a>> {
        let mut files = vec![FileUse {
            used_by: "the settings".to_owned(),
            id: FileId::of(&self.settings_file),
            source: None,
        }];
        for source in sources.iter().copied() {
            let name = &source.name;
            if self.is_from_sources_dir(source) {
                // Not an error of the source: its file may be a link, and renaming the source would not
                // change the target.
                files.push(FileUse {
                    used_by: format!("the settings of `{name}`"),
                    id: FileId::of(&source.file),
                    source: None,
                });
            }
            let mut add = |used_by: String, path: &Path| {
                files.push(FileUse {
                    used_by,
                    id: FileId::of(path),
                    source: Some(source),
                });
            };
            let checkpoint = store::state_path(&self.state_dir, name);
            add(format!("the checkpoint of `{name}`"), &checkpoint);
            if !self.has_shared_rejected_file {
                let rejected = store::rejected_path(&self.state_dir, name);
                add(format!("the rejected records of `{name}`"), &rejected);
            }
            if let Some(component) = &source.component {
                add(format!("the component of `{name}`"), component);
            }
        }
        files
    }
}

impl<'a> TemplateUse<'a> {
    fn of(output: &'a OutputFiles, sources: &[&'a SourceSettings]) -> Self {
        let name = output.name.as_ref();
        let sources = sources
            .iter()
            .copied()
            .filter(|source| name.is_none_or(|name| source.uses_output(name)));
        Self {
            location: &output.location,
            pattern: resolved_pattern(&output.path.pattern(None)),
            source_patterns: sources
                .map(|source| {
                    let pattern = output.path.pattern(Some(&source.name));
                    (source, resolved_pattern(&pattern))
                })
                .collect(),
        }
    }

    /// Returns the sources for which the template can name a file that something else also writes,
    /// each with the first such file.
    fn shared_files(
        &self,
        used: &[FileUse<'a>],
        host_patterns: &[(String, &str)],
        earlier: &[Self],
    ) -> Vec<(&'a SourceSettings, SharedFile<'a>)> {
        let used = used.iter().map(|other| {
            let conflict = format!("can be the file of {}", other.used_by);
            let path = other.id.path.to_string_lossy().into_owned();
            (path, other.source, conflict)
        });
        let host_files = host_patterns
            .iter()
            .map(|(path, conflict)| (path.clone(), None, (*conflict).to_owned()));
        let files = used.chain(host_files);
        let files: Vec<_> = files
            .filter(|(path, ..)| overlap(&self.pattern, path))
            .collect();
        let earlier = earlier
            .iter()
            .filter(|other| overlap(&self.pattern, &other.pattern));
        let earlier: Vec<&Self> = earlier.collect();
        let shared = self.source_patterns.iter().filter_map(|(source, own)| {
            let file = files.iter().find(|(path, ..)| overlap(own, path));
            let shared = match file {
                Some((_, other, conflict)) => SharedFile {
                    other: *other,
                    conflict: conflict.clone(),
                },
                None => earlier
                    .iter()
                    .find_map(|other| other.shared_with(source, own))?,
            };
            Some((*source, shared))
        });
        shared.collect()
    }

    /// Returns a file of this template that `pattern`, of another output, also matches.
    fn shared_with(&self, source: &SourceSettings, pattern: &str) -> Option<SharedFile<'a>> {
        // First the same source, which is the likely one.
        let mut files = self.source_patterns.iter();
        let same = files
            .find(|(own, _)| own.name == source.name)
            .filter(|(_, path)| overlap(path, pattern));
        let mut files = self.source_patterns.iter();
        let (other, _) = same.or_else(|| files.find(|(_, path)| overlap(path, pattern)))?;
        Some(SharedFile {
            other: Some(*other),
            conflict: format!("can be a file of {} too", self.location),
        })
    }
}

/// Returns the pattern with the links in its directory resolved, as far as the directory is known.
fn resolved_pattern(pattern: &Path) -> String {
    let text = pattern.to_string_lossy();
    let known = text.split(PATTERN_WILDCARD).next().unwrap_or_default();
    let end = known.rfind('/').map_or(0, |at| at + 1);
    let (directory, rest) = text.split_at(end);
    resolved(Path::new(directory))
        .join(rest)
        .to_string_lossy()
        .into_owned()
}

/// Returns the pattern of the names of files in `sources_dir`.
fn source_file_name_pattern() -> String {
    source_file_name(&PATTERN_WILDCARD.to_string())
}

/// Returns whether two patterns have a path in common.
fn overlap(one: &str, other: &str) -> bool {
    if !one.contains(PATTERN_WILDCARD) && !other.contains(PATTERN_WILDCARD) {
        return one == other;
    }
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut seen = BTreeSet::new();
    let mut pending = vec![(0, 0)];
    while let Some((i, j)) = pending.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        let (a, b) = (one.get(i).copied(), other.get(j).copied());
        match (a, b) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b && a != PATTERN_WILDCARD => pending.push((i + 1, j + 1)),
            _ => {
                let matches_any = |pattern: Option<char>, next: Option<char>| {
                    pattern == Some(PATTERN_WILDCARD) && next.is_some_and(|next| next != '/')
                };
                if a == Some(PATTERN_WILDCARD) {
                    pending.push((i + 1, j));
                }
                if b == Some(PATTERN_WILDCARD) {
                    pending.push((i, j + 1));
                }
                if matches_any(a, b) {
                    pending.push((i, j + 1));
                }
                if matches_any(b, a) {
                    pending.push((i + 1, j));
                }
            }
        }
    }
    false
}

/// Returns the files that the outputs of a settings file write to, with their locations in it.
fn output_files(settings: &Settings) -> Vec<OutputFiles> {
    let are_several = settings.outputs.len() > 1;
    let outputs = settings.outputs.iter().enumerate();
    let mut files: Vec<OutputFiles> = outputs
        .filter_map(|(index, output)| {
            let location = if are_several {
                format!("[[output]] number {}", index + 1)
            } else {
                "[[output]]".to_owned()
            };
            Some(OutputFiles {
                location,
                line: output.lines.line("path"),
                path: output.config.file()?.clone(),
                name: Some(output.name.clone()),
            })
        })
        .collect();
    let path = match &settings.dead_letter {
        None => None,
        Some(DeadLetterSettings::File(path)) => Some(PathTemplate::of_file(path)),
        Some(DeadLetterSettings::Output { config, .. }) => config.file().cloned(),
    };
    files.extend(path.map(|path| OutputFiles {
        location: "[dead_letter]".to_owned(),
        line: settings.lines.table("dead_letter").line("path"),
        path,
        name: None,
    }));
    files
}

/// The files of the host in the state directory, except those of sources.
const STATE_DIR_FILES: [&str; 4] = [
    store::LOCK_FILE,
    PAUSED_FILE,
    store::HEARTBEAT_FILE,
    store::HOST_STATE_FILE,
];

/// Returns whether a path in the state directory is a file of the host, also of a source that is
/// not in the settings file now.
fn is_state_dir_file(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.starts_with(CACHE_DIR)
        || STATE_DIR_FILES.contains(&&*name)
        || name.ends_with(store::STATE_FILE_SUFFIX)
}

/// Resolves symlinks, `.` and `..`, even if the path does not exist yet.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut remaining: VecDeque<OsString> = components(&absolute);
    let mut resolved = PathBuf::new();
    let mut links = 0;
    while let Some(part) = remaining.pop_front() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        match next.read_link() {
            Ok(target) if links < SYMLINKS_MAX => {
                links += 1;
                if target.is_absolute() {
                    resolved = PathBuf::new();
                }
                let mut through_link = components(&target);
                through_link.append(&mut remaining);
                remaining = through_link;
            }
            // Not a symlink, or does not exist.
            _ => resolved = next,
        }
    }
    resolved
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(unix)]
fn inode(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn inode(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Returns why these outputs are refused in a file `m.toml` of a directory.
    fn refusal(directory: &Path, more: &str) -> Option<String> {
        let text = format!(
            "state_dir = \"state\"\n[[source]]\nname = \"acme\"\n[source.settings]\n{more}"
        );
        let failure = Settings::parse(&text, &directory.join("m.toml")).err()?;
        assert_eq!(failure.exit.code(), 78);
        Some(failure.message)
    }

    fn outputs(paths: &[&str]) -> String {
        let outputs = paths
            .iter()
            .map(|path| format!("[[output]]\ntype = \"file\"\npath = \"{path}\"\n"));
        outputs.collect()
    }

    #[test]
    fn two_outputs_on_one_file_are_refused_under_whatever_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("there/deep")).unwrap();
        fs::write(at("there/a"), "").unwrap();
        fs::hard_link(at("there/a"), at("hard")).unwrap();
        std::os::unix::fs::symlink("there/a", at("link")).unwrap();
        std::os::unix::fs::symlink(at("link"), at("link-to-link")).unwrap();
        std::os::unix::fs::symlink("there", at("directory")).unwrap();
        std::os::unix::fs::symlink("there/new", at("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let absolute = at("there/a").display().to_string();
        for (one, other) in [
            ("there/a", "there/a"),
            ("there/a", "./there//a"),
            ("there/a", "there/deep/../a"),
            ("there/a", &absolute),
            ("there/a", "link"),
            ("there/a", "link-to-link"),
            ("there/a", "hard"),
            ("there/a", "directory/a"),
            ("link", "directory/deep/../a"),
            // Nothing is there yet.
            ("there/new", "dangling"),
            ("new/b", "./new/../new/b"),
            ("directory/b", "there/b"),
            ("loop", "loop"),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                let message = refusal(directory.path(), &outputs(&[one, "x", other]));
                let message = message.unwrap_or_else(|| panic!("{one} and {other}"));
                assert!(
                    message.contains("[[output]] number 3: `path` is ")
                        && message.contains("the file of [[output]] number 1"),
                    "{message}"
                );
            }
        }
        let apart = ["there/a", "there/b", "there/deep/a", "new/a", "a"];
        assert_eq!(refusal(directory.path(), &outputs(&apart)), None);
    }

    #[test]
    fn templates_that_can_name_one_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", directory.path().join("link")).unwrap();
        for (one, other, of) in [
            (
                "{source}.ndjson",
                "{source}.ndjson",
                Some("[[output]] number 1 too"),
            ),
            (
                "out/{source}",
                "link/out/{source}",
                Some("[[output]] number 1 too"),
            ),
            (
                "out/{stream}",
                "out/{kind}",
                Some("[[output]] number 1 too"),
            ),
            (
                "out/{source}",
                "out/acme",
                Some("the file of [[output]] number 2"),
            ),
            ("out/{source}", "out/acme-{kind}", None),
            ("out/{source}", "out/other", None),
            (
                "out/{stream}",
                "out/x",
                Some("the file of [[output]] number 2"),
            ),
            ("out/{source}/{stream}", "out/{stream}", None),
            ("a-{stream}", "b-{stream}", None),
            (
                "state/{source}.rejected.ndjson",
                "x",
                Some("the rejected records of `acme`"),
            ),
            (
                "state/{source}.checkpoint.json",
                "x",
                Some("the checkpoint of `acme`"),
            ),
            (
                "state/x{kind}.json",
                "x",
                Some("a file of the state directory"),
            ),
            (
                "state/cache/{kind}",
                "x",
                Some("a file of the state directory"),
            ),
            ("state/events/{kind}", "x", None),
        ] {
            let message = refusal(directory.path(), &outputs(&[one, other]));
            let Some(of) = of else {
                assert_eq!(message, None, "{one} and {other}");
                continue;
            };
            let message = message.unwrap_or_else(|| panic!("{one} and {other}"));
            assert!(
                message.contains(of) && message.contains("for source `acme`"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_name_that_leads_to_a_shared_file_is_a_mistake_of_its_own_source() {
        let directory = tempfile::tempdir().unwrap();
        let sources = directory.path().join("sources");
        fs::create_dir(&sources).unwrap();
        for name in ["acme", "all", "both", "free"] {
            let outputs = match name {
                "free" => "outputs = [\"file-2\"]\n",
                _ => "",
            };
            fs::write(sources.join(format!("{name}.toml")), outputs).unwrap();
        }
        let text = |more: &str| {
            let paths = [
                "events/{source}.ndjson",
                "events/all.ndjson",
                "state/both.rejected.ndjson",
                "{source}/x-{kind}",
            ];
            format!(
                "state_dir = \"state\"\nsources_dir = \"sources\"\n{}{more}",
                outputs(&paths)
            )
        };
        let file = directory.path().join("m.toml");
        let settings = Settings::parse(&text(""), &file).unwrap();
        let names: Vec<&str> = settings.sources.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["acme", "free"]);
        let [all, both] = &*settings.faulty_sources else {
            panic!("{:?}", settings.faulty_sources);
        };
        assert_eq!([&*all.name, &*both.name], ["all", "both"]);
        let message = &all.failure.message;
        assert!(message.contains("all.toml: source `all`: "), "{message}");
        let of = "m.toml:5: [[output]] number 1: `path` is ";
        assert!(message.contains(of), "{message}");
        let of = "can be the file of [[output]] number 2, for source `all`; give the source";
        assert!(message.contains(of), "{message}");
        let message = &both.failure.message;
        let of = "is the file of the rejected records of `both`; give the source";
        assert!(message.contains(of), "{message}");

        // What the API would write is refused in the same way.
        let written = WrittenFiles::of(&settings);
        let mut source = settings.sources[0].clone();
        assert_eq!(written.refuse_files_shared_by(&source, &[]), Ok(()));
        source.name = "all".to_owned();
        source.file = sources.join("all.toml");
        let refused = written.refuse_files_shared_by(&source, &[]);
        assert_eq!(refused, Err(all.failure.clone()));

        // A source of the settings file has no other place.
        let main =
            "[[source]]\nname = \"x\"\n[[output]]\ntype = \"file\"\npath = \"events/x.ndjson\"\n";
        let failure = Settings::parse(&text(main), &file).unwrap_err();
        assert!(
            failure.message.contains("for source `x`; give each"),
            "{failure}"
        );
    }

    #[test]
    fn a_source_that_is_added_is_refused_for_a_file_of_another_source() {
        let directory = tempfile::tempdir().unwrap();
        let sources = directory.path().join("sources");
        fs::create_dir(&sources).unwrap();
        let write = |name: &str, output: &str| {
            let text = format!("outputs = [\"{output}\"]\n");
            fs::write(sources.join(format!("{name}.toml")), text).unwrap();
        };
        let file = directory.path().join("m.toml");
        let paths = [
            "{source}-x",
            "{source}",
            "state/{source}.ndjson",
            "out/{source}",
        ];
        let read = || {
            let outputs = outputs(&paths);
            let text = format!("state_dir = \"state\"\nsources_dir = \"sources\"\n{outputs}");
            Settings::parse(&text, &file).unwrap()
        };
        for (other, other_output, added, added_output) in [
            ("a", "file-1", "a-x", "file-2"),
            ("a-x", "file-2", "a", "file-1"),
            // A file that the host keeps for a source.
            ("b", "file-4", "b.rejected", "file-3"),
            ("b.rejected", "file-3", "b", "file-4"),
        ] {
            write(other, other_output);
            write("free", "file-4");
            let settings = read();
            let written = WrittenFiles::of(&settings);
            let others: Vec<&SourceSettings> = settings.sources.iter().collect();
            assert_eq!(others.len(), 2, "{:?}", settings.faulty_sources);
            let path = sources.join(format!("{added}.toml"));
            let table = format!("outputs = [\"{added_output}\"]").parse().unwrap();
            let lines = source_common::line_numbers::KeyLineNumbers::default();
            let inherited = settings.inherited();
            let source = SourceSettings::from_table(&path, added, table, &lines, &inherited);
            let source = source.unwrap();
            assert_eq!(written.refuse_files_shared_by(&source, &[]), Ok(()));
            let refused = written
                .refuse_files_shared_by(&source, &others)
                .unwrap_err();
            let location = format!("source `{added}`: ");
            assert!(refused.message.contains(&location), "{refused}");
            assert!(refused.message.contains("give the source another name"));
            // As the file would be when it is read.
            write(added, added_output);
            assert_eq!(read().faulty_sources.len(), 1);
            for name in [other, added] {
                fs::remove_file(sources.join(format!("{name}.toml"))).unwrap();
            }
        }
    }

    #[test]
    fn patterns_overlap_where_a_path_fits_both() {
        let any = PATTERN_WILDCARD.to_string();
        for (one, other, wanted) in [
            ("/a/*.json", "/a/x.json", true),
            ("/a/*.json", "/a/x/y.json", false),
            ("/a/*", "/a/*.json", true),
            ("/a/x*", "/a/*y", true),
            ("/a/x*", "/a/y*", false),
            ("/*/a", "/b/*", true),
            ("/a/*-*.x", "/a/1-2-3.x", true),
            ("/a", "/a", true),
            ("/a", "/ab", false),
        ] {
            let (a, b) = (one.replace('*', &any), other.replace('*', &any));
            assert_eq!(overlap(&a, &b), wanted, "{one} {other}");
            assert_eq!(overlap(&b, &a), wanted, "{other} {one}");
        }
    }

    #[test]
    fn an_output_is_not_the_file_of_the_rejected_records() {
        let directory = tempfile::tempdir().unwrap();
        for dead_letter in [
            "[dead_letter]\npath = \"./a\"",
            "[dead_letter]\ntype = \"file\"\npath = \"b/../a\"",
        ] {
            let message = refusal(
                directory.path(),
                &format!("{}{dead_letter}", outputs(&["a"])),
            );
            let message = message.unwrap();
            assert!(
                message.contains("[dead_letter]: `path` is ")
                    && message.contains("the file of [[output]]"),
                "{message}"
            );
        }
        let default = refusal(directory.path(), &outputs(&["state/acme.rejected.ndjson"]));
        assert!(default.unwrap().contains("the rejected records of `acme`"));
        let own = format!(
            "{}[dead_letter]\npath = \"state/acme.rejected.ndjson\"",
            outputs(&["a"])
        );
        assert_eq!(refusal(directory.path(), &own), None);
    }

    #[test]
    fn an_output_is_not_a_file_of_the_host() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        std::os::unix::fs::symlink("state", directory.path().join("link")).unwrap();
        for (path, of) in [
            ("m.toml", "the settings"),
            ("state/acme.checkpoint.json", "the checkpoint of `acme`"),
            ("link/acme.checkpoint.json", "the checkpoint of `acme`"),
            ("state/removed.checkpoint.json", "the state directory"),
            ("link/lock", "the state directory"),
            ("state/paused.json", "the state directory"),
            ("state/heartbeat.json", "the state directory"),
            ("state/host.json", "the state directory"),
            ("state/cache/x", "the state directory"),
        ] {
            let message = refusal(directory.path(), &outputs(&[path])).unwrap();
            assert!(message.contains(of), "{message}");
        }
        assert_eq!(refusal(directory.path(), &outputs(&["state/events"])), None);

        let sources = directory.path().join("sources");
        fs::create_dir(&sources).unwrap();
        for name in ["acme", "heartbeat", "host", "paused"] {
            fs::write(sources.join(format!("{name}.toml")), "").unwrap();
        }
        let outputs = outputs(&["state/{source}.json"]);
        let text = format!("state_dir = \"state\"\nsources_dir = \"sources\"\n{outputs}");
        let settings = Settings::parse(&text, &directory.path().join("m.toml")).unwrap();
        let names: Vec<&str> = settings.sources.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["acme"]);
    }

    #[test]
    fn no_output_may_write_to_a_file_of_a_source() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("sources")).unwrap();
        fs::write(at("elsewhere"), "").unwrap();
        std::os::unix::fs::symlink("sources", at("directory")).unwrap();
        std::os::unix::fs::symlink("sources/new.toml", at("link")).unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("sources/acme.toml")).unwrap();
        let read = |more: &str| {
            let text = format!("state_dir = \"state\"\nsources_dir = \"sources\"\n{more}");
            Settings::parse(&text, &at("m.toml")).map_err(|failure| failure.message)
        };
        let any = "which can be the file of a source in `sources_dir`; give each";
        for (path, conflict) in [
            ("sources/acme.toml", any),
            // Of a source that is added later.
            ("sources/new.toml", any),
            ("directory/new.toml", any),
            ("link", any),
            ("sources/{source}.toml", any),
            ("directory/{stream}", any),
            (
                "elsewhere",
                "which is the file of the settings of `acme`; give each",
            ),
        ] {
            let message = read(&outputs(&["x", path])).expect_err(path);
            let location = "m.toml:8: [[output]] number 2: `path` is ";
            assert!(message.contains(location), "{message}");
            assert!(message.contains(conflict), "{message}");
        }
        let dead_letter = format!(
            "[dead_letter]\ntype = \"file\"\npath = \"sources/x.toml\"\n{}",
            outputs(&["x"])
        );
        let message = read(&dead_letter).unwrap_err();
        assert!(message.contains("[dead_letter]: `path` is "), "{message}");
        assert!(message.contains(any), "{message}");
        let apart = [
            "sources/{source}.ndjson",
            "sources/deep/x.toml",
            "sources/x",
            "x.toml",
        ];
        let settings = read(&outputs(&apart)).unwrap();
        assert_eq!(settings.sources.len(), 1, "{:?}", settings.faulty_sources);

        // Only a source of that name would write there.
        fs::write(at("sources/sources.toml"), "").unwrap();
        let settings = read(&outputs(&["{source}/x-{kind}"])).unwrap();
        assert_eq!(settings.sources.len(), 1);
        let [faulty] = &*settings.faulty_sources else {
            panic!("{:?}", settings.faulty_sources);
        };
        let message = &faulty.failure.message;
        assert!(
            message.contains("`sources_dir`, for source `sources`; give the source"),
            "{message}"
        );
    }
}
