//! Checks the files that the settings have the host write to: no two writers may share
//! one, under any name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::slice;

use source_common::exit::Failure;
use source_common::section::{SettingsErrors, at};
use source_outputs::{ANY, PathTemplate};
use source_runtime::store;

use super::{CACHE_DIR, DeadLetterSettings, FaultySource, PAUSED_FILE, Settings, SourceSettings};

/// As many as a system follows.
const SYMLINKS_MAX: u32 = 40;

/// A file and its use.
struct FileUse<'a> {
    by: String,
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
            inode: node(&path),
            path,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || (self.inode.is_some() && self.inode == other.inode)
    }
}

/// What a settings file has its outputs and the host write to.
#[derive(Clone, Debug)]
pub(crate) struct WrittenFiles {
    /// The settings file.
    file: PathBuf,
    state_dir: PathBuf,
    /// Whether the rejected records of all sources go to one file.
    has_rejected_file: bool,
    outputs: Vec<OutputFiles>,
}

/// Files that an output writes to.
#[derive(Clone, Debug)]
struct OutputFiles {
    by: String,
    line: Option<usize>,
    path: PathTemplate,
    /// The name of the output; `None` of that for rejected records, which every source has.
    name: Option<String>,
}

/// The files that a template can name, by source.
struct TemplateUse<'a> {
    by: &'a str,
    all: String,
    of_source: Vec<(&'a SourceSettings, String)>,
}

/// A file with two writers that an output of a source can write to.
struct SharedFile<'a> {
    /// The source that it also belongs to.
    other: Option<&'a SourceSettings>,
    /// What it is, as a clause.
    of: String,
}

/// The mistakes that are files with two writers.
#[derive(Default)]
struct SharedFiles {
    of_file: SettingsErrors,
    /// By name of a source of `sources_dir`; the first of each.
    of_sources: BTreeMap<String, Failure>,
}

impl Settings {
    /// Refuses a file that two outputs write to, or an output and the host itself. Where that
    /// depends on the name of a source of `sources_dir`, it is a mistake of that source.
    pub(super) fn refuse_shared_files(&mut self) -> Result<(), Failure> {
        let shared = WrittenFiles::of(self).shared(&self.sources);
        let is_refused = |name: &String| shared.of_sources.contains_key(name);
        self.sources.retain(|source| !is_refused(&source.name));
        let of_sources = shared.of_sources.into_iter();
        let faulty = of_sources.map(|(name, failure)| FaultySource { name, failure });
        self.faulty_sources.extend(faulty);
        shared.of_file.into_result()
    }
}

