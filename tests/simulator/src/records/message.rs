//! A message that passes the gateway: records of several event types are about the same message.

use crate::random::Random;
use crate::records::words;

/// The properties of a message that the records of all event types have in common.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) at_ms: i64,
    pub(crate) direction: &'static str,
    pub(crate) sender: String,
    pub(crate) sender_domain: &'static str,
    pub(crate) sender_header: String,
    pub(crate) recipient: String,
    pub(crate) subject: Option<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) aggregate_id: String,
    pub(crate) ip: String,
    pub(crate) bytes: u64,
    /// Name, extension and media type.
    pub(crate) files: Vec<(&'static str, &'static str, &'static str)>,
}

impl Message {
    /// Returns the message of that number. The time is that of the first record about it.
    pub(crate) fn new(seed: u64, number: u64, at_ms: i64, odd_shapes: bool) -> Self {
        let mut random = Random::new(seed, "message", &[number]);
        let direction = random.pick(&["Inbound", "Inbound", "Inbound", "Outbound", "Internal"]);
        let sender_domain = match direction {
            "Inbound" if random.chance(150) => random.pick(words::BAD_DOMAINS),
            "Inbound" => random.pick(words::OUTSIDE_DOMAINS),
            _ => random.pick(words::TENANT_DOMAINS),
        };
        let recipient_domain = match direction {
            "Outbound" => random.pick(words::OUTSIDE_DOMAINS),
            _ => random.pick(words::TENANT_DOMAINS),
        };
        let (name, mailbox) = random.pick(words::PEOPLE);
        let is_bounce = odd_shapes && random.chance(30);
        let sender = if is_bounce {
            random.pick(&["<>", ""]).to_owned()
        } else if direction == "Inbound" && random.chance(80) {
            format!("bounces+{}@{sender_domain}", random.hex(10))
        } else {
            format!("{mailbox}@{sender_domain}")
        };
        let header = format!("{mailbox}@{sender_domain}");
        let sender_header = if odd_shapes && random.chance(60) {
            format!("{name} <{header}>")
        } else {
            header
        };
        let files = (0..random.pick(&[0, 0, 0, 1, 1, 2, 4])).map(|_| random.pick(words::FILES));
        let files = files.collect();
        Self {
            at_ms,
            direction,
            sender,
            sender_domain,
            sender_header,
            recipient: format!("{}@{recipient_domain}", random.pick(words::PEOPLE).1),
            subject: subject(&mut random, number, odd_shapes),
            message_id: message_id(&mut random, sender_domain, odd_shapes),
            aggregate_id: aggregate_id(&mut random, at_ms, odd_shapes),
            ip: ip(&mut random, direction, odd_shapes),
            bytes: 2000 + random.below(90_000),
            files,
        }
    }

    /// Returns the direction as the records of different years write it.
    pub(crate) fn direction_as_written(&self, random: &mut Random, odd_shapes: bool) -> String {
        match if odd_shapes { random.below(8) } else { 0 } {
            0..=4 => self.direction.to_owned(),
            5 | 6 => self.direction.to_lowercase(),
            _ => self.direction.to_uppercase(),
        }
    }
}

fn subject(random: &mut Random, number: u64, odd_shapes: bool) -> Option<String> {
    if odd_shapes && random.chance(25) {
        return None;
    }
    if odd_shapes && random.chance(120) {
        return Some(random.pick(words::ODD_SUBJECTS).to_owned());
    }
    Some(format!("{} #{number}", random.pick(words::SUBJECTS)))
}

fn message_id(random: &mut Random, domain: &str, odd_shapes: bool) -> Option<String> {
    let id = format!("{}@{domain}", random.token(24));
    match if odd_shapes { random.below(20) } else { 0 } {
        0..=15 => Some(format!("<{id}>")),
        16..=18 => Some(id),
        _ => None,
    }
}

fn aggregate_id(random: &mut Random, at_ms: i64, odd_shapes: bool) -> String {
    match if odd_shapes { random.below(20) } else { 0 } {
        0..=17 => format!("{}_{}", random.token(22), at_ms.div_euclid(1000)),
        18 => random.token(22),
        _ => random.uuid(),
    }
}

/// Returns an address: a private one (RFC 1918) for an internal message, otherwise one that RFC 5737 or
/// RFC 3849 reserves for documentation.
pub(crate) fn ip(random: &mut Random, direction: &str, odd_shapes: bool) -> String {
    if direction == "Internal" {
        return format!(
            "10.{}.{}.{}",
            random.below(200),
            random.below(255),
            random.below(255)
        );
    }
    if odd_shapes && random.chance(120) {
        return format!(
            "2001:db8:{:x}::{:x}",
            random.below(0xffff),
            random.below(0xffff)
        );
    }
    let net = random.pick(&["192.0.2", "198.51.100", "203.0.113"]);
    format!("{net}.{}", 1 + random.below(254))
}
