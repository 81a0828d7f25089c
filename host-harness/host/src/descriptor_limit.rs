//! The limit of open file descriptors: raises it as far as permitted, and warns where it
//! is too low.

use std::collections::HashMap;

use source_runtime::outgoing::IDLE_CONNECTIONS_PER_ORIGIN_MAX;
use source_runtime::poll_slots::polls_max;
use tracing::{debug, warn};

use crate::settings::SourceSettings;

/// Threads for file operations, each with a file at a time. More of them only wait for the same
/// disk, each with a stack.
pub(crate) const FILE_THREADS_MAX: usize = 128;

/// Descriptors of the process: standard streams, event queue, lock and log files, and a reserve.
const PROCESS_DESCRIPTORS: usize = 64;
/// Descriptors of a source while it runs: the file of its rejected records.
const DESCRIPTORS_PER_SOURCE: usize = 1;
/// Connections of a poll: to the API, and to the storage of files.
const CONNECTIONS_PER_POLL: usize = 2;
/// Idle connections of sources that share them, to the API and the storage of ten regions.
const IDLE_SHARED_MAX: usize = 2 * 10 * IDLE_CONNECTIONS_PER_ORIGIN_MAX;
/// Descriptors of an output: as many connections as can be set. A path with placeholders may have
/// more files open, and closes those that were not written to for longest.
const DESCRIPTORS_PER_OUTPUT: usize = 64;

/// Raises the soft limit to the hard limit. A shell often starts
/// with 1,024 of 524,288 for compatibility with programs that use `select`.
pub(crate) fn raise_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "file descriptors"),
        Err(error) => debug!("the limit of file descriptors cannot be raised: {error}"),
    }
}

/// Returns how many sources share their connections, for each group of sources that do: those of
/// one component that may reach the same origins in the same way.
pub(crate) fn sources_per_connection_group(sources: &[SourceSettings]) -> Vec<usize> {
    let mut groups = HashMap::new();
    for source in sources {
        // A setting with an origin allows that origin.
        let values = source.component_settings.table.values();
        let urls = values.filter_map(toml::Value::as_str);
        let urls: Vec<&str> = urls.filter(|text| text.contains("://")).collect();
        let key = (&source.component, &source.allow, &source.ca_file, urls);
        let by_proxies: &mut Vec<(_, usize)> = groups.entry(key).or_default();
        let same = by_proxies
            .iter_mut()
            .find(|(proxies, _)| *proxies == &source.proxies);
        match same {
            Some((_, count)) => *count = count.saturating_add(1),
            None => by_proxies.push((&source.proxies, 1)),
        }
    }
    let groups = groups.into_values().flatten();
    groups.map(|(_, count)| count).collect()
}

/// Warns if sources and outputs may need more descriptors than the limit. `groups` has the number
/// of sources of each group that shares its connections.
pub(crate) fn warn_if_limit_is_low(groups: &[usize], outputs: usize) {
    // Where the limit does not exist, nothing is too low.
    if let Ok((limit, _)) = rlimit::getrlimit(rlimit::Resource::NOFILE)
        && let Some(warning) = warning(limit, groups, outputs, polls_max())
    {
        warn!("{warning}");
    }
}

fn warning(limit: u64, groups: &[usize], outputs: usize, polls_max: usize) -> Option<String> {
    let sources = groups.iter().copied().fold(0, usize::saturating_add);
    let idle_max = |count: &usize| {
        count
            .saturating_mul(CONNECTIONS_PER_POLL)
            .min(IDLE_SHARED_MAX)
    };
    let idle = groups.iter().map(idle_max).fold(0, usize::saturating_add);
    // A source has no more connections than its poll needs, and polls use idle ones first.
    let connections = polls_max
        .saturating_mul(CONNECTIONS_PER_POLL)
        .saturating_add(idle)
        .min(sources.saturating_mul(CONNECTIONS_PER_POLL));
    let needed = PROCESS_DESCRIPTORS
        .saturating_add(sources.saturating_mul(DESCRIPTORS_PER_SOURCE))
        .saturating_add(connections)
        .saturating_add(sources.min(FILE_THREADS_MAX))
        .saturating_add(outputs.saturating_mul(DESCRIPTORS_PER_OUTPUT));
    let is_low = u64::try_from(needed).is_ok_and(|needed| needed > limit);
    is_low.then(|| {
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
        let warning = warning(1_024, &[2_000], 3, 512).unwrap();
        // 64 + 2,000 + 2 * 512 + 640 + 128 + 3 * 64
        assert!(
            warning.starts_with("the limit of 1024 open files is low for 2000 sources and 3 outputs: set it to 4048 or more"),
            "{warning}"
        );
    }

    #[test]
    fn a_limit_that_is_enough_is_not_mentioned() {
        assert_eq!(warning(4_048, &[2_000], 3, 512), None);
        assert_eq!(warning(u64::MAX, &[usize::MAX, 1], usize::MAX, 512), None);
    }

    #[test]
    fn sources_that_share_no_connections_need_two_each() {
        // 64 + 2,000 + 2 * 2,000 + 128 + 64
        assert_eq!(warning(6_256, &[1; 2_000], 1, 512), None);
        assert!(warning(6_255, &[1; 2_000], 1, 512).is_some());
    }

    #[test]
    fn sources_share_connections_that_may_reach_the_same_origins_in_the_same_way() {
        let directory = tempfile::tempdir().unwrap();
        let source = |name: &str, keys: &str, settings: &str| {
            format!(
                "[[source]]\nname = \"{name}\"\n{keys}\n[source.settings]\nclient_id = \"{name}\"\n{settings}\n"
            )
        };
        let text = [
            source("a", "", ""),
            source("b", "", ""),
            source("c", "proxy = \"http://proxy.test:3128\"", ""),
            source("d", "allow = [\"https://files.test\"]", ""),
            source("e", "", "base_url = \"https://api.test\""),
            source("f", "", "base_url = \"https://api.test\""),
            "[[output]]\ntype = \"stdout\"\n".to_owned(),
        ];
        let file = directory.path().join("host.toml");
        std::fs::write(&file, text.concat()).unwrap();
        let settings = crate::settings::Settings::read(&file).unwrap();
        let mut groups = sources_per_connection_group(&settings.sources);
        groups.sort_unstable();
        assert_eq!(groups, [1, 1, 2, 2]);
    }

    #[test]
    fn the_limit_is_raised_to_what_the_process_may_have() {
        let (_, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap();
        raise_limit();
        let (soft, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
