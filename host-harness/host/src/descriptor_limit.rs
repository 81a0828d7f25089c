//! The limit of open file descriptors: raises it as far as permitted, and warns where it
//! is too low.

use tracing::{debug, warn};

/// Descriptors of the process: standard streams, event queue, lock and log files, and a reserve.
const PROCESS_DESCRIPTORS: u64 = 64;
/// Descriptors of a source: two connections, a checkpoint being stored, and rejected records.
const DESCRIPTORS_PER_SOURCE: u64 = 4;
/// Descriptors of an output: connections or files.
const DESCRIPTORS_PER_OUTPUT: u64 = 8;

/// Raises the soft limit to the hard limit. A shell often starts
/// with 1,024 of 524,288 for compatibility with programs that use `select`.
pub(crate) fn raise_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "file descriptors"),
        Err(error) => debug!("the limit of file descriptors stays as it is: {error}"),
    }
}

/// Warns if sources and outputs may need more descriptors than the limit.
pub(crate) fn warn_if_few(sources: usize, outputs: usize) {
    // Where the limit does not exist, nothing is too low.
    if let Ok((limit, _)) = rlimit::getrlimit(rlimit::Resource::NOFILE)
        && let Some(warning) = warning(limit, sources, outputs)
    {
        warn!("{warning}");
    }
}

fn warning(limit: u64, sources: usize, outputs: usize) -> Option<String> {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let needed = PROCESS_DESCRIPTORS
        .saturating_add(count(sources).saturating_mul(DESCRIPTORS_PER_SOURCE))
        .saturating_add(count(outputs).saturating_mul(DESCRIPTORS_PER_OUTPUT));
    (needed > limit).then(|| {
        format!(
            "the limit of {limit} open files is low for {sources} sources and {outputs} outputs: \
             set it to {needed} or more (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of \
             a container)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_low_for_sources_and_outputs_is_named_with_what_to_do() {
        let warning = warning(1_024, 2_000, 3).unwrap();
        assert!(
            warning.starts_with("the limit of 1024 open files is low for 2000 sources and 3 outputs: set it to 8088 or more"),
            "{warning}"
        );
    }

    #[test]
    fn a_limit_that_is_enough_is_not_mentioned() {
        assert_eq!(warning(8_088, 2_000, 3), None);
        assert_eq!(warning(u64::MAX, usize::MAX, usize::MAX), None);
    }

    #[test]
    fn the_limit_is_raised_to_what_the_process_may_have() {
        let (_, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap();
        raise_limit();
        let (soft, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
