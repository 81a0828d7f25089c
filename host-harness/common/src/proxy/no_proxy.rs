//! `NO_PROXY`: the targets that are reached without a proxy.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Environment, variable, without_brackets};
use crate::authority::split_authority;

/// The entries of `NO_PROXY`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct NoProxy {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    target: Target,
    /// Only this port, where one is written.
    port: Option<u16>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Target {
    /// `*`
    All,
    /// Addresses: one, or a network.
    Network(IpNet),
    /// A name and all its subdomains, in lower case.
    Domain(String),
}

impl NoProxy {
    pub(super) fn from_environment(environment: Environment<'_>) -> Self {
        let names = ["no_proxy", "NO_PROXY"];
        let text = names.iter().find_map(|name| variable(environment, name));
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let words = text.split([',', ' ', '\t', '\n']);
        let entries = words.filter(|word| !word.is_empty());
        Self {
            entries: entries.map(Entry::parse).collect(),
        }
    }

    /// Returns whether a target is reached without a proxy. The host may be an address, in brackets or not.
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> = without_brackets(host).parse().ok();
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        self.entries.iter().any(|entry| {
            entry.port.is_none_or(|only| only == port)
                && match &entry.target {
                    Target::All => true,
                    Target::Network(network) => {
                        address.is_some_and(|address| network.contains(&address))
                    }
                    Target::Domain(domain) => {
                        let before = name.strip_suffix(domain.as_str());
                        address.is_none()
                            && before.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    }
                }
        })
    }
}

impl Entry {
    fn parse(text: &str) -> Self {
        let (host, port) = match network(text) {
            Some(_) => (text.to_owned(), None),
            None => split_authority(text).unwrap_or_else(|| (text.to_owned(), None)),
        };
        let target = match network(&host) {
            Some(network) => Target::Network(network),
            None if host == "*" => Target::All,
            None => {
                let domain = host.strip_prefix('*').unwrap_or(&host);
                Target::Domain(domain.trim_matches('.').to_ascii_lowercase())
            }
        };
        Self { target, port }
    }
}

fn network(text: &str) -> Option<IpNet> {
    let address = |text: &str| without_brackets(text).parse::<IpAddr>().ok();
    text.parse().ok().or_else(|| address(text).map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_suffixes_addresses_networks_and_ports() {
        for (entries, host, port, wanted) in [
            ("example.com", "example.com", 443, true),
            ("example.com", "API.Example.COM", 443, true),
            ("example.com", "example.com.", 443, true),
            ("example.com", "notexample.com", 443, false),
            ("example.com", "example.com.evil.net", 443, false),
            (".example.com", "api.example.com", 443, true),
            (".example.com", "example.com", 443, true),
            ("*.example.com", "api.example.com", 443, true),
            ("localhost, .internal", "siem.internal", 443, true),
            ("localhost .internal", "siem.internal", 443, true),
            ("*", "anything", 1, true),
            ("*", "10.0.0.1", 1, true),
            ("example.com:8443", "api.example.com", 8443, true),
            ("example.com:8443", "api.example.com", 443, false),
            ("10.0.0.1", "10.0.0.1", 80, true),
            ("10.0.0.1", "10.0.0.10", 80, false),
            ("10.0.0.1:9200", "10.0.0.1", 9200, true),
            ("10.0.0.1:9200", "10.0.0.1", 9201, false),
            ("10.0.0.0/8", "10.200.0.1", 80, true),
            ("10.0.0.0/8", "11.0.0.1", 80, false),
            // A network is of addresses: names are resolved by the proxy.
            ("10.0.0.0/8", "ten.example.com", 80, false),
            ("::1", "[::1]", 80, true),
            ("[::1]:9200", "::1", 9200, true),
            ("[::1]:9200", "::1", 80, false),
            ("fd00::/8", "[fd12::1]", 80, true),
            // The end of an address is no domain.
            ("0.0.1", "10.0.0.1", 80, false),
            ("", "example.com", 80, false),
        ] {
            let exempt = NoProxy::parse(entries);
            assert_eq!(
                exempt.matches(host, port),
                wanted,
                "{entries} {host} {port}"
            );
        }
    }
}
