//! Protocol of a port (docs/reference/xds.md).

use portolan_names::ports;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Not declared: the proxy sniffs.
    #[default]
    Auto,
    /// HTTP/1.
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// HTTP inside of TLS that the application terminates.
    Https,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// Opaque bytes.
    Tcp,
    /// Opaque TLS.
    Tls,
    /// MongoDB.
    Mongo,
    /// Redis.
    Redis,
    /// MySQL.
    Mysql,
    /// Thrift.
    Thrift,
    /// Datagrams; ignored by the mesh.
    Udp,
}

impl Protocol {
    /// The protocol of a name such as `http`, `grpc-web`, `HTTP2` or `kubernetes.io/h2c`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Self::Http,
            "http2" | "kubernetes.io/h2c" => Self::Http2,
            "https" | "kubernetes.io/wss" => Self::Https,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "mongo" | "mongodb" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            "thrift" => Self::Thrift,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// The protocol of a Kubernetes port: `appProtocol`, else the name's prefix, else some well-known numbers.
    pub fn of_port(number: u16, name: &str, app_protocol: Option<&str>, transport: &str) -> Self {
        if transport.eq_ignore_ascii_case("udp") {
            return Self::Udp;
        }
        if let Some(declared) = app_protocol.and_then(Self::parse) {
            return declared;
        }
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Self::GrpcWeb;
        }
        let prefix = lower.split('-').next().unwrap_or_default();
        if let Some(named) = Self::parse(prefix) {
            return named;
        }
        if ports::TCP_BY_CONVENTION.contains(&number) { Self::Tcp } else { Self::Auto }
    }

    /// HTTP that the proxy understands.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }
    /// HTTP/2 from the start.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }
    /// TLS that the application terminates.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
    /// Bytes that the proxy only forwards.
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Tls | Self::Https | Self::Mongo | Self::Redis | Self::Mysql | Self::Thrift
        )
    }

    /// Istio's text, as in discovery messages and debug pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "UnsupportedProtocol",
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Https => "HTTPS",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-Web",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Mongo => "Mongo",
            Self::Redis => "Redis",
            Self::Mysql => "MySQL",
            Self::Thrift => "Thrift",
            Self::Udp => "UDP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ports() {
        for (number, name, app, expected) in [
            (80, "http", None, Protocol::Http),
            (80, "http-web", None, Protocol::Http),
            (80, "web", None, Protocol::Auto),
            (80, "", Some("grpc"), Protocol::Grpc),
            (80, "tcp-x", Some("unknown"), Protocol::Tcp),
            (80, "grpc-web-x", None, Protocol::GrpcWeb),
            (3306, "db", None, Protocol::Tcp),
            (27017, "mongo", None, Protocol::Mongo),
        ] {
            assert_eq!(Protocol::of_port(number, name, app, "TCP"), expected, "{name}");
        }
        assert_eq!(Protocol::of_port(53, "http", None, "UDP"), Protocol::Udp);
    }

    #[test]
    fn every_name_has_its_protocol_and_each_protocol_its_kind() {
        // Name, protocol, whether it is HTTP, HTTP/2, TLS or bytes, and its text.
        for (names, protocol, kinds, text) in [
            (&["http", "HTTP", "kubernetes.io/ws"][..], Protocol::Http, "http", "HTTP"),
            (&["http2", "kubernetes.io/h2c"], Protocol::Http2, "http h2", "HTTP2"),
            (&["https", "kubernetes.io/wss"], Protocol::Https, "tls tcp", "HTTPS"),
            (&["grpc"], Protocol::Grpc, "http h2", "GRPC"),
            (&["grpc-web"], Protocol::GrpcWeb, "http h2", "GRPC-Web"),
            (&["tcp"], Protocol::Tcp, "tcp", "TCP"),
            (&["tls"], Protocol::Tls, "tls tcp", "TLS"),
            (&["mongo", "mongodb"], Protocol::Mongo, "tcp", "Mongo"),
            (&["redis"], Protocol::Redis, "tcp", "Redis"),
            (&["mysql"], Protocol::Mysql, "tcp", "MySQL"),
            (&["thrift"], Protocol::Thrift, "tcp", "Thrift"),
            (&["udp"], Protocol::Udp, "", "UDP"),
            (&[], Protocol::Auto, "", "UnsupportedProtocol"),
        ] {
            for name in names {
                assert_eq!(Protocol::parse(name), Some(protocol), "{name}");
            }
            let found = [
                (protocol.is_http(), "http"),
                (protocol.is_http2(), "h2"),
                (protocol.is_tls(), "tls"),
                (protocol.is_tcp(), "tcp"),
            ];
            let found: Vec<_> = found.into_iter().filter(|(is, _)| *is).map(|(_, kind)| kind).collect();
            assert_eq!((found.join(" ").as_str(), protocol.as_str()), (kinds, text), "{protocol:?}");
        }
        assert_eq!(Protocol::parse("quic"), None);
    }
}