impl WrittenFiles {
    /// Those of a settings file.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            file: settings.file.clone(),
            state_dir: settings.state_dir.clone(),
            has_rejected_file: matches!(settings.dead_letter, Some(DeadLetterSettings::File(_))),
            outputs: output_files(settings),
        }
    }

    /// Refuses a source of `sources_dir` for the files that it would share with the outputs or the
    /// host. Other sources are not looked at.
    pub(crate) fn refuse_shared_by(&self, source: &SourceSettings) -> Result<(), Failure> {
        let shared = self.shared(slice::from_ref(source));
        match shared.of_sources.into_values().next() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn shared(&self, sources: &[SourceSettings]) -> SharedFiles {
        let mut shared = SharedFiles::default();
        let mut used = self.host_files(sources);
        let state = FileId::of(&self.state_dir).path;
        let (fixed, templates): (Vec<_>, Vec<_>) = self
            .outputs
            .iter()
            .partition(|output| output.path.fixed().is_some());
        for output in fixed {
            let id = FileId::of(&output.path.fixed().unwrap_or_default());
            let others = used.iter().filter(|other| other.id.is_same(&id));
            let mut is_refused = false;
            for other in others {
                let of = format!("is the file of {}", other.by);
                is_refused = self.refuse(output, other.source, &of, &mut shared);
                if is_refused {
                    break;
                }
            }
            if is_refused {
                continue;
            }
            let of_state = id.path.strip_prefix(&state).ok();
            if of_state.is_some_and(is_host_file) {
                let of = "is a file of the state directory";
                self.refuse(output, None, of, &mut shared);
                continue;
            }
            used.push(FileUse {
                by: output.by.clone(),
                id,
                source: None,
            });
        }
        let mut earlier: Vec<TemplateUse<'_>> = Vec::new();
        for output in templates {
            let written = TemplateUse::of(output, sources);
            let mut is_refused = false;
            for (source, found) in written.shared(&used, &state, &earlier) {
                let of = format!("{}, for source `{}`", found.of, source.name);
                let of_directory = [Some(source), found.other]
                    .into_iter()
                    .flatten()
                    .find(|source| self.is_of_directory(source));
                is_refused = self.refuse(output, of_directory, &of, &mut shared);
                if is_refused {
                    break;
                }
            }
            if !is_refused {
                earlier.push(written);
            }
        }
        shared
    }

    /// Notes a file with two writers. Returns whether that is a mistake of the settings file, and
    /// not of the source.
    fn refuse(
        &self,
        output: &OutputFiles,
        source: Option<&SourceSettings>,
        of: &str,
        shared: &mut SharedFiles,
    ) -> bool {
        let at = at(&self.file, output.line);
        let (by, path) = (&output.by, &output.path);
        let mistake = format!("{at}: {by}: `path` is {path}, which {of}");
        match source.filter(|source| self.is_of_directory(source)) {
            None => {
                let advice = "give each a file of its own";
                let failure = Failure::settings(format!("{mistake}; {advice}"));
                shared.of_file.add(failure);
                true
            }
            Some(source) => {
                let (file, name) = (source.file.display(), &source.name);
                let advice = "give the source another name, or each a file of its own";
                let of_source = shared.of_sources.entry(name.clone());
                of_source.or_insert_with(|| {
                    Failure::settings(format!("{file}: source `{name}`: {mistake}; {advice}"))
                });
                false
            }
        }
    }

    fn is_of_directory(&self, source: &SourceSettings) -> bool {
        source.file != self.file
    }

    /// Returns the files that the host itself writes.
    fn host_files<'a>(&self, sources: &'a [SourceSettings]) -> Vec<FileUse<'a>> {
        let mut files = vec![FileUse {
            by: "the settings".to_owned(),
            id: FileId::of(&self.file),
            source: None,
        }];
        for source in sources {
            let name = &source.name;
            let mut add = |by: String, path: &Path| {
                files.push(FileUse {
                    by,
                    id: FileId::of(path),
                    source: Some(source),
                });
            };
            let checkpoint = store::state_path(&self.state_dir, name);
            add(format!("the checkpoint of `{name}`"), &checkpoint);
            if !self.has_rejected_file {
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
    fn of(output: &'a OutputFiles, sources: &'a [SourceSettings]) -> Self {
        let name = output.name.as_ref();
        let sources = sources
            .iter()
            .filter(|source| name.is_none_or(|name| source.uses_output(name)));
        Self {
            by: &output.by,
            all: resolved_pattern(&output.path.pattern(None)),
            of_source: sources
                .map(|source| {
                    let pattern = output.path.pattern(Some(&source.name));
                    (source, resolved_pattern(&pattern))
                })
                .collect(),
        }
    }

    /// The sources for which it can be a file with another writer, with the first such file.
    fn shared(
        &self,
        used: &[FileUse<'a>],
        state: &Path,
        earlier: &[Self],
    ) -> Vec<(&'a SourceSettings, SharedFile<'a>)> {
        let used = used.iter().map(|other| {
            let of = format!("can be the file of {}", other.by);
            let path = other.id.path.to_string_lossy().into_owned();
            (path, other.source, of)
        });
        let kept = [
            format!("{ANY}{}", store::STATE_FILE_SUFFIX),
            "lock".to_owned(),
            format!("{CACHE_DIR}/{ANY}"),
        ];
        let kept = kept.iter().map(|name| {
            let of = "can be a file of the state directory".to_owned();
            let path = state.join(name).to_string_lossy().into_owned();
            (path, None, of)
        });
        let files = used.chain(kept);
        let files: Vec<_> = files
            .filter(|(path, ..)| overlap(&self.all, path))
            .collect();
        let earlier = earlier
            .iter()
            .filter(|other| overlap(&self.all, &other.all));
        let earlier: Vec<&Self> = earlier.collect();
        let of_sources = self.of_source.iter().filter_map(|(source, own)| {
            let file = files.iter().find(|(path, ..)| overlap(own, path));
            let shared = match file {
                Some((_, other, of)) => SharedFile {
                    other: *other,
                    of: of.clone(),
                },
                None => earlier
                    .iter()
                    .find_map(|other| other.shared_with(source, own))?,
            };
            Some((*source, shared))
        });
        of_sources.collect()
    }

    /// A file that it can be as well as that pattern of another output.
    fn shared_with(&self, source: &SourceSettings, pattern: &str) -> Option<SharedFile<'a>> {
        // First the same source, which is the likely one.
        let mut files = self.of_source.iter();
        let same = files
            .find(|(own, _)| own.name == source.name)
            .filter(|(_, path)| overlap(path, pattern));
        let mut files = self.of_source.iter();
        let (other, _) = same.or_else(|| files.find(|(_, path)| overlap(path, pattern)))?;
        Some(SharedFile {
            other: Some(*other),
            of: format!("can be a file of {} too", self.by),
        })
    }
}

/// The pattern of a path whose directory, as far as it is known, has no links.
fn resolved_pattern(pattern: &Path) -> String {
    let text = pattern.to_string_lossy();
    let known = text.split(ANY).next().unwrap_or_default();
    let end = known.rfind('/').map_or(0, |at| at + 1);
    let (directory, rest) = text.split_at(end);
    resolved(Path::new(directory))
        .join(rest)
        .to_string_lossy()
        .into_owned()
}

/// Whether two patterns have a path in common.
fn overlap(one: &str, other: &str) -> bool {
    if !one.contains(ANY) && !other.contains(ANY) {
        return one == other;
    }
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![(0, 0)];
    while let Some((i, j)) = open.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        let (a, b) = (one.get(i).copied(), other.get(j).copied());
        match (a, b) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b && a != ANY => open.push((i + 1, j + 1)),
            _ => {
                let is_taken = |by: Option<char>, taken: Option<char>| {
                    by == Some(ANY) && taken.is_some_and(|taken| taken != '/')
                };
                if a == Some(ANY) {
                    open.push((i + 1, j));
                }
                if b == Some(ANY) {
                    open.push((i, j + 1));
                }
                if is_taken(a, b) {
                    open.push((i, j + 1));
                }
                if is_taken(b, a) {
                    open.push((i + 1, j));
                }
            }
        }
    }
    false
}

