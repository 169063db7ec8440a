//! Envoy's API messages under short names, and the few wrappers that every builder needs.

use std::time::Duration as StdDuration;

use portolan_envoy_api::pb::google::protobuf::value::Kind;
pub(crate) use portolan_envoy_api::pb::{
    envoy::{
        config::{
            accesslog::v3 as accesslog, cluster::v3 as cluster, core::v3 as core, endpoint::v3 as endpoint,
            listener::v3 as listener, rbac::v3 as rbac, route::v3 as route,
        },
        extensions::{
            access_loggers::file::v3 as file_log,
            filters::{
                common::fault::v3 as common_fault,
                http::{
                    cors::v3 as cors, fault::v3 as fault, jwt_authn::v3 as jwt, rbac::v3 as http_rbac,
                    router::v3 as router,
                },
                listener::{
                    http_inspector::v3 as http_inspector, original_dst::v3 as original_dst,
                    original_src::v3 as original_src, tls_inspector::v3 as tls_inspector,
                },
                network::{
                    http_connection_manager::v3 as hcm, rbac::v3 as network_rbac,
                    sni_cluster::v3 as sni_cluster, tcp_proxy::v3 as tcp_proxy,
                },
            },
            retry::{
                host::previous_hosts::v3 as previous_hosts,
                priority::previous_priorities::v3 as previous_priorities,
            },
            transport_sockets::{raw_buffer::v3 as raw_buffer, tls::v3 as tls},
            upstreams::http::v3 as http_options,
        },
        r#type::{matcher::v3 as matcher, v3 as types},
    },
    google::protobuf::{Any, BoolValue, Duration, Empty, ListValue, Struct, UInt32Value, UInt64Value, Value},
};
use prost::{Message, Name};

/// Packs a message.
pub(crate) fn any<T: Name + Message>(message: &T) -> Any {
    Any { type_url: T::type_url(), value: message.encode_to_vec() }
}

pub(crate) fn u32v(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) fn boolv(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(crate) fn duration(value: StdDuration) -> Duration {
    Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or_default(),
    }
}

pub(crate) fn zero() -> Option<Duration> {
    Some(duration(StdDuration::ZERO))
}

/// A string as a JSON value.
pub(crate) fn text(value: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(value.into())) }
}

pub(crate) fn list(values: Vec<Value>) -> Value {
    Value { kind: Some(Kind::ListValue(ListValue { values })) }
}

pub(crate) fn object(value: Struct) -> Value {
    Value { kind: Some(Kind::StructValue(value)) }
}

pub(crate) fn structure<const N: usize>(fields: [(&str, Value); N]) -> Struct {
    Struct { fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect() }
}

/// A TCP address.
pub(crate) fn socket(address: impl Into<String>, port: u16) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.into(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(port))),
            ..Default::default()
        })),
    }
}

/// Configuration that comes over the same ADS stream.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        initial_fetch_timeout: zero(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    }
}

pub(crate) fn string_matcher(pattern: matcher::string_matcher::MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

pub(crate) fn exact(value: impl Into<String>) -> matcher::StringMatcher {
    string_matcher(matcher::string_matcher::MatchPattern::Exact(value.into()))
}

pub(crate) fn prefix(value: impl Into<String>) -> matcher::StringMatcher {
    string_matcher(matcher::string_matcher::MatchPattern::Prefix(value.into()))
}

pub(crate) fn suffix(value: impl Into<String>) -> matcher::StringMatcher {
    string_matcher(matcher::string_matcher::MatchPattern::Suffix(value.into()))
}

pub(crate) fn regex(value: impl Into<String>) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: value.into(), ..Default::default() }
}

pub(crate) fn regex_matcher(value: impl Into<String>) -> matcher::StringMatcher {
    string_matcher(matcher::string_matcher::MatchPattern::SafeRegex(regex(value)))
}

/// A share of requests with Envoy's finest denominator.
pub(crate) fn fraction(percent: f64) -> types::FractionalPercent {
    types::FractionalPercent {
        // Clamped to 0..=100, so the product fits.
        numerator: (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32,
        denominator: types::fractional_percent::DenominatorType::Million as i32,
    }
}

/// An extension of a transport socket, filter or the like.
pub(crate) fn network_filter(name: &str, config: Any) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    }
}

pub(crate) fn http_filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

pub(crate) fn transport_socket(name: &str, config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

/// Filters of our own and of Istio have no configuration: our proxy knows them by name.
pub(crate) fn empty() -> Any {
    any(&Empty {})
}

/// Addresses of a filter chain match; what is neither IP nor CIDR is left out.
pub(crate) fn cidrs(values: &[String]) -> Vec<core::CidrRange> {
    values.iter().filter_map(|v| cidr(v)).collect()
}

/// An IP or CIDR.
pub(crate) fn cidr(text: &str) -> Option<core::CidrRange> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address.parse::<std::net::IpAddr>().ok()?, Some(len.parse::<u32>().ok()?)),
        None => (text.parse().ok()?, None),
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    Some(core::CidrRange {
        address_prefix: address.to_string(),
        prefix_len: u32v(len.unwrap_or(longest).min(longest)),
    })
}
