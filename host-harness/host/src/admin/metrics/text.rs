//! The two text formats. The library writes OpenMetrics; the older Prometheus format differs in
//! counter names and in the comment lines it allows.

/// A text format of metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::admin) enum Format {
    OpenMetrics,
    Prometheus,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// Returns the format that the `Accept` header prefers.
    pub(in crate::admin) fn accepted(accept: &str) -> Self {
        let weight = |wanted: &str| {
            let ranges = accept.split(',').filter_map(media_range);
            let weights = ranges.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            weights.map(|(_, weight)| weight).fold(0.0, f64::max)
        };
        let open_metrics = weight(OPEN_METRICS);
        if open_metrics > 0.0 && open_metrics >= weight("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(in crate::admin) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Parses a media type and its weight; `None` for another version than this module writes.
fn media_range(range: &str) -> Option<(&str, f64)> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?;
    let mut weight = 1.0;
    for part in parts {
        let (key, value) = part.split_once('=')?;
        match key.trim() {
            "q" => weight = value.trim().parse().ok()?,
            "version" if name == OPEN_METRICS && value.trim_matches('"') != "1.0.0" => return None,
            _ => {}
        }
    }
    Some((name, weight))
}

/// Converts OpenMetrics to text format 0.0.4, in which counter descriptions use the sample's name
/// and there are no units and no end marker.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // In OpenMetrics the type line follows the help line.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
            continue;
        }
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let described = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '));
        if let Some((name, kind)) = described {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().and_then(|help| help.split_once(' ')) {
                text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_that_which_the_client_prefers() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                          version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [
            prometheus,
            "application/openmetrics-text",
            "text/plain;q=0.5, application/openmetrics-text; q=0.9",
        ] {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.3,text/plain",
        ] {
            assert_eq!(Format::accepted(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn a_counter_has_one_name_in_the_older_format() {
        let open_metrics = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
                            a_bytes_total{x=\"# EOF\"} 1\n# HELP b Some.\n# TYPE b gauge\nb 2\n# EOF\n";
        let wanted = "# HELP a_bytes_total Bytes.\n# TYPE a_bytes_total counter\n\
                      a_bytes_total{x=\"# EOF\"} 1\n# HELP b Some.\n# TYPE b gauge\nb 2\n";
        assert_eq!(to_prometheus(open_metrics), wanted);
    }
}
