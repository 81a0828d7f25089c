//! Splits a delivery into parts, each small enough for one request.

use std::collections::BTreeMap;

use super::Event;
use super::template::Template;

/// Indexes of events that are sent together, in order.
pub(super) type Part = Vec<usize>;

/// How a delivery is split into parts: their limits, and which events may share one.
#[derive(Clone, Debug)]
pub(super) struct PartSettings {
    /// Maximum total size of the bodies; a larger single event is sent alone.
    pub(super) bytes_max: usize,
    /// Maximum number of events.
    pub(super) events_max: usize,
    /// Events for which this template renders differently are sent separately.
    pub(super) partition_by: Option<Template>,
}

impl PartSettings {
    /// Splits the events of a delivery into parts.
    pub(super) fn split(&self, events: &[Event<'_>]) -> Vec<Part> {
        let mut parts: Vec<(Part, usize)> = Vec::new();
        let mut open: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            let key = self
                .partition_by
                .as_ref()
                .map_or(("", ""), |by| by.partition_key(event));
            let bytes = event.body.len() + 1;
            if let Some((part, sum)) = open.get(&key).and_then(|at| parts.get_mut(*at))
                && part.len() < self.events_max
                && *sum + bytes <= self.bytes_max
            {
                part.push(index);
                *sum += bytes;
                continue;
            }
            open.insert(key, parts.len());
            parts.push((vec![index], bytes));
        }
        parts.into_iter().map(|(part, _)| part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(body: &'a str, stream: &'a str) -> Event<'a> {
        Event {
            body,
            occurred_at: 0,
            kind: "",
            stream,
            namespace: "test",
        }
    }

    #[test]
    fn parts_are_full_and_in_order() {
        let part_settings = PartSettings {
            bytes_max: 10,
            events_max: 3,
            partition_by: None,
        };
        let long = "x".repeat(50);
        let events = ["{}", "{}", "{}", "{}", &long, "{}"].map(|body| event(body, "a"));
        assert_eq!(
            part_settings.split(&events),
            [vec![0, 1, 2], vec![3], vec![4], vec![5]]
        );
    }

    #[test]
    fn events_with_different_tags_are_sent_separately() {
        let part_settings = PartSettings {
            bytes_max: 1_000,
            events_max: 2,
            partition_by: Some(Template::parse("x.{stream}").unwrap()),
        };
        let events = ["a", "b", "a", "a", "b"].map(|stream| event("{}", stream));
        assert_eq!(
            part_settings.split(&events),
            [vec![0, 2], vec![1, 4], vec![3]]
        );
    }
}
