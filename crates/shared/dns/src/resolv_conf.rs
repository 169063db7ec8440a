//! `/etc/resolv.conf`, as far as a server needs it.

use std::net::{IpAddr, SocketAddr};

use crate::limits::{MAX_SEARCH, MAX_SERVERS};

/// Where servers listen.
const PORT: u16 = 53;

/// Servers and search domains (resolv.conf(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The servers, in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// Domains that resolvers append, lower case, without the final dot.
    pub search: Vec<String>,
}

impl ResolvConf {
    /// Reads the text of the file. What is not understood is left out, as the C library does it. Of several `search`
    /// and `domain` lines the last one counts.
    pub fn parse(text: &str) -> Self {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < MAX_SERVERS => {
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    conf.servers.extend(ip.map(|ip| SocketAddr::new(ip, PORT)));
                }
                Some("search" | "domain") => {
                    conf.search = words
                        .take(MAX_SEARCH)
                        .map(|domain| domain.trim_end_matches('.').to_ascii_lowercase())
                        .filter(|domain| !domain.is_empty())
                        .collect();
                }
                _ => {}
            }
        }
        conf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_search_domains() {
        let conf = ResolvConf::parse(
            "# made by hand\nsearch old.example\nnameserver 10.96.0.10\n\tnameserver  fd00::53 # second\n\
             nameserver not-an-address\nnameservers 1.2.3.4\nsearch A.svc.cluster.local. svc.cluster.local .\n\
             options ndots:5\n",
        );
        assert_eq!(conf.servers, ["10.96.0.10:53".parse().unwrap(), "[fd00::53]:53".parse().unwrap()]);
        assert_eq!(conf.search, ["a.svc.cluster.local", "svc.cluster.local"]);
    }

    #[test]
    fn no_more_servers_than_the_c_library_uses() {
        let text: String = (1..9).map(|n| format!("nameserver 10.0.0.{n}\n")).collect();
        assert_eq!(ResolvConf::parse(&text).servers.len(), MAX_SERVERS);
    }

    #[test]
    fn an_empty_file_names_nobody() {
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
    }
}
