//! Checks which IP addresses an allowed host name may resolve to: public ones, unless the
//! allow-list names the address itself. Does no I/O.
//!
//! A list of names alone is no defence against SSRF: whoever controls the DNS zone of a listed
//! name, or the redirect target of one, decides which address it resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::allow_list::AllowList;

/// Checks whether a connection to this address is allowed.
///
/// `Err` names the kind of the address.
pub fn check(list: &AllowList, address: IpAddr, port: u16) -> Result<(), &'static str> {
    match special_use(address) {
        Some(_) if list.names_address(address, port) => Ok(()),
        Some(kind) => Err(kind),
        None => Ok(()),
    }
}

/// Returns whether the last label of a host, as in an [`Origin`](crate::allow_list::Origin), is a number
/// though the host is no IP address in canonical form. The URL Standard takes every such host for an
/// IPv4 address, and many resolvers take `127.1`, `0177.0.0.1`, `0x7f000001`
/// and `2130706433` for `127.0.0.1`.
#[must_use]
pub fn is_noncanonical_ipv4(host: &str) -> bool {
    let last_label = host.rsplit('.').next().unwrap_or(host);
    let digits = last_label.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = last_label.strip_prefix("0x");
    let is_hexadecimal =
        hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    // No top-level domain is a number, so such a host is no name; see the URL Standard.
    (digits || is_hexadecimal) && host.parse::<IpAddr>().is_err()
}

/// Returns what an address is reserved for, or `None` for a public one.
#[must_use]
pub fn special_use(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => special_use_v4(v4),
        IpAddr::V6(v6) => special_use_v6(v6),
    }
}

/// The blocks of RFC 6890 and its successors that are not globally reachable.
fn special_use_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("this network"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [100, 64..=127, ..] => Some("shared by a carrier"),
        [127, ..] => Some("loopback"),
        [169, 254, ..] => Some("link-local"),
        [192, 0, 0, _] => Some("reserved for protocols"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("for documentation"),
        [192, 88, 99, _] => Some("a 6to4 relay"),
        [198, 18..=19, ..] => Some("for benchmarks"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn special_use_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(v4) = embedded_v4(address) {
        // An IPv6-only network reaches public IPv4 addresses through NAT64;
        // the other embeddings have no legitimate use here.
        return special_use_v4(v4).or_else(|| (!is_nat64(address)).then_some("IPv4 in IPv6"));
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0x0064, 0xff9b, 1, ..] => Some("local NAT64"),
        [0x0100, 0, 0, 0, ..] => Some("discard-only"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("for documentation"),
        [0x2001, 0..=0x01ff, ..] => Some("reserved for protocols"),
        [0xfc00..=0xfdff, ..] => Some("unique local"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

fn is_nat64(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x0064, 0xff9b, 0, 0, 0, 0, ..])
}

/// Returns the embedded IPv4 address: mapped, compatible, NAT64 or 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => (high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests;
