//! Helpers to read messages: errors that name the field, durations, addresses, percentages, data sources.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use portolan_envoy_api::pb::google::protobuf;
use prost::Message;

use crate::pb::{self, core};

/// Why a message is not usable: field path and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub String);

/// A value, or why there is none.
pub type Valid<T> = Result<T, Invalid>;

impl Invalid {
    /// An error with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Invalid(reason.into())
    }
}

/// Adds the name of the field in which an error was found.
pub trait At<T> {
    /// Names the field.
    fn at(self, field: &str) -> Valid<T>;
}

impl<T> At<T> for Valid<T> {
    fn at(self, field: &str) -> Valid<T> {
        self.map_err(|Invalid(reason)| Invalid(format!("{field}: {reason}")))
    }
}

/// Decodes an extension's message.
pub fn unpack<M: Message + Default>(any: &pb::Any) -> Valid<M> {
    M::decode(any.value.as_slice())
        .map_err(|error| Invalid(format!("cannot decode {}: {error}", any.type_url)))
}

/// The message name of a type URL.
pub fn type_of(any: &pb::Any) -> &str {
    any.type_url.rsplit_once('/').map_or(any.type_url.as_str(), |(_, name)| name)
}

/// Longest duration of protobuf (google/protobuf/duration.proto), in seconds: about 10,000 years.
const MAX_SECONDS: u64 = 315_576_000_000;
/// Longest duration that is told apart: ten years. Any point in time and a few of these stay far from an overflow.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A duration of at most [`LONGEST`]. Those that protobuf does not have are refused.
pub fn duration(value: Option<&protobuf::Duration>) -> Valid<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds @ ..=MAX_SECONDS), Ok(nanos)) if nanos < 1_000_000_000 => {
            Ok(Some(Duration::new(seconds, nanos).min(LONGEST)))
        }
        _ => Err(Invalid::new("negative or malformed duration")),
    }
}

/// A duration where absent means `default` and zero means "off".
pub fn timeout(value: Option<&protobuf::Duration>, default: Option<Duration>) -> Valid<Option<Duration>> {
    Ok(match duration(value)? {
        None => default,
        Some(value) if value.is_zero() => None,
        Some(value) => Some(value),
    })
}

/// The value, or a default.
pub fn u32_or(value: Option<&protobuf::UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |value| value.value)
}

/// The value, or a default.
pub fn bool_or(value: Option<&protobuf::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

/// A share of a million.
pub type PerMillion = u32;

/// The share that a message names; none by default.
pub fn fraction(value: Option<&pb::types::FractionalPercent>) -> PerMillion {
    let Some(value) = value else { return 0 };
    let scale = match value.denominator {
        1 => 100,
        2 => 1,
        _ => 10_000,
    };
    value.numerator.saturating_mul(scale).min(1_000_000)
}

/// The share that a message names for want of a runtime.
pub fn runtime_fraction(value: Option<&core::RuntimeFractionalPercent>) -> Option<PerMillion> {
    value.map(|value| fraction(value.default_value.as_ref()))
}

/// `traffic_direction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Not said.
    Unspecified,
    /// From clients outside of the pod to the application.
    Inbound,
    /// From the application to others.
    Outbound,
}

/// `TcpKeepalive`; what is absent is the system's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub time: Option<Duration>,
    /// Between two probes.
    pub interval: Option<Duration>,
    /// Probes without an answer before the connection is given up.
    pub probes: Option<u32>,
}

impl Keepalive {
    /// Reads the message.
    pub fn compile(from: &core::TcpKeepalive) -> Keepalive {
        let seconds = |value: &protobuf::UInt32Value| Duration::from_secs(value.value.into());
        Keepalive {
            time: from.keepalive_time.as_ref().map(seconds),
            interval: from.keepalive_interval.as_ref().map(seconds),
            probes: from.keepalive_probes.as_ref().map(|probes| probes.value),
        }
    }
}

/// True for a share of the calls.
pub fn drawn(share: PerMillion) -> bool {
    share >= 1_000_000 || (share > 0 && fastrand::u32(0..1_000_000) < share)
}

/// Compiles the message.
pub fn cidr(range: &core::CidrRange) -> Valid<IpNet> {
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
pub enum NetAddress {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A name to be resolved.
    Name(String, u16),
    /// The path of a socket.
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

/// Compiles the message; TCP only.
pub fn socket_address(address: &core::SocketAddress) -> Valid<NetAddress> {
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

/// Compiles the message.
pub fn address(address: Option<&core::Address>) -> Valid<NetAddress> {
    match address.and_then(|address| address.address.as_ref()) {
        Some(core::address::Address::SocketAddress(socket)) => socket_address(socket),
        Some(core::address::Address::Pipe(pipe)) => Ok(NetAddress::Unix(pipe.path.clone())),
        Some(core::address::Address::EnvoyInternalAddress(_)) => {
            Err(Invalid::new("internal addresses are not supported"))
        }
        None => Err(Invalid::new("missing address")),
    }
}

/// What lies outside of a message, on the machine of the proxy that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum External<'a> {
    /// A file, by its path.
    File(&'a str),
    /// An environment variable, by its name.
    Variable(&'a str),
}

/// Reads what lies outside of messages; `None` when it cannot be known here.
pub type Loader = fn(External<'_>) -> Valid<Option<Vec<u8>>>;

/// Knows nothing of any machine: for checks of resources that another one will run.
pub fn unread(_: External<'_>) -> Valid<Option<Vec<u8>>> {
    Ok(None)
}

/// The bytes of a data source; `None` when `load` does not know them.
pub fn data(source: &core::DataSource, load: Loader) -> Valid<Option<Vec<u8>>> {
    match &source.specifier {
        Some(core::data_source::Specifier::InlineBytes(bytes)) => Ok(Some(bytes.clone())),
        Some(core::data_source::Specifier::InlineString(text)) => Ok(Some(text.clone().into_bytes())),
        Some(core::data_source::Specifier::Filename(path)) => load(External::File(path)),
        Some(core::data_source::Specifier::EnvironmentVariable(name)) => load(External::Variable(name)),
        None => Err(Invalid::new("empty data source")),
    }
}

/// A string inside of a metadata struct.
pub fn struct_string<'a>(fields: &'a pb::Struct, name: &str) -> Option<&'a str> {
    match fields.fields.get(name)?.kind.as_ref()? {
        pb::Kind::StringValue(text) => Some(text),
        _ => None,
    }
}