/// The files that the settings file names to be written to, with their places.
fn output_files(settings: &Settings) -> Vec<OutputFiles> {
    let several = settings.outputs.len() > 1;
    let outputs = settings.outputs.iter().enumerate();
    let mut files: Vec<OutputFiles> = outputs
        .filter_map(|(index, output)| {
            let by = if several {
                format!("[[output]] number {}", index + 1)
            } else {
                "[[output]]".to_owned()
            };
            Some(OutputFiles {
                by,
                line: output.lines.line("path"),
                path: output.config.file()?.clone(),
                name: Some(output.name.clone()),
            })
        })
        .collect();
    let path = match &settings.dead_letter {
        None => None,
        Some(DeadLetterSettings::File(path)) => Some(PathTemplate::of_file(path)),
        Some(DeadLetterSettings::Output(config)) => config.file().cloned(),
    };
    files.extend(path.map(|path| OutputFiles {
        by: "[dead_letter]".to_owned(),
        line: settings.dead_letter_lines.line("path"),
        path,
        name: None,
    }));
    files
}

/// Returns whether a path in the state directory is a file of the host: also of a
/// source that the settings file does not name for now.
fn is_host_file(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.starts_with(CACHE_DIR)
        || ["lock", PAUSED_FILE].contains(&&*name)
        || name.ends_with(store::STATE_FILE_SUFFIX)
}

/// Resolves symlinks, `.` and `..`, even if the path does not exist yet.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut left: VecDeque<OsString> = parts(&absolute);
    let mut resolved = PathBuf::new();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
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
                let mut through = parts(&target);
                through.append(&mut left);
                left = through;
            }
            // Not a symlink, or does not exist.
            _ => resolved = next,
        }
    }
    resolved
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(unix)]
fn node(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn node(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What is wrong with these outputs in a file `m.toml` of a directory.
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
        assert_eq!(written.refuse_shared_by(&source), Ok(()));
        source.name = "all".to_owned();
        source.file = sources.join("all.toml");
        assert_eq!(written.refuse_shared_by(&source), Err(all.failure.clone()));

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
    fn patterns_overlap_where_a_path_fits_both() {
        let any = ANY.to_string();
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
            ("state/cache/x", "the state directory"),
        ] {
            let message = refusal(directory.path(), &outputs(&[path])).unwrap();
            assert!(message.contains(of), "{message}");
        }
        assert_eq!(refusal(directory.path(), &outputs(&["state/events"])), None);
    }
}
