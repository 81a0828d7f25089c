//! What is said where a file of the host cannot be written.

use std::io::{self, ErrorKind};
use std::path::Path;

/// The path, what the system says, and what to do about it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of the standard library, of which few say what to do"
)]
pub(crate) fn failed(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::FileTooLarge | ErrorKind::QuotaExceeded | ErrorKind::StorageFull => {
            "; make room there"
        }
        ErrorKind::AlreadyExists
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem => {
            "; let the user that runs source-host write there, or name another place in the \
             settings file"
        }
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_place_that_cannot_be_written_say_what_to_do() {
        let said = |kind: ErrorKind| failed(Path::new("/there"), &kind.into());
        assert!(said(ErrorKind::StorageFull).ends_with("; make room there"));
        assert!(said(ErrorKind::ReadOnlyFilesystem).ends_with("in the settings file"));
        assert_eq!(said(ErrorKind::TimedOut), "/there: timed out");
    }
}
