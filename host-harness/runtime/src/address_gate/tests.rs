//! Every reserved block is refused at both of its ends, its public neighbours
//! are not, and only a literal entry opens the gate.

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn refused(list: &AllowList, text: &str, port: u16) -> bool {
    check(list, address(text), port).is_err()
}

#[test]
fn public_addresses_pass() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001:81b::200e",
    ] {
        assert_eq!(special_use(address(text)), None, "{text}");
    }
}

#[test]
fn reserved_ipv4_blocks_are_refused_from_end_to_end() {
    for (first, last, kind) in [
        ("0.0.0.0", "0.255.255.255", "this network"),
        ("10.0.0.0", "10.255.255.255", "private"),
        ("100.64.0.0", "100.127.255.255", "shared by a carrier"),
        ("127.0.0.0", "127.255.255.255", "loopback"),
        ("169.254.0.0", "169.254.255.255", "link-local"),
        ("172.16.0.0", "172.31.255.255", "private"),
        ("192.0.0.0", "192.0.0.255", "reserved for protocols"),
        ("192.0.2.0", "192.0.2.255", "for documentation"),
        ("192.168.0.0", "192.168.255.255", "private"),
        ("198.18.0.0", "198.19.255.255", "for benchmarks"),
        ("198.51.100.0", "198.51.100.255", "for documentation"),
        ("203.0.113.0", "203.0.113.255", "for documentation"),
        ("224.0.0.0", "239.255.255.255", "multicast"),
        ("240.0.0.0", "255.255.255.255", "reserved"),
    ] {
        assert_eq!(special_use(address(first)), Some(kind), "{first}");
        assert_eq!(special_use(address(last)), Some(kind), "{last}");
    }
}

#[test]
fn the_metadata_address_of_clouds_is_refused() {
    assert_eq!(special_use(address("169.254.169.254")), Some("link-local"));
    assert_eq!(special_use(address("fd00:ec2::254")), Some("unique local"));
}

#[test]
fn reserved_ipv6_blocks_are_refused() {
    for (text, kind) in [
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("64:ff9b:1::1", "local NAT64"),
        ("100::1", "discard-only"),
        ("2001::1", "reserved for protocols"),
        ("2001:db8::1", "for documentation"),
        ("3fff::1", "for documentation"),
        ("fc00::", "unique local"),
        ("fdff:ffff::1", "unique local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "reserved"),
    ] {
        assert_eq!(special_use(address(text)), Some(kind), "{text}");
    }
}

#[test]
fn an_ipv4_address_does_not_hide_in_an_ipv6_one() {
    for (text, kind) in [
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::127.0.0.1", "loopback"),
        ("::ffff:0:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a00:1::1", "private"),
        ("::ffff:8.8.8.8", "IPv4 in IPv6"),
        ("2002:808:808::1", "IPv4 in IPv6"),
    ] {
        assert_eq!(special_use(address(text)), Some(kind), "{text}");
    }
}

#[test]
fn a_host_that_ends_in_a_number_and_is_no_address_is_an_unusual_one() {
    for host in [
        "2852039166",
        "127.1",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.0x1",
        "127.0.0.0x",
        "256.0.0.1",
        "1.2.3.4.5",
        "api.example.08",
    ] {
        assert!(is_noncanonical_ipv4(host), "{host}");
    }
    for host in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "api.example.com",
        "0x7f000001.example.com",
        "1.2.3.4.example",
        "0xg",
        "x7f",
        "a1",
        "1a",
    ] {
        assert!(!is_noncanonical_ipv4(host), "{host}");
    }
}

#[test]
fn a_public_address_behind_nat64_passes() {
    assert_eq!(special_use(address("64:ff9b::808:808")), None);
}

#[test]
fn a_listed_name_does_not_open_the_gate() {
    let list = AllowList::parse(&["https://api.example.com", "https://*.example.com"]).unwrap();
    assert!(refused(&list, "127.0.0.1", 443));
    assert!(refused(&list, "10.0.0.1", 443));
    assert!(!refused(&list, "8.8.8.8", 443));
}

#[test]
fn a_literal_entry_opens_the_gate_for_its_address_and_port_only() {
    let list = AllowList::parse(&["http://127.0.0.1:8080"]).unwrap();
    assert!(!refused(&list, "127.0.0.1", 8080));
    assert!(refused(&list, "127.0.0.1", 8081));
    assert!(refused(&list, "127.0.0.2", 8080));
    assert!(refused(&list, "::ffff:127.0.0.1", 8080));
}

#[test]
fn localhost_opens_the_gate_for_loopback_only() {
    let list = AllowList::parse(&["http://localhost:8080"]).unwrap();
    assert!(!refused(&list, "127.0.0.1", 8080));
    assert!(!refused(&list, "::1", 8080));
    assert!(refused(&list, "10.0.0.1", 8080));
}
