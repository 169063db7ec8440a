//! Helpers to read messages: errors that name the field, durations, addresses, percentages, data sources.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::google::protobuf;
use ipnet::IpNet;
use prost::Message;

use crate::pb::{self, core};

/// Why a message is not usable: field path and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) String);

pub(crate) type Valid<T> = Result<T, Invalid>;

impl Invalid {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Invalid(reason.into())
    }
}

/// Adds the name of the field in which an error was found.
pub(crate) trait At<T> {
    fn at(self, field: &str) -> Valid<T>;
}

impl<T> At<T> for Valid<T> {
    fn at(self, field: &str) -> Valid<T> {
        self.map_err(|Invalid(reason)| Invalid(format!("{field}: {reason}")))
    }
}

/// Longest accepted file of a data source.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Decodes an extension's message.
pub(crate) fn unpack<M: Message + Default>(any: &pb::Any) -> Valid<M> {
    M::decode(any.value.as_slice())
        .map_err(|error| Invalid(format!("cannot decode {}: {error}", any.type_url)))
}

/// The message name of a type URL.
pub(crate) fn type_of(any: &pb::Any) -> &str {
    any.type_url.rsplit_once('/').map_or(any.type_url.as_str(), |(_, name)| name)
}

pub(crate) fn duration(value: Option<&protobuf::Duration>) -> Valid<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Some(Duration::new(seconds, nanos))),
        _ => Err(Invalid::new("negative or malformed duration")),
    }
}

/// A duration where absent means `default` and zero means "off".
pub(crate) fn timeout(
    value: Option<&protobuf::Duration>,
    default: Option<Duration>,
) -> Valid<Option<Duration>> {
    Ok(match duration(value)? {
        None => default,
        Some(value) if value.is_zero() => None,
        Some(value) => Some(value),
    })
}

pub(crate) fn u32_or(value: Option<&protobuf::UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |value| value.value)
}

pub(crate) fn bool_or(value: Option<&protobuf::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

/// A share of a million.
pub(crate) type PerMillion = u32;

pub(crate) fn fraction(value: Option<&pb::types::FractionalPercent>) -> PerMillion {
    let Some(value) = value else { return 0 };
    let scale = match value.denominator {
        1 => 100,
        2 => 1,
        _ => 10_000,
    };
    value.numerator.saturating_mul(scale).min(1_000_000)
}

pub(crate) fn runtime_fraction(value: Option<&core::RuntimeFractionalPercent>) -> Option<PerMillion> {
    value.map(|value| fraction(value.default_value.as_ref()))
}

/// `traffic_direction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Unspecified,
    Inbound,
    Outbound,
}

/// True for a share of the calls.
pub(crate) fn drawn(share: PerMillion) -> bool {
    share >= 1_000_000 || (share > 0 && fastrand::u32(0..1_000_000) < share)
}

pub(crate) fn cidr(range: &core::CidrRange) -> Valid<IpNet> {
    let ip: IpAddr = range
        .address_prefix
        .parse()
        .map_err(|_| Invalid(format!("{:?} is not an IP address", range.address_prefix)))?;
    let length = u32_or(range.prefix_len.as_ref(), 0);
    let length = u8::try_from(length).map_err(|_| Invalid::new("prefix length is too large"))?;
    IpNet::new(ip, length).map(|net| net.trunc()).map_err(|error| Invalid(error.to_string()))
}

/// Where to listen or connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum NetAddress {
    Socket(SocketAddr),
    /// A name to be resolved.
    Name(String, u16),
    Unix(String),
}

impl std::fmt::Display for NetAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NetAddress::Socket(address) => address.fmt(f),
            NetAddress::Name(name, port) => write!(f, "{name}:{port}"),
            NetAddress::Unix(path) => f.write_str(path),
        }
    }
}

pub(crate) fn socket_address(address: &core::SocketAddress) -> Valid<NetAddress> {
    let port = match address.port_specifier {
        Some(core::socket_address::PortSpecifier::PortValue(port)) => {
            u16::try_from(port).map_err(|_| Invalid(format!("port {port} is too large")))?
        }
        Some(core::socket_address::PortSpecifier::NamedPort(_)) => {
            return Err(Invalid::new("named ports are not supported"));
        }
        None => 0,
    };
    if address.protocol != 0 {
        return Err(Invalid::new("only TCP addresses are supported"));
    }
    match address.address.parse::<IpAddr>() {
        Ok(ip) => Ok(NetAddress::Socket(SocketAddr::new(ip, port))),
        Err(_) if address.address.is_empty() => Err(Invalid::new("empty address")),
        Err(_) => Ok(NetAddress::Name(address.address.clone(), port)),
    }
}

pub(crate) fn address(address: Option<&core::Address>) -> Valid<NetAddress> {
    match address.and_then(|address| address.address.as_ref()) {
        Some(core::address::Address::SocketAddress(socket)) => socket_address(socket),
        Some(core::address::Address::Pipe(pipe)) => Ok(NetAddress::Unix(pipe.path.clone())),
        Some(core::address::Address::EnvoyInternalAddress(_)) => {
            Err(Invalid::new("internal addresses are not supported"))
        }
        None => Err(Invalid::new("missing address")),
    }
}

/// The bytes of a data source. Reads a file at most once, when the resource is compiled.
pub(crate) fn data(source: &core::DataSource) -> Valid<Vec<u8>> {
    match &source.specifier {
        Some(core::data_source::Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
        Some(core::data_source::Specifier::InlineString(text)) => Ok(text.clone().into_bytes()),
        Some(core::data_source::Specifier::Filename(path)) => {
            let size = std::fs::metadata(path)
                .map_err(|error| Invalid(format!("cannot read {path}: {error}")))?
                .len();
            if size > MAX_FILE_BYTES {
                return Err(Invalid(format!("{path} is larger than {MAX_FILE_BYTES} bytes")));
            }
            std::fs::read(path).map_err(|error| Invalid(format!("cannot read {path}: {error}")))
        }
        Some(core::data_source::Specifier::EnvironmentVariable(name)) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| Invalid(format!("environment variable {name} is not set"))),
        None => Err(Invalid::new("empty data source")),
    }
}

/// A string inside of a metadata struct.
pub(crate) fn struct_string<'a>(fields: &'a pb::Struct, name: &str) -> Option<&'a str> {
    match fields.fields.get(name)?.kind.as_ref()? {
        pb::Kind::StringValue(text) => Some(text),
        _ => None,
    }
}
