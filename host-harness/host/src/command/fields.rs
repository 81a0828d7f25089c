//! `fields`: what becomes of each upstream field in the built-in component's events.

use source_common::exit::{Exit, Failure};

use super::print;

/// The page rendered from the component's tables; the component's tests compare the two.
const PAGE: &str = include_str!("../../../../docs/fields.md");

/// Prefix of a stream's heading.
const HEADING: &str = "\n### ";

/// Prints the page, or the section of one stream.
pub fn fields(stream: Option<&str>) -> Result<Exit, Failure> {
    let text = match stream {
        None => PAGE.to_owned(),
        Some(stream) => section(stream).ok_or_else(|| {
            let names: Vec<&str> = sections().map(|(name, _)| name).collect();
            Failure::failed(format!(
                "there is no stream {stream:?}; the streams are {}",
                names.join(", ")
            ))
        })?,
    };
    print(&text)?;
    Ok(Exit::Done)
}

fn section(stream: &str) -> Option<String> {
    let (name, text) = sections().find(|(name, _)| *name == stream)?;
    Some(format!("{}{name}\n{text}\n", HEADING.trim_start()))
}

/// Iterates over the name and section of each stream.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = PAGE.split(HEADING).skip(1);
    sections.filter_map(|section| section.split_once('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_its_own_section() {
        let text = section("siem.receipt").unwrap();
        assert!(text.starts_with("### siem.receipt\n"), "{text}");
        assert!(text.contains("| `senderIp` | `source.ip`"), "{text}");
        assert!(!text.contains("### siem.process"));
    }

    #[test]
    fn a_stream_that_is_not_there_is_answered_with_those_that_are() {
        let failure = fields(Some("siem.reciept")).unwrap_err();
        assert!(failure.message.contains("siem.receipt, "), "{failure}");
    }
}
