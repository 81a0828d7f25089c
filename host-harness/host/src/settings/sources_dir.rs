//! `sources_dir`: a directory with one file per source, so that other programs can add, change
//! and remove tenants by writing files. An invalid file is an error of its own
//! source only.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use source_common::exit::Failure;
use source_common::line_numbers::KeyLineNumbers;
use source_common::section::{Section, SettingsErrors, file_location};

use super::{
    FILE_NAME_RULE, FaultySource, InheritedSettings, OnUnresolved, Settings, SourceSettings,
    is_file_name, omit_unresolved_proxy, parse_source_keys, syntax,
};

const EXTENSION: &str = "toml";

/// Returns the path of a source's file in `sources_dir`.
#[must_use]
pub fn source_file_path(sources_dir: &Path, name: &str) -> PathBuf {
    sources_dir.join(source_file_name(name))
}

/// Returns the name of a source's file in `sources_dir`.
pub(super) fn source_file_name(name: &str) -> String {
    format!("{name}.{EXTENSION}")
}

impl Settings {
    /// Adds the sources of `sources_dir`, sorted by file name.
    pub(super) fn read_sources_dir(&mut self, on_unresolved: OnUnresolved) -> Result<(), Failure> {
        let Some(directory) = self.sources_dir.clone() else {
            return Ok(());
        };
        let inherited = self.inherited();
        // Names from files are unique, as file names are.
        let names = self.sources.iter().map(|source| source.name.clone());
        let taken: BTreeSet<String> = names.collect();
        for path in source_files(&self.file, &directory)? {
            let name = path.file_stem().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            let read = if taken.contains(&name) {
                Err(self.duplicate_name(&path, &name))
            } else {
                read_source_file_with(&path, &name, &inherited, on_unresolved)
            };
            match read {
                Ok(source) => self.sources.push(source),
                Err(failure) => self.faulty_sources.push(FaultySource { name, failure }),
            }
        }
        Ok(())
    }

    /// Refuses a former name that is still the name of a source: it would be ambiguous which of the
    /// two has the checkpoint.
    pub(super) fn refuse_former_names_in_use(&mut self) -> Result<(), Failure> {
        let names = self.sources.iter().map(|source| source.name.clone());
        let faulty = self.faulty_sources.iter().map(|faulty| faulty.name.clone());
        let names: BTreeSet<String> = names.chain(faulty).collect();
        let mut errors = SettingsErrors::default();
        let (file, faulty) = (&self.file, &mut self.faulty_sources);
        self.sources.retain(|source| {
            let former = source.renamed_from.as_ref();
            let Some(former) = former.filter(|former| names.contains(*former)) else {
                return true;
            };
            let failure = source.former_name_in_use(former);
            if source.file == *file {
                errors.push(failure);
                return true;
            }
            faulty.push(FaultySource {
                name: source.name.clone(),
                failure,
            });
            false
        });
        errors.into_result()
    }

    fn duplicate_name(&self, path: &Path, name: &str) -> Failure {
        Failure::settings(format!(
            "{}: a [[source]] of {} has the name `{name}` too; rename one of them",
            path.display(),
            self.file.display()
        ))
    }
}

