//! Ports: Istio 1.9's of proxy, agent and control plane, and those of Service Mesh federation.

/// Proxy admin interface, loopback only.
pub const ADMIN: u16 = 15000;
/// `virtualOutbound`: captured outbound traffic.
pub const OUTBOUND: u16 = 15001;
/// Port that the validation of capture rules connects to (`--run-validation`); nothing may listen there.
pub const CAPTURE_VALIDATION: u16 = 15002;
/// `virtualInbound`: captured inbound traffic.
pub const INBOUND: u16 = 15006;
/// HBONE tunnel; never captured.
pub const TUNNEL: u16 = 15008;
/// Plaintext xDS of the control plane.
pub const XDS_PLAINTEXT: u16 = 15010;
/// TLS xDS and the CSR service of the control plane.
pub const XDS_TLS: u16 = 15012;
/// Metrics, version and debug of the control plane.
pub const MONITORING: u16 = 15014;
/// Webhooks of the control plane; its Service maps 443 to it.
pub const WEBHOOK: u16 = 15017;
/// HTTPS port of the control plane's Service (webhooks).
pub const WEBHOOK_SERVICE: u16 = 443;
/// Agent: merged metrics, probes, quitquitquit.
pub const AGENT_STATUS: u16 = 15020;
/// Health port of a proxy, for kubelet probes.
pub const HEALTH: u16 = 15021;
/// DNS proxy of the agent.
pub const DNS: u16 = 15053;
/// Prometheus statistics of the proxy itself.
pub const PROXY_METRICS: u16 = 15090;
/// Federation service traffic, mTLS with SNI routing.
pub const FEDERATION_SERVICE: u16 = 15443;
/// Federation discovery.
pub const FEDERATION_DISCOVERY: u16 = 8188;
/// Plain HTTP port of istiod (`/ready`, `/debug`).
pub const ISTIOD_HTTP: u16 = 8080;

/// Ports that inbound capture leaves alone (`istio-iptables -d`), besides SSH.
pub const INBOUND_CAPTURE_EXCLUDED: [u16; 3] = [PROXY_METRICS, HEALTH, AGENT_STATUS];
/// SSH, never captured inbound when everything else is, so that a machine stays reachable.
pub const SSH: u16 = 22;

/// Service ports that are plain TCP when nothing declares their protocol, because the server speaks first or the
/// protocol cannot be sniffed: SMTP, DNS, MySQL, MongoDB.
pub const TCP_BY_CONVENTION: [u16; 4] = [25, 53, 3306, 27017];
