//! The commands: one file each.

pub(crate) mod api_server;
pub(crate) mod cluster;
pub(crate) mod down;
pub(crate) mod federation;
pub(crate) mod proxy_config;
pub(crate) mod proxy_status;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod version;