/// Returns the source files of the directory, sorted by name. Files with another extension, and
/// hidden files, such as an editor's temporary files, are ignored.
pub fn source_files(settings: &Path, directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failure = |error: &std::io::Error| {
        Failure::settings(format!(
            "{}: `sources_dir` is {}, which cannot be read: {error}",
            settings.display(),
            directory.display()
        ))
        .retryable()
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| failure(&error))? {
        let path = entry.map_err(|error| failure(&error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.extension() == Some(OsStr::new(EXTENSION)) && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the file of a source.
pub fn read_source_file(
    path: &Path,
    name: &str,
    inherited: &InheritedSettings,
) -> Result<SourceSettings, Failure> {
    read_source_file_with(path, name, inherited, OnUnresolved::Refuse)
}

fn read_source_file_with(
    path: &Path,
    name: &str,
    inherited: &InheritedSettings,
    on_unresolved: OnUnresolved,
) -> Result<SourceSettings, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::settings(format!("{}: cannot be read: {error}", path.display())).retryable()
    })?;
    let mut table = text.parse().map_err(|error| syntax(&text, path, &error))?;
    if on_unresolved == OnUnresolved::Omit {
        omit_unresolved_proxy(&mut table, path);
    }
    SourceSettings::from_table(path, name, table, &KeyLineNumbers::parse(&text), inherited)
}

impl SourceSettings {
    /// Refuses a source whose former name is one of these names of sources, or whose name is the
    /// former name of another source.
    pub(crate) fn refuse_conflicting_names(
        &self,
        names: &[String],
        others: &[&Self],
    ) -> Result<(), Failure> {
        if let Some(former) = &self.renamed_from
            && names.contains(former)
        {
            return Err(self.former_name_in_use(former));
        }
        let mut others = others.iter();
        let is_former = |former: &String| *former == self.name;
        match others.find(|other| other.renamed_from.as_ref().is_some_and(is_former)) {
            None => Ok(()),
            Some(other) => Err(other.former_name_in_use(&self.name)),
        }
    }

    fn former_name_in_use(&self, former: &str) -> Failure {
        Failure::settings(format!(
            "{}: source `{}`: `renamed_from` is `{former}`, which is a source too; remove that \
             one, or leave `renamed_from` out",
            self.file.display(),
            self.name
        ))
    }

    /// Parses the keys of the file of a source.
    pub fn from_table(
        path: &Path,
        name: &str,
        table: toml::Table,
        lines: &KeyLineNumbers,
        inherited: &InheritedSettings,
    ) -> Result<Self, Failure> {
        let refuse = |line: Option<usize>, reason: &str| {
            Failure::settings(format!("{}: {reason}", file_location(path, line)))
        };
        if !is_file_name(name) {
            let reason = format!("the name of the file without `.{EXTENSION}` {FILE_NAME_RULE}");
            return Err(refuse(None, &reason));
        }
        if table.contains_key("name") {
            let reason = "`name` is not set here: the source has the name of its file; to rename \
                          it, rename the file and set `renamed_from`";
            return Err(refuse(lines.line("name"), reason));
        }
        let section = Section::new(path, String::new(), table)
            .with_lines(lines.clone())
            .with_proxy(inherited.proxy.clone());
        let source = parse_source_keys(path, name.to_owned(), section, lines, "[settings]")?;
        source.check_outputs(&inherited.outputs)?;
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(files: &[(&str, &str)]) -> Settings {
        let directory = tempfile::tempdir().unwrap();
        let sources = directory.path().join("sources");
        fs::create_dir(&sources).unwrap();
        for (name, text) in files {
            fs::write(sources.join(name), text).unwrap();
        }
        let text = "sources_dir = \"sources\"\n[[source]]\nname = \"main\"\n\
                    [[output]]\nname = \"siem\"\ntype = \"file\"\npath = \"a\"\n";
        Settings::parse(text, &directory.path().join("m.toml")).unwrap()
    }

    #[test]
    fn each_file_is_a_source_named_like_it_with_paths_from_its_directory() {
        let text = "ca_file = \"ca.pem\"\noutputs = [\"siem\"]\n[settings]\nclient_id = \"x\"\n";
        let settings = settings(&[
            ("b.toml", text),
            ("a.b.toml", ""),
            ("a.secret", "x"),
            (".b.toml.swp", "{"),
            (".c.toml", "{"),
        ]);
        let names: Vec<&str> = settings.sources.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["main", "a.b", "b"]);
        assert_eq!(settings.faulty_sources.len(), 0);
        let b = &settings.sources[2];
        let directory = b.file.parent().unwrap();
        assert_eq!(b.ca_file.as_deref(), Some(&*directory.join("ca.pem")));
        assert_eq!(directory.file_name(), Some(OsStr::new("sources")));
        assert_eq!(b.component_settings.table.len(), 1);
        assert!(b.uses_output("siem") && !b.uses_output("other"));
    }

    #[test]
    fn a_bad_file_is_an_error_of_its_own_source() {
        for (name, text, reason) in [
            ("bad", "x = ", "bad.toml:1: "),
            (
                "bad",
                "\n\nenabeld = true",
                "bad.toml:3: unknown key `enabeld`; did you mean `enabled`?",
            ),
            (
                "bad",
                "name = \"bad\"",
                "bad.toml:1: `name` is not set here",
            ),
            (
                "bad",
                "\noutputs = [\"siem\", \"sime\"]",
                "bad.toml:2: `outputs` of source `bad`: there is no output `sime`; did you mean `siem`?",
            ),
            (
                "bad",
                "outputs = []",
                "bad.toml:1: `outputs` names no output",
            ),
            (
                "bad",
                "renamed_from = \"bad\"",
                "bad.toml:1: `renamed_from` is `bad`",
            ),
            (
                "bad",
                "renamed_from = \"good\"",
                "bad.toml: source `bad`: `renamed_from` is `good`, which is a source too",
            ),
            ("main", "", "main.toml: a [[source]] of "),
            (
                "a b",
                "",
                "a b.toml: the name of the file without `.toml` may have letters",
            ),
        ] {
            let file = format!("{name}.toml");
            let settings = settings(&[("good.toml", ""), (&file, text)]);
            let names: Vec<&str> = settings.sources.iter().map(|s| s.name.as_str()).collect();
            assert_eq!(names, ["main", "good"]);
            let [faulty] = &*settings.faulty_sources else {
                panic!("{:?}", settings.faulty_sources)
            };
            assert_eq!(faulty.name, name);
            assert!(
                faulty.failure.message.contains(reason),
                "{}",
                faulty.failure
            );
        }
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let text = "sources_dir = \"none\"\n[[output]]\ntype = \"stdout\"\n";
        let failure = Settings::parse(text, &directory.path().join("m.toml")).unwrap_err();
        assert!(failure.message.contains("`sources_dir` is "), "{failure}");
        assert_eq!(failure.exit.code(), 78);
    }
}
