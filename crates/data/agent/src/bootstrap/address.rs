//! Addresses that a bootstrap names.

use portolan_envoy_api::pb::envoy::config::bootstrap::v3::Bootstrap;
use portolan_envoy_api::pb::envoy::config::core::v3::{Address, address, socket_address::PortSpecifier};

/// The address of the admin endpoints, if the file asks for them.
pub fn admin_address(bootstrap: &Bootstrap) -> Option<std::net::SocketAddr> {
    socket_address(bootstrap.admin.as_ref()?.address.as_ref()?)?.parse().ok()
}

/// `host:port` of an address; `None` when it is a pipe or has a named port.
pub fn socket_address(address: &Address) -> Option<String> {
    match address.address.as_ref()? {
        address::Address::SocketAddress(socket) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) if socket.address.contains(':') => {
                Some(format!("[{}]:{port}", socket.address))
            }
            Some(PortSpecifier::PortValue(port)) => Some(format!("{}:{port}", socket.address)),
            _ => None,
        },
        _ => None,
    }
}
